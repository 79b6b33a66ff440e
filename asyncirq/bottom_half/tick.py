"""Tick: an hrtimer on each CPU, on the absolute grid of jiffies, stopped while the CPU idles and nothing is due.

``tick_sched_timer`` accounts, looks at the timer wheels, tells RCU and irq_work, and lets the scheduler preempt. An idle
CPU whose wheels hold nothing within the next jiffy puts the timer off to the earliest wheel timer, or stops it; leaving
idle starts it again on the grid.

Linux: kernel/time/tick-sched.c, kernel/time/timer.c update_process_times(). Model: jiffies follow from the time, so no CPU
has the duty to count them; no idle governor keeps the tick on a hunch; no nohz_full.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.bottom_half.hrtimer import HRTIMER_MODE_ABS, HRTIMER_MODE_HARD, HRTIMER_MODE_PINNED, Hrtimer, Hrtimers, hrtimer_forward
from asyncirq.bottom_half.softirq import HOTPLUG_SAFE_MASK, TIMER_SOFTIRQ
from asyncirq.bottom_half.timer import Timers
from asyncirq.bottom_half.timer_wheel import BASE_DEF
from asyncirq.hw.cpu import Cpu
from asyncirq.sim.engine import FOREVER

MAX_REPORTS: Final = 10
"""How often pending softirqs at the stop of a tick are reported."""
_MODE: Final = HRTIMER_MODE_ABS | HRTIMER_MODE_PINNED

TickHook = Callable[[Cpu], Coroutine[Any, Any, None]]


class TickSched:
    """The tick of one CPU.

    ``last_tick`` is the expiry it had when it was stopped, ``next_tick`` what it was put off to (0: to be decided), and
    ``seen_*`` are the next expiries of the wheels by which that was decided.
    """

    __slots__ = ("active", "inidle", "last_tick", "next_tick", "nr_stops", "nr_ticks", "seen_global", "seen_local", "stopped", "timer")

    def __init__(self, timer: Hrtimer) -> None:
        self.timer = timer
        self.active = False
        self.inidle = False
        self.stopped = False
        self.last_tick = 0
        self.next_tick = 0
        self.seen_local = 0
        self.seen_global = 0
        self.nr_ticks = 0
        self.nr_stops = 0


class Tick:
    """The ticks of one machine; ``ts[cpu]`` is that of one CPU.

    ``hooks`` run in every tick after the wheels were looked at and before the scheduler (RCU, irq_work, in this order),
    ``sched_hooks`` after it. ``online[cpu]`` False tells that a CPU goes down. ``keepers`` answer whether an idle
    CPU needs its tick. ``skew`` spreads the CPUs' ticks over
    half a jiffy.
    """

    def __init__(self, timers: Timers, hrtimers: Hrtimers, *, skew: bool = False) -> None:
        self.timers = timers
        self.hrtimers = hrtimers
        self.softirq = timers.softirq
        self.sched = timers.sched
        self.engine = timers.engine
        self.costs = timers.costs
        self.trace = timers.trace
        config = self.softirq.config
        self._jiffy_ns = config.jiffy_ns
        self._nohz = config.nohz_idle
        self._reports = 0
        self.online = [True] * len(self.sched.cpus)
        self.hooks: list[TickHook] = []
        self.sched_hooks: list[TickHook] = []
        self.keepers: list[Callable[[Cpu], bool]] = []
        count = len(self.sched.cpus)
        self.skew_ns = (config.jiffy_ns // 2) // count if skew else 0
        self.ts = [
            TickSched(Hrtimer(self._tick_sched_timer, HRTIMER_MODE_HARD, f"tick_sched_timer/{cpu.id}", "tick_sched_timer"))
            for cpu in self.sched.cpus
        ]

    def start(self, cpu: Cpu) -> None:
        """Start the tick of a CPU at the next point of its grid. Trace: hrtimer_start."""
        ts = self.ts[cpu.id]
        ts.active = True
        ts.stopped = False
        self._restart(cpu, ts, cpu.id * self.skew_ns)

    def stop(self, cpu: Cpu) -> None:
        """Stop the tick of a CPU that goes down for good. Trace: hrtimer_cancel."""
        ts = self.ts[cpu.id]
        ts.active = ts.stopped = False
        self.hrtimers.hrtimer_try_to_cancel(cpu, ts.timer)

    def stopped(self, cpu: Cpu) -> bool:
        """Tell whether this CPU's tick is stopped."""
        return self.ts[cpu.id].stopped

    def _restart(self, cpu: Cpu, ts: TickSched, origin: int) -> None:
        now = self.engine.now
        jiffy = self._jiffy_ns
        when = origin + ((now - origin) // jiffy + 1) * jiffy
        self.hrtimers.hrtimer_restart(cpu, ts.timer, when, _MODE)

    # --- the tick itself

    async def _tick_sched_timer(self, cpu: Cpu, timer: Hrtimer) -> bool:
        ts = self.ts[cpu.id]
        ts.nr_ticks += 1
        cost = self.costs.tick_ns
        if cost:
            await cpu.spend(cost)
        await self.timers.run_local_timers(cpu)
        for hook in self.hooks:
            await hook(cpu)
        self.sched.scheduler_tick(cpu)
        for hook in self.sched_hooks:
            await hook(cpu)
        if ts.stopped:
            # The idle loop decides anew after this interrupt, even for the same expiry.
            ts.next_tick = 0
            return False
        hrtimer_forward(timer, self.engine.now, self._jiffy_ns)
        return True

    # --- idle

    def idle_enter(self, cpu: Cpu) -> None:
        """Stop the tick if nothing is due within the next jiffy; the idle loop calls this before each halt, interrupts off.

        Trace: timer_base_idle, tick_stop, hrtimer_start, hrtimer_cancel.
        """
        index = cpu.id
        ts = self.ts[index]
        ts.inidle = True
        if not (self._nohz and ts.active) or cpu.need_resched:
            return
        softirq = self.softirq
        keep = False
        if softirq.pending[index] or softirq.pending_timers[index]:
            if self._softirqs_pending(cpu):
                return
            keep = bool((softirq.pending[index] | softirq.pending_timers[index]) >> TIMER_SOFTIRQ & 1)
        for needed in self.keepers:
            if needed(cpu):
                keep = True
        local, shared = self.timers.bases[index][:BASE_DEF]
        if (
            ts.stopped
            and not keep
            and self.engine.now < ts.next_tick
            and local.next_expiry == ts.seen_local
            and shared.next_expiry == ts.seen_global
            and not (local.recalc or shared.recalc)
        ):
            # Nothing has changed since the last decision, which is what most interrupts of an idle CPU find.
            return
        self._decide(cpu, ts, keep)
        ts.seen_local = local.next_expiry
        ts.seen_global = shared.next_expiry

    def _decide(self, cpu: Cpu, ts: TickSched, keep: bool) -> None:
        jiffies = self.engine.now // self._jiffy_ns
        following = jiffies + 1 if keep else self.timers.next_timer_interrupt(cpu)
        if following is not None and following <= jiffies + 1:
            self.timers.set_idle(cpu, False)
            if not ts.stopped:
                return
            following = jiffies + 1
        else:
            self.timers.set_idle(cpu, True)
        expires = FOREVER if following is None else following * self._jiffy_ns
        if ts.stopped and expires == ts.next_tick and (expires == FOREVER or ts.timer.expires == expires):
            return
        if not ts.stopped:
            ts.last_tick = ts.timer.expires
            ts.stopped = True
            ts.nr_stops += 1
            if self.trace is not None:
                self.trace.tick_stop(cpu, True, "NONE")
        ts.next_tick = expires
        if expires == FOREVER:
            self.hrtimers.hrtimer_try_to_cancel(cpu, ts.timer)
        else:
            self.hrtimers.hrtimer_start(cpu, ts.timer, expires, _MODE)

    def idle_leave(self, cpu: Cpu) -> None:
        """Start a stopped tick again, on its grid; the idle loop calls this before it schedules. Trace: hrtimer_cancel, hrtimer_start."""
        ts = self.ts[cpu.id]
        ts.inidle = False
        if not ts.stopped:
            return
        self.timers.set_idle(cpu, False)
        ts.stopped = False
        ts.next_tick = 0
        self._restart(cpu, ts, ts.last_tick)

    def _softirqs_pending(self, cpu: Cpu) -> bool:
        """Report softirqs that nobody is going to run; on PREEMPT_RT their runner may wait for a lock, which is no error."""
        pending = self.softirq.pending[cpu.id]
        if not self.online[cpu.id]:
            pending &= ~HOTPLUG_SAFE_MASK
        if not pending or self._reports >= MAX_REPORTS or self.softirq.bh_count[cpu.id]:
            return False
        self._reports += 1
        if self.trace is not None:
            self.trace.printk(cpu, 4, f"NOHZ tick-stop error: local softirq work is pending, handler #{pending:02x}!!!")
        return True
