from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable

import pytest

from asyncirq.arch.arm64 import Arm64
from asyncirq.board.arm64 import Arm64Board
from asyncirq.entry.arm64 import SERROR_CORRECTED
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.idt import Gate
from asyncirq.irq.desc import IRQ_HANDLED, IrqReturn
from asyncirq.machine import Machine
from asyncirq.sched.preempt import HARDIRQ_MASK, NMI_MASK
from asyncirq.sched.task import Task
from asyncirq.units import ms, us
from tests.conformance.arm64 import FREE, machine, spender, story

GICS = ("gicv3", "gicv2")


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine."""

    async def wrapped() -> None:
        await main()

    asyncio.run(wrapped())


def entry_of(m: Machine) -> Arm64:
    """Return the kernel's side."""
    assert isinstance(m.kernel.arch, Arm64)
    return m.kernel.arch


def board_of(m: Machine) -> Arm64Board:
    """Return the board."""
    assert isinstance(m.board, Arm64Board)
    return m.board


@pytest.mark.parametrize(("controller", "root"), [("gicv3", ["_handle"]), ("gicv2", ["handle_irq"])])
def test_traceback_reads_from_the_interrupted_context_to_the_handler(controller: str, root: list[str]) -> None:
    async def broken_handler(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
        await cpu.spend(10)
        raise LookupError("no such ring")

    async def busy_task(task: Task) -> None:
        await task.spend(ms(1))

    async def main() -> None:
        async with Machine(controller=controller) as m:
            msi = m.msi("eth0")
            await m.irq.request_irq(None, msi.irq, broken_handler, 0, "eth0")
            m.start_thread(busy_task, "busy")
            m.engine.timer(msi.send, "raise").arm(us(100))
            with pytest.raises(LookupError, match="no such ring") as caught:
                await m.run_for(ms(1))
            names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
            wanted = ["busy_task", "spend", "interrupt_window", "el1_irq", *root, "dispatch", "handle_fasteoi_irq", "broken_handler"]
            assert [name for name in names if name in wanted] == wanted

    run(main)


@pytest.mark.parametrize("controller", GICS)
def test_tick_and_irqs_reach_user_mode_through_their_own_entry(controller: str) -> None:
    async def main() -> None:
        async with machine(controller=controller, costs=FREE) as m:
            entry = entry_of(m).entry
            line, irq = m.line(3)
            slots: list[str] = []
            for slot, gate in list(enumerate(m.cpus[0].idt.gates)):
                if gate is not None and gate.name.endswith("_irq"):

                    async def noted(cpu: Cpu, vector: int, name: str = gate.name) -> None:
                        slots.append(name)
                        await entry.el1_irq(cpu, vector)

                    m.cpus[0].idt.set_gate(slot, Gate(noted, gate.name))

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
                line.set(False)
                return IRQ_HANDLED

            async def program(task: Task) -> None:
                await task.user(us(100))
                await task.spend(us(100))

            await m.irq.request_irq(None, irq, handler, 0, "card")
            await m.run_for(us(50))
            m.start_thread(program, "program")
            for at in (50, 150):
                m.engine.timer(lambda: line.set(True), "raise").arm(m.now + us(at))
            slots.clear()
            await m.run_for(us(300))
            assert [name for name in slots if name] == ["el1h_64_irq", "el0t_64_irq", "el1h_64_irq"]  # the first is the rescheduling SGI

    run(main)


def test_interrupt_stack_is_entered_from_a_threads_own_alone() -> None:
    async def main() -> None:
        async with machine(pseudo_nmi=True, debug=True) as m:
            first, irq = m.line(3, level=False)
            entry = entry_of(m).entry
            await m.irq.request_irq(None, irq, spender(us(5)), 0, "card")
            before = entry.stack_switches[0]
            m.engine.timer(first.pulse, "raise").arm(us(50))
            await m.run_for(us(100))
            assert entry.stack_switches[0] - before == 1

    run(main)


@pytest.mark.parametrize("controller", GICS)
def test_serror_that_was_corrected_is_survived_and_any_other_is_the_end(controller: str) -> None:
    async def main() -> None:
        async with machine(controller=controller) as m:
            await m.run_for(us(10))
            pe = board_of(m).pes[0]
            seen = []

            async def body(task: Task) -> None:
                task.cpu.irq_disable()
                pe.raise_serror(SERROR_CORRECTED)
                pe.raise_serror(0)  # the latch is occupied: lost
                await task.cpu.spend(10)
                seen.append((entry_of(m).entry.serrors, task.cpu.preempt_count & (HARDIRQ_MASK | NMI_MASK), pe.serror))
                await task.cpu.irq_enable()

            m.start_thread(body, "body")
            await m.run_for(us(10))
            assert seen == [(1, 0, -1)]
            pe.raise_serror(0xBE000011)
            with pytest.raises(KernelBug, match="SError Interrupt on CPU0 at 20000 ns, code 0x00000000be000011 -- SError"):
                await m.run_for(us(10))

    run(main)


@pytest.mark.parametrize(("controller", "chip", "msi"), [("gicv3", "GICv3", "ITS-MSI"), ("gicv2", "GIC-0", "MSI")])
def test_proc_interrupts(controller: str, chip: str, msi: str) -> None:
    async def main() -> None:
        async with machine(2, controller=controller) as m:
            message = m.msi("eth0")
            line, irq = m.line(5)

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
                line.set(False)
                return IRQ_HANDLED

            await m.irq.request_irq(None, irq, handler, 0, "card")
            await m.irq.request_irq(None, message.irq, spender(0), 0, "eth0")
            m.engine.timer(lambda: line.set(True), "raise").arm(us(50))
            m.engine.timer(message.send, "send").arm(us(60))
            await m.run_for(us(100))
            rows = [line.split() for line in m.proc("interrupts").splitlines()]
            assert rows[0] == ["CPU0", "CPU1"]
            assert rows[1][3:] == [chip, "27", "Level", "arch_timer"]
            assert rows[2] == [f"{message.irq}:", "1", "0", msi, "1", "Edge", "eth0"]
            assert rows[3] == [f"{irq}:", "1", "0", chip, "37", "Level", "card"]
            assert [row[0] for row in rows[4:]] == [*(f"IPI{number}:" for number in range(8)), "Err:"]
            text = m.describe()
            assert "  0x05 el1h_64_irq\n" in text
            assert f"  irq {irq}: handle_fasteoi_irq, chip {chip}, card\n" in text

    run(main)


@pytest.mark.parametrize("controller", GICS)
def test_line_is_wired_once(controller: str) -> None:
    async def main() -> None:
        async with machine(controller=controller) as m:
            line, irq = m.line(9, level=True, active_low=True)
            assert m.line(9, level=True, active_low=True) == (line, irq)
            for level, active_low in ((False, True), (True, False)):
                with pytest.raises(UsageError, match=f"gsi 9 is wired otherwise already \\(irq {irq}\\)"):
                    m.line(9, level=level, active_low=active_low)
            for gsi in (-1, 256):
                with pytest.raises(UsageError, match=f"no SPI {gsi} on the {controller}: there are 0 to 255"):
                    m.line(gsi)

    run(main)


@pytest.mark.parametrize("controller", GICS)
def test_request_under_way_is_dropped_when_the_wire_is_let_go(controller: str) -> None:
    async def main() -> None:
        async with machine(controller=controller, costs=None) as m:
            line, irq = m.line(9, active_low=True)
            await m.irq.request_irq(None, irq, spender(0), 0, "card")
            m.engine.timer(lambda: line.set(False), "pull").arm(us(50))
            m.engine.timer(lambda: line.set(True), "let go").arm(us(50) + 499)
            await m.run_for(us(100))
            assert story(m.records, "gic_pend", "gic_iar") == []

    run(main)


@pytest.mark.parametrize("controller", GICS)
def test_a_message_that_nobody_has_requested_yet_may_be_sent_elsewhere(controller: str) -> None:
    served: list[int] = []

    async def main() -> None:
        async with Machine(2, "linux-6.12", controller=controller) as m:
            msi = m.msi("card")

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
                served.append(cpu.id)
                return IRQ_HANDLED

            for mask in (0b10, 0b01):
                await m.irq.irq_set_affinity(None, msi.irq, mask)
                await m.irq.request_irq(None, msi.irq, handler, 0, "card", m)
                msi.send(0)
                await m.run_for(us(100))
                await m.irq.free_irq(None, msi.irq, m)

    run(main)
    assert served == [1, 0]
