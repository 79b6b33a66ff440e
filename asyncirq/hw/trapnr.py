"""Number and classify the exceptions of x86: what is pushed, where the saved RIP points, what two at once become.

A *fault* is reported before the instruction, which can be run again; a *trap* after it; after an *abort* the program cannot go
on. While one exception is delivered another may arise: some pairs are served one after the other, some are a double
fault, and a third is the end of the machine.

Linux: arch/x86/include/asm/trapnr.h. The rules are Intel's (SDM volume 3, chapter 6).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal, NamedTuple

Kind = Literal["fault", "trap", "abort", "interrupt"]
Group = Literal["benign", "contributory", "page fault", "double fault"]

X86_TRAP_DE: Final = 0
X86_TRAP_DB: Final = 1
X86_TRAP_NMI: Final = 2
X86_TRAP_BP: Final = 3
X86_TRAP_OF: Final = 4
X86_TRAP_BR: Final = 5
X86_TRAP_UD: Final = 6
X86_TRAP_NM: Final = 7
X86_TRAP_DF: Final = 8
X86_TRAP_OLD_MF: Final = 9
X86_TRAP_TS: Final = 10
X86_TRAP_NP: Final = 11
X86_TRAP_SS: Final = 12
X86_TRAP_GP: Final = 13
X86_TRAP_PF: Final = 14
X86_TRAP_SPURIOUS: Final = 15
X86_TRAP_MF: Final = 16
X86_TRAP_AC: Final = 17
X86_TRAP_MC: Final = 18
X86_TRAP_XF: Final = 19
X86_TRAP_VE: Final = 20
X86_TRAP_CP: Final = 21
X86_TRAP_VC: Final = 29
X86_TRAP_IRET: Final = 32
"""Software's own number for an IRET that failed; no CPU raises it."""
IA32_SYSCALL_VECTOR: Final = 0x80

ERROR_EXT: Final = 1
"""The exception arose while something from outside the program was delivered."""
ERROR_IDT: Final = 2
"""The selector index of the error code counts gates of the IDT."""
PF_PROT: Final = 1
PF_WRITE: Final = 2
PF_USER: Final = 4
PF_RSVD: Final = 8
PF_INSTR: Final = 16


class Trap(NamedTuple):
    """One exception: Linux's name for it, Intel's mnemonic, its kind, whether an error code is pushed, its group."""

    name: str
    mnemonic: str
    kind: Kind
    error_code: bool = False
    group: Group = "benign"


TRAPS: Final = MappingProxyType(
    {
        X86_TRAP_DE: Trap("divide_error", "#DE", "fault", group="contributory"),
        X86_TRAP_DB: Trap("debug", "#DB", "trap"),
        X86_TRAP_NMI: Trap("nmi", "NMI", "interrupt"),
        X86_TRAP_BP: Trap("int3", "#BP", "trap"),
        X86_TRAP_OF: Trap("overflow", "#OF", "trap"),
        X86_TRAP_BR: Trap("bounds", "#BR", "fault"),
        X86_TRAP_UD: Trap("invalid_op", "#UD", "fault"),
        X86_TRAP_NM: Trap("device_not_available", "#NM", "fault"),
        X86_TRAP_DF: Trap("double_fault", "#DF", "abort", True, "double fault"),
        X86_TRAP_OLD_MF: Trap("coproc_segment_overrun", "#OLD_MF", "fault"),
        X86_TRAP_TS: Trap("invalid_tss", "#TS", "fault", True, "contributory"),
        X86_TRAP_NP: Trap("segment_not_present", "#NP", "fault", True, "contributory"),
        X86_TRAP_SS: Trap("stack_segment", "#SS", "fault", True, "contributory"),
        X86_TRAP_GP: Trap("general_protection", "#GP", "fault", True, "contributory"),
        X86_TRAP_PF: Trap("page_fault", "#PF", "fault", True, "page fault"),
        X86_TRAP_SPURIOUS: Trap("spurious_interrupt_bug", "#15", "interrupt"),
        X86_TRAP_MF: Trap("coprocessor_error", "#MF", "fault"),
        X86_TRAP_AC: Trap("alignment_check", "#AC", "fault", True),
        X86_TRAP_MC: Trap("machine_check", "#MC", "abort"),
        X86_TRAP_XF: Trap("simd_coprocessor_error", "#XF", "fault"),
        X86_TRAP_VE: Trap("virtualization_exception", "#VE", "fault", group="page fault"),
        X86_TRAP_CP: Trap("control_protection", "#CP", "fault", True, "contributory"),
        X86_TRAP_VC: Trap("vmm_communication", "#VC", "fault", True, "contributory"),
        30: Trap("security_exception", "#SX", "fault", True, "contributory"),
    }
)
"""The exceptions by vector; the vectors below 32 that are missing are reserved."""


def group_of(vector: int, benign: bool = False) -> Group:
    """Return how an event counts when another arises during its delivery; interrupts and INT n are benign whatever their vector."""
    trap = TRAPS.get(vector)
    return "benign" if benign or trap is None else trap.group


def combine(first: Group, second: Group) -> Literal["serial", "double fault", "shutdown"]:
    """Say what becomes of two exceptions, the second having arisen while the first was delivered."""
    if second == "benign" or first == "benign":
        return "serial"
    if first == "double fault":
        return "shutdown"
    if first == "contributory" and second == "page fault":
        return "serial"
    return "double fault"


def idt_error(vector: int, external: bool) -> int:
    """Return the error code that names a gate."""
    return vector << 3 | ERROR_IDT | (ERROR_EXT if external else 0)


def selector_error(selector: int, external: bool) -> int:
    """Return the error code that names a segment of the GDT."""
    return selector & ~7 | (ERROR_EXT if external else 0)
