"""Keep the marks that tell lockdep and the irqsoff tracer when interrupts are off, as entry code makes them.

The mark may be made more than once for one clearing of IF (after GS is right, and again on the interrupt stack): what finds interrupts
marked off already is only counted. Interrupts are marked on before the IRET that turns them on, so that the last trace of an
interrupt lies inside the section that it measures.

Linux: kernel/locking/lockdep.c lockdep_hardirqs_on() and its counters of redundant calls; kernel/trace/trace_preemptirq.c.
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu


class IrqFlagsTracer:
    """The marks of one machine.

    ``off[cpu]``: interrupts are marked off. ``sections[cpu]`` lists ``(from, to)`` in ns, the last one with -1 while it is open;
    ``redundant_on`` and ``redundant_off`` count the marks that changed nothing.
    """

    def __init__(self, cpus: list[Cpu]) -> None:
        self.off = [False] * len(cpus)
        self.sections: list[list[tuple[int, int]]] = [[] for _ in cpus]
        self.redundant_on = [0] * len(cpus)
        self.redundant_off = [0] * len(cpus)

    def hardirqs_off(self, cpu: Cpu) -> bool:
        """Mark interrupts off; return whether that was news."""
        index = cpu.id
        if self.off[index]:
            self.redundant_off[index] += 1
            return False
        self.off[index] = True
        self.sections[index].append((cpu.engine.now, -1))
        return True

    def hardirqs_on(self, cpu: Cpu) -> bool:
        """Mark interrupts on; return whether that was news."""
        index = cpu.id
        if not self.off[index]:
            self.redundant_on[index] += 1
            return False
        self.off[index] = False
        start, _ = self.sections[index][-1]
        self.sections[index][-1] = (start, cpu.engine.now)
        return True
