"""Queue real-time tasks: one FIFO list for each of their priorities.

Linux: kernel/sched/rt.c.
"""

from __future__ import annotations

from collections import deque

from asyncirq.sched.task import Task


class RtQueue:
    """The real-time tasks of one CPU that are ready but not running; ``bitmap`` tells which priorities there are."""

    __slots__ = ("_lists", "bitmap")

    def __init__(self) -> None:
        # Made when first used: few priorities ever are, and a large machine would carry a hundred empty lists for each CPU.
        self._lists: dict[int, deque[Task]] = {}
        self.bitmap = 0

    def enqueue(self, task: Task, head: bool = False) -> None:
        """Queue a ready task behind those of its priority, or before them (preempted, or its priority lowered)."""
        queue = self._lists.get(task.prio)
        if queue is None:
            queue = self._lists[task.prio] = deque()
        if head:
            queue.appendleft(task)
        else:
            queue.append(task)
        self.bitmap |= 1 << task.prio

    def dequeue(self, task: Task) -> None:
        """Take a queued task out."""
        queue = self._lists[task.prio]
        queue.remove(task)
        if not queue:
            self.bitmap &= ~(1 << task.prio)

    def first(self) -> Task | None:
        """Return the queued task that runs next: the lowest kernel priority number, first come."""
        bitmap = self.bitmap
        if not bitmap:
            return None
        return self._lists[(bitmap & -bitmap).bit_length() - 1][0]

    def shares(self, prio: int) -> bool:
        """Tell whether another task of that priority is queued."""
        return bool(self._lists.get(prio))

    def pushable(self, mask: int) -> Task | None:
        """Return the first queued task that may run on one of the CPUs of ``mask`` instead."""
        bitmap = self.bitmap
        while bitmap:
            low = bitmap & -bitmap
            for task in self._lists[low.bit_length() - 1]:
                if task.allowed & mask and not task.pinned:
                    return task
            bitmap ^= low
        return None

    def all(self) -> list[Task]:
        """Return every queued task, the next first."""
        return [task for prio in sorted(self._lists) for task in self._lists[prio]]
