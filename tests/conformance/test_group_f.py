"""Show the inventory's group F: local APIC, IO-APIC, 8259."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.arch import ApicArch, I8259Arch
from asyncirq.arch.x86 import X86
from asyncirq.board import ApicBoard, I8259Board
from asyncirq.bottom_half.softirq import TASKLET_SOFTIRQ
from asyncirq.config import KernelConfig, VectorMap, preset
from asyncirq.costs import Costs, cost_names
from asyncirq.entry import NMI_VECTOR
from asyncirq.errors import UsageError
from asyncirq.hw.apic_message import NMI, ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.core import early_irq_init
from asyncirq.irq.desc import IRQ_HANDLED
from asyncirq.kernel import Kernel
from asyncirq.machine import Machine
from asyncirq.sched.task import Task
from asyncirq.sim import Driver, Engine
from asyncirq.trace import Record, tag_of
from asyncirq.units import ms, us

FREE = Costs(**dict.fromkeys(cost_names(), 0))


def chain(records: list[Record], last: str) -> list[tuple[str, int]]:
    """Return (record, CPU) along the causes of the last record of a name, first cause first."""
    by_seq = {record.seq: record for record in records}
    step = next((record for record in reversed(records) if tag_of(type(record)) == last), None)
    found = []
    while step is not None:
        found.append((tag_of(type(step)), step.cpu))
        step = by_seq.get(step.cause)
    return found[::-1]


@pytest.mark.parametrize(
    ("controller", "layers"),
    [
        ("apic", [("line_level", -1), ("ioapic_deliver", -1), ("lapic_irr", 0), ("lapic_inta", 0), ("irq_handler_entry", 0)]),
        ("i8259", [("line_level", -1), ("pic_irr", -1), ("pic_inta", 0), ("irq_handler_entry", 0)]),
    ],
)
def test_S0_01_end_to_end_path(controller: str, layers: list[tuple[str, int]]) -> None:
    async def main() -> tuple[list[Record], int]:
        async with Machine(controller=controller) as m:
            line, irq = m.line(16)

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                line.set(False)
                return IRQ_HANDLED

            await m.irq.request_irq(None, irq, handler, 0, "dev")
            await m.run_for(ms(1))
            assert m.trace is not None
            line.set(True, m.trace.device_raise(0, "dev", "test"))
            await m.run_for(us(50))
            return m.records, irq

    records, irq = asyncio.run(main())
    assert chain(records, "irq_handler_entry") == [("device_raise", -1), *layers]
    entry = next(record for record in records if tag_of(type(record)) == "irq_handler_entry")
    assert entry.irq == irq  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("controller", "cpus", "ran"),
    [
        # One INT line: the two requests are served one after the other, the lower line first.
        ("i8259", 1, [(1000_000, 0, "b"), (1010_000, 0, "a")]),
        ("apic", 2, [(1000_000, 0, "a"), (1000_000, 1, "b")]),
    ],
)
def test_S2_02_pic_versus_apic(controller: str, cpus: int, ran: list[tuple[int, int, str]]) -> None:
    async def main() -> list[tuple[int, int, str]]:
        async with Machine(cpus, controller=controller, costs=FREE) as m:
            found = []

            async def handler(cpu: Cpu, irq: int, name: object) -> int:
                found.append((m.now, cpu.id, str(name)))
                await cpu.spend(us(10))
                return IRQ_HANDLED

            lines = [m.line(gsi, level=False) for gsi in (6, 3)]
            for number, ((_, irq), name) in enumerate(zip(lines, "ab", strict=True)):
                await m.irq.request_irq(None, irq, handler, 0, name, name)
                if cpus > 1:
                    await m.irq.irq_set_affinity(None, irq, 1 << number)
            await m.run_for(ms(1))
            cpu = m.cpus[0]
            cpu.irq_disable()
            for line, _ in lines:
                line.pulse()
            cpu.iret(False)
            await m.run_for(us(100))
            return found

    assert asyncio.run(main()) == ran


def test_S3_09_checked_at_the_instruction_boundary() -> None:
    async def main() -> list[int]:
        async with Machine(costs=FREE) as m:
            msi = m.msi("dev")
            seen = []

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                seen.append(m.now)
                return IRQ_HANDLED

            async def body(task: Task) -> None:
                cpu = task.preempt_disable()
                # A read across the bus from 0 to 800 ns, then ordinary code up to 1300, then another read up to 1400.
                await cpu.instruction(800)
                await cpu.spend(500)
                await cpu.instruction(100)
                seen.append(-m.now)
                await task.preempt_enable()

            await m.irq.request_irq(None, msi.irq, handler, 0, "dev")
            m.start_thread(body, "reader")
            for when in (300, 1_000, 1_350):
                m.engine.timer(msi.send, "raise").arm(when)
            await m.run_for(us(10))
            return seen

    assert asyncio.run(main()) == [800, 1_000, 1_400, -1_400]


def test_S3_14_spurious_handler() -> None:
    async def main() -> list[tuple[int, str]]:
        async with Machine() as m:
            board = m.board
            assert isinstance(board, ApicBoard)
            gates = board.cpus[0].idt.gates
            vector = max(n for n, gate in enumerate(gates[:0xFF]) if gate is not None and gate.name == "asm_spurious_interrupt")
            await m.run_for(ms(1))
            before = len(m.records)
            board.bus.deliver(board.fixed_message(m.cpus[0], vector))
            await m.run_for(us(10))
            assert m.cpus[0].lapic.isr == 0
            return [(getattr(record, "vector", 0) - vector, tag_of(type(record))) for record in m.records[before:]]

    assert asyncio.run(main()) == [
        (0, name) for name in ("lapic_irr", "lapic_inta", "spurious_apic_entry", "lapic_eoi", "spurious_apic_exit")
    ]


def test_S0_59_eoi_for_unknown_vector() -> None:
    async def main() -> tuple[list[tuple[str, int]], list[str]]:
        async with Machine() as m:
            board = m.board
            assert isinstance(board, ApicBoard)
            msi = m.msi("dev")

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                return IRQ_HANDLED

            await m.irq.request_irq(None, msi.irq, handler, 0, "dev")
            await m.run_for(ms(1))
            before = len(m.records)
            board.bus.deliver(board.fixed_message(m.cpus[0], 0x90))
            msi.send()
            await m.run_for(us(50))
            named = [(tag_of(type(record)), getattr(record, "vector", getattr(record, "irq", 0))) for record in m.records[before:]]
            said = [record.text for record in m.records if tag_of(type(record)) == "printk"]  # type: ignore[attr-defined]
            return [pair for pair in named if pair[0] in ("lapic_inta", "lapic_eoi", "irq_handler_entry")], said

    steps, said = asyncio.run(main())
    device = steps[2][1]
    assert device < 0x90
    assert steps == [
        ("lapic_inta", 0x90),
        ("lapic_eoi", 0x90),
        ("lapic_inta", device),
        ("lapic_eoi", device),
        ("irq_handler_entry", steps[-1][1]),
    ]
    assert said == ["common_interrupt: 0.144 No irq handler for vector"]


@pytest.mark.parametrize(
    ("controller", "steps"),
    [
        ("apic", ["trap_init", "init_ISA_irqs", "idt_setup_apic_and_irq_gates", "lapic_assign_system_vectors", "interrupt stack of CPU0"]),
        ("i8259", ["trap_init", "init_ISA_irqs", "idt_setup_apic_and_irq_gates", "cascade on irq 2", "interrupt stack of CPU0"]),
    ],
)
def test_S0_34_native_init_irq_order(controller: str, steps: list[str]) -> None:
    async def main() -> list[tuple[int, str]]:
        async with Machine(controller=controller, debug=True) as m:
            return [(record.ts, record.text) for record in m.records if tag_of(type(record)) == "printk"]  # type: ignore[attr-defined]

    said = asyncio.run(main())
    assert [(ts, text.removeprefix("x86: ")) for ts, text in said if text.startswith("x86: ")] == [(0, step) for step in steps]


@pytest.mark.parametrize("acpi_ioapic", [False, True])
@pytest.mark.parametrize("of_ioapic", [False, True])
@pytest.mark.parametrize("legacy_irqs", [0, 16])
def test_S0_36_pic_cascade_on_irq_2(acpi_ioapic: bool, of_ioapic: bool, legacy_irqs: int) -> None:
    driver = Driver(Engine())
    kernel = Kernel(I8259Board(driver.engine, 1, Costs(), None), preset("linux-6.12"), Costs(), None)
    arch = kernel.arch
    assert isinstance(arch, I8259Arch)
    early_irq_init(kernel.irq)
    arch.legacy.map_all()
    made = arch.setup_cascade(acpi_ioapic=acpi_ioapic, of_ioapic=of_ioapic, legacy_irqs=legacy_irqs)
    assert made is (not acpi_ioapic and not of_ioapic and legacy_irqs > 0)
    assert [action.name for action in kernel.irq.desc(2).actions()] == (["cascade"] if made else [])
    asyncio.run(driver.close())


def test_S0_36_line_2_on_whole_machines() -> None:
    async def actions(controller: str) -> list[str]:
        async with Machine(controller=controller) as m:
            return [action.name for action in m.irq.desc(2).actions()] if 2 in m.irq.descs else []

    assert [asyncio.run(actions(controller)) for controller in ("apic", "i8259")] == [[], ["cascade"]]


LEVELS = preset("linux-2.6", nesting="levels")


@pytest.mark.parametrize(
    ("kernel", "order"),
    [
        (LEVELS, ["disk", "clock", "clock ends", "disk ends", "clock", "clock ends", "disk", "disk ends"]),
        (preset("linux-6.12"), ["disk", "disk ends", "clock", "clock ends", "clock", "clock ends", "disk", "disk ends"]),
    ],
    ids=["levels", "linux-6.12"],
)
def test_S4_05_interrupt_levels_of_classic_unix(kernel: KernelConfig, order: list[str]) -> None:
    async def main() -> list[str]:
        async with Machine(kernel=kernel, costs=FREE, check=True) as m:
            log: list[str] = []
            disk, clock = m.msi("disk"), m.msi("clock")

            async def handler(cpu: Cpu, irq: int, name: object) -> int:
                log.append(f"{name}")
                await cpu.spend(us(20))
                log.append(f"{name} ends")
                return IRQ_HANDLED

            # Vectors are given out from below, two in a class: what asks first gets the lower level.
            for msi, name in ((disk, "disk"), (m.msi("idle"), "idle"), (clock, "clock")):
                await m.irq.request_irq(None, msi.irq, handler, 0, name, name)
            # The clock interrupts the disk, then the disk comes while the clock is served.
            for when, msi in ((1_000, disk), (1_010, clock), (2_000, clock), (2_010, disk)):
                m.engine.timer(msi.send, "raise").arm(us(when))
            await m.run_for(ms(3))
            assert m.cpus[0].lapic.tpr == 0
            return log

    assert asyncio.run(main()) == order


def test_levels_need_handlers_with_interrupts_on() -> None:
    driver = Driver(Engine())
    with pytest.raises(UsageError, match="nesting by levels needs"):
        Kernel(I8259Board(driver.engine, 1, Costs(), None), preset("linux-6.12", nesting="levels"), Costs(), None)
    asyncio.run(driver.close())


def test_S2_71_apic_timer_and_statistics_fields() -> None:
    async def main() -> None:
        async with Machine(2, kernel="linux-2.6") as m:
            arch = m.kernel.arch
            assert isinstance(arch, X86)
            board = m.board
            assert isinstance(board, ApicBoard)
            await m.run_for(ms(10))
            for _ in range(3):
                board.bus.deliver(ApicMessage(NMI_VECTOR, NMI, False, board.lapics[1].regs.id, False, 0))
                await m.run_for(us(10))
            await m.run_for(ms(10))
            m.softirq.raise_softirq_nowake(m.cpus[0], TASKLET_SOFTIRQ)
            counted = [(sum(tag_of(type(r)) == "nmi_inta" and r.cpu == n for r in m.records), len(timers(m.records, n))) for n in (0, 1)]
            stats = [arch.irq_stat(cpu) for cpu in m.cpus]
            assert [(stat.nmi_count, stat.apic_timer_irqs) for stat in stats] == counted
            assert [stat.nmi_count for stat in stats] == [0, 3]
            assert all(stat.apic_timer_irqs >= 4 for stat in stats)
            assert [stat.softirq_pending for stat in stats] == [1 << TASKLET_SOFTIRQ, 0]
            # Nothing has run since the last tick's end: that is when the CPUs halted.
            last = [timers(m.records, n)[-1] for n in (0, 1)]
            assert all(stat.idle_timestamp > when for stat, when in zip(stats, last, strict=True))
            assert all(stat.idle_timestamp < when + us(10) for stat, when in zip(stats, last, strict=True))

    asyncio.run(main())


def timers(records: list[Record], cpu: int) -> list[int]:
    """Return when a CPU took its local timer interrupts."""
    return [record.ts for record in records if tag_of(type(record)) == "local_timer_entry" and record.cpu == cpu]


def test_legacy_kernels_keep_their_isa_numbers() -> None:
    async def main() -> None:
        async with Machine(kernel=preset("linux-6.12", vectors=VectorMap(legacy=16))) as m:
            assert isinstance(m.kernel.arch, ApicArch)
            assert m.line(4, level=False)[1] == 4

    asyncio.run(main())
