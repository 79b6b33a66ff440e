"""Queue fair tasks by earliest eligible virtual deadline: the fair class since 6.6.

Each task asks for slices. The average ``V`` of the virtual runtimes, weighted, is what an ideally fair CPU would have given
to everyone; a task's lag is ``V`` minus its own. Who has a lag of 0 or more is eligible, and among the eligible the earliest
virtual deadline (the virtual time at which the slice is due) runs. A sleeper keeps its lag, within two slices.

========================= =======================================================================================
policy                    effect
========================= =======================================================================================
``eevdf_run_to_parity``   who was picked runs until its slice is over or its lag negative
``eevdf_preempt_short``   a shorter slice takes that protection away
``eevdf_delay_dequeue``   a sleeper with negative lag stays in the queue until it is picked: it pays its debt first
========================= =======================================================================================

Linux: kernel/sched/fair.c pick_eevdf(), place_entity(), update_entity_lag(). Model: no groups; sums are exact, not of 64 bits.
"""

from __future__ import annotations

from bisect import insort
from typing import Final

from asyncirq.config import KernelConfig
from asyncirq.sched.fair import NICE_0_LOAD, FairQueue, scale
from asyncirq.sched.task import TASK_DEAD, TASK_PARKED, Task

NEVER_DELAYED: Final = TASK_DEAD | TASK_PARKED


class VirtualTime(FairQueue):
    """The average virtual runtime of the fair tasks of one CPU: those queued, and ``curr``, the one that runs."""

    __slots__ = ("_sum", "_virtual", "curr")

    def __init__(self) -> None:
        super().__init__()
        self._sum = 0
        self._virtual = 0
        self.curr: Task | None = None

    def average(self) -> int:
        """Return ``V``, rounded down; that of the last task if there is none."""
        total, load = self._totals()
        return total // load if load else self._virtual

    def eligible(self, task: Task) -> bool:
        """Tell whether a queued or the running task has had no more than its share."""
        total, load = self._totals()
        return task.vruntime * load <= total

    def _totals(self) -> tuple[int, int]:
        curr = self.curr
        if curr is None:
            return self._sum, self.weight
        return self._sum + curr.weight * curr.vruntime, self.weight + curr.weight

    def _add(self, task: Task) -> None:
        insort(self.queued, task, key=_deadline)
        self.weight += task.weight
        self._sum += task.weight * task.vruntime

    def _remove(self, task: Task) -> None:
        self.queued.remove(task)
        self.weight -= task.weight
        self._sum -= task.weight * task.vruntime
        self._virtual = task.vruntime


class EevdfQueue(VirtualTime):
    """The fair tasks of one CPU, earliest virtual deadline first."""

    __slots__ = ("_base_slice", "_delay", "_parity", "_short", "_tick")

    def __init__(self, config: KernelConfig, cpus: int) -> None:
        super().__init__()
        self._base_slice = scale(config.eevdf_base_slice_ns, cpus)
        self._parity = config.eevdf_run_to_parity
        self._short = config.eevdf_preempt_short
        self._delay = config.eevdf_delay_dequeue
        self._tick = config.jiffy_ns

    # --- the queue

    def enqueue(self, task: Task) -> None:
        """Queue a ready task, or the running one that loses the CPU."""
        self._add(task)
        if task is self.curr:
            self.curr = None

    def dequeue(self, task: Task) -> None:
        """Take a queued task out with its lag and what is left to its deadline; a sleeper in debt really goes, with no positive lag."""
        self._save_lag(task)
        self._remove(task)
        if task.delayed:
            task.delayed = False
            task.vlag = min(task.vlag, 0)
        else:
            task.rel_deadline = task.deadline - task.vruntime

    def pick(self, prev: Task | None) -> Task | None:
        """Take the earliest eligible deadline out, unless ``prev`` is still within its slice. Who only paid its debt leaves."""
        while self.queued:
            task = self._best(prev)
            if task.delayed:
                self.dequeue(task)
                continue
            self._remove(task)
            self.curr = task
            if task is not prev:
                task.protected = task.deadline
            return task
        return None

    def _best(self, curr: Task | None) -> Task:
        """Return who should run; ``curr`` ran until now, queued again or not."""
        queue = self.queued
        if len(queue) == 1 and (curr is None or curr is queue[0]):
            return queue[0]
        total, load = self._totals()
        if curr is not None and curr.vruntime * load > total:
            curr = None
        if curr is not None and self._parity and curr.protected == curr.deadline:
            return curr
        for task in queue:
            if task.vruntime * load <= total:
                return curr if curr is not None and curr.deadline < task.deadline else task
        assert curr is not None
        return curr

    # --- the running task

    def account(self, task: Task, delta_ns: int) -> bool:
        """Charge CPU time to the running task and tell whether others wait and it should give way: its slice or its protection is over."""
        weight = task.weight
        task.vruntime += delta_ns if weight == NICE_0_LOAD else delta_ns * NICE_0_LOAD // weight
        if task.vruntime >= task.deadline:
            task.deadline = task.vruntime + self._vslice(task)
            return bool(self.queued)
        return bool(self.queued) and self._short and task.protected != task.deadline and not self.eligible(task)

    def adopt(self, task: Task, old_class: bool) -> None:
        """Place the task that runs as one that comes back, within a slice of its own."""
        self.rejoin(task)
        task.protected = task.deadline
        self.curr = task

    def leave(self, task: Task, sleeps: bool) -> None:
        """Keep the lag of a task that goes; one that sleeps in debt stays queued to pay."""
        if not self.queued:
            task.vlag = 0
            self._virtual = task.vruntime
        elif sleeps and self._delay and not task.state & NEVER_DELAYED and not self.eligible(task):
            task.delayed = True
            self.enqueue(task)
            return
        else:
            self._save_lag(task)
        if not sleeps:
            task.rel_deadline = task.deadline - task.vruntime
        self.curr = None

    # --- placing

    def place(self, task: Task, initial: bool) -> None:
        """Put a task at its lag from the average, so that it has this lag when it counts in the average itself; a new one has none.

        A new task's first slice is due after half the time. A sleeper that is still queued keeps its debt, but no credit.
        """
        if task.delayed:
            self._save_lag(task)
            if task.vlag <= 0:
                return
            self._remove(task)
            task.vlag = 0
            self._put(task, initial=False)
            self._add(task)
        else:
            self._put(task, initial)

    def _put(self, task: Task, initial: bool) -> None:
        total, load = self._totals()
        lag = 0 if initial else task.vlag
        if lag and load:
            lag = lag * (load + task.weight) // load if lag > 0 else -(-lag * (load + task.weight) // load)
            task.vruntime = total // load - lag
        else:
            task.vruntime = total // load if load else self._virtual
        left = task.rel_deadline
        if left:
            task.rel_deadline = 0
        else:
            left = self._vslice(task)
            if initial:
                left //= 2
        task.deadline = task.vruntime + left

    def rejoin(self, task: Task, old: FairQueue | None = None) -> None:
        """Put a task that left the queue while ready at its lag, with what was left to its deadline."""
        self._put(task, initial=False)

    def carry(self, task: Task, old: FairQueue) -> None:
        """Nothing to translate: the lag is what a task takes along."""

    def line_up(self, task: Task, rank: int) -> None:
        """Put the task at the average with a whole slice; its rank decides between equals."""
        task.vlag = 0
        task.rel_deadline = 0
        self._put(task, initial=False)
        task.deadline += max(rank, 0)

    def preempts(self, woken: Task, current: Task) -> bool:
        """Tell whether the woken task is who should run now."""
        if (
            self._short
            and self._slice(woken) < self._slice(current)
            and self.eligible(woken)
            and (woken.deadline < current.deadline or not self.eligible(current))
        ):
            current.protected = -1
        return self._best(current) is woken

    def tick_preempts(self, current: Task, ran_ns: int) -> bool:
        """Tell nothing: the slice ends where time is charged."""
        return False

    def _slice(self, task: Task) -> int:
        return task.custom_slice or self._base_slice

    def _vslice(self, task: Task) -> int:
        return (task.custom_slice or self._base_slice) * NICE_0_LOAD // task.weight

    def _save_lag(self, task: Task) -> None:
        limit = max(2 * self._slice(task), self._tick) * NICE_0_LOAD // task.weight
        task.vlag = max(-limit, min(limit, self.average() - task.vruntime))


def _deadline(task: Task) -> int:
    return task.deadline
