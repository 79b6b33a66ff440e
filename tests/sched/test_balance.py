"""Show how fair tasks spread over the CPUs: before idle, at ticks, by an idle CPU that is kicked; isolated CPUs are left alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncirq import Machine, preset
from asyncirq.config import KernelConfig
from asyncirq.costs import Costs
from asyncirq.errors import UsageError
from asyncirq.sched.task import Task
from asyncirq.trace.record import tag_of
from tests.sched.harness import CFS, FULL, Lab

MS = 1_000_000
BOTH = pytest.mark.parametrize("kernel", [CFS, FULL], ids=lambda kernel: kernel.fair)


def spender(lab: Lab, ns: int) -> Any:
    async def body(task: Task) -> None:
        await task.spend(ns)
        lab.note(task.comm)

    return body


@BOTH
def test_cpu_that_runs_out_of_work_takes_a_waiting_task(kernel: KernelConfig) -> None:
    lab = Lab(2, kernel)
    lab.start(spender(lab, 10 * MS), "a")
    lab.start(spender(lab, 10 * MS), "b")
    lab.start(spender(lab, 2 * MS), "short", cpu=1)
    lab.play(40 * MS)
    lab.end()
    moved = lab.story("sched_migrate_task")
    assert len(moved) == 1 and moved[0][0] == 2 * MS and moved[0][1].endswith("0 > 1")
    assert sorted(lab.log) == [(2 * MS, "short"), *sorted(lab.log)[1:]]
    assert [ts for ts, _ in sorted(lab.log)[1:]] == [10 * MS, 12 * MS]


def test_task_that_ran_a_moment_ago_is_hot_and_stays() -> None:
    for ran_ns, moves in ((400_000, 0), (600_000, 1)):
        lab = Lab(2, CFS)
        hot = lab.start(spender(lab, 10 * MS), "hot")
        lab.start(spender(lab, 10 * MS), "b", cpu=0)

        async def lower(cpu: Any, lab: Lab = lab, task: Task = hot) -> None:
            lab.sched.set_scheduler(cpu, task, 0)
            cpu.need_resched = True

        lab.sched.set_scheduler(lab.cpus[0], hot, 1, 10)
        lab.interrupt(1 * MS, lower)
        lab.start(spender(lab, 1 * MS + ran_ns), "short", cpu=1)
        lab.play(1 * MS + ran_ns + 10)
        assert len(lab.story("sched_migrate_task")) == moves
        lab.play(30 * MS)
        lab.end()


def run(machine: Machine, tasks: list[tuple[str, int, int | None]], ns: int) -> dict[str, Task]:
    made = {}

    def body(need: int) -> Any:
        async def run_task(task: Task) -> None:
            await task.user(need)

        return run_task

    async def play() -> None:
        async with machine:
            for name, need, cpu in tasks:
                made[name] = machine.sched.new_task(body(need), name, cpu=cpu)
                machine.sched.start_now(made[name])
            await machine.run_for(ns)
            for rq in machine.sched.rqs:
                rq.update_curr(machine.now)

    asyncio.run(play())
    return made


def events(machine: Machine, *tags: str) -> list[Any]:
    return [record for record in machine.records if tag_of(type(record)) in tags]


@BOTH
def test_busy_cpu_kicks_one_that_idles_without_a_tick(kernel: KernelConfig) -> None:
    machine = Machine(2, kernel, costs=Costs(), check=True)
    made = run(machine, [("a", 100 * MS, None), ("b", 100 * MS, None)], 50 * MS)
    assert {task.cpu.id for task in made.values()} == {0, 1}
    migrations = [record for record in events(machine, "sched_migrate_task") if record.comm in made]
    assert [(record.cpu, record.orig_cpu, record.dest_cpu) for record in migrations] == [(1, 0, 1)]
    kicks = [record for record in events(machine, "softirq_raise") if record.vec == 7]
    assert [record.cpu for record in kicks][:1] == [0] and 1 in [record.cpu for record in kicks]
    # From then on both run undisturbed.
    assert min(task.sum_exec for task in made.values()) > 40 * MS


@BOTH
def test_three_equal_tasks_on_two_cpus_rotate(kernel: KernelConfig) -> None:
    machine = Machine(2, kernel, check=True)
    made = run(machine, [(name, 5000 * MS, None) for name in "abc"], 3000 * MS)
    shares = sorted(task.sum_exec for task in made.values())
    # Two thirds of a CPU each, not a whole one for the task that is alone.
    assert sum(shares) > 5900 * MS
    assert shares[0] > 1600 * MS and shares[2] < 2500 * MS


@BOTH
def test_bound_tasks_are_left_alone(kernel: KernelConfig) -> None:
    machine = Machine(2, kernel, check=True)
    made = run(machine, [("a", 100 * MS, 0), ("b", 100 * MS, 0)], 60 * MS)
    assert [record for record in events(machine, "sched_migrate_task") if record.comm in made] == []


def test_isolated_cpu_runs_only_who_asks_for_it() -> None:
    kernel = preset("linux-6.12", isolcpus=(1,))
    machine = Machine(2, kernel, check=True)
    made = run(machine, [("a", 100 * MS, None), ("b", 100 * MS, None), ("own", 10 * MS, 1)], 60 * MS)
    assert (made["a"].allowed, made["a"].cpu.id, made["b"].cpu.id, made["own"].cpu.id) == (1, 0, 0, 1)
    assert events(machine, "sched_migrate_task") == []


def test_one_cpu_never_raises_sched_softirq() -> None:
    machine = Machine(1, "linux-6.12", check=True)
    run(machine, [("a", 100 * MS, None), ("b", 100 * MS, None)], 60 * MS)
    assert [record for record in events(machine, "softirq_raise") if record.vec == 7] == []


def test_affinity_changed_during_the_wake_up_is_obeyed() -> None:
    """While the task is on another CPU's wake list, and while the waker still takes its time."""
    for when in (1_000, 1_050):
        lab = Lab(3, FULL, ttwu_ns=100)

        async def sleeper(task: Task, lab: Lab = lab) -> None:
            task.set_current_state(2)
            await task.schedule()
            lab.note(f"{task.comm} on {task.cpu.id}")

        task = lab.start(sleeper, "sleeper", cpu=None)
        task.cpu = lab.cpus[1]
        lab.sched.rqs[0].unqueue(task)
        lab.sched.rqs[0].deactivate(task)
        lab.sched.rqs[1].activate(task)
        lab.cpus[1].need_resched = True
        lab.wake_at(1_000, task, cpu=0)
        lab.at(when, lambda lab=lab, task=task: lab.sched.set_cpus_allowed(lab.cpus[2], task, 0b100))  # type: ignore[misc]
        lab.play(5_000)
        lab.end()
        assert [text for _, text in lab.log] == ["sleeper on 2"]


def test_isolcpus_of_a_cpu_that_is_not_there() -> None:
    lab = Lab(1, preset("linux-6.12", isolcpus=(5,)))
    assert lab.sched.isolated == 0
    lab.end()
    with pytest.raises(UsageError):
        preset("linux-6.12", isolcpus=("x",))
