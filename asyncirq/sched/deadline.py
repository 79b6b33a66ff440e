"""Give tasks a budget and a deadline: SCHED_DEADLINE, a constant bandwidth server for each task, earliest deadline first.

A task may use ``runtime`` in each ``period`` and has it before ``deadline`` has passed since the period began. When the budget is
used up the task is throttled until the next period, whose budget pays what was used too much; a wake-up keeps budget and deadline
if they are within its bandwidth, else it starts a new period. Admission refuses what all CPUs together cannot hold.

Linux: kernel/sched/deadline.c update_curr_dl(), replenish_dl_entity(), update_dl_entity(), dl_task_timer(). Model: budgets are seen
to be used up where time is charged (a tick, an interrupt's wake-up), as without HRTICK_DL; a task chooses its CPU when it wakes and
is not pushed or pulled; no bandwidth reclaiming; a lent priority lends no deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task

if TYPE_CHECKING:
    from asyncirq.sched.rq import RunQueue
    from asyncirq.sched.state import SchedState

LEAST_RUNTIME_NS: Final = 1024
LIMIT_PERCENT: Final = 95
"""How much of all CPUs deadline tasks may have together."""
EBUSY: Final = 16

Fired = Callable[[Cpu], Coroutine[Any, Any, None]]


class ReplenishTimer(Protocol):
    """A timer of a CPU, which calls back in hard interrupt context."""

    def start(self, cpu: Cpu, when_ns: int) -> None:
        """Arm it, or arm it anew."""

    def cancel(self, cpu: Cpu) -> None:
        """Disarm it."""


class DlEntity:
    """What a deadline task has: its parameters, ``left`` of its budget, and when it is ``due`` (absolute).

    ``throttled``: it waits for the next period; ``parked``: it is ready meanwhile. ``overruns`` counts budgets used up.
    """

    __slots__ = ("deadline", "due", "left", "overruns", "parked", "period", "runtime", "throttled", "timer")

    def __init__(self, runtime: int, deadline: int, period: int) -> None:
        self.runtime = runtime
        self.deadline = deadline
        self.period = period
        self.left = 0
        self.due = 0
        self.throttled = False
        self.parked = False
        self.overruns = 0
        self.timer: ReplenishTimer | None = None

    def replenish(self, now: int) -> None:
        """Give a new budget, paying debts with whole periods; one that lags behind starts afresh."""
        while self.left <= 0:
            self.due += self.period
            self.left += self.runtime
        if self.due < now:
            self.renew(now)
        self.throttled = False

    def renew(self, now: int) -> None:
        """Start a new period now."""
        self.due = now + self.deadline
        self.left = self.runtime

    def wake(self, now: int) -> None:
        """Keep budget and deadline unless they exceed the bandwidth; a constrained task's budget shrinks to it instead."""
        laxity = self.due - now
        if laxity <= 0:
            self.renew(now)
        elif self.left * self.deadline > laxity * self.runtime:
            if self.deadline < self.period:
                self.left = self.runtime * laxity // self.deadline
            else:
                self.renew(now)


class Deadlines:
    """The deadline tasks of one machine. ``make_timer(name, fired)`` makes the timer that begins a period."""

    def __init__(self, sched: SchedState) -> None:
        self._sched = sched
        self.make_timer: Callable[[str, Fired], ReplenishTimer] | None = None
        self.bandwidth = 0
        """Of all CPUs in 2^-20 of one, as admitted."""

    def admit(self, task: Task, runtime: int, deadline: int, period: int) -> None:
        """Check the parameters and the room for them, and give the task its entity.

        Raises ``UsageError``: EINVAL for parameters that make no sense, EBUSY where there is no room.
        """
        period = period or deadline
        if not LEAST_RUNTIME_NS <= runtime <= deadline <= period:
            raise UsageError(
                f"{task.comm}: runtime {runtime}, deadline {deadline}, period {period} are not in this order, from 1024 ns on", 22
            )
        wanted = (runtime << 20) // period
        had = self._share(task)
        if (self.bandwidth - had + wanted) * 100 > (LIMIT_PERCENT << 20) * len(self._sched.cpus):
            raise UsageError(f"{task.comm}: deadline tasks would have more than {LIMIT_PERCENT} % of all CPUs", EBUSY)
        self.release(task)
        self.bandwidth += wanted
        task.dl = DlEntity(runtime, deadline, period)

    def fits(self, cpus: int) -> bool:
        """Tell whether so many CPUs have room for what is admitted. Linux: dl_bw_deactivate()."""
        return self.bandwidth * 100 <= (LIMIT_PERCENT << 20) * cpus

    def release(self, task: Task) -> None:
        """Take the bandwidth of a task back: it exits, or leaves the class."""
        self.bandwidth -= self._share(task)
        dl, task.dl = task.dl, None
        if dl is not None and dl.timer is not None:
            dl.timer.cancel(task.cpu)

    def _share(self, task: Task) -> int:
        return 0 if task.dl is None else (task.dl.runtime << 20) // task.dl.period

    def charge(self, rq: RunQueue, task: Task, delta_ns: int, now: int) -> None:
        """Charge the running task; with its budget used up it is throttled until its next period begins."""
        dl = task.dl
        assert dl is not None
        dl.left -= delta_ns
        if dl.left <= 0 and not dl.throttled:
            dl.throttled = True
            dl.overruns += 1
            begins = dl.due - dl.deadline + dl.period
            if begins <= now:
                dl.replenish(now)
            else:
                self._arm(rq.cpu, task, dl, begins)
            rq.cpu.need_resched = True

    def wake(self, cpu: Cpu, task: Task, now: int) -> None:
        """Prepare a task that becomes ready."""
        dl = task.dl
        assert dl is not None
        if dl.throttled:
            return
        begins = dl.due - dl.deadline + dl.period
        if dl.deadline < dl.period and dl.due <= now < begins:
            # Its deadline has passed, its period has not: it would get the bandwidth of two.
            dl.throttled = True
            self._arm(cpu, task, dl, begins)
            dl.left = min(dl.left, 0)
        else:
            dl.wake(now)

    def _arm(self, cpu: Cpu, task: Task, dl: DlEntity, begins: int) -> None:
        if dl.timer is None:
            if self.make_timer is None:
                raise UsageError("this machine has no timers for deadline tasks")

            async def fired(here: Cpu) -> None:
                self._begin_period(here, task)

            dl.timer = self.make_timer(f"dl_task_timer/{task.pid}", fired)
        dl.timer.start(cpu, begins)

    def _begin_period(self, cpu: Cpu, task: Task) -> None:
        dl = task.dl
        if dl is None or not dl.throttled:
            return
        sched = self._sched
        rq = sched.rqs[task.cpu.id]
        if rq.curr is task:
            rq.update_curr(sched.engine.now)
        dl.replenish(sched.engine.now)
        if dl.parked:
            rq.unpark(task)
            sched.task_ready(cpu, rq, task)
