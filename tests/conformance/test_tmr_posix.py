"""Show the cases of the catalogue on POSIX timers: overruns of a blocked signal, remaining time without one, clocks of CPU time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Final

import pytest

from asyncirq import Machine
from asyncirq.bottom_half.posix_timer import PosixTimer, PosixTimers
from asyncirq.config import preset
from asyncirq.errors import UsageError
from asyncirq.sched.signal import SI_TIMER, SIGALRM, SIGPROF, SIGVTALRM, SigInfo, Signals
from asyncirq.sched.task import TASK_INTERRUPTIBLE, TASK_RUNNING, Task
from asyncirq.trace.record import tag_of

MS: Final = 1_000_000
S: Final = 1_000 * MS
HZ1000: Final = preset("linux-6.12", hz=1000)
BITS: Final = {signal: 1 << signal - 1 for signal in (SIGALRM, SIGVTALRM, SIGPROF)}

Body = Callable[["Program"], Awaitable[None]]


class Program:
    """One user thread on one CPU. ``log`` holds the signals it took, with the time in ns."""

    def __init__(self, body: Body) -> None:
        self.machine = Machine(1, HZ1000, check=True)
        self.body = body
        self.log: list[tuple[int, SigInfo]] = []
        self.done = False
        self.task: Task

    @property
    def timers(self) -> PosixTimers:
        """Return the timers."""
        return self.machine.posix_timers

    @property
    def now(self) -> int:
        """Return the time in ns."""
        return self.machine.now

    async def _main(self, task: Task) -> None:
        self.task = task
        signals = self.machine.kernel.entry.signals.of(task)
        for signal in BITS:
            signals.handle(signal, self._note)
        await self.body(self)
        self.done = True

    async def _note(self, task: Task, info: SigInfo) -> None:
        self.log.append((self.now, info))

    def signals(self, *, block: int = 0, unblock: int = 0) -> None:
        """Block and unblock."""
        self.machine.kernel.entry.signals.sigprocmask(self.task, block=block, unblock=unblock)

    async def until_signal(self, load: Callable[[], Awaitable[None]]) -> int:
        """Load the machine until a signal is taken; return the time."""
        while not self.log:
            await load()
        return self.log[0][0]

    async def user(self) -> None:
        """Run in user mode."""
        await self.task.user(100_000)

    async def kernel(self) -> None:
        """Run in the kernel, with a short way to user mode and back."""
        await self.task.spend(100_000)
        await self.task.user(0)

    async def idle(self) -> None:
        """Sleep until something happens."""
        self.task.set_current_state(TASK_INTERRUPTIBLE)
        if not self.task.work:
            await self.task.schedule()
        self.task.set_current_state(TASK_RUNNING)
        await self.task.user(0)

    def run(self) -> Program:
        """Run the program to its end."""

        async def play() -> None:
            async with self.machine as machine:
                machine.start_thread(self._main, "program", cpu=0, kthread=False)
                assert await machine.run_until(lambda: self.done, 20 * S)

        asyncio.run(play())
        return self


def test_TMR_21_a_blocked_signal_counts_the_expiries_that_it_stands_for() -> None:
    async def body(p: Program) -> None:
        timer = p.timers.timer_create(p.task)
        p.signals(block=BITS[SIGALRM])
        await p.timers.timer_settime(p.task, timer, 100 * MS, 100 * MS)
        begin = p.now
        await p.machine.sleep.nanosleep(p.task, 1 * S)
        assert p.now - begin > 1 * S and not p.log
        p.signals(unblock=BITS[SIGALRM])
        await p.task.user(1_000)
        assert [info for _, info in p.log] == [SigInfo(SIGALRM, SI_TIMER, timer=timer.id, overrun=9)]
        # From then on the timer runs again, on its own grid.
        p.log.clear()
        assert (await p.until_signal(p.idle) - begin) // MS == 1_100
        await p.timers.timer_delete(p.task, timer)

    p = Program(body).run()
    assert [tag_of(type(r)) for r in p.machine.records].count("signal_deliver") == 2


def test_TMR_24_remaining_time_without_a_signal() -> None:
    """timer_gettime keeps moving the timer on, is never 0, and wraps more than once."""

    async def body(p: Program) -> None:
        timer = p.timers.timer_create(p.task, signal=0)
        await p.timers.timer_settime(p.task, timer, 25 * MS, 10 * MS)
        lefts = []
        for _ in range(40):
            left, interval = p.timers.timer_gettime(timer)
            assert interval == 10 * MS
            lefts.append(left)
            await p.task.user(1_700_000)
        assert lefts[0] <= 25 * MS and max(lefts[20:]) <= 10 * MS
        assert min(lefts) > 0
        assert sum(after > before for before, after in pairwise(lefts)) > 1
        one_shot = p.timers.timer_create(p.task, signal=0)
        await p.timers.timer_settime(p.task, one_shot, 1 * MS)
        await p.task.user(2 * MS)
        assert p.timers.timer_gettime(one_shot) == (0, 0)
        assert not p.log

    Program(body).run()


def test_TMR_24_a_queued_signals_timer_keeps_forwarding_too() -> None:
    async def body(p: Program) -> None:
        timer = p.timers.timer_create(p.task)
        p.signals(block=BITS[SIGALRM])
        await p.timers.timer_settime(p.task, timer, 10 * MS, 10 * MS)
        await p.machine.sleep.nanosleep(p.task, 35 * MS)
        left, _ = p.timers.timer_gettime(timer)
        assert 0 < left < 10 * MS
        p.signals(unblock=BITS[SIGALRM])
        await p.task.user(1_000)
        assert p.log[0][1].overrun == 2

    Program(body).run()


@pytest.mark.parametrize(
    ("which", "load", "signal", "late_ns"),
    [("real", "idle", SIGALRM, 0), ("virtual", "user", SIGVTALRM, 2 * MS), ("prof", "kernel", SIGPROF, 2 * MS)],
)
def test_TMR_25_an_interval_timer_lasts_as_long_as_it_was_set_for(which: str, load: str, signal: int, late_ns: int) -> None:
    async def body(p: Program) -> None:
        begin = p.now
        await p.timers.setitimer(p.task, which, 2 * S)
        took = await p.until_signal(getattr(p, load)) - begin
        # One on a clock of CPU time gets a tick on top, and ends with the tick that finds it over.
        assert 2 * S <= took < 2 * S + late_ns + 200_000
        assert p.log[0][1].signo == signal

    Program(body).run()


@pytest.mark.parametrize("clock", ["monotonic", "cputime"])
def test_TMR_25_a_created_timer_lasts_as_long_as_it_was_set_for(clock: str) -> None:
    async def body(p: Program) -> None:
        assert clock in ("monotonic", "cputime")
        timer = p.timers.timer_create(p.task, "monotonic" if clock == "monotonic" else "cputime")
        begin = p.now
        await p.timers.timer_settime(p.task, timer, 2 * S)
        took = await p.until_signal(p.user) - begin
        # The interrupts of two seconds are no time of the thread's.
        assert 2 * S <= took < 2 * S + 20 * MS
        assert p.timers.timer_gettime(timer) == (0, 0)

    Program(body).run()


def test_TMR_25_a_clock_of_cpu_time_stands_still_while_its_thread_sleeps() -> None:
    async def body(p: Program) -> None:
        before = [p.timers.clock_gettime(p.task, "cputime"), p.timers.clock_gettime(p.task, "virtual")]
        await p.machine.sleep.nanosleep(p.task, 50 * MS)
        assert p.timers.clock_gettime(p.task, "cputime") - before[0] < 100_000
        assert p.timers.clock_gettime(p.task, "virtual") == before[1]
        await p.task.spend(10 * MS)
        assert p.timers.clock_gettime(p.task, "virtual") == before[1]
        assert p.timers.clock_gettime(p.task, "prof") in (9 * MS, 10 * MS, 11 * MS)
        assert p.timers.clock_gettime(p.task, "monotonic") == p.now

    Program(body).run()


def test_TMR_26_a_signal_cuts_a_sleep_short_and_tells_what_was_left() -> None:
    async def body(p: Program) -> None:
        await p.timers.setitimer(p.task, "real", 250 * MS)
        begin = p.now
        left = await p.machine.sleep.nanosleep(p.task, 500 * MS)
        assert (p.now - begin) // MS == 250
        assert p.now + left - begin - 500 * MS in range(0, 100_000)
        await p.task.user(1_000)
        assert [info.signo for _, info in p.log] == [SIGALRM]
        # One that is blocked does not.
        p.signals(block=BITS[SIGALRM])
        await p.timers.setitimer(p.task, "real", 10 * MS)
        begin = p.now
        assert await p.machine.sleep.nanosleep(p.task, 50 * MS) == 0
        assert p.now - begin >= 50 * MS

    Program(body).run()


# --- beyond the catalogue


def test_an_interval_timer_of_cpu_time_goes_on_when_its_signal_is_taken() -> None:
    async def body(p: Program) -> None:
        await p.timers.setitimer(p.task, "virtual", 10 * MS, 10 * MS)
        for _ in range(355):
            await p.user()
        left, interval = await p.timers.setitimer(p.task, "virtual", 0)
        assert 0 < left <= 10 * MS and interval == 10 * MS
        assert [info.signo for _, info in p.log] == [SIGVTALRM] * 3
        assert [info.overrun for _, info in p.log] == [0] * 3

    Program(body).run()


def test_two_timers_with_one_signal_are_told_one_after_the_other() -> None:
    async def body(p: Program) -> None:
        timers = [p.timers.timer_create(p.task) for _ in range(2)]
        p.signals(block=BITS[SIGALRM])
        for timer in timers:
            await p.timers.timer_settime(p.task, timer, 1 * MS)
        await p.machine.sleep.nanosleep(p.task, 5 * MS)
        p.signals(unblock=BITS[SIGALRM])
        await p.task.user(1_000)
        assert [info.timer for _, info in p.log] == [timer.id for timer in timers]

    Program(body).run()


def test_a_deleted_timers_signal_is_dropped_and_the_others_stays() -> None:
    async def body(p: Program) -> None:
        timers = [p.timers.timer_create(p.task) for _ in range(2)]
        p.signals(block=BITS[SIGALRM])
        for timer in timers:
            await p.timers.timer_settime(p.task, timer, 1 * MS)
        await p.machine.sleep.nanosleep(p.task, 5 * MS)
        await p.timers.timer_delete(p.task, timers[0])
        p.signals(unblock=BITS[SIGALRM])
        await p.task.user(1_000)
        assert [info.timer for _, info in p.log] == [timers[1].id]

    Program(body).run()


def test_an_ignored_signals_timer_runs_on() -> None:
    async def body(p: Program) -> None:
        signals = p.task.signals
        assert isinstance(signals, Signals)
        signals.ignore(SIGALRM)
        timer = p.timers.timer_create(p.task)
        await p.timers.timer_settime(p.task, timer, 10 * MS, 10 * MS)
        await p.task.user(35 * MS)
        assert 0 < p.timers.timer_gettime(timer)[0] <= 6 * MS
        assert not p.log and not signals.pending

    Program(body).run()


def test_setting_returns_what_was_left() -> None:
    async def body(p: Program) -> None:
        timer: PosixTimer = p.timers.timer_create(p.task)
        assert await p.timers.timer_settime(p.task, timer, 10 * MS, 3 * MS) == (0, 0)
        await p.task.user(4 * MS)
        left, interval = await p.timers.timer_settime(p.task, timer, p.now + 5 * MS, absolute=True)
        assert 5 * MS < left <= 6 * MS and interval == 3 * MS
        begin = p.now
        assert (await p.until_signal(p.user) - begin) // MS == 5

    Program(body).run()


def test_what_no_timer_can_be_is_refused() -> None:
    async def body(p: Program) -> None:
        with pytest.raises(UsageError, match="no clock 'tai'"):
            p.timers.timer_create(p.task, "tai")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="signal 65"):
            p.timers.timer_create(p.task, signal=65)
        with pytest.raises(UsageError, match="no interval timer 'wall'"):
            await p.timers.setitimer(p.task, "wall", 1)
        with pytest.raises(UsageError, match="is set to -1 ns"):
            await p.timers.timer_settime(p.task, p.timers.timer_create(p.task), -1)

    Program(body).run()
