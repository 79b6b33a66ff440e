"""Show the workqueue cases that need timers, softirqs or memory pressure: reaping, rescuers, colours, BH workqueues, attributes."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq import Machine
from asyncirq.bottom_half.softirq import PF_MEMALLOC
from asyncirq.bottom_half.work import DelayedWork, Work
from asyncirq.bottom_half.workqueue import (
    WQ_BH,
    WQ_FREEZABLE,
    WQ_HIGHPRI,
    WQ_MEM_RECLAIM,
    WQ_ORDERED,
    WQ_PERCPU,
    WQ_POWER_EFFICIENT,
    WQ_UNBOUND,
    ManagedWorkqueues,
    Workqueue,
)
from asyncirq.bottom_half.workqueue_pool import WorkerPool
from asyncirq.bottom_half.workqueue_state import memory_is_free
from asyncirq.config import preset
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task
from tests.bottom_half.harness import MS, RT1000
from tests.bottom_half.wq_harness import Managed, Old

SECOND = 1000 * MS


def memory_is_full(pool: WorkerPool) -> bool:
    """Tell that no worker can be made."""
    return False


def waker_at(b: Managed, ms: int, comm: str) -> None:
    """Keep CPU 0 busy for 3 ms, so that its tick runs and with it what is deferrable."""

    async def busy(task: Task) -> None:
        await task.spend(3 * MS)

    task = b.sched.new_task(busy, comm, cpu=0)

    async def body(cpu: Cpu) -> None:
        await b.sched.wake_up_process(cpu, task)

    b.irq_at(ms * MS, body)


def test_WQ_10_idle_workers_are_reaped() -> None:
    b = Managed(tick=True)
    wqs = b.wqs
    pool = wqs.pools[0]
    b.queue_at(10, wqs.system_wq, *(b.item(f"w{n}", 0, 5) for n in range(6)))
    counts = []
    for ms in (100, 299_000, 345_100):
        b.at(ms * MS, lambda: counts.append((len(pool.workers), len(pool.idle))))
    # The timer is deferrable and, for so long a time, up to 33 s late.
    waker_at(b, 299_100, "early")
    waker_at(b, 345_000, "late")
    b.play(346 * SECOND)
    assert counts == [(7, 7), (7, 7), (2, 2)]
    dead = [(fields[0], ts // SECOND) for ts, _, *fields in b.events("sched_process_exit") if fields[0].startswith("kworker")]
    assert len(dead) == 5
    assert {second for _, second in dead} == {345}
    # Those that were idle longest go; the two that were used last stay.
    assert sorted([name for name, _ in dead] + [worker.task.comm for worker in pool.workers]) == [f"kworker/0:{n}" for n in range(7)]
    assert [fields[0] for _, _, *fields in b.events("workqueue_execute_start")][-1] == "pool2.idle_cull_work"


@pytest.mark.parametrize(
    ("idle", "busy", "answer"), [(2, 0, False), (3, 0, True), (3, 4, True), (3, 5, False), (4, 8, True), (4, 9, False)]
)
def test_WQ_10_how_many_idle_workers_are_too_many(idle: int, busy: int, answer: bool) -> None:
    b = Managed()
    pool = b.wqs.pools[0]
    first = pool.workers[0]
    pool.idle = [first] * idle
    pool.workers = [first] * (idle + busy)
    assert pool.too_many_workers() is answer
    b.play(0)


def test_WQ_12_the_rescuer_helps_where_no_worker_can_be_made() -> None:
    b = Managed(tick=True)
    wqs = b.wqs
    safe = wqs.alloc_workqueue("safe", WQ_MEM_RECLAIM)
    other = wqs.alloc_workqueue("other")
    wqs.can_create = memory_is_full
    # The one worker there is becomes the manager and tries in vain to make another, before it starts on any item.
    b.queue_at(10, other, b.item("o0", 0, 1))
    b.queue_at(15, other, b.item("o1", 0, 1))
    b.queue_at(15, safe, b.item("s1", 0, 3), b.item("s2", 0, 3))
    waiting: list[list[str]] = []
    b.at(900 * MS, lambda: waiting.append([work.name for work in wqs.pools[0].worklist]))
    b.at(950 * MS, lambda: setattr(wqs, "can_create", memory_is_free))
    b.play(3 * SECOND)
    assert safe.rescuer is not None
    assert safe.rescuer.task.comm == "kworker/R-safe"
    assert safe.rescuer.task.nice == -20
    # Ten jiffies after the manager began, the rescuer is called: its items run one at a time, the others do not.
    assert b.log[:4] == [(21, "s1 begins"), (24, "s1 ends"), (24, "s2 begins"), (27, "s2 ends")]
    assert waiting == [["o0", "o1"]]
    assert safe.rescuer.rescued == 2
    # The manager tries again every second.
    assert [text for _, text in b.log[4:]] == ["o0 begins", "o1 begins", "o0 ends", "o1 ends"]
    assert [fields[0] for ts, _, *fields in b.events("sched_wakeup_new") if ts > SECOND] == ["kworker/0:1", "kworker/0:2"]


def test_WQ_18_sixteen_colours_and_the_overflow() -> None:
    b = Managed()
    wqs = b.wqs
    wq = wqs.alloc_workqueue("q", max_active=64)
    seen: list[tuple[int, int, int]] = []

    def flush_at(ms: int, n: int) -> None:
        async def flusher(task: Task) -> None:
            await b.nap(task, ms)
            await wqs.flush_workqueue(task, wq)
            b.tell(f"flush{n}")

        b.start(flusher, f"flush{n}", cpu=0)

    for n in range(20):
        b.queue_at(10 + 2 * n, wq, b.item(f"w{n}", 0, 100))
        flush_at(11 + 2 * n, n)
    b.at(60 * MS, lambda: seen.append((wq.color, len(wq.flusher_queue), len(wq.flusher_overflow))))
    b.play(SECOND)
    # One first flusher, 14 that have a colour, five that wait for one; the colour in use is the sixteenth.
    assert seen == [(15, 14, 5)]
    ends = [(ms, text) for ms, text in b.log if text.startswith("flush")]
    assert ends[:15] == [(110 + 2 * n, f"flush{n}") for n in range(15)]
    # Those of the overflow got one colour together when the first one was free: they end with the items of that colour.
    assert sorted(ends[15:]) == [(148, f"flush{n}") for n in range(15, 20)]
    assert wq.in_flight == [0] * 16
    assert wq.first_flusher is None


def test_WQ_20_flush_dependency() -> None:
    b = Managed()
    wqs = b.wqs
    safe, plain = wqs.alloc_workqueue("safe", WQ_MEM_RECLAIM), wqs.alloc_workqueue("plain")
    target = b.item("target", 0, 2)

    async def flushes(task: Task, work: Work) -> None:
        await wqs.flush_workqueue(task, plain)
        await wqs.flush_work(task, target)
        await wqs.flush_workqueue(task, safe if work.name == "not safe" else plain)

    b.queue_at(1, plain, target)
    b.queue_at(1, safe, Work(flushes, "w", "flushes"))
    b.play(10 * MS)
    # Once, though it flushes three times.
    assert b.said() == ["workqueue: WQ_MEM_RECLAIM safe:flushes is flushing !WQ_MEM_RECLAIM plain:0x0"]


def test_WQ_20_a_task_that_reclaims_memory() -> None:
    b = Managed()
    wqs = b.wqs
    safe, plain = wqs.alloc_workqueue("safe", WQ_MEM_RECLAIM), wqs.alloc_workqueue("plain")
    work = b.item("w", 0, 3)
    b.queue_at(1, plain, work)

    async def reclaimer(task: Task) -> None:
        await b.nap(task, 2)
        await wqs.flush_workqueue(task, safe)
        assert b.said() == []
        task.flags |= PF_MEMALLOC
        await wqs.flush_work(task, work)

    task = b.start(reclaimer, "kswapd0", cpu=0)
    b.play(10 * MS)
    assert b.said() == [f"workqueue: PF_MEMALLOC task {task.pid}(kswapd0) is flushing !WQ_MEM_RECLAIM plain:step"]


def test_WQ_20_a_flush_that_depends_on_nothing_is_no_matter() -> None:
    b = Managed()
    wqs = b.wqs
    safe, plain = wqs.alloc_workqueue("safe", WQ_MEM_RECLAIM), wqs.alloc_workqueue("plain")

    async def flushes(task: Task, work: Work) -> None:
        await wqs.flush_workqueue(task, safe)

    b.queue_at(1, plain, Work(flushes, "w"))
    b.play(10 * MS)
    assert b.said() == []


def bh_item(b: Managed, name: str, ns: int = 1000) -> Work:
    """Return an item that notes in which softirq, on which CPU and on top of which task it runs."""

    async def function(task: Task, work: Work) -> None:
        await task.spend(ns)
        b.note(f"{name} on {task.cpu.id} {task.comm} {task.cpu.preempt_count:#x}")

    return Work(function, name, "function")


def test_WQ_22_bh_items_execute_in_softirqs() -> None:
    b = Managed(2)
    wqs = b.wqs
    low, high = wqs.system_bh_wq, wqs.system_bh_highpri_wq

    async def body(cpu: Cpu) -> None:
        for wq, name in ((low, "a"), (low, "b"), (high, "c")):
            await wqs.queue_work(cpu, wq, bh_item(b, name))

    b.irq_at(MS, body, 1)
    b.play(2 * MS)
    assert b.log == [(MS + 1000 * (n + 1), f"{name} on 1 swapper/1 0x101") for n, name in enumerate("cab")]
    raised = [(ts, vec) for ts, _, vec in b.events("softirq_raise", cpu=1)]
    assert raised == [(MS, 6), (MS, 6), (MS, 0)]
    order = [(event.removeprefix("workqueue_"), fields[0]) for _, event, *fields in b.events("softirq_entry", "workqueue_execute_start")]
    assert order == [("softirq_entry", 0), ("execute_start", "c"), ("softirq_entry", 6), ("execute_start", "a"), ("execute_start", "b")]


def test_WQ_22_on_preempt_rt_the_softirq_thread_executes_them() -> None:
    b = Managed(kernel=RT1000)
    b.queue_at(1, b.wqs.system_bh_wq, bh_item(b, "a"), bh_item(b, "b"))
    b.play(2 * MS)
    assert b.log == [(MS + 1000 * (n + 1), f"{name} on 0 ksoftirqd/0 0x100") for n, name in enumerate("ab")]


def test_WQ_22_ten_executions_in_one_entry() -> None:
    b = Managed()
    count = 0

    async def again(task: Task, work: Work) -> None:
        nonlocal count
        count += 1
        if count < 16:
            assert await b.wqs.queue_work(task.cpu, b.wqs.system_bh_wq, work)

    b.queue_at(1, b.wqs.system_bh_wq, Work(again, "w"))
    b.play(2 * MS)
    events = [event for _, event, *_ in b.events("softirq_entry", "workqueue_execute_start")]
    assert [events.index("softirq_entry", n) for n in (0, 1)] == [0, 11]
    assert events.count("workqueue_execute_start") == 16
    assert events.count("softirq_entry") == 2


def test_WQ_22_two_milliseconds_in_one_entry() -> None:
    b = Managed()
    b.queue_at(1, b.wqs.system_bh_wq, *(bh_item(b, f"w{n}", 900_000) for n in range(5)))
    b.play(20 * MS)
    events = [event for _, event, *_ in b.events("softirq_entry", "workqueue_execute_start")]
    # From jiffy 1 to jiffy 3: the third one ends at 3.7 ms.
    assert events == ["softirq_entry", *["workqueue_execute_start"] * 3, "softirq_entry", *["workqueue_execute_start"] * 2]


def test_WQ_22_queueing_to_another_cpu_goes_through_irq_work() -> None:
    b = Managed(2)

    async def body(cpu: Cpu) -> None:
        await b.wqs.queue_work_on(cpu, 1, b.wqs.system_bh_wq, bh_item(b, "w"))

    b.irq_at(MS, body, 0)
    b.play(2 * MS)
    assert b.log == [(MS + 1000, "w on 1 swapper/1 0x101")]
    assert [(ts, vec) for ts, _, vec in b.events("softirq_raise")] == [(MS, 6)]
    assert b.events("call_function_single_entry", cpu=1) != []


def test_WQ_22_sleeping_is_a_bug() -> None:
    b = Managed()

    async def sleeps(task: Task, work: Work) -> None:
        await b.nap(task, 1)

    b.queue_at(1, b.wqs.system_bh_wq, Work(sleeps, "w"))
    with pytest.raises(KernelBug, match=r"BUG: sleeping function called from invalid context .* in_atomic\(\): 1, .* preempt_count: 0x101"):
        b.play(2 * MS)


def test_WQ_22_what_a_bh_workqueue_cannot_be() -> None:
    b = Managed()
    for flags, limit in ((WQ_BH, 1), (WQ_BH | WQ_UNBOUND, 0), (WQ_BH | WQ_FREEZABLE, 0)):
        with pytest.raises(UsageError, match="it can be WQ_HIGHPRI and nothing else, and has no max_active"):
            b.wqs.alloc_workqueue("q", flags, limit)
    with pytest.raises(UsageError, match="this kernel has no BH workqueues"):
        ManagedWorkqueues(b.sched).alloc_workqueue("q", WQ_BH)
    b.play(0)


def test_WQ_22_cancel_waits_for_a_bh_item_without_sleeping() -> None:
    b = Managed(2)
    work = bh_item(b, "w", 3 * MS)
    b.queue_at(1, b.wqs.system_bh_wq, work, cpu=1)

    async def user(task: Task) -> None:
        await b.nap(task, 2)
        was_pending = await b.wqs.cancel_work_sync(task, work)
        b.note(f"cancelled: {was_pending}")

    b.start(user, "user", cpu=0)
    b.play(9 * MS)
    assert b.log == [(4 * MS, "w on 1 swapper/1 0x101"), (4 * MS, "cancelled: False")]
    # It kept its CPU.
    assert [ts for ts, _, *fields in b.events("sched_switch", cpu=0) if ts > 2 * MS] == [4 * MS]


@pytest.mark.parametrize(("bogomips", "us"), [(4000, 10_000), (8000, 10_000), (2000, 20_000), (39, 1_000_000), (1, 1_000_000)])
def test_WQ_13_the_threshold_is_longer_on_a_slow_cpu(bogomips: int, us: int) -> None:
    assert preset("linux-6.12", bogomips=bogomips).wq_hog_us == us


def test_WQ_16_disable_of_a_delayed_item() -> None:
    b = Managed(tick=True)
    wqs = b.wqs
    work = DelayedWork(b.steps(0), "w")
    answers: list[bool] = []

    async def body(cpu: Cpu) -> None:
        answers.append(await wqs.queue_delayed_work(cpu, wqs.system_wq, work, 5))
        answers.append(await wqs.cancel_work(cpu, work, disable=True))
        answers.append(await wqs.queue_delayed_work(cpu, wqs.system_wq, work, 5))
        answers.append(await wqs.mod_delayed_work(cpu, wqs.system_wq, work, 5))
        answers.append(work.enable())
        answers.append(await wqs.queue_delayed_work(cpu, wqs.system_wq, work, 5))

    b.irq_at(MS + 500_000, body)
    b.play(20 * MS)
    assert answers == [True, True, False, False, True, True]
    assert [what for _, what in b.log] == ["w begins", "w ends"]
    work.disabled = 65535
    with pytest.raises(UsageError, match="work disable count overflowed"):
        work.disable()


def test_WQ_15_cancel_delayed_work_does_not_wait() -> None:
    b = Managed(tick=True)
    wqs = b.wqs
    work = DelayedWork(b.steps(0, 10), "w")

    async def user(task: Task) -> None:
        cpu = task.preempt_disable()
        await wqs.queue_delayed_work(cpu, wqs.system_wq, work, 0)
        await task.preempt_enable()
        await b.nap(task, 3)
        cpu = task.preempt_disable()
        b.tell(f"cancelled: {await wqs.cancel_delayed_work(cpu, work)}")
        await task.preempt_enable()
        b.tell(f"cancelled: {await wqs.cancel_delayed_work_sync(task, work)}")

    b.start(user, "user", cpu=0)
    b.play(20 * MS)
    assert b.log == [(0, "w begins"), (3, "cancelled: False"), (10, "w ends"), (10, "cancelled: False")]


def test_mod_delayed_work_moves_the_timer() -> None:
    b = Managed(tick=True)
    wqs = b.wqs
    work = DelayedWork(b.steps(0), "w")
    answers: list[bool] = []

    async def body(cpu: Cpu) -> None:
        answers.extend([await wqs.mod_delayed_work(cpu, wqs.system_wq, work, delay) for delay in (40, 5, 0)])

    b.irq_at(MS, body)
    b.play(60 * MS)
    assert answers == [False, True, True]
    assert b.log == [(1, "w begins"), (1, "w ends")]


def test_flush_delayed_work_queues_at_once() -> None:
    b = Managed(tick=True)
    work = DelayedWork(b.steps(0, 2), "w")

    async def user(task: Task) -> None:
        cpu = task.preempt_disable()
        await b.wqs.queue_delayed_work(cpu, b.wqs.system_wq, work, 40)
        await task.preempt_enable()
        b.tell(f"flushed: {await b.wqs.flush_delayed_work(task, work)}")

    b.start(user, "user", cpu=0)
    b.play(60 * MS)
    assert b.log == [(0, "w begins"), (2, "w ends"), (2, "flushed: True")]


def queue(b: Managed, wq: Workqueue, names: str, ms: int = 0, cpu: int = 0) -> None:
    b.queue_at(ms, wq, *(b.item(name, 0, 2) for name in names), cpu=cpu)


def test_drain_takes_chained_items_and_refuses_others() -> None:
    b = Managed()
    wqs = b.wqs
    wq = wqs.alloc_workqueue("q", max_active=1)
    left = 12

    async def chain(task: Task, work: Work) -> None:
        nonlocal left
        await b.sleep.usleep_range(task, 1000, 1000)
        left -= 1
        if left:
            cpu = task.preempt_disable()
            await wqs.queue_work(cpu, wq, work)
            await task.preempt_enable()

    async def user(task: Task) -> None:
        await b.nap(task, 2)
        await wqs.drain_workqueue(task, wq)
        b.tell("drained")

    b.start(user, "user", cpu=0)
    b.queue_at(1, wq, Work(chain, "chain", "chain"))
    stranger = Work(b.steps(1), "stranger", "stranger")
    b.queue_at(4, wq, stranger)
    b.queue_at(30, wq, stranger)
    b.play(40 * MS)
    assert b.log == [(13, "drained"), (30, "stranger begins"), (31, "stranger ends")]
    assert b.said() == [
        "workqueue: cannot queue stranger on wq q",
        "workqueue q: drain_workqueue() isn't complete after 10 tries",
    ]


def test_destroy_lets_go_of_rescuer_and_pool() -> None:
    b = Managed()
    wqs = b.wqs
    wq = wqs.alloc_workqueue("q", WQ_UNBOUND | WQ_HIGHPRI | WQ_MEM_RECLAIM)
    pool = wq.pwqs[0].pool
    b.queue_at(1, wq, b.item("w", 0, 2))

    async def user(task: Task) -> None:
        await b.nap(task, 2)
        await wqs.destroy_workqueue(task, wq)
        b.tell("destroyed")
        with pytest.raises(UsageError, match="destroyed already"):
            await wqs.destroy_workqueue(task, wq)

    b.start(user, "user", cpu=0)
    b.play(10 * MS)
    assert b.log == [(1, "w begins"), (3, "w ends"), (3, "destroyed")]
    assert pool not in wqs.pools
    assert pool.workers == []
    gone = sorted(fields[0] for _, _, *fields in b.events("sched_process_exit"))
    assert gone == ["kworker/R-q", f"kworker/u{pool.pool_id}:0"[:15], f"kworker/u{pool.pool_id}:1"[:15], "user"]


def test_frozen_items_wait_for_the_thaw() -> None:
    b = Managed()
    wqs = b.wqs
    wq = wqs.system_freezable_wq
    b.queue_at(1, wq, b.item("early", 0, 3))
    b.queue_at(3, wq, b.item("late", 0, 1))
    b.queue_at(3, wqs.system_wq, b.item("other", 0, 1))
    busy = []

    async def user(task: Task) -> None:
        await b.nap(task, 2)
        wqs.freeze_workqueues_begin()
        busy.append(wqs.freeze_workqueues_busy())
        await b.nap(task, 4)
        busy.append(wqs.freeze_workqueues_busy())
        with pytest.raises(UsageError, match="frozen already"):
            wqs.freeze_workqueues_begin()
        await b.nap(task, 4)
        await wqs.thaw_workqueues(task)

    b.start(user, "user", cpu=0)
    b.play(20 * MS)
    assert busy == [True, False]
    assert b.log == [
        (1, "early begins"),
        (3, "other begins"),
        (4, "early ends"),
        (4, "other ends"),
        (10, "late begins"),
        (11, "late ends"),
    ]


def test_a_higher_limit_takes_effect_at_once() -> None:
    b = Managed()
    wq = b.wqs.alloc_workqueue("q", max_active=1)
    queue(b, wq, "abc", 1)

    async def user(task: Task) -> None:
        await b.nap(task, 2)
        await b.wqs.workqueue_set_max_active(task, wq, 3)
        for refused in (b.wqs.alloc_workqueue("o", WQ_ORDERED), b.wqs.system_bh_wq):
            with pytest.raises(UsageError, match="cannot be changed"):
                await b.wqs.workqueue_set_max_active(task, refused, 2)

    b.start(user, "user", cpu=0)
    b.play(10 * MS)
    assert b.log == [(1, "a begins"), (2, "b begins"), (2, "c begins"), (3, "a ends"), (4, "b ends"), (4, "c ends")]


def test_WQ_26_pods_share_the_limit_and_keep_their_items() -> None:
    b = Managed(4, preset("linux-6.12", hz=1000, wq_pods=(0b0011, 0b1100)))
    wq = b.wqs.alloc_workqueue("q", WQ_UNBOUND, 32)
    small = b.wqs.alloc_workqueue("small", WQ_UNBOUND, 3)
    assert [pwq.pool.mask for pwq in wq.pwqs] == [0b0011, 0b0011, 0b1100, 0b1100]
    assert [pwq.limit for pwq in wq.pwqs] == [16] * 4
    assert [pwq.limit for pwq in small.pwqs] == [3] * 4
    assert wq.pwqs[0].pool is small.pwqs[1].pool
    where: list[int] = []

    async def note(task: Task, work: Work) -> None:
        where.append(task.cpu.id)
        await task.spend(MS)

    b.queue_at(1, wq, *(Work(note, f"w{n}") for n in range(3)), cpu=3)
    b.play(10 * MS)
    assert set(where) == {2, 3}


def test_pods_of_a_machine() -> None:
    """Items stay on the node that they are queued on, those of an ordered workqueue anywhere."""

    async def body() -> list[tuple[str, int]]:
        where: list[tuple[str, int]] = []

        async def note(task: Task, work: Work) -> None:
            where.append((work.name, task.cpu.id >> 1))
            await task.spend(MS)

        async with Machine(4, preset("linux-6.12", wq_pods=(0b0011, 0b1100))) as m:
            wqs = m.workqueues
            assert isinstance(wqs, ManagedWorkqueues)
            assert [pwq.pool.mask for pwq in wqs.system_unbound_wq.pwqs] == [0b0011, 0b0011, 0b1100, 0b1100]
            assert wqs.alloc_workqueue("o", WQ_UNBOUND | WQ_ORDERED).pwqs[0].pool.mask == 0b1111
            for index in range(4):

                async def queues(task: Task, index: int = index) -> None:
                    cpu = task.preempt_disable()
                    for n in range(3):
                        await wqs.queue_work(cpu, wqs.system_unbound_wq, Work(note, f"{index >> 1}", f"w{n}"))
                    await task.preempt_enable()

                m.start_thread(queues, f"q{index}", cpu=index)
            await m.run_for(20 * MS)
        return where

    where = asyncio.run(body())
    assert sorted(where) == [("0", 0)] * 6 + [("1", 1)] * 6


def test_cpus_without_a_pod_are_one() -> None:
    b = Managed(4, preset("linux-6.12", wq_pods=(0b0010, 0b110000)))
    assert [pwq.pool.mask for pwq in b.wqs.system_unbound_wq.pwqs] == [0b1101, 0b0010, 0b1101, 0b1101]
    b.play(MS)


@pytest.mark.parametrize(("pods", "words"), [((0b011, 0b110), "one of another"), ((0, 0b1111), "has no CPU")])
def test_pods_that_are_none(pods: tuple[int, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        preset("linux-6.12", wq_pods=pods)


def test_attributes_of_an_unbound_workqueue() -> None:
    b = Managed(4)
    wq = b.wqs.alloc_workqueue("q", WQ_UNBOUND)
    old = wq.pwqs[0]
    b.queue_at(1, wq, b.item("w0", 0, 4))
    b.queue_at(3, wq, b.item("w1", 0, 1))

    async def user(task: Task) -> None:
        await b.nap(task, 2)
        await b.wqs.apply_workqueue_attrs(task, wq, nice=-5, cpumask=0b0110)
        with pytest.raises(UsageError, match="not unbound"):
            await b.wqs.apply_workqueue_attrs(task, b.wqs.system_wq)

    b.start(user, "user", cpu=0)
    b.play(10 * MS)
    assert b.log == [(1, "w0 begins"), (3, "w1 begins"), (4, "w1 ends"), (5, "w0 ends")]
    pool = wq.pwqs[0].pool
    assert (pool.nice, pool.mask) == (-5, 0b0110)
    assert [(worker.task.nice, worker.task.allowed) for worker in pool.workers] == [(-5, 0b0110)] * 2
    assert (old.retired, wq.old_pwqs) == (True, [])
    # The other unbound workqueue still uses the old pool.
    assert old.pool.refs == 1


def test_WQ_21_an_ordered_workqueue_stays_ordered_when_its_attributes_change() -> None:
    b = Managed(2)
    wq = b.wqs.alloc_workqueue("q", WQ_ORDERED)
    queue(b, wq, "ab", 1)
    queue(b, wq, "c", 3, cpu=1)
    plugged = []

    async def user(task: Task) -> None:
        await b.nap(task, 2)
        await b.wqs.apply_workqueue_attrs(task, wq, nice=-10)
        plugged.append(wq.pwqs[0].plugged)

    b.start(user, "user", cpu=0)
    b.play(20 * MS)
    assert plugged == [True]
    assert b.log == [(1, "a begins"), (3, "a ends"), (3, "b begins"), (5, "b ends"), (5, "c begins"), (7, "c ends")]
    assert not wq.pwqs[0].plugged


def test_a_pool_without_progress_is_reported() -> None:
    b = Managed(kernel=preset("linux-6.12", hz=100, nohz_idle=False, wq_watchdog_thresh_s=30, wq_cpu_intensive_us=0), tick=True)
    b.queue_at(1000, b.wqs.system_wq, Work(b.steps(100_000), "hog", "hog"), b.item("waits", 1))
    b.play(62 * SECOND)
    pid = b.wqs.pools[0].workers[0].task.pid
    assert b.said() == [
        "BUG: workqueue lockup - pool cpus=0 nice=0 stuck for 59s!",
        f"workqueue events: in-flight: {pid}:hog",
    ]


@pytest.mark.parametrize("what", ["flush_workqueue", "flush_work"])
def test_an_item_that_waits_for_itself_is_a_deadlock(what: str) -> None:
    b = Managed()
    wqs = b.wqs

    async def waits(task: Task, work: Work) -> None:
        if what == "flush_workqueue":
            await wqs.flush_workqueue(task, wqs.system_wq)
        else:
            await wqs.flush_work(task, work)

    b.queue_at(1, wqs.system_wq, Work(waits, "w"))
    with pytest.raises(KernelBug, match="possible recursive locking detected: kworker/0:0"):
        b.play(2 * MS)


def test_queueing_to_a_cpu_that_is_not_there() -> None:
    for b in (Managed(2), Old(2)):

        async def body(cpu: Cpu, b: Managed | Old = b) -> None:
            await b.wqs.queue_work_on(cpu, 2, b.wqs.system_wq, b.item("w", 1))

        b.irq_at(MS, body)
        with pytest.raises(UsageError, match="there is no CPU 2"):
            b.play(2 * MS)


def test_flags_and_names_are_checked() -> None:
    b = Managed(kernel=preset("linux-6.12", hz=1000, wq_power_efficient=True))
    for name, flags, message in (
        ("", 0, "1 to 31 characters"),
        ("q" * 32, 0, "1 to 31 characters"),
        ("q", 1 << 16, "there are no flags 0x10000"),
        ("q", WQ_PERCPU | WQ_UNBOUND, "both WQ_PERCPU and WQ_UNBOUND"),
    ):
        with pytest.raises(UsageError, match=message):
            b.wqs.alloc_workqueue(name, flags)
    assert b.wqs.alloc_workqueue("q", WQ_POWER_EFFICIENT).unbound
    b.play(0)


@pytest.mark.parametrize(("release", "name"), [("linux-6.12", "kworker/u4:0"), ("linux-6.1", "kworker/u2:0"), ("linux-2.6", "events/0")])
@pytest.mark.asyncio
async def test_the_machine_has_the_workqueues_of_its_kernel(release: str, name: str) -> None:
    async with Machine(1, release) as m:
        done: list[str] = []

        async def note(task: Task, work: Work) -> None:
            done.append(task.comm)

        async def user(task: Task) -> None:
            cpu = task.preempt_disable()
            await m.workqueues.queue_work(cpu, m.workqueues.system_unbound_wq, Work(note, "w"))
            await task.preempt_enable()

        m.kernel.start_thread(m.sched.new_task(user, "user", cpu=0))
        await m.run_for(50 * MS)
        assert done == [name]
