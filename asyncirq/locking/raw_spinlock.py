"""Spin for a lock with preemption off, on every kernel; first come, first served.

The owner of the lock is the context that holds it, so a spinner's stall leads the deadlock walk from the lock to its
holder. Where a lock is taken both by a task and by a handler on one CPU, the task must turn interrupts off: it is
found out when the handler begins to spin.

Linux: include/linux/spinlock_api_smp.h, kernel/locking/qspinlock.c. Model: the pending bit and the queue of MCS nodes are one queue of
tickets; both are fair.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu, find_deadlock
from asyncirq.locking.deadlock import release_held
from asyncirq.locking.irq_variants import IrqVariants
from asyncirq.locking.lockdep_class import LD_WAIT_SPIN, Key, Tracked
from asyncirq.sched.preempt import interrupt_context_level
from asyncirq.sched.task import Task
from asyncirq.sched.wait import preempt_check
from asyncirq.sim.context import Context
from asyncirq.sim.word import Word

CONTEXT_NAMES: Final = ("", " in a softirq", " in a hard interrupt", " in an NMI")


class Ticket(Word):
    """One spinner's place in the queue: ready when the lock has been handed to it. ``owner`` is the lock's."""

    __slots__ = ("ctx", "level", "lock", "served", "task")

    def __init__(self, lock: RawSpinlock, ctx: Context, task: Task) -> None:
        super().__init__(lock.name)
        self.lock = lock
        self.ctx = ctx
        self.task = task
        self.level = interrupt_context_level(task.cpu)
        self.served = False

    def ready(self) -> bool:
        """Tell whether the lock is this spinner's."""
        return self.served

    def holder(self) -> str:
        """Return the owner's name with the interrupt in which it took the lock, or whom the lock's next owner has interrupted."""
        if self.owner is not self.lock.owner:
            return f"{super().holder()}, which was to get it next and is interrupted"
        return super().holder() + CONTEXT_NAMES[self.lock.level]


class RawSpinlock(IrqVariants, Tracked):
    """A lock that spins. Taking it raises the preempt count by one; whoever holds it must not sleep.

    ``level``: in which interrupt it was taken, as ``interrupt_context_level`` counts. Locks made with the same ``key`` are one
    class to lockdep.
    """

    __slots__ = ("_queue", "contended", "level", "owner")

    wait_inner = LD_WAIT_SPIN

    def __init__(self, name: str, key: Key | None = None) -> None:
        super().__init__(name, key)
        self.owner: Context | None = None
        self.level = 0
        self.contended = 0
        self._queue: list[Ticket] = []

    # --- taking and giving up

    async def lock(self, cpu: Cpu, subclass: int = 0, nest: Tracked | None = None) -> Cpu:
        """Take the lock, spinning until it is free; preemption is off from the first step on. Returns the CPU.

        ``subclass`` and ``nest`` tell lockdep why a lock may be taken inside another one of its class. Raises ``KernelBug`` on deadlock.
        Takes ``spin_lock_ns``, and ``spin_handover_ns`` after a spin.
        """
        cpu.preempt_count += 1
        task = cpu.current
        assert isinstance(task, Task)
        sched = task.sched
        if sched.lockdep is not None:
            sched.lockdep.acquire(cpu, self, subclass=subclass, nest=nest)
        costs = sched.costs
        if costs.spin_lock_ns:
            await cpu.spend(costs.spin_lock_ns)
        if self.owner is None:
            self._take(task, interrupt_context_level(cpu))
        else:
            await self._spin(cpu, task)
            if costs.spin_handover_ns:
                await cpu.spend(costs.spin_handover_ns)
        return cpu

    def try_lock(self, cpu: Cpu) -> bool:
        """Take the lock if it is free; return whether it was."""
        if self.owner is not None:
            return False
        task = cpu.current
        assert isinstance(task, Task)
        cpu.preempt_count += 1
        self._take(task, interrupt_context_level(cpu))
        if task.sched.lockdep is not None:
            task.sched.lockdep.acquire(cpu, self, trylock=True)
        return True

    async def unlock(self, cpu: Cpu) -> None:
        """Give the lock to the first spinner, or free it; then a preemptible kernel reschedules if it must."""
        self._release(cpu)
        cpu.preempt_count -= 1
        await preempt_check(cpu)

    async def unlock_irqrestore(self, cpu: Cpu, was_off: bool) -> None:
        """Give the lock up and turn interrupts on unless they were off before it was taken."""
        self._release(cpu)
        await cpu.irq_restore(was_off)
        cpu.preempt_count -= 1
        await preempt_check(cpu)

    def held(self, cpu: Cpu) -> Held:
        """Hold the lock for an ``async with`` block."""
        return Held(self, cpu, irqsave=False)

    def irqsave(self, cpu: Cpu) -> Held:
        """Hold the lock with interrupts off for an ``async with`` block."""
        return Held(self, cpu, irqsave=True)

    def init(self, cpu: Cpu) -> None:
        """Make the lock anew, as ``raw_spin_lock_init``; lockdep reports one that is held."""
        task = cpu.current
        assert isinstance(task, Task)
        if task.sched.lockdep is not None:
            task.sched.lockdep.check_freed(cpu, self)
        self.owner = None
        self._queue = []

    # --- the queue

    def holds(self, task: Task) -> bool:
        """Tell whether a task, or an interrupt on top of it, owns the lock."""
        return self.owner is task.sim

    def _take(self, task: Task, level: int) -> None:
        self.owner = task.sim
        self.level = level
        task.held_locks.append(self)

    async def _spin(self, cpu: Cpu, task: Task) -> None:
        ctx = task.sim
        ticket = Ticket(self, ctx, task)
        ticket.owner = self.owner
        for ahead in self._queue:
            if ahead.ctx is ctx:
                # The interrupted spinner is first in the queue and cannot go on before this one does.
                ticket.owner = ctx
        self._queue.append(ticket)
        self.contended += 1
        await cpu.stall(ticket)

    def _release(self, cpu: Cpu) -> None:
        task = cpu.current
        assert isinstance(task, Task)
        if task.sched.lockdep is not None:
            task.sched.lockdep.release(cpu, self)
        if self.owner is not task.sim:
            what = "already unlocked" if self.owner is None else "wrong owner"
            raise KernelBug(f"BUG: spinlock {what} on CPU#{cpu.id}, {task.comm}/{task.pid}: {self.name} at {cpu.engine.now} ns")
        release_held(task, self)
        if not self._queue:
            self.owner = None
            return
        ticket = self._queue.pop(0)
        ctx = ticket.ctx
        self._take(ticket.task, ticket.level)
        for waiting in self._queue:
            waiting.owner = ctx
        ticket.owner = None
        ticket.served = True
        ticket.poke()
        inner = ctx.stalled_on
        if inner is not None and inner is not ticket:
            find_deadlock(ctx, inner, cpu.engine.now)


class Held:
    """An ``async with`` block that holds a spinlock; its exit does nothing when an exception passes."""

    __slots__ = ("_cpu", "_irqsave", "_lock", "_was_off")

    def __init__(self, lock: RawSpinlock, cpu: Cpu, irqsave: bool) -> None:
        self._lock = lock
        self._cpu = cpu
        self._irqsave = irqsave
        self._was_off = False

    async def __aenter__(self) -> Cpu:
        if self._irqsave:
            self._was_off = await self._lock.lock_irqsave(self._cpu)
            return self._cpu
        return await self._lock.lock(self._cpu)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            return
        if self._irqsave:
            await self._lock.unlock_irqrestore(self._cpu, self._was_off)
        else:
            await self._lock.unlock(self._cpu)
