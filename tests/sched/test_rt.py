"""Show the real-time classes: priority before arrival, no slices for FIFO, slices for RR, and lent priorities."""

from __future__ import annotations

from typing import Any

from asyncirq.sched.task import SCHED_FIFO, SCHED_NORMAL, SCHED_RR, Task
from tests.sched.harness import FULL, STOCK, Lab, Line

MS = 1_000_000


def spender(lab: Lab, ns: int) -> Any:
    async def body(task: Task) -> None:
        await task.spend(ns)
        lab.note(task.comm)

    return body


def test_fifo_runs_by_priority_then_by_arrival() -> None:
    lab = Lab(1, FULL)
    for name, prio in (("low", 10), ("first", 20), ("second", 20), ("high", 30)):
        lab.start(spender(lab, 100), name, policy=SCHED_FIFO, rt_priority=prio)
    lab.play(1000)
    lab.end()
    assert lab.log == [(100, "high"), (200, "first"), (300, "second"), (400, "low")]


def test_fifo_preemption_and_its_return_to_the_head_of_the_queue() -> None:
    lab = Lab(1, FULL)
    lab.start(spender(lab, 300), "first", policy=SCHED_FIFO, rt_priority=10)
    lab.start(spender(lab, 100), "second", policy=SCHED_FIFO, rt_priority=10)
    lab.begin(100, spender(lab, 50), "high", policy=SCHED_FIFO, rt_priority=11)
    lab.begin(110, spender(lab, 50), "equal", policy=SCHED_FIFO, rt_priority=10)
    lab.play(1000)
    lab.end()
    assert lab.switches() == [
        (0, "0 swapper/0(R) > first"),
        (100, "0 first(R+) > high"),
        (150, "0 high(X) > first"),
        (350, "0 first(X) > second"),
        (450, "0 second(X) > equal"),
        (500, "0 equal(X) > swapper/0"),
    ]


def rotation(policy: int, until_ms: int) -> list[Line]:
    lab = Lab(1, FULL)
    for name in ("a", "b"):
        lab.start(spender(lab, 150 * MS), name, policy=policy, rt_priority=10)
    for tick in range(1, until_ms // 4):
        lab.tick_at(tick * 4 * MS)
    lab.play(until_ms * MS)
    lab.end()
    return [(ts // MS, text) for ts, text in lab.switches()]


def test_rr_takes_turns_of_a_hundred_ms() -> None:
    assert rotation(SCHED_RR, 400) == [
        (0, "0 swapper/0(R) > a"),
        (100, "0 a(R+) > b"),
        (200, "0 b(R+) > a"),
        (250, "0 a(X) > b"),
        (300, "0 b(X) > swapper/0"),
    ]


def test_fifo_takes_no_turns() -> None:
    assert rotation(SCHED_FIFO, 400) == [(0, "0 swapper/0(R) > a"), (150, "0 a(X) > b"), (300, "0 b(X) > swapper/0")]


def test_a_real_time_task_goes_to_the_cpu_that_runs_a_fair_one() -> None:
    lab = Lab(2, FULL)
    lab.start(spender(lab, 1000), "busy", cpu=0, policy=SCHED_FIFO, rt_priority=50)
    lab.start(spender(lab, 1000), "fair", cpu=1)
    lab.begin(100, spender(lab, 100), "urgent", policy=SCHED_FIFO, rt_priority=10)
    lab.play(5000)
    lab.end()
    assert lab.log == [(200, "urgent"), (1000, "busy"), (1100, "fair")]
    assert lab.story("reschedule_entry") == [(100, "1 reschedule")]


def test_a_running_task_that_loses_its_priority_loses_the_cpu() -> None:
    lab = Lab(1, FULL)
    task = lab.start(spender(lab, 300), "loser", policy=SCHED_FIFO, rt_priority=20)
    lab.start(spender(lab, 100), "other", policy=SCHED_FIFO, rt_priority=10)

    async def lower(cpu: Any) -> None:
        lab.sched.set_scheduler(cpu, task, SCHED_NORMAL)

    lab.interrupt(100, lower)
    lab.play(1000)
    lab.end()
    assert lab.log == [(200, "other"), (400, "loser")]


def test_a_queued_task_that_gains_priority_takes_the_cpu() -> None:
    lab = Lab(1, FULL)
    lab.start(spender(lab, 300), "running", policy=SCHED_FIFO, rt_priority=20)
    task = lab.start(spender(lab, 100), "queued")

    async def raise_it(cpu: Any) -> None:
        lab.sched.set_scheduler(cpu, task, SCHED_FIFO, 21)

    lab.interrupt(100, raise_it)
    lab.play(1000)
    lab.end()
    assert lab.log == [(200, "queued"), (400, "running")]


def test_lending_and_taking_back_a_priority() -> None:
    lab = Lab(1, STOCK)
    task = lab.start(spender(lab, 10 * MS), "owner")
    lab.start(spender(lab, 10 * MS), "other")

    async def lend(cpu: Any) -> None:
        lab.sched.rt_mutex_setprio(cpu, task, 49)
        lab.sched.rt_mutex_setprio(cpu, task, 49)

    async def take_back(cpu: Any) -> None:
        lab.sched.rt_mutex_setprio(cpu, task, task.normal_prio)

    lab.interrupt(2 * MS, lend)
    lab.interrupt(6 * MS, take_back)
    lab.play(5 * MS)
    assert task.rt_task
    lab.play(30 * MS)
    lab.end()
    assert not task.rt_task
    assert lab.story("sched_pi_setprio") == [(2 * MS, "0 setprio owner 120 > 49"), (6 * MS, "0 setprio owner 49 > 120")]
