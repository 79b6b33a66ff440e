"""Keep data for each CPU that needs no lock: only its own CPU touches it, with interrupts off.

With interrupts off nothing else runs on the CPU, and no other CPU comes near: poll lists, the lists of the tasklets, completion queues.
Whoever breaks the rule is told so where the kernel has lockdep; a dead CPU's data may be taken over. Where no time passes between a
look and a change interrupts need not be off here: ``check_hand`` is for those, NAPI's poll list and the tasklets' among them.

Linux: include/linux/percpu-defs.h, lockdep_assert_irqs_disabled().
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from asyncirq.hw.cpu import Cpu
from asyncirq.locking.irq_variants import current_task
from asyncirq.locking.lockdep_report import Finding, who
from asyncirq.sched.core import Sched

T = TypeVar("T")


class PerCpu(Generic[T]):
    """Something for each CPU, made by ``make()``."""

    def __init__(self, sched: Sched, name: str, make: Callable[[], T]) -> None:
        self.sched = sched
        self.name = name
        self._each = [make() for _ in sched.cpus]
        self._dead = [False] * len(self._each)

    def mine(self, cpu: Cpu) -> T:
        """Return what is this CPU's. Trace: lockdep_report and printk when an interrupt could come in between."""
        if self.sched.lockdep is not None and not cpu.irqs_off:
            self._violated(cpu, f"{self.name} of {cpu.name} is used with interrupts on")
        return self._each[cpu.id]

    def of(self, cpu: Cpu, index: int) -> T:
        """Return what is another CPU's, which is right only once that one is dead. Trace: lockdep_report and printk else."""
        if index == cpu.id:
            return self.mine(cpu)
        if self.sched.lockdep is not None and not self._dead[index]:
            self._violated(cpu, f"{self.name} of CPU{index} is used by {cpu.name}")
        return self._each[index]

    def take_over(self, cpu: Cpu, index: int) -> T:
        """Return what a dead CPU has left, and begin an order in which anybody alive may touch it."""
        self._dead[index] = True
        return self.of(cpu, index)

    def alive(self, index: int) -> None:
        """Give a CPU that has come up its data back."""
        self._dead[index] = False

    def _violated(self, cpu: Cpu, what: str) -> None:
        _report(self.sched, cpu, self.name, what)


def check_hand(sched: Sched, cpu: Cpu, name: str) -> None:
    """Hold whoever runs now to it that it may touch this CPU's ``name``: it runs there. Trace: lockdep_report and printk else.

    To be called where the kernel has lockdep. What is no CPU, a test or a device, may do as it likes.
    """
    sim = sched.engine.current
    if sim is None or cpu.current.sim is sim:
        return
    for other in sched.cpus:
        if other.current.sim is sim:
            _report(sched, other, name, f"{name} of {cpu.name} is used by {other.name}")


def _report(sched: Sched, cpu: Cpu, name: str, what: str) -> None:
    task = current_task(cpu)
    lockdep = sched.lockdep
    if lockdep.debug_locks:
        body = [f"{who(task)} breaks the rule of per-CPU data:", what]
        lockdep.report(cpu, task, Finding("percpu", "WARNING: per-CPU data without a lock", 36, name, "", body))
