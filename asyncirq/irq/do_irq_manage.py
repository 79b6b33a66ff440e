"""Request, free, enable and disable lines in a kernel with one flow for all of them (``do_irq``).

No threads, no triggers, no lazy disable: the controller's operation comes at once, whatever it does. ``request_irq``
calls ``setup_irq``, which the kernel's own early lines call themselves.

Linux: kernel/irq/manage.c of 2.6.16. A refused request raises ``UsageError`` with Linux's errno and leaves no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.errors import UsageError, check_async
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.affinity import setup_affinity
from asyncirq.irq.desc import IRQF_SAMPLE_RANDOM, IRQF_SHARED, Handler, IrqAction, IrqDesc
from asyncirq.irq.do_irq import note_status
from asyncirq.irq.proc_dir import register_handler_proc, register_irq_proc, unregister_handler_proc
from asyncirq.irq.resend import retrigger
from asyncirq.irq.spurious import stall_in_progress
from asyncirq.irq.state import irq_activate, irq_deactivate, note

if TYPE_CHECKING:
    from asyncirq.irq.core import Context, IrqTable
    from asyncirq.sched.task import Task

EINVAL: Final = 22
EBUSY: Final = 16
ENOSYS: Final = 38


async def request_irq(
    core: IrqTable, context: Context, irq: int, handler: Handler | None, flags: int, name: str, dev_id: object
) -> IrqAction:
    """Install a handler. Raises ``UsageError``: EINVAL, ENOMEM, and whatever ``setup_irq`` refuses."""
    if flags & IRQF_SHARED and dev_id is None:
        raise UsageError(f"irq {irq}: a shared handler ({name}) needs a dev_id", EINVAL)
    core.desc(irq)
    if handler is None:
        raise UsageError(f"irq {irq}: {name} has no handler", EINVAL)
    check_async(handler, f"irq {irq}: the handler of {name}")
    action = core.alloc_action(irq, handler, None, flags, name, dev_id)
    await setup_irq(core, context, irq, action)
    return action


async def setup_irq(core: IrqTable, context: Context, irq: int, action: IrqAction) -> None:
    """Link an action at the tail of its line; the first one starts the line, which is live from then on.

    Raises ``UsageError``: ENOSYS for a line without a controller, EBUSY where a sharer does not share, or the domain's.
    """
    desc = core.desc(irq)
    if desc.controller is None or desc.controller is core.no_controller:
        raise UsageError(f"irq {irq} has no controller", ENOSYS)
    if action.flags & IRQF_SAMPLE_RANDOM:
        # It may sleep, so it comes before the line is locked, and stays even if the request fails.
        desc.random_state = True
    cpu, was_off = core.enter(context)
    cost = 0
    failure: UsageError | None = None
    try:
        cost = _link(cpu, desc, action)
    except UsageError as error:
        failure = error
    await core.leave(context, cpu, was_off, cost)
    if failure is not None:
        raise failure
    register_irq_proc(cpu, desc)
    action.proc_dir = ""
    register_handler_proc(cpu, desc, action)


def _link(cpu: Cpu, desc: IrqDesc, action: IrqAction) -> int:
    last = desc.action
    if last is not None:
        if not last.flags & action.flags & IRQF_SHARED:
            raise UsageError(f"irq {desc.irq} of {last.name} is not shared with {action.name}", EBUSY)
        while last.next is not None:
            last = last.next
        last.next = action
        return 0
    error = irq_activate(cpu, desc)
    if error:
        raise UsageError(f"irq {desc.irq} of {action.name} could not be activated", -error)
    setup_affinity(cpu, desc)
    desc.action = action
    desc.depth = 0
    desc.disabled = desc.autodetect = desc.waiting = desc.inprogress = False
    desc.started = True
    note_status(cpu, desc)
    return start_line(cpu, desc)


def start_line(cpu: Cpu, desc: IrqDesc) -> int:
    """Start a line up or, if its controller has no such operation, enable it."""
    controller = desc.controller
    assert controller is not None
    return controller.startup(cpu, desc) if controller.has_startup else controller.enable(cpu, desc)


async def free_irq(core: IrqTable, task: Task | None, irq: int, dev_id: object) -> str | None:
    """Remove the handler with that ``dev_id`` after its last run; return its name, None with a message if there is none."""
    desc = core.desc(irq)
    cpu, was_off = core.enter(task)
    action, cost = _unlink(cpu, desc, dev_id)
    await core.leave(task, cpu, was_off, cost)
    if action is None:
        core.printk(cpu, 3, f"Trying to free free IRQ{irq}")
        return None
    unregister_handler_proc(action)
    if task is not None:
        await synchronize_irq(core, task, irq)
    if desc.action is None:
        irq_deactivate(core.cpus[0] if task is None else task.cpu, desc)
    return action.name


def _unlink(cpu: Cpu, desc: IrqDesc, dev_id: object) -> tuple[IrqAction | None, int]:
    before: IrqAction | None = None
    action = desc.action
    while action is not None and action.dev_id is not dev_id:
        before, action = action, action.next
    if action is None:
        return None, 0
    if before is not None:
        before.next = action.next
        return action, 0
    desc.action = action.next
    if desc.action is not None:
        return action, 0
    desc.disabled = True
    desc.started = False
    note_status(cpu, desc)
    assert desc.controller is not None
    return action, desc.controller.shutdown(cpu, desc)


async def synchronize_irq(core: IrqTable, context: Task | Cpu, irq: int) -> None:
    """Wait, with the CPU, while a handler of the line runs. Raises ``KernelBug`` where that handler waits for the caller."""
    desc = core.desc(irq)
    if not desc.inprogress:
        return
    cpu = context if isinstance(context, Cpu) else context.preempt_disable()
    while desc.inprogress:
        await stall_in_progress(cpu, desc)
    if not isinstance(context, Cpu):
        await context.preempt_enable()


def disable_once(cpu: Cpu, desc: IrqDesc) -> int:
    """Disable a line once more; only the first one does something. Linux: disable_irq_nosync()."""
    desc.depth += 1
    if desc.depth != 1:
        return 0
    desc.disabled = True
    note_status(cpu, desc)
    assert desc.controller is not None
    return desc.controller.disable(cpu, desc)


def enable_once(cpu: Cpu, desc: IrqDesc) -> int:
    """Undo one disable; the last one sends again what came meanwhile. At depth 0 warn and change nothing. Linux: enable_irq()."""
    if desc.depth == 0:
        desc.core.printk(cpu, 4, f"enable_irq({desc.irq}) unbalanced")
        return 0
    cost = 0
    if desc.depth == 1:
        desc.disabled = False
        if desc.pending and not desc.replay:
            desc.replay = True
            note(cpu, desc, "retrigger")
            retrigger(cpu, desc)
        note_status(cpu, desc)
        assert desc.controller is not None
        cost = desc.controller.enable(cpu, desc)
    desc.depth -= 1
    return cost
