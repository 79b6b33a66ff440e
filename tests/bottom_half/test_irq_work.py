from __future__ import annotations

from typing import Any

import pytest

from asyncirq.bottom_half.irq_work import IrqWork
from asyncirq.config import KernelConfig
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import in_hardirq
from asyncirq.sched.task import Task
from tests.bottom_half.harness import HZ1000, MS, RT1000, Bench, burn


class Scene(Bench):
    def __init__(self, cpus: int = 1, kernel: KernelConfig = HZ1000, *, tick: bool = False, **costs: Any) -> None:
        super().__init__(cpus, kernel, tick=tick, **costs)
        self.answers: list[bool] = []

    def work(self, name: str, *, lazy: bool = False, hard: bool = False, again: int = 0, ns: int = 0) -> IrqWork:
        left = [again]

        async def run(cpu: Cpu, work: IrqWork) -> None:
            assert not work.pending and work.busy
            comm = self.sched.rqs[cpu.id].curr.comm
            self.note(f"{name}{cpu.id}{' hard' if in_hardirq(cpu) else ' ' + comm}")
            await cpu.spend(ns)
            if left[0]:
                left[0] -= 1
                assert await self.irq_works.irq_work_queue(cpu, work) is True

        return IrqWork(run, name, lazy=lazy, hard=hard)

    def queue_at(self, when: int, *works: IrqWork, cpu: int = 0, on: int | None = None) -> None:
        async def handler(here: Cpu) -> None:
            for work in works:
                if on is None:
                    self.answers.append(await self.irq_works.irq_work_queue(here, work))
                else:
                    self.answers.append(await self.irq_works.irq_work_queue_on(here, work, on))

        self.irq_at(when, handler, cpu)


@pytest.mark.covers("CTX-14")
def test_CTX_14_irq_work() -> None:
    m = Scene()
    a, b, again = m.work("a"), m.work("b"), m.work("again", again=2)
    m.queue_at(1000, a, a, b, again)
    m.play(2000)
    assert m.answers == [True, False, True, True]
    # Last in, first out; a work that queues itself runs in the next interrupt.
    assert [text for _, text in m.log] == ["again0 hard", "b0 hard", "a0 hard", "again0 hard", "again0 hard"]
    assert len(m.events("irq_work_entry")) == 3
    assert not (a.busy or a.pending or again.busy)


def test_CTX_14_lazy_waits_for_the_tick_unless_it_is_stopped() -> None:
    m = Scene(tick=True)
    m.start(burn, "burn")
    m.queue_at(MS + 1000, m.work("lazy", lazy=True))
    m.play(5 * MS)
    assert m.log == [(2 * MS, "lazy0 hard")]
    assert m.events("irq_work_entry") == []
    m = Scene(tick=True)
    m.queue_at(MS + 1000, m.work("lazy", lazy=True))
    m.play(5 * MS)
    assert m.log == [(MS + 1000, "lazy0 hard")]
    assert len(m.events("irq_work_entry")) == 1


def test_CTX_14_rt_runs_what_is_not_hard_in_a_thread() -> None:
    m = Scene(kernel=RT1000)
    m.queue_at(1000, m.work("soft"), m.work("hard", hard=True))
    m.play(2000)
    assert m.log == [(1000, "hard0 hard"), (1000, "soft0 irq_work/0")]
    thread = m.irq_works.threads[0]
    assert thread is not None and (thread.comm, thread.prio) == ("irq_work/0", 98)


def test_works_for_another_cpu_go_through_its_call_function_interrupt() -> None:
    m = Scene(2, ipi_send_ns=10)
    m.queue_at(1000, m.work("a"), m.work("b"), on=1)
    m.queue_at(2000, m.work("c"), on=0)
    m.play(3000)
    assert [text for _, text in m.log] == ["a1 hard", "b1 hard", "c0 hard"]
    assert len(m.events("call_function_single_entry", cpu=1)) <= 2


def test_sync_waits_for_the_function() -> None:
    m = Scene(2)
    a = m.work("a", ns=1000)
    m.queue_at(1000, a)

    async def waiter(task: Task) -> None:
        await m.irq_works.irq_work_sync(task, a)
        await task.spend(1500)
        await m.irq_works.irq_work_sync(task, a)
        m.note("done")

    m.start(waiter, "waiter", cpu=1)
    m.play(5000)
    assert m.log == [(1000, "a0 hard"), (2000, "done")]


def test_sync_on_rt_sleeps() -> None:
    m = Scene(1, RT1000)
    a = m.work("a", ns=1000)

    async def waiter(task: Task) -> None:
        cpu = task.preempt_disable()
        await m.irq_works.irq_work_queue(cpu, a)
        await task.preempt_enable()
        await m.irq_works.irq_work_sync(task, a)
        m.note("done")

    m.start(waiter, "waiter")
    m.play(5000)
    assert m.log == [(0, "a0 irq_work/0"), (1000, "done")]
