"""Show the stop class, active migration, migrate_disable against a change of affinity, and cpusets."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.errors import UsageError
from asyncirq.sched.cpuset import Cpuset
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.sched.harness import FULL, STOCK, Lab, records_of


def spender(lab: Lab, ns: int) -> Any:
    async def body(task: Task) -> None:
        await task.spend(ns)
        lab.note(f"{task.comm} on {task.cpu.id}")

    return body


def test_stopper_preempts_the_highest_real_time_priority() -> None:
    lab = Lab(1, FULL)

    async def stop(cpu: Any) -> None:
        lab.note(f"stopped, preempt_count {cpu.preempt_count}")

    async def asker(task: Task) -> None:
        await task.spend(100)
        await lab.sched.stoppers.stop_one_cpu(task, 0, stop)
        lab.note("asker")

    lab.start(asker, "asker", policy=SCHED_FIFO, rt_priority=99)
    lab.play(5000)
    lab.end()
    assert lab.log == [(100, "stopped, preempt_count 1"), (100, "asker")]
    assert lab.switches()[1] == (100, "0 asker(R+) > migration/0")
    waking = records_of(lab, "sched_waking")[0]
    assert waking.prio == 0  # type: ignore[attr-defined]


def test_running_task_is_stopped_and_moved() -> None:
    lab = Lab(2, FULL)
    hog = lab.start(spender(lab, 1000), "hog", policy=SCHED_FIFO, rt_priority=50)

    async def boss(task: Task) -> None:
        await task.spend(300)
        await lab.sched.set_cpus_allowed_ptr(task, hog, 0b10)
        lab.note(f"moved to {hog.cpu.id}")

    lab.start(boss, "boss", cpu=1)
    lab.play(5000)
    lab.end()
    assert lab.story("sched_switch", "sched_migrate_task")[2:6] == [
        (300, "1 boss(D) > swapper/1"),
        (300, "0 hog(R+) > migration/0"),
        (300, "0 migrate hog 0 > 1"),
        (300, "1 swapper/1(R) > hog"),
    ]
    assert lab.log == [(1000, "hog on 1"), (1000, "moved to 1")]


def test_task_that_moves_itself_wakes_up_there() -> None:
    lab = Lab(2, FULL)

    async def mover(task: Task) -> None:
        await lab.sched.set_cpus_allowed_ptr(task, task, 0b10)
        lab.note(f"on {task.cpu.id}")

    lab.start(mover, "mover")
    lab.play(5000)
    lab.end()
    assert lab.log == [(0, "on 1")]


def test_task_with_migration_disabled_leaves_when_it_is_over() -> None:
    lab = Lab(2, FULL)

    async def bound(task: Task) -> None:
        task.migrate_disable()
        await task.spend(500)
        lab.note(f"bound on {task.cpu.id}")
        task.migrate_enable()
        task.preempt_disable()
        await task.preempt_enable()
        lab.note(f"free on {task.cpu.id}")

    task = lab.start(bound, "bound")
    lab.at(100, lambda: lab.sched.set_cpus_allowed(lab.cpus[1], task, 0b10))
    lab.play(5000)
    lab.end()
    assert lab.log == [(500, "bound on 0"), (500, "free on 1")]


def test_cpuset_masks_its_tasks() -> None:
    lab = Lab(3, STOCK)
    a = lab.start(spender(lab, 1000), "a")
    b = lab.start(spender(lab, 1000), "b", cpu=None)
    b.allowed = 0b011
    per_cpu = lab.start(spender(lab, 10), "percpu", cpu=0, kthread=True)
    here = lab.cpus[0]
    cpuset = Cpuset(lab.sched, "batch", 0b110)
    cpuset.attach(here, a)
    cpuset.attach(here, b)
    assert (cpuset.tasks, a.allowed, b.allowed) == ((a, b), 0b110, 0b010)
    cpuset.set_mask(here, 0b100)
    # None of b's own CPUs is left in the set: it may run on all of the set's.
    assert (a.allowed, b.allowed) == (0b100, 0b100)
    cpuset.set_mask(here, 0b001)
    assert b.allowed == 0b001
    cpuset.set_affinity(here, b, 0b101)
    cpuset.detach(here, b)
    assert b.allowed == 0b101
    for wrong in (
        lambda: Cpuset(lab.sched, "none", 0b1000),
        lambda: cpuset.attach(here, per_cpu),
        lambda: cpuset.set_affinity(here, a, 0b110),
    ):
        with pytest.raises(UsageError) as error:
            wrong()
        assert error.value.errno == 22
    lab.play(9000)
    lab.end()
