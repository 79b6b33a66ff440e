"""Read under RCU in each of its flavours, checked by lockdep where the kernel has it: plain, with bottom halves off, with preemption off.

Linux: include/linux/rcupdate.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from asyncirq.hw.cpu import Cpu
from asyncirq.locking.irq_variants import current_task
from asyncirq.sched.task import Task

if TYPE_CHECKING:
    from asyncirq.bottom_half.rcu import Rcu

Flavour = Literal["rcu", "rcu_bh", "rcu_sched"]


class RcuFlavours:
    """The readers of one machine's RCU. Each pair of calls nests with itself and the others."""

    def __init__(self, rcu: Rcu) -> None:
        self.rcu = rcu
        self.sched = rcu.sched

    async def lock(self, flavour: Flavour, task: Task) -> Cpu:
        """Begin a reader: ``rcu_read_lock``, ``rcu_read_lock_bh`` or ``rcu_read_lock_sched``; return the CPU."""
        if flavour == "rcu":
            self.rcu.rcu_read_lock(task.cpu)
            return task.cpu
        cpu = await self.rcu.softirq.local_bh_disable(task) if flavour == "rcu_bh" else task.preempt_disable()
        if self.sched.lockdep is not None:
            self.sched.lockdep.acquire(cpu, self._map(flavour), 2, check=False)
        return cpu

    async def unlock(self, flavour: Flavour, task: Task) -> None:
        """End a reader."""
        if flavour == "rcu":
            self.rcu.rcu_read_unlock(task)
            return
        if self.sched.lockdep is not None:
            self.sched.lockdep.release(task.cpu, self._map(flavour))
        if flavour == "rcu_bh":
            await self.rcu.softirq.local_bh_enable(task)
        else:
            await task.preempt_enable()

    def held(self, flavour: Flavour, cpu: Cpu) -> bool:
        """Tell whether what runs on a CPU is such a reader; without lockdep always. Linux: rcu_read_lock_held() and its like.

        Preemption or interrupts off make a reader of the ``rcu_sched`` flavour, bottom halves off or a softirq one of ``rcu_bh``.
        """
        lockdep = self.sched.lockdep
        if lockdep is None or not lockdep.debug_locks:
            return True
        if lockdep.is_held(current_task(cpu), self._map(flavour)):
            return True
        if flavour == "rcu_sched":
            return cpu.irqs_off or cpu.preempt_count != 0
        return flavour == "rcu_bh" and (cpu.irqs_off or bool(cpu.preempt_count & 0xFF00))

    def check(self, flavour: Flavour, cpu: Cpu, condition: bool = False) -> None:
        """Report a pointer under RCU that is followed by no reader, and without ``condition``. Linux: rcu_dereference_check()."""
        if not condition and not self.held(flavour, cpu):
            self.sched.lockdep.rcu_suspicious(cpu, "suspicious rcu_dereference_check() usage")

    def _map(self, flavour: Flavour) -> object:
        return getattr(self.sched.lockdep, flavour)
