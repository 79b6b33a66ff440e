"""Define the records of the ways into the kernel: vectors, exceptions, NMI, IPIs and their function calls."""

from __future__ import annotations

from asyncirq.trace.record import Record


class VectorEntry(Record, tag="vector_entry"):
    """Tell that the CPU entered the vector of a device interrupt (ours: Linux has no tracepoint in ``common_interrupt``)."""

    vector: int


class VectorExit(Record, tag="vector_exit"):
    """Tell that the CPU leaves the vector of a device interrupt (ours: Linux has no tracepoint in ``common_interrupt``)."""

    vector: int


class LocalTimerEntry(Record, tag="local_timer_entry"):
    """Tell that the CPU entered the vector of the local APIC timer."""

    vector: int


class LocalTimerExit(Record, tag="local_timer_exit"):
    """Tell that the CPU leaves the vector of the local APIC timer."""

    vector: int


class RescheduleEntry(Record, tag="reschedule_entry"):
    """Tell that the CPU entered the vector of the reschedule IPI."""

    vector: int


class RescheduleExit(Record, tag="reschedule_exit"):
    """Tell that the CPU leaves the vector of the reschedule IPI."""

    vector: int


class CallFunctionEntry(Record, tag="call_function_entry"):
    """Tell that the CPU entered the vector of the call-function IPI."""

    vector: int


class CallFunctionExit(Record, tag="call_function_exit"):
    """Tell that the CPU leaves the vector of the call-function IPI."""

    vector: int


class CallFunctionSingleEntry(Record, tag="call_function_single_entry"):
    """Tell that the CPU entered the vector of the single call-function IPI."""

    vector: int


class CallFunctionSingleExit(Record, tag="call_function_single_exit"):
    """Tell that the CPU leaves the vector of the single call-function IPI."""

    vector: int


class IrqWorkEntry(Record, tag="irq_work_entry"):
    """Tell that the CPU entered the vector of the irq_work self-IPI."""

    vector: int


class IrqWorkExit(Record, tag="irq_work_exit"):
    """Tell that the CPU leaves the vector of the irq_work self-IPI."""

    vector: int


class SpuriousApicEntry(Record, tag="spurious_apic_entry"):
    """Tell that the CPU entered the vector of a spurious interrupt."""

    vector: int


class SpuriousApicExit(Record, tag="spurious_apic_exit"):
    """Tell that the CPU leaves the vector of a spurious interrupt."""

    vector: int


class ErrorApicEntry(Record, tag="error_apic_entry"):
    """Tell that the CPU entered the vector of the APIC error interrupt."""

    vector: int


class ErrorApicExit(Record, tag="error_apic_exit"):
    """Tell that the CPU leaves the vector of the APIC error interrupt."""

    vector: int


class X86PlatformIpiEntry(Record, tag="x86_platform_ipi_entry"):
    """Tell that the CPU entered the vector of the platform IPI."""

    vector: int


class X86PlatformIpiExit(Record, tag="x86_platform_ipi_exit"):
    """Tell that the CPU leaves the vector of the platform IPI."""

    vector: int


class ThresholdApicEntry(Record, tag="threshold_apic_entry"):
    """Tell that the CPU entered the vector of the machine-check threshold interrupt."""

    vector: int


class ThresholdApicExit(Record, tag="threshold_apic_exit"):
    """Tell that the CPU leaves the vector of the machine-check threshold interrupt."""

    vector: int


class DeferredErrorApicEntry(Record, tag="deferred_error_apic_entry"):
    """Tell that the CPU entered the vector of the deferred machine-check interrupt."""

    vector: int


class DeferredErrorApicExit(Record, tag="deferred_error_apic_exit"):
    """Tell that the CPU leaves the vector of the deferred machine-check interrupt."""

    vector: int


class ThermalApicEntry(Record, tag="thermal_apic_entry"):
    """Tell that the CPU entered the vector of the thermal interrupt."""

    vector: int


class ThermalApicExit(Record, tag="thermal_apic_exit"):
    """Tell that the CPU leaves the vector of the thermal interrupt."""

    vector: int


class ExceptionEntry(Record, tag="exception_entry"):
    """Tell that the CPU entered an exception (ours)."""

    vector: int
    name: str


class ExceptionExit(Record, tag="exception_exit"):
    """Tell that the CPU leaves an exception (ours)."""

    vector: int
    name: str


class NmiHandler(Record, tag="nmi_handler"):
    """Tell that one NMI handler ran for ``delta_ns`` and took ``handled`` events."""

    handler: str
    delta_ns: int
    handled: int


class SignalDeliver(Record, tag="signal_deliver"):
    """Tell that a signal was handed to the current task."""

    sig: int
    errno: int
    code: int
    sa_handler: int
    sa_flags: int


class IpiSendCpu(Record, tag="ipi_send_cpu"):
    """Tell that an IPI was sent to one CPU."""

    target_cpu: int
    callsite: str
    callback: str


class IpiSendCpumask(Record, tag="ipi_send_cpumask"):
    """Tell that an IPI was sent to a set of CPUs, ``cpumask`` in Linux's list form."""

    cpumask: str
    callsite: str
    callback: str


class CsdQueueCpu(Record, tag="csd_queue_cpu"):
    """Tell that a call was queued for another CPU."""

    target_cpu: int
    callsite: str
    func: str
    csd: str


class CsdFunctionEntry(Record, tag="csd_function_entry"):
    """Tell that a queued cross-CPU call is about to run."""

    func: str
    csd: str


class CsdFunctionExit(Record, tag="csd_function_exit"):
    """Tell that a queued cross-CPU call returned."""

    func: str
    csd: str


ENTRY_RECORDS: tuple[type[Record], ...] = (
    VectorEntry,
    VectorExit,
    LocalTimerEntry,
    LocalTimerExit,
    RescheduleEntry,
    RescheduleExit,
    CallFunctionEntry,
    CallFunctionExit,
    CallFunctionSingleEntry,
    CallFunctionSingleExit,
    IrqWorkEntry,
    IrqWorkExit,
    SpuriousApicEntry,
    SpuriousApicExit,
    ErrorApicEntry,
    ErrorApicExit,
    X86PlatformIpiEntry,
    X86PlatformIpiExit,
    ThresholdApicEntry,
    ThresholdApicExit,
    DeferredErrorApicEntry,
    DeferredErrorApicExit,
    ThermalApicEntry,
    ThermalApicExit,
    ExceptionEntry,
    ExceptionExit,
    NmiHandler,
    SignalDeliver,
    IpiSendCpu,
    IpiSendCpumask,
    CsdQueueCpu,
    CsdFunctionEntry,
    CsdFunctionExit,
)
"""Every record type of this module, in the order above."""
