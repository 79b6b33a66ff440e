"""Show group H of the inventory, and what section 5 and 6 of the catalogue say of Linux, on whole machines."""

from __future__ import annotations

import pytest

from asyncirq.arch.arm64 import check_priority_mask
from asyncirq.arch.arm64_smp import IPI_CALL_FUNC, IPI_CPU_STOP, IPI_NAMES, IPI_RESCHEDULE
from asyncirq.arch.gic_v2 import GicV2Arch
from asyncirq.errors import KernelBug, UsageError
from asyncirq.firmware.devicetree import Node, Value
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gic import regs
from asyncirq.hw.gic.common import GicState
from asyncirq.hw.gic.gicv2 import DistributorV2
from asyncirq.irq.chip import IRQCHIP_STATE_PENDING
from asyncirq.irq.desc import (
    IRQ_HANDLED,
    IRQ_TYPE_EDGE_FALLING,
    IRQ_TYPE_EDGE_RISING,
    IRQ_TYPE_LEVEL_HIGH,
    IRQ_TYPE_LEVEL_LOW,
    IRQF_NO_AUTOEN,
    IRQF_PERCPU,
    IrqReturn,
)
from asyncirq.irqchip.gic import GicV2
from asyncirq.irqchip.gic_common import translate
from asyncirq.irqchip.gic_v3 import CHECK_RDIST, STARTING, GicV3
from asyncirq.machine import Machine
from asyncirq.sched.preempt import NMI_MASK
from asyncirq.sched.task import Task
from asyncirq.units import us
from tests.conformance.arm64 import arch_of, board_of, machine, run, spender, story
from tests.hw.gic.gics import World


def test_GIC_29_linux_flow_mapping() -> None:
    async def main() -> None:
        async with machine() as m:
            domain = arch_of(m).gic.domain
            rows = [((9,), 9), ((1, 9, 4), 25), ((0, 8, 4), 40)]
            flows = []
            for cells, intid in rows:
                desc = m.irq.desc(domain.map_specifier(cells))
                assert desc.data.hwirq == intid
                flows.append((desc.handle_irq.__name__, desc.percpu_devid, desc.single_target))
            desc = m.irq.desc(m.msi("eth0").irq)
            flows.append((desc.handle_irq.__name__, desc.percpu_devid, desc.single_target))
            assert flows == [
                ("handle_percpu_devid_irq", True, False),
                ("handle_percpu_devid_irq", True, False),
                ("handle_fasteoi_irq", False, True),
                ("handle_fasteoi_irq", False, True),
            ]
            chip, cpu = arch_of(m).gic.chip, m.cpus[0]
            kinds = (IRQ_TYPE_EDGE_RISING, IRQ_TYPE_EDGE_FALLING, IRQ_TYPE_LEVEL_HIGH, IRQ_TYPE_LEVEL_LOW)
            for intid, wanted in ((9, [0, -22, -22, -22]), (40, [0, -22, 0, -22])):
                data = m.irq.desc(domain.find_mapping(intid)).data
                assert [chip.irq_set_type(cpu, data, kind) for kind in kinds] == wanted

    run(main)


def test_GIC_29_specifiers() -> None:
    assert [translate(cells) for cells in ((3,), (0, 5, 4), (1, 11, 0x104), (2, 7, 1), (3, 2, 4))] == [
        (3, 1),
        (37, 4),
        (27, 4),
        (4103, 1),
        (1058, 4),
    ]
    for cells in ((16,), (0, 5), (9, 1, 1), ()):
        with pytest.raises(UsageError, match="no specifier of a GIC"):
            translate(cells)


def test_GIC_31_no_software_resend() -> None:
    async def main() -> None:
        async with machine() as m:
            line, irq = m.line(8, level=False)
            await m.irq.request_irq(None, irq, spender(0), 0, "card")
            desc = m.irq.desc(irq)
            assert desc.enforce_irqctx

            async def body(task: Task) -> None:
                await m.irq.disable_irq_nosync(task, irq)
                line.pulse()
                await task.spend(us(1))
                assert (desc.pending, desc.masked) == (True, True)
                await m.irq.enable_irq(task, irq)

            m.start_thread(body, "body")
            await m.run_for(us(100))
            assert [row[2:] for row in story(m.records, "irq_handler_entry", "tasklet_entry", "gic_iar")] == [
                ("gic_iar", 40),  # disabled lazily: marked pending, masked
                ("gic_iar", 40),  # written to ISPENDR
                ("irq_handler_entry", irq),
            ]
            await m.irq.irq_set_irqchip_state(None, irq, IRQCHIP_STATE_PENDING, True)
            await m.run_for(us(100))
            assert desc.kstat_irqs == [2 - 1 + 1]

    run(main)


@pytest.mark.parametrize(
    ("secure", "group0", "wanted"), [(False, True, (0xC0, 0x80)), (True, False, (0xC0, 0x80)), (True, True, (0x80, 0x00))]
)
def test_GIC_32_pseudo_nmi_priorities(secure: bool, group0: bool, wanted: tuple[int, int]) -> None:
    async def main() -> None:
        async with machine(pseudo_nmi=True) as m:
            world = World(pes=1, secure=secure)
            gic = GicV3(m.irq, world.distributor, pseudo_nmi=True, group0=group0)
            assert (gic.prio_irq, gic.prio_nmi) == wanted
            board, cpu = board_of(m), m.cpus[0]
            await m.run_for(us(100))
            interface = board.distributor.interfaces[0]
            interface.on_output = lambda: None  # the PE looks away: what is signalled is judged here
            assert not cpu.irqs_off
            seen = [board.pes[0].pmr()]
            cpu.irqs_off = True
            seen.append(board.pes[0].pmr())
            assert seen == [0xE0, 0xC0]
            signalled = []
            for intid, priority in ((40, 0xC0), (41, 0x80)):
                interrupt = board.distributor.shared[intid]
                interrupt.set_priority(priority)
                interrupt.set_enabled(True)
                interrupt.pulse()
                signalled.append((interface.irq, interface.nmi))
            assert signalled == [(True, False), (True, True)]

    run(main)


def test_ITS_16_affinity_of_an_lpi() -> None:
    async def main() -> None:
        async with machine(2) as m:
            msi = m.msi("eth0")
            desc = m.irq.desc(msi.irq)
            assert desc.needs_resend

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
                if cpu.id == 0:
                    board_of(m).its.errors.clear()
                    msi.send()
                    await m.irq.irq_set_affinity(cpu, irq, 0b10)
                    await cpu.spend(us(5))
                return IRQ_HANDLED

            await m.irq.request_irq(None, msi.irq, handler, 0, "eth0")
            assert desc.effective_affinity == 0b01
            m.engine.timer(msi.send, "raise").arm(us(50))
            await m.run_for(us(100))
            assert desc.effective_affinity == 0b10
            rows = story(m.records, "gic_pend", "gic_iar", "gic_eoir", "irq_handler_entry", "irq_handler_exit", irqs=(msi.irq,))
            assert [row for row in rows if row[3] in (8192, msi.irq)] == [
                (us(50), 0, "gic_pend", 8192),
                (us(50), 0, "gic_iar", 8192),
                (us(50), 0, "irq_handler_entry", msi.irq),
                (us(50), 0, "gic_pend", 8192),  # a second message during the handler, moved by MOVI to CPU 1
                (us(50), 1, "gic_iar", 8192),
                (us(50), 1, "gic_eoir", 8192),  # the handler runs on CPU 0: pending, no wait
                (us(55), 0, "irq_handler_exit", msi.irq),
                (us(55), 0, "gic_eoir", 8192),
                (us(55), 1, "gic_pend", 8192),  # resent: the command INT
                (us(55), 1, "gic_iar", 8192),
                (us(55), 1, "irq_handler_entry", msi.irq),
                (us(55), 1, "irq_handler_exit", msi.irq),
                (us(55), 1, "gic_eoir", 8192),
            ]

    run(main)


def test_ITS_17_pending_table_at_boot() -> None:
    async def main() -> None:
        async with machine(2) as m:
            for lpis in board_of(m).its.lpis:
                assert lpis.pendbase & regs.PENDBASER_PTZ
                assert lpis.enabled
                assert lpis.read(regs.GICR_PENDBASER, 8) & regs.PENDBASER_PTZ == 0
                lpis.write(regs.GICR_CTLR, 0)
                assert lpis.enabled

    run(main)


def test_S1_26_root_handler_set_once() -> None:
    async def main() -> None:
        async with machine() as m:
            line, irq = m.line(8, level=False)
            await m.irq.request_irq(None, irq, spender(0), 0, "card")

            async def other(cpu: Cpu) -> None:
                raise AssertionError("the second handler stays out")

            assert m.kernel.arch.entry.set_handle_irq(other) == -16  # type: ignore[attr-defined]
            line.pulse()
            await m.run_for(us(100))
            assert m.irq.desc(irq).kstat_irqs == [1]

    run(main)


def test_S1_26_fiq_has_a_default_of_its_own() -> None:
    async def main() -> None:
        async with machine() as m:
            board = board_of(m)
            interrupt = board.distributor.shared[40]
            interrupt.set_group(False, False)
            interrupt.set_enabled(True)
            board.distributor.enable_group(0, regs.GROUP0)
            entry = arch_of(m).entry
            taken = []

            async def root(cpu: Cpu) -> None:
                intid, _ = board.distributor.interfaces[0].acknowledge(regs.GROUP0, cpu)
                taken.append(intid)
                board.distributor.interfaces[0].end(intid, regs.GROUP0)

            assert (entry.set_handle_fiq(root), entry.set_handle_fiq(root)) == (0, -16)
            interrupt.pulse()
            await m.run_for(us(10))
            assert taken == [40]
        async with machine() as m:
            board = board_of(m)
            board.distributor.enable_group(0, regs.GROUP0)
            interrupt = board.distributor.shared[40]
            interrupt.set_group(False, False)
            interrupt.set_enabled(True)
            interrupt.pulse()
            with pytest.raises(KernelBug, match="FIQ taken without a root FIQ handler on CPU0"):
                await m.run_for(us(10))

    run(main)


def test_S1_23_smp_setup() -> None:
    async def main() -> None:
        async with machine(4) as m:
            arch = arch_of(m)
            assert arch.gic.callbacks == [CHECK_RDIST, STARTING]
            assert (arch.smp.count, arch.smp.base) == (8, m.irq.all_descs()[0].irq)
            for number in range(8):
                desc = m.irq.desc(arch.smp.base + number)
                assert (desc.data.hwirq, [action.name for action in desc.actions()], desc.percpu_enabled) == (number, ["IPI"], 0b1111)
            assert [part.awake for part in board_of(m).distributor.redistributors] == [True] * 4
            board_of(m).distributor.redistributors[3].affinity = 77
            assert arch.gic.cpu_init(m.cpus[3]) == -19
            assert [row[3] for row in story(m.records, "printk")] == [3]

    run(main)


def test_S1_24_ipi_range() -> None:
    async def main() -> None:
        async with machine(3) as m:
            arch = arch_of(m)
            base = arch.smp.base
            assert all(m.irq.desc(base + number).hidden for number in range(8))
            called = []

            async def function(cpu: Cpu) -> None:
                called.append(cpu.id)

            async def body(task: Task) -> None:
                cpu = task.preempt_disable()
                await m.kernel.ipi.smp_call_function_many(cpu, 0b110, function, wait=True)
                await task.preempt_enable()

            await m.run_for(us(50))
            m.start_thread(body, "body", cpu=0)
            await m.run_for(us(50))
            assert sorted(called) == [1, 2]
            assert m.irq.desc(base + IPI_CALL_FUNC).kstat_irqs == [0, 1, 1]
            assert m.irq.desc(base + IPI_RESCHEDULE).kstat_irqs == [1, 0, 0]
            text = m.proc("interrupts").splitlines()
            assert not any(line.split(":")[0].strip() == str(base) for line in text)
            assert text[-9].split() == ["IPI0:", "1", "0", "0", "Rescheduling", "interrupts"]
            assert text[-8].split() == ["IPI1:", "0", "1", "1", "Function", "call", "interrupts"]
            rows = [row for row in story(m.records, "ipi_raise", "ipi_entry", "ipi_exit") if row[3] != IPI_NAMES[IPI_RESCHEDULE]]
            assert [row[1:3] for row in rows] == [
                (0, "ipi_raise"),
                (0, "ipi_raise"),
                (1, "ipi_entry"),
                (1, "ipi_exit"),
                (2, "ipi_entry"),
                (2, "ipi_exit"),
            ]

    run(main)


def test_S1_24_cpu_stop() -> None:
    async def main() -> None:
        async with machine(2) as m:
            arch = arch_of(m)

            async def body(task: Task) -> None:
                cpu = task.preempt_disable()
                arch.smp.stop_others(cpu)
                await cpu.spend(us(1))
                await task.preempt_enable()

            m.start_thread(body, "body", cpu=0)
            await m.run_for(us(100))
            assert arch.smp.stopped == 0b10
            assert m.irq.desc(arch.smp.base + IPI_CPU_STOP).kstat_irqs == [0, 1]

    run(main)


def test_S1_27_irqs_on_path() -> None:
    async def main() -> None:
        async with machine(pseudo_nmi=True) as m:
            normal, irq = m.line(8, level=False)
            urgent, nmi = m.line(9, level=False)
            other, third = m.line(10, level=False)
            counts = []

            async def on_nmi(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
                counts.append(cpu.preempt_count & NMI_MASK != 0)
                await cpu.spend(100)
                return IRQ_HANDLED

            await m.irq.request_irq(None, irq, spender(us(5)), 0, "normal")
            await m.irq.request_irq(None, third, spender(us(1)), 0, "third")
            m.irq.request_nmi(nmi, on_nmi, IRQF_PERCPU | IRQF_NO_AUTOEN, "urgent")
            m.irq.enable_nmi(m.cpus[0], nmi)
            m.engine.timer(normal.pulse, "normal").arm(us(50))
            m.engine.timer(urgent.pulse, "urgent").arm(us(52))
            m.engine.timer(other.pulse, "other").arm(us(53))
            await m.run_for(us(100))
            assert story(m.records, "irq_handler_entry", "irq_handler_exit", irqs=(irq, nmi, third)) == [
                (us(50), 0, "irq_handler_entry", irq),
                (us(52), 0, "irq_handler_entry", nmi),
                (us(52) + 100, 0, "irq_handler_exit", nmi),
                (us(55) + 100, 0, "irq_handler_exit", irq),
                (us(55) + 100, 0, "irq_handler_entry", third),
                (us(56) + 100, 0, "irq_handler_exit", third),
            ]
            assert counts == [True]

    run(main)


def test_S1_28_irqs_off_path() -> None:
    async def main() -> None:
        async with machine(pseudo_nmi=True) as m:
            normal, irq = m.line(8, level=False)
            urgent, nmi = m.line(9, level=False)
            await m.irq.request_irq(None, irq, spender(us(1)), 0, "normal")
            m.irq.request_nmi(nmi, spender(100), IRQF_PERCPU | IRQF_NO_AUTOEN, "urgent")
            m.irq.enable_nmi(m.cpus[0], nmi)

            async def body(task: Task) -> None:
                cpu = task.cpu
                cpu.irq_disable()
                normal.pulse()
                urgent.pulse()
                await cpu.spend(us(10))
                assert m.irq.irq_get_irqchip_state(cpu, irq, IRQCHIP_STATE_PENDING)
                await cpu.irq_enable()

            await m.run_for(us(50))
            m.start_thread(body, "body")
            await m.run_for(us(100))
            rows = story(m.records, "irq_handler_entry", "irq_handler_exit", irqs=(irq, nmi))
            start = rows[0][0]
            assert rows == [
                (start, 0, "irq_handler_entry", nmi),
                (start + 100, 0, "irq_handler_exit", nmi),
                (start + us(10) + 100, 0, "irq_handler_entry", irq),
                (start + us(11) + 100, 0, "irq_handler_exit", irq),
            ]

    run(main)


def test_S1_29_special_intid_ends_without_eoi() -> None:
    async def main() -> None:
        async with machine(costs=None) as m:
            line, irq = m.line(8)
            await m.irq.request_irq(None, irq, spender(0), 0, "card")
            m.engine.timer(lambda: line.set(True), "raise").arm(us(50))
            m.engine.timer(lambda: line.set(False), "withdraw").arm(us(50) + 600)
            await m.run_for(us(100))
            assert story(m.records, "gic_pend", "gic_iar", "gic_eoir", "irq_handler_entry") == [
                (us(50) + 500, -1, "gic_pend", 40),
                (us(50) + 750, 0, "gic_iar", 1023),
            ]
            assert m.irq.desc(irq).kstat_irqs == [0]

    run(main)


@pytest.mark.parametrize("boot_el", [1, 2])
def test_S1_21_eoi_mode_split(boot_el: int) -> None:
    async def main() -> None:
        async with machine(boot_el=boot_el) as m:
            first, irq = m.line(8, level=False)
            second, other = m.line(9, level=False)
            interface = board_of(m).distributor.interfaces[0]
            signalled = []

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
                first.pulse()
                await cpu.spend(100)
                signalled.append(interface.irq)
                second.pulse()
                await cpu.spend(100)
                signalled.append(interface.irq)
                first.set(False)
                return IRQ_HANDLED

            async def once(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
                return IRQ_HANDLED if signalled[2:] else await handler(cpu, irq, dev_id)

            await m.irq.request_irq(None, irq, once, 0, "first")
            await m.irq.request_irq(None, other, spender(0), 0, "second")
            m.engine.timer(first.pulse, "raise").arm(us(50))
            await m.run_for(us(100))
            # The same INTID waits for its deactivation; another one of the same priority only for the priority drop.
            assert signalled[:2] == [False, boot_el == 2]
            rows = [row[2:] for row in story(m.records, "gic_iar", "gic_eoir", "gic_dir") if row[0] < us(60)][:3]
            assert rows == (
                [("gic_iar", 40), ("gic_eoir", 40), ("gic_dir", 40)]
                if boot_el == 2
                else [("gic_iar", 40), ("gic_eoir", 40), ("gic_iar", 40)]
            )

    run(main)


@pytest.mark.parametrize("boot_el", [1, 2])
def test_S1_30_unexpected_interrupt(boot_el: int) -> None:
    async def main() -> None:
        async with machine(boot_el=boot_el) as m:
            line, irq = m.line(8, level=False)
            await m.irq.request_irq(None, irq, spender(0), 0, "card")
            stray = board_of(m).distributor.shared[77]
            stray.edge = True
            stray.set_enabled(True)
            for at in (50, 60):
                m.engine.timer(stray.pulse, "stray").arm(us(at))
            m.engine.timer(line.pulse, "raise").arm(us(70))
            await m.run_for(us(100))
            texts = [getattr(record, "text", "") for record in m.records]
            assert [text for text in texts if text] == ["Unexpected interrupt (irqnr 77)"]
            assert (stray.state, m.irq.desc(irq).kstat_irqs) == ("inactive", [1])
            assert board_of(m).distributor.interfaces[0].running == 0xFF

    run(main)


@pytest.mark.parametrize("pseudo_nmi", [False, True])
def test_S1_11_priority_masking_boot_check(pseudo_nmi: bool) -> None:
    async def main() -> None:
        async with machine(pseudo_nmi=pseudo_nmi, debug=True) as m:
            texts = [getattr(record, "text", "") for record in m.records if getattr(record, "text", "").startswith("init_irq")]
            stages = ["init_irq: irq stacks", "init_irq: shadow call stacks", "init_irq: irqchip"]
            assert texts == stages + ["init_irq: PMR 0xc0, DAIF clear"] * pseudo_nmi
        async with machine(pseudo_nmi=True) as m:
            pe = board_of(m).pes[0]
            pe.taken = 2
            m.cpus[0].nmi_blocked = True
            check_priority_mask(arch_of(m))
            assert [getattr(record, "text", "") for record in m.records if getattr(record, "text", "")] == [
                "SError masked while interrupts are set up"
            ]

    run(main)


def second_gic(m: Machine) -> tuple[GicV2, Node]:
    """Put a second GICv2 behind SPI 30 of the first, and return its driver and node. Its interrupt 40 is wired to nothing."""
    arch = m.kernel.arch
    assert isinstance(arch, GicV2Arch)
    silicon = DistributorV2(GicState(m.engine, m.trace, priority_bits=4), 1, 64)
    props: dict[str, Value] = {"compatible": "arm,pl390", "interrupt-controller": (), "#interrupt-cells": 3, "interrupts": (0, 30, 4)}
    node = arch.board.devicetree.root.add(Node("intc@9000000", props))
    arch.silicon[node.path] = silicon
    output, _ = m.line(30)
    silicon.interfaces[0].on_output = lambda: output.set(silicon.interfaces[0].irq)
    root = arch.board.devicetree.find("/intc@8000000")
    assert arch.board.devicetree.interrupt_parent(node) is root
    assert arch.of_init(node, root) == 0
    return arch.gics[1], node


def test_S1_20_gic_of_init_flow() -> None:
    async def main() -> None:
        async with machine(2, controller="gicv2", boot_el=2) as m:
            arch = m.kernel.arch
            assert isinstance(arch, GicV2Arch)
            first = arch.gic
            assert (first.split, first.cpu_map, arch.smp.count, first.callbacks) == (
                True,
                [1, 2, 255, 255, 255, 255, 255, 255],
                8,
                ["irqchip/arm/gic:starting"],
            )
            assert arch.messages.name == "MSI"
            second, _ = second_gic(m)
            assert arch.gics == [first, second]
            assert (second.name, second.split, second.callbacks, second.cpu_map[0]) == ("GIC-1", False, [], 1)
            assert arch.entry._handle_irq == first.handle_irq
            parent = m.irq.desc(first.domain.find_mapping(62))
            assert (parent.norequest, parent.handle_irq) == (True, second._handle_cascade)
            assert arch.of_init(Node("nothing"), None) == -6

    run(main)


@pytest.mark.parametrize("boot_el", [1, 2])
def test_S1_22_cascaded_controller(boot_el: int) -> None:
    async def main() -> None:
        async with machine(controller="gicv2", boot_el=boot_el) as m:
            second, _ = second_gic(m)
            irq = second.domain.map_specifier((0, 8, 1))
            await m.irq.request_irq(None, irq, spender(200), 0, "card")
            for at in (50, 60):
                m.engine.timer(second.distributor.shared[40].pulse, "raise").arm(us(at))
            m.engine.timer(second.distributor.shared[41].pulse, "disabled").arm(us(70))
            await m.run_for(us(100))
            assert m.irq.desc(irq).kstat_irqs == [2]
            names = ("gic_pend", "line_level", "gic_iar", "irq_handler_entry", "irq_handler_exit", "gic_eoir", "gic_dir")
            first = [row for row in story(m.records, *names) if us(50) <= row[0] < us(60)]
            ends = ["gic_dir"] if boot_el == 2 else ["gic_eoir"]
            assert [(row[2], row[3]) for row in first] == [
                ("gic_pend", 40),
                ("line_level", "gsi30"),
                ("gic_pend", 62),
                ("gic_iar", 62),
                *[("gic_eoir", 62)] * (boot_el == 2),
                ("line_level", "gsi30"),
                ("gic_iar", 40),
                ("irq_handler_entry", irq),
                ("irq_handler_exit", irq),
                ("gic_eoir", 40),
                *[(end, 62) for end in ends],
                ("gic_iar", 1023),
            ]

    run(main)
