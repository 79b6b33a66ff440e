"""Emit the records of the silicon: devices, lines, messages and interrupt controllers.

Each method builds one record, appends it and returns its ``seq``, the number that later records name as their cause.
"""

from __future__ import annotations

from asyncirq.trace.emitter import Emitter
from asyncirq.trace.events_hw import (
    DeviceRaise,
    IoapicDeliver,
    IoapicEoi,
    LapicEoi,
    LapicInta,
    LapicIrr,
    LapicSpurious,
    LineLevel,
    MsiWrite,
    NmiInta,
)
from asyncirq.trace.record import CpuView


class HwEmitter(Emitter):
    """Emit the records of the silicon: devices, lines, messages and interrupt controllers."""

    __slots__ = ()

    def device_raise(self, cause: int, device: str, source: str) -> int:
        """Record that a device decided to interrupt; ``source`` names the reason."""
        seq = self.seq = self.seq + 1
        self._append(DeviceRaise(seq, cause, self._clock.now, -1, -1, 0, 0, device, source))
        if seq >= self._flush_at:
            self.flush()
        return seq

    def line_level(self, cause: int, line: str, level: bool) -> int:
        """Record that a wire changed its level."""
        seq = self.seq = self.seq + 1
        self._append(LineLevel(seq, cause, self._clock.now, -1, -1, 0, 0, line, level))
        if seq >= self._flush_at:
            self.flush()
        return seq

    def msi_write(self, cause: int, address: int, data: int) -> int:
        """Record that a message-signalled interrupt went onto the bus."""
        seq = self.seq = self.seq + 1
        self._append(MsiWrite(seq, cause, self._clock.now, -1, -1, 0, 0, address, data))
        if seq >= self._flush_at:
            self.flush()
        return seq

    def ioapic_deliver(
        self,
        cause: int,
        ioapic: int,
        pin: int,
        vector: int,
        dest: int,
        dest_mode: str,
        delivery_mode: str,
        trigger: str,
    ) -> int:
        """Record that an IO-APIC sent a pin's interrupt to the APIC bus."""
        seq = self.seq = self.seq + 1
        self._append(IoapicDeliver(seq, cause, self._clock.now, -1, -1, 0, 0, ioapic, pin, vector, dest, dest_mode, delivery_mode, trigger))
        if seq >= self._flush_at:
            self.flush()
        return seq

    def ioapic_eoi(self, cause: int, ioapic: int, pin: int, vector: int) -> int:
        """Record that an EOI broadcast cleared a pin's remote IRR."""
        seq = self.seq = self.seq + 1
        self._append(IoapicEoi(seq, cause, self._clock.now, -1, -1, 0, 0, ioapic, pin, vector))
        if seq >= self._flush_at:
            self.flush()
        return seq

    def lapic_irr(self, cause: int, cpu_id: int, vector: int, trigger: str, coalesced: int) -> int:
        """Record that a local APIC accepted a vector.

        ``coalesced`` counts earlier raises still unserved in that slot.
        """
        seq = self.seq = self.seq + 1
        self._append(LapicIrr(seq, cause, self._clock.now, cpu_id, -1, 0, 0, vector, trigger, coalesced))
        if seq >= self._flush_at:
            self.flush()
        return seq

    def lapic_inta(self, cpu: CpuView, vector: int, irr_cause: int) -> int:
        """Record that the CPU acknowledged a vector: it moved from IRR to ISR.

        Its cause is ``irr_cause``, what raised the vector.
        """
        seq = self.seq = self.seq + 1
        self._append(
            LapicInta(seq, irr_cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def lapic_eoi(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU ended the vector in service."""
        seq = self.seq = self.seq + 1
        self._append(
            LapicEoi(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def lapic_spurious(self, cpu: CpuView, vector: int) -> int:
        """Record that the acknowledge cycle found nothing and yielded the spurious vector."""
        seq = self.seq = self.seq + 1
        self._append(
            LapicSpurious(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def nmi_inta(self, cpu: CpuView) -> int:
        """Record that the CPU took its pending NMI."""
        seq = self.seq = self.seq + 1
        self._append(NmiInta(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2))
        if seq >= self._flush_at:
            self.flush()
        return seq
