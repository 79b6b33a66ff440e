"""Show the fair class: shares by weight, sleepers that preempt, slices at the tick."""

from __future__ import annotations

from typing import Any

from asyncirq.sched.fair import CfsQueue
from asyncirq.sched.task import NICE_WEIGHTS, Task
from tests.sched.harness import CFS, Lab

MS = 1_000_000


def spender(lab: Lab, ns: int) -> Any:
    async def body(task: Task) -> None:
        await task.spend(ns)
        lab.note(task.comm)

    return body


def ticks(lab: Lab, until_ms: int) -> None:
    for tick in range(1, until_ms):
        lab.tick_at(tick * MS)


def test_two_equal_tasks_take_turns_of_half_the_latency() -> None:
    lab = Lab(1, CFS)
    for name in ("a", "b"):
        lab.start(spender(lab, 9 * MS), name, cpu=0)
    ticks(lab, 30)
    lab.play(40 * MS)
    lab.end()
    turns = [(ts // MS, text) for ts, text in lab.switches()]
    # b was queued when a was there already: its debit of a slice is the smaller one. A turn ends at the first tick past 3 ms.
    assert turns == [
        (0, "0 swapper/0(R) > b"),
        (4, "0 b(R+) > a"),
        (8, "0 a(R+) > b"),
        (12, "0 b(R+) > a"),
        (16, "0 a(R+) > b"),
        (17, "0 b(X) > a"),
        (18, "0 a(X) > swapper/0"),
    ]


def test_weights_decide_the_shares() -> None:
    lab = Lab(1, CFS)
    low = lab.start(spender(lab, 1000 * MS), "low", cpu=0, nice=5)
    high = lab.start(spender(lab, 1000 * MS), "high", cpu=0)
    ticks(lab, 600)
    lab.play(600 * MS)
    for rq in lab.sched.rqs:
        rq.update_curr(lab.engine.now)
    lab.end()
    assert (low.weight, high.weight) == (NICE_WEIGHTS[25], NICE_WEIGHTS[20]) == (335, 1024)
    assert low.sum_exec + high.sum_exec == 600 * MS
    assert abs(high.sum_exec * 335 - low.sum_exec * 1024) < 12 * MS * 1024


def test_a_sleeper_preempts_a_hog() -> None:
    lab = Lab(1, CFS)

    async def sleeper(task: Task) -> None:
        for _ in range(2):
            await lab.nap(task, 10 * MS)
            lab.note("sleeper")

    lab.start(spender(lab, 50 * MS), "hog", cpu=0)
    lab.start(sleeper, "sleeper", cpu=0)
    lab.play(100 * MS)
    lab.end()
    assert lab.log == [(10 * MS, "sleeper"), (20 * MS, "sleeper"), (50 * MS, "hog")]
    assert lab.switches()[2:4] == [(10 * MS, "0 hog(R+) > sleeper"), (10 * MS, "0 sleeper(D) > hog")]


def test_a_task_that_woke_a_moment_ago_does_not_preempt_another_like_it() -> None:
    lab = Lab(1, CFS)

    async def napper(task: Task) -> None:
        await lab.nap(task, 100)
        await task.spend(500)
        lab.note(task.comm)

    for name in ("a", "b"):
        lab.start(napper, name, cpu=0)
    lab.play(10_000)
    lab.end()
    assert [text for _, text in lab.switches() if "R+" in text] == []


def test_min_vruntime_never_goes_back() -> None:
    lab = Lab(1, CFS)
    seen: list[int] = []
    fair = lab.sched.rqs[0].fair
    assert isinstance(fair, CfsQueue)
    for name, ms in (("a", 4), ("b", 7), ("c", 5)):
        lab.start(spender(lab, ms * MS), name, cpu=0)
    ticks(lab, 20)
    for n in range(1, 20):
        lab.at(n * MS + 1, lambda: seen.append(fair.min_vruntime))
    lab.play(25 * MS)
    lab.end()
    assert seen == sorted(seen)
    assert len(fair) == 0
    assert fair.weight == 0
