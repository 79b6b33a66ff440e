"""Protect what belongs to one CPU: local_lock_t.

On a stock kernel it is nothing but preemption off (or interrupts, or bottom halves), with a name that lockdep knows. On PREEMPT_RT it is
a sleeping lock of that CPU, and the task is bound to it.

Linux: include/linux/local_lock_internal.h.
"""

from __future__ import annotations

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.lockdep_class import LD_WAIT_CONFIG, Key, Tracked
from asyncirq.locking.rtmutex import RtLock
from asyncirq.sched.core import Sched
from asyncirq.sched.task import Task


class BhLock(RtLock):
    """The lock of one CPU's bottom halves on PREEMPT_RT: a local lock that the softirqs keep one by one."""

    __slots__ = ()

    percpu = True


class LocalLock(Tracked):
    """A lock for each CPU, of which a task takes that of its own. ``owners[cpu]`` is who has it."""

    __slots__ = ("_rt", "owners", "sched")

    wait_inner = LD_WAIT_CONFIG
    percpu = True

    def __init__(self, sched: Sched, name: str, key: Key | None = None) -> None:
        super().__init__(name, key)
        self.sched = sched
        self.owners: list[Task | None] = [None] * len(sched.cpus)
        self._rt = [RtLock(sched, f"{name}/{cpu.id}") for cpu in sched.cpus] if sched.config.rt else []

    async def lock(self, task: Task) -> Cpu:
        """Keep other tasks off what this CPU's lock protects; return the CPU, which stays this one."""
        if not self._rt:
            return self._enter(task, task.preempt_disable())
        cpu = task.migrate_disable()
        self._track(cpu)
        await self._rt[cpu.id].take(task)
        self.owners[cpu.id] = task
        return cpu

    async def unlock(self, task: Task) -> None:
        """End ``lock``."""
        cpu = task.cpu
        self._leave(task, cpu)
        if self._rt:
            await self._rt[cpu.id].give(task)
            task.migrate_enable()
        else:
            await task.preempt_enable()

    async def lock_irqsave(self, task: Task) -> tuple[Cpu, bool]:
        """Keep interrupts of this CPU off too (on PREEMPT_RT: tasks alone); return the CPU and whether they were off before."""
        if self._rt:
            return await self.lock(task), False
        cpu = task.preempt_disable()
        was_off = cpu.irq_disable()
        return self._enter(task, cpu), was_off

    async def unlock_irqrestore(self, task: Task, was_off: bool) -> None:
        """End ``lock_irqsave``."""
        if self._rt:
            await self.unlock(task)
            return
        cpu = task.cpu
        self._leave(task, cpu)
        await cpu.irq_restore(was_off)
        await task.preempt_enable()

    def _track(self, cpu: Cpu) -> None:
        if self.sched.lockdep is not None:
            self.sched.lockdep.acquire(cpu, self)

    def _enter(self, task: Task, cpu: Cpu) -> Cpu:
        self._track(cpu)
        if self.owners[cpu.id] is not None:
            raise KernelBug(f"local lock {self.name} of {cpu.name} is taken twice, by {task.comm}/{task.pid} at {cpu.engine.now} ns")
        self.owners[cpu.id] = task
        return cpu

    def _leave(self, task: Task, cpu: Cpu) -> None:
        if self.sched.lockdep is not None:
            self.sched.lockdep.release(cpu, self)
        if self.owners[cpu.id] is not task:
            raise KernelBug(f"local lock {self.name} of {cpu.name} is given up by {task.comm}/{task.pid}, which does not have it")
        self.owners[cpu.id] = None
