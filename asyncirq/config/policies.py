"""Hold the policies that are structs of their own: the vectors, the interrupt descriptor table, the stacks."""

from __future__ import annotations

from typing import Final, Literal

import msgspec


class VectorMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which vectors of a CPU are for what.

    Devices get ``first_device`` to ``first_system - 1`` without ``reserved``, the lowest free one with ``step`` 1; a larger
    step leaps over that many, as 2.6 did to spread devices over the priority classes. ``local_timer`` and ``system`` are the
    kernel's own. ``move_cleanup``: who frees the old vector after a move, a timer of the old CPU a jiffy later, or (before
    6.7) an interrupt to it with this vector. The irqs below ``legacy`` have fixed vectors from ``first_legacy``, on CPU 0.
    Linux: arch/x86/include/asm/irq_vectors.h.
    """

    first_device: int = 0x20
    first_system: int = 0xEB
    reserved: tuple[int, ...] = (0x80,)
    local_timer: int = 0xEC
    system: tuple[int, ...] = (0xEC, 0xEF, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF)
    step: int = 1
    move_cleanup: int | None = None
    first_legacy: int = 0x30
    legacy: int = 0

    def first_system_vector(self, local_apic: bool = True) -> int:
        """Return the first vector that is the kernel's own; without local APICs there is none, so 256."""
        return self.first_system if local_apic else 256


class IdtPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a kernel fills its interrupt descriptor table.

    ``gates``: every exception through an interrupt gate, written at once (``one-pass``) or, until 5.13, again with stacks of
    their own as soon as there are any (``two-pass``); or the five ``classes`` of 2.6, with Intel's trap gates. ``mce``, ``cet``,
    ``sev``: is there a gate for machine checks, control protection, encrypted guests. ``ia32``: is there one for int 0x80.
    ``debug``: is there a second table for the time that debug exceptions must not nest (until 5.7). ``fred``: no exception
    needs a table. ``ibt``: the stubs of the external vectors are 16 bytes apart, not 8.
    """

    gates: Literal["one-pass", "two-pass", "classes"] = "one-pass"
    mce: bool = True
    cet: bool = True
    sev: bool = False
    ia32: bool = True
    debug: bool = False
    fred: bool = False
    ibt: bool = True


MAP_6_1: Final = VectorMap(first_device=0x21, move_cleanup=0x20)
MAP_2_6: Final = VectorMap(
    first_device=0x41,
    first_system=0xEE,
    reserved=(0x80, 0xCC),
    local_timer=0xEF,
    system=(0xEE, 0xEF, *range(0xF0, 0x100)),
    step=8,
    move_cleanup=0x20,
    legacy=16,
)


class StackPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which stacks a kernel has, their sizes in pages of 4 KiB, and how its entry code treats them; ``debug_pages`` is of #DB alone.

    ``kasan`` doubles all sizes. ``guard``: a page below each stack that faults (since 4.9). ``irq``: a device interrupt changes to its
    CPU's interrupt stack unless it came from user mode or that is in use (``conditional``, since 5.8), or when the count of nested ones
    leaves -1 (``counted``), or never. ``exit_on_irq``: softirqs at an interrupt's exit run on its stack, else on one of their own.
    ``canary``: a stack protector; ``canary_on_irq``: its word lies at the bottom of the interrupt stack (before 5.2). ``ist``: there is
    an interrupt stack table; ``db_shift``: #DB moves its entry down while it runs (before 5.8). ``trampoline``: from user mode the CPU
    lands on a small entry stack (since 4.15). ``nmi_safe``: NMIs keep copies of their frame, so that they may nest (since 3.3).
    ``end_check``: the scheduler looks at the last word of the stack of each task that gives up its CPU (since 3.18).
    """

    thread_pages: int = 4
    irq_pages: int = 4
    exception_pages: int = 2
    debug_pages: int = 2
    kasan: bool = False
    guard: bool = True
    irq: Literal["conditional", "counted", "none"] = "conditional"
    exit_on_irq: bool = True
    canary: bool = True
    canary_on_irq: bool = False
    ist: bool = True
    db_shift: bool = False
    trampoline: bool = True
    nmi_safe: bool = True
    end_check: bool = True


STACKS_4_X: Final = StackPolicy(exception_pages=1, guard=False, irq="counted", canary_on_irq=True, db_shift=True, trampoline=False)
STACKS_2_6: Final = StackPolicy(
    thread_pages=2,
    exception_pages=1,
    guard=False,
    irq="none",
    canary=False,
    db_shift=True,
    trampoline=False,
    nmi_safe=False,
    end_check=False,
)
