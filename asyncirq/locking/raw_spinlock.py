"""Spin for a lock with preemption off, on every kernel; first come, first served.

The owner of the lock is the context that holds it, so a spinner's stall leads the deadlock walk from the lock to its
holder. Where a lock is taken both by a task and by a handler on one CPU, the task must turn interrupts off: it is
found out when the handler begins to spin.

Linux: include/linux/spinlock_api_smp.h; the queue is one of tickets.
"""

from __future__ import annotations

from types import TracebackType

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu, find_deadlock
from asyncirq.locking.deadlock import release_held
from asyncirq.sched.task import Task
from asyncirq.sched.wait import preempt_check
from asyncirq.sim.context import Context
from asyncirq.sim.word import Word


class Ticket(Word):
    """One spinner's place in the queue: ready when the lock has been handed to it. ``owner`` is the lock's."""

    __slots__ = ("ctx", "served", "task")

    def __init__(self, name: str, ctx: Context, task: Task) -> None:
        super().__init__(name)
        self.ctx = ctx
        self.task = task
        self.served = False

    def ready(self) -> bool:
        """Tell whether the lock is this spinner's."""
        return self.served


class RawSpinlock:
    """A lock that spins. Taking it raises the preempt count by one; whoever holds it must not sleep."""

    __slots__ = ("_queue", "contended", "name", "owner")

    def __init__(self, name: str) -> None:
        self.name = name
        self.owner: Context | None = None
        self.contended = 0
        self._queue: list[Ticket] = []

    def __repr__(self) -> str:
        return self.name

    # --- taking and giving up

    async def lock(self, cpu: Cpu) -> Cpu:
        """Take the lock, spinning until it is free; preemption is off from the first step on. Returns the CPU.

        Raises ``KernelBug`` on deadlock. Takes ``spin_lock_ns``, and ``spin_handover_ns`` after a spin.
        """
        cpu.preempt_count += 1
        task = cpu.current
        assert isinstance(task, Task)
        costs = task.sched.costs
        if costs.spin_lock_ns:
            await cpu.spend(costs.spin_lock_ns)
        if self.owner is None:
            self._take(task)
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
        self._take(task)
        return True

    async def unlock(self, cpu: Cpu) -> None:
        """Give the lock to the first spinner, or free it; then a preemptible kernel reschedules if it must."""
        self._release(cpu)
        cpu.preempt_count -= 1
        await preempt_check(cpu)

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

    # --- the queue

    def _take(self, task: Task) -> None:
        self.owner = task.sim
        task.held_locks.append(self)

    async def _spin(self, cpu: Cpu, task: Task) -> None:
        ctx = task.sim
        ticket = Ticket(self.name, ctx, task)
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
        if self.owner is not task.sim:
            what = "already unlocked" if self.owner is None else "wrong owner"
            raise KernelBug(f"BUG: spinlock {what} on CPU#{cpu.id}, {task.comm}/{task.pid}: {self.name} at {cpu.engine.now} ns")
        release_held(task, self)
        if not self._queue:
            self.owner = None
            return
        ticket = self._queue.pop(0)
        ctx = ticket.ctx
        self._take(ticket.task)
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
