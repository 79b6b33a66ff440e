"""Let interrupts nest by level, as a classic UNIX does: the clock interrupts the disk, and never the other way round.

A handler runs with interrupts on and the task priority raised to the class of its vector. Linux does without: an urgent handler
with interrupts off, and a deferred part for the rest.
"""

from __future__ import annotations

from asyncirq.bottom_half.softirq import Softirq
from asyncirq.entry.common import Entry
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IrqDesc
from asyncirq.sched.preempt import HARDIRQ_MASK, HARDIRQ_OFFSET


class Levels(Entry):
    """The entry points of a kernel whose device interrupts have levels: the upper four bits of their vectors."""

    def __init__(self, softirq: Softirq, vector_irq: list[list[IrqDesc | None]]) -> None:
        super().__init__(softirq, vector_irq)
        self._raised: list[list[tuple[int, int]]] = [[] for _ in self.sched.cpus]

    async def common_interrupt(self, cpu: Cpu, vector: int) -> None:
        """Hold back what is not above this vector's level until the interrupt ends."""
        lapic = cpu.lapic
        depth = (cpu.preempt_count & HARDIRQ_MASK) + HARDIRQ_OFFSET
        self._raised[cpu.id].append((depth, lapic.tpr))
        lapic.tpr = max(lapic.tpr, vector & 0xF0)
        await super().common_interrupt(cpu, vector)

    async def irq_exit(self, cpu: Cpu) -> None:
        """Lower the level again before softirqs and the reschedule, which must stay the last statement."""
        raised = self._raised[cpu.id]
        if raised and raised[-1][0] == cpu.preempt_count & HARDIRQ_MASK:
            cpu.lapic.tpr = raised.pop()[1]
        await super().irq_exit(cpu)
