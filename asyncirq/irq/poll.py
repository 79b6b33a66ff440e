"""Try other lines' handlers when an interrupt is lost or misrouted: the boot options irqfixup and irqpoll.

Linux: kernel/irq/spurious.c try_one_irq(), misrouted_irq(), poll_spurious_irqs().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQF_SHARED, IRQF_TIMER_BIT, IrqDesc
from asyncirq.irq.handle import handle_irq_event
from asyncirq.irq.spurious import poll_interval_ns

if TYPE_CHECKING:
    from asyncirq.irq.core import IrqTable


async def try_one_irq(cpu: Cpu, desc: IrqDesc, force: bool) -> bool:
    """Run a shared line's handlers as if it had interrupted; tell whether one of them had work to do.

    ``force`` tries a disabled line too. A line in progress is marked pending instead.
    """
    action = desc.action
    if desc.percpu or desc.nested_thread or desc.is_polled or (desc.disabled and not force):
        return False
    if action is None or not action.flags & IRQF_SHARED or action.flags & IRQF_TIMER_BIT:
        return False
    if desc.inprogress:
        desc.pending = True
        return False
    handled = False
    desc.poll_inprogress = True
    while True:
        if await handle_irq_event(cpu, desc) == IRQ_HANDLED:
            handled = True
        if not desc.pending or desc.action is None:
            break
    desc.poll_inprogress = False
    return handled


async def misrouted_irq(core: IrqTable, cpu: Cpu, irq: int) -> int:
    """Try every other line; return 1 if one of them had work to do. One CPU at a time."""
    if core.poll_active:
        return 0
    core.poll_active = True
    found = 0
    for desc in core.all_descs():
        if desc.irq not in (0, irq) and await try_one_irq(cpu, desc, force=False):
            found = 1
    core.poll_active = False
    return found


async def poll_spurious(core: IrqTable, cpu: Cpu) -> None:
    """Serve the lines that were disabled as spurious, and come back after the poll interval: the timer's function."""
    if not core.poll_active:
        core.poll_active = True
        for desc in core.all_descs():
            if desc.irq and desc.spurious_disabled:
                was_off = cpu.irq_disable()
                await try_one_irq(cpu, desc, force=True)
                await cpu.irq_restore(was_off)
        core.poll_active = False
    if core.arm_spurious_poll is not None and core.descs:
        core.arm_spurious_poll(cpu, poll_interval_ns(next(iter(core.descs.values()))))
