"""Show that the highest real-time priorities of the machine run: tasks are pushed away and pulled in; who is bound stays."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.sched.task import SCHED_FIFO, SCHED_NORMAL, Task
from tests.sched.harness import FULL, RT, STOCK, Lab


def spender(lab: Lab, ns: int) -> Any:
    async def body(task: Task) -> None:
        await task.spend(ns)
        lab.note(task.comm)

    return body


def test_woken_task_preempts_where_it_was_and_the_preempted_one_is_pushed_away() -> None:
    lab = Lab(2, FULL)
    lab.start(spender(lab, 1000), "low", policy=SCHED_FIFO, rt_priority=10)
    lab.begin(100, spender(lab, 500), "high", policy=SCHED_FIFO, rt_priority=20)
    lab.play(5000)
    lab.end()
    assert lab.story("sched_switch", "sched_migrate_task")[:4] == [
        (0, "0 swapper/0(R) > low"),
        (100, "0 low(R+) > high"),
        (100, "0 migrate low 0 > 1"),
        (100, "1 swapper/1(R) > low"),
    ]
    assert lab.log == [(600, "high"), (1000, "low")]


def test_woken_task_that_may_not_preempt_goes_where_something_lower_runs() -> None:
    lab = Lab(2, FULL)
    lab.start(spender(lab, 1000), "busy", cpu=0, policy=SCHED_FIFO, rt_priority=50)
    lab.begin(100, spender(lab, 100), "other", policy=SCHED_FIFO, rt_priority=10)
    lab.play(5000)
    lab.end()
    assert lab.log == [(200, "other"), (1000, "busy")]


def test_cpu_that_blocks_pulls_who_waits_elsewhere() -> None:
    lab = Lab(2, FULL)
    lab.start(spender(lab, 200), "short", cpu=1, policy=SCHED_FIFO, rt_priority=50)
    lab.start(spender(lab, 1000), "long", cpu=0, policy=SCHED_FIFO, rt_priority=40)
    lab.start(spender(lab, 300), "waits", policy=SCHED_FIFO, rt_priority=30)
    lab.play(5000)
    lab.end()
    assert lab.log == [(200, "short"), (500, "waits"), (1000, "long")]
    assert lab.story("sched_migrate_task") == [(200, "1 migrate waits 0 > 1")]


@pytest.mark.parametrize("how", ["affinity", "percpu", "migrate_disable"])
def test_bound_task_is_neither_pushed_nor_pulled(how: str) -> None:
    lab = Lab(2, FULL)

    async def low(task: Task) -> None:
        if how == "migrate_disable":
            task.migrate_disable()
        await task.spend(1000)
        lab.note("low")

    task = lab.start(low, "low", cpu=0 if how == "percpu" else None, policy=SCHED_FIFO, rt_priority=10)
    if how == "affinity":
        task.allowed = 1
    lab.begin(100, spender(lab, 500), "high", cpu=0, policy=SCHED_FIFO, rt_priority=20)
    lab.play(5000)
    lab.end()
    assert lab.log == [(600, "high"), (1500, "low")]
    assert lab.story("sched_migrate_task") == []


def test_the_highest_run_whatever_the_order() -> None:
    """Eight tasks on four CPUs: at every switch none waits above one that runs, except at the moment of a move."""
    lab = Lab(4, RT)
    for n in range(8):
        lab.begin(100 + 10 * (n * 5 % 8), spender(lab, 1000), f"p{n}", policy=SCHED_FIFO, rt_priority=10 + n)
    lab.play(10_000)
    lab.end()
    ends = {name: ts for ts, name in lab.log}
    assert max(ends[f"p{n}"] for n in (4, 5, 6, 7)) < min(ends[f"p{n}"] for n in (0, 1, 2, 3))


def test_one_that_leaves_the_class_pulls() -> None:
    lab = Lab(2, STOCK)
    loser = lab.start(spender(lab, 1000), "loser", cpu=1, policy=SCHED_FIFO, rt_priority=50)
    lab.start(spender(lab, 1000), "long", cpu=0, policy=SCHED_FIFO, rt_priority=40)
    lab.start(spender(lab, 300), "waits", policy=SCHED_FIFO, rt_priority=30)

    async def lower(cpu: Any) -> None:
        lab.sched.set_scheduler(cpu, loser, SCHED_NORMAL)

    lab.interrupt(100, lower, cpu=1)
    lab.play(9000)
    lab.end()
    assert lab.story("sched_migrate_task") == [(100, "1 migrate waits 0 > 1")]
