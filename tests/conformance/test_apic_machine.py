"""Show the APIC cases of the catalogue that need a kernel: spurious vectors, ISA lines beside the 8259, a board's wiring."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.arch import ApicArch
from asyncirq.board import ApicBoard, ApicWiring, Override
from asyncirq.config import preset
from asyncirq.costs import Costs
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.apic_message import INIT, SMI, STARTUP, ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED
from asyncirq.kernel import Kernel
from asyncirq.machine import Machine
from asyncirq.sched.task import Task
from asyncirq.sim import Driver, Engine
from asyncirq.trace import tag_of
from asyncirq.units import ms, us


async def handled(cpu: Cpu, irq: int, dev_id: object) -> int:
    return IRQ_HANDLED


def board_of(m: Machine) -> ApicBoard:
    assert isinstance(m.board, ApicBoard)
    return m.board


@pytest.mark.parametrize(
    ("vector", "in_service", "ends"),
    [(0xFF, False, 0), (0xFF, True, 0), (0xF3, True, 1), (0xF3, False, 0)],
)
def test_LAPIC_36_linux_treatment_of_spurious_vectors(vector: int, in_service: bool, ends: int) -> None:
    """0xFF never gets an EOI, in service or not; another vector only if it is in service; each of them is counted."""

    async def main() -> tuple[int, int, int]:
        async with Machine() as m:
            board = board_of(m)
            cpu = m.cpus[0]
            await m.run_for(ms(1))

            async def body(task: Task) -> None:
                inside = task.preempt_disable()
                inside.irq_disable()
                if in_service:
                    inside.lapic.isr |= 1 << vector
                await m.kernel.entry.spurious_interrupt(inside, vector)
                await inside.irq_enable()
                await task.preempt_enable()

            m.start_thread(body, "spurious", cpu=0)
            await m.run_for(us(20))
            counted = m.kernel.entry.counts[0xFF][0]
            ended = sum(tag_of(type(record)) == "lapic_eoi" and record.vector == vector for record in m.records)  # type: ignore[attr-defined]
            left = cpu.lapic.isr >> vector & 1
            assert board.lapics[0] is cpu.lapic
            return counted, ended, left

    assert asyncio.run(main()) == (1, ends, int(in_service and not ends))


def test_LAPIC_36_a_priority_raised_before_the_acknowledge() -> None:
    """The APIC yields 0xFF: one more spurious interrupt, no EOI, and what was pending comes once the priority falls."""

    async def main() -> tuple[list[tuple[int, str, int]], str]:
        async with Machine() as m:
            msi = m.msi("dev")
            await m.irq.request_irq(None, msi.irq, handled, 0, "dev")
            await m.run_for(ms(1))
            cpu = m.cpus[0]
            before = len(m.records)

            def race() -> None:
                msi.send()
                # INTR is up; before the CPU answers, the priority rises above the vector.
                cpu.lapic.tpr = 0xF0
                cpu.attention = True

            m.engine.timer(race, "race").arm(ms(1) + 100)
            m.engine.timer(lambda: setattr(cpu.lapic, "tpr", 0), "lower").arm(ms(1) + 5_000)
            await m.run_for(us(20))
            wanted = ("lapic_irr", "lapic_spurious", "lapic_eoi", "irq_handler_entry")
            found = [(record.ts - ms(1), tag_of(type(record)), getattr(record, "vector", 0)) for record in m.records[before:]]
            text = next(line for line in m.proc("interrupts").splitlines() if "SPU" in line)
            return [step for step in found if step[1] in wanted], " ".join(text.split())

    found, text = asyncio.run(main())
    vector = found[0][2]
    assert [(name, number) for _, name, number in found] == [
        ("lapic_irr", vector),
        ("lapic_spurious", 0xFF),
        ("lapic_eoi", vector),
        ("irq_handler_entry", 0),
    ]
    assert (found[1][0], found[3][0] > 5_000) == (100, True)
    assert text == "SPU: 1 Spurious interrupts"


def test_IOAPIC_28_isa_lines_at_startup() -> None:
    """Starting an ISA pin masks its line in the 8259, samples it there, and unmasks the entry; only autoprobing uses the sample."""

    async def main() -> None:
        async with Machine() as m:
            board, arch = board_of(m), m.kernel.arch
            assert isinstance(arch, ApicArch)
            chip = arch.legacy.chip
            line, irq = m.line(5, level=False)
            desc = m.irq.desc(irq)
            _, other_irq = m.line(6, level=False)
            for number in (5, 6):
                chip.irq_unmask(m.cpus[0], _Line(number))  # type: ignore[arg-type]
            line.pulse()
            assert (board.pic.read(0x21) >> 5 & 1, chip.is_pending(5)) == (0, True)
            await m.run_for(us(1))
            await m.irq.request_irq(None, irq, handled, 0, "dev")
            await m.irq.request_irq(None, other_irq, handled, 0, "other")
            assert board.pic.read(0x21) >> 5 & 3 == 3
            assert not board.ioapic.pins[5].masked
            assert (desc.chip.irq_was_pending(desc.data), m.irq.desc(other_irq).chip.irq_was_pending(m.irq.desc(other_irq).data)) == (
                True,
                False,
            )
            # A normal request does not use it: the edge from before is lost.
            await m.run_for(ms(1))
            assert (desc.pending, desc.tot_count, board.ioapic.pins[5].lost_edges) == (False, 0, 1)
            line.pulse()
            await m.run_for(ms(1))
            assert desc.tot_count == 1

    asyncio.run(main())


def test_IOAPIC_28_autoprobing_sees_what_was_pending() -> None:
    async def main() -> list[bool]:
        async with Machine() as m:
            lines = {number: m.line(number, level=False) for number in (5, 6)}
            lines[5][0].pulse()
            found: list[bool] = []

            async def probe(task: Task) -> None:
                await m.irq.probe_irq_on(task)
                found.extend(m.irq.desc(irq).pending for _, irq in lines.values())
                await m.irq.probe_irq_off(task)

            m.start_thread(probe, "probe")
            await m.run_for(ms(300))
            return found

    assert asyncio.run(main()) == [True, False]


class _Line:
    """Stand for the descriptor's data of a line of the 8259."""

    def __init__(self, hwirq: int) -> None:
        self.hwirq = hwirq


def test_LAPIC_33_secondary_cpus_boot_by_init_and_sipi() -> None:
    driver = Driver(Engine())
    board = ApicBoard(driver.engine, 3, Costs(), None)
    # Firmware starts the boot CPU alone.
    assert [(lapic.enabled, lapic.startup.waits_for_sipi) for lapic in board.lapics] == [(True, False), (False, True), (False, True)]
    sent: list[tuple[int, int, int]] = []
    deliver = board.bus.deliver

    def watch(message: ApicMessage) -> int:
        sent.append((message.dest, message.delivery_mode, message.vector))
        return deliver(message)

    board.bus.deliver = watch  # type: ignore[method-assign]
    Kernel(board, preset("linux-6.12"), Costs(), None).boot()
    assert sent == [(dest, mode, 0x9A * (mode == STARTUP)) for dest in (1, 2) for mode in (INIT, INIT, STARTUP, STARTUP)]
    assert [(lapic.enabled, lapic.startup.waits_for_sipi) for lapic in board.lapics] == [(True, False)] * 3
    asyncio.run(driver.close())


def test_a_cpu_that_does_not_answer_is_reported() -> None:
    driver = Driver(Engine())
    board = ApicBoard(driver.engine, 2, Costs(), None)
    board.lapics[1].startup.accept = lambda message: False  # type: ignore[method-assign]
    with pytest.raises(KernelBug, match="failed\\(-1\\) to wakeup CPU1"):
        Kernel(board, preset("linux-6.12"), Costs(), None).boot()
    asyncio.run(driver.close())


def test_an_smi_is_refused_with_a_record() -> None:
    async def main() -> list[tuple[str, int, int]]:
        async with Machine(2) as m:
            assert board_of(m).bus.deliver(ApicMessage(0, SMI, False, 1, False, 0)) == 0
            await m.run_for(us(10))
            return [(tag_of(type(r)), r.cpu, r.vector) for r in m.records if tag_of(type(r)) == "lapic_smi"]  # type: ignore[attr-defined]

    assert asyncio.run(main()) == [("lapic_smi", 1, 0)]


WIRING = ApicWiring(ioapics=(24, 8), overrides=(Override(0, 2), Override(9, 9, level=True, active_low=True)))


def test_several_ioapics_and_overrides() -> None:
    async def main() -> None:
        async with Machine(controller=WIRING) as m:
            board, arch = board_of(m), m.kernel.arch
            assert [(ioapic.index, ioapic.gsi_base, len(ioapic.pins)) for ioapic in board.ioapics] == [(0, 0, 24), (1, 24, 8)]
            assert [arch.isa_gsi(number) for number in (0, 1, 9)] == [(2, False, False), (1, False, False), (9, True, True)]
            far, far_irq = m.line(26, level=True)

            async def serve(cpu: Cpu, irq: int, dev_id: object) -> int:
                far.set(False)
                return IRQ_HANDLED

            gsi, level, active_low = arch.isa_gsi(0)
            timer, timer_irq = m.line(gsi, level=level, active_low=active_low)
            await m.irq.request_irq(None, far_irq, serve, 0, "far")
            await m.irq.request_irq(None, timer_irq, handled, 0, "timer")
            await m.run_for(ms(1))
            far.set(True)
            timer.pulse()
            # The 8259 hears of ISA interrupt 0 at its line 0, wherever the IO-APIC has it, and of no other.
            assert board.pic.master.irr == 1
            await m.run_for(us(50))
            sent = [(record.ioapic, record.pin) for record in m.records if tag_of(type(record)) == "ioapic_deliver"]  # type: ignore[attr-defined]
            ended = [(record.ioapic, record.pin) for record in m.records if tag_of(type(record)) == "ioapic_eoi"]  # type: ignore[attr-defined]
            assert (sorted(sent), ended) == ([(0, 2), (1, 2)], [(1, 2)])
            for gsi, words in ((-1, "IO-APIC 0 has pins 0 to 23, not -1"), (32, "IO-APIC 1 has pins 0 to 7, not 8")):
                with pytest.raises(UsageError, match=words):
                    m.line(gsi)
            for number in (-1, 16):
                with pytest.raises(UsageError, match=f"not {number}"):
                    arch.isa_gsi(number)

    asyncio.run(main())


@pytest.mark.parametrize("extint_pin", [None, 0])
def test_a_line_of_the_8259_behind_the_apics(extint_pin: int | None) -> None:
    """Through LINT0 of the boot CPU, or through an IO-APIC pin in ExtINT mode."""

    async def main() -> tuple[list[tuple[str, int]], str]:
        async with Machine(2, controller=ApicWiring(extint_pin=extint_pin), check=True) as m:
            board, arch = board_of(m), m.kernel.arch
            assert isinstance(arch, ApicArch)
            irq = arch.make_8259a_irq(3)
            if extint_pin is not None:
                board.lapics[0].regs.put(0x350, 0x1_0000)
                board.ioapic.write(0x00, 0x10)
                board.ioapic.write(0x10, 0x700)
            await m.irq.request_irq(None, irq, handled, 0, "serial")
            await m.run_for(ms(1))
            before = len(m.records)
            for _ in range(2):
                board.pic.set_line(3, True)
                board.pic.set_line(3, False)
                await m.run_for(us(50))
            seen = [(tag_of(type(record)), record.cpu) for record in m.records[before:]]
            row = next(line for line in m.proc("interrupts").splitlines() if "serial" in line)
            return [step for step in seen if step[0] in ("pic_irr", "pic_inta", "pic_eoi", "irq_handler_entry")], " ".join(row.split())

    seen, row = asyncio.run(main())
    assert seen == [("pic_irr", -1), ("pic_inta", 0), ("pic_eoi", -1), ("irq_handler_entry", 0)] * 2
    assert row == "3: 2 0 XT-PIC 3 serial"
