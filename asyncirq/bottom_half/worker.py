"""Execute work items: the kworker.

A worker that finds nothing to do, or that another one of its pool runs already, goes idle. Before it starts on items it
sees to it that an idle worker is left in reserve.

Linux: kernel/workqueue.c worker_thread(), process_one_work(), wq_worker_sleeping(), wq_worker_running().
"""

from __future__ import annotations

from typing import Final

from asyncirq.bottom_half.work import Work, move_linked
from asyncirq.bottom_half.workqueue_pool import PoolWorkqueue, WorkerPool, lock_pool, unlock_pool
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.completion import Completion
from asyncirq.sched.task import TASK_IDLE, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task

WORKER_DIE: Final = 1 << 1
WORKER_PREP: Final = 1 << 3
WORKER_CPU_INTENSIVE: Final = 1 << 6
WORKER_UNBOUND: Final = 1 << 7
WORKER_REBOUND: Final = 1 << 8
"""Any of these flags keeps a worker out of its pool's ``nr_running``."""
HOG_REPORT_FROM: Final = 4
"""A function is reported from this many hogs on, at powers of two."""


class Worker:
    """One kworker. ``current`` is the item that it executes, ``scheduled`` what it executes next whatever the pool's list says.

    ``idle_since`` is when it became idle. ``live``: made by a running kernel, in ``create``; else it stands ready at boot.
    """

    __slots__ = (
        "asleep",
        "created",
        "current",
        "current_at",
        "current_color",
        "current_pwq",
        "flags",
        "id",
        "idle_since",
        "pool",
        "scheduled",
        "task",
    )

    def __init__(self, pool: WorkerPool, live: bool = False) -> None:
        self.pool = pool
        self.flags = WORKER_PREP | (0 if pool.managed else WORKER_UNBOUND)
        self.asleep = False
        self.current: Work | None = None
        self.current_pwq: PoolWorkqueue | None = None
        self.current_at = 0
        self.current_color = 0
        self.idle_since = pool.sched.engine.now
        self.scheduled: list[Work] = []
        self.id, self.task = self._attach()
        self.created: Completion | None = None
        if live:
            self.created = Completion(f"{self.task.comm} created")
        else:
            self._join()

    def _attach(self) -> tuple[int, Task]:
        """Make the thread of a regular worker, bound as its pool is."""
        pool = self.pool
        sched = pool.sched
        number, name = pool.worker_name()
        task = sched.new_task(self.main, name, cpu=pool.cpu if pool.managed else None, kthread=True, nice=pool.nice)
        mask = pool.mask if not pool.bound else pool.refuge
        if not pool.managed and mask != sched.all_cpus:
            task.allowed = mask
            task.cpu = sched.cpus[(mask & -mask).bit_length() - 1]
        task.worker = self
        return number, task

    def _join(self) -> None:
        """Take a place among the pool's idle workers."""
        self.pool.workers.append(self)
        self.pool.idle.append(self)

    async def create(self, task: Task) -> None:
        """Let the new thread run up to its first sleep, join it to the pool and start it. Trace: sched_wakeup_new, sched_wakeup.

        Linux: kernel/workqueue.c create_worker(), kernel/kthread.c kthread_create_on_node().
        """
        assert self.created is not None
        thread = self.task
        if not thread.pinned and thread.allowed >> task.cpu.id & 1:
            # A new thread is first thought of where it was made.
            thread.cpu = task.cpu
        await task.wake(thread)
        await self.created.wait(task)
        await self._follow_pool(task)
        self._join()
        self.idle_since = self.pool.sched.engine.now
        await task.wake(thread)

    async def _follow_pool(self, task: Task) -> None:
        """Be bound as the pool is now: its CPU may have gone down or come up since the thread was made."""
        pool = self.pool
        thread = self.task
        if pool.cpu < 0:
            return
        if not pool.managed and thread.percpu:
            self.flags |= WORKER_UNBOUND
            thread.percpu = thread.pinned = False
        elif pool.managed and not thread.percpu:
            self.flags &= ~WORKER_UNBOUND
        else:
            return
        cpu = task.preempt_disable()
        pool.sched.set_cpus_allowed(cpu, thread, pool.refuge or 1 << pool.cpu)
        await task.preempt_enable()

    async def _wait_for_start(self, task: Task, created: Completion) -> None:
        await task.spend(self.pool.sched.costs.worker_create_ns)
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        cpu = task.preempt_disable()
        await created.complete(cpu)
        cpu.preempt_count -= 1
        await task.schedule()
        task.set_current_state(TASK_RUNNING)

    # --- what the scheduler tells

    async def sleeping(self, task: Task) -> None:
        """Take note that the worker is about to sleep in an item, and wake another one if it was the last that ran."""
        if self.flags or self.asleep:
            return
        self.asleep = True
        pool = self.pool
        pool.nr_running -= 1
        if pool.need_more_worker():
            lock_pool(task)
            await pool.kick(task.cpu)
            await unlock_pool(task)

    def running(self, task: Task) -> None:
        """Take note that the worker runs again."""
        if self.asleep:
            self.asleep = False
            self.current_at = task.sum_exec
            if not self.flags:
                self.pool.nr_running += 1

    async def tick(self, cpu: Cpu) -> None:
        """Stop counting a worker whose item has run too long without a sleep, so that others of the pool start; called by the tick.

        Linux: kernel/workqueue.c wq_worker_tick(), wq_cpu_intensive_report().
        """
        work = self.current
        pool = self.pool
        if work is None or self.flags or self.asleep or not pool.hog_ns or self.task.sum_exec - self.current_at < pool.hog_ns:
            return
        self._set_flag(WORKER_CPU_INTENSIVE)
        hogs = pool.hogs[work.symbol] = pool.hogs.get(work.symbol, 0) + 1
        trace = pool.sched.trace
        if trace is not None and hogs >= HOG_REPORT_FROM and hogs & (hogs - 1) == 0:
            text = f"workqueue: {work.symbol} hogged CPU for >{pool.hog_ns // 1000}us {hogs} times, consider switching to WQ_UNBOUND"
            trace.printk(cpu, 4, text)
        cpu.preempt_count += 1
        await pool.kick(cpu)
        cpu.preempt_count -= 1

    # --- the thread

    async def main(self, task: Task) -> None:
        """Serve the pool until the worker is told to die."""
        pool = self.pool
        if self.created is not None:
            await self._wait_for_start(task, self.created)
        while not self.flags & WORKER_DIE:
            pool.idle.remove(self)
            await self._work(task)
            pool.idle.append(self)
            self.idle_since = pool.sched.engine.now
            if len(pool.idle) > 2:
                pool.upkeep.worker_idle(task.cpu)
            if pool.refs < 0:
                pool.upkeep.dismiss(self)
                break
            task.set_current_state(TASK_IDLE)
            await task.schedule()
            task.set_current_state(TASK_RUNNING)
        task.worker = None

    async def _work(self, task: Task) -> None:
        pool = self.pool
        while pool.need_more_worker():
            if pool.idle or not await pool.upkeep.manage(self, task):
                break
        else:
            return
        start_ns = pool.sched.costs.work_start_ns
        self._clear_flag(WORKER_PREP | WORKER_REBOUND)
        while True:
            if start_ns:
                await task.spend(start_ns)
            if pool.worklist and self.assign(pool.worklist[0]):
                pool.progress_at = pool.sched.engine.now
                while self.scheduled:
                    await self._process_one(task)
            if not pool.keep_working():
                break
        self._set_flag(WORKER_PREP)

    def assign(self, work: Work) -> bool:
        """Take an item off the pool's list; one that is being executed goes to the worker that does, and False is returned."""
        collision = self.pool.find_executing(work)
        move_linked(work, (collision or self).scheduled)
        return collision is None

    async def _process_one(self, task: Task) -> None:
        pool = self.pool
        work = self.scheduled.pop(0)
        pwq = work.pwq
        assert pwq is not None
        self.current_color = color = work.color
        work.entry = None
        work.pwq = None
        work.linked = False
        work.last_pool = pool
        work.pending = False
        self.current = work
        self.current_pwq = pwq
        self.current_at = task.sum_exec
        pool.busy.append(self)
        if pwq.wq.cpu_intensive:
            self._set_flag(WORKER_CPU_INTENSIVE)
        if pool.worklist and not pool.nr_running:
            lock_pool(task)
            await pool.kick(task.cpu)
            await unlock_pool(task)
        await self._call(task, work)
        self._clear_flag(WORKER_CPU_INTENSIVE)
        self.current = None
        self.current_pwq = None
        pool.busy.remove(self)
        cpu = lock_pool(task)
        if pwq.item_done(cpu, color, not work.is_barrier):
            await pool.upkeep.wqs.settle(cpu, pwq)
        await unlock_pool(task)

    async def _call(self, task: Task, work: Work) -> None:
        sched = self.pool.sched
        trace = sched.trace
        # The function may free or requeue its item: what the trace says about it is kept.
        name, symbol = work.name, work.symbol
        if trace is not None:
            task.cpu.cause = work.cause
            task.cpu.cause = trace.workqueue_execute_start(task.cpu, name, symbol)
        await work.function(task, work)
        cpu = task.cpu
        if trace is not None:
            trace.workqueue_execute_end(cpu, name, symbol)
        if cpu.preempt_count or cpu.irqs_off or task.held_locks:
            if trace is not None:
                trace.printk(cpu, 3, f"BUG: workqueue leaked atomic, lock or RCU: {task.comm}[{task.pid}]")
            cpu.preempt_count = 0
            await cpu.irq_enable()
        await sched.cond_resched(task)

    def _set_flag(self, flag: int) -> None:
        if not self.flags:
            self.pool.nr_running -= 1
        self.flags |= flag

    def _clear_flag(self, flag: int) -> None:
        was = self.flags
        self.flags &= ~flag
        if was and not self.flags:
            self.pool.nr_running += 1
