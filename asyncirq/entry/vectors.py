"""Name the 256 vectors of a CPU as Linux does.

Linux: arch/x86/include/asm/irq_vectors.h, arch/x86/include/asm/trapnr.h.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from asyncirq.config import VectorMap
from asyncirq.hw.trapnr import IA32_SYSCALL_VECTOR, TRAPS

FIRST_EXTERNAL_VECTOR: Final = 0x20
ISA_VECTOR_BASE: Final = 0x30
X86_TRAP_OTHER: Final = 0xFFFF
"""What the entries that serve many vectors have as theirs: no code for one special vector matches it."""

SYSTEM_NAMES: Final = MappingProxyType(
    {
        0xEB: "POSTED_MSI_NOTIFICATION_VECTOR",
        0xEC: "LOCAL_TIMER_VECTOR",
        0xED: "HYPERV_STIMER0_VECTOR",
        0xEE: "HYPERV_REENLIGHTENMENT_VECTOR",
        0xEF: "MANAGED_IRQ_SHUTDOWN_VECTOR",
        0xF0: "POSTED_INTR_NESTED_VECTOR",
        0xF1: "POSTED_INTR_WAKEUP_VECTOR",
        0xF2: "POSTED_INTR_VECTOR",
        0xF3: "HYPERVISOR_CALLBACK_VECTOR",
        0xF4: "DEFERRED_ERROR_VECTOR",
        0xF5: "PERF_GUEST_MEDIATED_PMI_VECTOR",
        0xF6: "IRQ_WORK_VECTOR",
        0xF7: "X86_PLATFORM_IPI_VECTOR",
        0xF8: "REBOOT_VECTOR",
        0xF9: "THRESHOLD_APIC_VECTOR",
        0xFA: "THERMAL_APIC_VECTOR",
        0xFB: "CALL_FUNCTION_SINGLE_VECTOR",
        0xFC: "CALL_FUNCTION_VECTOR",
        0xFD: "RESCHEDULE_VECTOR",
        0xFE: "ERROR_APIC_VECTOR",
        0xFF: "SPURIOUS_APIC_VECTOR",
    }
)
"""The kernel's own vectors since 6.x."""
OLD_SYSTEM_NAMES: Final = MappingProxyType(
    {
        0xEE: "LOCAL_PERF_VECTOR",
        0xEF: "LOCAL_TIMER_VECTOR",
        0xF0: "INVALIDATE_TLB_VECTOR_START + 0",
        0xF1: "INVALIDATE_TLB_VECTOR_START + 1",
        0xF2: "INVALIDATE_TLB_VECTOR_START + 2",
        0xF3: "INVALIDATE_TLB_VECTOR_START + 3",
        0xF4: "INVALIDATE_TLB_VECTOR_START + 4",
        0xF5: "INVALIDATE_TLB_VECTOR_START + 5",
        0xF6: "INVALIDATE_TLB_VECTOR_START + 6",
        0xF7: "INVALIDATE_TLB_VECTOR_START + 7",
        0xF8: "UV_BAU_MESSAGE",
        0xF9: "THRESHOLD_APIC_VECTOR",
        0xFA: "THERMAL_APIC_VECTOR",
        0xFB: "CALL_FUNCTION_SINGLE_VECTOR",
        0xFC: "CALL_FUNCTION_VECTOR",
        0xFD: "RESCHEDULE_VECTOR",
        0xFE: "ERROR_APIC_VECTOR",
        0xFF: "SPURIOUS_APIC_VECTOR",
    }
)
"""The kernel's own vectors in late 2.6."""


def vector_name(vector: int, layout: VectorMap, local_apic: bool = True) -> str:
    """Return what a vector is for, in Linux's words: an exception, a device, or the name of the kernel's own, if it has local APICs."""
    if vector in TRAPS:
        return f"X86_TRAP_{TRAPS[vector].mnemonic.removeprefix('#')}" if vector != 15 else "X86_TRAP_SPURIOUS"
    if vector < FIRST_EXTERNAL_VECTOR:
        return "reserved"
    if local_apic and vector == layout.move_cleanup:
        return "IRQ_MOVE_CLEANUP_VECTOR"
    if vector == IA32_SYSCALL_VECTOR:
        return "IA32_SYSCALL_VECTOR"
    names = SYSTEM_NAMES if layout.local_timer == 0xEC else OLD_SYSTEM_NAMES
    if vector >= layout.first_system_vector(local_apic) and vector in names:
        return names[vector]
    if layout.first_legacy <= vector < layout.first_legacy + layout.legacy:
        return f"ISA_IRQ_VECTOR({vector - layout.first_legacy})"
    return "device"
