"""Lock with spinlock_t: it spins on a stock kernel and sleeps on PREEMPT_RT.

Stock: preemption off, spin. PREEMPT_RT: the current task sleeps on an rtlock and is bound to its CPU while it holds it;
``irqsave`` leaves interrupts alone there. The CPU that a lock returns is valid until the unlock: on PREEMPT_RT it may be
another one than before the lock.

Linux: include/linux/spinlock.h, kernel/locking/spinlock_rt.c.
"""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Protocol

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.raw_spinlock import RawSpinlock
from asyncirq.locking.rtmutex import RtLock
from asyncirq.sched.core import Sched
from asyncirq.sched.task import Task


class BottomHalves(Protocol):
    """Whoever can turn bottom halves off and on for a task: the softirqs, which are built on locks."""

    def local_bh_disable(self, task: Task) -> Coroutine[Any, Any, Cpu]:
        """Turn them off and return the CPU."""
        ...

    def local_bh_enable(self, task: Task) -> Coroutine[Any, Any, None]:
        """Turn them on and run what is pending."""
        ...


class Spinlock:
    """A spinlock_t. ``bh`` is needed for ``lock_bh`` alone."""

    __slots__ = ("_bh", "_raw", "_rt", "name")

    def __init__(self, sched: Sched, name: str, bh: BottomHalves | None = None) -> None:
        self.name = name
        self._bh = bh
        self._rt = RtLock(sched, name) if sched.config.rt else None
        self._raw = RawSpinlock(name)

    def __repr__(self) -> str:
        return self.name

    @property
    def is_locked(self) -> bool:
        """Tell whether somebody holds the lock."""
        return self._raw.owner is not None or (self._rt is not None and self._rt.owner is not None)

    async def lock(self, cpu: Cpu) -> Cpu:
        """Take the lock in whatever runs on ``cpu`` and return the CPU that it is on now.

        Raises ``KernelBug`` on deadlock, and on PREEMPT_RT in atomic context.
        """
        rt = self._rt
        if rt is None:
            return await self._raw.lock(cpu)
        task = _current(cpu)
        await rt.lock(task)
        return task.migrate_disable()

    async def unlock(self, cpu: Cpu) -> None:
        """Give the lock up."""
        rt = self._rt
        if rt is None:
            await self._raw.unlock(cpu)
            return
        task = _current(cpu)
        task.migrate_enable()
        await rt.unlock(task)

    async def lock_irqsave(self, cpu: Cpu) -> tuple[Cpu, bool]:
        """Take the lock with interrupts off (on PREEMPT_RT: as they are); return the CPU and whether they were off before."""
        if self._rt is None:
            return cpu, await self._raw.lock_irqsave(cpu)
        return await self.lock(cpu), False

    async def unlock_irqrestore(self, cpu: Cpu, was_off: bool) -> None:
        """Give the lock up and restore interrupts as ``lock_irqsave`` found them."""
        if self._rt is None:
            await self._raw.unlock_irqrestore(cpu, was_off)
        else:
            await self.unlock(cpu)

    async def lock_bh(self, task: Task) -> Cpu:
        """Take the lock with bottom halves off and return the CPU. Raises ``UsageError`` for a lock made without ``bh``."""
        if self._bh is None:
            raise UsageError(f"spinlock {self.name} was made without bottom halves")
        return await self.lock(await self._bh.local_bh_disable(task))

    async def unlock_bh(self, task: Task) -> None:
        """Give the lock up and turn bottom halves on."""
        if self._bh is None:
            raise UsageError(f"spinlock {self.name} was made without bottom halves")
        await self.unlock(task.cpu)
        await self._bh.local_bh_enable(task)

    def held(self, cpu: Cpu) -> HeldSpinlock:
        """Hold the lock for an ``async with`` block, which gets the CPU."""
        return HeldSpinlock(self, cpu, irqsave=False)

    def irqsave(self, cpu: Cpu) -> HeldSpinlock:
        """Hold the lock with interrupts off (on PREEMPT_RT: as they are) for an ``async with`` block, which gets the CPU."""
        return HeldSpinlock(self, cpu, irqsave=True)


class HeldSpinlock:
    """An ``async with`` block that holds a spinlock_t; its exit does nothing when an exception passes."""

    __slots__ = ("_cpu", "_irqsave", "_lock", "_was_off")

    def __init__(self, lock: Spinlock, cpu: Cpu, irqsave: bool) -> None:
        self._lock = lock
        self._cpu = cpu
        self._irqsave = irqsave
        self._was_off = False

    async def __aenter__(self) -> Cpu:
        if self._irqsave:
            self._cpu, self._was_off = await self._lock.lock_irqsave(self._cpu)
        else:
            self._cpu = await self._lock.lock(self._cpu)
        return self._cpu

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            return
        if self._irqsave:
            await self._lock.unlock_irqrestore(self._cpu, self._was_off)
        else:
            await self._lock.unlock(self._cpu)


def _current(cpu: Cpu) -> Task:
    task = cpu.current
    assert isinstance(task, Task)
    return task
