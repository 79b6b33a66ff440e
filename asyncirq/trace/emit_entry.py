"""Emit the records of the ways into the kernel: vectors, exceptions, NMI, IPIs and their function calls.

Each method builds one record, appends it and returns its ``seq``, the number that later records name as their cause.
"""

from __future__ import annotations

from asyncirq.trace.emitter import Emitter
from asyncirq.trace.events_entry import (
    CallFunctionEntry,
    CallFunctionExit,
    CallFunctionSingleEntry,
    CallFunctionSingleExit,
    CsdFunctionEntry,
    CsdFunctionExit,
    CsdQueueCpu,
    DeferredErrorApicEntry,
    DeferredErrorApicExit,
    ErrorApicEntry,
    ErrorApicExit,
    ExceptionEntry,
    ExceptionExit,
    IpiSendCpu,
    IpiSendCpumask,
    IrqWorkEntry,
    IrqWorkExit,
    LocalTimerEntry,
    LocalTimerExit,
    NmiHandler,
    RescheduleEntry,
    RescheduleExit,
    SignalDeliver,
    SpuriousApicEntry,
    SpuriousApicExit,
    ThermalApicEntry,
    ThermalApicExit,
    ThresholdApicEntry,
    ThresholdApicExit,
    VectorEntry,
    VectorExit,
    X86PlatformIpiEntry,
    X86PlatformIpiExit,
)
from asyncirq.trace.record import CpuView


class EntryEmitter(Emitter):
    """Emit the records of the ways into the kernel: vectors, exceptions, NMI, IPIs and their function calls."""

    __slots__ = ()

    def vector_entry(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU entered the vector of a device interrupt (ours: Linux has no tracepoint in ``common_interrupt``)."""
        seq = self.seq = self.seq + 1
        self._append(
            VectorEntry(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def vector_exit(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU leaves the vector of a device interrupt (ours: Linux has no tracepoint in ``common_interrupt``)."""
        seq = self.seq = self.seq + 1
        self._append(
            VectorExit(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def local_timer_entry(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU entered the vector of the local APIC timer."""
        seq = self.seq = self.seq + 1
        self._append(
            LocalTimerEntry(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def local_timer_exit(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU leaves the vector of the local APIC timer."""
        seq = self.seq = self.seq + 1
        self._append(
            LocalTimerExit(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def reschedule_entry(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU entered the vector of the reschedule IPI."""
        seq = self.seq = self.seq + 1
        self._append(
            RescheduleEntry(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def reschedule_exit(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU leaves the vector of the reschedule IPI."""
        seq = self.seq = self.seq + 1
        self._append(
            RescheduleExit(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def call_function_entry(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU entered the vector of the call-function IPI."""
        seq = self.seq = self.seq + 1
        self._append(
            CallFunctionEntry(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def call_function_exit(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU leaves the vector of the call-function IPI."""
        seq = self.seq = self.seq + 1
        self._append(
            CallFunctionExit(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def call_function_single_entry(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU entered the vector of the single call-function IPI."""
        seq = self.seq = self.seq + 1
        self._append(
            CallFunctionSingleEntry(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def call_function_single_exit(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU leaves the vector of the single call-function IPI."""
        seq = self.seq = self.seq + 1
        self._append(
            CallFunctionSingleExit(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def irq_work_entry(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU entered the vector of the irq_work self-IPI."""
        seq = self.seq = self.seq + 1
        self._append(
            IrqWorkEntry(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def irq_work_exit(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU leaves the vector of the irq_work self-IPI."""
        seq = self.seq = self.seq + 1
        self._append(
            IrqWorkExit(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vector)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def spurious_apic_entry(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU entered the vector of a spurious interrupt."""
        return self._put(SpuriousApicEntry, cpu, vector)

    def spurious_apic_exit(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU leaves the vector of a spurious interrupt."""
        return self._put(SpuriousApicExit, cpu, vector)

    def error_apic_entry(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU entered the vector of the APIC error interrupt."""
        return self._put(ErrorApicEntry, cpu, vector)

    def error_apic_exit(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU leaves the vector of the APIC error interrupt."""
        return self._put(ErrorApicExit, cpu, vector)

    def x86_platform_ipi_entry(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU entered the vector of the platform IPI."""
        return self._put(X86PlatformIpiEntry, cpu, vector)

    def x86_platform_ipi_exit(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU leaves the vector of the platform IPI."""
        return self._put(X86PlatformIpiExit, cpu, vector)

    def threshold_apic_entry(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU entered the vector of the machine-check threshold interrupt."""
        return self._put(ThresholdApicEntry, cpu, vector)

    def threshold_apic_exit(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU leaves the vector of the machine-check threshold interrupt."""
        return self._put(ThresholdApicExit, cpu, vector)

    def deferred_error_apic_entry(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU entered the vector of the deferred machine-check interrupt."""
        return self._put(DeferredErrorApicEntry, cpu, vector)

    def deferred_error_apic_exit(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU leaves the vector of the deferred machine-check interrupt."""
        return self._put(DeferredErrorApicExit, cpu, vector)

    def thermal_apic_entry(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU entered the vector of the thermal interrupt."""
        return self._put(ThermalApicEntry, cpu, vector)

    def thermal_apic_exit(self, cpu: CpuView, vector: int) -> int:
        """Record that the CPU leaves the vector of the thermal interrupt."""
        return self._put(ThermalApicExit, cpu, vector)

    def exception_entry(self, cpu: CpuView, vector: int, name: str) -> int:
        """Record that the CPU entered an exception (ours)."""
        return self._put(ExceptionEntry, cpu, vector, name)

    def exception_exit(self, cpu: CpuView, vector: int, name: str) -> int:
        """Record that the CPU leaves an exception (ours)."""
        return self._put(ExceptionExit, cpu, vector, name)

    def nmi_handler(self, cpu: CpuView, handler: str, delta_ns: int, handled: int) -> int:
        """Record that one NMI handler ran for ``delta_ns`` and took ``handled`` events."""
        return self._put(NmiHandler, cpu, handler, delta_ns, handled)

    def signal_deliver(self, cpu: CpuView, sig: int, errno: int, code: int, sa_handler: int, sa_flags: int) -> int:
        """Record that a signal was handed to the current task."""
        return self._put(SignalDeliver, cpu, sig, errno, code, sa_handler, sa_flags)

    def ipi_send_cpu(self, cpu: CpuView, target_cpu: int, callsite: str, callback: str) -> int:
        """Record that an IPI was sent to one CPU."""
        seq = self.seq = self.seq + 1
        self._append(
            IpiSendCpu(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                target_cpu,
                callsite,
                callback,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def ipi_send_cpumask(self, cpu: CpuView, cpumask: str, callsite: str, callback: str) -> int:
        """Record that an IPI was sent to a set of CPUs, ``cpumask`` in Linux's list form."""
        return self._put(IpiSendCpumask, cpu, cpumask, callsite, callback)

    def csd_queue_cpu(self, cpu: CpuView, target_cpu: int, callsite: str, func: str, csd: str) -> int:
        """Record that a call was queued for another CPU."""
        return self._put(CsdQueueCpu, cpu, target_cpu, callsite, func, csd)

    def csd_function_entry(self, cpu: CpuView, func: str, csd: str) -> int:
        """Record that a queued cross-CPU call is about to run."""
        return self._put(CsdFunctionEntry, cpu, func, csd)

    def csd_function_exit(self, cpu: CpuView, func: str, csd: str) -> int:
        """Record that a queued cross-CPU call returned."""
        return self._put(CsdFunctionExit, cpu, func, csd)
