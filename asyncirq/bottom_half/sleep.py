"""Put tasks to sleep for a time: by an hrtimer (nanosleep, usleep_range) or by the wheel (schedule_timeout, msleep).

Linux: kernel/time/hrtimer.c, kernel/time/sleep_timeout.c. Model: a nanosleep that a signal cuts short is not restarted.
"""

from __future__ import annotations

from typing import Final

from asyncirq.bottom_half.hrtimer import HRTIMER_MODE_ABS, HRTIMER_MODE_HARD, HRTIMER_MODE_REL, Hrtimer, Hrtimers
from asyncirq.bottom_half.timer import Timers
from asyncirq.bottom_half.timer_wheel import Timer
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.task import TASK_INTERRUPTIBLE, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task

TIMER_SLACK_NS: Final = 50_000
"""How much later than asked for a fair task may be woken; real-time tasks get no slack."""


def signal_pending(task: Task) -> bool:
    """Tell whether a signal waits for a thread that it does not block."""
    signals = task.signals
    return signals is not None and signals.pending & ~signals.blocked != 0


class Sleep:
    """The sleeps of one machine."""

    def __init__(self, timers: Timers, hrtimers: Hrtimers) -> None:
        self.timers = timers
        self.hrtimers = hrtimers
        self.sched = timers.sched
        self._rt = timers.softirq.config.rt

    async def nanosleep(self, task: Task, ns: int, absolute: bool = False) -> int:
        """Sleep at least ``ns``, or until the time ``ns``; a fair task up to its timer slack longer.

        A signal that is not blocked ends the sleep: return how much was left, 0 if nothing. Trace: hrtimer_start with function
        ``hrtimer_wakeup``, hrtimer_cancel.
        """
        if ns < 0:
            raise UsageError(f"{task.comm} sleeps for {ns} ns", 22)
        mode = HRTIMER_MODE_ABS if absolute else HRTIMER_MODE_REL
        slack = 0 if task.rt_task else TIMER_SLACK_NS
        return await self._hrtimer_sleep(task, ns, mode, slack, TASK_INTERRUPTIBLE)

    async def usleep_range(self, task: Task, min_us: int, max_us: int) -> None:
        """Sleep between ``min_us`` and ``max_us`` microseconds, at a convenient moment, uninterruptibly."""
        if not 0 <= min_us <= max_us:
            raise UsageError(f"{task.comm} sleeps between {min_us} and {max_us} us", 22)
        when = self.sched.engine.now + min_us * 1000
        await self._hrtimer_sleep(task, when, HRTIMER_MODE_ABS, (max_us - min_us) * 1000, TASK_UNINTERRUPTIBLE)

    async def _hrtimer_sleep(self, task: Task, ns: int, mode: int, slack: int, state: int) -> int:
        might_sleep(task, "nanosleep")
        woken = False

        async def wakeup(cpu: Cpu, timer: Hrtimer) -> bool:
            nonlocal woken
            woken = True
            await self.sched.wake_up_process(cpu, task)
            return False

        # The sleepers of real-time tasks stay in the hard interrupt on PREEMPT_RT.
        timer = Hrtimer(wakeup, HRTIMER_MODE_HARD if self._rt and task.rt_task else 0, f"sleep/{task.pid}", "hrtimer_wakeup")
        task.set_current_state(state)
        cpu = task.preempt_disable()
        self.hrtimers.hrtimer_start(cpu, timer, ns, mode, slack)
        await task.preempt_enable()
        while not woken:
            if state == TASK_INTERRUPTIBLE and signal_pending(task):
                task.set_current_state(TASK_RUNNING)
                cpu = task.migrate_disable()
                await self.hrtimers.hrtimer_cancel(cpu, timer)
                task.migrate_enable()
                return max(timer.softexpires - self.sched.engine.now, 0)
            await task.schedule()
            task.set_current_state(state)
        task.set_current_state(TASK_RUNNING)
        return 0

    async def schedule_timeout(self, task: Task, jiffies: int) -> int:
        """Sleep in the state that the task has set, until it is woken or ``jiffies`` whole ticks have passed; return the ticks left.

        Trace: timer_start with function ``process_timeout``.
        """
        timers = self.timers

        async def process_timeout(cpu: Cpu, timer: Timer) -> None:
            await self.sched.wake_up_process(cpu, task)

        expires = timers.jiffies + jiffies
        timer = Timer(process_timeout, f"timeout/{task.pid}")
        cpu = task.preempt_disable()
        timers.mod_timer(cpu, timer, expires)
        await task.preempt_enable()
        await task.schedule()
        cpu = task.migrate_disable()
        await timers.timer_delete_sync(cpu, timer)
        task.migrate_enable()
        left = expires - timers.jiffies
        return left if left > 0 else 0

    async def msleep(self, task: Task, ms: int) -> None:
        """Sleep at least ``ms`` milliseconds, uninterruptibly, in ticks: rounded up, one more before 6.10."""
        config = self.timers.softirq.config
        left = -(-ms * 1_000_000 // config.jiffy_ns) + config.msleep_more_jiffies
        while left > 0:
            task.set_current_state(TASK_UNINTERRUPTIBLE)
            left = await self.schedule_timeout(task, left)
