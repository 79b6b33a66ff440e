"""Count permits: tasks sleep until one is free, anybody may give one back.

Linux: kernel/locking/semaphore.c.
"""

from __future__ import annotations

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.task import TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task


class Semaphore:
    """A counting semaphore; waiters get the permits in order of arrival. It has no owner, so no deadlock is found out."""

    __slots__ = ("_granted", "_waiters", "count", "name", "sched")

    def __init__(self, sched: Sched, name: str, count: int = 1) -> None:
        if count < 0:
            raise UsageError(f"semaphore {name} begins with {count} permits", 22)
        self.sched = sched
        self.name = name
        self.count = count
        self._waiters: list[Task] = []
        self._granted: list[Task] = []

    def try_down(self) -> bool:
        """Take a permit if there is one; return whether there was."""
        if not self.count:
            return False
        self.count -= 1
        return True

    async def down(self, task: Task) -> None:
        """Take a permit, sleeping uninterruptibly until there is one. Raises ``KernelBug`` in atomic context."""
        might_sleep(task, f"down({self.name})")
        if self.try_down():
            return
        self._waiters.append(task)
        while True:
            task.set_current_state(TASK_UNINTERRUPTIBLE)
            if task in self._granted:
                break
            await task.schedule()
        self._granted.remove(task)
        task.set_current_state(TASK_RUNNING)

    async def up(self, cpu: Cpu) -> None:
        """Give a permit back, straight to the first waiter if there is one; from any context. Trace: sched_waking."""
        if not self._waiters:
            self.count += 1
            return
        task = self._waiters.pop(0)
        self._granted.append(task)
        await self.sched.wake_up_process(cpu, task)
