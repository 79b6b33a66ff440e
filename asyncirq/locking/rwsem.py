"""Sleep on a rw-semaphore: many readers or one writer, first come, first served.

Whoever finds somebody waiting waits too, so writers do not starve. When readers' turn has come all readers in the queue get in at once.
A free semaphore may be taken by a writer that comes along before the woken one runs; one that was overtaken asks for a hand-off.
On PREEMPT_RT it is a ``RwBase``.

Linux: kernel/locking/rwsem.c. Model: no spinning on a running owner (CONFIG_RWSEM_SPIN_ON_OWNER); a hand-off is asked for at the second
try instead of after 4 ms; readers steal nothing.
"""

from __future__ import annotations

from asyncirq.errors import KernelBug
from asyncirq.locking.deadlock import check_chain, release_held
from asyncirq.locking.lockdep_class import LD_WAIT_SLEEP, Key, Tracked
from asyncirq.locking.rwbase import RwBase
from asyncirq.sched.core import Sched
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.task import TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task


class RwSemaphore(Tracked):
    """A rw-semaphore for task context. Semaphores made with the same ``key`` are one class to lockdep."""

    __slots__ = ("_handoff", "_readers", "_rt", "_waiters", "_writer", "contended", "sched")

    wait_inner = LD_WAIT_SLEEP

    def __init__(self, sched: Sched, name: str, key: Key | None = None) -> None:
        super().__init__(name, key)
        self.sched = sched
        self.contended = 0
        self._rt = RwBase(sched, name, rtlock=False) if sched.config.rt else None
        self._writer: Task | None = None
        self._readers: list[Task] = []
        self._waiters: list[tuple[Task, bool]] = []
        self._handoff = False

    @property
    def owner(self) -> Task | None:
        """Who must give it up first: the writer, or the first of the readers."""
        if self._writer is not None:
            return self._writer
        return self._readers[0] if self._readers else None

    @property
    def readers(self) -> int:
        """How many readers hold it."""
        return len(self._readers if self._rt is None else self._rt.readers)

    @property
    def writer(self) -> Task | None:
        """Who holds it alone."""
        return self._writer if self._rt is None else self._rt.writer

    def holds(self, task: Task) -> bool:
        """Tell whether a task has it, to read or to write."""
        return self._writer is task or task in self._readers

    # --- readers

    def try_read(self, task: Task) -> bool:
        """Take it for reading if no writer has it and nobody waits; return whether it was taken."""
        taken = self._rt.try_read(task) if self._rt is not None else self._try(task, write=False)
        if taken and self.sched.lockdep is not None:
            self.sched.lockdep.acquire(task.cpu, self, 1, trylock=True)
        return taken

    async def down_read(self, task: Task, subclass: int = 0) -> None:
        """Take it for reading. Raises ``KernelBug`` in atomic context and on deadlock. Trace: sched_switch."""
        if self.sched.lockdep is not None:
            self.sched.lockdep.acquire(task.cpu, self, 1, subclass=subclass)
        await self._down(task, f"down_read({self.name})", write=False)

    async def up_read(self, task: Task) -> None:
        """Give it up after reading; the last reader wakes who waits. Trace: sched_waking."""
        if self.sched.lockdep is not None:
            self.sched.lockdep.release(task.cpu, self)
        if self._rt is not None:
            await self._rt.read_unlock(task)
            return
        if task not in self._readers:
            self._not_held(task)
        self._readers.remove(task)
        release_held(task, self)
        if not self._readers:
            await self._wake(task)

    # --- writers

    def try_write(self, task: Task) -> bool:
        """Take it for writing if nobody has it; return whether it was taken."""
        taken = self._rt.try_write(task) if self._rt is not None else self._try(task, write=True)
        if taken and self.sched.lockdep is not None:
            self.sched.lockdep.acquire(task.cpu, self, trylock=True)
        return taken

    async def down_write(self, task: Task, subclass: int = 0, nest: Tracked | None = None) -> None:
        """Take it for writing. Raises ``KernelBug`` in atomic context and on deadlock. Trace: sched_switch."""
        if self.sched.lockdep is not None:
            self.sched.lockdep.acquire(task.cpu, self, subclass=subclass, nest=nest)
        await self._down(task, f"down_write({self.name})", write=True)

    async def up_write(self, task: Task) -> None:
        """Give it up after writing and wake who waits. Trace: sched_waking."""
        if self.sched.lockdep is not None:
            self.sched.lockdep.release(task.cpu, self)
        if self._rt is not None:
            await self._rt.write_unlock(task)
            return
        if self._writer is not task:
            self._not_held(task)
        self._writer = None
        release_held(task, self)
        await self._wake(task)

    async def downgrade_write(self, task: Task) -> None:
        """Become a reader without letting another writer in between, and wake the readers that wait first."""
        if self.sched.lockdep is not None:
            self.sched.lockdep.downgrade(task.cpu, self)
        if self._rt is not None:
            await self._rt.downgrade(task)
            return
        if self._writer is not task:
            self._not_held(task)
        self._writer = None
        self._readers.append(task)
        if self._waiters and not self._waiters[0][1]:
            await self._wake(task)

    def init(self, task: Task) -> None:
        """Make it anew, as ``init_rwsem``; lockdep reports one that is held."""
        if self.sched.lockdep is not None:
            self.sched.lockdep.check_freed(task.cpu, self)
        self._writer = None
        self._readers = []
        self._waiters = []
        if self._rt is not None:
            self._rt = RwBase(self.sched, self.name, rtlock=False)

    # --- the queue

    async def _down(self, task: Task, where: str, write: bool) -> None:
        might_sleep(task, where)
        if self._rt is not None:
            await (self._rt.write_lock(task) if write else self._rt.read_lock(task))
            return
        cost = self.sched.costs.lock_fast_ns
        if cost:
            await task.spend(cost)
        if self._try(task, write):
            return
        check_chain(task, self)
        self.contended += 1
        entry = (task, write)
        self._waiters.append(entry)
        task.blocked_on = self
        first_try = True
        while True:
            task.set_current_state(TASK_UNINTERRUPTIBLE)
            if self._writer is task or (not write and entry not in self._waiters):
                break
            if write and self._waiters[0] is entry:
                if self._writer is None and not self._readers:
                    self._waiters.pop(0)
                    self._take(task, write=True)
                    break
                self._handoff = self._handoff or not first_try
            await task.schedule()
            first_try = False
        task.set_current_state(TASK_RUNNING)
        task.blocked_on = None
        if write:
            self._handoff = False

    def _try(self, task: Task, write: bool) -> bool:
        if self._writer is not None or self._handoff:
            return False
        if self._readers if write else self._waiters:
            return False
        self._take(task, write)
        return True

    def _take(self, task: Task, write: bool) -> None:
        if write:
            self._writer = task
        else:
            self._readers.append(task)
        task.held_locks.append(self)

    async def _wake(self, task: Task) -> None:
        """Wake the writer whose turn it is, or let in and wake every reader that waits if a reader is first."""
        if not self._waiters:
            return
        first, write = self._waiters[0]
        if write:
            woken = [first]
            if self._handoff:
                self._waiters.pop(0)
                self._take(first, write=True)
                first.blocked_on = None
        else:
            woken = [waiter for waiter, waits_to_write in self._waiters if not waits_to_write]
            self._waiters = [entry for entry in self._waiters if entry[1]]
            for reader in woken:
                self._take(reader, write=False)
                reader.blocked_on = None
        cpu = task.preempt_disable()
        if self.sched.costs.lock_handover_ns:
            await cpu.spend(self.sched.costs.lock_handover_ns)
        for waiter in woken:
            await self.sched.wake_up_process(cpu, waiter)
        await task.preempt_enable()

    def _not_held(self, task: Task) -> None:
        raise KernelBug(f"{task.comm}/{task.pid} gives up {self.name}, which it does not hold, at {self.sched.engine.now} ns")
