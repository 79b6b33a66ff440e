"""Model what a local APIC tells its CPU, and what the CPU answers: the processor priority, INTR and NMI, the acknowledge cycle.

IRR, ISR and TMR are 256-bit sets held in ints; the highest vector of a set is its bit length minus one. Each IRR slot
keeps the cause of its first unserved raise and counts the raises that found it occupied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncirq.hw.lapic_regs import LapicRegisters
    from asyncirq.trace.record import CpuView
    from asyncirq.trace.recorder import Recorder

SPURIOUS: Final = -1
"""Second half of what ``inta`` returns when it yields the spurious vector."""
_FROM_PIC: Final = -2
BITS: Final = tuple(1 << vector for vector in range(256))


class LapicFront:
    """The CPU's side of a local APIC: a ``hw.pins.CpuPins``. The bus's side is ``Lapic``, which is built on it.

    ``ppr`` is the processor priority; ``extint_source()`` answers the acknowledge cycle for the 8259.
    """

    regs: LapicRegisters

    def __init__(self, trace: Recorder | None) -> None:
        self.trace = trace
        self.on_output: Callable[[], None] = _nobody
        self.extint_source: Callable[[], tuple[int, int]] | None = None
        self.intr = False
        self.nmi_pending = False

    def _clear(self) -> None:
        self.irr = self.isr = self.tmr = 0
        self.ppr = 0
        self.nmi_cause = 0
        self._tpr = 0
        self._nmi = False
        self._extint = self._extint_line = False
        self.irr_cause = [0] * 256
        self.coalesced = [0] * 256

    # --- recompute

    def _recompute(self) -> None:
        """Derive the processor priority, ``intr`` and ``nmi_pending``, and tell the CPU when one of the two changed."""
        isr = self.isr
        ppr = self._tpr
        if isr:
            in_service = (isr.bit_length() - 1) & 0xF0
            if ppr < in_service:
                ppr = in_service
        self.ppr = ppr
        intr = self.irr.bit_length() > (ppr | 0xF) + 1 or self._extint
        nmi = self._nmi
        if intr is not self.intr or nmi is not self.nmi_pending:
            self.intr = intr
            self.nmi_pending = nmi
            self.on_output()

    # --- acknowledge

    def inta(self) -> tuple[int, int]:
        """Answer the CPU's acknowledge cycle: the highest vector above the processor priority moves from IRR to ISR.

        Returns the vector and the cause of its first raise; the spurious vector and ``SPURIOUS`` when nothing is
        deliverable any more, and ISR stays as it is then. A pending 8259 goes first, and enters no ISR.
        """
        if self._extint:
            return self._inta_extint()
        irr = self.irr
        vector = irr.bit_length() - 1
        if vector <= self.ppr | 0xF:
            return self.regs.spiv & 0xFF, SPURIOUS
        bit = BITS[vector]
        self.irr = irr ^ bit
        self.isr |= bit
        self.coalesced[vector] = 0
        self._recompute()
        return vector, self.irr_cause[vector]

    def _inta_extint(self) -> tuple[int, int]:
        self._extint = False
        answer = self.regs.spiv & 0xFF, SPURIOUS
        if self.extint_source is not None:
            vector, cause = self.extint_source()
            answer = vector, from_pic(cause)
        self._extint = self._extint_line
        self._recompute()
        return answer

    def took(self, cpu: CpuView, vector: int, cause: int) -> int:
        """Record an acknowledge that found nothing, or was answered by the 8259. Trace: ``lapic_spurious``, ``pic_inta``."""
        if self.trace is None:
            return 0
        return self.trace.lapic_spurious(cpu, vector) if cause == SPURIOUS else self.trace.pic_inta(cpu, vector, _FROM_PIC - cause)

    def in_service(self) -> int:
        """Return the highest vector in service, or -1."""
        return self.isr.bit_length() - 1

    def nmi_taken(self) -> int:
        """Clear the NMI latch, as the CPU takes the NMI, and return the cause of the first raise."""
        self._nmi = False
        self._recompute()
        return self.nmi_cause


def from_pic(cause: int) -> int:
    """Return what ``inta`` returns as cause for an acknowledge that the 8259 answered: below that of the spurious vector."""
    return _FROM_PIC - cause


def _nobody() -> None:
    """Stand in for ``on_output`` until a CPU is there."""
