"""Show rwlock_t: readers together, writers alone, who waits for whom, deadlocks, and what PREEMPT_RT makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.config import preset
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.rwlock import RwLock
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.sched.harness import FULL, RT, STOCK, Lab

UNFAIR = preset("linux-6.12", preemption="full", queued_rwlocks=False)
KERNELS = pytest.mark.parametrize("kernel", [STOCK, FULL, RT], ids=lambda k: k.preemption)


def user(lab: Lab, side: Any, delay: int, ns: int) -> Any:
    async def body(task: Task) -> None:
        await task.spend(delay)
        cpu = task.preempt_disable() if not lab.config.rt else task.migrate_disable()
        async with side.held(cpu) as cpu:
            lab.note(f"{task.comm} in")
            await cpu.spend(ns)
            lab.note(f"{task.comm} out")
        if lab.config.rt:
            task.migrate_enable()
        else:
            await task.preempt_enable()

    return body


@KERNELS
def test_readers_share_and_writers_do_not(kernel: Any) -> None:
    lab = Lab(4, kernel)
    lock = RwLock(lab.sched, "lock")
    lab.start(user(lab, lock.read, 0, 100), "r0", cpu=0)
    lab.start(user(lab, lock.read, 10, 100), "r1", cpu=1)
    lab.start(user(lab, lock.write, 20, 100), "w", cpu=2)
    lab.start(user(lab, lock.read, 30, 100), "r2", cpu=3)
    lab.play(10_000)
    lab.end()
    # The late reader waits behind the writer, on every kernel.
    assert lab.log == [
        (0, "r0 in"),
        (10, "r1 in"),
        (100, "r0 out"),
        (110, "r1 out"),
        (110, "w in"),
        (210, "w out"),
        (210, "r2 in"),
        (310, "r2 out"),
    ]
    assert lock.readers == []
    assert lock.writer is None


def test_readers_get_past_waiting_writers_where_rwlocks_are_not_queued() -> None:
    lab = Lab(3, UNFAIR)
    lock = RwLock(lab.sched, "lock")
    lab.start(user(lab, lock.read, 0, 100), "r0", cpu=0)
    lab.start(user(lab, lock.write, 20, 100), "w", cpu=1)
    lab.start(user(lab, lock.read, 30, 100), "r1", cpu=2)
    lab.play(10_000)
    lab.end()
    assert lab.log == [(0, "r0 in"), (30, "r1 in"), (100, "r0 out"), (130, "r1 out"), (130, "w in"), (230, "w out")]


def test_a_reader_in_an_interrupt_does_not_queue() -> None:
    lab = Lab(2, FULL)
    lock = RwLock(lab.sched, "lock")

    async def handler(cpu: Cpu) -> None:
        async with lock.read.held(cpu):
            lab.note("handler")

    lab.start(user(lab, lock.read, 0, 100), "r", cpu=0)
    lab.start(user(lab, lock.write, 20, 100), "w", cpu=1)
    lab.interrupt(50, handler, 0)
    lab.play(10_000)
    lab.end()
    assert lab.log == [(0, "r in"), (50, "handler"), (100, "r out"), (100, "w in"), (200, "w out")]


def test_a_reader_that_recurses_behind_a_waiting_writer_is_a_deadlock() -> None:
    lab = Lab(2, FULL)
    lock = RwLock(lab.sched, "lock")

    async def twice(task: Task) -> None:
        cpu = await lock.read.lock(task.cpu)
        await cpu.spend(100)
        await lock.read.lock(cpu)

    lab.start(twice, "r", cpu=0)
    lab.start(user(lab, lock.write, 20, 100), "w", cpu=1)
    with pytest.raises(
        KernelBug,
        match="^deadlock at 100 ns: r-1 stalls on lock; lock is held by w-2, which stalls on lock; lock is held by r-1$",
    ):
        lab.play(10_000)
    lab.end()


def test_a_writer_over_its_own_reader_in_an_interrupt_is_a_deadlock() -> None:
    lab = Lab(1, FULL)
    lock = RwLock(lab.sched, "lock")

    async def handler(cpu: Cpu) -> None:
        await lock.write.lock(cpu)

    lab.start(user(lab, lock.read, 0, 100), "r")
    lab.interrupt(50, handler)
    with pytest.raises(KernelBug, match="^deadlock at 50 ns: r-1 stalls on lock; lock is held by r-1$"):
        lab.play(10_000)
    lab.end()


def test_the_variants_switch_interrupts_and_bottom_halves() -> None:
    lab = Lab(1, STOCK)
    lock = RwLock(lab.sched, "lock", lab.softirq)

    async def body(task: Task) -> None:
        cpu = task.preempt_disable()
        for side in (lock.read, lock.write):
            cpu, was_off = await side.lock_irqsave(cpu)
            assert (cpu.irqs_off, was_off, cpu.preempt_count) == (True, False, 2)
            await side.unlock_irqrestore(cpu, was_off)
            assert not cpu.irqs_off
            await side.lock_irq(cpu)
            assert cpu.irqs_off
            await side.unlock_irq(cpu)
            assert (cpu.irqs_off, cpu.preempt_count) == (False, 1)
            await side.lock_bh(task)
            assert cpu.preempt_count == 0x202
            await side.unlock_bh(task)
        assert lock.read.try_lock(cpu)
        assert lock.read.try_lock(cpu)
        assert not lock.write.try_lock(cpu)
        await lock.read.unlock(cpu)
        await lock.read.unlock(cpu)
        assert lock.write.try_lock(cpu)
        assert not lock.read.try_lock(cpu)
        await lock.write.unlock(cpu)
        await task.preempt_enable()
        lab.note("done")
        await RwLock(lab.sched, "bare").read.lock_bh(task)

    lab.start(body, "body")
    with pytest.raises(UsageError, match="^rwlock bare was made without bottom halves$"):
        lab.play(5000)
    lab.end()
    assert lab.log == [(0, "done")]


@pytest.mark.parametrize("kernel", [FULL, RT], ids=lambda k: k.preemption)
def test_a_side_that_is_not_held_cannot_be_given_up(kernel: Any) -> None:
    lab = Lab(1, kernel)
    lock = RwLock(lab.sched, "lock")

    async def body(task: Task) -> None:
        cpu = await lock.read.lock(task.cpu)
        await lock.write.unlock(cpu)

    lab.start(body, "body")
    with pytest.raises(KernelBug, match="lock"):
        lab.play(5000)
    lab.end()


def test_RT_a_waiting_reader_lends_the_writer_its_priority() -> None:
    lab = Lab(1, RT)
    lock = RwLock(lab.sched, "lock")
    lab.start(user(lab, lock.write, 0, 1000), "w")
    lab.begin(100, user(lab, lock.read, 0, 100), "r", policy=SCHED_FIFO, rt_priority=50)
    lab.begin(200, user(lab, RwLock(lab.sched, "other").read, 0, 5000), "middle", policy=SCHED_FIFO, rt_priority=20)
    lab.play(50_000)
    lab.end()
    assert lab.story("sched_pi_setprio") == [(100, "0 setprio w 120 > 49"), (1000, "0 setprio w 49 > 120")]
    assert lab.log == [(0, "w in"), (1000, "w out"), (1000, "r in"), (1100, "r out"), (1100, "middle in"), (6100, "middle out")]


def test_RT_the_writer_sleeps_until_the_last_reader_has_left() -> None:
    lab = Lab(2, RT)
    lock = RwLock(lab.sched, "lock")
    lab.start(user(lab, lock.read, 0, 300), "r", cpu=0)
    lab.start(user(lab, lock.write, 100, 50), "w", cpu=1)
    lab.play(10_000)
    lab.end()
    assert lab.story("sched_switch")[2:4] == [(100, "1 w(D) > swapper/1"), (300, "0 r(X) > swapper/0")]
    assert lab.log == [(0, "r in"), (300, "r out"), (300, "w in"), (350, "w out")]
