"""Let many readers or one writer in, asleep, with an rt_mutex between them: what PREEMPT_RT makes of rwlocks and rw-semaphores.

Readers count themselves in until a writer comes; it takes the rt_mutex, bars the door, and sleeps until the last reader has left.
Readers that come meanwhile queue on the rt_mutex, so the writer inherits their priority; nobody can lend priority to the readers
inside.

Linux: kernel/locking/rwbase_rt.c.
"""

from __future__ import annotations

from asyncirq.errors import KernelBug
from asyncirq.locking.deadlock import check_chain, release_held
from asyncirq.locking.rtmutex import RtLock, RtMutex
from asyncirq.sched.core import Sched
from asyncirq.sched.task import TASK_NORMAL, TASK_RTLOCK_WAIT, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task


class RwBase:
    """The readers and the writer of one lock. ``rtlock``: waiting keeps the state that the task had set for another sleep."""

    __slots__ = ("_barred", "_mutex", "_rtlock", "_waiting", "name", "readers", "sched")

    def __init__(self, sched: Sched, name: str, rtlock: bool) -> None:
        self.sched = sched
        self.name = name
        self.readers: list[Task] = []
        self._rtlock = rtlock
        self._mutex = RtLock(sched, name) if rtlock else RtMutex(sched, name)
        self._barred = False
        self._waiting: Task | None = None

    @property
    def writer(self) -> Task | None:
        """Who holds the lock alone, or waits for the readers to leave."""
        return self._mutex.owner

    @property
    def owner(self) -> Task | None:
        """Whom the writer waits for: the first of the readers."""
        return self.readers[0] if self.readers else None

    def try_read(self, task: Task) -> bool:
        """Enter as a reader if the door is open."""
        if self._barred:
            return False
        self._enter(task)
        return True

    async def read_lock(self, task: Task) -> None:
        """Enter as a reader, after the writer and whoever waits before."""
        if not self.try_read(task):
            await self._mutex.take(task)
            self._enter(task)
            await self._mutex.give(task)

    async def read_unlock(self, task: Task) -> None:
        """Leave; the last reader wakes the writer that waits for it. Trace: sched_waking."""
        if task not in self.readers:
            raise KernelBug(f"{task.comm}/{task.pid} unlocks {self.name}, which it does not read, at {self.sched.engine.now} ns")
        release_held(task, self)
        self.readers.remove(task)
        writer = self._waiting
        if not self.readers and writer is not None:
            cpu = task.preempt_disable()
            await self.sched.try_to_wake_up(cpu, writer, TASK_RTLOCK_WAIT if self._rtlock else TASK_NORMAL)
            await task.preempt_enable()

    def try_write(self, task: Task) -> bool:
        """Take the lock alone if nobody has it."""
        if self._barred or self.readers or self._mutex.owner is not None:
            return False
        self._barred = True
        return self._mutex.try_take(task)

    async def write_lock(self, task: Task) -> None:
        """Take the lock alone: bar the door and sleep until every reader has left. Trace: sched_switch."""
        await self._mutex.take(task)
        self._barred = True
        saved = task.state
        state = TASK_RTLOCK_WAIT if self._rtlock else TASK_UNINTERRUPTIBLE
        if self._rtlock:
            task.saved_state = saved
        self._waiting = task
        while self.readers:
            check_chain(task, self)
            task.blocked_on = self
            task.state = state
            if self._rtlock:
                await self.sched.schedule_rtlock(task)
            else:
                await self.sched.schedule(task)
        self._waiting = None
        task.blocked_on = None
        task.state = task.saved_state if self._rtlock else TASK_RUNNING
        task.saved_state = TASK_RUNNING

    async def write_unlock(self, task: Task) -> None:
        """Open the door and let whoever waits take the lock. Raises ``KernelBug`` if the task does not own it."""
        if self._mutex.owner is task:
            self._barred = False
        await self._mutex.give(task)

    async def downgrade(self, task: Task) -> None:
        """Become a reader, and let other readers in."""
        self._enter(task)
        await self.write_unlock(task)

    def holds(self, task: Task) -> bool:
        """Tell whether a task is one of the readers; the writer holds the inner mutex."""
        return task in self.readers

    def _enter(self, task: Task) -> None:
        self.readers.append(task)
        task.held_locks.append(self)

    def __repr__(self) -> str:
        return self.name
