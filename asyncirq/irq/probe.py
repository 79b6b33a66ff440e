"""Find out which line a device is on: start every free line, let the device interrupt once, see which one came.

Linux: kernel/irq/autoprobe.c. A line that interrupts before the device was asked to is not quiet and drops out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IrqDesc
from asyncirq.irq.do_irq_manage import start_line
from asyncirq.irq.state import irq_activate, irq_deactivate, irq_shutdown, irq_startup

if TYPE_CHECKING:
    from asyncirq.irq.core import IrqTable
    from asyncirq.sched.task import Task

QUIET_MS: Final = 20
"""What comes within it was there before."""
WAIT_MS: Final = 100


async def probe_irq_on(core: IrqTable, task: Task) -> int:
    """Start every free line and return the mask of the quiet ones below 32; the caller then makes its device interrupt.

    Raises ``UsageError`` where the kernel cannot sleep.
    """
    if core.msleep is None:
        raise UsageError("probing needs a kernel that can sleep", 38)
    lines = [desc for desc in reversed(core.all_descs()) if desc.action is None and not desc.noprobe and not _is_bare(core, desc)]
    for desc in lines:
        await _start(core, task, desc)
    await core.msleep(task, QUIET_MS)
    for desc in lines:
        if desc.action is None:
            desc.autodetect = desc.waiting = True
            await _start(core, task, desc)
            if desc.chip.irq_was_pending(desc.data):
                desc.pending = True
    await core.msleep(task, WAIT_MS)
    mask = 0
    for desc in lines:
        if desc.autodetect and not desc.waiting:
            await _stop(core, task, desc)
        elif desc.autodetect and desc.irq < 32:
            mask |= 1 << desc.irq
    return mask


async def probe_irq_off(core: IrqTable, task: Task) -> int:
    """Stop what ``probe_irq_on`` started; return the one irq that came, 0 for none, the first one negated for several."""
    found = [desc.irq for desc in core.all_descs() if desc.autodetect and not desc.waiting]
    for desc in core.all_descs():
        if desc.autodetect:
            await _stop(core, task, desc)
    if not found:
        return 0
    return found[0] if len(found) == 1 else -found[0]


def _is_bare(core: IrqTable, desc: IrqDesc) -> bool:
    return desc.chip is core.no_irq_chip


async def _start(core: IrqTable, task: Task, desc: IrqDesc) -> None:
    cpu, was_off = core.enter(task)
    cost = 0
    if not irq_activate(cpu, desc):
        cost = start_line(cpu, desc) if desc.controller is not None else irq_startup(cpu, desc, resend=False)
    await core.leave(task, cpu, was_off, cost)


async def _stop(core: IrqTable, task: Task, desc: IrqDesc) -> None:
    cpu, was_off = core.enter(task)
    desc.autodetect = False
    cost = _shut(cpu, desc)
    irq_deactivate(cpu, desc)
    await core.leave(task, cpu, was_off, cost)


def _shut(cpu: Cpu, desc: IrqDesc) -> int:
    return desc.controller.shutdown(cpu, desc) if desc.controller is not None else irq_shutdown(cpu, desc)
