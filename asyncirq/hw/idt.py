"""Model the interrupt descriptor table: 256 gates, the register that points to them, and what may be written when.

A gate as the CPU uses it is a ``Gate`` (a coroutine function and a few bits); its form in memory is the ``GateDescriptor``
of ``gate.py``.

Linux: arch/x86/kernel/idt.c.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.gate import (
    CALL_GATE,
    DPL_KERNEL,
    INTERRUPT_GATE,
    TASK_GATE,
    TRAP_GATE,
    VECTORS,
    GateDescriptor,
    check_gate,
)
from asyncirq.hw.pt_regs import KERNEL_CS

Handler = Callable[[Any, int], Coroutine[Any, Any, None]]
"""What a gate leads to: ``await handler(cpu, vector)``."""

READ_ONLY_ALIAS: Final = 0xFFFF_FE00_0000_0000
"""The address at which the finished table is mapped read-only, and which the IDTR holds; the CPU entry areas begin a page later."""

__all__ = ["CALL_GATE", "INTERRUPT_GATE", "READ_ONLY_ALIAS", "TASK_GATE", "TRAP_GATE", "VECTORS", "Gate", "Handler", "Idt"]


class Gate(msgspec.Struct, frozen=True):
    """A gate as the CPU uses it: where it leads, and how it is passed; ``offset`` is the address of the handler's code."""

    handler: Handler
    name: str
    type: int = INTERRUPT_GATE
    dpl: int = DPL_KERNEL
    ist: int = 0
    present: bool = True
    selector: int = KERNEL_CS
    offset: int = 0

    def descriptor(self) -> GateDescriptor:
        """Return the form in memory; a task gate has no offset."""
        return GateDescriptor(0 if self.type == TASK_GATE else self.offset, self.selector, self.ist, self.type, self.dpl, self.present)


class Idt:
    """The table of 256 gates, for 64-bit or 32-bit slots.

    ``slots`` is the table, ``gates`` what the CPU sees of it at every interrupt: the same list unless the limit is short.
    ``base`` and ``limit`` are what the IDTR holds: ``base`` is 0 until the table is loaded for good, ``limit`` is the last byte
    that the CPU looks at, and a vector whose slot lies beyond it has no gate. ``read_only`` is called with the vector of a
    write that came too late, ahead of the ``KernelBug``.
    """

    def __init__(self, bits: int = 64) -> None:
        if bits not in (32, 64):
            raise UsageError(f"an IDT has 32-bit or 64-bit gates, not {bits}")
        self.bits = bits
        self.slots: list[Gate | None] = [None] * VECTORS
        self.gates = self.slots
        self.frozen = False
        self.base = 0
        self.limit = self.size - 1
        self.read_only: Callable[[int], None] | None = None

    @property
    def size(self) -> int:
        """Return the bytes of the table."""
        return VECTORS * (self.bits >> 2)

    def set_gate(self, vector: int, gate: Gate) -> None:
        """Install a gate. Raises ``UsageError`` for a vector or a field that does not exist, ``KernelBug`` once the table is read-only.

        No table holds a call gate, and no 64-bit one a task gate: the CPU would refuse to pass it.
        """
        check_gate(vector, gate.type, gate.dpl, gate.ist)
        if gate.type == CALL_GATE:
            raise UsageError(f"gate {vector}: a call gate ({gate.name}) has no place in an IDT")
        if gate.type == TASK_GATE and self.bits == 64:
            raise UsageError(f"gate {vector}: there are no task gates ({gate.name}) on 64 bits")
        if gate.ist and self.bits == 32:
            raise UsageError(f"gate {vector}: a 32-bit gate ({gate.name}) has no IST field for {gate.ist}")
        if self.frozen:
            if self.read_only is not None:
                self.read_only(vector)
            raise KernelBug(f"BUG: unable to handle page fault: write of gate {vector} ({gate.name}) to the read-only IDT")
        self.slots[vector] = gate
        if self.gates is not self.slots and self.reaches(vector):
            self.gates[vector] = gate

    def load(self, base: int = READ_ONLY_ALIAS, limit: int | None = None) -> None:
        """Load the IDTR: where the table is seen, and its last byte, by default that of all 256 slots.

        Raises ``KernelBug`` once the table is read-only: so is the descriptor that the kernel loads it from.
        """
        if self.frozen:
            raise KernelBug("BUG: unable to handle page fault: write of idt_descr, which is read-only after init")
        self.base = base
        self.limit = self.size - 1 if limit is None else limit
        short = not self.reaches(VECTORS - 1)
        self.gates = [gate if self.reaches(vector) else None for vector, gate in enumerate(self.slots)] if short else self.slots

    def reaches(self, vector: int) -> bool:
        """Tell whether the slot of a vector lies within the limit."""
        width = self.bits >> 2
        return vector * width + width - 1 <= self.limit

    def freeze(self) -> None:
        """Make the table read-only, as the end of boot does."""
        self.frozen = True

    def encode(self, vector: int) -> bytes:
        """Return the slot of a vector as it lies in memory; an empty slot is all zeros."""
        check_gate(vector, INTERRUPT_GATE, 0, 0)
        gate = self.slots[vector]
        return bytes(self.bits >> 2) if gate is None else gate.descriptor().to_bytes(vector, self.bits)
