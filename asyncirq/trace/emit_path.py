"""Emit the records of the steps inside entry code."""

from __future__ import annotations

from asyncirq.trace.emitter import Emitter
from asyncirq.trace.events_path import EntryStep, NmiUnmasked
from asyncirq.trace.record import CpuView


class PathEmitter(Emitter):
    """Emit the records of the steps inside entry code."""

    __slots__ = ()

    def entry_step(self, cpu: CpuView, step: str, stack: str, sp: int) -> int:
        """Record one step of the entry code, with the stack that it is on then."""
        return self._put(EntryStep, cpu, step, stack, sp)

    def nmi_unmasked(self, cpu: CpuView) -> int:
        """Record that an IRET let NMIs in again before the NMI handler that runs has ended."""
        return self._put(NmiUnmasked, cpu)
