"""Declare the entry points of exceptions and interrupts: one row each, whose kind decides what the wrapper round it does.

| kind | error code | wrapper enters and exits | stack |
| --- | --- | --- | --- |
| ``plain``, ``errorcode`` | no, yes | yes | the task's |
| ``raw``, ``raw_errorcode`` | no, yes | no: the body does it where it wants | the task's |
| ``irq`` | the vector in its place | yes | the interrupt stack |
| ``sysvec`` | no | yes | the interrupt stack |
| ``sysvec_simple`` | no | yes, without softirqs | the task's |
| ``ist``, ``noist`` | no | no: the body does | one of its own from the kernel, the task's from user mode |
| ``df`` | yes | no | one of its own |
| ``vc_kernel``, ``vc_user`` | yes | no | one of its own from the kernel, the task's from user mode |

Linux: arch/x86/include/asm/idtentry.h.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from asyncirq.entry.vectors import X86_TRAP_OTHER
from asyncirq.hw import trapnr as nr

Kind = Literal[
    "plain",
    "errorcode",
    "raw",
    "raw_errorcode",
    "irq",
    "sysvec",
    "sysvec_simple",
    "ist",
    "noist",
    "df",
    "vc_kernel",
    "vc_user",
]


class EntryKind(NamedTuple):
    """What a wrapper does: take an error code, enter and exit, switch to the interrupt stack or to one of its own."""

    error_code: bool = False
    wrapper: bool = False
    irq_stack: bool = False
    own_stack: bool = False


KINDS: Final = MappingProxyType(
    {
        "plain": EntryKind(wrapper=True),
        "errorcode": EntryKind(error_code=True, wrapper=True),
        "raw": EntryKind(),
        "raw_errorcode": EntryKind(error_code=True),
        "irq": EntryKind(error_code=True, wrapper=True, irq_stack=True),
        "sysvec": EntryKind(wrapper=True, irq_stack=True),
        "sysvec_simple": EntryKind(wrapper=True),
        "ist": EntryKind(own_stack=True),
        "noist": EntryKind(),
        "df": EntryKind(error_code=True, own_stack=True),
        "vc_kernel": EntryKind(error_code=True, own_stack=True),
        "vc_user": EntryKind(error_code=True),
    }
)
"""The kinds by name."""


class EntryPoint(NamedTuple):
    """One entry point; ``from_user`` is the body that takes its place when the CPU comes from user mode."""

    vector: int
    name: str
    kind: Kind
    from_user: Kind | None = None


ENTRIES: Final = (
    EntryPoint(nr.X86_TRAP_DE, "exc_divide_error", "plain"),
    EntryPoint(nr.X86_TRAP_DB, "exc_debug", "ist", "noist"),
    EntryPoint(nr.X86_TRAP_NMI, "exc_nmi", "ist", "noist"),
    EntryPoint(nr.X86_TRAP_BP, "exc_int3", "raw"),
    EntryPoint(nr.X86_TRAP_OF, "exc_overflow", "plain"),
    EntryPoint(nr.X86_TRAP_BR, "exc_bounds", "plain"),
    EntryPoint(nr.X86_TRAP_UD, "exc_invalid_op", "raw"),
    EntryPoint(nr.X86_TRAP_NM, "exc_device_not_available", "plain"),
    EntryPoint(nr.X86_TRAP_DF, "exc_double_fault", "df"),
    EntryPoint(nr.X86_TRAP_OLD_MF, "exc_coproc_segment_overrun", "plain"),
    EntryPoint(nr.X86_TRAP_TS, "exc_invalid_tss", "errorcode"),
    EntryPoint(nr.X86_TRAP_NP, "exc_segment_not_present", "errorcode"),
    EntryPoint(nr.X86_TRAP_SS, "exc_stack_segment", "errorcode"),
    EntryPoint(nr.X86_TRAP_GP, "exc_general_protection", "errorcode"),
    EntryPoint(nr.X86_TRAP_PF, "exc_page_fault", "raw_errorcode"),
    EntryPoint(nr.X86_TRAP_SPURIOUS, "exc_spurious_interrupt_bug", "plain"),
    EntryPoint(nr.X86_TRAP_MF, "exc_coprocessor_error", "plain"),
    EntryPoint(nr.X86_TRAP_AC, "exc_alignment_check", "errorcode"),
    EntryPoint(nr.X86_TRAP_MC, "exc_machine_check", "ist", "noist"),
    EntryPoint(nr.X86_TRAP_XF, "exc_simd_coprocessor_error", "plain"),
    EntryPoint(nr.X86_TRAP_CP, "exc_control_protection", "errorcode"),
    EntryPoint(nr.X86_TRAP_VC, "exc_vmm_communication", "vc_kernel", "vc_user"),
    EntryPoint(nr.X86_TRAP_IRET, "exc_iret_error", "errorcode"),
    EntryPoint(nr.IA32_SYSCALL_VECTOR, "int80_emulation", "raw"),
    EntryPoint(X86_TRAP_OTHER, "common_interrupt", "irq"),
    EntryPoint(X86_TRAP_OTHER, "spurious_interrupt", "irq"),
    EntryPoint(0xEC, "sysvec_apic_timer_interrupt", "sysvec"),
    EntryPoint(0xF6, "sysvec_irq_work", "sysvec"),
    EntryPoint(0xF7, "sysvec_x86_platform_ipi", "sysvec"),
    EntryPoint(0xF8, "sysvec_reboot", "sysvec"),
    EntryPoint(0xF9, "sysvec_threshold", "sysvec"),
    EntryPoint(0xFA, "sysvec_thermal", "sysvec"),
    EntryPoint(0xFB, "sysvec_call_function_single", "sysvec"),
    EntryPoint(0xFC, "sysvec_call_function", "sysvec"),
    EntryPoint(0xFD, "sysvec_reschedule_ipi", "sysvec_simple"),
    EntryPoint(0xFE, "sysvec_error_interrupt", "sysvec"),
    EntryPoint(0xFF, "sysvec_spurious_apic_interrupt", "sysvec"),
)
"""Every entry point, in the order of its vector."""
EXCEPTIONS: Final = MappingProxyType({entry.vector: entry for entry in ENTRIES if entry.vector <= nr.X86_TRAP_VC})
"""The entry points of the CPU's own exceptions by vector."""


def stub(vector: int) -> EntryPoint:
    """Return the entry point whose code a vector without one of its own gets: that of the common interrupt."""
    for entry in ENTRIES:
        if entry.vector == vector != nr.X86_TRAP_IRET:
            return entry
    return next(entry for entry in ENTRIES if entry.name == "common_interrupt")
