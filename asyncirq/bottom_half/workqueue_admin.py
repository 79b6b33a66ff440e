"""Change workqueues as a whole: limits, attributes, freezing for a suspend, the end.

Linux: kernel/workqueue.c workqueue_set_max_active(), apply_workqueue_attrs(), freeze_workqueues_begin(), destroy_workqueue().
"""

from __future__ import annotations

from asyncirq.bottom_half.workqueue_api import WQ_BH, WQ_DESTROYING, WQ_FREEZABLE, WQ_MAX_ACTIVE, WQ_ORDERED, Workqueue
from asyncirq.bottom_half.workqueue_flush import Flushing
from asyncirq.errors import UsageError
from asyncirq.sched.task import Task


class Administration(Flushing):
    """What is done to whole workqueues."""

    async def workqueue_set_max_active(self, task: Task, wq: Workqueue, max_active: int) -> None:
        """Change the limit of a workqueue; items that wait become active if it rises. Raises ``UsageError`` for one that has no limit."""
        if wq.flags & (WQ_BH | WQ_ORDERED):
            raise UsageError(f"workqueue {wq.name} is {'BH' if wq.flags & WQ_BH else 'ordered'}: its max_active cannot be changed", 22)
        if not 1 <= max_active <= WQ_MAX_ACTIVE:
            raise UsageError(f"workqueue {wq.name}: max_active {max_active} is not in 1..{WQ_MAX_ACTIVE}", 22)
        wq.max_active = max_active
        for pwq in self.joints(wq):
            pwq.share = self._share(wq, pwq.pool.mask)
        cpu = task.preempt_disable()
        was_off = cpu.irq_disable()
        await self._adjust(cpu, wq)
        await cpu.irq_restore(was_off)
        await task.preempt_enable()

    async def apply_workqueue_attrs(self, task: Task, wq: Workqueue, nice: int = 0, cpumask: int = 0) -> None:
        """Give an unbound workqueue another nice value or CPU mask (0: all CPUs); what is queued ends where it is.

        Items of an ordered workqueue that come later wait until those are gone. Raises ``UsageError`` for a bound one.
        """
        if not wq.unbound:
            raise UsageError(f"workqueue {wq.name} is not unbound: it has no attributes", 22)
        if not -20 <= nice <= 19:
            raise UsageError(f"workqueue {wq.name}: nice {nice} is not in -20..19", 22)
        mask = cpumask & self.sched.all_cpus if cpumask else self.sched.all_cpus
        if not mask:
            raise UsageError(f"workqueue {wq.name}: CPU mask {cpumask:#x} holds no CPU of this machine", 22)
        wq.nice = nice
        wq.mask = mask
        await self._relink(task, wq)

    async def _relink(self, task: Task, wq: Workqueue) -> None:
        """Join an unbound workqueue to the pools that it is to have now; what is queued ends where it is."""
        replaced = [pwq for pwq in self.joints(wq) if not pwq.retired]
        self._link(wq)
        wq.old_pwqs += replaced
        if wq.flags & WQ_ORDERED:
            # The newest joint gets its items; only the oldest may execute them.
            wq.pwqs[0].plugged = True
            self._set_limit(wq.pwqs[0])
        cpu = task.preempt_disable()
        was_off = cpu.irq_disable()
        for pwq in replaced:
            pwq.retired = True
            await self.settle(cpu, pwq)
        await cpu.irq_restore(was_off)
        await task.preempt_enable()

    def freeze_workqueues_begin(self) -> None:
        """Let no further item of a freezable workqueue become active. Raises ``UsageError`` if they are frozen already."""
        if self.freezing:
            raise UsageError("the workqueues are frozen already", 16)
        self.freezing = True
        for wq in self.workqueues:
            for pwq in self.joints(wq):
                self._set_limit(pwq)

    def freeze_workqueues_busy(self) -> bool:
        """Tell whether an item of a freezable workqueue is still active: the freeze is complete when none is."""
        return any(pwq.nr_active for wq in self.workqueues if wq.flags & WQ_FREEZABLE for pwq in self.joints(wq))

    async def thaw_workqueues(self, task: Task) -> None:
        """Let the items of freezable workqueues go on. Trace: workqueue_activate_work, sched_waking."""
        if not self.freezing:
            return
        self.freezing = False
        cpu = task.preempt_disable()
        was_off = cpu.irq_disable()
        for wq in self.workqueues:
            await self._adjust(cpu, wq)
        await cpu.irq_restore(was_off)
        await task.preempt_enable()

    async def destroy_workqueue(self, task: Task, wq: Workqueue) -> None:
        """Drain a workqueue, end its rescuer, and let go of its pools; queueing to it warns and does nothing from now on."""
        if wq not in self.workqueues:
            raise UsageError(f"workqueue {wq.name} is destroyed already", 22)
        wq.flags |= WQ_DESTROYING
        await self.drain_workqueue(task, wq)
        if wq.rescuer is not None:
            await wq.rescuer.stop(task)
            wq.rescuer = None
        self.workqueues.remove(wq)
        if wq.unbound:
            cpu = task.preempt_disable()
            was_off = cpu.irq_disable()
            for pwq in self.joints(wq):
                if pwq not in wq.old_pwqs:
                    await self._put_pool(cpu, pwq.pool)
            await cpu.irq_restore(was_off)
            await task.preempt_enable()
