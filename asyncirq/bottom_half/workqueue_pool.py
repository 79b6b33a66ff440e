"""Serve work items from pools of workers, no more of them at once than the CPU needs.

A bound pool belongs to one CPU and counts its running workers: as long as one runs, nobody else is woken; when the last
one goes to sleep and items wait, it wakes an idle worker on its way out. An unbound pool does not count: a worker is
woken for every item. One worker at most is the manager, who makes new workers so that there is an idle one in reserve.

Linux: kernel/workqueue.c. Model: the pool's lock has no duration of its own; workers are made by the manager itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.bottom_half.work import Work, move_linked
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.task import Task

if TYPE_CHECKING:
    from asyncirq.bottom_half.worker import Worker
    from asyncirq.bottom_half.worker_manager import Manager
    from asyncirq.bottom_half.workqueue_api import Workqueue

MAX_IDLE_WORKERS_RATIO: Final = 4
"""A pool keeps two idle workers, and one more for each four that are busy."""


class WorkerPool:
    """The workers of one CPU and nice value, or the unbound ones of a CPU mask (``cpu`` -1), and the list of items they serve.

    ``nr_running`` counts the workers that execute items and are runnable; it stays 0 in an unbound pool. ``idle`` is
    a stack: the latest to become idle is woken first. ``progress_at`` is when the pool last began on an item, or got one
    while it had none. ``refs`` counts the workqueues that use an unbound pool. ``refuge``: the pool's CPU is down, and its workers
    run on these instead; then it does not count either.
    """

    __slots__ = (
        "busy",
        "cpu",
        "hog_ns",
        "hogs",
        "idle",
        "manager",
        "mask",
        "nice",
        "nr_running",
        "pool_id",
        "progress_at",
        "refs",
        "refuge",
        "sched",
        "upkeep",
        "workers",
        "worklist",
    )

    def __init__(self, sched: Sched, pool_id: int, cpu: int, nice: int, mask: int = 0) -> None:
        self.sched = sched
        self.pool_id = pool_id
        self.cpu = cpu
        self.nice = nice
        self.mask = mask or (1 << cpu if cpu >= 0 else sched.all_cpus)
        self.worklist: list[Work] = []
        self.workers: list[Worker] = []
        self.idle: list[Worker] = []
        self.busy: list[Worker] = []
        self.nr_running = 0
        self.hogs: dict[str, int] = {}
        self.hog_ns = sched.config.wq_hog_us * 1000
        self.manager: Worker | None = None
        self.upkeep: Manager
        self.progress_at = 0
        self.refs = 0
        self.refuge = 0

    def __repr__(self) -> str:
        return f"<WorkerPool {self.pool_id}>"

    @property
    def bound(self) -> bool:
        """Tell whether the pool belongs to a CPU."""
        return self.cpu >= 0

    @property
    def managed(self) -> bool:
        """Tell whether the pool's concurrency is managed: it belongs to a CPU that is up."""
        return self.cpu >= 0 and not self.refuge

    def need_more_worker(self) -> bool:
        """Tell whether items wait and no worker of the pool runs."""
        return bool(self.worklist) and not self.nr_running

    def need_to_create_worker(self) -> bool:
        """Tell whether the pool needs a worker and has no idle one."""
        return bool(self.worklist) and not self.nr_running and not self.idle

    def keep_working(self) -> bool:
        """Tell whether the worker that asks should take another item: nobody else of the pool runs."""
        return bool(self.worklist) and self.nr_running <= 1

    def too_many_workers(self) -> bool:
        """Tell whether more workers are idle than the pool keeps: more than two, and one for each four that are busy."""
        idle = len(self.idle)
        busy = len(self.workers) - idle
        idle += self.manager is not None
        return idle > 2 and (idle - 2) * MAX_IDLE_WORKERS_RATIO >= busy

    def find_executing(self, work: Work) -> Worker | None:
        """Return the worker that executes an item, None when none does."""
        for worker in self.busy:
            if worker.current is work:
                return worker
        return None

    async def kick(self, cpu: Cpu) -> bool:
        """Wake the first idle worker if the pool needs one; return whether it does and there is one. Trace: sched_waking."""
        if not self.worklist or self.nr_running or not self.idle:
            return False
        await self.sched.wake_up_process(cpu, self.idle[-1].task)
        return True

    def worker_name(self) -> tuple[int, str]:
        """Return the lowest free worker id and the name that goes with it."""
        taken = {worker.id for worker in self.workers}
        number = 0
        while number in taken:
            number += 1
        if self.bound:
            return number, f"kworker/{self.cpu}:{number}{'H' if self.nice < 0 else ''}"
        return number, f"kworker/u{self.pool_id}:{number}"


class PoolWorkqueue:
    """What joins a workqueue to a pool: how many of its items are active there, and which wait for that.

    ``limit`` is how many may be active: 0 while the workqueue is frozen, or while items wait for those that an older joint of an
    ordered workqueue still has (plugged). ``share`` is the limit otherwise. ``retired``: a change of attributes has replaced it.

    Linux: struct pool_workqueue.
    """

    __slots__ = ("inactive", "limit", "nr_active", "plugged", "pool", "retired", "share", "wq")

    def __init__(self, pool: WorkerPool, wq: Workqueue, share: int) -> None:
        self.pool = pool
        self.wq = wq
        self.limit = self.share = share
        self.nr_active = 0
        self.plugged = False
        self.retired = False
        self.inactive: list[Work] = []

    def insert(self, cpu: Cpu, work: Work) -> bool:
        """Queue an item: into the pool's list, or behind the inactive ones; return whether it is active. Interrupts are off."""
        wq = self.wq
        work.pwq = self
        work.color = color = wq.color
        wq.in_flight[color] += 1
        if self.inactive or self.nr_active >= self.limit:
            work.inactive = True
            work.entry = self.inactive
            self.inactive.append(work)
            return False
        self.nr_active += 1
        pool = self.pool
        worklist = pool.worklist
        if not worklist:
            pool.progress_at = pool.sched.engine.now
        self._trace_activate(cpu, work)
        work.entry = worklist
        worklist.append(work)
        return True

    def item_done(self, cpu: Cpu, color: int, was_active: bool) -> bool:
        """Take note that an item has ended or was removed, and activate the next; return whether ``settle`` is to be called.

        Interrupts are off. Trace: workqueue_activate_work.
        """
        if was_active:
            self.nr_active -= 1
            if self.inactive and self.nr_active < self.limit:
                self._activate_first(cpu)
        wq = self.wq
        left = wq.in_flight[color] - 1
        wq.in_flight[color] = left
        return self.retired or (not left and color == wq.flushing)

    def activate_all(self, cpu: Cpu) -> bool:
        """Activate as many inactive items as the limit allows; return whether there was one. Trace: workqueue_activate_work."""
        any_one = False
        while self.inactive and self.nr_active < self.limit:
            self._activate_first(cpu)
            any_one = True
        return any_one

    @property
    def is_empty(self) -> bool:
        """Tell whether no item is active or waits."""
        return not self.nr_active and not self.inactive

    def _activate_first(self, cpu: Cpu) -> None:
        following = self.inactive[0]
        self.nr_active += 1
        pool = self.pool
        if not pool.worklist:
            pool.progress_at = pool.sched.engine.now
        self._trace_activate(cpu, following)
        move_linked(following, pool.worklist)

    def _trace_activate(self, cpu: Cpu, work: Work) -> None:
        trace = self.pool.sched.trace
        if trace is not None:
            saved = cpu.cause
            if work.inactive:
                cpu.cause = work.cause
            work.cause = trace.workqueue_activate_work(cpu, work.name, work.symbol)
            cpu.cause = saved


def lock_pool(task: Task) -> Cpu:
    """Turn interrupts and preemption off, as the pool's lock does, and return the CPU."""
    cpu = task.cpu
    cpu.irq_disable()
    cpu.preempt_count += 1
    return cpu


async def unlock_pool(task: Task) -> None:
    """End ``lock_pool`` in a task that had interrupts on."""
    cpu = task.cpu
    await cpu.irq_enable()
    cpu.preempt_count -= 1
    if cpu.need_resched:
        await task.sched.preempt_schedule(task)
