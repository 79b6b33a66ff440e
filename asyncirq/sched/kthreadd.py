"""Let kthreadd make the kernel threads that a running kernel asks for.

The asker queues its request, wakes kthreadd and sleeps until the new thread says that it exists. What that costs is kthreadd's CPU
time, not the asker's, which under EEVDF shows at once: the asker comes back with less of a lead than the new thread has.

Linux: kernel/kthread.c kthreadd(), create_kthread(). Model: made when first needed; threads that the machine has from boot on, and
kworkers, are made without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncirq.sched.task import TASK_INTERRUPTIBLE, TASK_RUNNING, Task

if TYPE_CHECKING:
    from asyncirq.sched.core import Sched


class Kthreadd:
    """The thread that starts others, in the order of the requests."""

    def __init__(self, sched: Sched) -> None:
        self._sched = sched
        self._requests: list[Task] = []
        self.task: Task | None = None

    async def start(self, task: Task, thread: Task) -> None:
        """Ask for a new thread's first run, from another task; it may not have run yet when this returns.

        Trace: sched_waking and sched_wakeup_new of ``thread``, from kthreadd.
        """
        self._requests.append(thread)
        if self.task is None:
            self.task = self._sched.new_task(self._main, "kthreadd", kthread=True)
        await task.wake(self.task)

    async def _main(self, task: Task) -> None:
        while True:
            task.set_current_state(TASK_INTERRUPTIBLE)
            if not self._requests:
                await task.schedule()
            task.set_current_state(TASK_RUNNING)
            while self._requests:
                thread = self._requests.pop(0)
                await task.spend(self._sched.costs.kthread_create_ns)
                await task.wake(thread)
