"""Show lazy preemption: a fair task gives way to another fair task at the next tick, to a real-time one at once."""

from __future__ import annotations

from asyncirq.config import preset
from asyncirq.sched.task import SCHED_FIFO, SCHED_NORMAL, Task
from tests.sched.harness import Lab

MS = 1_000_000
EAGER = preset("linux-6.12", preemption="full")
LAZY = preset("linux-6.12", preemption="lazy")


def woken_beside_a_hog(lab: Lab, policy: int = SCHED_NORMAL, rt_priority: int = 0) -> list[tuple[int, str]]:
    """Let a task that has slept since 0 ms be woken at 9 ms, beside a hog; ticks come every 4 ms."""

    async def hog(task: Task) -> None:
        await task.spend(20 * MS)

    async def sleeper(task: Task) -> None:
        await lab.nap(task, 9 * MS)
        lab.note("runs")

    lab.start(sleeper, "sleeper", cpu=0, policy=policy, rt_priority=rt_priority)
    lab.begin(1 * MS, hog, "hog", cpu=0)
    for tick in (4, 8, 12, 16):
        lab.tick_at(tick * MS)
    lab.play(40 * MS)
    lab.end()
    return lab.log


def test_a_fair_task_waits_for_the_tick() -> None:
    assert woken_beside_a_hog(Lab(1, EAGER)) == [(9 * MS, "runs")]
    assert woken_beside_a_hog(Lab(1, LAZY)) == [(12 * MS, "runs")]


def test_a_real_time_task_does_not_wait() -> None:
    assert woken_beside_a_hog(Lab(1, LAZY), SCHED_FIFO, 1) == [(9 * MS, "runs")]


def test_a_hog_on_its_way_to_user_mode_gives_way() -> None:
    lab = Lab(1, LAZY)

    async def hog(task: Task) -> None:
        await task.spend(10 * MS)
        lab.note("enters user mode")
        await task.user(10 * MS)

    async def sleeper(task: Task) -> None:
        await lab.nap(task, 9 * MS)
        lab.note("runs")

    lab.start(sleeper, "sleeper", cpu=0)
    lab.begin(1 * MS, hog, "hog", cpu=0)
    lab.play(40 * MS)
    lab.end()
    assert lab.log == [(11 * MS, "enters user mode"), (11 * MS, "runs")]


def test_from_7_on_the_choice_is_between_full_and_lazy() -> None:
    """Before, and on PREEMPT_RT, it is a choice at boot."""
    assert [preset(name).lazy for name in ("linux-2.6", "linux-6.1", "linux-6.12", "linux-7.1")] == [False, False, False, True]
    assert not preset("linux-7.1", rt=True).lazy
    assert preset("linux-6.12", rt=True, lazy_preemption=True).lazy


def test_tick_promotes_what_was_asked_before_it() -> None:
    """The end of a slice, seen at a tick, is asked for at leisure: the next tick is the one that preempts."""
    for kernel, first in ((EAGER, 4), (LAZY, 8)):
        lab = Lab(1, kernel)

        async def hog(task: Task) -> None:
            await task.spend(20 * MS)

        for name in ("a", "b"):
            lab.start(hog, name, cpu=0, kthread=True)
        for tick in (4, 8):
            lab.tick_at(tick * MS)
        lab.play(10 * MS)
        lab.end()
        assert lab.switches()[1] == (first * MS, "0 a(R+) > b")


def test_user_mode_gives_way_at_the_next_interrupt_exit_whoever_woke() -> None:
    """A wake-up from another CPU sends no interrupt; the next one, whatever it is, ends in a reschedule."""
    lab = Lab(2, LAZY)

    async def hog(task: Task) -> None:
        await task.user(20 * MS)

    async def sleeper(task: Task) -> None:
        await lab.nap(task, 9 * MS)
        lab.note("runs")

    async def waker(task: Task) -> None:
        await task.spend(8 * MS)
        await task.wake(napper)

    async def nothing(cpu: object) -> None:
        lab.note("interrupt")

    napper = lab.start(sleeper, "sleeper", cpu=0)
    lab.begin(1 * MS, hog, "hog", cpu=0)
    lab.start(waker, "waker", cpu=1)
    lab.interrupt(8_500_000, nothing)
    lab.play(40 * MS)
    lab.end()
    assert lab.log == [(8_500_000, "interrupt"), (8_500_000, "runs")]
    assert not lab.story("reschedule_entry")
