"""Give threads the timers of POSIX: intervals that send signals, overruns, clocks of CPU time.

A timer on the monotonic clock is an hrtimer. While its signal waits to be taken it does not run on: whoever takes the signal moves
it past the intervals that were missed, and learns how many those were (the overrun). A timer without a signal never runs at all; its
remaining time is worked out when somebody asks.

A timer on a clock of CPU time is looked at by the tick of the CPU that its thread has:

=========== =====================================================================
clock       counts
=========== =====================================================================
``cputime`` the thread's run time, to the ns
``virtual`` whole ticks that found the thread in user mode
``prof``    whole ticks that found the thread, in user mode or in the kernel
=========== =====================================================================

Linux: kernel/time/posix-timers.c, posix-cpu-timers.c, itimer.c. Model: a process is one thread, and every clock starts when the thread
first uses one of its timers; CLOCK_REALTIME is the monotonic clock; CPU timers expire in the tick, not in task work.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

from asyncirq.bottom_half.hrtimer import HRTIMER_MODE_ABS, Hrtimer, Hrtimers
from asyncirq.bottom_half.tick import Tick
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.signal import NSIG, SI_TIMER, SIGALRM, SIGPROF, SIGVTALRM, SigInfo, Signals
from asyncirq.sched.task import Task

Clock = Literal["monotonic", "cputime", "virtual", "prof"]
DELAYTIMER_MAX: Final = (1 << 31) - 1
NO_INFO: Final = SigInfo(0)
ITIMERS: Final[tuple[tuple[str, Clock, int], ...]] = (
    ("real", "monotonic", SIGALRM),
    ("virtual", "virtual", SIGVTALRM),
    ("prof", "prof", SIGPROF),
)
"""Name, clock and signal of each interval timer that a thread has from the start."""


class CpuClocks:
    """The clocks of CPU time of one thread, and its timers on them."""

    __slots__ = ("jiffy_ns", "run_from", "system_ticks", "task", "timers", "user_ticks")

    def __init__(self, task: Task, jiffy_ns: int) -> None:
        self.task = task
        self.jiffy_ns = jiffy_ns
        self.run_from = task.sum_exec
        self.user_ticks = 0
        self.system_ticks = 0
        self.timers: list[PosixTimer] = []

    def sample(self, clock: Clock) -> int:
        """Return a clock's time in ns."""
        if clock == "cputime":
            return self.task.sum_exec - self.run_from
        ticks = self.user_ticks if clock == "virtual" else self.user_ticks + self.system_ticks
        return ticks * self.jiffy_ns


class PosixTimer:
    """A timer of one thread. ``signal`` 0 sends none. ``overrun`` is how many expiries the signal taken last stood for besides its own.

    ``queued`` says that its signal waits to be taken; ``expires`` is 0 while it is disarmed.
    """

    __slots__ = ("clock", "expires", "hrtimer", "id", "interval_ns", "name", "overrun", "queued", "signal", "task")

    def __init__(self, task: Task, clock: Clock, signal: int, number: int, name: str) -> None:
        self.task = task
        self.id = number
        self.clock: Clock = clock
        self.signal = signal
        self.name = name
        self.expires = 0
        self.interval_ns = 0
        self.overrun = 0
        self.queued = False
        self.hrtimer: Hrtimer | None = None

    def __repr__(self) -> str:
        return f"<PosixTimer {self.name}>"

    def forward(self, now: int) -> int:
        """Move the expiry past ``now`` by whole intervals; return how many."""
        missed = (now - self.expires) // self.interval_ns + 1 if now >= self.expires else 0
        self.expires += missed * self.interval_ns
        return missed


class PosixTimers:
    """The POSIX timers of one machine. Functions take the calling thread, which owns the timer.

    ``send(cpu, task, info)`` sends a signal; the machine sets it.
    """

    send: Callable[[Cpu, Task, SigInfo], Coroutine[Any, Any, bool]]

    def __init__(self, hrtimers: Hrtimers, tick: Tick) -> None:
        self.hrtimers = hrtimers
        self.sched = hrtimers.sched
        self.engine = hrtimers.engine
        self.tick = tick
        self._jiffy_ns = self.sched.config.jiffy_ns
        self._ids = 0
        self._clocks: dict[int, CpuClocks] = {}
        self._itimers: dict[tuple[int, str], PosixTimer] = {}
        self._queued: list[PosixTimer] = []

    # --- the calls

    def timer_create(self, task: Task, clock: Clock = "monotonic", signal: int = SIGALRM) -> PosixTimer:
        """Make a timer that sends ``signal`` (0: none) to its thread. Raises ``UsageError`` for a clock or signal that is none."""
        if clock not in ("monotonic", "cputime", "virtual", "prof"):
            raise UsageError(f"{task.comm}: there is no clock {clock!r} to make a timer on", 22)
        if not 0 <= signal <= NSIG:
            raise UsageError(f"{task.comm}: signal {signal} is not in 1..{NSIG}", 22)
        self._ids += 1
        return PosixTimer(task, clock, signal, self._ids, f"posix{self._ids}")

    async def timer_settime(
        self, task: Task, timer: PosixTimer, value_ns: int, interval_ns: int = 0, *, absolute: bool = False
    ) -> tuple[int, int]:
        """Arm a timer for ``value_ns`` from now, or for that time of its clock; 0 disarms it. Return what was left, and the interval.

        A signal that waits is not taken back, but counts no overruns any more. Trace: hrtimer_cancel, hrtimer_start.
        """
        if value_ns < 0 or interval_ns < 0:
            raise UsageError(f"{task.comm}: {timer.name} is set to {value_ns} ns, every {interval_ns} ns", 22)
        old = self.timer_gettime(timer)
        await self._disarm(task, timer)
        timer.interval_ns = interval_ns
        timer.overrun = 0
        timer.queued = False
        if not value_ns:
            return old
        timer.expires = value_ns if absolute else self._now(timer) + value_ns
        cpu = task.preempt_disable()
        self._start(cpu, timer)
        await task.preempt_enable()
        return old

    def timer_gettime(self, timer: PosixTimer) -> tuple[int, int]:
        """Return the time left in ns (0 only when disarmed or over) and the interval; one that does not run is moved on meanwhile."""
        if not timer.expires:
            return 0, timer.interval_ns
        now = self._now(timer)
        idle = timer.queued or not timer.signal
        if timer.interval_ns and idle:
            timer.overrun += timer.forward(now)
        left = timer.expires - now
        if left > 0:
            return left, timer.interval_ns
        # An expiry that is due but has not been served yet: never 0, which would say that the timer is disarmed.
        return (0 if not timer.signal else 1), timer.interval_ns

    async def timer_delete(self, task: Task, timer: PosixTimer) -> None:
        """Disarm a timer for good; a signal of it that waits is dropped."""
        await self._disarm(task, timer)
        timer.queued = False
        signals = timer.task.signals
        if timer in self._queued:
            self._queued.remove(timer)
            if signals is not None and signals.info.get(timer.signal, NO_INFO).code == SI_TIMER:
                del signals.info[timer.signal]
                signals.pending &= ~(1 << timer.signal - 1)
                self._pend_next(timer.task, signals, timer.signal)

    async def setitimer(self, task: Task, which: str, value_ns: int, interval_ns: int = 0) -> tuple[int, int]:
        """Set one of the three timers that every thread has: ``real``, ``virtual`` or ``prof``. Return what was left, and the interval.

        On a clock of CPU time it gets a tick more, as the one that has begun counts whole. Linux: set_cpu_itimer().
        """
        found = next((each for each in ITIMERS if each[0] == which), None)
        if found is None:
            raise UsageError(f"{task.comm}: there is no interval timer {which!r}: {', '.join(each[0] for each in ITIMERS)}", 22)
        timer = self._itimers.get((task.pid, which))
        if timer is None:
            _, clock, signal = found
            self._ids += 1
            timer = self._itimers[task.pid, which] = PosixTimer(task, clock, signal, self._ids, f"itimer_{which}/{task.pid}")
        if value_ns and timer.clock != "monotonic":
            value_ns += self._jiffy_ns
        return await self.timer_settime(task, timer, value_ns, interval_ns)

    def clock_gettime(self, task: Task, clock: Clock) -> int:
        """Return the time of a clock, of the calling thread if it counts CPU time."""
        if clock == "monotonic":
            return self.engine.now
        self.sched.rqs[task.cpu.id].update_curr(self.engine.now)
        return self._of(task).sample(clock)

    # --- arming

    def _now(self, timer: PosixTimer) -> int:
        return self.clock_gettime(timer.task, timer.clock)

    def _of(self, task: Task) -> CpuClocks:
        clocks = self._clocks.get(task.pid)
        if clocks is None or clocks.task is not task:
            if not self._clocks:
                self.tick.sched_hooks.append(self.run_posix_cpu_timers)
            clocks = self._clocks[task.pid] = CpuClocks(task, self._jiffy_ns)
        return clocks

    def _start(self, cpu: Cpu, timer: PosixTimer) -> None:
        if not timer.signal:
            return
        if timer.clock != "monotonic":
            self._of(timer.task).timers.append(timer)
            return
        if timer.hrtimer is None:

            async def posix_timer_fn(here: Cpu, hrtimer: Hrtimer) -> bool:
                await self._expire(here, timer)
                return False

            timer.hrtimer = Hrtimer(posix_timer_fn, 0, timer.name, "posix_timer_fn")
        self.hrtimers.hrtimer_start(cpu, timer.hrtimer, timer.expires, HRTIMER_MODE_ABS)

    async def _disarm(self, task: Task, timer: PosixTimer) -> None:
        timer.expires = 0
        clocks = self._clocks.get(timer.task.pid)
        if clocks is not None and timer in clocks.timers:
            clocks.timers.remove(timer)
        if timer.hrtimer is not None:
            cpu = task.migrate_disable()
            await self.hrtimers.hrtimer_cancel(cpu, timer.hrtimer)
            task.migrate_enable()

    # --- expiry

    async def _expire(self, cpu: Cpu, timer: PosixTimer) -> None:
        task = timer.task
        if task.exited:
            return
        if task.signals is None:
            task.signals = Signals()
        task.signals.rearm = self._rearm
        timer.queued = True
        if not timer.interval_ns:
            timer.expires = 0
        if task.signals.ignored >> timer.signal - 1 & 1:
            self._run_on(cpu, timer)
            return
        if timer not in self._queued:
            self._queued.append(timer)
        await self.send(cpu, task, SigInfo(timer.signal, SI_TIMER, timer=timer.id))

    def _rearm(self, info: SigInfo) -> SigInfo:
        """Let the timer whose signal is taken run on, and tell its overrun. Linux: posixtimer_rearm()."""
        timer = next((each for each in self._queued if each.id == info.timer), None)
        if timer is None:
            return info
        self._queued.remove(timer)
        cpu = timer.task.preempt_disable()
        overrun = self._run_on(cpu, timer)
        cpu.preempt_count -= 1
        assert timer.task.signals is not None
        self._pend_next(timer.task, timer.task.signals, info.signo)
        return info._replace(overrun=overrun)

    def _run_on(self, cpu: Cpu, timer: PosixTimer) -> int:
        if not timer.queued:
            return 0
        timer.queued = False
        overrun, timer.overrun = timer.overrun, 0
        if timer.interval_ns and timer.expires:
            overrun += timer.forward(self._now(timer))
            self._start(cpu, timer)
        # The expiry for which the signal was sent is none too many.
        return min(max(overrun - 1, 0), DELAYTIMER_MAX)

    def _pend_next(self, task: Task, signals: Signals, signal: int) -> None:
        """Let the next timer's signal wait that was sent while another one's of the same number did."""
        for timer in self._queued:
            if timer.task is task and timer.signal == signal:
                signals.info[signal] = SigInfo(signal, SI_TIMER, timer=timer.id)
                signals.pending |= 1 << signal - 1
                return

    async def run_posix_cpu_timers(self, cpu: Cpu) -> None:
        """Count a tick for the thread that it found, and expire its timers; called by the tick. Trace: what the signal leaves."""
        curr = self.sched.rqs[cpu.id].curr
        clocks = self._clocks.get(curr.pid)
        if clocks is None or clocks.task is not curr:
            return
        if curr.regs_user:
            clocks.user_ticks += 1
        else:
            clocks.system_ticks += 1
        for timer in tuple(clocks.timers):
            if clocks.sample(timer.clock) >= timer.expires:
                clocks.timers.remove(timer)
                await self._expire(cpu, timer)
