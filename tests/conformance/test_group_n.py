"""Show the inventory's group N: affinity and /proc."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.config import preset
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQF_NOBALANCING, IRQF_SHARED
from asyncirq.irq.flow import handle_edge_irq
from asyncirq.irq.proc import format_mask, interrupts, read_default_affinity, read_irq_file, write_default_affinity, write_irq_file
from asyncirq.irq.proc_dir import ProcEntry, list_irq_dir
from asyncirq.irq.sim_chip import IrqSim
from asyncirq.irq.spread import AffinityDesc, calc_affinity_vectors, create_affinity_masks
from asyncirq.machine import Machine
from asyncirq.units import us
from tests.irq.harness import Rig, boot, close_rigs  # noqa: F401
from tests.irqchip.chips import Chips, Device

OLD = preset("linux-2.6")


def test_S2_53_default_affinity_all_cpus() -> None:
    rig = Rig(cpus=4, kernel=OLD)
    assert {desc.affinity for desc in rig.core.all_descs()} == {0b1111}
    desc, _ = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler())
    for cpu in range(4):
        rig.fire_at(1000 + 100 * cpu, desc.irq, cpu)
    rig.play(5000)
    assert rig.log == [(1000 + 100 * cpu, f"handler on {cpu}") for cpu in range(4)]


def test_default_affinity_can_be_written() -> None:
    rig = Rig(cpus=4)
    assert read_default_affinity(rig.core) == "f\n"
    write_default_affinity(rig.core, "c")
    desc, _ = rig.line(handle_edge_irq, IrqSim(also=("set_affinity",)))
    rig.request(desc, rig.handler())
    assert (desc.affinity, desc.effective_affinity) == (0b1100, 0b1100)
    for text in ("0", "f0", "x"):
        with pytest.raises(UsageError) as error:
            write_default_affinity(rig.core, text)
        assert error.value.errno == 22
    assert read_default_affinity(rig.core) == "c\n"


def test_S4_07_softirq_stays_with_the_hard_irqs_cpu() -> None:
    async def main() -> list[int]:
        async with Machine(2) as m:
            msi = m.msi("nic")

            async def action(cpu: Cpu) -> None:
                await cpu.spend(100)

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                m.softirq.raise_softirq_nowake(cpu, 3)
                return IRQ_HANDLED

            m.softirq.open_softirq(3, action)
            await m.irq.request_irq(None, msi.irq, handler, 0, "nic")
            await m.irq.irq_set_affinity(None, msi.irq, 0b10)
            # The first one moves the interrupt, which is still on CPU0.
            for _ in range(5):
                msi.send()
                await m.run_for(us(50))
            row = next(line for line in m.proc("softirqs").splitlines() if "NET_RX" in line)
            return [int(word) for word in row.split()[1:]]

    assert asyncio.run(main()) == [1, 4]


def test_S4_08_proc_directory_per_irq() -> None:
    rig = Rig(cpus=4, kernel=OLD)
    desc, _ = rig.line(handle_edge_irq, IrqSim(also=("set_affinity",)))
    assert list_irq_dir(desc) == []
    for name in ("eth0", "usb", "eth0"):
        rig.request(desc, rig.handler(), flags=IRQF_SHARED, name=name, dev_id=object())
    assert list_irq_dir(desc) == [
        ProcEntry("smp_affinity", 0o644),
        ProcEntry("affinity_hint", 0o400),
        ProcEntry("smp_affinity_list", 0o644),
        ProcEntry("node", 0o444),
        ProcEntry("spurious", 0o444),
        ProcEntry("eth0", 0o555, True),
        ProcEntry("usb", 0o555, True),
    ]
    boot(write_irq_file(rig.core, None, desc.irq, "smp_affinity", "6"))
    assert (read_irq_file(rig.core, desc.irq, "smp_affinity_list"), desc.effective_affinity) == ("1-2\n", 0b0110)
    boot(write_irq_file(rig.core, None, desc.irq, "smp_affinity_list", "3"))
    assert (read_irq_file(rig.core, desc.irq, "smp_affinity"), desc.effective_affinity) == ("8\n", 0b1000)
    for file in ("affinity_hint", "node", "spurious"):
        assert read_irq_file(rig.core, desc.irq, file)
        with pytest.raises(UsageError) as error:
            boot(write_irq_file(rig.core, None, desc.irq, file, "1"))
        assert error.value.errno == 13
    # A current kernel shows where the line really goes, and lets everybody read the hint.
    now = Rig(cpus=4)
    line, _ = now.line(handle_edge_irq, IrqSim(also=("set_affinity",)))
    now.request(line, now.handler(), name="eth0")
    modes = {entry.name: entry.mode for entry in list_irq_dir(line)}
    assert (modes["affinity_hint"], modes["effective_affinity"]) == (0o444, 0o444)
    boot(now.core.free_irq(None, line.irq))
    assert not any(entry.directory for entry in list_irq_dir(line))


@pytest.mark.parametrize("release", ["linux-2.6", "linux-6.12"])
def test_S2_63_proc_registration_order(release: str) -> None:
    rig = Rig(kernel=preset(release), debug=True)
    desc, _ = rig.line(handle_edge_irq)
    for name in ("a", "b"):
        action = rig.core.alloc_action

        def dirty(*arguments: object, make: object = action) -> object:
            made = make(*arguments)  # type: ignore[operator]
            made.proc_dir = "stale" if release == "linux-2.6" else ""
            return made

        rig.core.alloc_action = dirty  # type: ignore[assignment]
        rig.request(desc, rig.handler(), flags=IRQF_SHARED, name=name, dev_id=name)
        rig.core.alloc_action = action
    notes = [event[5] for event in rig.events("irq_flow")]
    # The line's directory comes with its first action, the action's own after it, last of all.
    assert [note for note in notes if note.startswith("proc")] == ["proc", "proc a", "proc b"]
    assert notes[-1] == "proc b"
    assert notes.index("proc") > max(notes.index(note) for note in notes if note in ("unmask", "linked a", "status 0x80"))
    assert [action.proc_dir for action in desc.actions()] == ["a", "b"]


def test_S4_48_deferred_move() -> None:
    rig = Chips(cpus=2, kernel=OLD)
    irq, device = rig.device()
    desc = rig.core.desc(irq)
    writes = [True]

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        rig.note(f"handler on {cpu.id}")
        if writes.pop() if writes else False:
            await rig.core.irq_set_affinity(cpu, irq, 0b10)
            rig.note(f"flag {desc.setaffinity_pending}, at CPU{rig.vector_of(irq).cpu}")
        return IRQ_HANDLED

    rig.request(desc, handler)
    for when in (1000, 2000, 3000):
        rig.at(when, device.fire)
    rig.at(2500, lambda: rig.note(f"flag {desc.setaffinity_pending}, at CPU{rig.vector_of(irq).cpu}"))
    rig.play(5000)
    assert rig.log == [
        (1000, "handler on 0"),
        (1000, "flag True, at CPU0"),
        # The next one still comes here, and its ack makes the move.
        (2000, "handler on 0"),
        (2500, "flag False, at CPU1"),
        (3000, "handler on 1"),
    ]


def test_S1_51_no_balancing_flag() -> None:
    rig = Rig(cpus=4)
    lines = [rig.line(handle_edge_irq, IrqSim(also=("set_affinity",)))[0] for _ in range(3)]
    for desc, flags in zip(lines, (0, IRQF_NOBALANCING, 0), strict=True):
        rig.request(desc, rig.handler(), flags=flags)
    left = []
    # What a balancer in user space does: one CPU for each line, through /proc.
    for number, desc in enumerate(lines):
        try:
            boot(write_irq_file(rig.core, None, desc.irq, "smp_affinity", format_mask(1 << number, 4)))
        except UsageError as error:
            left.append((desc.irq, error.errno))
    assert left == [(lines[1].irq, 5)]
    assert [desc.effective_affinity for desc in lines] == [0b0001, 0, 0b0100]
    # The flag keeps the balancer away; the driver that asked for it places the line itself.
    boot(rig.core.irq_set_affinity(None, lines[1].irq, 0b1000))
    assert [desc.effective_affinity for desc in lines] == [0b0001, 0b1000, 0b0100]


def test_S1_25_hidden_irqs() -> None:
    rig = Rig(cpus=2)
    shown, _ = rig.line(handle_edge_irq)
    hidden, _ = rig.line(handle_edge_irq)
    hidden.hidden = True
    for desc in (shown, hidden):
        rig.request(desc, rig.handler(), name="ipi")
        rig.fire_at(1000, desc.irq, cpu=1)
    rig.play(5000)
    rows = [line.split(":")[0].strip() for line in interrupts(rig.core, {}).splitlines()[1:]]
    assert [row for row in rows if row.isdigit()] == [str(shown.irq)]
    assert hidden.kstat_irqs == [0, 1]


# --- managed spreading


@pytest.mark.parametrize(
    ("vectors", "cpus", "pre", "post", "masks"),
    [
        (4, 4, 0, 0, [0b0001, 0b0010, 0b0100, 0b1000]),
        (2, 4, 0, 0, [0b0011, 0b1100]),
        (3, 4, 0, 0, [0b0011, 0b0100, 0b1000]),
        (3, 8, 0, 0, [0b00000111, 0b00111000, 0b11000000]),
        (4, 2, 1, 1, [0xFF, 0b01, 0b10, 0xFF]),
        (5, 2, 1, 0, [0xFF, 0b01, 0b10, 0xFF, 0xFF]),
    ],
)
def test_managed_spreading(vectors: int, cpus: int, pre: int, post: int, masks: list[int]) -> None:
    spread = create_affinity_masks(vectors, cpus, 0xFF, pre, post)
    assert [one.mask for one in spread] == masks
    assert [one.managed for one in spread] == [one.mask != 0xFF for one in spread]


def test_numbers_of_managed_interrupts() -> None:
    assert [calc_affinity_vectors(*numbers) for numbers in ((1, 8, 4), (1, 3, 4), (2, 8, 4, 1, 0), (1, 8, 4, 1, 1))] == [4, 3, 5, 0]
    with pytest.raises(UsageError) as error:
        create_affinity_masks(2, 4, 0xF, 2, 1)
    assert error.value.errno == 22


def test_managed_interrupts_keep_a_vector_on_every_cpu_of_theirs() -> None:
    rig = Chips(cpus=4)
    irqs = [
        rig.msi.create_mapping(n, arg=Device(rig, True), affinity=affinity) for n, affinity in enumerate(create_affinity_masks(2, 4, 0xF))
    ]
    assert [cm.managed for cm in rig.vectors.matrix.maps] == [1, 1, 1, 1]
    for irq in irqs:
        rig.request(rig.core.desc(irq), rig.handler())
    descs = [rig.core.desc(irq) for irq in irqs]
    assert [(desc.affinity, desc.effective_affinity, desc.managed) for desc in descs] == [(0b0011, 0b0001, True), (0b1100, 0b0100, True)]
    with pytest.raises(UsageError) as error:
        boot(write_irq_file(rig.core, None, irqs[0], "smp_affinity", "8"))
    assert error.value.errno == 5


def test_the_machine_spreads_a_devices_queues() -> None:
    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        return IRQ_HANDLED

    async def main() -> list[tuple[int, bool]]:
        async with Machine(4) as m:
            queues = [m.msi(f"q{n}") for n in range(3)]
            irqs = m.kernel.arch.map_spread_msis(queues, pre=1)
            descs = [m.irq.desc(irq) for irq in irqs]
            await m.irq.request_irq(None, irqs[0], handler, 0, "admin")
            names = "smp_affinity affinity_hint smp_affinity_list node effective_affinity effective_affinity_list spurious admin"
            assert [entry.name for entry in list_irq_dir(descs[0])] == names.split()
            assert m.proc("irq/default_smp_affinity") == "f\n"
            return [(desc.affinity, desc.managed) for desc in descs]

    assert asyncio.run(main()) == [(0b1111, False), (0b0011, True), (0b1100, True)]
    assert AffinityDesc(1, True).managed
