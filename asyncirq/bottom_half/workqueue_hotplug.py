"""Take a CPU from the workqueues and give it back.

======== ======================================= ===========================================
what     CPU goes down                           CPU comes up
======== ======================================= ===========================================
bound    workers may run on all other CPUs, and  workers return to their CPU; those that
pools    are not counted any more: for each      execute are counted again from their next
         item one is woken                       item on
unbound  lose the CPU from their masks: new      get it back, by new joints
pools    joints, what is queued ends in the old
======== ======================================= ===========================================

Items queued to the CPU go to its pool all the while, also those whose timer has moved to another CPU.

Linux: kernel/workqueue.c workqueue_offline_cpu(), unbind_workers(), workqueue_online_cpu(), rebind_workers(). Model: a worker
that came back is bound by its mask alone, not for life.
"""

from __future__ import annotations

from asyncirq.bottom_half.worker import WORKER_REBOUND, WORKER_UNBOUND
from asyncirq.bottom_half.workqueue_admin import Administration
from asyncirq.bottom_half.workqueue_api import WQ_ORDERED
from asyncirq.bottom_half.workqueue_pool import WorkerPool
from asyncirq.errors import UsageError
from asyncirq.sched.task import Task


class Hotplug(Administration):
    """What workqueues do when a CPU goes down or comes up."""

    async def workqueue_offline_cpu(self, task: Task, cpu_id: int) -> None:
        """Let the workers of a CPU that goes down run elsewhere. Raises ``UsageError`` if it is down, or the last one.

        Trace: sched_waking, sched_migrate_task.
        """
        bit = self._bit(cpu_id)
        if not self.online & bit:
            raise UsageError(f"workqueues: CPU {cpu_id} is down already", 22)
        if self.online == bit:
            raise UsageError(f"workqueues: CPU {cpu_id} is the last one", 16)
        self.online &= ~bit
        for pool in self._bound_pools(cpu_id):
            pool.refuge = self.online
            pool.nr_running = 0
            for worker in pool.workers:
                worker.flags |= WORKER_UNBOUND
                self._move(task, worker.task, self.online)
            await self._kick(task, pool)
        for other in self.pools:
            if other.bound and other.refuge and other.cpu != cpu_id:
                other.refuge = self.online
                for worker in other.workers:
                    self._move(task, worker.task, self.online)
        await self._update_unbound(task)

    async def workqueue_online_cpu(self, task: Task, cpu_id: int) -> None:
        """Bind the workers of a CPU that comes up to it again. Raises ``UsageError`` if it is up. Trace: sched_migrate_task."""
        bit = self._bit(cpu_id)
        if self.online & bit:
            raise UsageError(f"workqueues: CPU {cpu_id} is up already", 22)
        self.online |= bit
        for pool in self._bound_pools(cpu_id):
            pool.refuge = 0
            for worker in pool.workers:
                # One that executes an item may have slept or woken uncounted: it counts from its next start on.
                worker.flags = worker.flags & ~WORKER_UNBOUND | WORKER_REBOUND
                self._move(task, worker.task, bit)
        await self._update_unbound(task)

    def _bit(self, cpu_id: int) -> int:
        if not 0 <= cpu_id < len(self.sched.cpus):
            raise UsageError(f"workqueues: there is no CPU {cpu_id}", 22)
        return 1 << cpu_id

    def _bound_pools(self, cpu_id: int) -> list[WorkerPool]:
        return [pool for pool in self.pools if pool.cpu == cpu_id]

    def _move(self, task: Task, thread: Task, mask: int) -> None:
        cpu = task.preempt_disable()
        thread.percpu = thread.pinned = False
        self.sched.set_cpus_allowed(cpu, thread, mask)
        cpu.preempt_count -= 1

    async def _kick(self, task: Task, pool: WorkerPool) -> None:
        cpu = task.preempt_disable()
        was_off = cpu.irq_disable()
        await pool.kick(cpu)
        await cpu.irq_restore(was_off)
        await task.preempt_enable()

    async def _update_unbound(self, task: Task) -> None:
        for wq in self.workqueues:
            # An ordered one keeps its only pool, whose threads are moved like any others.
            if wq.unbound and not wq.flags & WQ_ORDERED:
                await self._relink(task, wq)
