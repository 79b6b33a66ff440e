"""Queue fair tasks: what every fair policy answers, and CFS, which orders them by virtual runtime (2.6.23 to 6.5).

Linux: kernel/sched/fair.c. Model: no groups and no bandwidth; latency, granularity and wake-up granularity are policies of
``KernelConfig``, scaled by ``1 + log2(cpus)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import insort
from typing import Final

from asyncirq.config import KernelConfig
from asyncirq.sched.task import NICE_WEIGHTS, Task

NICE_0_LOAD: Final = 1024


def scale(ns: int, cpus: int) -> int:
    """Return a fair policy's duration on a machine of so many CPUs: ``1 + log2(cpus)`` times, at most four times."""
    return ns * min(cpus, 8).bit_length()


class FairQueue(ABC):
    """The fair tasks of one CPU that are ready but not running; ``weight`` is their sum."""

    __slots__ = ("queued", "weight")

    def __init__(self) -> None:
        self.queued: list[Task] = []
        self.weight = 0

    def __len__(self) -> int:
        return len(self.queued)

    @abstractmethod
    def enqueue(self, task: Task) -> None:
        """Queue a ready task, or the running one that loses the CPU."""

    @abstractmethod
    def dequeue(self, task: Task) -> None:
        """Take a queued task out: it changes class, weight or CPU."""

    @abstractmethod
    def pick(self, prev: Task | None) -> Task | None:
        """Take the task that runs next out of the queue; ``prev`` is queued again but ran until now."""

    @abstractmethod
    def account(self, task: Task, delta_ns: int) -> bool:
        """Charge CPU time to the running task and tell whether it should give way."""

    @abstractmethod
    def place(self, task: Task, initial: bool) -> None:
        """Prepare a task that becomes ready: woken, or for the first time."""

    @abstractmethod
    def leave(self, task: Task, sleeps: bool) -> None:
        """Take note that the running task goes: to sleep, or out of the class."""

    @abstractmethod
    def rejoin(self, task: Task, old: FairQueue | None = None) -> None:
        """Prepare a ready task that comes back: with another weight, from another class or, at once, from another CPU's queue."""

    @abstractmethod
    def carry(self, task: Task, old: FairQueue) -> None:
        """Translate what a task has had so far from another CPU's queue to this one's."""

    @abstractmethod
    def preempts(self, woken: Task, current: Task) -> bool:
        """Tell whether a task that was just queued should take the CPU from the running one."""

    @abstractmethod
    def tick_preempts(self, current: Task, ran_ns: int) -> bool:
        """Tell at a tick whether the running task has had its slice."""

    @abstractmethod
    def line_up(self, task: Task, rank: int) -> None:
        """Put a task that is about to be queued behind those of a lower rank, as if nobody had run yet."""

    @abstractmethod
    def adopt(self, task: Task, old_class: bool) -> None:
        """Take note that the task that runs came into the class, or was in it (``old_class``) and has another weight."""


class CfsQueue(FairQueue):
    """Completely fair: the earliest virtual runtime runs next."""

    __slots__ = ("_latency", "_min_granularity", "_wakeup_granularity", "min_vruntime")

    def __init__(self, config: KernelConfig, cpus: int) -> None:
        super().__init__()
        self._latency = scale(config.cfs_latency_ns, cpus)
        self._min_granularity = scale(config.cfs_min_granularity_ns, cpus)
        self._wakeup_granularity = scale(config.cfs_wakeup_granularity_ns, cpus)
        self.min_vruntime = 0

    def enqueue(self, task: Task) -> None:
        """Queue a ready task."""
        insort(self.queued, task, key=_key)
        self.weight += task.weight

    def dequeue(self, task: Task) -> None:
        """Take a queued task out."""
        self.queued.remove(task)
        self.weight -= task.weight

    def pick(self, prev: Task | None) -> Task | None:
        """Take the earliest out."""
        if not self.queued:
            return None
        task = self.queued.pop(0)
        self.weight -= task.weight
        return task

    def account(self, task: Task, delta_ns: int) -> bool:
        """Charge CPU time to the running task; only a tick ends its slice."""
        task.vruntime += delta_ns * NICE_0_LOAD // task.weight
        floor = task.vruntime
        if self.queued and self.queued[0].vruntime < floor:
            floor = self.queued[0].vruntime
        if floor > self.min_vruntime:
            self.min_vruntime = floor
        return False

    def place(self, task: Task, initial: bool) -> None:
        """Set the virtual runtime of a task that becomes ready: a sleeper gets half a latency of credit, a new one a slice of debit."""
        if initial:
            floor = self.min_vruntime + self._slice(task) * NICE_0_LOAD // task.weight
        else:
            floor = self.min_vruntime - self._latency // 2
        if task.vruntime < floor:
            task.vruntime = floor

    def leave(self, task: Task, sleeps: bool) -> None:
        """Keep the virtual runtime as it is."""

    def rejoin(self, task: Task, old: FairQueue | None = None) -> None:
        """Keep the virtual runtime, except that one from another class gets no more credit than a sleeper."""
        if old is None:
            self.place(task, initial=False)

    def adopt(self, task: Task, old_class: bool) -> None:
        """Give one from another class no more credit than a sleeper."""
        if not old_class:
            self.place(task, initial=False)

    def carry(self, task: Task, old: FairQueue) -> None:
        """Keep the distance from the queue's least virtual runtime."""
        assert isinstance(old, CfsQueue)
        task.vruntime += self.min_vruntime - old.min_vruntime

    def preempts(self, woken: Task, current: Task) -> bool:
        """Tell whether the woken task is behind by more than the wake-up granularity."""
        lead = current.vruntime - woken.vruntime
        return lead > self._wakeup_granularity * NICE_0_LOAD // woken.weight

    def tick_preempts(self, current: Task, ran_ns: int) -> bool:
        """Tell whether the running task has had its slice, or is ahead of the next by one."""
        if not self.queued:
            return False
        ideal = self._slice(current)
        if ran_ns > ideal:
            return True
        if ran_ns < self._min_granularity:
            return False
        return current.vruntime - self.queued[0].vruntime > ideal

    def line_up(self, task: Task, rank: int) -> None:
        """Give the task the least virtual runtime, plus its rank; a negative rank is a sleeper's whole credit."""
        task.vruntime = self.min_vruntime + (rank if rank >= 0 else -self._latency)

    def _slice(self, task: Task) -> int:
        count = len(self.queued) + 1
        period = max(self._latency, count * self._min_granularity)
        return period * task.weight // (self.weight + task.weight)


def _key(task: Task) -> int:
    return task.vruntime


def set_nice(task: Task, nice: int) -> None:
    """Give a task that is not queued the weight of a nice value, -20 to 19; what it is owed stays the same CPU time."""
    weight = NICE_WEIGHTS[nice + 20]
    task.nice = nice
    task.vlag = task.vlag * task.weight // weight
    task.rel_deadline = task.rel_deadline * task.weight // weight
    task.weight = weight
