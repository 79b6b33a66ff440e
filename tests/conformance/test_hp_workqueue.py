"""Show what becomes of work items when their CPU goes down and comes up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from asyncirq import Machine
from asyncirq.bottom_half.work import DelayedWork, Work
from asyncirq.bottom_half.workqueue import WQ_UNBOUND, ManagedWorkqueues, Workqueue
from asyncirq.config import preset
from asyncirq.errors import UsageError
from asyncirq.sched.task import Task

MS: Final = 1_000_000
HZ1000: Final = preset("linux-6.12", hz=1000)


class Plug:
    """Three CPUs, a task on CPU 0 that plugs, and a log of which item begins and ends where, in ms from the first mark."""

    def __init__(self) -> None:
        self.machine = Machine(3, HZ1000, check=True)
        self.log: list[str] = []
        self.done = False

    @property
    def wqs(self) -> ManagedWorkqueues:
        """Return the workqueues."""
        assert isinstance(self.machine.workqueues, ManagedWorkqueues)
        return self.machine.workqueues

    def item(self, name: str, *steps: int) -> Work:
        """Return an item that runs and sleeps in turn, in ms."""

        async def step(task: Task, work: Work) -> None:
            self.log.append(f"{name} begins on {task.cpu.id}")
            for n, ms in enumerate(steps):
                if n % 2:
                    await self.machine.sleep.nanosleep(task, ms * MS)
                else:
                    await task.spend(ms * MS)
            self.log.append(f"{name} ends on {task.cpu.id}")

        return Work(step, name)

    async def queue(self, task: Task, target: int, wq: Workqueue, *works: Work) -> None:
        """Queue items on a CPU."""
        cpu = task.preempt_disable()
        for work in works:
            assert await self.wqs.queue_work_on(cpu, target, wq, work)
        await task.preempt_enable()

    async def wait(self, task: Task, ms: int) -> list[str]:
        """Sleep, and return what was logged since the last time."""
        await self.machine.sleep.nanosleep(task, ms * MS)
        log, self.log = self.log, []
        return log

    def run(self, body: Callable[[Plug, Task], Awaitable[None]]) -> Plug:
        """Run the plugging task to its end."""

        async def main(task: Task) -> None:
            await body(self, task)
            self.done = True

        async def play() -> None:
            async with self.machine as machine:
                machine.start_thread(main, "plug", cpu=0)
                assert await machine.run_until(lambda: self.done, 5_000 * MS)

        asyncio.run(play())
        return self


def test_HP_17_items_of_a_cpu_that_is_down_run_elsewhere_side_by_side() -> None:
    async def body(p: Plug, task: Task) -> None:
        wq = p.wqs.system_wq
        await p.queue(task, 1, wq, p.item("a", 3), p.item("b", 3))
        assert await p.wait(task, 20) == ["a begins on 1", "a ends on 1", "b begins on 1", "b ends on 1"]
        await p.wqs.workqueue_offline_cpu(task, 1)
        await p.queue(task, 1, wq, p.item("c", 3), p.item("d", 3))
        log = await p.wait(task, 20)
        # Nobody counts who runs: the second begins before the first has ended.
        assert [line[:8] for line in log] == ["c begins", "d begins", "c ends o", "d ends o"]
        assert {line[-1] for line in log} <= {"0", "2"}
        await p.wqs.workqueue_online_cpu(task, 1)
        await p.queue(task, 1, wq, p.item("e", 3), p.item("f", 3))
        assert await p.wait(task, 20) == ["e begins on 1", "e ends on 1", "f begins on 1", "f ends on 1"]
        pool = p.wqs.bound_pool(1, 0)
        assert (pool.nr_running, pool.refuge) == (0, 0)
        assert {worker.task.allowed for worker in pool.workers} == {0b010}

    Plug().run(body)


def test_HP_17_an_item_that_sleeps_over_the_going_down_ends_elsewhere_and_is_counted_again_later() -> None:
    async def body(p: Plug, task: Task) -> None:
        wq = p.wqs.system_wq
        pool = p.wqs.bound_pool(1, 0)
        await p.queue(task, 1, wq, p.item("long", 1, 10, 1, 10, 1), p.item("next", 1))
        assert await p.wait(task, 5) == ["long begins on 1", "next begins on 1", "next ends on 1"]
        await p.wqs.workqueue_offline_cpu(task, 1)
        assert await p.wait(task, 10) == []
        assert {worker.task.allowed for worker in pool.workers} == {0b101}
        await p.wqs.workqueue_online_cpu(task, 1)
        assert await p.wait(task, 20) == ["long ends on 1"]
        assert pool.nr_running == 0
        await p.queue(task, 1, wq, p.item("x", 2, 3, 1), p.item("y", 1))
        assert await p.wait(task, 20) == ["x begins on 1", "y begins on 1", "y ends on 1", "x ends on 1"]
        assert pool.nr_running == 0

    Plug().run(body)


def test_HP_17_unbound_pools_lose_the_cpu_from_their_masks() -> None:
    async def body(p: Plug, task: Task) -> None:
        wq = p.wqs.alloc_workqueue("u", WQ_UNBOUND)
        assert {pwq.pool.mask for pwq in wq.pwqs} == {0b111}
        await p.wqs.workqueue_offline_cpu(task, 2)
        assert {pwq.pool.mask for pwq in wq.pwqs} == {0b011}
        await p.queue(task, 2, wq, *(p.item(f"w{n}", 1) for n in range(4)))
        log = await p.wait(task, 20)
        assert len(log) == 8 and {line[-1] for line in log} <= {"0", "1"}
        await p.wqs.workqueue_online_cpu(task, 2)
        assert {pwq.pool.mask for pwq in wq.pwqs} == {0b111}
        assert wq.mask == 0b111

    Plug().run(body)


def test_HP_17_a_delayed_item_of_a_dead_cpu_is_queued_on_its_pool_and_runs_elsewhere() -> None:
    async def body(p: Plug, task: Task) -> None:
        where: list[tuple[int, int]] = []

        async def note(worker: Task, work: Work) -> None:
            assert work.last_pool is not None
            where.append((worker.cpu.id, work.last_pool.cpu))

        work = DelayedWork(note, "delayed")
        cpu = task.preempt_disable()
        await p.wqs.queue_delayed_work(cpu, p.wqs.system_wq, work, 10, 1)
        await task.preempt_enable()
        assert work.timer.base.cpu_id == 1
        await p.wqs.workqueue_offline_cpu(task, 1)
        cpu = task.preempt_disable()
        p.machine.timers.timers_dead_cpu(cpu, 1)
        await task.preempt_enable()
        assert work.timer.base.cpu_id == 0
        await p.wait(task, 20)
        assert len(where) == 1
        assert where[0][0] != 1 and where[0][1] == 1

    Plug().run(body)


def test_only_what_can_be_plugged_is() -> None:
    async def body(p: Plug, task: Task) -> None:
        with pytest.raises(UsageError, match="no CPU 3"):
            await p.wqs.workqueue_offline_cpu(task, 3)
        with pytest.raises(UsageError, match="CPU 1 is up already"):
            await p.wqs.workqueue_online_cpu(task, 1)
        await p.wqs.workqueue_offline_cpu(task, 1)
        with pytest.raises(UsageError, match="CPU 1 is down already"):
            await p.wqs.workqueue_offline_cpu(task, 1)
        await p.wqs.workqueue_offline_cpu(task, 2)
        with pytest.raises(UsageError, match="CPU 0 is the last one"):
            await p.wqs.workqueue_offline_cpu(task, 0)
        # The workers of a CPU that was down already leave the one that follows it.
        assert {worker.task.allowed for worker in p.wqs.bound_pool(1, 0).workers} == {0b001}

    Plug().run(body)
