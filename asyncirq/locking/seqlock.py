"""Read without locking, and again if a writer was at it: seqcount_t and seqlock_t.

A writer makes the count odd and even again; a reader waits until it is even, reads, and looks whether it is still the same. Writers
exclude each other by a lock of their own (a seqlock brings it along) and must not be preempted or interrupted by a reader. On PREEMPT_RT
the writer of a seqlock can be preempted, so a reader that finds the count odd takes the lock once, which lends the writer its priority.

Linux: include/linux/seqlock.h.
"""

from __future__ import annotations

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.irq_variants import BottomHalves, current_task
from asyncirq.locking.lockdep_class import Key, Tracked
from asyncirq.locking.spinlock import Spinlock
from asyncirq.sched.core import Sched
from asyncirq.sched.wait import preempt_check
from asyncirq.sim.word import Word


class EvenWord(Word):
    """Ready while no writer is at it; ``owner`` is the writer's context."""

    __slots__ = ("sequence",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.sequence = 0

    def ready(self) -> bool:
        """Tell whether the count is even."""
        return not self.sequence & 1


class Seqcount(Tracked):
    """A sequence count. Writers must exclude each other by a lock; ``guard`` is that of a seqlock."""

    __slots__ = ("_guard", "_word", "sched")

    def __init__(self, sched: Sched, name: str, key: Key | None = None, guard: Spinlock | None = None) -> None:
        super().__init__(name, key)
        self.sched = sched
        self._word = EvenWord(name)
        self._guard = guard

    @property
    def sequence(self) -> int:
        """The count: odd while a writer is at it."""
        return self._word.sequence

    async def read_begin(self, cpu: Cpu) -> int:
        """Wait until no writer is at it and return the count. Raises ``KernelBug`` when the writer is what this has interrupted."""
        lockdep = self.sched.lockdep
        if lockdep is not None:
            lockdep.acquire(cpu, self, 2)
            lockdep.release(cpu, self)
        word = self._word
        while word.sequence & 1:
            if self._guard is not None and self.sched.config.rt:
                await self._guard.unlock(await self._guard.lock(cpu))
                cpu = current_task(cpu).cpu
            else:
                cpu.preempt_count += 1
                await cpu.stall(word)
                cpu.preempt_count -= 1
                await preempt_check(cpu)
        return word.sequence

    def read_retry(self, start: int) -> bool:
        """Tell whether a writer came since ``read_begin``: what was read must be read again."""
        return self._word.sequence != start

    def write_begin(self, cpu: Cpu, subclass: int = 0) -> None:
        """Make the count odd: readers wait. Raises ``KernelBug`` where the writer could be preempted, and for a second writer."""
        if self._guard is None and not cpu.preempt_count and not cpu.irqs_off:
            raise KernelBug(f"WARNING: seqcount {self.name} is written with preemption on, on {cpu.name} at {cpu.engine.now} ns")
        word = self._word
        if self.sched.lockdep is not None:
            self.sched.lockdep.acquire(cpu, self, subclass=subclass)
        if word.sequence & 1:
            raise KernelBug(f"seqcount {self.name} has two writers, on {cpu.name} at {cpu.engine.now} ns")
        word.sequence += 1
        word.owner = current_task(cpu).sim

    def write_end(self, cpu: Cpu) -> None:
        """Make the count even again, and let readers go on."""
        if self.sched.lockdep is not None:
            self.sched.lockdep.release(cpu, self)
        word = self._word
        if not word.sequence & 1:
            raise KernelBug(f"seqcount {self.name} has no writer, on {cpu.name} at {cpu.engine.now} ns")
        word.sequence += 1
        word.owner = None
        word.poke()


class Seqlock:
    """A sequence count with the spinlock of its writers."""

    __slots__ = ("count", "spinlock")

    def __init__(self, sched: Sched, name: str, bh: BottomHalves | None = None, key: Key | None = None) -> None:
        self.spinlock = Spinlock(sched, name, bh, key)
        self.count = Seqcount(sched, f"{name}.seqcount", guard=self.spinlock)

    def __repr__(self) -> str:
        return self.spinlock.name

    async def read_begin(self, cpu: Cpu) -> int:
        """Wait until no writer is at it and return the count."""
        return await self.count.read_begin(cpu)

    def read_retry(self, start: int) -> bool:
        """Tell whether what was read since ``read_begin`` must be read again."""
        return self.count.read_retry(start)

    async def write_lock(self, cpu: Cpu) -> Cpu:
        """Exclude other writers, and make readers wait; return the CPU."""
        cpu = await self.spinlock.lock(cpu)
        self.count.write_begin(cpu)
        return cpu

    async def write_unlock(self, cpu: Cpu) -> None:
        """Let readers and other writers go on."""
        self.count.write_end(cpu)
        await self.spinlock.unlock(cpu)

    async def write_lock_irqsave(self, cpu: Cpu) -> tuple[Cpu, bool]:
        """Write with interrupts off (on PREEMPT_RT: as they are); return the CPU and whether they were off before."""
        cpu, was_off = await self.spinlock.lock_irqsave(cpu)
        self.count.write_begin(cpu)
        return cpu, was_off

    async def write_unlock_irqrestore(self, cpu: Cpu, was_off: bool) -> None:
        """End what ``write_lock_irqsave`` began."""
        self.count.write_end(cpu)
        await self.spinlock.unlock_irqrestore(cpu, was_off)
