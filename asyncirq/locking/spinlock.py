"""Lock with spinlock_t: it spins on a stock kernel and sleeps on PREEMPT_RT.

Stock: preemption off, spin. PREEMPT_RT: the current task sleeps on an rtlock and is bound to its CPU while it holds it;
``irqsave`` leaves interrupts alone there. The CPU that a lock returns is valid until the unlock: on PREEMPT_RT it may be
another one than before the lock.

Linux: include/linux/spinlock.h, kernel/locking/spinlock_rt.c.
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu
from asyncirq.locking.irq_variants import BottomHalves, RtVariants, current_task
from asyncirq.locking.lockdep_class import LD_WAIT_CONFIG, Key, Tracked
from asyncirq.locking.raw_spinlock import RawSpinlock
from asyncirq.locking.rtmutex import RtLock
from asyncirq.sched.core import Sched


class ConfigSpinlock(RawSpinlock):
    """The spinning part of a spinlock_t: to lockdep it may sleep, as it does on PREEMPT_RT."""

    __slots__ = ()

    wait_inner = LD_WAIT_CONFIG


class Spinlock(RtVariants):
    """A spinlock_t. ``bh`` is needed for ``lock_bh`` alone; locks made with the same ``key`` are one class to lockdep."""

    __slots__ = ("_raw", "_rt")

    def __init__(self, sched: Sched, name: str, bh: BottomHalves | None = None, key: Key | None = None) -> None:
        super().__init__(name, sched.config.rt, bh)
        self._rt = RtLock(sched, name, key) if sched.config.rt else None
        self._raw = ConfigSpinlock(name, key)

    @property
    def is_locked(self) -> bool:
        """Tell whether somebody holds the lock."""
        return self._raw.owner is not None or (self._rt is not None and self._rt.owner is not None)

    @property
    def tracked(self) -> Tracked:
        """Return what lockdep knows the lock by."""
        return self._raw if self._rt is None else self._rt

    async def lock(self, cpu: Cpu, subclass: int = 0, nest: Tracked | None = None) -> Cpu:
        """Take the lock in whatever runs on ``cpu`` and return the CPU that it is on now.

        Raises ``KernelBug`` on deadlock, and on PREEMPT_RT in atomic context.
        """
        rt = self._rt
        if rt is None:
            return await self._raw.lock(cpu, subclass, nest)
        task = current_task(cpu)
        await rt.lock(task, subclass, nest)
        return task.migrate_disable()

    def try_lock(self, cpu: Cpu) -> bool:
        """Take the lock if it is free; return whether it was."""
        rt = self._rt
        if rt is None:
            return self._raw.try_lock(cpu)
        task = current_task(cpu)
        if not rt.try_lock(task):
            return False
        task.migrate_disable()
        return True

    async def unlock(self, cpu: Cpu) -> None:
        """Give the lock up."""
        rt = self._rt
        if rt is None:
            await self._raw.unlock(cpu)
            return
        task = current_task(cpu)
        if rt.owner is task:
            task.migrate_enable()
        await rt.unlock(task)

    async def _unlock_irqrestore(self, cpu: Cpu, was_off: bool) -> None:
        await self._raw.unlock_irqrestore(cpu, was_off)

    def init(self, cpu: Cpu) -> None:
        """Make the lock anew, as ``spin_lock_init``; lockdep reports one that is held."""
        if self._rt is None:
            self._raw.init(cpu)
        else:
            self._rt.init(current_task(cpu))
