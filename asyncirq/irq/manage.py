"""Request, free, enable, disable and synchronize interrupts: what drivers call.

Linux: kernel/irq/manage.c. A refused request raises ``UsageError`` with Linux's errno and words. Every function can be
called from a task and, with ``None``, at boot, where no virtual time passes.
"""

from __future__ import annotations

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq import affinity, poll, resend
from asyncirq.irq.core import EINVAL, KERN_WARNING, Context
from asyncirq.irq.desc import IRQ_WAKE_THREAD, FlowHandler, Handler, IrqAction, IrqDesc, ThreadFn
from asyncirq.irq.percpu import PercpuTable
from asyncirq.irq.setup import check_request, install_action, prepare_action
from asyncirq.irq.spurious import stall_in_progress
from asyncirq.irq.state import disable_depth, enable_depth, irq_activate, irq_deactivate, irq_shutdown, irq_startup
from asyncirq.irq.thread import create_irq_thread, start_irq_thread, stop_irq_thread, wait_for_threads
from asyncirq.sched.preempt import INTERRUPT_MASK
from asyncirq.sched.task import Task


class IrqCore(PercpuTable):
    """The interrupt core of one machine.

    ``IrqCore(sched, softirq)``; keywords: ``debug`` (trace every step of the flow handlers), ``noirqdebug`` (never
    judge spurious interrupts), ``irqfixup`` (1: irqfixup, 2: irqpoll).
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
        EINVAL for arguments, EBUSY for sharers that disagree, ENOSYS without a controller, ENOSPC without a vector.
        """
        desc = self.desc(irq)
        action = IrqAction(irq, handler or _no_handler, thread_fn, int(flags), name, dev_id)
        check_request(desc, action, handler is not None)
        failure: UsageError | None = None
        prepare_action(self, desc, action, handler is not None, task is not None)
        if task is not None:
            await create_irq_thread(task, action)
            if action.secondary is not None:
                await create_irq_thread(task, action.secondary)
        cpu, was_off = self.enter(task)
        cost = 0
        try:
            cost = install_action(self, cpu, desc, action)
        except UsageError as error:
            failure = error
        await self.leave(task, cpu, was_off, cost)
        if failure is not None:
            await self._stop_threads(task, action)
            raise failure
        await start_irq_thread(self, task, desc, action)
        if action.secondary is not None:
            await start_irq_thread(self, task, desc, action.secondary)
        return action

    async def free_irq(self, task: Task | None, irq: int, dev_id: object = None) -> str | None:
        """Remove the handler with that ``dev_id``, after its last run; return its name, None with a warning if there is none.

        The last one shuts the line down. Raises ``KernelBug`` in interrupt context.
        """
        desc = self.desc(irq, percpu=False)
        cpu, was_off = self.enter(task)
        if task is not None and cpu.preempt_count & INTERRUPT_MASK:
            raise KernelBug(f"Trying to free IRQ {irq} from IRQ context! {cpu.name} at {self.engine.now} ns")
        action = _unlink(desc, dev_id)
        if action is None:
            self.printk(cpu, KERN_WARNING, f"Trying to free already-free IRQ {irq}")
            await self.leave(task, cpu, was_off)
            return None
        cost = 0
        if desc.action is None:
            desc.disable_unlazy = False
            cost = irq_shutdown(cpu, desc)
        await self.leave(task, cpu, was_off, cost)
        if task is not None:
            await self._synchronize(task, desc)
        await self._stop_threads(task, action)
        if desc.action is None:
            irq_deactivate(self.cpus[0] if task is None else task.cpu, desc)
            desc.chip.irq_release_resources(desc.data)
        return action.name

    async def _stop_threads(self, task: Task | None, action: IrqAction) -> None:
        await stop_irq_thread(self, task, action)
        if action.secondary is not None:
            await stop_irq_thread(self, task, action.secondary)

    # --- off and on

    async def disable_irq_nosync(self, context: Context, irq: int) -> None:
        """Disable a line once more, without waiting for a handler that runs; the chip is left alone where it can be late."""
        desc = self.desc(irq, percpu=False)
        cpu, was_off = self.enter(context)
        await self.leave(context, cpu, was_off, disable_depth(cpu, desc))

    async def disable_irq(self, task: Task | None, irq: int) -> None:
        """Disable a line once more and wait until none of its handlers runs."""
        await self.disable_irq_nosync(task, irq)
        if task is not None:
            await self.synchronize_irq(task, irq)

    async def enable_irq(self, context: Context, irq: int) -> None:
        """Undo one disable; the last one starts the line and resends what was lost. At depth 0 warn: Unbalanced enable."""
        desc = self.desc(irq, percpu=False)
        cpu, was_off = self.enter(context)
        cost = 0
        if desc.chip is self.no_irq_chip:
            self.printk(cpu, KERN_WARNING, f"enable_irq before setup/request_irq: irq {irq}")
        else:
            cost = enable_depth(cpu, desc)
        await self.leave(context, cpu, was_off, cost)

    async def synchronize_irq(self, task: Task, irq: int) -> None:
        """Wait until no handler of the line runs, the hardware holds none in service, and no thread of it is awake."""
        await self._synchronize(task, self.desc(irq))

    async def _synchronize(self, task: Task, desc: IrqDesc) -> None:
        cpu = task.preempt_disable()
        await self.synchronize_hardirq(cpu, desc.irq)
        await task.preempt_enable()
        await wait_for_threads(desc, task)

    async def synchronize_hardirq(self, cpu: Cpu, irq: int) -> None:
        """Wait until no hard handler of the line runs. Raises ``KernelBug`` where that would wait for itself."""
        desc = self.desc(irq)
        while True:
            while desc.inprogress:
                await stall_in_progress(cpu, desc)
            if not (desc.chip.has_active and desc.chip.irq_get_active(cpu, desc.data)):
                return
            # The hardware tells no one when it is done: ask again.
            await cpu.spend(self.costs.mmio_ns or 1)

    # --- where

    async def irq_set_affinity(self, context: Context, irq: int, mask: int) -> None:
        """Let a line interrupt only CPUs of ``mask``; where only the interrupt itself can move, with the next one.

        Raises ``UsageError`` EINVAL for a mask without an online CPU or a line that cannot move, ENOSPC without a vector.
        """
        desc = self.desc(irq)
        if not mask & self.online_mask:
            raise UsageError(f"irq {irq}: affinity {mask:#x} names no online CPU", EINVAL)
        if desc.percpu or desc.nobalancing:
            raise UsageError(f"irq {irq} cannot be moved", EINVAL)
        cpu, was_off = self.enter(context)
        error = affinity.set_affinity(cpu, desc, mask)
        await self.leave(context, cpu, was_off)
        if error:
            raise UsageError(f"irq {irq} could not be moved to {mask:#x}", -error)

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

    async def run_resend(self, cpu: Cpu) -> None:
        """Handle what waits for a software resend: the function of the tasklet that ``schedule_resend`` schedules."""
        await resend.run_resend(self, cpu)

    async def poll_spurious(self, cpu: Cpu) -> None:
        """Serve the lines that were disabled as spurious: the function of the timer that ``arm_spurious_poll`` arms."""
        await poll.poll_spurious(self, cpu)


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
