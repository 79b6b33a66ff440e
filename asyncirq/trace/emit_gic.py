"""Emit the records of Arm's interrupt controller and of its inter-processor interrupts."""

from __future__ import annotations

from asyncirq.trace.emitter import Emitter
from asyncirq.trace.events_gic import GicDir, GicEoir, GicIar, GicPend, IpiEntry, IpiExit, IpiRaise, ItsTranslate
from asyncirq.trace.record import CpuView


class GicEmitter(Emitter):
    """Emit the records of Arm's interrupt controller and of its inter-processor interrupts."""

    __slots__ = ()

    def gic_pend(self, cause: int, cpu_id: int, intid: int, trigger: str, coalesced: int) -> int:
        """Record that an interrupt became pending, for one CPU or (-1) for whichever its route names.

        ``coalesced`` counts earlier raises still unserved.
        """
        seq = self.seq = self.seq + 1
        self._append(GicPend(seq, cause, self._clock.now, cpu_id, -1, 0, 0, intid, trigger, coalesced))
        if seq >= self._flush_at:
            self.flush()
        return seq

    def gic_iar(self, cpu: CpuView, intid: int, irr_cause: int) -> int:
        """Record that the CPU read the acknowledge register. Its cause is ``irr_cause``, what made the interrupt pending."""
        seq = self.seq = self.seq + 1
        flags = cpu.irqs_off | cpu.need_resched << 2
        self._append(GicIar(seq, irr_cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, flags, intid))
        if seq >= self._flush_at:
            self.flush()
        return seq

    def gic_eoir(self, cpu: CpuView, intid: int) -> int:
        """Record that the CPU wrote the end register."""
        seq = self.seq = self.seq + 1
        flags = cpu.irqs_off | cpu.need_resched << 2
        self._append(GicEoir(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, flags, intid))
        if seq >= self._flush_at:
            self.flush()
        return seq

    def gic_dir(self, cpu: CpuView, intid: int) -> int:
        """Record that the CPU wrote the deactivate register."""
        return self._put(GicDir, cpu, intid)

    def its_translate(self, cause: int, cpu_id: int, device: int, eventid: int, intid: int) -> int:
        """Record that an ITS turned a device's event into an interrupt for the redistributor of one CPU."""
        seq = self.seq = self.seq + 1
        self._append(ItsTranslate(seq, cause, self._clock.now, cpu_id, -1, 0, 0, device, eventid, intid))
        if seq >= self._flush_at:
            self.flush()
        return seq

    def ipi_raise(self, cpu: CpuView, target_cpus: str, reason: str) -> int:
        """Record that an inter-processor interrupt was sent to a mask of CPUs."""
        return self._put(IpiRaise, cpu, target_cpus, reason)

    def ipi_entry(self, cpu: CpuView, reason: str) -> int:
        """Record that the work of an inter-processor interrupt begins."""
        return self._put(IpiEntry, cpu, reason)

    def ipi_exit(self, cpu: CpuView, reason: str) -> int:
        """Record that the work of an inter-processor interrupt is done."""
        return self._put(IpiExit, cpu, reason)
