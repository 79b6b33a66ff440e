"""Call the actions of a line, and wake their threads.

Linux: kernel/irq/handle.c. Trace: irq_handler_entry, irq_handler_exit; the thread is woken after the exit.
"""

from __future__ import annotations

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_WAKE_THREAD, IrqAction, IrqDesc
from asyncirq.irq.spurious import function_name, note_interrupt
from asyncirq.sched.task import Task


async def handle_irq_event(cpu: Cpu, desc: IrqDesc, cost: int = 0) -> int:
    """Run a line's actions with the line marked in progress; return what they returned, OR-ed.

    ``cost`` is the ns of the register writes that led here: they pass once the line is in progress.
    """
    desc.pending = False
    desc.inprogress = True
    desc.handling_cpu = cpu
    if cost:
        await cpu.spend(cost)
    result = await run_actions(cpu, desc)
    core = desc.core
    if core.add_randomness is not None:
        await core.add_randomness(cpu, desc)
    # Nothing is noted of an interrupt that was handled, on a line without a past.
    if (result != IRQ_HANDLED or desc.irqs_unhandled or core.judge_all) and not desc.no_debug:
        await note_interrupt(cpu, desc, result)
    cost = core.costs.irq_return_ns
    if cost:
        await cpu.spend(cost)
    desc.inprogress = False
    if desc.progress.waiters:
        desc.progress.poke()
    return result


async def handle_irq_event_percpu(cpu: Cpu, desc: IrqDesc) -> int:
    """Run a line's actions in the order of their requests and judge the result."""
    result = await run_actions(cpu, desc)
    if not desc.no_debug:
        await note_interrupt(cpu, desc, result)
    return result


async def run_actions(cpu: Cpu, desc: IrqDesc) -> int:
    """Run a line's actions; return what they returned, OR-ed. Linux: __handle_irq_event_percpu()."""
    irq = desc.irq
    trace = desc.core.trace
    cause = cpu.cause
    result = 0
    action = desc.action
    while action is not None:
        if trace is not None:
            cpu.cause = trace.irq_handler_entry(cpu, irq, action.name)
        ret = await action.handler(cpu, irq, action.dev_id)
        if trace is not None:
            trace.irq_handler_exit(cpu, irq, ret)
        if not cpu.irqs_off:
            _left_irqs_on(cpu, desc, action)
        if ret == IRQ_WAKE_THREAD:
            await wake_action(cpu, desc, action)
        try:
            result |= ret
        except TypeError:
            raise UsageError(
                f"irq {irq}: the handler of {action.name} returned {ret!r}, not IRQ_NONE, IRQ_HANDLED or IRQ_WAKE_THREAD"
            ) from None
        cpu.cause = cause
        action = action.next
    return result


async def wake_action(cpu: Cpu, desc: IrqDesc, action: IrqAction) -> None:
    """Wake the thread of an action that asked for it, or warn once that there is none."""
    if action.thread is None:
        if not action.warned:
            action.warned = True
            desc.core.printk(cpu, 4, f"IRQ {desc.irq} device {action.name} returned IRQ_WAKE_THREAD but no thread function available.")
        return
    await irq_wake_thread(cpu, desc, action)


async def irq_wake_thread(cpu: Cpu, desc: IrqDesc, action: IrqAction) -> None:
    """Wake an action's thread unless it is awake for a run already, or on its way out. Linux: __irq_wake_thread().

    A line that the thread must unmask stays masked from now on; a thread that was woken counts as active.
    """
    thread = action.thread
    if thread is None or thread.exited or action.run_thread:
        return
    action.run_thread = True
    desc.threads_oneshot |= action.thread_mask
    desc.threads_active += 1
    if action.affinity_changed:
        # The thread moves itself when it wakes: it never runs its function on the old CPU.
        follow_affinity(desc, action, thread)
    cost = desc.core.costs.irq_wake_thread_ns
    if cost:
        await cpu.spend(cost)
    await desc.core.sched.wake_up_process(cpu, thread)


def follow_affinity(desc: IrqDesc, action: IrqAction, thread: Task) -> None:
    """Let a thread's allowed CPUs be those where its interrupt arrives. Linux: irq_thread_check_affinity()."""
    action.affinity_changed = False
    mask = desc.effective_affinity or desc.affinity
    mask &= desc.core.sched.all_cpus
    if mask:
        thread.allowed = mask


def _left_irqs_on(cpu: Cpu, desc: IrqDesc, action: IrqAction) -> None:
    if not desc.core.warned_irqs_on:
        desc.core.warned_irqs_on = True
        desc.core.printk(cpu, 4, f"irq {desc.irq} handler {function_name(action.handler)} enabled interrupts")
    cpu.irq_disable()
