"""Queue fair tasks by virtual runtime, as CFS of 2.6.23 to 6.5 does.

Linux: kernel/sched/fair.c (before EEVDF). Model: no groups, no bandwidth, no load balance; latency, granularity and
wake-up granularity are policies of ``KernelConfig``, scaled by ``1 + log2(cpus)``.
"""

from __future__ import annotations

from bisect import insort
from typing import Final

from asyncirq.config import KernelConfig
from asyncirq.sched.task import NICE_WEIGHTS, Task

NICE_0_LOAD: Final = 1024


def _key(task: Task) -> tuple[int, int]:
    return (task.vruntime, task.pid)


class FairQueue:
    """The fair tasks of one CPU that are ready but not running, earliest virtual runtime first."""

    __slots__ = ("_latency", "_min_granularity", "_queue", "_wakeup_granularity", "min_vruntime", "weight")

    def __init__(self, config: KernelConfig, cpus: int) -> None:
        factor = min(cpus, 8).bit_length()
        self._latency = config.cfs_latency_ns * factor
        self._min_granularity = config.cfs_min_granularity_ns * factor
        self._wakeup_granularity = config.cfs_wakeup_granularity_ns * factor
        self._queue: list[Task] = []
        self.min_vruntime = 0
        self.weight = 0

    def __len__(self) -> int:
        return len(self._queue)

    def enqueue(self, task: Task) -> None:
        """Queue a ready task."""
        insort(self._queue, task, key=_key)
        self.weight += task.weight

    def dequeue(self, task: Task) -> None:
        """Take a queued task out."""
        self._queue.remove(task)
        self.weight -= task.weight

    def first(self) -> Task | None:
        """Return the queued task that runs next."""
        return self._queue[0] if self._queue else None

    def account(self, task: Task, delta_ns: int) -> None:
        """Charge ``delta_ns`` of CPU time to the running task."""
        task.vruntime += delta_ns * NICE_0_LOAD // task.weight
        floor = task.vruntime
        if self._queue and self._queue[0].vruntime < floor:
            floor = self._queue[0].vruntime
        if floor > self.min_vruntime:
            self.min_vruntime = floor

    def place(self, task: Task, initial: bool) -> None:
        """Set the virtual runtime of a task that becomes ready: a sleeper gets half a latency of credit, a new one a slice of debit."""
        if initial:
            floor = self.min_vruntime + self._slice(task) * NICE_0_LOAD // task.weight
        else:
            floor = self.min_vruntime - self._latency // 2
        if task.vruntime < floor:
            task.vruntime = floor

    def preempts(self, woken: Task, current: Task) -> bool:
        """Tell whether a woken task should take the CPU from the running one."""
        lead = current.vruntime - woken.vruntime
        return lead > self._wakeup_granularity * NICE_0_LOAD // woken.weight

    def tick_preempts(self, current: Task, ran_ns: int) -> bool:
        """Tell at a tick whether the running task has had its slice."""
        if not self._queue:
            return False
        ideal = self._slice(current)
        if ran_ns > ideal:
            return True
        if ran_ns < self._min_granularity:
            return False
        return current.vruntime - self._queue[0].vruntime > ideal

    def _slice(self, task: Task) -> int:
        count = len(self._queue) + 1
        period = max(self._latency, count * self._min_granularity)
        return period * task.weight // (self.weight + task.weight)


def set_nice(task: Task, nice: int) -> None:
    """Give a task that is not queued the weight and priority of a nice value, -20 to 19."""
    task.nice = nice
    task.weight = NICE_WEIGHTS[nice + 20]
