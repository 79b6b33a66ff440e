"""The lab's cases on workqueues, as programs for the bench."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.bottom_half.work import DelayedWork, Work
from asyncirq.bottom_half.workqueue import WQ_ORDERED, ManagedWorkqueues, Workqueue
from asyncirq.costs import Costs
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task
from tests.lab.bench import FIRST_US, KSOFTIRQD, MS, NOBODY, REQUESTER, US, WORKER, Bench, Past, Program
from tests.lab.extract import Words
from tests.lab.rows import Row

WORDS: Final[Words] = {
    "workqueue_queue_work": lambda r: _of_the_lab(r, f"workqueue_queue_work wq={r.workqueue}"),
    "workqueue_activate_work": lambda r: _of_the_lab(r, "workqueue_activate_work"),
    "workqueue_execute_start": lambda r: _of_the_lab(r, "workqueue_execute_start"),
    "workqueue_execute_end": lambda r: _of_the_lab(r, "workqueue_execute_end"),
}
"""The events of workqueues that the captures hold of the lab's items."""


TRACED: Final = Costs(ttwu_ns=4_000, work_start_ns=3_000)
"""What a wake-up and the start of an item take while each of their steps is traced: it decides who has run longer."""


def _of_the_lab(record: Any, what: str) -> str | None:
    return what if record.function in ("w_fn", "dw_fn") else None


class LabWork(Work):
    """An item that keeps its CPU for ``us``, sleeps for ``ms``, and queues itself ``again`` times more."""

    def __init__(self, bench: Bench, i: int, wq: Workqueue, us: int, ms: int, again: int) -> None:
        super().__init__(self.run, f"W{i}", "w_fn")
        self.bench = bench
        self.i = i
        self.wq = wq
        self.us = us
        self.ms = ms
        self.again = again

    async def run(self, task: Task, work: Work) -> None:
        """Say what there is to say, and do it."""
        bench = self.bench
        bench.say(task.cpu, f"work {self.i} start pid={task.cpu.pid} prio={task.prio} re={self.again}")
        if self.us:
            await task.spend(bench.busy_us(self.us) * US)
        if self.ms:
            await bench.machine.sleep.msleep(task, self.ms)
        self.again -= 1
        if self.again >= 0:
            cpu = task.preempt_disable()
            await workqueues(bench).queue_work(cpu, self.wq, work)
            await task.preempt_enable()
        bench.say(task.cpu, f"work {self.i} end")


def workqueues(bench: Bench) -> ManagedWorkqueues:
    """Return the workqueues of the bench's machine."""
    wqs = bench.machine.workqueues
    assert isinstance(wqs, ManagedWorkqueues)
    return wqs


def items(bench: Bench, n: int, wq: Workqueue, us: int = 0, ms: int = 0, again: int = 0) -> list[LabWork]:
    """Return the items of a case, all alike."""
    return [LabWork(bench, i, wq, us, ms, again) for i in range(n)]


async def queue(works: list[LabWork], cpu: Cpu, n: int) -> None:
    """Queue the items of a case, in a shot."""
    for work in works:
        queued = await workqueues(work.bench).queue_work(cpu, work.wq, work)
        work.bench.say(cpu, f"queue_work {work.i} -> {int(queued)}")


Choice = Callable[[ManagedWorkqueues], Workqueue]
"""Which workqueue a case is about."""


def system(wqs: ManagedWorkqueues) -> Workqueue:
    """Return the workqueue of everybody."""
    return wqs.system_wq


def highpri(wqs: ManagedWorkqueues) -> Workqueue:
    """Return the workqueue of everybody in a hurry."""
    return wqs.system_highpri_wq


def unbound(wqs: ManagedWorkqueues) -> Workqueue:
    """Return the workqueue of everybody who does not care for the CPU."""
    return wqs.system_unbound_wq


def ordered(wqs: ManagedWorkqueues) -> Workqueue:
    """Make a workqueue that executes one item after the other."""
    return wqs.alloc_workqueue("labord", WQ_ORDERED)


def two_active(wqs: ManagedWorkqueues) -> Workqueue:
    """Make a workqueue that executes two items at once."""
    return wqs.alloc_workqueue("labact2", 0, 2)


def bh(wqs: ManagedWorkqueues) -> Workqueue:
    """Return the workqueue that executes in softirqs."""
    return wqs.system_bh_wq


def bh_highpri(wqs: ManagedWorkqueues) -> Workqueue:
    """Return the workqueue that executes in HI softirqs."""
    return wqs.system_bh_highpri_wq


RESERVE: Final = 3
"""How many workers the pool of a kernel has that has run for a while."""


async def reserve(bench: Bench, task: Task, workers: int = RESERVE) -> None:
    """Bring the pools of CPU 0 and the unbound one to the workers that a kernel has after a while: one sleeps for each but one."""
    wqs = workqueues(bench)
    bench.speaks = False
    for wq in (wqs.system_wq, wqs.system_highpri_wq, wqs.system_unbound_wq):
        cpu = task.preempt_disable()
        for work in items(bench, workers - 1, wq, ms=4):
            await wqs.queue_work(cpu, wq, work)
        await task.preempt_enable()
    await bench.machine.sleep.msleep(task, 60)
    bench.speaks = True


async def one(choice: Choice, n: int, us: int, ms: int, again: int, more_ms: int, bench: Bench, task: Task) -> None:
    """Queue items in a shot and wait until they are long over."""
    works = items(bench, n, choice(workqueues(bench)), us, ms, again)
    await bench.one(task, partial(queue, works))
    if more_ms:
        await bench.sleep(task, more_ms)


async def queue_twice(bench: Bench, task: Task) -> None:
    """Queue an item that is queued."""
    wqs = workqueues(bench)
    (work,) = items(bench, 1, wqs.system_wq)

    async def twice(cpu: Cpu, n: int) -> None:
        # The compiler evaluates the arguments of a call from the last to the first.
        second = await wqs.queue_work(cpu, work.wq, work)
        first = await wqs.queue_work(cpu, work.wq, work)
        bench.say(cpu, f"queue same work twice -> {int(first)} {int(second)}")

    await bench.one(task, twice)


async def while_running(bench: Bench, task: Task) -> None:
    """Queue an item that executes."""
    shot = partial(queue, items(bench, 1, workqueues(bench).system_wq, us=6_000))
    await bench.shoot(task, (0, shot, FIRST_US), (1, shot, FIRST_US + 3_000))
    await bench.sleep(task, 40)


async def hog(bench: Bench, task: Task) -> None:
    """Queue an item behind one that keeps its CPU for 30 ms."""
    works = items(bench, 2, workqueues(bench).system_wq, us=30_000)
    works[1].us = 0
    await bench.one(task, partial(queue, works))
    await bench.sleep(task, 60)


async def delayed(delays: tuple[int, ...], ms: int, bench: Bench, task: Task) -> None:
    """Queue an item after a delay, and change the delay."""
    wqs = workqueues(bench)

    async def runs(worker: Task, work: Work) -> None:
        bench.say(worker.cpu, f"delayed work runs pid={worker.cpu.pid}")

    work = DelayedWork(runs, "DW", "dw_fn")
    cpu = task.preempt_disable()
    await wqs.queue_delayed_work(cpu, wqs.system_wq, work, delays[0])
    await task.preempt_enable()
    for delay in delays[1:]:
        cpu = task.preempt_disable()
        await wqs.mod_delayed_work(cpu, wqs.system_wq, work, delay)
        await task.preempt_enable()
    await bench.sleep(task, ms)


async def flush(bench: Bench, task: Task) -> None:
    """Wait for an item that sleeps."""
    wqs = workqueues(bench)
    (work,) = items(bench, 1, wqs.system_wq, ms=8)
    cpu = task.preempt_disable()
    await wqs.queue_work(cpu, work.wq, work)
    await task.preempt_enable()
    bench.say(task.cpu, "flush_work begin")
    await wqs.flush_work(task, work)
    bench.say(task.cpu, "flush_work end")
    await bench.sleep(task, 20)


async def cancel(bench: Bench, task: Task) -> None:
    """Take an item back before a worker can get at it."""
    wqs = workqueues(bench)
    (work,) = items(bench, 1, wqs.system_wq)
    cpu = task.preempt_disable()
    await wqs.queue_work(cpu, work.wq, work)
    bench.say(cpu, f"cancel_work -> {int(await wqs.cancel_work(cpu, work))}")
    await task.preempt_enable()
    await bench.sleep(task, 20)


async def soft(bench: Bench, task: Task) -> None:
    """Keep ksoftirqd busy for 8 ms."""

    async def callback(cpu: Cpu, tasklet: Tasklet) -> None:
        await cpu.spend(8 * MS)

    cpu = task.preempt_disable()
    await bench.machine.tasklets.tasklet_schedule(cpu, Tasklet(callback, "busy"))
    await task.preempt_enable()
    await bench.machine.sleep.msleep(task, 20)


_BUSY: Final = re.compile(r"work (\d+) (start|end)")


def pasts(rows: list[Row]) -> tuple[Past, ...]:
    """Return what a case may have found: who ran before it is not in the capture, how long its items took is."""
    begun: dict[str, int] = {}
    took: list[int] = []
    for row in rows:
        match = _BUSY.match(row.what)
        if match is not None and match[2] == "start":
            begun[match[1]] = len(took)
            took.append(-row.ts)
        elif match is not None and match[1] in begun:
            took[begun.pop(match[1])] += row.ts
    busy = tuple(max(us, 0) for us in took)
    return tuple(Past(0, ran, us) for us in ((), busy) for ran in (NOBODY, REQUESTER, WORKER, KSOFTIRQD))


async def prepared(workers: int, program: Program, bench: Bench, task: Task) -> None:
    """Run a case on a machine whose pools have workers in reserve; the case begins with its mark."""
    await reserve(bench, task, workers)
    if bench.past.ran == REQUESTER:
        await task.spend(20 * MS)
    elif bench.past.ran == KSOFTIRQD:
        await soft(bench, task)
    elif bench.past.ran == WORKER:
        wqs = workqueues(bench)
        bench.speaks = False
        cpu = task.preempt_disable()
        await wqs.queue_work(cpu, wqs.system_wq, LabWork(bench, 0, wqs.system_wq, 8_000, 0, 0))
        await task.preempt_enable()
        await bench.machine.sleep.msleep(task, 20)
        bench.speaks = True
    bench.begin(task)
    await program(bench, task)


def _case(program: Callable[..., Awaitable[None]], *args: object, workers: int = 5) -> Program:
    return partial(prepared, workers, partial(program, *args))


CASES: Final[dict[str, Program]] = {
    "wq/system-1": _case(one, system, 1, 0, 0, 0, 0, workers=RESERVE),
    "wq/system-4-busy-200us": _case(one, system, 4, 200, 0, 0, 0, workers=RESERVE),
    "wq/system-4-sleep-4ms": _case(one, system, 4, 0, 4, 0, 40, workers=RESERVE),
    "wq/ordered-4-sleep-4ms": _case(one, ordered, 4, 0, 4, 0, 80),
    "wq/max_active2-4-sleep-4ms": _case(one, two_active, 4, 0, 4, 0, 60),
    "wq/highpri-2": _case(one, highpri, 2, 100, 0, 0, 0),
    "wq/unbound-2": _case(one, unbound, 2, 100, 0, 0, 0),
    "wq/self-requeue-4": _case(one, system, 1, 0, 0, 4, 0),
    "wq/queue-twice-pending": _case(queue_twice),
    "wq/requeue-while-running-nonreentrant": _case(while_running),
    "wq/cpu-hog-30ms-then-other": _case(hog),
    "wq/delayed-2-jiffies": _case(delayed, (2,), 30),
    "wq/mod_delayed 2 -> 5 jiffies": _case(delayed, (2, 5), 40),
    "wq/delayed-0": _case(delayed, (0,), 20),
    "wq/flush-from-process": _case(flush),
    "wq/cancel-pending": _case(cancel),
    "wq/bh-2": _case(one, bh, 2, 100, 0, 0, 0),
    "wq/bh-highpri-2": _case(one, bh_highpri, 2, 100, 0, 0, 0),
    "wq/bh-self-requeue-15": _case(one, bh, 1, 0, 0, 15, 0),
}
"""Every case by its name; a capture holds a part of them."""
