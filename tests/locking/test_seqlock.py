"""Show seqcount_t and seqlock_t: readers wait for the writer and notice that it was there."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.seqlock import Seqcount, Seqlock
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.sched.harness import FULL, RT, Lab


@pytest.mark.parametrize("kernel", [FULL, RT], ids=lambda k: k.preemption)
def test_a_reader_reads_again_what_a_writer_changed(kernel: Any) -> None:
    lab = Lab(2, kernel)
    lock = Seqlock(lab.sched, "lock")
    value = [0, 0]

    async def writer(task: Task) -> None:
        await task.spend(50)
        cpu = await lock.write_lock(task.cpu)
        value[0] = 1
        await cpu.spend(100)
        value[1] = 1
        await lock.write_unlock(cpu)

    async def reader(task: Task) -> None:
        for begin in (0, 30):
            await task.spend(begin)
            tries = 0
            while True:
                start = await lock.read_begin(task.cpu)
                tries += 1
                first = value[0]
                await task.spend(40)
                seen = (first, value[1])
                if not lock.read_retry(start):
                    break
            lab.note(f"{seen} at {start} in {tries}")

    lab.start(writer, "writer", cpu=0)
    lab.start(reader, "reader", cpu=1)
    lab.play(10_000)
    lab.end()
    # The second read begins at 70 while the writer is at it: it waits until 150.
    assert lab.log == [(40, "(0, 0) at 0 in 1"), (190, "(1, 1) at 2 in 1")]
    assert lock.count.sequence == 2


def test_a_read_that_a_writer_crossed_is_tried_again() -> None:
    lab = Lab(2, FULL)
    count = Seqcount(lab.sched, "count")

    async def writer(task: Task) -> None:
        cpu = task.preempt_disable()
        await cpu.spend(20)
        count.write_begin(cpu)
        await cpu.spend(5)
        count.write_end(cpu)
        await task.preempt_enable()

    async def reader(task: Task) -> None:
        while True:
            start = await count.read_begin(task.cpu)
            await task.spend(40)
            again = count.read_retry(start)
            lab.note(f"{start} {again}")
            if not again:
                break

    lab.start(writer, "writer", cpu=0)
    lab.start(reader, "reader", cpu=1)
    lab.play(10_000)
    lab.end()
    assert lab.log == [(40, "0 True"), (80, "2 False")]


def test_a_reader_over_the_writer_it_interrupted_is_a_deadlock() -> None:
    lab = Lab(1, FULL)
    count = Seqcount(lab.sched, "count")

    async def writer(task: Task) -> None:
        cpu = task.preempt_disable()
        count.write_begin(cpu)
        await cpu.spend(100)
        count.write_end(cpu)

    async def handler(cpu: Cpu) -> None:
        await count.read_begin(cpu)

    lab.start(writer, "writer")
    lab.interrupt(50, handler)
    with pytest.raises(KernelBug, match="^deadlock at 50 ns: writer-1 stalls on count; count is held by writer-1$"):
        lab.play(1000)
    lab.end()


def test_a_writer_must_not_be_preempted_and_be_alone() -> None:
    lab = Lab(1, FULL)
    count = Seqcount(lab.sched, "count")

    async def body(task: Task) -> None:
        with pytest.raises(KernelBug, match="^WARNING: seqcount count is written with preemption on, on CPU0 at 0 ns$"):
            count.write_begin(task.cpu)
        cpu = task.preempt_disable()
        count.write_begin(cpu)
        with pytest.raises(KernelBug, match="^seqcount count has two writers, on CPU0 at 0 ns$"):
            count.write_begin(cpu)
        count.write_end(cpu)
        with pytest.raises(KernelBug, match="^seqcount count has no writer, on CPU0 at 0 ns$"):
            count.write_end(cpu)
        await task.preempt_enable()
        lab.note("done")

    lab.start(body, "body")
    lab.play(1000)
    lab.end()
    assert lab.log == [(0, "done")]


def test_RT_a_reader_lends_a_preempted_writer_its_priority() -> None:
    lab = Lab(1, RT)
    lock = Seqlock(lab.sched, "lock")

    async def writer(task: Task) -> None:
        cpu = await lock.write_lock(task.cpu)
        await cpu.spend(1000)
        await lock.write_unlock(cpu)

    async def reader(task: Task) -> None:
        start = await lock.read_begin(task.cpu)
        lab.note(f"reads at {start}")

    lab.start(writer, "writer")
    lab.begin(100, reader, "reader", policy=SCHED_FIFO, rt_priority=50)
    lab.play(10_000)
    lab.end()
    assert lab.story("sched_pi_setprio") == [(100, "0 setprio writer 120 > 49"), (1000, "0 setprio writer 49 > 120")]
    assert lab.log == [(1000, "reads at 2")]


def test_irqsave_keeps_the_readers_of_interrupts_out() -> None:
    lab = Lab(1, FULL)
    lock = Seqlock(lab.sched, "lock")

    async def writer(task: Task) -> None:
        cpu = task.preempt_disable()
        cpu, was_off = await lock.write_lock_irqsave(cpu)
        await cpu.spend(100)
        await lock.write_unlock_irqrestore(cpu, was_off)
        await task.preempt_enable()

    async def handler(cpu: Cpu) -> None:
        lab.note(f"reads at {await lock.read_begin(cpu)}")

    lab.start(writer, "writer")
    lab.interrupt(50, handler)
    lab.play(1000)
    lab.end()
    assert lab.log == [(100, "reads at 2")]
