"""Queue work to kworkers, wait for it, take it back.

The path of an item: ``queue_work`` (pending bit; record ``workqueue_queue_work``), into the pool's list or behind the
workqueue's limit (``workqueue_activate_work`` when it joins the list), a worker (``workqueue_execute_start``/``_end``).
The pending bit is cleared before the function starts, so an item can be queued anew from then on; it goes to the worker
that executes it and never runs twice at once, on whatever CPU it was queued.

The parts: ``workqueue_state`` (pools and joints), ``worker`` and ``worker_manager``, ``workqueue_flush``, ``workqueue_admin``,
``workqueue_rescuer``, ``workqueue_bh``, ``workqueue_hotplug``, ``workqueue_watchdog``. Kernels before 2.6.36 have
``workqueue_threads`` instead.

Linux: kernel/workqueue.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.bottom_half.work import Barrier, DelayedWork, Work, insert_behind, move_linked
from asyncirq.bottom_half.workqueue_api import (
    WORK_CPU_UNBOUND,
    WQ_BH,
    WQ_CLOSED,
    WQ_CPU_INTENSIVE,
    WQ_FREEZABLE,
    WQ_HIGHPRI,
    WQ_MAX_ACTIVE,
    WQ_MEM_RECLAIM,
    WQ_NAME_LEN,
    WQ_ORDERED,
    WQ_PERCPU,
    WQ_POWER_EFFICIENT,
    WQ_SYSFS,
    WQ_UNBOUND,
    WQ_USER_FLAGS,
    Workqueue,
    Workqueues,
)
from asyncirq.bottom_half.workqueue_bh import BhPool, BhWorkqueues
from asyncirq.bottom_half.workqueue_hotplug import Hotplug
from asyncirq.bottom_half.workqueue_pool import PoolWorkqueue
from asyncirq.bottom_half.workqueue_rescuer import Rescuer
from asyncirq.bottom_half.workqueue_watchdog import WqWatchdog
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.preempt import in_task
from asyncirq.sched.task import Task
from asyncirq.sched.wait import preempt_check

if TYPE_CHECKING:
    from asyncirq.bottom_half.sleep import Sleep

__all__ = [
    "WORK_CPU_UNBOUND",
    "WQ_BH",
    "WQ_CPU_INTENSIVE",
    "WQ_FREEZABLE",
    "WQ_HIGHPRI",
    "WQ_MAX_ACTIVE",
    "WQ_MEM_RECLAIM",
    "WQ_ORDERED",
    "WQ_PERCPU",
    "WQ_POWER_EFFICIENT",
    "WQ_SYSFS",
    "WQ_UNBOUND",
    "BhWorkqueues",
    "ManagedWorkqueues",
    "Workqueue",
    "Workqueues",
]

_BH_ALLOWS: Final = WQ_BH | WQ_HIGHPRI | WQ_PERCPU
_NO_LIMIT: Final = 1 << 31


class ManagedWorkqueues(Hotplug):
    """The concurrency-managed workqueues of a machine. ``boot()`` makes the first worker of each pool.

    ``bh`` gives it BH workqueues; the kernel's ``wq_pods`` split the unbound ones.
    """

    def __init__(self, sched: Sched, sleep: Sleep | None = None, bh: BhWorkqueues | None = None) -> None:
        super().__init__(sched, sleep, bh)
        self.system_wq = self.alloc_workqueue("events")
        self.system_highpri_wq = self.alloc_workqueue("events_highpri", WQ_HIGHPRI)
        self.system_long_wq = self.alloc_workqueue("events_long")
        self.system_unbound_wq = self.alloc_workqueue("events_unbound", WQ_UNBOUND, WQ_MAX_ACTIVE)
        self.system_freezable_wq = self.alloc_workqueue("events_freezable", WQ_FREEZABLE)
        if bh is not None:
            self.system_bh_wq = self.alloc_workqueue("events_bh", WQ_BH)
            self.system_bh_highpri_wq = self.alloc_workqueue("events_bh_highpri", WQ_BH | WQ_HIGHPRI)

    def boot(self) -> None:
        """Make the first worker of every pool there is, and start the rescuers and the watchdog."""
        self.booted = True
        for pool in self.pools:
            self._first_worker(pool)
        if self.bh is not None:
            self.bh.boot()
        for wq in self.workqueues:
            if wq.rescuer is not None:
                self._start_now(wq.rescuer.task)
        thresh_s = self.sched.config.wq_watchdog_thresh_s
        if thresh_s and self.timers is not None:
            WqWatchdog(self, self.timers, thresh_s).start(self.sched.cpus[0])

    def alloc_workqueue(self, name: str, flags: int = 0, max_active: int = 0) -> Workqueue:
        """Make a workqueue; ``max_active`` 0 is the kernel's default, an ordered one (unbound) has 1, a BH one no limit.

        One with WQ_MEM_RECLAIM gets a rescuer. Raises ``UsageError`` for a name, flags or a limit that no workqueue can have.
        """
        flags, max_active = self._checked(name, flags, max_active)
        wq = Workqueue(name, flags, max_active)
        wq.mask = self.sched.all_cpus
        if flags & WQ_BH:
            assert self.bh is not None
            wq.pwqs = [PoolWorkqueue(pair[bool(flags & WQ_HIGHPRI)], wq, _NO_LIMIT) for pair in self.bh.pools]
        else:
            self._link(wq)
        if flags & WQ_MEM_RECLAIM:
            wq.rescuer = Rescuer(wq.pwqs[0].pool, wq)
            if self.booted:
                self._start_now(wq.rescuer.task)
        self.workqueues.append(wq)
        return wq

    def _checked(self, name: str, flags: int, max_active: int) -> tuple[int, int]:
        if not 0 < len(name) < WQ_NAME_LEN:
            raise UsageError(f"workqueue name {name!r} does not have 1 to {WQ_NAME_LEN - 1} characters", 22)
        if flags & ~WQ_USER_FLAGS:
            raise UsageError(f"workqueue {name}: there are no flags {flags & ~WQ_USER_FLAGS:#x}", 22)
        if flags & WQ_UNBOUND and flags & WQ_PERCPU:
            raise UsageError(f"workqueue {name} is both WQ_PERCPU and WQ_UNBOUND", 22)
        if not 0 <= max_active <= WQ_MAX_ACTIVE:
            raise UsageError(f"workqueue {name}: max_active {max_active} is not in 0..{WQ_MAX_ACTIVE}", 22)
        if flags & WQ_BH:
            if self.bh is None:
                raise UsageError(f"workqueue {name}: this kernel has no BH workqueues", 22)
            if flags & ~_BH_ALLOWS or max_active:
                raise UsageError(f"workqueue {name} is BH: it can be WQ_HIGHPRI and nothing else, and has no max_active", 22)
            return flags, _NO_LIMIT
        if flags & WQ_POWER_EFFICIENT and self.sched.config.wq_power_efficient:
            flags |= WQ_UNBOUND
        if flags & WQ_ORDERED:
            if max_active > 1:
                raise UsageError(f"workqueue {name} is ordered and cannot have {max_active} active items", 22)
            return flags | WQ_UNBOUND, 1
        return flags, max_active or self.sched.config.wq_max_active

    # --- queueing

    async def queue_work(self, cpu: Cpu, wq: Workqueue, work: Work) -> bool:
        """Queue an item on this CPU; return False if it is pending or disabled.

        ``cpu`` is where the caller runs. Trace: workqueue_queue_work, workqueue_activate_work, sched_waking, for a BH workqueue
        softirq_raise.
        """
        return await self._queue_work(cpu, WORK_CPU_UNBOUND, wq, work)

    async def queue_work_on(self, cpu: Cpu, target: int, wq: Workqueue, work: Work) -> bool:
        """Queue an item on CPU ``target``; return False if it is pending or disabled. Raises ``UsageError`` for a CPU that is not there."""
        if not 0 <= target < len(self.sched.cpus):
            raise UsageError(f"work {work.name}: there is no CPU {target}", 22)
        return await self._queue_work(cpu, target, wq, work)

    async def _queue_work(self, cpu: Cpu, req_cpu: int, wq: Workqueue, work: Work) -> bool:
        if work.pending or work.disabled:
            return False
        was_off = cpu.irq_disable()
        work.pending = True
        await self._enqueue(cpu, req_cpu, wq, work)
        if not was_off:
            await cpu.irq_enable()
            await preempt_check(cpu)
        return True

    async def _enqueue(self, cpu: Cpu, req_cpu: int, wq: Workqueue, work: Work) -> None:
        if wq.flags & WQ_CLOSED and not self._is_chained(cpu, wq):
            self.warn_once(cpu, f"workqueue: cannot queue {work.symbol} on wq {wq.name}", f"closed {wq.name}")
            work.pending = False
            return
        pwq = wq.pwqs[cpu.id if req_cpu == WORK_CPU_UNBOUND else req_cpu]
        last = work.last_pool
        if last is not None and last is not pwq.pool and not wq.flags & WQ_ORDERED:
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

    def _is_chained(self, cpu: Cpu, wq: Workqueue) -> bool:
        worker = self.sched.rqs[cpu.id].curr.worker if in_task(cpu) else None
        return worker is not None and worker.current_pwq is not None and worker.current_pwq.wq is wq

    # --- taking back

    async def cancel_work(self, cpu: Cpu, work: Work, disable: bool = False) -> bool:
        """Take a pending item back, its timer too, without waiting for a running one; return whether it was pending.

        ``disable`` also refuses every later ``queue_work`` until ``work.enable()``. A worker that was woken for the item
        finds nothing and sleeps again.
        """
        if disable:
            work.disable()
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
            await self.settle(cpu, pwq)
        cpu.preempt_count -= 1
        if not was_off:
            await cpu.irq_enable()
            await preempt_check(cpu)
        return True

    async def cancel_work_sync(self, task: Task, work: Work, disable: bool = False) -> bool:
        """Take an item back and sleep until no instance of it runs; it cannot requeue itself meanwhile. Return whether it was pending.

        An item of a BH workqueue is waited for without sleeping. Raises ``KernelBug`` in atomic context for others.
        """
        is_bh = isinstance(work.pwq.pool if work.pwq is not None else work.last_pool, BhPool)
        if not is_bh:
            might_sleep(task, f"cancel_work_sync({work.name})")
        cpu = task.preempt_disable()
        was_pending = await self.cancel_work(cpu, work, disable=True)
        await task.preempt_enable()
        await self._flush(task, work, spin=is_bh and not self.sched.config.rt)
        if not disable:
            work.enable()
        return was_pending

    # --- waiting

    async def flush_work(self, task: Task, work: Work) -> bool:
        """Sleep until the last queued instance of an item has ended; return False if it was idle.

        Warns when a worker of a WQ_MEM_RECLAIM workqueue waits for an item of one that has no rescuer. Trace: printk.
        """
        might_sleep(task, f"flush_work({work.name})")
        return await self._flush(task, work, check=True)

    async def _flush(self, task: Task, work: Work, *, check: bool = False, spin: bool = False) -> bool:
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
        pwq.wq.in_flight[barrier.color] += 1
        if check:
            self.check_flush_dependency(task, pwq.wq, work)
        if spin:
            cpu = task.preempt_disable()
            await barrier.spin(cpu)
            await task.preempt_enable()
        else:
            await barrier.done.wait(task)
        return True
