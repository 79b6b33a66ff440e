"""Tell lockdep of interrupts switched on and off, without a test on the way of those that have no lockdep.

``watch(lockdep)`` gives every CPU of the machine a class whose verbs speak to lockdep first. What the hardware does to IF (an interrupt's
entry, iret) is not told: what is held across it was taken with interrupts on, and is marked so already.

Linux: include/linux/irqflags.h trace_hardirqs_on(), kernel/locking/lockdep.c lockdep_hardirqs_on_prepare().
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu
from asyncirq.locking.lockdep import Lockdep
from asyncirq.sched.preempt import HARDIRQ_MASK
from asyncirq.sched.task import Task


class LockdepCpu(Cpu):
    """A CPU whose switching of interrupts lockdep hears of."""

    __slots__ = ()

    def irq_disable(self) -> bool:
        """Clear IF; return whether interrupts were off already."""
        was_off = super().irq_disable()
        task = self.current
        if not was_off and isinstance(task, Task) and task.sched.lockdep.debug_locks:
            task.sched.lockdep.hardirqs_off(task)
        return was_off

    async def irq_enable(self) -> None:
        """Set IF and take what is pending; before that whatever is held counts as held with interrupts on."""
        task = self.current
        if self.irqs_off and isinstance(task, Task) and not self.preempt_count & HARDIRQ_MASK and task.sched.lockdep.debug_locks:
            task.sched.lockdep.hardirqs_on(self, task)
        await super().irq_enable()


def watch(lockdep: Lockdep) -> None:
    """Let lockdep hear of every switching of interrupts on its machine's CPUs, and let locks find it."""
    sched = lockdep.sched
    sched.lockdep = lockdep
    for cpu in sched.cpus:
        # A class of its own over whatever class the CPU has: other options do the same.
        cpu.__class__ = type(f"Lockdep{type(cpu).__name__}", (LockdepCpu, type(cpu)), {"__slots__": ()})
