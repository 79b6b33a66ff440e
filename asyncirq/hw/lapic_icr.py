"""Model the interrupt command register: how one CPU interrupts another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.hw.apic_message import BROADCAST, INIT, LOWEST_PRIORITY, ApicMessage, widen

if TYPE_CHECKING:
    from asyncirq.hw.lapic import Lapic

ESR_SEND_ILLEGAL: Final = 1 << 5
FIRST_LEGAL_VECTOR: Final = 16

LOGICAL: Final = 1 << 11
BUSY: Final = 1 << 12
ASSERT: Final = 1 << 14
LEVEL: Final = 1 << 15
SHORTHAND_SHIFT: Final = 18
SHORTHAND_NONE: Final = 0
SHORTHAND_SELF: Final = 1
SHORTHAND_ALL: Final = 2
SHORTHAND_OTHERS: Final = 3

X2APIC_RESERVED: Final = 0xFFF3_2000


class Icr:
    """The two halves of the ICR. ``high`` is the destination: bits 31:24 in xAPIC mode, all 32 in x2APIC mode.

    Sending takes no time, so the busy bit never reads as set in xAPIC mode.
    """

    def __init__(self, lapic: Lapic) -> None:
        self._lapic = lapic
        self.low = 0
        self.high = 0

    def reset(self) -> None:
        """Return to the state after INIT."""
        self.low = 0
        self.high = 0

    # --- decide

    @property
    def dest(self) -> int:
        """Return the 32-bit destination that the ICR names."""
        return self.high if self._lapic.regs.x2apic else widen(self.high >> 24)

    # --- bus

    def write_low(self, value: int, cause: int = 0) -> int:
        """Write the lower half, which sends the IPI, and return how many APICs accepted it."""
        self.low = value if self._lapic.regs.x2apic else value & ~BUSY
        return self._send(cause)

    def _send(self, cause: int) -> int:
        """Send what the register holds; the trigger bit counts in an INIT de-assert alone, every other IPI is an edge."""
        lapic = self._lapic
        low = self.low
        mode = low >> 8 & 7
        shorthand = low >> SHORTHAND_SHIFT & 3
        level = mode == INIT and bool(low & LEVEL)
        dest = self.dest if shorthand == SHORTHAND_NONE else BROADCAST
        message = ApicMessage(low & 0xFF, mode, level, dest, bool(low & LOGICAL), cause, bool(low & ASSERT))
        if self.is_illegal(message.vector, mode):
            return 0
        if shorthand in (SHORTHAND_NONE, SHORTHAND_ALL):
            return lapic.bus.deliver(message)
        if shorthand == SHORTHAND_SELF:
            return int(lapic.accept(message))
        others = [other for other in lapic.bus.targets(BROADCAST, False) if other is not lapic]
        if mode == LOWEST_PRIORITY:
            winner = lapic.bus.arbitrate(others, message.vector)
            return int(winner is not None and winner.accept(message))
        return sum(other.accept(message) for other in others)

    def is_illegal(self, vector: int, mode: int) -> bool:
        """Tell whether a vector cannot be sent, and set the error bit if so."""
        illegal = vector < FIRST_LEGAL_VECTOR and mode <= LOWEST_PRIORITY
        if illegal:
            self._lapic.regs.error(ESR_SEND_ILLEGAL)
        return illegal
