"""Show the mutex whose waiters spin for a running owner, and the loop with a pause that they spin in."""

from __future__ import annotations

from typing import Any

from asyncirq.config import preset
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.mutex import Mutex
from asyncirq.locking.spin import spin_until
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.sched.harness import FULL, Lab

SLEEP = preset("linux-6.12", preemption="full", mutex_spin_on_owner=False)


def user(lab: Lab, mutex: Mutex, delay: int, ns: int) -> Any:
    async def body(task: Task) -> None:
        await task.spend(delay)
        async with mutex.held(task):
            lab.note(f"{task.comm} in")
            await task.spend(ns)

    return body


def test_a_waiter_spins_while_the_owner_runs() -> None:
    came = {}
    for kernel in (FULL, SLEEP):
        lab = Lab(2, kernel, cpu_relax_ns=45, lock_block_ns=500, ttwu_ns=400)
        mutex = Mutex(lab.sched, "mutex")
        lab.start(user(lab, mutex, 0, 1000), "owner", cpu=0)
        lab.start(user(lab, mutex, 73, 100), "waiter", cpu=1)
        lab.play(10_000)
        lab.end()
        assert lab.log[0] == (0, "owner in")
        came[mutex.spun] = lab.log[1]
        assert [line for line in lab.switches() if "waiter(D)" in line[1]] == ([] if mutex.spun else [(573, "1 waiter(D) > swapper/1")])
    # The spinner looks every 45 ns from 73 on. The sleeper is told by a wake-up.
    assert came == {1: (1018, "waiter in"), 0: (1400, "waiter in")}


def test_spinners_come_in_order_and_one_at_a_time() -> None:
    lab = Lab(4, FULL, cpu_relax_ns=10)
    mutex = Mutex(lab.sched, "mutex")
    for n, delay in enumerate((0, 30, 10, 20)):
        lab.start(user(lab, mutex, delay, 100), f"t{n}", cpu=n)
    lab.play(10_000)
    lab.end()
    assert [text for _, text in lab.log] == ["t0 in", "t2 in", "t3 in", "t1 in"]
    assert mutex.spun == 3


def test_a_spinner_sleeps_when_the_owner_does() -> None:
    lab = Lab(2, FULL, cpu_relax_ns=10)
    mutex = Mutex(lab.sched, "mutex")

    async def owner(task: Task) -> None:
        async with mutex.held(task):
            await task.spend(100)
            await lab.nap(task, 500)

    lab.start(owner, "owner", cpu=0)
    lab.start(user(lab, mutex, 20, 10), "waiter", cpu=1)
    lab.play(10_000)
    lab.end()
    assert mutex.spun == 0
    assert lab.log == [(600, "waiter in")]
    assert [line for line in lab.switches() if "waiter(D)" in line[1]] == [(110, "1 waiter(D) > swapper/1")]


def test_a_spinner_gives_way_to_whoever_wants_its_cpu() -> None:
    lab = Lab(2, FULL, cpu_relax_ns=10)
    mutex = Mutex(lab.sched, "mutex")

    async def urgent(task: Task) -> None:
        lab.note("urgent")

    lab.start(user(lab, mutex, 0, 1000), "owner", cpu=0)
    lab.start(user(lab, mutex, 20, 10), "waiter", cpu=1)
    lab.begin(505, urgent, "urgent", cpu=1, policy=SCHED_FIFO, rt_priority=10)
    lab.play(10_000)
    lab.end()
    assert lab.log == [(0, "owner in"), (510, "urgent"), (1000, "waiter in")]


def test_S2_55_busy_wait_pause() -> None:
    """A loop with a pause moves virtual time on, even with costs of 0, and ends with the run if its condition never comes."""
    assert spun(45) == [3, 135]
    assert spun(0) == [100, 100]


def spun(cost: int) -> list[int]:
    """Return how many turns a loop took for a condition that comes at 100 ns, and when it ended; then it spins to the end of the run."""
    lab = Lab(1, FULL, cpu_relax_ns=cost)
    seen: list[int] = []
    flag: list[int] = []

    async def body(task: Task) -> None:
        cpu: Cpu = task.preempt_disable()
        seen.append(await spin_until(cpu, lambda: bool(flag)))
        seen.append(task.sched.engine.now)
        await spin_until(cpu, lambda: False)

    lab.start(body, "spinner")
    lab.at(100, lambda: flag.append(1))
    lab.play(10_000)
    assert lab.engine.now == 10_000
    lab.end()
    return seen
