"""Lock with rwlock_t: many readers or one writer, spinning; on PREEMPT_RT they sleep (``RwBase``).

``lock.read`` and ``lock.write`` are its two sides, each with every variant of a spinlock_t. Where the kernel has queued rwlocks whoever
finds somebody waiting waits too; only a reader in an interrupt gets past waiting writers, so it may recurse. Elsewhere every reader
does, and writers may starve.

Linux: include/linux/rwlock.h, kernel/locking/qrwlock.c, kernel/locking/spinlock_rt.c.
"""

from __future__ import annotations

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.deadlock import release_held
from asyncirq.locking.irq_variants import BottomHalves, RtVariants, current_task
from asyncirq.locking.lockdep_class import LD_WAIT_CONFIG, Key, Tracked
from asyncirq.locking.rwbase import RwBase
from asyncirq.sched.core import Sched
from asyncirq.sched.preempt import in_interrupt
from asyncirq.sched.task import Task
from asyncirq.sched.wait import preempt_check
from asyncirq.sim.context import Context
from asyncirq.sim.word import Word


class RwTicket(Word):
    """One spinner's place in the queue: ready when it has been let in. ``owner`` is whoever is ahead of it, or holds the lock."""

    __slots__ = ("ctx", "served", "task", "write")

    def __init__(self, name: str, task: Task, write: bool) -> None:
        super().__init__(name)
        self.ctx = task.sim
        self.task = task
        self.write = write
        self.served = False

    def ready(self) -> bool:
        """Tell whether this spinner has been let in."""
        return self.served


class RwLock(Tracked):
    """An rwlock_t. ``bh`` is needed for ``lock_bh`` alone; locks made with the same ``key`` are one class to lockdep."""

    __slots__ = ("_queue", "_queued", "_urgent", "contended", "read", "readers", "rt", "sched", "write", "writer")

    wait_inner = LD_WAIT_CONFIG

    def __init__(self, sched: Sched, name: str, bh: BottomHalves | None = None, key: Key | None = None) -> None:
        super().__init__(name, key)
        self.sched = sched
        self.contended = 0
        self.writer: Context | None = None
        self.readers: list[Context] = []
        self.rt = RwBase(sched, name, rtlock=True) if sched.config.rt else None
        self.read = ReadSide(self, bh)
        self.write = WriteSide(self, bh)
        self._queued = sched.config.queued_rwlocks
        self._queue: list[RwTicket] = []
        self._urgent: list[RwTicket] = []

    def init(self, cpu: Cpu) -> None:
        """Make the lock anew, as ``rwlock_init``; lockdep reports one that is held."""
        if self.sched.lockdep is not None:
            self.sched.lockdep.check_freed(cpu, self)
        self.writer = None
        self.readers = []
        if self.rt is not None:
            self.rt = RwBase(self.sched, self.name, rtlock=True)

    def recurses(self, cpu: Cpu) -> bool:
        """Tell whether a reader here gets past waiting writers."""
        return not self._queued or in_interrupt(cpu)

    def try_enter(self, cpu: Cpu, write: bool) -> bool:
        """Let in what runs on ``cpu`` if nobody is in its way."""
        task = current_task(cpu)
        if self.writer is not None or (self.readers if write else self._queue and not self.recurses(cpu)):
            return False
        if write and self._queue:
            return False
        self._enter(task, write)
        return True

    async def spin(self, cpu: Cpu, write: bool) -> None:
        """Wait in the queue, or beside it, until let in. Raises ``KernelBug`` on deadlock."""
        task = current_task(cpu)
        ticket = RwTicket(self.name, task, write)
        urgent = not write and self.recurses(cpu)
        line = self._urgent if urgent else self._queue
        ticket.owner = line[-1].ctx if line and not urgent else self._holder()
        line.append(ticket)
        self.contended += 1
        await cpu.stall(ticket)
        if task.sched.costs.spin_handover_ns:
            await cpu.spend(task.sched.costs.spin_handover_ns)

    def leave(self, cpu: Cpu, write: bool) -> None:
        """End one hold, and let in whoever is next. Raises ``KernelBug`` for a lock that is not held so."""
        task = current_task(cpu)
        ctx = task.sim
        if self.writer is not ctx if write else ctx not in self.readers:
            side = "write" if write else "read"
            where = f"CPU#{cpu.id}, {task.comm}/{task.pid}: {self.name} at {cpu.engine.now} ns"
            raise KernelBug(f"BUG: rwlock is not held for {side} on {where}")
        if write:
            self.writer = None
        else:
            self.readers.remove(ctx)
        release_held(task, self)
        self._admit()

    def holds(self, task: Task) -> bool:
        """Tell whether a task has it, to read or to write."""
        return self.writer is task.sim or task.sim in self.readers

    def _holder(self) -> Context | None:
        if self.writer is not None:
            return self.writer
        return self.readers[0] if self.readers else None

    def _enter(self, task: Task, write: bool) -> None:
        if write:
            self.writer = task.sim
        else:
            self.readers.append(task.sim)
        task.held_locks.append(self)

    def _admit(self) -> None:
        """Let in, once no writer is inside: every reader that need not queue, then the queue's head, readers together."""
        if self.writer is not None:
            return
        admitted, self._urgent = self._urgent, []
        queue = self._queue
        while queue:
            head = queue[0]
            if head.write and (self.readers or admitted):
                break
            admitted.append(queue.pop(0))
            if head.write:
                break
        for ticket in admitted:
            self._enter(ticket.task, ticket.write)
            ticket.owner = None
            ticket.served = True
        if queue:
            queue[0].owner = self._holder()
        for ticket in admitted:
            ticket.poke()


class RwSide(RtVariants):
    """One side of an rwlock_t. Its variants are those of a spinlock_t."""

    __slots__ = ("rwlock",)

    kind = "rwlock"
    writes = False

    def __init__(self, rwlock: RwLock, bh: BottomHalves | None) -> None:
        super().__init__(rwlock.name, rwlock.rt is not None, bh)
        self.rwlock = rwlock

    async def lock(self, cpu: Cpu, subclass: int = 0) -> Cpu:
        """Take the lock in whatever runs on ``cpu`` and return the CPU that it is on now.

        Raises ``KernelBug`` on deadlock, and on PREEMPT_RT in atomic context.
        """
        rwlock = self.rwlock
        sched = rwlock.sched
        if rwlock.rt is None:
            cpu.preempt_count += 1
        if sched.lockdep is not None:
            sched.lockdep.acquire(cpu, rwlock, self._way(cpu), subclass=subclass)
        if rwlock.rt is not None:
            task = current_task(cpu)
            await (rwlock.rt.write_lock(task) if self.writes else rwlock.rt.read_lock(task))
            return task.migrate_disable()
        if sched.costs.spin_lock_ns:
            await cpu.spend(sched.costs.spin_lock_ns)
        if not rwlock.try_enter(cpu, self.writes):
            await rwlock.spin(cpu, self.writes)
        return cpu

    def try_lock(self, cpu: Cpu) -> bool:
        """Take the lock if nobody is in the way; return whether it was taken."""
        rwlock = self.rwlock
        if rwlock.rt is not None:
            task = current_task(cpu)
            taken = rwlock.rt.try_write(task) if self.writes else rwlock.rt.try_read(task)
            if taken:
                task.migrate_disable()
        else:
            taken = rwlock.try_enter(cpu, self.writes)
            cpu.preempt_count += taken
        if taken and rwlock.sched.lockdep is not None:
            rwlock.sched.lockdep.acquire(cpu, rwlock, self._way(cpu), trylock=True)
        return taken

    async def unlock(self, cpu: Cpu) -> None:
        """Give the lock up."""
        rwlock = self.rwlock
        if rwlock.sched.lockdep is not None:
            rwlock.sched.lockdep.release(cpu, rwlock)
        if rwlock.rt is not None:
            task = current_task(cpu)
            if task is rwlock.rt.writer if self.writes else task in rwlock.rt.readers:
                task.migrate_enable()
            await (rwlock.rt.write_unlock(task) if self.writes else rwlock.rt.read_unlock(task))
            return
        rwlock.leave(cpu, self.writes)
        cpu.preempt_count -= 1
        await preempt_check(cpu)

    async def _unlock_irqrestore(self, cpu: Cpu, was_off: bool) -> None:
        rwlock = self.rwlock
        if rwlock.sched.lockdep is not None:
            rwlock.sched.lockdep.release(cpu, rwlock)
        rwlock.leave(cpu, self.writes)
        await cpu.irq_restore(was_off)
        cpu.preempt_count -= 1
        await preempt_check(cpu)

    def _way(self, cpu: Cpu) -> int:
        if self.writes:
            return 0
        return 2 if self.rwlock.recurses(cpu) else 1


class ReadSide(RwSide):
    """The readers' side."""

    __slots__ = ()


class WriteSide(RwSide):
    """The writers' side."""

    __slots__ = ()

    writes = True
