"""Keep the workers of a pool at the right number: make one when none is left in reserve, let go of those idle for long.

A manager that cannot make a worker tries again every second, and after 10 ms calls the rescuers of the workqueues
whose items wait. An idle worker that was not needed for 300 s is told to die, by an item on the unbound system
workqueue, as long as the pool keeps two and one for each four that are busy.

Linux: kernel/workqueue.c maybe_create_worker(), pool_mayday_timeout(), idle_worker_timeout(), idle_cull_fn(). Model: kernels
before 6.3, which culled in the timer itself, do it here as later ones do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.bottom_half.timer_wheel import Timer
from asyncirq.bottom_half.work import Work
from asyncirq.bottom_half.worker import WORKER_DIE, Worker
from asyncirq.bottom_half.workqueue_pool import WorkerPool, lock_pool, unlock_pool
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import TASK_INTERRUPTIBLE, Task

if TYPE_CHECKING:
    from asyncirq.bottom_half.workqueue_state import ManagedState

IDLE_WORKER_TIMEOUT_S: Final = 300


class Manager:
    """The upkeep of one pool."""

    def __init__(self, pool: WorkerPool, wqs: ManagedState) -> None:
        self.pool = pool
        self.wqs = wqs
        self.timers = wqs.timers
        hz = wqs.sched.config.hz
        self.idle_jiffies = IDLE_WORKER_TIMEOUT_S * hz
        self.mayday_initial = max(hz // 100, 2)
        self.mayday_interval = hz // 10
        self.cooldown = hz
        self.idle_timer = Timer(self._idle_worker_timeout, f"pool{pool.pool_id}.idle_timer", deferrable=True)
        self.mayday_timer = Timer(self._pool_mayday_timeout, f"pool{pool.pool_id}.mayday_timer")
        self.cull_work = Work(self._idle_cull_fn, f"pool{pool.pool_id}.idle_cull_work")

    # --- making workers

    async def manage(self, worker: Worker, task: Task) -> bool:
        """Make workers until one is idle; return False if another worker is at it already."""
        pool = self.pool
        if pool.manager is not None:
            return False
        pool.manager = worker
        while pool.need_to_create_worker():
            await self._create(task)
        pool.manager = None
        return True

    async def _create(self, task: Task) -> None:
        pool = self.pool
        timers = self.timers
        if timers is not None:
            cpu = task.preempt_disable()
            timers.mod_timer(cpu, self.mayday_timer, timers.jiffies + self.mayday_initial)
            await task.preempt_enable()
        while True:
            if self.wqs.can_create(pool):
                await Worker(pool, live=True).create(task)
                break
            if not pool.need_to_create_worker():
                break
            task.set_current_state(TASK_INTERRUPTIBLE)
            if self.wqs.sleep is None:
                await task.schedule()
            else:
                await self.wqs.sleep.schedule_timeout(task, self.cooldown)
            if not pool.need_to_create_worker():
                break
        if timers is not None:
            cpu = task.migrate_disable()
            await timers.timer_delete_sync(cpu, self.mayday_timer)
            task.migrate_enable()

    async def _pool_mayday_timeout(self, cpu: Cpu, timer: Timer) -> None:
        assert self.timers is not None
        pool = self.pool
        was_off = cpu.irq_disable()
        if pool.need_to_create_worker():
            for work in tuple(pool.worklist):
                pwq = work.pwq
                if pwq is not None and pwq.wq.rescuer is not None:
                    await pwq.wq.rescuer.mayday(cpu, pwq)
        self.timers.mod_timer(cpu, timer, self.timers.jiffies + self.mayday_interval)
        await cpu.irq_restore(was_off)

    # --- letting go of workers

    def worker_idle(self, cpu: Cpu) -> None:
        """Take note that a worker has become idle, and look in 300 s whether there are too many."""
        timers = self.timers
        if timers is not None and not self.idle_timer.pending and self.pool.too_many_workers():
            timers.mod_timer(cpu, self.idle_timer, timers.jiffies + self.idle_jiffies)

    def _expiry(self, worker: Worker) -> int:
        return worker.idle_since // self.pool.sched.config.jiffy_ns + self.idle_jiffies

    async def _idle_worker_timeout(self, cpu: Cpu, timer: Timer) -> None:
        pool = self.pool
        timers = self.timers
        assert timers is not None
        if not pool.too_many_workers():
            return
        expires = self._expiry(pool.idle[0])
        if timers.jiffies < expires:
            timers.mod_timer(cpu, timer, expires)
        else:
            await self.wqs.queue_work(cpu, self.wqs.system_unbound_wq, self.cull_work)

    async def _idle_cull_fn(self, task: Task, work: Work) -> None:
        pool = self.pool
        timers = self.timers
        assert timers is not None
        dying = []
        cpu = lock_pool(task)
        while pool.too_many_workers():
            expires = self._expiry(pool.idle[0])
            if timers.jiffies < expires:
                timers.mod_timer(cpu, self.idle_timer, expires)
                break
            dying.append(self.dismiss(pool.idle[0]))
        await unlock_pool(task)
        for worker in dying:
            await task.wake(worker.task)

    def dismiss(self, worker: Worker) -> Worker:
        """Take an idle worker out of the pool, to die when it is woken next."""
        pool = self.pool
        pool.idle.remove(worker)
        pool.workers.remove(worker)
        worker.flags |= WORKER_DIE
        return worker

    async def dismiss_all(self, cpu: Cpu) -> None:
        """End an unbound pool that no workqueue uses any more: its idle workers die, the others when they become idle."""
        pool = self.pool
        pool.refs = -1
        if self.timers is not None:
            self.timers.timer_delete(cpu, self.idle_timer)
        for worker in tuple(pool.idle):
            await pool.sched.wake_up_process(cpu, self.dismiss(worker).task)
