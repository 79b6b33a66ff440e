"""Take a spinning lock with interrupts or bottom halves off: the variants that all kinds of spinning lock have alike.

Linux: include/linux/spinlock.h, spinlock_api_smp.h, spinlock_rt.h.
"""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Protocol

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task


class BottomHalves(Protocol):
    """Whoever can turn bottom halves off and on for a task: the softirqs, which are built on locks."""

    def local_bh_disable(self, task: Task) -> Coroutine[Any, Any, Cpu]:
        """Turn them off and return the CPU."""
        ...

    def local_bh_enable(self, task: Task) -> Coroutine[Any, Any, None]:
        """Turn them on and run what is pending."""
        ...


class IrqVariants:
    """The variants of a lock that always spins, over its ``lock``, ``unlock`` and ``unlock_irqrestore``."""

    __slots__ = ()

    async def lock(self, cpu: Cpu) -> Cpu:
        """Take the lock with preemption off; return the CPU."""
        raise TypeError(f"{type(self).__name__} does not say how it is taken")

    async def unlock(self, cpu: Cpu) -> None:
        """Give the lock up."""
        raise TypeError(f"{type(self).__name__} does not say how it is given up")

    async def unlock_irqrestore(self, cpu: Cpu, was_off: bool) -> None:
        """Give the lock up and turn interrupts on unless they were off before it was taken."""
        raise TypeError(f"{type(self).__name__} does not say how it is given up with interrupts off")

    async def lock_irq(self, cpu: Cpu) -> Cpu:
        """Turn interrupts off and take the lock."""
        cpu.irq_disable()
        return await self.lock(cpu)

    async def unlock_irq(self, cpu: Cpu) -> None:
        """Give the lock up and turn interrupts on."""
        await self.unlock_irqrestore(cpu, False)

    async def lock_irqsave(self, cpu: Cpu) -> bool:
        """Turn interrupts off and take the lock; return whether they were off before."""
        was_off = cpu.irq_disable()
        await self.lock(cpu)
        return was_off

    async def lock_bh(self, task: Task, bh: BottomHalves) -> Cpu:
        """Turn bottom halves off, take the lock, and return the CPU."""
        return await self.lock(await bh.local_bh_disable(task))

    async def unlock_bh(self, task: Task, bh: BottomHalves) -> None:
        """Give the lock up and turn bottom halves on."""
        await self.unlock(task.cpu)
        await bh.local_bh_enable(task)


class RtVariants:
    """The variants of a lock that spins on a stock kernel and sleeps on PREEMPT_RT, where interrupts stay as they are.

    ``sleeps`` tells which. ``bh`` is needed for the variants with bottom halves off.
    """

    __slots__ = ("bh", "name", "sleeps")

    kind = "spinlock"

    def __init__(self, name: str, sleeps: bool, bh: BottomHalves | None) -> None:
        self.name = name
        self.sleeps = sleeps
        self.bh = bh

    def __repr__(self) -> str:
        return self.name

    async def lock(self, cpu: Cpu) -> Cpu:
        """Take the lock in whatever runs on ``cpu`` and return the CPU that it is on now."""
        raise TypeError(f"{type(self).__name__} does not say how it is taken")

    async def unlock(self, cpu: Cpu) -> None:
        """Give the lock up."""
        raise TypeError(f"{type(self).__name__} does not say how it is given up")

    async def _unlock_irqrestore(self, cpu: Cpu, was_off: bool) -> None:
        raise TypeError(f"{type(self).__name__} does not say how it is given up with interrupts off")

    async def lock_irq(self, cpu: Cpu) -> Cpu:
        """Take the lock with interrupts off (on PREEMPT_RT: as they are); return the CPU."""
        if not self.sleeps:
            cpu.irq_disable()
        return await self.lock(cpu)

    async def unlock_irq(self, cpu: Cpu) -> None:
        """Give the lock up and turn interrupts on (on PREEMPT_RT: leave them)."""
        await self.unlock_irqrestore(cpu, False)

    async def lock_irqsave(self, cpu: Cpu) -> tuple[Cpu, bool]:
        """Take the lock with interrupts off (on PREEMPT_RT: as they are); return the CPU and whether they were off before."""
        if self.sleeps:
            return await self.lock(cpu), False
        was_off = cpu.irq_disable()
        return await self.lock(cpu), was_off

    async def unlock_irqrestore(self, cpu: Cpu, was_off: bool) -> None:
        """Give the lock up and restore interrupts as ``lock_irqsave`` found them."""
        if self.sleeps:
            await self.unlock(cpu)
        else:
            await self._unlock_irqrestore(cpu, was_off)

    async def lock_bh(self, task: Task) -> Cpu:
        """Take the lock with bottom halves off and return the CPU. Raises ``UsageError`` for a lock made without ``bh``."""
        return await self.lock(await self._bottom_halves().local_bh_disable(task))

    async def unlock_bh(self, task: Task) -> None:
        """Give the lock up and turn bottom halves on."""
        bh = self._bottom_halves()
        await self.unlock(task.cpu)
        await bh.local_bh_enable(task)

    def held(self, cpu: Cpu) -> HeldLockBlock:
        """Hold the lock for an ``async with`` block, which gets the CPU."""
        return HeldLockBlock(self, cpu, irqsave=False)

    def irqsave(self, cpu: Cpu) -> HeldLockBlock:
        """Hold the lock with interrupts off (on PREEMPT_RT: as they are) for an ``async with`` block, which gets the CPU."""
        return HeldLockBlock(self, cpu, irqsave=True)

    def _bottom_halves(self) -> BottomHalves:
        if self.bh is None:
            raise UsageError(f"{self.kind} {self.name} was made without bottom halves")
        return self.bh


class HeldLockBlock:
    """An ``async with`` block that holds a spinlock_t or a side of an rwlock_t; its exit does nothing when an exception passes."""

    __slots__ = ("_cpu", "_irqsave", "_lock", "_was_off")

    def __init__(self, lock: RtVariants, cpu: Cpu, irqsave: bool) -> None:
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


def current_task(cpu: Cpu) -> Task:
    """Return the task that runs on a CPU, whatever interrupts it."""
    task = cpu.current
    assert isinstance(task, Task)
    return task
