"""Wait for a whole workqueue: flush colours, draining.

Every item has the workqueue's colour of the moment when it was queued. A flush takes that colour for itself, gives the
workqueue the next one, and ends when no item of its colour is left. There are 16 colours; flushers that find none free
wait in the overflow list and get one together. The first flusher is woken by the last item, and hands on to the others.

Linux: kernel/workqueue.c __flush_workqueue(), drain_workqueue(), check_flush_dependency(). Model: wq->mutex is not needed,
since what it protects happens between two awaits.
"""

from __future__ import annotations

from typing import Final

from asyncirq.bottom_half.softirq import PF_MEMALLOC
from asyncirq.bottom_half.work import Work
from asyncirq.bottom_half.workqueue_api import WORK_NR_COLORS, WQ_DRAINING, WQ_LEGACY, WQ_MEM_RECLAIM, Workqueue
from asyncirq.bottom_half.workqueue_state import ManagedState
from asyncirq.errors import KernelBug
from asyncirq.locking.completion import Completion
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.task import Task

FIRST_DRAIN_REPORT: Final = 10
DRAIN_REPORT_EVERY: Final = 100
LAST_DRAIN_REPORT: Final = 1000


class Flusher:
    """One call of ``flush_workqueue``: the colour it waits for (-1: none yet), and the completion that ends it."""

    __slots__ = ("color", "done")

    def __init__(self, name: str) -> None:
        self.color = -1
        self.done = Completion(name)


class Flushing(ManagedState):
    """The flushes of one machine's workqueues."""

    async def flush_workqueue(self, task: Task, wq: Workqueue) -> None:
        """Sleep until every item has ended that was queued before the call; later ones do not extend it.

        Warns when a worker of a WQ_MEM_RECLAIM workqueue flushes one that has no rescuer. Trace: sched_waking, printk.
        """
        might_sleep(task, f"flush_workqueue({wq.name})")
        self._check_not_own(task, wq)
        self.check_flush_dependency(task, wq, None)
        this = Flusher(f"flush {wq.name}")
        following = (wq.color + 1) % WORK_NR_COLORS
        if following == wq.flush_color:
            wq.flusher_overflow.append(this)
        else:
            this.color = wq.color
            wq.color = following
            if wq.first_flusher is not None:
                wq.flusher_queue.append(this)
            elif wq.in_flight[this.color]:
                wq.first_flusher = this
                wq.flushing = this.color
            else:
                wq.flush_color = following
                return
        await this.done.wait(task)
        if wq.first_flusher is this:
            cpu = task.preempt_disable()
            for flusher in self._hand_on(wq):
                await flusher.done.complete(cpu)
            await task.preempt_enable()

    def _hand_on(self, wq: Workqueue) -> list[Flusher]:
        """Make the next flusher the first, and return those that have nothing more to wait for."""
        over: list[Flusher] = []
        wq.first_flusher = None
        while True:
            while wq.flusher_queue and wq.flusher_queue[0].color == wq.flush_color:
                over.append(wq.flusher_queue.pop(0))
            wq.flush_color = (wq.flush_color + 1) % WORK_NR_COLORS
            if wq.flusher_overflow:
                for flusher in wq.flusher_overflow:
                    flusher.color = wq.color
                wq.color = (wq.color + 1) % WORK_NR_COLORS
                wq.flusher_queue += wq.flusher_overflow
                wq.flusher_overflow.clear()
            if not wq.flusher_queue:
                return over
            if wq.in_flight[wq.flush_color]:
                wq.first_flusher = wq.flusher_queue.pop(0)
                wq.flushing = wq.flush_color
                return over

    def _check_not_own(self, task: Task, wq: Workqueue) -> None:
        worker = task.worker
        if worker is not None and worker.current_pwq is not None and worker.current_pwq.wq is wq:
            where = f"{task.comm}/{task.pid} flushes {wq.name}, whose item {worker.current} it executes"
            raise KernelBug(f"possible recursive locking detected: {where}, at {self.sched.engine.now} ns")

    def check_flush_dependency(self, task: Task, wq: Workqueue, work: Work | None) -> None:
        """Warn, once, when something that memory reclaim depends on flushes what may need memory to go on. Trace: printk."""
        if wq.flags & WQ_MEM_RECLAIM:
            return
        symbol = "0x0" if work is None else work.symbol
        if task.flags & PF_MEMALLOC:
            text = f"workqueue: PF_MEMALLOC task {task.pid}({task.comm}) is flushing !WQ_MEM_RECLAIM {wq.name}:{symbol}"
            self.warn_once(task.cpu, text, "flush PF_MEMALLOC")
        worker = task.worker
        if worker is None or worker.current_pwq is None:
            return
        own = worker.current_pwq.wq
        if own.flags & (WQ_MEM_RECLAIM | WQ_LEGACY) == WQ_MEM_RECLAIM:
            what = f"{own.name}:{worker.current.symbol} is flushing !WQ_MEM_RECLAIM {wq.name}:{symbol}"
            self.warn_once(task.cpu, f"workqueue: WQ_MEM_RECLAIM {what}", "flush WQ_MEM_RECLAIM")

    async def drain_workqueue(self, task: Task, wq: Workqueue) -> None:
        """Flush until a workqueue is empty; meanwhile only its own items may queue more, others are warned and refused.

        A report says when ten flushes, and every hundred more, were not enough. Trace: printk.
        """
        wq.drainers += 1
        wq.flags |= WQ_DRAINING
        tries = 0
        while True:
            await self.flush_workqueue(task, wq)
            if all(pwq.is_empty for pwq in self.joints(wq)):
                break
            tries += 1
            trace = self.sched.trace
            if trace is not None and (tries == FIRST_DRAIN_REPORT or (tries % DRAIN_REPORT_EVERY == 0 and tries <= LAST_DRAIN_REPORT)):
                trace.printk(task.cpu, 4, f"workqueue {wq.name}: drain_workqueue() isn't complete after {tries} tries")
        wq.drainers -= 1
        if not wq.drainers:
            wq.flags &= ~WQ_DRAINING
