"""Change the state of a line: mask, unmask, enable, disable, start up, shut down.

Every function takes effect at once and returns the ns that its register writes take; the caller lets them pass.

Linux: kernel/irq/chip.c, its first half. Trace: irq_flow, while the debug switch is on.
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.affinity import setup_affinity
from asyncirq.irq.chip import IRQCHIP_AFFINITY_PRE_STARTUP, IRQCHIP_EOI_THREADED, IRQCHIP_SET_TYPE_MASKED, SET_MASK_OK_NOCOPY
from asyncirq.irq.desc import IRQ_TYPE_LEVEL_MASK, IRQ_TYPE_SENSE_MASK, IrqData, IrqDesc
from asyncirq.irq.resend import check_irq_resend, clear_irq_resend


def note(cpu: Cpu, desc: IrqDesc, action: str) -> None:
    """Record one step of a flow for whoever debugs it."""
    trace = desc.core.flow_trace
    if trace is not None:
        trace.irq_flow(cpu, desc.irq, desc.name, action)


def mask_irq(cpu: Cpu, desc: IrqDesc) -> int:
    """Mask a line that is not masked yet."""
    if desc.masked:
        return 0
    if desc.core.flow_trace is not None:
        note(cpu, desc, "mask")
    cost = desc.chip.irq_mask(cpu, desc.data)
    desc.masked = True
    return cost


def unmask_irq(cpu: Cpu, desc: IrqDesc) -> int:
    """Unmask a line that is masked."""
    if not desc.masked:
        return 0
    if desc.core.flow_trace is not None:
        note(cpu, desc, "unmask")
    cost = desc.chip.irq_unmask(cpu, desc.data)
    desc.masked = False
    return cost


def mask_ack_irq(cpu: Cpu, desc: IrqDesc) -> int:
    """Mask and acknowledge, in one step where the chip can."""
    chip = desc.chip
    if chip.has_mask_ack:
        note(cpu, desc, "mask_ack")
        cost = chip.irq_mask_ack(cpu, desc.data)
        desc.masked = True
        return cost
    cost = 0 if desc.masked else mask_irq(cpu, desc)
    if chip.has_ack:
        if desc.core.flow_trace is not None:
            note(cpu, desc, "ack")
        cost += chip.irq_ack(cpu, desc.data)
    return cost


def unmask_threaded_irq(cpu: Cpu, desc: IrqDesc) -> int:
    """Unmask at the end of a one-shot thread, after the EOI where the chip wants it there."""
    cost = 0
    if desc.chip.flags & IRQCHIP_EOI_THREADED:
        note(cpu, desc, "eoi")
        cost = desc.chip.irq_eoi(cpu, desc.data)
    return cost + unmask_irq(cpu, desc)


def irq_enable(cpu: Cpu, desc: IrqDesc) -> int:
    """Undo ``irq_disable``."""
    if not desc.disabled:
        return unmask_irq(cpu, desc)
    desc.disabled = False
    if desc.chip.has_enable:
        note(cpu, desc, "enable")
        cost = desc.chip.irq_enable(cpu, desc.data)
        desc.masked = False
        return cost
    return unmask_irq(cpu, desc)


def irq_disable(cpu: Cpu, desc: IrqDesc, mask: bool) -> int:
    """Mark a line disabled. Without ``mask`` a chip without ``irq_disable`` is left alone: the next interrupt masks it."""
    if desc.disabled:
        return mask_irq(cpu, desc) if mask else 0
    desc.disabled = True
    if desc.chip.has_disable:
        note(cpu, desc, "disable")
        cost = desc.chip.irq_disable(cpu, desc.data)
        desc.masked = True
        return cost
    return mask_irq(cpu, desc) if mask else 0


def irq_startup(cpu: Cpu, desc: IrqDesc, resend: bool) -> int:
    """Start a line up, or enable it again, and ask for what was lost while it was off."""
    desc.depth = 0
    if desc.started:
        cost = irq_enable(cpu, desc)
    elif desc.managed and (not desc.affinity & desc.core.online_mask or irq_activate(cpu, desc)):
        # None of its CPUs is there: the first that comes starts it.
        desc.depth = 1
        desc.managed_shutdown = True
        return 0
    else:
        before = bool(desc.chip.flags & IRQCHIP_AFFINITY_PRE_STARTUP) or desc.managed
        if before:
            setup_affinity(cpu, desc)
        if desc.chip.has_startup:
            note(cpu, desc, "startup")
            cost = desc.chip.irq_startup(cpu, desc.data)
            desc.disabled = desc.masked = False
        else:
            cost = irq_enable(cpu, desc)
        desc.started = True
        if not before:
            setup_affinity(cpu, desc)
    if resend:
        check_irq_resend(cpu, desc)
    return cost


def irq_shutdown(cpu: Cpu, desc: IrqDesc) -> int:
    """Shut a line down; it must be started up again."""
    if not desc.started:
        return 0
    clear_irq_resend(desc)
    desc.depth += 1
    if desc.chip.has_shutdown:
        note(cpu, desc, "shutdown")
        desc.disabled = desc.masked = True
        cost = desc.chip.irq_shutdown(cpu, desc.data)
    else:
        cost = irq_disable(cpu, desc, mask=True)
    desc.started = False
    return cost


def enable_depth(cpu: Cpu, desc: IrqDesc) -> int:
    """Undo one disable; the last one starts the line. At depth 0 warn and change nothing. Linux: __enable_irq()."""
    if desc.depth == 0 or (desc.depth == 1 and desc.suspended):
        desc.core.printk(cpu, 4, f"Unbalanced enable for IRQ {desc.irq}")
        return 0
    if desc.depth > 1:
        desc.depth -= 1
        return 0
    desc.noprobe = True
    return irq_startup(cpu, desc, resend=True)


def disable_depth(cpu: Cpu, desc: IrqDesc) -> int:
    """Disable once more; only the first one does something. Linux: __disable_irq()."""
    desc.depth += 1
    return irq_disable(cpu, desc, desc.disable_unlazy) if desc.depth == 1 else 0


def irq_activate(cpu: Cpu, desc: IrqDesc, reserve: bool = False) -> int:
    """Let every domain, the CPU's side first, take what the interrupt needs to be delivered: 0 or a negative errno."""
    if desc.activated:
        return 0
    done: list[IrqData] = []
    for data in reversed(desc.datas()):
        if data.domain is not None:
            error = data.domain.activate(cpu, data, reserve)
            if error:
                for undo in reversed(done):
                    assert undo.domain is not None
                    undo.domain.deactivate(cpu, undo)
                return error
            done.append(data)
    note(cpu, desc, "activate")
    desc.activated = True
    return 0


def irq_deactivate(cpu: Cpu, desc: IrqDesc) -> None:
    """Let every domain, the device's side first, give back what ``irq_activate`` took."""
    if desc.activated:
        for data in desc.datas():
            if data.domain is not None:
                data.domain.deactivate(cpu, data)
        desc.activated = False


def set_trigger(cpu: Cpu, desc: IrqDesc, kind: int) -> int:
    """Program the trigger through the chip: 0 or a negative errno.

    A chip without ``irq_set_type`` accepts anything and records nothing. Linux: kernel/irq/manage.c __irq_set_trigger().
    """
    chip = desc.chip
    if not chip.has_set_type:
        return 0
    unmask = False
    if chip.flags & IRQCHIP_SET_TYPE_MASKED:
        mask_irq(cpu, desc)
        # Also where somebody else had masked it, as in Linux.
        unmask = not desc.disabled
    kind &= IRQ_TYPE_SENSE_MASK
    note(cpu, desc, f"set_type {kind}")
    error = chip.irq_set_type(cpu, desc.data, kind)
    if error == SET_MASK_OK_NOCOPY:
        # The chip has recorded what it made of it.
        error = 0
    elif not error:
        set_trigger_type(desc, kind)
        desc.level = bool(kind & IRQ_TYPE_LEVEL_MASK)
    else:
        desc.core.printk(cpu, 3, f"Setting trigger mode {kind} for irq {desc.irq} failed")
    if unmask:
        unmask_irq(cpu, desc)
    return error


def set_trigger_type(desc: IrqDesc, kind: int) -> None:
    """Record the trigger of a line. Whether it is a level (``desc.level``) is another matter: the controller's driver says so."""
    desc.trigger = kind
    desc.trigger_set = True
