"""Judge what handlers return: an interrupt that nobody wants is switched off before it eats the CPU.

Of every 100,000 interrupts counted since something was unhandled (before 5.13: of all), more than 99,900 unhandled ones
kill the line. An unhandled one that comes more than 100 ms after the last restarts the count (2.6: does not).

Linux: kernel/irq/spurious.c. Times are in ns here and judged in jiffies. Trace: printk.
"""

from __future__ import annotations

from typing import Final

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_NONE, IRQ_WAKE_THREAD, IRQF_IRQPOLL, IrqDesc
from asyncirq.irq.state import irq_disable

WINDOW: Final = 100_000
UNHANDLED_LIMIT: Final = 99_900
BOGUS_REPORTS: Final = 100
DEFERRED: Final = 0x80000000


def poll_interval_ns(desc: IrqDesc) -> int:
    """Return HZ/10 jiffies in ns: the gap that restarts the count, and the time between two polls of dead lines."""
    config = desc.core.config
    return config.hz // 10 * config.jiffy_ns


async def note_interrupt(cpu: Cpu, desc: IrqDesc, result: int) -> None:
    """Count one interrupt whose actions returned ``result`` and disable the line when too few were wanted."""
    core = desc.core
    if desc.poll_inprogress or desc.is_polled:
        return
    if result > IRQ_HANDLED | IRQ_WAKE_THREAD:
        if core.bogus_reports < BOGUS_REPORTS:
            core.bogus_reports += 1
            report_bad_irq(cpu, desc, result)
        return
    if result & IRQ_WAKE_THREAD:
        if result == IRQ_WAKE_THREAD:
            # Whether the thread handled the last one is known only now.
            if not desc.threads_handled_last & DEFERRED:
                desc.threads_handled_last |= DEFERRED
                return
            handled = desc.threads_handled | DEFERRED
            if handled != desc.threads_handled_last:
                desc.threads_handled_last = handled
                result = IRQ_HANDLED
            else:
                result = IRQ_NONE
        else:
            desc.threads_handled_last &= ~DEFERRED
    if result == IRQ_NONE:
        jiffy = core.config.jiffy_ns
        now = core.engine.now
        if core.config.spurious_gap and now // jiffy > desc.last_unhandled // jiffy + core.config.hz // 10:
            desc.irqs_unhandled = 1
        else:
            desc.irqs_unhandled += 1
        desc.last_unhandled = now
    if core.irqfixup and _may_be_misrouted(desc, result):
        found = await core.misrouted(core, cpu, desc.irq)
        if result == IRQ_NONE:
            desc.irqs_unhandled -= found
    if desc.irqs_unhandled or core.count_all:
        _count(cpu, desc, result)


def _count(cpu: Cpu, desc: IrqDesc, result: int) -> None:
    desc.irq_count += 1
    if desc.irq_count < WINDOW:
        return
    desc.irq_count = 0
    if desc.irqs_unhandled > UNHANDLED_LIMIT:
        core = desc.core
        report_bad_irq(cpu, desc, result)
        core.printk(cpu, 0, f"Disabling IRQ #{desc.irq}")
        desc.spurious_disabled = True
        desc.depth += 1
        if desc.controller is not None:
            desc.disabled = True
            desc.controller.disable(cpu, desc)
        else:
            irq_disable(cpu, desc, desc.disable_unlazy)
        if core.arm_spurious_poll is not None:
            core.arm_spurious_poll(cpu, poll_interval_ns(desc))
    desc.irqs_unhandled = 0


def report_bad_irq(cpu: Cpu, desc: IrqDesc, result: int) -> None:
    """Say what is wrong with a line, and who handles it."""
    say = desc.core.printk
    if result > IRQ_HANDLED | IRQ_WAKE_THREAD:
        say(cpu, 3, f"irq event {desc.irq}: bogus return value {result:x}")
    else:
        say(cpu, 3, f'irq {desc.irq}: nobody cared (try booting with the "irqpoll" option)')
    say(cpu, 3, "handlers:")
    for action in desc.actions():
        text = f"[<{action.name}>] {function_name(action.handler)}"
        if action.thread_fn is not None or action.primary is not None:
            text += f" threaded {function_name(action.primary or action.thread_fn)}"
        say(cpu, 3, text)


def function_name(function: object) -> str:
    """Return the name under which messages print a function."""
    return getattr(function, "__name__", "?")


def _may_be_misrouted(desc: IrqDesc, result: int) -> bool:
    if result == IRQ_NONE:
        return True
    if desc.core.irqfixup < 2:
        return False
    return desc.irq == 0 or (desc.action is not None and bool(desc.action.flags & IRQF_IRQPOLL))


async def wait_for_poll(cpu: Cpu, desc: IrqDesc) -> bool:
    """Wait until the poll of a line on another CPU is over; tell whether the line may still be handled."""
    if desc.handling_cpu is cpu:
        raise KernelBug(f"irq poll in progress on cpu {cpu.id} for irq {desc.irq} at {cpu.engine.now} ns")
    while desc.inprogress:
        await stall_in_progress(cpu, desc)
    return not desc.disabled and desc.action is not None


async def stall_in_progress(cpu: Cpu, desc: IrqDesc) -> None:
    """Keep the CPU until the line's handler, on whichever CPU it runs, has returned. Raises ``KernelBug`` on a deadlock."""
    word = desc.progress
    handling = desc.handling_cpu
    word.owner = handling.current.sim if handling is not None else None
    await cpu.stall(word)
