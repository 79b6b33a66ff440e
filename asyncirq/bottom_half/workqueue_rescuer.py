"""Rescue the items of a workqueue that memory reclaim depends on: one thread of its own, for when no worker can be made.

The manager of a pool that cannot make a worker calls ``mayday`` for each waiting item whose workqueue has a rescuer. The
rescuer goes to that pool, executes the workqueue's items one at a time, sixteen at most in one visit, and wakes a regular
worker for what is left.

Linux: kernel/workqueue.c rescuer_thread(), send_mayday().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.bottom_half.worker import Worker
from asyncirq.bottom_half.workqueue_pool import PoolWorkqueue, WorkerPool, lock_pool, unlock_pool
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import TASK_IDLE, TASK_RUNNING, Task

if TYPE_CHECKING:
    from asyncirq.bottom_half.workqueue_api import Workqueue

RESCUER_NICE: Final = -20
RESCUER_BATCH: Final = 16


class Rescuer(Worker):
    """The rescuer of one workqueue; it is never counted as running. ``rescued`` counts the items that it executed."""

    __slots__ = ("exited", "rescued", "should_stop", "wq")

    def __init__(self, pool: WorkerPool, wq: Workqueue) -> None:
        self.wq = wq
        self.rescued = 0
        self.should_stop = False
        self.exited = False
        super().__init__(pool)

    def _attach(self) -> tuple[int, Task]:
        sched = self.pool.sched
        prefix = "kworker/R-" if sched.config.wq_rescuer_prefix else ""
        task = sched.new_task(self.main, prefix + self.wq.name, kthread=True, nice=RESCUER_NICE)
        task.worker = self
        return 0, task

    def _join(self) -> None:
        """Belong to no pool but while it visits one."""

    async def mayday(self, cpu: Cpu, pwq: PoolWorkqueue) -> None:
        """Call the rescuer to a pool, unless it is called there already. Trace: sched_waking."""
        if pwq not in self.wq.maydays:
            self.wq.maydays.append(pwq)
            await self.pool.sched.wake_up_process(cpu, self.task)

    async def stop(self, task: Task) -> None:
        """End the rescuer's thread."""
        self.should_stop = True
        await task.wake(self.task)

    async def main(self, task: Task) -> None:
        """Wait for maydays until the workqueue is destroyed."""
        maydays = self.wq.maydays
        while True:
            task.set_current_state(TASK_IDLE)
            should_stop = self.should_stop
            while maydays:
                task.set_current_state(TASK_RUNNING)
                pwq = maydays.pop(0)
                await self._visit(task, pwq)
            if should_stop:
                break
            await task.schedule()
        task.set_current_state(TASK_RUNNING)
        task.worker = None
        self.exited = True

    async def _visit(self, task: Task, pwq: PoolWorkqueue) -> None:
        pool = self.pool = pwq.pool
        cpu = task.preempt_disable()
        pool.sched.set_cpus_allowed(cpu, task, pool.mask)
        await task.preempt_enable()
        if not pool.mask >> task.cpu.id & 1:
            await task.schedule()
        start_ns = pool.sched.costs.work_start_ns
        for _ in range(RESCUER_BATCH):
            work = next((work for work in pool.worklist if work.pwq is pwq), None)
            if work is None:
                break
            if start_ns:
                await task.spend(start_ns)
            if self.assign(work):
                pool.progress_at = pool.sched.engine.now
                while self.scheduled:
                    self.rescued += not self.scheduled[0].is_barrier
                    await self._process_one(task)
        if pwq.nr_active and pool.need_to_create_worker() and pwq not in self.wq.maydays:
            self.wq.maydays.append(pwq)
        cpu = lock_pool(task)
        await pool.kick(cpu)
        await unlock_pool(task)
