"""Show local_lock_t: preemption off on a stock kernel, a sleeping lock of the CPU on PREEMPT_RT."""

from __future__ import annotations

import pytest

from asyncirq.errors import KernelBug
from asyncirq.locking.local_lock import LocalLock
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.sched.harness import FULL, RT, Lab


def test_on_a_stock_kernel_it_is_preemption_off() -> None:
    lab = Lab(2, FULL)
    lock = LocalLock(lab.sched, "lock")

    async def body(task: Task) -> None:
        cpu = await lock.lock(task)
        assert cpu.preempt_count == 1
        await cpu.spend(100)
        await lock.unlock(task)
        cpu, was_off = await lock.lock_irqsave(task)
        assert (cpu.irqs_off, was_off, cpu.preempt_count) == (True, False, 1)
        await lock.unlock_irqrestore(task, was_off)
        assert (cpu.irqs_off, cpu.preempt_count) == (False, 0)
        lab.note(f"{task.comm} on {cpu.name}")

    # Each CPU has its own: nobody waits.
    lab.start(body, "zero", cpu=0)
    lab.start(body, "one", cpu=1)
    lab.play(1000)
    lab.end()
    assert lab.log == [(100, "zero on CPU0"), (100, "one on CPU1")]


def test_taken_twice_it_is_a_bug() -> None:
    lab = Lab(1, FULL)
    lock = LocalLock(lab.sched, "lock")

    async def body(task: Task) -> None:
        await lock.lock(task)
        await lock.lock(task)

    lab.start(body, "body")
    with pytest.raises(KernelBug, match="^local lock lock of CPU0 is taken twice, by body/1 at 0 ns$"):
        lab.play(1000)
    lab.end()


def test_RT_it_sleeps_and_lends_its_priority() -> None:
    lab = Lab(1, RT)
    lock = LocalLock(lab.sched, "lock")

    async def body(task: Task) -> None:
        cpu = await lock.lock(task)
        assert cpu.preempt_count == 0
        assert task.pinned
        await cpu.spend(1000)
        await lock.unlock(task)
        assert not task.pinned
        lab.note(task.comm)

    lab.start(body, "low")
    lab.begin(100, body, "high", policy=SCHED_FIFO, rt_priority=50)
    lab.play(10_000)
    lab.end()
    assert lab.story("sched_pi_setprio") == [(100, "0 setprio low 120 > 49"), (1000, "0 setprio low 49 > 120")]
    assert lab.log == [(2000, "high"), (2000, "low")]
