"""Show the inventory's group J: descriptors and domains."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.config import VectorMap, preset
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_NONE, IRQF_DISABLED, IRQF_ONESHOT, IRQF_PERCPU, IRQF_SHARED, IrqData, IrqDesc
from asyncirq.irq.do_irq import do_irq, status_word
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.flow import handle_bad_irq, handle_edge_irq, handle_fasteoi_irq, handle_level_irq, handle_percpu_irq
from asyncirq.irq.proc import interrupts
from asyncirq.irq.sim_chip import IrqSim
from asyncirq.irq.snapshot import IRQS_ONESHOT, desc_bytes, irq_desc, irqaction, istate
from asyncirq.machine import Machine
from asyncirq.trace.record import tag_of
from asyncirq.units import ms
from tests.irq.harness import Rig, boot, close_rigs  # noqa: F401
from tests.irqchip.chips import Chips

OLD = preset("linux-2.6")


def test_S0_75_irq_desc_modern_fields() -> None:
    rig = Chips(cpus=2)
    irq, device = rig.device()
    rig.request(rig.core.desc(irq), rig.handler(), name="eth0")
    device.fire()
    rig.play(1000)
    assert irq_desc(rig.core.desc(irq)) == {
        "irq_common_data": {"affinity": 0b11, "effective_affinity": 0b01, "handler_data": None, "msi_desc": device},
        "irq_data": ((irq, 0, "PCI-MSI"), (irq, irq, "APIC")),
        "kstat_irqs": (1, 0),
        "handle_irq": "handle_edge_irq",
        "action": ("eth0",),
        "istate": 0,
        "depth": 0,
        "tot_count": 1,
        "irq_count": 0,
        "irqs_unhandled": 0,
        "percpu_enabled": 0,
        "threads_oneshot": 0,
        "threads_active": 0,
        "wait_for_threads": 0,
        "request_mutex": False,
        "name": "edge",
    }


def test_S2_35_irq_desc_26_fields() -> None:
    rig = Rig(kernel=OLD)
    desc, _ = rig.line(handle_level_irq)
    for name in ("a", "b"):
        rig.request(desc, rig.handler(), flags=IRQF_SHARED, name=name, dev_id=name)
    assert irq_desc(desc) == {
        "handler": "sim",
        "handler_data": None,
        "action": ("a", "b"),
        "status": 0,
        "depth": 0,
        "irq_count": 0,
        "irqs_unhandled": 0,
        "lock": "unlocked",
        "move_irq": False,
    }
    # Eight words, with the move flag nine: each is padded to lines of 32 bytes.
    assert (desc_bytes(move_flag=False), desc_bytes(move_flag=True)) == (32, 64)


def test_S0_29_modern_initial_state() -> None:
    rig = Rig(cpus=2)
    desc = rig.core.alloc_desc()
    assert (desc.chip.name, desc.handle_irq, desc.disabled, desc.masked, desc.depth) == ("none", handle_bad_irq, True, True, 1)
    assert (desc.kstat_irqs, desc.tot_count, desc.irq_count, desc.irqs_unhandled, desc.action) == ([0, 0], 0, 0, 0, None)
    assert (istate(desc), desc.affinity, desc.percpu_enabled) == (0, 0b11, 0)
    asked: list[int] = []
    rig.core.ack_bad_irq = lambda cpu, irq: asked.append(irq)
    line, _ = rig.line(desc.handle_irq)
    rig.fire_at(1000, line.irq)
    rig.play(2000)
    assert rig.events("printk") == [(1000, 0, "printk", 3, f"unexpected IRQ trap at irq {line.irq}")]
    assert (asked, rig.core.err_count) == ([line.irq], 1)


def test_S2_40_26_initial_state() -> None:
    rig = Rig(kernel=OLD)
    pictures = [irq_desc(desc) for desc in rig.core.all_descs()]
    fresh = {
        "handler": "none",
        "handler_data": None,
        "action": (),
        "status": 0,
        "depth": 0,
        "irq_count": 0,
        "irqs_unhandled": 0,
        "lock": "unlocked",
        "move_irq": False,
    }
    assert pictures == [fresh] * 224


def test_S0_26_storage() -> None:
    sparse = Rig()
    assert (sparse.core.descs.get(40), sparse.core.all_descs()) == (None, [])
    with pytest.raises(UsageError) as nothing:
        sparse.core.desc(40)
    assert nothing.value.errno == 22
    array = Rig(kernel=preset("linux-6.12", nr_irqs=64))
    entry = array.core.desc(40)
    assert (entry.irq, entry.chip.name, entry.handle_irq, entry.depth) == (40, "none", handle_bad_irq, 1)
    # The entry is there for whoever claims it first, and is as new when that one is gone.
    assert array.core.alloc_desc(40) is entry
    with pytest.raises(UsageError) as taken:
        array.core.alloc_desc(40)
    assert taken.value.errno == 17
    array.core.free_desc(40)
    assert array.core.alloc_desc(40) is not entry


def test_S0_27_early_descriptor_init() -> None:
    rig = Chips(cpus=2, kernel=preset("linux-6.12", vectors=VectorMap(legacy=16)))
    assert rig.said() == []
    loud = Rig(cpus=2, kernel=preset("linux-6.12", nr_irqs=32), debug=True)
    from asyncirq.irqchip.vector import VectorDomain

    VectorDomain(loud.core)
    assert loud.said() == ["irq: default affinity 0x3", "NR_IRQS: 32, preallocated irqs: 32", "arch: vector domain VECTOR"]
    for desc in loud.core.all_descs():
        assert (desc.kstat_irqs, desc.affinity, desc.request_mutex.owner, desc.request_mutex.name) == (
            [0, 0],
            0b11,
            None,
            f"request_mutex of irq {desc.irq}",
        )


def test_S0_31_root_vector_domain() -> None:
    rig = Chips()
    root = rig.vectors
    assert (root.name, root.size, root.parent, rig.core.default_host) == ("VECTOR", 0, None, root)
    assert (rig.msi.parent, rig.pins.parent) == (root, root)
    irq, _ = rig.device()
    datas = rig.core.desc(irq).datas()
    assert [(data.domain.name, data.chip.name) for data in datas if data.domain is not None] == [("PCI-MSI", "PCI-MSI"), ("VECTOR", "APIC")]
    assert (rig.msi.find_mapping(0), root.find_mapping(irq)) == (irq, irq)


class EdgeDomain(IrqDomain):
    """A domain of edge lines on a recording chip."""

    def alloc(self, data: IrqData, arg: object) -> None:
        data.chip = IrqSim(self.name)
        self.core.set_handler(data.desc, handle_edge_irq, "edge")


def test_S1_31_domain_dispatch() -> None:
    rig = Rig()
    left, right = EdgeDomain(rig.core, "left", 8), EdgeDomain(rig.core, "right")
    irqs = [domain.create_mapping(5) for domain in (left, right)]
    assert irqs[0] != irqs[1]
    for irq, name in zip(irqs, ("left", "right"), strict=True):
        rig.request(rig.core.desc(irq), rig.handler(name))
    found: list[bool] = []

    async def parent(cpu: Cpu) -> None:
        cpu.lapic.eoi(cpu)
        for domain, hwirq in ((left, 5), (right, 5), (right, 6), (left, 99)):
            found.append(await domain.generic_handle_domain_irq(cpu, hwirq))

    rig.handle(0x70, parent)
    rig.raise_at(1000, 0x70)
    rig.play(2000)
    assert (rig.log, found) == ([(1000, "left on 0"), (1000, "right on 0")], [True, True, False, False])


def test_S0_30_irq_data_linkage() -> None:
    rig = Chips()
    irq, device = rig.device()
    desc = rig.core.desc(irq)
    child, parent = desc.datas()
    assert child.parent is parent
    assert child.desc is parent.desc is desc
    assert ([child.irq, parent.irq], [child.chip.name, parent.chip.name]) == ([irq, irq], ["PCI-MSI", "APIC"])
    assert (child.chip_data, parent.chip_data) == (device, rig.vector_of(irq))
    desc.handler_data = "shared"
    assert (child.desc.handler_data, parent.desc.handler_data, parent.desc.msi_desc) == ("shared", "shared", device)


def test_S2_41_no_controller_ops() -> None:
    rig = Rig(kernel=OLD)
    desc = rig.core.desc(40)
    none = rig.core.no_controller
    cpu = rig.cpus[0]
    assert [none.startup(cpu, desc), none.enable(cpu, desc), none.disable(cpu, desc), none.shutdown(cpu, desc), none.end(cpu, desc)] == [
        0
    ] * 5
    assert (rig.said(), none.has_set_affinity, status_word(desc)) == ([], False, 0)
    asked: list[int] = []
    rig.core.ack_bad_irq = lambda cpu, irq: asked.append(irq)

    async def stray(cpu: Cpu) -> None:
        cpu.lapic.eoi(cpu)
        await desc.handle_irq(cpu, desc)

    rig.handle(0x70, stray)
    rig.raise_at(1000, 0x70)
    rig.play(2000)
    assert rig.events("printk") == [(1000, 0, "printk", 3, "unexpected IRQ trap at vector 28")]
    assert (asked, rig.core.err_count, desc.kstat_irqs) == ([40], 1, [1])
    with pytest.raises(UsageError) as refused:
        boot(rig.core.irq_set_affinity(None, 40, 1))
    assert refused.value.errno == 22


@pytest.mark.parametrize("flow", [handle_level_irq, handle_fasteoi_irq, handle_edge_irq])
def test_S2_37_controller_operations_table(flow: object) -> None:
    calls = {
        handle_level_irq: ["startup", "mask", "ack", "unmask", "mask", "unmask", "shutdown"],
        handle_fasteoi_irq: ["startup", "eoi", "mask", "unmask", "shutdown"],
        handle_edge_irq: ["startup", "ack", "shutdown"],
    }
    rig = Rig(kernel=OLD)
    desc, chip = rig.line(flow, IrqSim("wire", also=("startup", "shutdown", "set_affinity")))  # type: ignore[arg-type]
    controller = desc.controller
    assert controller is not None
    assert (controller.typename, controller.has_startup, controller.has_set_affinity, desc.handle_irq) == ("wire", True, True, do_irq)
    boot(rig.core.request_irq(None, desc.irq, rig.handler(ns=300), 0, "disk"))
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    boot(rig.core.disable_irq(None, desc.irq))
    boot(rig.core.enable_irq(None, desc.irq))
    boot(rig.core.free_irq(None, desc.irq))
    assert [call for call in chip.taken() if call != "set_affinity"] == calls[flow]  # type: ignore[index]
    # The driver's side is the same on each.
    driver = rig.events("irq_handler_entry", "irq_handler_exit")
    assert driver == [(1000, 0, "irq_handler_entry", desc.irq, "disk"), (1300, 0, "irq_handler_exit", desc.irq, 1)]


def test_S2_38_status_bits() -> None:
    rig = Rig(cpus=2, kernel=OLD, debug=True)
    desc, _ = rig.line(handle_level_irq)
    desc.level = True
    assert status_word(desc) == 2 | 64 | 128
    rig.request(desc, rig.handler(ns=500))
    rig.fire_at(1000, desc.irq)
    rig.fire_at(1200, desc.irq, cpu=1)
    rig.play(5000)
    words = [(event[0], event[1], int(event[5].split()[1], 16)) for event in rig.events("irq_flow") if event[5].startswith("status")]
    assert words == [
        (0, 0, 64 | 128),  # requested; the controller has not unmasked it yet
        (1000, 0, 4 | 64 | 128),  # masked by the ack, pending
        (1000, 0, 1 | 64 | 128),  # committed
        (1200, 1, 1 | 4 | 64 | 128),  # the second one is remembered
        (1500, 0, 1 | 64 | 128),  # and handled
        (2000, 0, 64 | 128),
    ]
    desc.replay = desc.autodetect = desc.waiting = desc.percpu = True
    assert status_word(desc) == 8 | 16 | 32 | 64 | 256


@pytest.mark.parametrize("release", ["linux-2.6", "linux-6.12"])
def test_S2_36_nested_disable_depth(release: str) -> None:
    rig = Rig(kernel=preset(release))
    desc, _ = rig.line(handle_level_irq)
    assert desc.depth == 1
    rig.request(desc, rig.handler())
    depths = [desc.depth]
    for _ in range(3):
        boot(rig.core.disable_irq(None, desc.irq))
        depths.append(desc.depth)
    for _ in range(3):
        assert desc.disabled
        boot(rig.core.enable_irq(None, desc.irq))
        depths.append(desc.depth)
    assert (depths, desc.disabled, desc.masked) == ([0, 1, 2, 3, 2, 1, 0], False, False)


@pytest.mark.parametrize("release", ["linux-2.6", "linux-6.12"])
def test_S0_28_counters_per_cpu_and_total(release: str) -> None:
    rig = Rig(cpus=2, kernel=preset(release))
    desc, _ = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler())
    for when, cpu in ((1000, 0), (2000, 1), (3000, 1)):
        rig.fire_at(when, desc.irq, cpu)
    bare, _ = rig.line(handle_bad_irq)
    rig.fire_at(4000, bare.irq)
    rig.play(5000)
    entries = [event[1] for event in rig.events("irq_handler_entry")]
    row = next(line for line in interrupts(rig.core, {}, {"ERR": rig.core.err_count}).splitlines() if line.startswith(f"{desc.irq:>3}:"))
    assert [int(word) for word in row.split()[1:3]] == [entries.count(0), entries.count(1)] == [1, 2]
    assert desc.tot_count == (0 if release == "linux-2.6" else 3)
    assert (rig.core.err_count, bare.kstat_irqs) == (1, [1, 0])


def test_S0_76_irqaction_fields() -> None:
    rig = Rig(kernel=preset("linux-6.12", threadirqs=True))
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(), rig.thread_fn(), flags=0, name="nic", dev_id="card")
    assert desc.action is not None
    assert irqaction(desc.action, do_irq=False) == {
        "handler": ("irq", "dev_id"),
        "dev_id": "card",
        "percpu_dev_id": None,
        "next": None,
        "thread_fn": None,
        "thread": "irq/16-nic",
        "secondary": "irq/16-s-nic",
        "irq": desc.irq,
        "flags": IRQF_ONESHOT,
        "thread_flags": ("AFFINITY", "FORCED_THREAD"),
        "thread_mask": 1,
        "name": "nic",
        "dir": "nic",
    }
    assert istate(desc) == IRQS_ONESHOT
    old = Rig(kernel=OLD)
    line, _ = old.line(handle_level_irq)
    for name in ("a", "b"):
        old.request(line, old.handler(), flags=IRQF_SHARED | IRQF_DISABLED, name=name, dev_id=name)
    assert irqaction(line.actions()[0], do_irq=True) == {
        "handler": ("irq", "dev_id", "regs"),
        "flags": IRQF_SHARED | IRQF_DISABLED,
        "mask": 0,
        "name": "a",
        "dev_id": "a",
        "next": "b",
        "irq": line.irq,
        "dir": "a",
    }


def test_per_cpu_lines_keep_their_status_bit() -> None:
    rig = Rig(kernel=OLD)
    desc, _ = rig.line(handle_percpu_irq)
    assert status_word(desc) == 2 | 128 | 256
    rig.request(desc, rig.handler(), flags=IRQF_PERCPU)
    assert status_word(desc) == 256


def test_the_26_machine_runs_its_lines_by_one_flow() -> None:
    async def main() -> tuple[list[str], set[str], str]:
        async with Machine(kernel="linux-2.6") as m:
            line, irq = m.line(9)
            msi = m.msi("nic")

            async def by_wire(cpu: Cpu, irq: int, dev_id: object) -> int:
                line.set(False)
                return IRQ_HANDLED

            async def by_message(cpu: Cpu, irq: int, dev_id: object) -> int:
                return IRQ_HANDLED if not cpu.irqs_off else IRQ_NONE

            await m.irq.request_irq(None, irq, by_wire, IRQF_DISABLED, "wire")
            await m.irq.request_irq(None, msi.irq, by_message, 0, "nic")
            line.set(True)
            await m.run_for(ms(1))
            msi.send()
            await m.run_for(ms(1))
            descs: list[IrqDesc] = [m.irq.desc(number) for number in (irq, msi.irq)]
            exits = [f"{record.irq} {record.ret}" for record in m.records if tag_of(type(record)) == "irq_handler_exit"]  # type: ignore[attr-defined]
            return exits, {desc.handle_irq.__name__ for desc in descs}, m.proc("irq/9/smp_affinity")

    assert asyncio.run(main()) == (["9 1", "16 1"], {"do_irq"}, "1\n")
