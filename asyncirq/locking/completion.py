"""Wait until something is complete.

Linux: kernel/sched/completion.c.
"""

from __future__ import annotations

from typing import Final

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import TASK_UNINTERRUPTIBLE, Task
from asyncirq.sched.wait import WaitQueue

ALL: Final = 1 << 31
"""The count of a completion after ``complete_all``: it never runs out."""


class Completion:
    """A counter of completions: each ``complete`` lets one waiter through, now or later, ``complete_all`` every one."""

    __slots__ = ("done", "name", "queue")

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = 0
        self.queue = WaitQueue(name)

    async def complete(self, cpu: Cpu) -> None:
        """Let one waiter through; from any context. Trace: sched_waking."""
        if self.done != ALL:
            self.done += 1
        await self.queue.wake_up(cpu)

    async def complete_all(self, cpu: Cpu) -> None:
        """Let every waiter through, those to come too, until ``reinit``. Trace: sched_waking."""
        self.done = ALL
        await self.queue.wake_up_all(cpu)

    async def wait(self, task: Task, state: int = TASK_UNINTERRUPTIBLE) -> None:
        """Sleep until complete, and use one completion up. Raises ``KernelBug`` in atomic context. Trace: sched_switch."""
        await self.queue.wait_event(task, self._is_done, exclusive=True, state=state)
        self.try_wait()

    def try_wait(self) -> bool:
        """Use one completion up if there is one; return whether there was."""
        if not self.done:
            return False
        if self.done != ALL:
            self.done -= 1
        return True

    def reinit(self) -> None:
        """Forget what was completed. Raises ``KernelBug`` while somebody waits."""
        if self.queue.entries:
            raise KernelBug(f"completion {self.name} is made anew while {len(self.queue.entries)} tasks wait for it")
        self.done = 0

    def _is_done(self) -> bool:
        return self.done > 0
