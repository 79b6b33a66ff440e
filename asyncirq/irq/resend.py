"""Send a lost interrupt again: by the hardware, or by calling its flow handler from a tasklet.

Linux: kernel/irq/resend.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncirq.hw.cpu import Cpu

if TYPE_CHECKING:
    from asyncirq.irq.core import IrqTable
    from asyncirq.irq.desc import IrqDesc


def check_irq_resend(cpu: Cpu, desc: IrqDesc, inject: bool = False) -> int:
    """Send an interrupt again that came while it could not be handled: 0 or a negative errno.

    A level asserts itself again, so it is never resent. What the tasklet must do is queued; the caller's ``leave`` or
    flow handler schedules it.
    """
    if desc.level:
        desc.pending = False
        return -22
    if desc.replay:
        return -16
    if not desc.pending and not inject:
        return 0
    desc.pending = False
    if desc.core.flow_trace is not None:
        desc.core.flow_trace.irq_flow(cpu, desc.irq, desc.name, "retrigger")
    error = 0
    if not retrigger(cpu, desc):
        error = _software_resend(desc)
    if not error:
        desc.replay = True
    return error


def retrigger(cpu: Cpu, desc: IrqDesc) -> bool:
    """Let the hardware send an interrupt again; tell whether it could."""
    # As deep as the hierarchy goes: the CPU's side can interrupt itself where the device's side cannot.
    return any(data.chip.has_retrigger and data.chip.irq_retrigger(cpu, data) for data in desc.datas())


def _software_resend(desc: IrqDesc) -> int:
    core = desc.core
    if desc.enforce_irqctx or core.schedule_resend is None:
        return -22
    target = desc
    if desc.nested_thread:
        parent = core.descs.get(desc.parent_irq)
        if parent is None:
            return -22
        target = parent
    if target not in core.resend_list:
        core.resend_list.append(target)
    core.resend_queued = True
    return 0


def clear_irq_resend(desc: IrqDesc) -> None:
    """Forget a queued resend: the line is shut down."""
    if desc in desc.core.resend_list:
        desc.core.resend_list.remove(desc)


async def run_resend(core: IrqTable, cpu: Cpu) -> None:
    """Handle every queued interrupt, interrupts off: the tasklet's function. Linux: resend_irqs()."""
    while core.resend_list:
        desc = core.resend_list.pop(0)
        was_off = cpu.irq_disable()
        await desc.handle_irq(cpu, desc)
        await cpu.irq_restore(was_off)
