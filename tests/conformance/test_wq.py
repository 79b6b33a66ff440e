"""Show the workqueue cases of the catalogue: the timelines of Linux's own documentation, and the rules behind them."""

from __future__ import annotations

import pytest

from asyncirq.bottom_half.work import DelayedWork, Work, WorkFn
from asyncirq.bottom_half.workqueue import (
    WORK_CPU_UNBOUND,
    WQ_CPU_INTENSIVE,
    WQ_HIGHPRI,
    WQ_ORDERED,
    WQ_UNBOUND,
    ManagedWorkqueues,
    Workqueue,
)
from asyncirq.bottom_half.workqueue_api import WORK_NR_COLORS
from asyncirq.config import KernelConfig
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.sched.harness import FULL, STOCK, Lab, Line, records_of

MS = 1_000_000
START = 100 * MS
EXECUTION = ("workqueue_execute_start", "workqueue_execute_end")
WORKQUEUE = ("workqueue_queue_work", "workqueue_activate_work", *EXECUTION)


class WqLab(Lab):
    """A machine with booted workqueues; everything is told in ms after ``START``."""

    def __init__(self, cpus: int = 1, kernel: KernelConfig = STOCK, **costs: int) -> None:
        super().__init__(cpus, kernel, **costs)
        self.wqs = ManagedWorkqueues(self.sched)
        self.wqs.boot()
        self.play(START // 4)
        for n in range(cpus):
            # Three items at once on each CPU, so that every normal pool has the workers that its cases need.
            self.interrupt(START // 2, self._warm_up, n)
        self.play(START * 3 // 4)

    async def _warm_up(self, cpu: Cpu) -> None:
        async def nothing(task: Task, work: Work) -> None:
            await self.nap(task, MS)

        for n in range(3):
            await self.wqs.queue_work(cpu, self.wqs.system_wq, Work(nothing, f"warm-up{n}"))

    def burn(self, *steps: int) -> WorkFn:
        """Return a work function that runs and sleeps in turn, for so many ms each; it notes when it runs."""

        async def step(task: Task, work: Work) -> None:
            for n, ms in enumerate(steps):
                if n % 2:
                    self.tell(f"{work.name} sleeps")
                    await self.nap(task, ms * MS)
                    self.tell(f"{work.name} wakes")
                else:
                    self.tell(f"{work.name} burns")
                    await task.spend(ms * MS)
            self.tell(f"{work.name} ends")

        return step

    def tell(self, text: str) -> None:
        when = self.engine.now - START
        assert when % MS == 0
        self.log.append((when // MS, text))

    def queue_at(self, ms: int, *items: tuple[Workqueue, Work], cpu: int = 0) -> None:
        """Queue items from a hard interrupt."""

        async def body(here: Cpu) -> None:
            for wq, work in items:
                self.answers.append(await self.wqs.queue_work(here, wq, work))

        self.answers: list[bool] = []
        self.interrupt(START + ms * MS, body, cpu)

    def run_ms(self, ms: int) -> None:
        self.play(START + ms * MS)

    def after(self, *events: str) -> list[Line]:
        """Return what was recorded since ``START``, in ms."""
        return [((ts - START) // MS, text) for ts, text in self.story(*events) if ts >= START]


def documentation(lab: WqLab, wq: Workqueue, other: Workqueue | None = None) -> list[Line]:
    """Play the example of the documentation: w0 burns 5, sleeps 10, burns 5; w1 and w2 burn 5, sleep 10."""
    items = [(wq, Work(lab.burn(5, 10, 5), "w0")), *((other or wq, Work(lab.burn(5, 10), name)) for name in ("w1", "w2"))]
    lab.queue_at(0, *items)
    lab.run_ms(60)
    lab.end()
    return lab.log


def test_WQ_02_a_sleeping_item_lets_the_next_start() -> None:
    lab = WqLab()
    assert documentation(lab, lab.wqs.alloc_workqueue("q", max_active=3)) == [
        (0, "w0 burns"),
        (5, "w0 sleeps"),
        (5, "w1 burns"),
        (10, "w1 sleeps"),
        (10, "w2 burns"),
        (15, "w2 sleeps"),
        (15, "w0 wakes"),
        (15, "w0 burns"),
        (20, "w0 ends"),
        (20, "w1 wakes"),
        (20, "w1 ends"),
        (25, "w2 wakes"),
        (25, "w2 ends"),
    ]


def test_WQ_03_max_active_two() -> None:
    lab = WqLab()
    assert documentation(lab, lab.wqs.alloc_workqueue("q", max_active=2)) == [
        (0, "w0 burns"),
        (5, "w0 sleeps"),
        (5, "w1 burns"),
        (10, "w1 sleeps"),
        (15, "w0 wakes"),
        (15, "w0 burns"),
        (20, "w0 ends"),
        (20, "w1 wakes"),
        (20, "w1 ends"),
        (20, "w2 burns"),
        (25, "w2 sleeps"),
        (35, "w2 wakes"),
        (35, "w2 ends"),
    ]


def test_WQ_04_cpu_intensive_items_hold_nobody_back() -> None:
    lab = WqLab()
    intensive = lab.wqs.alloc_workqueue("hot", WQ_CPU_INTENSIVE)
    assert documentation(lab, lab.wqs.alloc_workqueue("q"), intensive) == [
        (0, "w0 burns"),
        (5, "w0 sleeps"),
        (5, "w1 burns"),
        (10, "w1 sleeps"),
        (10, "w2 burns"),
        (15, "w2 sleeps"),
        (15, "w0 wakes"),
        (15, "w0 burns"),
        (20, "w0 ends"),
        (20, "w1 wakes"),
        (20, "w1 ends"),
        (25, "w2 wakes"),
        (25, "w2 ends"),
    ]


@pytest.mark.parametrize(("flags", "starts"), [(WQ_CPU_INTENSIVE, 4), (0, 20)])
def test_WQ_04_the_scheduler_shares_the_cpu_between_intensive_items(flags: int, starts: int) -> None:
    lab = WqLab(kernel=FULL)
    wq = lab.wqs.alloc_workqueue("q", flags)
    for ms in range(4, 40, 4):
        lab.tick_at(START + ms * MS)
    lab.queue_at(0, (wq, Work(lab.burn(20), "long")), (wq, Work(lab.burn(1), "short")))
    lab.run_ms(40)
    lab.end()
    assert [ts for ts, text in lab.log if text == "short burns"] == [starts]


def test_WQ_05_pending_bit() -> None:
    lab = WqLab()
    wq = lab.wqs.system_wq
    work = Work(lab.burn(4), "w")
    lab.queue_at(0, (wq, work), (wq, work))
    lab.run_ms(1)
    assert lab.answers == [True, False]
    lab.queue_at(2, (wq, work), (wq, work))
    lab.run_ms(20)
    assert lab.answers == [True, False]
    lab.end()
    assert lab.after(*WORKQUEUE) == [
        (0, f"0 queue w events req {WORK_CPU_UNBOUND} cpu 0"),
        (0, "0 activate w"),
        (0, "0 start w"),
        (2, f"0 queue w events req {WORK_CPU_UNBOUND} cpu 0"),
        (2, "0 activate w"),
        (4, "0 end w"),
        (4, "0 start w"),
        (8, "0 end w"),
    ]


def test_WQ_06_an_item_never_runs_twice_at_once() -> None:
    lab = WqLab(2)
    wq = lab.wqs.system_wq
    work = Work(lab.burn(4), "w")
    lab.queue_at(0, (wq, work), cpu=0)
    lab.queue_at(2, (wq, work), cpu=1)
    lab.run_ms(20)
    lab.end()
    assert lab.after(*WORKQUEUE) == [
        (0, f"0 queue w events req {WORK_CPU_UNBOUND} cpu 0"),
        (0, "0 activate w"),
        (0, "0 start w"),
        (2, f"1 queue w events req {WORK_CPU_UNBOUND} cpu 0"),
        (2, "1 activate w"),
        (4, "0 end w"),
        (4, "0 start w"),
        (8, "0 end w"),
    ]
    assert len({record.pid for record in records_of(lab, "workqueue_execute_start") if record.ts >= START}) == 1


def test_WQ_07_inactive_items_wait_in_order() -> None:
    lab = WqLab()
    wq = lab.wqs.alloc_workqueue("q", max_active=1)
    works = [Work(lab.burn(1, 2), f"w{n}") for n in range(3)]
    lab.queue_at(0, *((wq, work) for work in works))
    lab.run_ms(20)
    lab.end()
    assert lab.after(*WORKQUEUE) == [
        (0, f"0 queue w0 q req {WORK_CPU_UNBOUND} cpu 0"),
        (0, "0 activate w0"),
        (0, f"0 queue w1 q req {WORK_CPU_UNBOUND} cpu 0"),
        (0, f"0 queue w2 q req {WORK_CPU_UNBOUND} cpu 0"),
        (0, "0 start w0"),
        (3, "0 end w0"),
        (3, "0 activate w1"),
        (3, "0 start w1"),
        (6, "0 end w1"),
        (6, "0 activate w2"),
        (6, "0 start w2"),
        (9, "0 end w2"),
    ]


def test_WQ_08_another_worker_starts_only_when_none_runs() -> None:
    lab = WqLab()
    wq = lab.wqs.system_wq
    never, sleeps, last = Work(lab.burn(6), "never"), Work(lab.burn(1, 4, 1), "sleeps"), Work(lab.burn(9), "last")
    lab.queue_at(0, (wq, never), (wq, sleeps), (wq, last))
    lab.run_ms(30)
    lab.end()
    assert lab.log == [
        (0, "never burns"),
        (6, "never ends"),
        (6, "sleeps burns"),
        (7, "sleeps sleeps"),
        (7, "last burns"),
        # Both are runnable from 11 on: the sleeper competes for the CPU, its pool does not hold it back. Stock: at the end of the item.
        (16, "last ends"),
        (16, "sleeps wakes"),
        (16, "sleeps burns"),
        (17, "sleeps ends"),
    ]
    assert lab.after("sched_waking") == [
        (0, "0 waking kworker/0:2"),
        (7, "0 waking kworker/0:1"),
        (11, "0 waking kworker/0:2"),
    ]


def test_WQ_09_the_latest_idle_worker_is_woken() -> None:
    lab = WqLab()
    wq = lab.wqs.system_wq
    lab.queue_at(0, *((wq, Work(lab.burn(1, 5), f"w{n}")) for n in range(3)))
    lab.run_ms(20)
    idle = [worker.task.comm for worker in lab.wqs.pools[0].idle]
    lab.queue_at(30, (wq, Work(lab.burn(1), "next")))
    lab.run_ms(40)
    lab.end()
    assert len(idle) > 1
    assert [text for ts, text in lab.after("sched_waking") if ts == 30] == [f"0 waking {idle[-1]}"]


def test_WQ_13_a_hog_stops_holding_others_back() -> None:
    lab = WqLab()
    wq = lab.wqs.system_wq
    pool = lab.wqs.pools[0]

    async def tick(cpu: Cpu) -> None:
        lab.sched.scheduler_tick(cpu)
        worker = lab.sched.rqs[0].curr.worker
        if worker is not None:
            await worker.tick(cpu)

    for ms in range(4, 80, 4):
        lab.interrupt(START + ms * MS, tick)
    lab.queue_at(0, (wq, Work(lab.burn(30), "hog", "hog")), (wq, Work(lab.burn(1), "other")))
    lab.run_ms(60)
    lab.end()
    assert [line for line in lab.after("sched_waking") if 0 < line[0] < 30] == [(12, "0 waking kworker/0:1")]
    assert pool.hogs == {"hog": 1}
    assert pool.nr_running == 0


def test_WQ_13_a_repeated_hog_is_reported() -> None:
    lab = WqLab()
    work = Work(lab.burn(11), "hog", "hog")

    async def tick(cpu: Cpu) -> None:
        lab.sched.scheduler_tick(cpu)
        worker = lab.sched.rqs[0].curr.worker
        if worker is not None:
            await worker.tick(cpu)

    for n in range(8):
        lab.queue_at(20 * n, (lab.wqs.system_wq, work))
        lab.interrupt(START + (20 * n + 10) * MS, tick)
    lab.run_ms(200)
    lab.end()
    assert lab.said() == [f"workqueue: hog hogged CPU for >10000us {n} times, consider switching to WQ_UNBOUND" for n in (4, 8)]


def test_WQ_15_cancel() -> None:
    lab = WqLab(kernel=FULL)
    wq = lab.wqs.alloc_workqueue("q", max_active=1)
    requeues: list[bool] = []

    async def requeue(task: Task, work: Work) -> None:
        await task.spend(4 * MS)
        cpu = task.preempt_disable()
        requeues.append(await lab.wqs.queue_work(cpu, wq, work))
        await task.preempt_enable()

    running, waiting = Work(requeue, "running"), Work(lab.burn(1), "waiting")

    async def canceller(task: Task) -> None:
        lab.tell(f"waiting: {await lab.wqs.cancel_work_sync(task, waiting)}")
        lab.tell(f"running: {await lab.wqs.cancel_work_sync(task, running)}")
        lab.tell(f"running: {await lab.wqs.cancel_work_sync(task, running)}")

    lab.begin(START + MS, canceller, "canceller", cpu=0, policy=SCHED_FIFO, rt_priority=1)
    lab.queue_at(0, (wq, running), (wq, waiting))
    lab.run_ms(30)
    lab.end()
    assert requeues == [False]
    assert lab.log == [(1, "waiting: True"), (4, "running: False"), (4, "running: False")]
    assert lab.after(*EXECUTION) == [
        (0, "0 start running"),
        (4, "0 end running"),
        (4, "0 start running.barrier"),
        (4, "0 end running.barrier"),
    ]


def test_WQ_16_disable_and_enable() -> None:
    lab = WqLab()
    wq = lab.wqs.system_wq
    work = Work(lab.burn(1), "w")

    async def user(task: Task) -> None:
        assert not await lab.wqs.cancel_work_sync(task, work, disable=True)
        assert not await lab.wqs.cancel_work_sync(task, work, disable=True)
        answers: list[bool] = []
        for _ in range(2):
            answers.append(work.enable())
            cpu = task.preempt_disable()
            answers.append(await lab.wqs.queue_work(cpu, wq, work))
            await task.preempt_enable()
        lab.note(str(answers))

    lab.begin(START, user, "user")
    lab.run_ms(10)
    lab.end()
    assert [text for _, text in lab.log if text.startswith("[")] == ["[False, False, True, True]"]


def test_WQ_17_flush_work() -> None:
    lab = WqLab(kernel=FULL)
    wq = lab.wqs.system_wq
    work, other, idle = Work(lab.burn(2, 3), "w"), Work(lab.burn(9), "other"), Work(lab.burn(1), "idle")

    async def flusher(task: Task) -> None:
        assert not await lab.wqs.flush_work(task, idle)
        lab.tell(f"flushed: {await lab.wqs.flush_work(task, work)}")
        lab.tell(f"flushed: {await lab.wqs.flush_work(task, work)}")

    lab.begin(START + MS, flusher, "flusher", cpu=0, policy=SCHED_FIFO, rt_priority=1)
    lab.queue_at(0, (wq, work), (wq, other))
    lab.run_ms(30)
    lab.end()
    assert [line for line in lab.log if "flushed" in line[1]] == [(11, "flushed: True"), (11, "flushed: False")]


def test_WQ_17_flush_waits_for_an_item_that_is_not_active_yet() -> None:
    lab = WqLab()
    wq = lab.wqs.alloc_workqueue("q", max_active=1)
    first, second, third = (Work(lab.burn(0, 4), name) for name in ("first", "second", "third"))

    async def flusher(task: Task) -> None:
        lab.tell(f"flushed: {await lab.wqs.flush_work(task, second)}")

    lab.begin(START + MS, flusher, "flusher", cpu=0, policy=SCHED_FIFO, rt_priority=1)
    lab.queue_at(0, (wq, first), (wq, second), (wq, third))
    lab.run_ms(30)
    lab.end()
    assert [line for line in lab.log if "flushed" in line[1]] == [(8, "flushed: True")]


def test_WQ_18_flush_workqueue() -> None:
    lab = WqLab()
    wq = lab.wqs.system_wq
    before, after = Work(lab.burn(0, 6), "before"), Work(lab.burn(0, 9), "after")

    async def flusher(task: Task) -> None:
        await lab.wqs.flush_workqueue(task, wq)
        lab.tell("flushed")

    lab.begin(START + 2 * MS, flusher, "flusher", cpu=0, policy=SCHED_FIFO, rt_priority=1)
    lab.queue_at(0, (wq, before))
    lab.queue_at(3, (wq, after))
    lab.run_ms(30)
    lab.end()
    assert [line for line in lab.log if "flushed" in line[1] or "ends" in line[1]] == [
        (6, "before ends"),
        (6, "flushed"),
        (12, "after ends"),
    ]
    assert wq.in_flight == [0] * WORK_NR_COLORS


def test_WQ_21_ordered() -> None:
    lab = WqLab(2)
    wq = lab.wqs.alloc_workqueue("q", WQ_ORDERED)
    lab.queue_at(0, (wq, Work(lab.burn(1, 2), "w0")), cpu=1)
    lab.queue_at(1, (wq, Work(lab.burn(1, 2), "w1")), cpu=0)
    lab.queue_at(2, (wq, Work(lab.burn(1), "w2")), cpu=1)
    lab.run_ms(30)
    lab.end()
    assert [(ts, text[2:]) for ts, text in lab.after("workqueue_activate_work", *EXECUTION)] == [
        (0, "activate w0"),
        (0, "start w0"),
        (3, "end w0"),
        (3, "activate w1"),
        (3, "start w1"),
        (6, "end w1"),
        (6, "activate w2"),
        (6, "start w2"),
        (7, "end w2"),
    ]


def test_WQ_23_leaked_atomic() -> None:
    lab = WqLab()

    async def leak(task: Task, work: Work) -> None:
        task.preempt_disable()

    lab.queue_at(0, (lab.wqs.system_wq, Work(leak, "leak")), (lab.wqs.system_wq, Work(lab.burn(1), "next")))
    lab.run_ms(5)
    lab.end()
    assert lab.said() == [f"BUG: workqueue leaked atomic, lock or RCU: kworker/0:2[{lab.wqs.pools[0].workers[2].task.pid}]"]
    assert lab.log == [(0, "next burns"), (1, "next ends")]


def test_WQ_26_unbound_items_run_side_by_side() -> None:
    lab = WqLab(2)
    wq = lab.wqs.system_unbound_wq
    lab.queue_at(0, (wq, Work(lab.burn(4), "w0")), (wq, Work(lab.burn(4), "w1")))
    lab.run_ms(10)
    lab.end()
    assert sorted(lab.log) == [(0, "w0 burns"), (0, "w1 burns"), (4, "w0 ends"), (4, "w1 ends")]
    assert {text[:1] for _, text in lab.after("workqueue_execute_start")} == {"0", "1"}
    assert [text for _, text in lab.after("workqueue_queue_work")] == [
        f"0 queue {name} events_unbound req {WORK_CPU_UNBOUND} cpu -1" for name in ("w0", "w1")
    ]


def test_WQ_27_trace_order() -> None:
    lab = WqLab(
        1,
        STOCK,
        work_queue_ns=120,
        work_start_ns=150,
        ttwu_ns=350,
        ttwu_return_ns=50,
        switch_idle_ns=400,
        switch_in_ns=600,
        switch_block_ns=450,
    )
    wq = lab.wqs.alloc_workqueue("q", max_active=1)

    async def nothing(task: Task, work: Work) -> None:
        await task.spend(1000)

    lab.queue_at(0, (wq, Work(nothing, "a")), (wq, Work(nothing, "b")))
    lab.run_ms(1)
    lab.end()
    assert [(ts - START, text) for ts, text in lab.story() if ts >= START] == [
        (0, f"0 queue a q req {WORK_CPU_UNBOUND} cpu 0"),
        (0, "0 activate a"),
        (120, "0 waking kworker/0:2"),
        (470, "0 wakeup kworker/0:2 on 0"),
        (520, f"0 queue b q req {WORK_CPU_UNBOUND} cpu 0"),
        (1040, "0 swapper/0(R) > kworker/0:2"),
        (1790, "0 start a"),
        (2790, "0 end a"),
        (2790, "0 activate b"),
        (2940, "0 start b"),
        (3940, "0 end b"),
        (4390, "0 kworker/0:2(I) > swapper/0"),
    ]


def test_a_high_priority_worker_and_its_name() -> None:
    lab = WqLab()
    lab.queue_at(0, (lab.wqs.system_highpri_wq, Work(lab.burn(1), "w")))
    unbound = lab.wqs.alloc_workqueue("hot", WQ_UNBOUND | WQ_HIGHPRI)
    lab.run_ms(5)
    lab.end()
    assert [text for _, text in lab.after("sched_wakeup")] == [
        "0 wakeup kworker/0:0H on 0",
        # The first worker makes one for the reserve: it is told when that stands ready, and starts it.
        "0 wakeup kworker/0:0H on 0",
        "0 wakeup kworker/0:1H on 0",
    ]
    assert [(worker.task.comm, worker.task.prio) for pool in lab.wqs.pools for worker in pool.workers] == [
        ("kworker/0:0", 120),
        ("kworker/0:1", 120),
        ("kworker/0:2", 120),
        ("kworker/0:3", 120),
        ("kworker/0:0H", 100),
        ("kworker/0:1H", 100),
        ("kworker/u2:0", 120),
        ("kworker/u3:0", 100),
    ]
    assert unbound.pwqs[0].pool.pool_id == 3


@pytest.mark.parametrize("delay", [0, 3])
def test_delayed_work(delay: int) -> None:
    lab = WqLab()
    wqs = lab.wqs
    work = DelayedWork(lab.burn(1), "w")

    async def add_timer(cpu: Cpu, item: DelayedWork, jiffies: int) -> None:
        async def body(here: Cpu) -> None:
            await wqs.delayed_work_timer(here, item)

        lab.interrupt(lab.engine.now + jiffies * MS, body)

    wqs.add_timer = add_timer

    async def body(cpu: Cpu) -> None:
        assert await wqs.queue_delayed_work(cpu, wqs.system_wq, work, delay)
        assert not await wqs.queue_delayed_work(cpu, wqs.system_wq, work, delay)

    lab.interrupt(START, body)
    lab.run_ms(10)
    lab.end()
    assert lab.log == [(delay, "w burns"), (delay + 1, "w ends")]


def test_cancel_of_delayed_work_drops_its_timer() -> None:
    lab = WqLab()
    wqs = lab.wqs
    work = DelayedWork(lab.burn(1), "w")

    async def add_timer(cpu: Cpu, item: DelayedWork, jiffies: int) -> None:
        lab.note(f"armed {jiffies}")

    async def del_timer(cpu: Cpu, item: DelayedWork) -> bool:
        lab.note("dropped")
        return True

    wqs.add_timer, wqs.del_timer = add_timer, del_timer

    async def body(cpu: Cpu) -> None:
        await wqs.queue_delayed_work(cpu, wqs.system_wq, work, 3)
        assert await wqs.cancel_work(cpu, work)
        assert not await wqs.cancel_work(cpu, work)

    lab.interrupt(START, body)
    lab.run_ms(10)
    lab.end()
    assert [text for _, text in lab.log] == ["armed 3", "dropped"]
    assert not work.pending


def test_cancel_leaves_the_woken_worker_to_run_and_sleep() -> None:
    lab = WqLab()
    work = Work(lab.burn(1), "w")

    async def body(cpu: Cpu) -> None:
        await lab.wqs.queue_work(cpu, lab.wqs.system_wq, work)
        assert await lab.wqs.cancel_work(cpu, work)

    lab.interrupt(START, body)
    lab.run_ms(10)
    lab.end()
    assert lab.after("sched_wakeup", "sched_switch", *EXECUTION) == [
        (0, "0 wakeup kworker/0:2 on 0"),
        (0, "0 swapper/0(R) > kworker/0:2"),
        (0, "0 kworker/0:2(I) > swapper/0"),
    ]
    assert lab.wqs.system_wq.in_flight == [0] * WORK_NR_COLORS
    assert lab.wqs.system_wq.pwqs[0].nr_active == 0
