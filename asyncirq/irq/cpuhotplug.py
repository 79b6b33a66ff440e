"""Move interrupts away from a CPU that goes offline, and bring managed ones back.

A move of the same interrupt that is still under way is completed by force.

Linux: kernel/irq/cpuhotplug.c.
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.affinity import do_set_affinity
from asyncirq.irq.core import KERN_WARNING, IrqTable
from asyncirq.irq.desc import IrqDesc
from asyncirq.irq.state import irq_deactivate, irq_shutdown, irq_startup


def migrate_all_off_this_cpu(core: IrqTable, cpu: Cpu) -> None:
    """Move every interrupt away from a CPU that ``core.online_mask`` does not hold any more; interrupts are off."""
    for desc in core.all_descs():
        if _migrate_one(core, cpu, desc):
            core.printk(cpu, KERN_WARNING, f"IRQ{desc.irq}: no longer affine to CPU{cpu.id}")


def _migrate_one(core: IrqTable, cpu: Cpu, desc: IrqDesc) -> bool:
    """Move one interrupt: to its pending mask, its mask, or anywhere; tell whether its affinity was broken."""
    if not desc.chip.has_set_affinity or desc.percpu or not desc.started or not desc.effective_affinity >> cpu.id & 1:
        return False
    online = core.online_mask
    mask = desc.pending_mask & online if desc.setaffinity_pending else 0
    mask = mask or desc.affinity & online
    desc.setaffinity_pending = False
    desc.pending_mask = 0
    broken = False
    if core.force_complete_move is not None:
        core.force_complete_move(cpu, desc)
    if not mask:
        if desc.managed:
            # The mask stays: the line comes back with the first CPU of it.
            desc.managed_shutdown = True
            irq_shutdown(cpu, desc)
            irq_deactivate(cpu, desc)
            return False
        mask = online
        broken = True
    error = do_set_affinity(cpu, desc, mask, force=False)
    if error == -28 and not desc.managed and mask != online:
        broken = True
        error = do_set_affinity(cpu, desc, online, force=False)
    if error:
        core.printk(cpu, KERN_WARNING, f"IRQ{desc.irq}: set affinity failed({error}).")
        return False
    return broken


def affinity_online_cpu(core: IrqTable, cpu: Cpu) -> None:
    """Give a CPU that came online its managed interrupts back; a line disabled meanwhile stays so."""
    for desc in core.all_descs():
        if not desc.managed or desc.action is None or not desc.affinity >> cpu.id & 1:
            continue
        if desc.managed_shutdown:
            desc.managed_shutdown = False
            desc.depth -= 1
            if desc.depth == 0:
                irq_startup(cpu, desc, resend=True)
        elif not desc.single_target and desc.started:
            do_set_affinity(cpu, desc, desc.affinity, force=False)
