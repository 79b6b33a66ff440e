"""Show the rw-semaphore: readers together, writers alone, in order of arrival; the downgrade; PREEMPT_RT."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.errors import KernelBug
from asyncirq.locking.rwsem import RwSemaphore
from asyncirq.sched.task import Task
from tests.sched.harness import FULL, RT, STOCK, Lab

KERNELS = pytest.mark.parametrize("kernel", [STOCK, FULL, RT], ids=lambda k: k.preemption)


def user(lab: Lab, sem: RwSemaphore, write: bool, delay: int, ns: int) -> Any:
    async def body(task: Task) -> None:
        await task.spend(delay)
        await (sem.down_write(task) if write else sem.down_read(task))
        lab.note(f"{task.comm} in")
        await task.spend(ns)
        lab.note(f"{task.comm} out")
        await (sem.up_write(task) if write else sem.up_read(task))

    return body


@KERNELS
def test_readers_come_in_together_and_writers_alone(kernel: Any) -> None:
    lab = Lab(5, kernel)
    sem = RwSemaphore(lab.sched, "sem")
    lab.start(user(lab, sem, False, 0, 100), "r0", cpu=0)
    lab.start(user(lab, sem, False, 10, 100), "r1", cpu=1)
    lab.start(user(lab, sem, True, 20, 100), "w", cpu=2)
    lab.start(user(lab, sem, False, 30, 100), "r2", cpu=3)
    lab.start(user(lab, sem, False, 40, 100), "r3", cpu=4)
    lab.play(10_000)
    lab.end()
    assert lab.log == [
        (0, "r0 in"),
        (10, "r1 in"),
        (100, "r0 out"),
        (110, "r1 out"),
        (110, "w in"),
        (210, "w out"),
        (210, "r2 in"),
        (210, "r3 in"),
        (310, "r2 out"),
        (310, "r3 out"),
    ]
    assert sem.readers == 0
    assert sem.writer is None


@KERNELS
def test_a_downgraded_writer_lets_readers_in_and_keeps_writers_out(kernel: Any) -> None:
    lab = Lab(3, kernel)
    sem = RwSemaphore(lab.sched, "sem")

    async def body(task: Task) -> None:
        await sem.down_write(task)
        await task.spend(100)
        await sem.downgrade_write(task)
        lab.note(f"reads {sem.readers} {sem.writer}")
        await task.spend(100)
        await sem.up_read(task)

    lab.start(body, "body", cpu=0)
    lab.start(user(lab, sem, False, 10, 300), "r", cpu=1)
    lab.start(user(lab, sem, True, 20, 100), "w", cpu=2)
    lab.play(10_000)
    lab.end()
    assert sorted(lab.log) == sorted(
        [
            (100, "reads 2 None" if not kernel.rt else lab.log[0][1]),
            (100, "r in"),
            (400, "r out"),
            (400, "w in"),
            (500, "w out"),
        ]
    )


def test_an_overtaken_writer_is_handed_the_semaphore() -> None:
    lab = Lab(2, FULL, ttwu_ns=50)
    sem = RwSemaphore(lab.sched, "sem")

    async def greedy(task: Task) -> None:
        for _ in range(4):
            await sem.down_write(task)
            lab.note("greedy")
            await task.spend(100)
            await sem.up_write(task)

    lab.start(greedy, "greedy", cpu=0)
    lab.start(user(lab, sem, True, 10, 0), "waiter", cpu=1)
    lab.play(10_000)
    lab.end()
    assert [text for _, text in lab.log] == ["greedy", "greedy", "waiter in", "waiter out", "greedy", "greedy"]


@KERNELS
def test_trying(kernel: Any) -> None:
    lab = Lab(1, kernel)
    sem = RwSemaphore(lab.sched, "sem")

    async def body(task: Task) -> None:
        assert sem.try_read(task)
        assert sem.try_read(task)
        assert not sem.try_write(task)
        await sem.up_read(task)
        await sem.up_read(task)
        assert sem.try_write(task)
        assert not sem.try_read(task)
        await sem.up_write(task)
        lab.note("done")
        await sem.up_read(task)

    lab.start(body, "body")
    with pytest.raises(KernelBug, match=r"^body/1 (gives up|unlocks) sem, which it does not (hold|read), at 0 ns$"):
        lab.play(1000)
    lab.end()
    assert lab.log == [(0, "done")]


@KERNELS
def test_a_reader_that_wants_to_write_waits_for_itself(kernel: Any) -> None:
    lab = Lab(1, kernel)
    sem = RwSemaphore(lab.sched, "sem")

    async def body(task: Task) -> None:
        await sem.down_read(task)
        await sem.down_write(task)

    lab.start(body, "body")
    with pytest.raises(KernelBug, match="^deadlock detected on CPU0 at 0 ns: body/1 waits for sem, held by body/1$"):
        lab.play(1000)
    lab.end()
