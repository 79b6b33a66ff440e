"""Sleep on a mutex: one owner, waiters in order of arrival.

An unlock frees the mutex and wakes the first waiter; until that one runs another task may take it. A waiter that was
overtaken once asks for a hand-off: the next unlock makes it the owner. On PREEMPT_RT a mutex is an rt_mutex.

Linux: kernel/locking/mutex.c. Model: no spinning on a running owner (CONFIG_MUTEX_SPIN_ON_OWNER).
"""

from __future__ import annotations

from types import TracebackType

from asyncirq.errors import KernelBug
from asyncirq.locking.deadlock import check_chain, release_held
from asyncirq.locking.rtmutex import RtMutex
from asyncirq.sched.core import Sched
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.task import TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task


class Mutex:
    """A mutex for task context; usable as ``async with mutex.held(task):``."""

    __slots__ = ("_handoff", "_owner", "_rt", "_waiters", "contended", "name", "sched")

    def __init__(self, sched: Sched, name: str) -> None:
        self.sched = sched
        self.name = name
        self.contended = 0
        self._rt = RtMutex(sched, name) if sched.config.rt else None
        self._owner: Task | None = None
        self._handoff = False
        self._waiters: list[Task] = []

    def __repr__(self) -> str:
        return self.name

    @property
    def owner(self) -> Task | None:
        """Who holds the mutex."""
        return self._owner if self._rt is None else self._rt.owner

    def try_lock(self, task: Task) -> bool:
        """Take the mutex if it is free; return whether it was."""
        if self._rt is not None:
            return self._rt.try_lock(task)
        if self._owner is not None:
            return False
        self._take(task)
        return True

    async def lock(self, task: Task) -> None:
        """Take the mutex, sleeping uninterruptibly until it is free.

        Raises ``KernelBug`` in atomic context and on deadlock. Trace: sched_switch.
        """
        if self._rt is not None:
            await self._rt.lock(task)
            return
        might_sleep(task, f"mutex_lock({self.name})")
        cost = self.sched.costs.lock_fast_ns
        if cost:
            await task.spend(cost)
        if self.try_lock(task):
            return
        check_chain(task, self)
        self.contended += 1
        self._waiters.append(task)
        task.blocked_on = self
        first_try = True
        while True:
            task.set_current_state(TASK_UNINTERRUPTIBLE)
            if self._owner is task:
                # Handed over by the unlock.
                break
            if self._owner is None and (not self._handoff or self._waiters[0] is task):
                self._take(task)
                break
            if self._waiters[0] is task and not first_try:
                self._handoff = True
            await task.schedule()
            first_try = False
        task.set_current_state(TASK_RUNNING)
        task.blocked_on = None
        if task in self._waiters:
            self._waiters.remove(task)
        self._handoff = False

    async def unlock(self, task: Task) -> None:
        """Free the mutex and wake the first waiter. Raises ``KernelBug`` if the task does not own it. Trace: sched_waking."""
        if self._rt is not None:
            await self._rt.unlock(task)
            return
        if self._owner is not task:
            holder = "nobody" if self._owner is None else f"{self._owner.comm}/{self._owner.pid}"
            raise KernelBug(f"{task.comm}/{task.pid} unlocks mutex {self.name}, which {holder} owns, at {self.sched.engine.now} ns")
        release_held(task, self)
        self._owner = None
        if not self._waiters:
            return
        cpu = task.preempt_disable()
        first = self._waiters[0]
        if self._handoff:
            first.blocked_on = None
            self._take(first)
        if self.sched.costs.lock_handover_ns:
            await cpu.spend(self.sched.costs.lock_handover_ns)
        await self.sched.wake_up_process(cpu, first)
        await task.preempt_enable()

    def held(self, task: Task) -> HeldMutex:
        """Hold the mutex for an ``async with`` block."""
        return HeldMutex(self, task)

    def _take(self, task: Task) -> None:
        self._owner = task
        task.held_locks.append(self)


class HeldMutex:
    """An ``async with`` block that holds a mutex; its exit does nothing when an exception passes."""

    __slots__ = ("_mutex", "_task")

    def __init__(self, mutex: Mutex, task: Task) -> None:
        self._mutex = mutex
        self._task = task

    async def __aenter__(self) -> None:
        await self._mutex.lock(self._task)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            await self._mutex.unlock(self._task)
