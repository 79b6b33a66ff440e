"""Show lazy preemption: a fair task gives way to another fair task at the next tick, to a real-time one at once."""

from __future__ import annotations

from asyncirq.config import preset
from asyncirq.sched.task import SCHED_FIFO, SCHED_NORMAL, Task
from tests.sched.harness import Lab

MS = 1_000_000
EAGER = preset("linux-6.12", preemption="full")
LAZY = preset("linux-6.12", preemption="full", lazy_preemption=True)


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


def test_no_preset_is_lazy_by_itself() -> None:
    """It is a choice at boot."""
    for release in ("linux-6.1", "linux-6.12", "linux-7.1"):
        for rt in (False, True):
            assert not preset(release, rt=rt).lazy_preemption
