"""Move interrupts between CPUs: at once where the hardware allows it, else in the next interrupt.

Linux: kernel/irq/manage.c irq_do_set_affinity(), kernel/irq/migration.c.
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import IRQCHIP_MOVE_DEFERRED, SET_MASK_OK_NOCOPY
from asyncirq.irq.desc import IrqDesc


def setup_affinity(cpu: Cpu, desc: IrqDesc) -> int:
    """Place a line that starts up: where the user wanted it, else on the default CPUs; online ones only."""
    if not desc.chip.has_set_affinity or desc.nobalancing or desc.percpu:
        return 0
    core = desc.core
    wanted = core.default_affinity
    if desc.managed or desc.affinity_set:
        if desc.affinity & core.online_mask:
            wanted = desc.affinity
        else:
            desc.affinity_set = False
    mask = wanted & core.online_mask
    return do_set_affinity(cpu, desc, mask or core.online_mask, force=False)


def do_set_affinity(cpu: Cpu, desc: IrqDesc, mask: int, force: bool) -> int:
    """Let the chip send the line to a CPU of ``mask`` and mark its threads to follow: 0 or a negative errno."""
    chip = desc.chip
    if not chip.has_set_affinity:
        return -22
    if not force and not mask & desc.core.online_mask:
        return -22
    ret = chip.irq_set_affinity(cpu, desc.data, mask if force else mask & desc.core.online_mask, force)
    if ret < 0:
        return ret
    if ret != SET_MASK_OK_NOCOPY:
        desc.affinity = mask
    if not desc.effective_affinity:
        desc.core.printk(cpu, 4, f"genirq: irq_chip {chip.name} did not update eff. affinity mask of irq {desc.irq}")
    for action in desc.actions():
        if action.thread is not None:
            action.affinity_changed = True
        if action.secondary is not None:
            action.secondary.affinity_changed = True
    return 0


def set_affinity(cpu: Cpu, desc: IrqDesc, mask: int, force: bool = False) -> int:
    """Ask for another set of CPUs; where only the interrupt itself may move, remember it: 0 or a negative errno.

    Linux: irq_set_affinity_locked(). Model: a mask that the chip refused is not noted as set by the user.
    """
    chip = desc.chip
    if not chip.has_set_affinity:
        return -22
    if not desc.activated and desc.can_reserve:
        # Nothing is assigned yet: activation takes it into account.
        desc.affinity = mask
        desc.affinity_set = True
        return 0
    deferred = bool(chip.flags & IRQCHIP_MOVE_DEFERRED) and desc.started
    ret = 0
    if not deferred and not desc.setaffinity_pending:
        ret = do_set_affinity(cpu, desc, mask, force)
        if ret == -16 and not force:
            _remember(desc, mask)
            ret = 0
    else:
        _remember(desc, mask)
    if not ret:
        desc.affinity_set = True
    return ret


def _remember(desc: IrqDesc, mask: int) -> None:
    desc.setaffinity_pending = True
    desc.pending_mask = mask


def irq_move_irq(cpu: Cpu, desc: IrqDesc) -> int:
    """Apply a remembered move in the interrupt, masked meanwhile; return the ns of the register writes.

    Chips whose flags say ``IRQCHIP_MOVE_DEFERRED`` call it in their ack.
    """
    if not desc.setaffinity_pending or desc.disabled:
        return 0
    cost = 0
    masked = desc.masked
    if not masked:
        cost = desc.chip.irq_mask(cpu, desc.data)
    irq_move_masked_irq(cpu, desc)
    if not masked:
        cost += desc.chip.irq_unmask(cpu, desc.data)
    return cost


def irq_move_masked_irq(cpu: Cpu, desc: IrqDesc) -> None:
    """Apply a remembered move to a masked line; a busy chip keeps it for the next time, no online CPU drops it."""
    if not desc.setaffinity_pending:
        return
    desc.setaffinity_pending = False
    mask = desc.pending_mask
    if not mask or not desc.chip.has_set_affinity:
        return
    if mask & desc.core.online_mask and do_set_affinity(cpu, desc, mask, force=False) == -16:
        desc.setaffinity_pending = True
        return
    desc.pending_mask = 0
