"""Encode and decode the gates of an interrupt descriptor table as they lie in memory.

| bits | field | bits | field |
| --- | --- | --- | --- |
| 15:0 | offset 15:0 | 46:45 | DPL |
| 31:16 | segment selector | 47 | present |
| 34:32 | IST (0 = none) | 63:48 | offset 31:16 |
| 43:40 | type | 95:64 | offset 63:32 |
| 39:35, 44 | 0 | 127:96 | 0 |

A 32-bit gate is the lower 64 bits, without IST. The builders are named after those of Linux's tables.

Linux: arch/x86/include/asm/desc_defs.h, arch/x86/kernel/idt.c.
"""

from __future__ import annotations

from typing import Final

import msgspec

from asyncirq.errors import UsageError
from asyncirq.hw.pt_regs import KERNEL_CS

TASK_GATE: Final = 0x5
CALL_GATE: Final = 0xC
INTERRUPT_GATE: Final = 0xE
TRAP_GATE: Final = 0xF
GATE_TYPES: Final = (TASK_GATE, CALL_GATE, INTERRUPT_GATE, TRAP_GATE)

VECTORS: Final = 256
DPL_KERNEL: Final = 0
DPL_USER: Final = 3
IST_COUNT: Final = 7
"""Stacks that a CPU's table holds; Linux uses up to five of them."""


class GateDescriptor(msgspec.Struct, frozen=True):
    """A gate as it lies in memory."""

    offset: int = 0
    selector: int = KERNEL_CS
    ist: int = 0
    type: int = INTERRUPT_GATE
    dpl: int = DPL_KERNEL
    present: bool = True

    def encode(self, vector: int, bits: int = 64) -> int:
        """Return the gate as one integer of 128 bits, or of 64 with ``bits=32``.

        Raises ``UsageError``, naming the vector, for a field that does not fit.
        """
        check_gate(vector, self.type, self.dpl, self.ist)
        if not 0 <= self.offset < 1 << bits:
            raise UsageError(f"gate {vector}: the offset {self.offset:#x} does not fit into {bits} bits")
        if not 0 <= self.selector <= 0xFFFF:
            raise UsageError(f"gate {vector}: the selector {self.selector:#x} does not fit into 16 bits")
        if bits == 32 and self.ist:
            raise UsageError(f"gate {vector}: a 32-bit gate has no IST field for {self.ist}")
        low = self.offset & 0xFFFF | self.selector << 16
        word = self.ist | self.type << 8 | self.dpl << 13 | self.present << 15
        return low | word << 32 | (self.offset >> 16 & 0xFFFF) << 48 | (self.offset >> 32) << 64

    @classmethod
    def decode(cls, vector: int, value: int, bits: int = 64) -> GateDescriptor:
        """Take a gate in memory apart. Raises ``UsageError``, naming vector and code, for a type that no gate has."""
        kind = value >> 40 & 0xF
        check_gate(vector, kind, 0, 0)
        offset = value & 0xFFFF | (value >> 48 & 0xFFFF) << 16
        if bits == 64:
            offset |= (value >> 64 & 0xFFFF_FFFF) << 32
        return cls(
            offset=offset,
            selector=value >> 16 & 0xFFFF,
            ist=value >> 32 & 7 if bits == 64 else 0,
            type=kind,
            dpl=value >> 45 & 3,
            present=bool(value >> 47 & 1),
        )

    def to_bytes(self, vector: int, bits: int = 64) -> bytes:
        """Return the gate as the 16 bytes of a 64-bit table, or the 8 of a 32-bit one."""
        return self.encode(vector, bits).to_bytes(bits >> 2, "little")


def interrupt_gate(offset: int, selector: int = KERNEL_CS) -> GateDescriptor:
    """Build a gate on the current stack for the kernel alone (INTG)."""
    return GateDescriptor(offset, selector)


def system_gate(offset: int, selector: int = KERNEL_CS) -> GateDescriptor:
    """Build a gate on the current stack that user code may call (SYSG)."""
    return GateDescriptor(offset, selector, dpl=DPL_USER)


def ist_gate(offset: int, ist: int, selector: int = KERNEL_CS) -> GateDescriptor:
    """Build a gate with a stack of its own for the kernel alone (ISTG); ``ist`` is the field, 1 to 7."""
    return GateDescriptor(offset, selector, ist)


def system_ist_gate(offset: int, ist: int, selector: int = KERNEL_CS) -> GateDescriptor:
    """Build a gate with a stack of its own that user code may call (SISTG); ``ist`` is the field, 1 to 7."""
    return GateDescriptor(offset, selector, ist, dpl=DPL_USER)


def task_gate(gdt_index: int) -> GateDescriptor:
    """Build a gate that switches to the task of a GDT entry (TSKG); it has no offset."""
    return GateDescriptor(0, gdt_index << 3, type=TASK_GATE)


def ist_field(stack: int, bits: int = 64, zero_based: bool = True) -> int:
    """Return the IST field for the stack that a kernel's table names: its index from 0, or before 5.2 the field itself.

    0 in the field means no stack of its own, so index 0 is field 1. A 32-bit gate has no such field: always 0. Raises ``UsageError``
    for a stack that the CPU's table does not have.
    """
    first = 0 if zero_based else 1
    if not first <= stack < first + IST_COUNT:
        raise UsageError(f"there is no interrupt stack {stack}: the table has {IST_COUNT}, {first} to {first + IST_COUNT - 1}")
    return 0 if bits == 32 else stack + zero_based


def check_gate(vector: int, kind: int, dpl: int, ist: int) -> None:
    """Raise ``UsageError``, naming the vector, for a gate that the table cannot hold."""
    if not 0 <= vector < VECTORS:
        raise UsageError(f"vector {vector} is not in 0..{VECTORS - 1}")
    if kind not in GATE_TYPES:
        raise UsageError(f"gate {vector}: {kind:#x} is no gate type")
    if not 0 <= dpl <= DPL_USER:
        raise UsageError(f"gate {vector}: DPL {dpl} is not in 0..{DPL_USER}")
    if not 0 <= ist <= IST_COUNT:
        raise UsageError(f"gate {vector}: IST {ist} is not in 0..{IST_COUNT}")
