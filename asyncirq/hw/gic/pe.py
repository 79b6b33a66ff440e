"""Model the PE's side of a GIC: which exception is due, and to which entry of the vector table.

IRQ and FIQ are held back by PSTATE.I and F, which Linux sets and clears together. With pseudo-NMIs Linux leaves them clear and
masks by priority (PMR) instead: the CPU's flag then stands for PMR, ``nmi_blocked`` for PSTATE.I, and what PMR does not hold
back enters as a non-maskable interrupt. An SError enters the same way; PSTATE.A is set only while one is handled.

Model: PMR is not written at each change of the CPU's flag; ``pmr`` says what it would hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from asyncirq.hw.gic.cpu_interface import CpuInterface

if TYPE_CHECKING:
    from asyncirq.hw.cpu import Cpu
    from asyncirq.trace.record import CpuView

EL1H_SYNC: Final = 4
EL1H_IRQ: Final = 5
EL1H_FIQ: Final = 6
EL1H_ERROR: Final = 7
EL0_SYNC: Final = 8
EL0_IRQ: Final = 9
EL0_FIQ: Final = 10
EL0_ERROR: Final = 11
UNMASKED: Final = 2
"""The entry of what interrupts-off does not hold back; the architecture's slot of this number (FIQ on SP_EL0) is never used."""

NONE: Final = 0
PSEUDO_NMI: Final = 1
SERROR: Final = 2


class Pe:
    """The inputs of one PE; a ``hw.pins.CpuPins``. ``taken`` says what the last entry through ``UNMASKED`` was for.

    ``cpu`` is the PE itself, set once it is there. ``serror`` is the syndrome of a pending SError, -1 for none, ``syndrome`` that
    of the one taken last.
    """

    def __init__(self, interface: CpuInterface) -> None:
        self.interface = interface
        self.on_output: Callable[[], None] = _nobody
        self.intr = False
        self.nmi_pending = False
        self.cpu: Cpu | None = None
        self.serror = -1
        self.syndrome = 0
        self.serror_cause = 0
        self.taken = NONE
        interface.on_output = self._recompute

    # --- recompute

    def _recompute(self) -> None:
        """Derive what is due from the CPU interface's signals, and tell the CPU when that changed."""
        interface = self.interface
        nmi = interface.nmi or self.serror >= 0
        intr = (interface.irq or interface.fiq) and not interface.nmi
        if intr is not self.intr or nmi is not self.nmi_pending:
            self.intr = intr
            self.nmi_pending = nmi
            self.on_output()

    # --- inputs

    def raise_serror(self, syndrome: int = 0, cause: int = 0) -> None:
        """Latch an asynchronous error of the system; one that finds the latch occupied is lost."""
        if self.serror < 0:
            self.serror = syndrome
            self.serror_cause = cause
        self._recompute()

    # --- acknowledge

    def inta(self) -> tuple[int, int]:
        """Return the entry of the vector table for the level that was interrupted; software acknowledges, so nothing changes."""
        assert self.cpu is not None
        user = self.cpu.current.regs_user
        if self.interface.fiq:
            return EL0_FIQ if user else EL1H_FIQ, -1
        return EL0_IRQ if user else EL1H_IRQ, -1

    def took(self, cpu: CpuView, vector: int, cause: int) -> int:
        """Return what the exception is caused by; it has no record of its own, the acknowledge will."""
        best = self.interface.best
        return cpu.cause if best is None else best.cause

    def nmi_taken(self) -> int:
        """Take the SError, else a pseudo-NMI; return its cause."""
        if self.serror >= 0:
            self.taken = SERROR
            self.syndrome = self.serror
            self.serror = -1
            self._recompute()
            return self.serror_cause
        self.taken = PSEUDO_NMI
        best = self.interface.best
        return 0 if best is None else best.cause

    def in_service(self) -> int:
        """Return the INTID of the last acknowledged interrupt while a priority is active, else -1."""
        return -1 if self.interface.running == 0xFF else self.interface.last

    # --- bus

    def daif(self) -> str:
        """Return the exceptions that PSTATE masks, by letter."""
        assert self.cpu is not None
        masked = self.cpu.nmi_blocked if self.interface.nmi_below else self.cpu.irqs_off
        return ("A" if self.cpu.nmi_blocked and self.taken == SERROR else "") + ("IF" if masked else "")

    def pmr(self) -> int:
        """Return what the priority mask holds: with pseudo-NMIs, interrupts off lets through only what is more urgent."""
        assert self.cpu is not None
        interface = self.interface
        return interface.nmi_below if interface.nmi_below and self.cpu.irqs_off else interface.pmr

    def __repr__(self) -> str:
        return f"<Pe {self.interface.number}>"


def _nobody() -> None:
    """Stand in for ``on_output`` until a CPU is there."""
