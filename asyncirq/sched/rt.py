"""Queue real-time tasks: one FIFO list for each of a hundred priorities.

Linux: kernel/sched/rt.c.
"""

from __future__ import annotations

from collections import deque

from asyncirq.sched.task import MAX_RT_PRIO, Task


class RtQueue:
    """The real-time tasks of one CPU that are ready but not running; ``bitmap`` tells which priorities there are."""

    __slots__ = ("_lists", "bitmap")

    def __init__(self) -> None:
        self._lists: tuple[deque[Task], ...] = tuple(deque() for _ in range(MAX_RT_PRIO))
        self.bitmap = 0

    def enqueue(self, task: Task, head: bool = False) -> None:
        """Queue a ready task behind those of its priority, or before them (preempted, or its priority lowered)."""
        queue = self._lists[task.prio]
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
        return bool(self._lists[prio])

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
