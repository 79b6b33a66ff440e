"""Queue work to kworkers, wait for it, take it back.

The path of an item: ``queue_work`` (pending bit; record ``workqueue_queue_work``), into the pool's list or behind the
workqueue's limit (``workqueue_activate_work`` when it joins the list), a worker (``workqueue_execute_start``/``_end``).
The pending bit is cleared before the function starts, so an item can be queued anew from then on; it goes to the worker
that executes it and never runs twice at once, on whatever CPU it was queued.

Linux: kernel/workqueue.c. Model: one unbound pool for each nice value, no per-pod split of ``max_active``, no rescuers, no
reaping of idle workers, no BH workqueues; flushes have colours without limit. Before 2.6.36 (``wq_threads``) every
workqueue had its own threads, one a CPU, and an item could run on several CPUs at once; the records are today's.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.bottom_half.work import Barrier, DelayedWork, Work, insert_behind, move_linked
from asyncirq.bottom_half.worker import Worker
from asyncirq.bottom_half.workqueue_pool import PoolWorkqueue, WorkerPool
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.task import Task
from asyncirq.sched.wait import WaitQueue, preempt_check

WQ_UNBOUND: Final = 1 << 1
WQ_MEM_RECLAIM: Final = 1 << 3
WQ_HIGHPRI: Final = 1 << 4
WQ_CPU_INTENSIVE: Final = 1 << 5
WQ_ORDERED: Final = 1 << 17
WQ_MAX_ACTIVE: Final = 2048

WORK_CPU_UNBOUND: Final = 8192
"""What the trace shows as ``req_cpu`` where the caller asked for no CPU: NR_CPUS of a distribution's kernel."""
HIGHPRI_NICE: Final = -20


class Workqueue:
    """A workqueue: a name, flags, a limit of active items (for each CPU; in all if unbound), and its joints to the pools."""

    __slots__ = ("color", "cpu_intensive", "flags", "flushers", "in_flight", "max_active", "name", "pwqs", "unbound")

    def __init__(self, name: str, flags: int, max_active: int, pools: list[WorkerPool]) -> None:
        self.name = name
        self.flags = flags
        self.max_active = max_active
        self.unbound = bool(flags & WQ_UNBOUND)
        self.cpu_intensive = bool(flags & WQ_CPU_INTENSIVE) and not self.unbound
        self.pwqs = [PoolWorkqueue(pool, self) for pool in pools]
        self.color = 0
        self.in_flight: dict[int, int] = {}
        self.flushers = WaitQueue(f"flush {name}")

    def __repr__(self) -> str:
        return f"<Workqueue {self.name}>"


class Workqueues:
    """The workqueues of a machine. ``boot()`` makes the first worker of each pool.

    ``add_timer(cpu, work, delay)`` arms the timer of a delayed item, ``del_timer(cpu, work)`` drops it and tells whether it
    was armed; the machine sets both. ``delay`` is in the unit of those timers: jiffies.
    """

    add_timer: Callable[[Cpu, DelayedWork, int], Coroutine[Any, Any, None]]
    del_timer: Callable[[Cpu, DelayedWork], Coroutine[Any, Any, bool]]

    def __init__(self, sched: Sched) -> None:
        self.sched = sched
        self.pools: list[WorkerPool] = []
        self._booted = False
        for cpu in sched.cpus if not sched.config.wq_threads else ():
            for nice in (0, HIGHPRI_NICE):
                self.pools.append(WorkerPool(sched, len(self.pools), cpu.id, nice))
        self.workqueues: list[Workqueue] = []
        self.system_wq = self.alloc_workqueue("events")
        self.system_highpri_wq = self.alloc_workqueue("events_highpri", WQ_HIGHPRI)
        self.system_long_wq = self.alloc_workqueue("events_long")
        self.system_unbound_wq = self.alloc_workqueue("events_unbound", WQ_UNBOUND, WQ_MAX_ACTIVE)

    def boot(self) -> None:
        """Make the first worker of every pool there is."""
        self._booted = True
        for pool in self.pools:
            self._first_worker(pool)

    def _first_worker(self, pool: WorkerPool) -> None:
        if not pool.workers:
            self.sched.start_now(Worker(pool).task)

    def alloc_workqueue(self, name: str, flags: int = 0, max_active: int = 0) -> Workqueue:
        """Make a workqueue; ``max_active`` 0 is the kernel's default, an ordered one (unbound) has 1.

        Raises ``UsageError`` for a limit that no workqueue can have.
        """
        if not 0 <= max_active <= WQ_MAX_ACTIVE:
            raise UsageError(f"workqueue {name}: max_active {max_active} is not in 0..{WQ_MAX_ACTIVE}", 22)
        if flags & WQ_ORDERED:
            if max_active > 1:
                raise UsageError(f"workqueue {name} is ordered and cannot have {max_active} active items", 22)
            flags |= WQ_UNBOUND
            max_active = 1
        nice = HIGHPRI_NICE if flags & WQ_HIGHPRI else 0
        if self.sched.config.wq_threads:
            pools = self._own_pools(name, flags, nice)
        elif flags & WQ_UNBOUND:
            pools = [self._unbound_pool(nice)]
        else:
            pools = [pool for pool in self.pools if pool.bound and pool.nice == nice and not pool.thread]
        wq = Workqueue(name, flags, max_active or self.sched.config.wq_max_active, pools)
        self.workqueues.append(wq)
        return wq

    def _own_pools(self, name: str, flags: int, nice: int) -> list[WorkerPool]:
        if flags & WQ_UNBOUND:
            pools = [WorkerPool(self.sched, len(self.pools), -1, nice, name)]
        else:
            first = len(self.pools)
            pools = [WorkerPool(self.sched, first + cpu.id, cpu.id, nice, f"{name}/{cpu.id}") for cpu in self.sched.cpus]
        self.pools += pools
        if self._booted:
            for pool in pools:
                self._first_worker(pool)
        return pools

    def _unbound_pool(self, nice: int) -> WorkerPool:
        for pool in self.pools:
            if not pool.bound and pool.nice == nice:
                return pool
        pool = WorkerPool(self.sched, len(self.pools), -1, nice)
        self.pools.append(pool)
        if self._booted:
            self._first_worker(pool)
        return pool

    # --- queueing

    async def queue_work(self, cpu: Cpu, wq: Workqueue, work: Work) -> bool:
        """Queue an item on this CPU; return False if it is pending or disabled.

        ``cpu`` is where the caller runs. Trace: workqueue_queue_work, workqueue_activate_work, sched_waking.
        """
        return await self._queue_work(cpu, WORK_CPU_UNBOUND, wq, work)

    async def queue_work_on(self, cpu: Cpu, target: int, wq: Workqueue, work: Work) -> bool:
        """Queue an item on CPU ``target``; return False if it is pending or disabled. Raises ``UsageError`` for a CPU that is not there."""
        if not 0 <= target < len(self.sched.cpus):
            raise UsageError(f"work {work.name}: there is no CPU {target}", 22)
        return await self._queue_work(cpu, target, wq, work)

    async def queue_delayed_work(self, cpu: Cpu, wq: Workqueue, work: DelayedWork, delay: int, target: int = WORK_CPU_UNBOUND) -> bool:
        """Queue an item after a delay (0: at once); return False if it is pending already, queued or waiting for its timer."""
        if work.pending or work.disabled:
            return False
        if delay == 0:
            return await self._queue_work(cpu, target, wq, work)
        work.pending = True
        work.wq = wq
        work.req_cpu = target
        work.timer_pending = True
        await self.add_timer(cpu, work, delay)
        return True

    async def delayed_work_timer(self, cpu: Cpu, work: DelayedWork) -> None:
        """Queue a delayed item whose timer has expired; called by the timer."""
        work.timer_pending = False
        was_off = cpu.irq_disable()
        await self._queue(cpu, work.req_cpu, work.wq, work)
        await cpu.irq_restore(was_off)

    async def _queue_work(self, cpu: Cpu, req_cpu: int, wq: Workqueue, work: Work) -> bool:
        if work.pending or work.disabled:
            return False
        was_off = cpu.irq_disable()
        work.pending = True
        await self._queue(cpu, req_cpu, wq, work)
        if not was_off:
            await cpu.irq_enable()
            await preempt_check(cpu)
        return True

    async def _queue(self, cpu: Cpu, req_cpu: int, wq: Workqueue, work: Work) -> None:
        if wq.unbound:
            pwq = wq.pwqs[0]
        else:
            pwq = wq.pwqs[cpu.id if req_cpu == WORK_CPU_UNBOUND else req_cpu]
        last = work.last_pool
        if last is not None and last is not pwq.pool and not last.thread and not wq.flags & WQ_ORDERED:
            # Not reentrant in the whole system: an item that runs now is next on the same worker.
            worker = last.find_executing(work)
            if worker is not None and worker.current_pwq is not None and worker.current_pwq.wq is wq:
                pwq = worker.current_pwq
        cpu.preempt_count += 1
        trace = self.sched.trace
        saved = cpu.cause
        if trace is not None:
            cpu.cause = work.cause = trace.workqueue_queue_work(cpu, work.name, work.symbol, wq.name, req_cpu, pwq.pool.cpu)
        active = pwq.insert(cpu, work)
        if self.sched.costs.work_queue_ns:
            await cpu.spend(self.sched.costs.work_queue_ns)
        if active:
            await pwq.pool.kick(cpu)
        cpu.cause = saved
        cpu.preempt_count -= 1

    # --- taking back

    async def cancel_work(self, cpu: Cpu, work: Work, disable: bool = False) -> bool:
        """Take a pending item back, its timer too, without waiting for a running one; return whether it was pending.

        ``disable`` also refuses every later ``queue_work`` until ``work.enable()``. A worker that was woken for the item
        finds nothing and sleeps again.
        """
        if disable:
            work.disabled += 1
        if not work.pending:
            return False
        if isinstance(work, DelayedWork) and work.timer_pending:
            work.timer_pending = False
            work.pending = False
            await self.del_timer(cpu, work)
            return True
        pwq = work.pwq
        if pwq is None:
            raise KernelBug(f"work {work.name} is pending but on no list, {cpu.name} at {self.sched.engine.now} ns")
        was_off = cpu.irq_disable()
        cpu.preempt_count += 1
        active = not work.inactive
        entry = work.entry
        assert entry is not None
        if work.linked and not active:
            move_linked(work, pwq.pool.worklist)
            entry = pwq.pool.worklist
        entry.remove(work)
        work.entry = work.pwq = None
        work.linked = work.inactive = work.pending = False
        if pwq.item_done(cpu, work.color, active):
            await pwq.wq.flushers.wake_up_all(cpu)
        cpu.preempt_count -= 1
        if not was_off:
            await cpu.irq_enable()
            await preempt_check(cpu)
        return True

    async def cancel_work_sync(self, task: Task, work: Work, disable: bool = False) -> bool:
        """Take an item back and sleep until no instance of it runs; it cannot requeue itself meanwhile. Return whether it was pending."""
        might_sleep(task, f"cancel_work_sync({work.name})")
        cpu = task.preempt_disable()
        was_pending = await self.cancel_work(cpu, work, disable=True)
        await task.preempt_enable()
        await self._flush(task, work)
        if not disable:
            work.enable()
        return was_pending

    # --- waiting

    async def flush_work(self, task: Task, work: Work) -> bool:
        """Sleep until the last queued instance of an item has ended; return False if it was idle."""
        might_sleep(task, f"flush_work({work.name})")
        return await self._flush(task, work)

    async def _flush(self, task: Task, work: Work) -> bool:
        barrier = Barrier(work)
        if work.pwq is not None:
            insert_behind(work, barrier)
        else:
            worker = None if work.last_pool is None else work.last_pool.find_executing(work)
            if worker is None:
                return False
            if worker.task is task:
                raise KernelBug(f"possible recursive locking detected: {task.comm}/{task.pid} flushes {work.name}, which it executes")
            barrier.color = worker.current_color
            barrier.linked = False
            barrier.pwq = worker.current_pwq
            barrier.entry = worker.scheduled
            worker.scheduled.insert(0, barrier)
        pwq = barrier.pwq
        assert pwq is not None
        pwq.wq.in_flight[barrier.color] = pwq.wq.in_flight.get(barrier.color, 0) + 1
        await barrier.done.wait(task)
        return True

    async def flush_workqueue(self, task: Task, wq: Workqueue) -> None:
        """Sleep until every item has ended that was queued before the call; later ones do not extend it."""
        might_sleep(task, f"flush_workqueue({wq.name})")
        color = wq.color
        wq.color += 1
        await wq.flushers.wait_event(task, lambda: all(other > color for other in wq.in_flight))
