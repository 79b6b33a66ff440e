"""Wait for a condition in a queue that has a spinlock_t of its own: wait_queue_head_t.

On PREEMPT_RT that lock sleeps. Whoever wakes a waiter holds it still, so a woken task that takes the CPU at once, while it
stands in the queue, blocks on it and lends the waker its priority.

Linux: kernel/sched/wait.c. Model: ``sched/wait.py`` is the same queue without a lock, for those whose lock is never slept on.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncirq.locking.spinlock import Spinlock
from asyncirq.sched.core import Sched
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.task import TASK_NORMAL, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task
from asyncirq.sched.wait import WaitEntry, WaitQueue


class WaitHead:
    """A queue of waiting tasks with its lock, for callers in task context."""

    __slots__ = ("_lock", "_queue", "name")

    def __init__(self, sched: Sched, name: str) -> None:
        self.name = name
        self._lock = Spinlock(sched, f"lock of {name}", key="&wq_head->lock")
        self._queue = WaitQueue(name)

    def __repr__(self) -> str:
        return f"<WaitHead {self.name}>"

    async def wait_event(self, task: Task, condition: Callable[[], bool], state: int = TASK_UNINTERRUPTIBLE) -> None:
        """Sleep until ``condition()``; it is tested before the sleep and after every wake-up.

        Raises ``KernelBug`` in atomic context. Trace: sched_switch.
        """
        might_sleep(task, f"wait_event({self.name})")
        await task.sched.might_resched(task)
        if condition():
            return
        entry = WaitEntry(task)
        lock = self._lock
        while True:
            cpu, was_off = await lock.lock_irqsave(task.cpu)
            self._queue.prepare_to_wait(entry, state)
            await lock.unlock_irqrestore(cpu, was_off)
            if condition():
                break
            await task.schedule()
        task.set_current_state(TASK_RUNNING)
        if entry in self._queue.entries:
            cpu, was_off = await lock.lock_irqsave(task.cpu)
            self._queue.remove(entry)
            await lock.unlock_irqrestore(cpu, was_off)

    async def wake_up(self, task: Task) -> int:
        """Wake every waiter, from another task; return how many slept. Trace: sched_waking, sched_wakeup."""
        queue = self._queue
        if not queue.entries:
            return 0
        cpu, was_off = await self._lock.lock_irqsave(task.cpu)
        woken = 0
        for entry in tuple(queue.entries):
            if await task.sched.try_to_wake_up(cpu, entry.task, TASK_NORMAL):
                woken += 1
                queue.remove(entry)
        await self._lock.unlock_irqrestore(cpu, was_off)
        return woken
