"""Keep account of where each class is used: in interrupts, or with interrupts on; the two must not meet.

A lock that is taken in a hard interrupt or a softirq is *safe*; one that is held with them on is *unsafe*. One class must not be both,
and no strong path may lead from a safe class to an unsafe one: an interrupt over the holder of the latter would close the circle.

Linux: kernel/locking/lockdep.c mark_lock(), mark_lock_irq(), check_irq_usage().
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu
from asyncirq.locking.lockdep_class import (
    ENABLED_BIT,
    ENABLED_MASK,
    HARDIRQ,
    READ_BIT,
    SOFTIRQ,
    USED,
    USED_IN_MASK,
    USED_READ,
    WRITE_MASK,
    HeldLock,
)
from asyncirq.locking.lockdep_graph import Step, search
from asyncirq.locking.lockdep_report import bad_irq_dependency, inconsistent, inversion
from asyncirq.locking.lockdep_state import LockdepState
from asyncirq.sched.preempt import SOFTIRQ_MASK
from asyncirq.sched.task import Task


def exclusive_mask(mask: int) -> int:
    """Return the usage that conflicts with a usage: the other direction, by readers and by others."""
    inverted = (mask & ENABLED_MASK) >> 2 | (mask & USED_IN_MASK) << 2
    return inverted | (inverted & ~WRITE_MASK) >> 1 | (inverted & WRITE_MASK) << 1


def usage_of(step: Step) -> int:
    """Return the usage of a class that counts at the end of a path: without readers where only a non-reader closes the circle."""
    return step.cls.usage & (WRITE_MASK if step.only_xr else 0xFF)


class LockdepUsage(LockdepState):
    """The usage bits of the classes of one machine."""

    def mark_usage(self, cpu: Cpu, task: Task, lock: HeldLock) -> bool:
        """Mark a lock that is about to be taken as used in this context; return False when that has been reported."""
        if lock.check:
            read = READ_BIT if lock.read else 0
            if not lock.trylock:
                for state, there in ((HARDIRQ, lock.context & 1), (SOFTIRQ, lock.context & 2)):
                    if there and not self._mark(cpu, task, lock, state | read):
                        return False
            if not lock.irqs_off and not self._mark_enabled(cpu, task, lock, read, not cpu.preempt_count & SOFTIRQ_MASK):
                return False
        return self._mark(cpu, task, lock, USED_READ if lock.read else USED)

    def _mark_enabled(self, cpu: Cpu, task: Task, lock: HeldLock, read: int, softirqs: bool) -> bool:
        if not self._mark(cpu, task, lock, HARDIRQ | ENABLED_BIT | read):
            return False
        return not softirqs or self._mark(cpu, task, lock, SOFTIRQ | ENABLED_BIT | read)

    def hardirqs_on(self, cpu: Cpu, task: Task) -> None:
        """Mark what a task holds as held with interrupts on: they are about to be turned on. Linux: lockdep_hardirqs_on_prepare()."""
        state = self.locks_of(task)
        state.event("hardirqs last  enabled")
        softirqs = not cpu.preempt_count & SOFTIRQ_MASK
        for lock in tuple(state.held):
            if self.debug_locks and lock.check and not self._mark_enabled(cpu, task, lock, READ_BIT if lock.read else 0, softirqs):
                return

    def hardirqs_off(self, task: Task) -> None:
        """Note that interrupts were turned off."""
        self.locks_of(task).event("hardirqs last disabled")

    def softirqs_on(self, cpu: Cpu, task: Task) -> None:
        """Mark what a task holds as held with softirqs on: the outermost BH-disabled section ends. Linux: lockdep_softirqs_on()."""
        state = self.locks_of(task)
        state.event("softirqs last  enabled")
        if cpu.irqs_off:
            return
        for lock in tuple(state.held):
            bit = SOFTIRQ | ENABLED_BIT | (READ_BIT if lock.read else 0)
            if self.debug_locks and lock.check and not self._mark(cpu, task, lock, bit):
                return

    def softirqs_off(self, task: Task) -> None:
        """Note that bottom halves were turned off."""
        self.locks_of(task).event("softirqs last disabled")

    # --- one bit

    def _mark(self, cpu: Cpu, task: Task, lock: HeldLock, bit: int) -> bool:
        cls = lock.cls
        if cls.usage >> bit & 1:
            return True
        cls.usage |= 1 << bit
        if bit < USED_READ:
            cls.traces[bit] = self.trace_of()
        if bit >= USED:
            return True
        opposite = (bit & ~READ_BIT) ^ ENABLED_BIT
        if self._conflicts(cpu, task, lock, opposite, bit):
            return False
        if not bit & READ_BIT and self._conflicts(cpu, task, lock, opposite | READ_BIT, bit):
            return False
        return self._check_path(cpu, task, lock, opposite, forwards=not bit & ENABLED_BIT)

    def _conflicts(self, cpu: Cpu, task: Task, lock: HeldLock, bad: int, new: int) -> bool:
        if not lock.cls.usage >> bad & 1:
            return False
        state = self.locks_of(task)
        self.report(cpu, task, inconsistent(cpu, task, lock, (bad, new), state.held, state.event_lines()))
        return True

    def _check_path(self, cpu: Cpu, task: Task, lock: HeldLock, bit: int, forwards: bool) -> bool:
        """Look for a class with the opposite usage behind a lock that became safe, before one that became unsafe."""
        mask = 1 << bit | 1 << (bit | READ_BIT)
        root = Step(lock.cls, lock.read == 2 if forwards else lock.read != 0)
        found = search(root, lambda step: bool(usage_of(step) & mask), backwards=not forwards, percpu=False)
        if found is None:
            return True
        which = bit if found.cls.usage >> bit & 1 else bit | READ_BIT
        self.report(cpu, task, inversion(task, lock, found, which, forwards, self.locks_of(task).held, self.trace_of()))
        return False

    # --- a new edge

    def check_irq_edge(self, cpu: Cpu, task: Task, prev: HeldLock, following: HeldLock) -> bool:
        """Look whether a new edge connects a safe class before it with an unsafe one behind it; return False if so, reported."""
        safe = 0

        def gather(step: Step) -> bool:
            nonlocal safe
            safe |= usage_of(step)
            return False

        back_root = Step(prev.cls, prev.read != 0)
        search(back_root, gather, backwards=True, percpu=False)
        safe &= USED_IN_MASK
        if not safe:
            return True
        wanted = exclusive_mask(safe)
        fore = search(Step(following.cls, following.read == 2), lambda step: bool(usage_of(step) & wanted), percpu=False)
        if fore is None:
            return True
        # What is softirq-safe itself may stand behind: only what it is unsafe for is looked for before.
        origin = exclusive_mask(fore.cls.usage & ENABLED_MASK)
        back = search(back_root, lambda step: bool(usage_of(step) & origin), backwards=True, percpu=False)
        if back is None:
            return True
        bits = _pair(back.cls.usage, fore.cls.usage)
        if bits is None:
            return True
        held = self.locks_of(task).held
        self.report(cpu, task, bad_irq_dependency(cpu, task, (back, fore), bits, (prev, following), held, self.trace_of()))
        return False


def _pair(before: int, behind: int) -> tuple[int, int] | None:
    for bit in range(USED):
        if before >> bit & 1:
            opposite = (bit & ~READ_BIT) ^ ENABLED_BIT
            for other in (opposite, opposite | READ_BIT):
                if behind >> other & 1:
                    return bit, other
    return None
