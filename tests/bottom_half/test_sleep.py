from __future__ import annotations

import pytest

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, Task
from tests.bottom_half.harness import MS, Bench


def test_nanosleep_of_a_fair_task_uses_its_slack_and_of_a_real_time_task_none() -> None:
    m = Bench()

    async def sleeper(task: Task) -> None:
        await m.sleep.nanosleep(task, 1000)
        m.note(task.comm)

    m.start(sleeper, "fair")
    m.start(sleeper, "fifo", policy=SCHED_FIFO, rt_priority=1)
    m.play(MS)
    # The fair sleeper is past its soft expiry when the other's interrupt comes, and rides on it.
    assert m.log == [(1000, "fifo"), (1000, "fair")]
    assert m.events("hrtimer_start") == [
        (0, "hrtimer_start", "sleep/3", "hrtimer_wakeup", 1000, 1000, "REL", False),
        (0, "hrtimer_start", "sleep/2", "hrtimer_wakeup", 51_000, 1000, "REL", False),
    ]


def test_a_wake_up_from_elsewhere_does_not_end_nanosleep() -> None:
    m = Bench()

    async def sleeper(task: Task) -> None:
        await m.sleep.usleep_range(task, 5, 5)
        m.note("awake")

    task = m.start(sleeper, "sleeper")

    async def disturb(cpu: Cpu) -> None:
        assert await m.sched.wake_up_process(cpu, task) is True

    m.irq_at(2000, disturb)
    m.play(MS)
    assert m.log == [(5000, "awake")]


def test_schedule_timeout_returns_what_was_left() -> None:
    m = Bench(tick=True)

    async def sleeper(task: Task) -> None:
        task.set_current_state(TASK_INTERRUPTIBLE)
        m.log.append((m.engine.now, str(await m.sleep.schedule_timeout(task, 10))))
        task.set_current_state(TASK_INTERRUPTIBLE)
        m.log.append((m.engine.now, str(await m.sleep.schedule_timeout(task, 2))))

    task = m.start(sleeper, "sleeper")

    async def wake(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, task)

    m.irq_at(3 * MS + 5, wake)
    m.play(20 * MS)
    assert m.log == [(0, "7"), (3 * MS + 5, "0")]
    assert [r[0] for r in m.events("timer_expire_entry")] == [6 * MS]
    assert [r[0] for r in m.events("timer_cancel")] == [3 * MS + 5, 6 * MS]


def test_bad_lengths_and_contexts_are_refused() -> None:
    m = Bench()

    async def sleeper(task: Task) -> None:
        with pytest.raises(UsageError, match="sleeper sleeps for -1 ns"):
            await m.sleep.nanosleep(task, -1)
        with pytest.raises(UsageError, match="sleeper sleeps between 5 and 4 us"):
            await m.sleep.usleep_range(task, 5, 4)
        task.preempt_disable()
        with pytest.raises(KernelBug, match="sleeping function called from invalid context at nanosleep"):
            await m.sleep.nanosleep(task, 1)
        await task.preempt_enable()
        m.note("done")

    m.start(sleeper, "sleeper")
    m.play(MS)
    assert m.log == [(0, "done")]
