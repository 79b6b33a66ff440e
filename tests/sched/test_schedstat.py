"""Show the counters of time and the cost of a migration."""

from __future__ import annotations

from typing import Any

from asyncirq.sched.schedstat import schedstat, task_schedstat
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.sched.harness import FULL, Lab


def spender(lab: Lab, ns: int) -> Any:
    async def body(task: Task) -> None:
        await task.spend(ns)
        lab.note(task.comm)

    return body


def test_time_on_and_waiting_for_a_cpu() -> None:
    lab = Lab(1, FULL)
    fair = lab.start(spender(lab, 1000), "fair")
    rt = lab.begin(100, spender(lab, 300), "rt", policy=SCHED_FIFO, rt_priority=1)
    lab.play(5000)
    assert (task_schedstat(fair), task_schedstat(rt)) == ("1000 300 2\n", "300 0 1\n")
    assert schedstat(lab.sched) == "version 15\ntimestamp 0\ncpu0 0 0 4 1 1 1\n"
    lab.end()


def test_a_task_that_comes_from_another_cpu_starts_later() -> None:
    lab = Lab(2, FULL, migration_ns=70)
    lab.start(spender(lab, 1000), "low", policy=SCHED_FIFO, rt_priority=10)
    lab.begin(100, spender(lab, 500), "high", policy=SCHED_FIFO, rt_priority=20)
    lab.play(5000)
    lab.end()
    # Pushed away at 100 with 900 left.
    assert lab.log == [(600, "high"), (1070, "low")]
