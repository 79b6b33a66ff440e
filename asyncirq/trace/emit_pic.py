"""Emit the records of the PC's old controllers, and of what an APIC refuses."""

from __future__ import annotations

from asyncirq.trace.emitter import Emitter
from asyncirq.trace.events_pic import LapicSmi, PicEoi, PicInta, PicIrr
from asyncirq.trace.record import CpuView, Record


class PicEmitter(Emitter):
    """Emit the records of the 8259."""

    __slots__ = ()

    def _put_silicon(self, kind: type[Record], cause: int, cpu_id: int, *fields: int | str) -> int:
        seq = self.seq = self.seq + 1
        self._append(kind(seq, cause, self._clock.now, cpu_id, -1, 0, 0, *fields))
        if seq >= self._flush_at:
            self.flush()
        return seq

    def pic_irr(self, cause: int, line: int) -> int:
        """Record a new request that is not masked."""
        return self._put_silicon(PicIrr, cause, -1, line)

    def pic_inta(self, cpu: CpuView, vector: int, irr_cause: int) -> int:
        """Record that the CPU acknowledged an 8259. Its cause is ``irr_cause``, what raised the line."""
        seq = self.seq = self.seq + 1
        flags = cpu.irqs_off | cpu.need_resched << 2
        self._append(PicInta(seq, irr_cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, flags, vector))
        if seq >= self._flush_at:
            self.flush()
        return seq

    def pic_eoi(self, cause: int, line: int) -> int:
        """Record that a line in service was ended."""
        return self._put_silicon(PicEoi, cause, -1, line)

    def lapic_smi(self, cause: int, cpu_id: int, vector: int) -> int:
        """Record that a local APIC refused a system management interrupt."""
        return self._put_silicon(LapicSmi, cause, cpu_id, vector)
