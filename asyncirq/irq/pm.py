"""Put lines to sleep with the machine and wake them up again.

A suspended line is disabled, unless one of its actions must not be suspended. A line that may wake the machine stays
enabled but armed: its first interrupt runs no handler, it disables the line, leaves it pending and ends the sleep.

| flag of an action | effect |
| --- | --- |
| NO_SUSPEND | its line stays on; every sharer needs it, or COND_SUSPEND |
| COND_SUSPEND | goes along with a NO_SUSPEND sharer |
| FORCE_RESUME | its line is enabled at resume even if it was not suspended |
| EARLY_RESUME | its line is resumed before the others |

Linux: kernel/irq/pm.c. Trace: irq_flow for what the chip is asked, while the debug switch is on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import IRQCHIP_ENABLE_WAKEUP_ON_SUSPEND, IRQCHIP_MASK_ON_SUSPEND, IRQCHIP_SKIP_SET_WAKE
from asyncirq.irq.desc import IRQF_COND_SUSPEND, IRQF_EARLY_RESUME, IRQF_FORCE_RESUME, IRQF_NO_SUSPEND, IrqAction, IrqDesc
from asyncirq.irq.flow import eoi_unhandled, handle_fasteoi_irq
from asyncirq.irq.state import disable_depth, enable_depth, irq_disable, mask_irq

if TYPE_CHECKING:
    from asyncirq.irq.core import IrqTable


def install_pm_action(core: IrqTable, desc: IrqDesc, action: IrqAction) -> None:
    """Count a new action's flags. Trace: printk for sharers that do not agree. Linux: irq_pm_install_action()."""
    desc.nr_actions += 1
    _count(desc, action.flags, 1)
    if desc.force_resume_depth and desc.force_resume_depth != desc.nr_actions:
        core.printk(None, 4, f"irq {desc.irq}: not all sharers ask for FORCE_RESUME")
    if desc.no_suspend_depth and desc.no_suspend_depth + desc.cond_suspend_depth != desc.nr_actions:
        core.printk(None, 4, f"irq {desc.irq}: not all sharers ask for NO_SUSPEND or COND_SUSPEND")


def remove_pm_action(desc: IrqDesc, action: IrqAction) -> None:
    """Forget an action's flags. Linux: irq_pm_remove_action()."""
    desc.nr_actions -= 1
    _count(desc, action.flags, -1)


def _count(desc: IrqDesc, flags: int, by: int) -> None:
    if flags & IRQF_FORCE_RESUME:
        desc.force_resume_depth += by
    if flags & IRQF_NO_SUSPEND:
        desc.no_suspend_depth += by
    elif flags & IRQF_COND_SUSPEND:
        desc.cond_suspend_depth += by


def suspend_device_irq(cpu: Cpu, desc: IrqDesc) -> tuple[bool, int]:
    """Suspend one line: tell whether its handlers must be waited for, and the ns of the register writes."""
    if desc.action is None or desc.no_suspend_depth:
        return False, 0
    if desc.wake_depth:
        cost = 0
        if desc.chip.flags & IRQCHIP_ENABLE_WAKEUP_ON_SUSPEND and desc.disabled:
            cost = enable_depth(cpu, desc)
            desc.enabled_on_suspend = True
        arm(desc)
        return True, cost
    desc.suspended = True
    cost = disable_depth(cpu, desc)
    if desc.chip.flags & IRQCHIP_MASK_ON_SUSPEND:
        cost += mask_irq(cpu, desc)
    return True, cost


def resume_irq(cpu: Cpu, desc: IrqDesc) -> int:
    """Resume one line; what came while it slept is sent again. Returns the ns of the register writes."""
    disarm(desc)
    cost = 0
    if desc.enabled_on_suspend:
        cost = disable_depth(cpu, desc)
        desc.enabled_on_suspend = False
    if not desc.suspended:
        if not desc.force_resume_depth:
            return cost
        # Pretend that it was disabled: the hardware has lost its state.
        desc.depth += 1
        desc.disabled = desc.masked = True
    desc.suspended = False
    return cost + enable_depth(cpu, desc)


def is_early(desc: IrqDesc) -> bool:
    """Tell whether a line is resumed before the others: its first action says so."""
    return desc.action is not None and bool(desc.action.flags & IRQF_EARLY_RESUME)


def arm(desc: IrqDesc) -> None:
    """Let the next interrupt of a line end the sleep instead of running its handlers."""
    if not desc.wakeup_armed:
        desc.wakeup_armed = True
        desc.armed_flow = desc.handle_irq
        desc.handle_irq = handle_armed_irq


def disarm(desc: IrqDesc) -> None:
    """Give a line its flow handler back."""
    if desc.armed_flow is not None:
        desc.handle_irq = desc.armed_flow
        desc.armed_flow = None
    desc.wakeup_armed = False


async def handle_armed_irq(cpu: Cpu, desc: IrqDesc) -> None:
    """End the sleep: leave the line suspended, disabled and pending, then let its flow do what it does for such a line.

    Linux: irq_pm_check_wakeup().
    """
    flow = desc.armed_flow
    assert flow is not None
    disarm(desc)
    desc.suspended = desc.pending = True
    desc.depth += 1
    cost = irq_disable(cpu, desc, mask=False)
    desc.core.wakeup_irqs.append(desc.irq)
    if cost:
        await cpu.spend(cost)
    if flow is handle_fasteoi_irq:
        # Only ended: a level that is still there comes once more and is masked then.
        await eoi_unhandled(cpu, desc, 0)
    else:
        await flow(cpu, desc)


def set_wake(desc: IrqDesc, on: bool) -> int:
    """Let a line wake the machine, or no more; only the first and the last caller ask the chip: 0 or a negative errno."""
    if desc.nmi:
        return -22
    if on:
        error = _set_wake_real(desc, on) if desc.wake_depth == 0 else 0
        if not error:
            desc.wake_depth += 1
        return error
    if desc.wake_depth == 0:
        desc.core.printk(None, 4, f"Unbalanced IRQ {desc.irq} wake disable")
        return 0
    error = _set_wake_real(desc, on) if desc.wake_depth == 1 else 0
    if not error:
        desc.wake_depth -= 1
    return error


def _set_wake_real(desc: IrqDesc, on: bool) -> int:
    chip = desc.chip
    if chip.flags & IRQCHIP_SKIP_SET_WAKE:
        return 0
    return chip.irq_set_wake(desc.data, on) if chip.has_set_wake else -6
