"""Notice a CPU that runs nothing but one piece of the kernel: soft lockups, and hard ones by the neighbour.

Every CPU has an hrtimer, five times in ``2 * watchdog_thresh_s``. It wakes the CPU's stopper, or before 4.19 its watchdog thread, which no
task can keep from running unless it keeps the CPU in the kernel: one that has not run for ``2 * watchdog_thresh_s`` is a soft lockup. An
hrtimer that itself does not run any more, because interrupts stay off, is a hard lockup: the next CPU looks at every third turn of its own,
or an NMI does.

Linux: kernel/watchdog.c, kernel/watchdog_buddy.c. Model: the registers and modules of the report are left out.
"""

from __future__ import annotations

from typing import Final

from asyncirq.bottom_half.hrtimer import HRTIMER_MODE_HARD, HRTIMER_MODE_PINNED, HRTIMER_MODE_REL, Hrtimer, Hrtimers, hrtimer_forward
from asyncirq.bottom_half.lockup import KERN_EMERG, SECOND_NS, Lockups
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.smpboot import HotplugThread, Smpboot
from asyncirq.sched.stop import StopWork
from asyncirq.sched.task import SCHED_FIFO, Task

_MODE: Final = HRTIMER_MODE_REL | HRTIMER_MODE_PINNED | HRTIMER_MODE_HARD
BUDDY_SAMPLES: Final = 3
"""At every how many turns a CPU looks at its neighbour."""


class WatchdogCpu:
    """The watchdog of one CPU.

    ``touched_ns``: when the stopper or the thread ran last. ``reported_ns``: when the report's period began. ``interrupts`` counts
    the timer's turns, ``saved`` is what the count was when somebody looked last; ``hard``: its hard lockup has been reported.
    """

    __slots__ = ("hard", "interrupts", "reported_ns", "saved", "timer", "touched_ns", "wanted")

    def __init__(self, timer: Hrtimer) -> None:
        self.timer = timer
        self.touched_ns = 0
        self.reported_ns = 0
        self.interrupts = 0
        self.saved = 0
        self.wanted = False
        self.hard = False


class Watchdog:
    """The lockup watchdogs of one machine. ``thread`` is the kind of the watchdog threads, where there are any."""

    def __init__(self, hrtimers: Hrtimers, lockups: Lockups) -> None:
        self.sched = hrtimers.sched
        self.hrtimers = hrtimers
        self.lockups = lockups
        config = self.sched.config
        self.softlockup_s = 2 * config.watchdog_thresh_s
        self.period_ns = self.softlockup_s * SECOND_NS // 5
        self.buddy = config.hardlockup_buddy
        self.cpus = [WatchdogCpu(Hrtimer(self._timer_fn, HRTIMER_MODE_HARD, f"watchdog/{n}")) for n in range(len(self.sched.cpus))]
        self.thread = HotplugThread("watchdog", self._should_run, self._run, policy=SCHED_FIFO, rt_priority=99)
        self.watched = self.sched.all_cpus
        self._stopper = config.softlockup_stopper

    def start(self, smpboot: Smpboot, cpu: Cpu) -> None:
        """Start the watchdog of one CPU, at boot. Trace: hrtimer_start."""
        if not self._stopper:
            smpboot.boot(self.thread, cpu.id)
        self.hrtimers.hrtimer_start(cpu, self.cpus[cpu.id].timer, self.sched.engine.now + self.period_ns, _MODE & ~HRTIMER_MODE_REL)

    def stop(self, cpu: Cpu) -> None:
        """Stop the watchdog of this CPU, which goes down. Linux: lockup_detector_offline_cpu(). Trace: hrtimer_cancel."""
        self.hrtimers.hrtimer_try_to_cancel(cpu, self.cpus[cpu.id].timer)
        self.watched &= ~(1 << cpu.id)

    def restart(self, cpu: Cpu) -> None:
        """Start the watchdog of this CPU, which has come up. Linux: lockup_detector_online_cpu(). Trace: hrtimer_start."""
        state = self.cpus[cpu.id]
        state.wanted = state.hard = False
        state.saved = state.interrupts
        self.touch(cpu)
        self.watched |= 1 << cpu.id
        self.hrtimers.hrtimer_start(cpu, state.timer, self.period_ns, _MODE)

    def _next(self, index: int) -> int:
        """Return the watched CPU that a CPU looks at: the next one."""
        count = len(self.cpus)
        return next((other % count for other in range(index + 1, index + count) if self.watched >> other % count & 1), index)

    def touch(self, cpu: Cpu) -> None:
        """Let a long stretch of work that is in order pass: the CPU counts as alive. Linux: touch_softlockup_watchdog()."""
        state = self.cpus[cpu.id]
        state.touched_ns = state.reported_ns = self.sched.engine.now

    def check_hardlockup(self, cpu: Cpu, target: int) -> bool:
        """Look whether a CPU's timer has had a turn since this was asked last, and report it once if not; return whether it had none.

        For the neighbour's timer, and for an NMI of the CPU itself. Linux: watchdog_hardlockup_check(). Trace: lockup_report, printk.
        """
        state = self.cpus[target]
        if state.interrupts != state.saved:
            state.saved = state.interrupts
            state.hard = False
            return False
        if not state.hard:
            state.hard = True
            victim = self.sched.rqs[target].curr
            stuck = self.sched.engine.now - (state.timer.expires - self.period_ns)
            lines = [f"watchdog: CPU{cpu.id}: Watchdog detected hard LOCKUP on cpu {target}", *self._where(victim)]
            self.lockups.report(cpu, "hardlockup", victim, stuck, lines, KERN_EMERG)
        return True

    # --- one turn

    async def _timer_fn(self, cpu: Cpu, timer: Hrtimer) -> bool:
        state = self.cpus[cpu.id]
        state.interrupts += 1
        if self.buddy and state.interrupts % BUDDY_SAMPLES == 0:
            neighbour = self._next(cpu.id)
            if neighbour != cpu.id:
                self.check_hardlockup(cpu, neighbour)
        if not state.wanted:
            state.wanted = True
            if self._stopper:
                await self.sched.stoppers.queue(self.sched.rqs[cpu.id].curr, cpu.id, StopWork(self._softlockup_fn))
            else:
                await self.sched.wake_up_process(cpu, self.thread.threads[cpu.id].task)
        now = self.sched.engine.now
        hrtimer_forward(timer, now, self.period_ns)
        if _clock(now) > _clock(state.reported_ns) + self.softlockup_s:
            self._softlockup(cpu, state, now)
        return True

    def _softlockup(self, cpu: Cpu, state: WatchdogCpu, now: int) -> None:
        state.reported_ns = now
        stuck = now - state.touched_ns
        seconds = _clock(now) - _clock(state.touched_ns)
        victim = self.sched.rqs[cpu.id].curr
        head = f"watchdog: BUG: soft lockup - CPU#{cpu.id} stuck for {seconds}s! [{victim.comm}:{victim.pid}]"
        self.lockups.report(cpu, "softlockup", victim, stuck, [head, *self._where(victim)], KERN_EMERG)

    def _where(self, victim: Task) -> list[str]:
        release = self.sched.config.release.removeprefix("linux-")
        return [f"CPU: {victim.cpu.id} UID: 0 PID: {victim.pid} Comm: {victim.comm} Not tainted {release}.0 #1"]

    def _should_run(self, index: int) -> bool:
        return self.cpus[index].wanted

    async def _run(self, task: Task) -> None:
        await self._softlockup_fn(task.cpu)

    async def _softlockup_fn(self, cpu: Cpu) -> None:
        self.cpus[cpu.id].wanted = False
        self.touch(cpu)


def _clock(ns: int) -> int:
    """Return the detector's coarse seconds, of 2^30 ns. Linux: get_timestamp()."""
    return ns >> 30
