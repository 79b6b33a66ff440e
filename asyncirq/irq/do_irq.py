"""Handle every line by one flow, as Linux before 2.6.18 did, whatever its controller: ``do_irq``, with a status word.

| step | status |
| --- | --- |
| the controller's ack | |
| take note | REPLAY and WAITING cleared, PENDING set |
| commit, only if neither DISABLED nor INPROGRESS | PENDING cleared, INPROGRESS set |
| handlers, with the lock dropped; once more while PENDING was set meanwhile | PENDING cleared each time |
| done | INPROGRESS cleared |
| the controller's end | |

A second interrupt during the handlers is remembered, a third and fourth merge with it. A line without an action stays
INPROGRESS, which its first request clears.

Linux: kernel/irq/handle.c of 2.6.16, __do_IRQ() and handle_IRQ_event(). Trace: irq_handler_entry, irq_handler_exit;
irq_flow with each new status word, while the debug switch is on.
"""

from __future__ import annotations

from typing import Final

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.controller import ChipController, EdgeController, FasteoiController, HwInterruptType, LevelController
from asyncirq.irq.desc import IRQ_HANDLED, IRQF_DISABLED, IRQF_SAMPLE_RANDOM, FlowHandler, IrqAction, IrqDesc
from asyncirq.irq.flow import handle_edge_irq, handle_fasteoi_irq, handle_level_irq, handle_percpu_irq
from asyncirq.irq.spurious import note_interrupt
from asyncirq.irq.state import note

IRQ_INPROGRESS: Final = 1
IRQ_DISABLED: Final = 2
IRQ_PENDING: Final = 4
IRQ_REPLAY: Final = 8
IRQ_AUTODETECT: Final = 16
IRQ_WAITING: Final = 32
IRQ_LEVEL: Final = 64
IRQ_MASKED: Final = 128
IRQ_PER_CPU: Final = 256


def status_word(desc: IrqDesc) -> int:
    """Return the states of a line as the one word that the kernel of that time kept.

    Model: MASKED says that the controller holds the line masked.
    """
    return (
        (IRQ_INPROGRESS if desc.inprogress else 0)
        | (IRQ_DISABLED if desc.disabled else 0)
        | (IRQ_PENDING if desc.pending else 0)
        | (IRQ_REPLAY if desc.replay else 0)
        | (IRQ_AUTODETECT if desc.autodetect else 0)
        | (IRQ_WAITING if desc.waiting else 0)
        | (IRQ_LEVEL if desc.level else 0)
        | (IRQ_MASKED if desc.masked else 0)
        | (IRQ_PER_CPU if desc.percpu else 0)
    )


def note_status(cpu: Cpu, desc: IrqDesc) -> None:
    """Record the status word, for whoever debugs the flow."""
    if desc.core.flow_trace is not None:
        note(cpu, desc, f"status {status_word(desc):#x}")


async def do_irq(cpu: Cpu, desc: IrqDesc) -> None:
    """Handle one interrupt of any line. Linux: __do_IRQ()."""
    controller = desc.controller
    assert controller is not None
    desc.kstat_irqs[cpu.id] += 1
    cost = controller.ack(cpu, desc)
    if desc.percpu:
        if cost:
            await cpu.spend(cost)
        await _handle_and_judge(cpu, desc, desc.action)
        cost = controller.end(cpu, desc)
        if cost:
            await cpu.spend(cost)
        return
    desc.replay = desc.waiting = False
    desc.pending = True
    note_status(cpu, desc)
    action: IrqAction | None = None
    if not (desc.disabled or desc.inprogress):
        action = desc.action
        desc.pending = False
        desc.inprogress = True
        desc.handling_cpu = cpu
        note_status(cpu, desc)
    if cost:
        await cpu.spend(cost)
    if action is not None:
        while True:
            await _handle_and_judge(cpu, desc, action)
            if not desc.pending:
                break
            desc.pending = False
            note_status(cpu, desc)
        desc.inprogress = False
        note_status(cpu, desc)
        desc.progress.poke()
    cost = controller.end(cpu, desc)
    if cost:
        await cpu.spend(cost)


async def _handle_and_judge(cpu: Cpu, desc: IrqDesc, action: IrqAction | None) -> None:
    """Run the handlers and note what they returned, with the time that the way back takes: what comes in it still counts."""
    result = await handle_irq_event(cpu, desc, action)
    core = desc.core
    if not (core.noirqdebug or desc.no_debug):
        await note_interrupt(cpu, desc, result)
    if core.costs.irq_return_ns:
        await cpu.spend(core.costs.irq_return_ns)


async def handle_irq_event(cpu: Cpu, desc: IrqDesc, first: IrqAction | None) -> int:
    """Run a line's handlers, interrupts on unless the first one asked otherwise; return what they returned, OR-ed.

    The line itself stays INPROGRESS, so its handlers are never entered twice. Linux: handle_IRQ_event().
    """
    if first is not None and not first.flags & IRQF_DISABLED:
        await cpu.irq_enable()
    trace = desc.core.trace
    cause = cpu.cause
    result = flags = 0
    action = first
    while action is not None:
        if trace is not None:
            cpu.cause = trace.irq_handler_entry(cpu, desc.irq, action.name)
        ret = await action.handler(cpu, desc.irq, action.dev_id)
        if trace is not None:
            trace.irq_handler_exit(cpu, desc.irq, ret)
        if ret == IRQ_HANDLED:
            flags |= action.flags
        result |= ret
        cpu.cause = cause
        action = action.next
    if flags & IRQF_SAMPLE_RANDOM:
        desc.random_samples += 1
        if desc.core.add_randomness is not None:
            await desc.core.add_randomness(cpu, desc)
    if not cpu.irqs_off:
        cpu.irq_disable()
    return result


def controller_for(desc: IrqDesc, flow: FlowHandler) -> HwInterruptType | None:
    """Return the operations of a line that a kernel with a flow for each kind handles by ``flow``; None for flows of software."""
    chip = desc.data.chip
    made: type[ChipController]
    if flow is handle_level_irq:
        made = LevelController
    elif flow is handle_edge_irq:
        made = EdgeController
    elif flow is handle_fasteoi_irq:
        made = FasteoiController
    elif flow is handle_percpu_irq:
        made = ChipController
    else:
        return None
    return made(chip.name, chip.has_startup, chip.has_set_affinity)


def wire(desc: IrqDesc, flow: FlowHandler) -> None:
    """Wire a line for the one flow: disabled, with the operations of its kind. Linux: arch/i386/kernel/i8259.c init_ISA_irqs()."""
    controller = controller_for(desc, flow)
    if controller is None:
        desc.handle_irq = flow
        return
    desc.handle_irq = do_irq
    desc.controller = controller
    desc.disabled = desc.masked = True
    desc.depth = 1
    desc.percpu = flow is handle_percpu_irq
