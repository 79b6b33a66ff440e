"""Wait for a condition in a queue of tasks.

A waiter announces its sleep before it tests the condition, so a wake-up in between is not lost. Exclusive waiters stand
at the end and are woken one at a time.

Linux: kernel/sched/wait.c. Model: no bookmark and no custom wake function; the queue's lock has no duration of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncirq.hw.cpu import Cpu
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.task import TASK_NORMAL, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task


class WaitEntry:
    """One task in a wait queue. ``autoremove``: the wake-up that wakes it takes it out of the queue."""

    __slots__ = ("autoremove", "exclusive", "task")

    def __init__(self, task: Task, exclusive: bool = False, autoremove: bool = True) -> None:
        self.task = task
        self.exclusive = exclusive
        self.autoremove = autoremove


class WaitQueue:
    """Tasks that wait for something: non-exclusive ones first (the latest first), then exclusive ones in order of arrival."""

    __slots__ = ("entries", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[WaitEntry] = []

    def add(self, entry: WaitEntry) -> None:
        """Put an entry into the queue. Linux: add_wait_queue(), add_wait_queue_exclusive()."""
        if entry.exclusive:
            self.entries.append(entry)
        else:
            self.entries.insert(0, entry)

    def remove(self, entry: WaitEntry) -> None:
        """Take an entry out of the queue, if it is in it."""
        if entry in self.entries:
            self.entries.remove(entry)

    def prepare_to_wait(self, entry: WaitEntry, state: int = TASK_UNINTERRUPTIBLE) -> None:
        """Queue an entry unless it is queued, and announce its task's sleep: to be called before the condition is tested."""
        if entry not in self.entries:
            self.add(entry)
        entry.task.set_current_state(state)

    def finish_wait(self, entry: WaitEntry) -> None:
        """End a wait: the task runs, its entry is in no queue."""
        entry.task.set_current_state(TASK_RUNNING)
        self.remove(entry)

    async def wake_up(self, cpu: Cpu, nr_exclusive: int = 1, mask: int = TASK_NORMAL) -> int:
        """Wake every non-exclusive waiter and up to ``nr_exclusive`` exclusive ones (0: all); return how many were woken.

        A waiter that runs already counts for nothing. Trace: sched_waking, sched_wakeup.
        """
        if not self.entries:
            return 0
        was_off = cpu.irq_disable()
        woken = 0
        for entry in tuple(self.entries):
            if entry not in self.entries:
                continue
            place = self.entries.index(entry)
            if entry.autoremove:
                # Not after the wake-up, which takes time: the waiter may have begun to wait again by then.
                del self.entries[place]
            if not await entry.task.sched.try_to_wake_up(cpu, entry.task, mask):
                if entry.autoremove:
                    self.entries.insert(place, entry)
            else:
                woken += 1
                if entry.exclusive:
                    nr_exclusive -= 1
                    if nr_exclusive == 0:
                        break
        if not was_off:
            await cpu.irq_enable()
            await preempt_check(cpu)
        return woken

    async def wake_up_all(self, cpu: Cpu, mask: int = TASK_NORMAL) -> int:
        """Wake every waiter; return how many were woken."""
        return await self.wake_up(cpu, 0, mask)

    async def wait_event(
        self, task: Task, condition: Callable[[], bool], *, exclusive: bool = False, state: int = TASK_UNINTERRUPTIBLE
    ) -> None:
        """Sleep until ``condition()``; it is tested before the sleep and after every wake-up.

        Raises ``KernelBug`` in atomic context.
        """
        might_sleep(task, f"wait_event({self.name})")
        if condition():
            return
        entry = WaitEntry(task, exclusive)
        while True:
            self.prepare_to_wait(entry, state)
            if condition():
                break
            await task.schedule()
        self.finish_wait(entry)


async def preempt_check(cpu: Cpu) -> None:
    """Let a preemptible kernel reschedule after interrupts went on again with preemption allowed; the caller cannot migrate."""
    if cpu.need_resched:
        task = cpu.current
        assert isinstance(task, Task)
        await task.sched.preempt_schedule(task)
