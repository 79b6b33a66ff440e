"""Show the rows of inventory group S: delayed work of 2.6."""

from __future__ import annotations

from functools import partial

import pytest

from asyncirq.bottom_half.work import DelayedWork, Work
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task
from tests.bottom_half.harness import MS
from tests.bottom_half.wq_harness import Old

RECORDS = ("timer_start", "timer_expire_entry", "workqueue_queue_work", "workqueue_execute_start")


def test_S2_92_queue_delayed_work() -> None:
    b = Old(2, tick=True)
    wq = b.wqs.create_workqueue("q")
    work = DelayedWork(b.steps(0), "w")
    seen = []

    async def body(cpu: Cpu) -> None:
        seen.append((await b.wqs.queue_delayed_work(cpu, wq, work, 5), work.pending, work.wq is wq, work.entry))
        seen.append((await b.wqs.queue_delayed_work(cpu, wq, work, 9), work.pending, work.wq is wq, work.entry))
        seen.append((await b.wqs.queue_work(cpu, wq, work), work.pending, work.wq is wq, work.entry))

    b.irq_at(MS + MS // 2, body, 1)
    b.play(20 * MS)
    assert seen == [(answer, True, True, None) for answer in (True, False, False)]
    # Jiffy 1 and 5 more.
    assert b.executed() == [(6, "start", "w"), (6, "end", "w")]


def test_S2_92_a_timer_that_is_pending_is_a_bug() -> None:
    b = Old(tick=True)
    work = DelayedWork(b.steps(0), "w")

    async def body(cpu: Cpu) -> None:
        await b.wqs.queue_delayed_work(cpu, b.wqs.system_wq, work, 5)
        work.pending = False
        await b.wqs.queue_delayed_work(cpu, b.wqs.system_wq, work, 5)

    b.irq_at(MS + MS // 2, body)
    with pytest.raises(KernelBug, match="w.timer is pending already"):
        b.play(2 * MS)


def test_S2_93_expiry_queues_the_work_on_its_cpu() -> None:
    b = Old(2, tick=True)
    work = DelayedWork(b.steps(0), "w")

    async def body(cpu: Cpu) -> None:
        await b.wqs.queue_delayed_work(cpu, b.wqs.system_wq, work, 5, 1)

    b.irq_at(MS + MS // 2, body, 0)
    b.play(20 * MS)
    (armed, _, *_), (expired, _, *fields), (queued, _, *queue), (started, *_) = b.events(*RECORDS)
    assert armed == MS + MS // 2
    assert fields[:2] == ["w.timer", "delayed_work_timer_fn"]
    assert queue == ["w", "step", "events", 8192, 1]
    assert expired == queued == started
    (softirq,) = (ts for ts, _, vec in b.events("softirq_entry", cpu=1) if vec == 1)
    assert softirq == expired
    (record,) = (record for record in b.records() if type(record).__name__ == "WorkqueueExecuteStart")
    assert record.cpu == 1


@pytest.mark.parametrize("form", ["schedule_delayed_work", "schedule_delayed_work_on"])
def test_S4_47_schedule_delayed_work(form: str) -> None:
    b = Old(2, tick=True)
    work = DelayedWork(b.steps(0), "w")
    submit = b.wqs.schedule_delayed_work if form == "schedule_delayed_work" else partial(b.wqs.schedule_delayed_work_on, target=1)

    async def body(cpu: Cpu) -> None:
        assert await submit(cpu, work=work, delay=1)
        assert not await submit(cpu, work=work, delay=1)

    b.irq_at(MS + MS // 2, body, 0)
    b.play(20 * MS)
    assert b.log == [(2, "w begins"), (2, "w ends")]
    assert b.events("workqueue_queue_work")[0][2:] == ("w", "step", "events", 8192, int(form.endswith("_on")))


def test_a_delay_of_0_waits_for_a_tick_too() -> None:
    b = Old(tick=True)
    work = DelayedWork(b.steps(0), "w")

    async def body(cpu: Cpu) -> None:
        await b.wqs.schedule_delayed_work(cpu, work, 0)
        assert work.timer_pending

    b.irq_at(MS + MS // 2, body)
    b.play(20 * MS)
    assert b.log == [(2, "w begins"), (2, "w ends")]


def test_cancel_delayed_work_catches_the_timer_alone() -> None:
    b = Old(tick=True)
    wq = b.wqs.system_wq
    waits, queued = DelayedWork(b.steps(0), "waits"), DelayedWork(b.steps(0), "queued")
    answers = []

    async def body(cpu: Cpu) -> None:
        await b.wqs.queue_delayed_work(cpu, wq, waits, 5)
        await b.wqs.queue_work(cpu, wq, queued)
        answers.extend([await b.wqs.cancel_delayed_work(cpu, work) for work in (waits, queued, waits)])

    b.irq_at(MS, body)
    b.play(20 * MS)
    assert answers == [True, False, False]
    assert b.log == [(1, "queued begins"), (1, "queued ends")]


def test_cancel_rearming_delayed_work() -> None:
    b = Old(tick=True)

    async def rearm(task: Task, work: Work) -> None:
        assert isinstance(work, DelayedWork)
        b.tell("runs")
        await b.sleep.usleep_range(task, 2000, 2000)
        cpu = task.preempt_disable()
        await b.wqs.schedule_delayed_work(cpu, work, 3)
        await task.preempt_enable()

    work = DelayedWork(rearm, "w")

    async def user(task: Task) -> None:
        cpu = task.preempt_disable()
        await b.wqs.schedule_delayed_work(cpu, work, 1)
        await task.preempt_enable()
        await b.nap(task, 2)
        assert not work.timer_pending
        await b.wqs.cancel_rearming_delayed_work(task, work)
        b.tell("cancelled")
        with pytest.raises(KernelBug, match="w is idle and will never be caught"):
            await b.wqs.cancel_rearming_delayed_work(task, work)

    b.start(user, "user", cpu=0)
    b.play(30 * MS)
    # At 2 it runs and no timer is armed: a flush, and at 3 the timer is caught.
    assert b.log == [(1, "runs"), (3, "cancelled")]
    assert not work.pending
