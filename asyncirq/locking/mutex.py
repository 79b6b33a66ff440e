"""Sleep on a mutex: one owner, waiters in order of arrival.

An unlock frees the mutex and wakes the first waiter; until that one runs another task may take it. A waiter that was
overtaken once asks for a hand-off: the next unlock makes it the owner. Where the kernel is configured so, a task that finds
the owner running on another CPU spins for it instead of going to sleep, one spinner after the other. On PREEMPT_RT a mutex is
an rt_mutex.

Linux: kernel/locking/mutex.c, kernel/locking/osq_lock.c.
"""

from __future__ import annotations

from types import TracebackType

from asyncirq.errors import KernelBug
from asyncirq.locking.deadlock import check_chain, release_held
from asyncirq.locking.lockdep_class import LD_WAIT_SLEEP, Key, Tracked
from asyncirq.locking.rtmutex import RtMutex
from asyncirq.locking.spin import cpu_relax
from asyncirq.sched.core import Sched
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.task import TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task


class Mutex(Tracked):
    """A mutex for task context; usable as ``async with mutex.held(task):``.

    ``contended`` counts those that found it taken, ``spun`` those of them that got it by spinning. Mutexes made with the same ``key`` are
    one class to lockdep.
    """

    __slots__ = ("_handoff", "_osq", "_owner", "_rt", "_spins", "_waiters", "contended", "sched", "spun")

    wait_inner = LD_WAIT_SLEEP

    def __init__(self, sched: Sched, name: str, key: Key | None = None) -> None:
        super().__init__(name, key)
        self.sched = sched
        self.contended = 0
        self.spun = 0
        self._rt = RtMutex(sched, name) if sched.config.rt else None
        self._spins = sched.config.mutex_spin_on_owner
        self._owner: Task | None = None
        self._handoff = False
        self._waiters: list[Task] = []
        self._osq: list[Task] = []

    @property
    def owner(self) -> Task | None:
        """Who holds the mutex."""
        return self._owner if self._rt is None else self._rt.owner

    def holds(self, task: Task) -> bool:
        """Tell whether a task owns the mutex."""
        return self.owner is task

    def try_lock(self, task: Task) -> bool:
        """Take the mutex if it is free; return whether it was."""
        if not (self._try(task) if self._rt is None else self._rt.try_take(task)):
            return False
        if self.sched.lockdep is not None:
            self.sched.lockdep.acquire(task.cpu, self, trylock=True)
        return True

    async def lock(self, task: Task, subclass: int = 0, nest: Tracked | None = None) -> None:
        """Take the mutex, sleeping uninterruptibly until it is free.

        ``subclass`` and ``nest`` tell lockdep why it may be taken inside another one of its class. Raises ``KernelBug`` in atomic
        context and on deadlock. Trace: sched_switch.
        """
        if self.sched.lockdep is not None:
            self.sched.lockdep.acquire(task.cpu, self, subclass=subclass, nest=nest)
        if self._rt is not None:
            await self._rt.take(task)
            return
        might_sleep(task, f"mutex_lock({self.name})")
        cost = self.sched.costs.lock_fast_ns
        if cost:
            await task.spend(cost)
        if self._try(task):
            return
        check_chain(task, self)
        self.contended += 1
        if self._spins and await self._spin(task):
            self.spun += 1
            return
        await self._sleep(task)

    async def unlock(self, task: Task) -> None:
        """Free the mutex and wake the first waiter. Raises ``KernelBug`` if the task does not own it. Trace: sched_waking."""
        if self.sched.lockdep is not None:
            self.sched.lockdep.release(task.cpu, self)
        if self._rt is not None:
            await self._rt.give(task)
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

    def init(self, task: Task) -> None:
        """Make the mutex anew, as ``mutex_init``; lockdep reports one that is held."""
        if self.sched.lockdep is not None:
            self.sched.lockdep.check_freed(task.cpu, self)
        self._owner = None
        self._waiters = []
        if self._rt is not None:
            self._rt = RtMutex(self.sched, self.name)

    def held(self, task: Task) -> HeldMutex:
        """Hold the mutex for an ``async with`` block."""
        return HeldMutex(self, task)

    def _try(self, task: Task) -> bool:
        if self._owner is not None:
            return False
        self._take(task)
        return True

    def _take(self, task: Task) -> None:
        self._owner = task
        task.held_locks.append(self)

    async def _spin(self, task: Task) -> bool:
        """Spin while the owner runs and nobody wants this CPU; return whether the mutex is this task's now."""
        cpu = task.preempt_disable()
        queue = self._osq
        queue.append(task)
        task.blocked_on = self
        while not cpu.need_resched:
            if queue[0] is task:
                owner = self._owner
                if owner is None and not self._handoff:
                    self._take(task)
                    break
                if owner is None or owner.cpu.current is not owner:
                    break
            await cpu_relax(cpu, task)
        queue.remove(task)
        task.blocked_on = None
        await task.preempt_enable()
        return self._owner is task

    async def _sleep(self, task: Task) -> None:
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
