"""Request, free, enable, disable and synchronize interrupts: what drivers call.

Linux: kernel/irq/manage.c. A refused request raises ``UsageError`` with Linux's errno and words. Every function can be
called from a task and, with ``None``, at boot, where no virtual time passes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq import affinity, do_irq_manage
from asyncirq.irq.core import EINVAL, ENOSYS, KERN_WARNING, Context
from asyncirq.irq.desc import IRQ_WAKE_THREAD, IRQF_SHARED, FlowHandler, Handler, IrqAction, IrqDesc, IrqReturn, ThreadFn
from asyncirq.irq.nmi import NmiTable
from asyncirq.irq.pm import install_pm_action, remove_pm_action
from asyncirq.irq.proc_dir import register_handler_proc, register_irq_proc, unregister_handler_proc
from asyncirq.irq.setup import check_request, connected_desc, install_action, prepare_action
from asyncirq.irq.state import disable_depth, enable_depth, irq_activate, irq_deactivate, irq_shutdown, irq_startup, note
from asyncirq.irq.thread import create_irq_thread, start_irq_thread, stop_irq_thread
from asyncirq.sched.preempt import INTERRUPT_MASK
from asyncirq.sched.task import Task

IRQC_IS_HARDIRQ: Final = 0
IRQC_IS_NESTED: Final = 1
AnyHandler = Callable[[Any, int, Any], Coroutine[Any, Any, IrqReturn]]
"""A handler for either context: ``await handler(context, irq, dev_id)``."""


class IrqCore(NmiTable):
    """The interrupt core of one machine.

    ``IrqCore(sched, softirq)``; keywords: ``debug`` (trace every step of the flow handlers), ``noirqdebug`` (never
    judge spurious interrupts), ``irqfixup`` (1: irqfixup, 2: irqpoll), ``early`` (False: no descriptors yet).
    """

    async def request_irq(
        self, task: Task | None, irq: int, handler: Handler, flags: int = 0, name: str = "", dev_id: object = None
    ) -> IrqAction:
        """Install a handler on a line, and start the line up for the first one. Raises ``UsageError``."""
        return await self.request_threaded_irq(task, irq, handler, None, flags, name, dev_id)

    async def request_threaded_irq(
        self,
        task: Task | None,
        irq: int,
        handler: Handler | None,
        thread_fn: ThreadFn | None,
        flags: int = 0,
        name: str = "",
        dev_id: object = None,
    ) -> IrqAction:
        """Install a handler and a thread function, which runs whenever the handler returns ``IRQ_WAKE_THREAD``.

        Without a handler every interrupt wakes the thread. The line is live before this returns. Raises ``UsageError``:
        EINVAL for arguments, EBUSY for sharers that disagree, ENOSYS without a controller, ENOSPC without a vector, ENOTCONN
        for a device whose pin is not wired (``IRQ_NOTCONNECTED``).
        """
        desc = connected_desc(self, irq, name)
        if self.config.irq_flow == "do_irq":
            if thread_fn is not None:
                raise UsageError(f"irq {irq}: {name} wants a thread, which this kernel has not for interrupts", ENOSYS)
            return await do_irq_manage.request_irq(self, task, irq, handler, int(flags), name, dev_id)
        action = self.alloc_action(irq, handler or _no_handler, thread_fn, int(flags), name, dev_id)
        check_request(desc, action, handler is not None)
        failure: UsageError | None = None
        try:
            prepare_action(self, desc, action, handler is not None, task is not None)
        except UsageError:
            if task is not None:
                await create_irq_thread(task, action)
            await self._stop_threads(task, action)
            raise
        if task is not None:
            await create_irq_thread(task, action)
            if action.secondary is not None:
                await create_irq_thread(task, action.secondary)
        if desc.data.domain is not None:
            desc.data.domain.pm_get()
        await self._lock_line(task, desc)
        cpu, was_off = self.enter(task)
        cost = 0
        try:
            cost = install_action(self, cpu, desc, action)
            install_pm_action(self, desc, action)
        except UsageError as error:
            failure = error
        await self.leave(task, cpu, was_off, cost)
        await self._unlock_line(task, desc)
        if failure is not None:
            if desc.data.domain is not None:
                desc.data.domain.pm_put()
            await self._stop_threads(task, action)
            raise failure
        await start_irq_thread(self, task, desc, action)
        if action.secondary is not None:
            await start_irq_thread(self, task, desc, action.secondary)
        cpu = self.cpus[0] if task is None else task.cpu
        register_irq_proc(cpu, desc)
        register_handler_proc(cpu, desc, action)
        if self.config.debug_shirq:
            await self._try_shared_handler(task, desc, action)
        return action

    async def request_any_context_irq(
        self, task: Task | None, irq: int, handler: AnyHandler, flags: int = 0, name: str = "", dev_id: object = None
    ) -> int:
        """Install ``async def handler(context, irq, dev_id)`` in whatever context the line has; return which one it is.

        ``IRQC_IS_HARDIRQ``: ``context`` is the CPU. ``IRQC_IS_NESTED``: it is the thread of the parent's line.
        """
        if connected_desc(self, irq, name).nested_thread:
            await self.request_threaded_irq(task, irq, None, handler, flags, name, dev_id)
            return IRQC_IS_NESTED
        await self.request_irq(task, irq, handler, flags, name, dev_id)
        return IRQC_IS_HARDIRQ

    async def free_irq(self, task: Task | None, irq: int, dev_id: object = None) -> str | None:
        """Remove the handler with that ``dev_id``, after its last run; return its name, None with a warning if there is none.

        The last one shuts the line down. Raises ``KernelBug`` in interrupt context.
        """
        desc = self.desc(irq, percpu=False)
        if self.config.irq_flow == "do_irq":
            return await do_irq_manage.free_irq(self, task, irq, dev_id)
        if task is not None and task.cpu.preempt_count & INTERRUPT_MASK:
            raise KernelBug(f"Trying to free IRQ {irq} from IRQ context! {task.cpu.name} at {self.engine.now} ns")
        await self._lock_line(task, desc)
        cpu, was_off = self.enter(task)
        action = _unlink(desc, dev_id)
        if action is None:
            self.printk(cpu, KERN_WARNING, f"Trying to free already-free IRQ {irq}")
            await self.leave(task, cpu, was_off)
            await self._unlock_line(task, desc)
            return None
        remove_pm_action(desc, action)
        # The driver should have taken it back.
        desc.affinity_hint = 0
        cost = 0
        if desc.action is None:
            desc.disable_unlazy = False
            cost = irq_shutdown(cpu, desc)
        await self.leave(task, cpu, was_off, cost)
        if task is not None and desc.chip.has_bus_lock:
            await desc.chip.irq_bus_sync_unlock(task, desc.data)
        unregister_handler_proc(action)
        if task is not None:
            await self.wait_for_line(task, desc)
        if self.config.debug_shirq:
            await self._try_shared_handler(task, desc, action)
        await self._stop_threads(task, action)
        if desc.action is None:
            irq_deactivate(self.cpus[0] if task is None else task.cpu, desc)
            desc.chip.irq_release_resources(desc.data)
        if task is not None:
            await desc.request_mutex.unlock(task)
        if desc.data.domain is not None:
            desc.data.domain.pm_put()
        return action.name

    async def _lock_line(self, task: Task | None, desc: IrqDesc) -> None:
        if task is None:
            return
        await desc.request_mutex.lock(task)
        note(task.cpu, desc, "mutex_lock")
        if desc.chip.has_bus_lock:
            await desc.chip.irq_bus_lock(task, desc.data)
            note(task.cpu, desc, "bus_lock")

    async def _unlock_line(self, task: Task | None, desc: IrqDesc) -> None:
        if task is None:
            return
        if desc.chip.has_bus_lock:
            await desc.chip.irq_bus_sync_unlock(task, desc.data)
            note(task.cpu, desc, "bus_sync_unlock")
        note(task.cpu, desc, "mutex_unlock")
        await desc.request_mutex.unlock(task)

    async def _try_shared_handler(self, task: Task | None, desc: IrqDesc, action: IrqAction) -> None:
        """Call a shared handler as if its line had interrupted, which a sharer may make it do at any time. Linux: CONFIG_DEBUG_SHIRQ.

        Model: not at boot, where no time passes.
        """
        if task is not None and action.flags & IRQF_SHARED:
            cpu = task.preempt_disable()
            was_off = cpu.irq_disable()
            await action.handler(cpu, desc.irq, action.dev_id)
            await cpu.irq_restore(was_off)
            await task.preempt_enable()

    async def _stop_threads(self, task: Task | None, action: IrqAction) -> None:
        await stop_irq_thread(self, task, action)
        if action.secondary is not None:
            await stop_irq_thread(self, task, action.secondary)

    # --- off and on

    async def disable_irq_nosync(self, context: Context, irq: int) -> None:
        """Disable a line once more, without waiting for a handler that runs; the chip is left alone where it can be late."""
        desc = self.desc(irq, percpu=False)
        if isinstance(context, Task):
            await self._bus_lock(context, desc)
        cpu, was_off = self.enter(context)
        cost = disable_depth(cpu, desc) if desc.controller is None else do_irq_manage.disable_once(cpu, desc)
        await self.leave(context, cpu, was_off, cost)
        if isinstance(context, Task):
            await self._bus_unlock(context, desc)

    async def disable_irq(self, task: Task | None, irq: int) -> None:
        """Disable a line once more and wait until none of its handlers runs."""
        await self.disable_irq_nosync(task, irq)
        # A kernel with one flow for all lines waits only where there is a handler.
        if task is not None and (self.config.irq_flow == "genirq" or self.desc(irq).action is not None):
            await self.synchronize_irq(task, irq)

    async def disable_hardirq(self, context: Task | Cpu, irq: int) -> bool:
        """Disable a line once more and wait for its hard handlers alone; tell whether no thread of it is awake.

        May be called in an interrupt, if not of the line itself.
        """
        await self.disable_irq_nosync(context, irq)
        cpu = context if isinstance(context, Cpu) else context.preempt_disable()
        await self.synchronize_hardirq(cpu, irq)
        if not isinstance(context, Cpu):
            await context.preempt_enable()
        return not self.desc(irq).threads_active

    async def enable_irq(self, context: Context, irq: int) -> None:
        """Undo one disable; the last one starts the line and resends what was lost. At depth 0 warn: Unbalanced enable."""
        desc = self.desc(irq, percpu=False)
        if isinstance(context, Task):
            await self._bus_lock(context, desc)
        cpu, was_off = self.enter(context)
        cost = 0
        if desc.chip is self.no_irq_chip:
            self.printk(cpu, KERN_WARNING, f"enable_irq before setup/request_irq: irq {irq}")
        else:
            cost = enable_depth(cpu, desc) if desc.controller is None else do_irq_manage.enable_once(cpu, desc)
        await self.leave(context, cpu, was_off, cost)
        if isinstance(context, Task):
            await self._bus_unlock(context, desc)

    async def _bus_lock(self, task: Task, desc: IrqDesc) -> None:
        if desc.chip.has_bus_lock:
            await desc.chip.irq_bus_lock(task, desc.data)

    async def _bus_unlock(self, task: Task, desc: IrqDesc) -> None:
        if desc.chip.has_bus_lock:
            await desc.chip.irq_bus_sync_unlock(task, desc.data)

    async def synchronize_irq(self, task: Task, irq: int) -> None:
        """Wait until no handler of the line runs, the hardware holds none in service, and no thread of it is awake."""
        await self.wait_for_line(task, self.desc(irq))

    # --- where

    async def irq_set_affinity(self, context: Context, irq: int, mask: int) -> None:
        """Let a line interrupt only CPUs of ``mask``; where only the interrupt itself can move, with the next one.

        NOBALANCING keeps user space away, not the line's own driver. Raises ``UsageError`` EINVAL for a mask without an online
        CPU or a line that cannot move, ENOSPC without a vector.
        """
        desc = self.desc(irq)
        if not mask & self.online_mask:
            raise UsageError(f"irq {irq}: affinity {mask:#x} names no online CPU", EINVAL)
        if desc.percpu:
            raise UsageError(f"irq {irq} cannot be moved", EINVAL)
        cpu, was_off = self.enter(context)
        error = affinity.set_affinity(cpu, desc, mask)
        await self.leave(context, cpu, was_off)
        if error:
            raise UsageError(f"irq {irq} could not be moved to {mask:#x}", -error)

    async def irq_set_affinity_and_hint(self, context: Context, irq: int, mask: int, move: bool = True) -> None:
        """Tell user space where a line should go (0: nothing more) and, with ``move``, send it there if it can go.

        Linux: irq_set_affinity_and_hint(); without ``move`` irq_update_affinity_hint(). Raises ``UsageError`` EINVAL.
        """
        self.desc(irq, percpu=False).affinity_hint = mask
        if mask and move:
            with suppress(UsageError):
                await self.irq_set_affinity(context, irq, mask)

    def irq_set_chained_handler(self, irq: int, handle_irq: FlowHandler, handler_data: object = None) -> None:
        """Make a line the parent of others: it starts at once and can be neither requested nor threaded."""
        desc = self.desc(irq)
        cpu = self.cpus[0]
        desc.handle_irq = handle_irq
        desc.handler_data = handler_data
        desc.norequest = desc.noprobe = desc.nothread = True
        error = irq_activate(cpu, desc)
        if error:
            raise UsageError(f"irq {irq} could not be activated", -error)
        irq_startup(cpu, desc, resend=True)


async def _no_handler(cpu: Cpu, irq: int, dev_id: object) -> int:
    return IRQ_WAKE_THREAD


def _unlink(desc: IrqDesc, dev_id: object) -> IrqAction | None:
    before: IrqAction | None = None
    action = desc.action
    while action is not None and action.dev_id is not dev_id:
        before, action = action, action.next
    if action is not None:
        if before is None:
            desc.action = action.next
        else:
            before.next = action.next
    return action
