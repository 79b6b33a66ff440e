"""Model the local vector table: the interrupt sources that belong to one CPU, and its two LINT pins.

A local source reaches its own CPU only. Each entry is one register: vector, delivery mode, mask, and for the pins
polarity, trigger mode and remote IRR.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from asyncirq.hw.apic_message import EXTINT, FIXED, NMI, ApicMessage

if TYPE_CHECKING:
    from asyncirq.hw.lapic import Lapic

CMCI: Final = 0x2F0
TIMER: Final = 0x320
THERMAL: Final = 0x330
PERF: Final = 0x340
LINT0: Final = 0x350
LINT1: Final = 0x360
ERROR: Final = 0x370

MASKED: Final = 1 << 16
LEVEL: Final = 1 << 15
REMOTE_IRR: Final = 1 << 14
ACTIVE_LOW: Final = 1 << 13
MODE_SHIFT: Final = 8
TIMER_MODE_SHIFT: Final = 17

_SOURCE_BITS: Final = MASKED | 0x7FF
_PIN_BITS: Final = MASKED | LEVEL | ACTIVE_LOW | 0x7FF
WRITABLE: Final = MappingProxyType(
    {
        CMCI: _SOURCE_BITS,
        TIMER: 3 << TIMER_MODE_SHIFT | MASKED | 0xFF,
        THERMAL: _SOURCE_BITS,
        PERF: _SOURCE_BITS,
        LINT0: _PIN_BITS,
        LINT1: _PIN_BITS,
        ERROR: MASKED | 0xFF,
    }
)
"""The bits that software can write, by the offset of the entry; it is also the list of entries."""


class LocalVectorTable:
    """The LVT of one local APIC; entries are named by their register offset.

    Model: SMI as a delivery mode is left out, as system management mode is.
    """

    def __init__(self, lapic: Lapic) -> None:
        self._lapic = lapic
        self.entries = dict.fromkeys(WRITABLE, MASKED)
        self._wire = {LINT0: False, LINT1: False}
        self._asserted = {LINT0: False, LINT1: False}

    # --- recompute

    def _recompute_pin(self, pin: int, cause: int) -> None:
        """Derive what a LINT pin asks for from its wire and its entry, and hand it on."""
        lapic = self._lapic
        entry = self.entries[pin]
        was = self._asserted[pin]
        if lapic.regs.hw_enabled:
            asserted = self._wire[pin] != bool(entry & ACTIVE_LOW)
            mode = entry >> MODE_SHIFT & 7
            masked = bool(entry & MASKED)
        else:  # without an APIC the pins are the CPU's INTR and NMI
            asserted = self._wire[pin]
            mode = EXTINT if pin == LINT0 else NMI
            masked = False
        self._asserted[pin] = asserted
        if pin == LINT0:
            lapic.set_extint(asserted and mode == EXTINT and not masked)
        if not asserted or masked or mode == EXTINT:
            return
        if mode == FIXED and entry & LEVEL:
            if not entry & REMOTE_IRR and lapic.accept(ApicMessage(entry & 0xFF, FIXED, True, 0, False, cause)):
                self.entries[pin] = entry | REMOTE_IRR
        elif was:
            return
        elif mode == NMI:
            lapic.latch_nmi(cause)
        else:
            lapic.accept(ApicMessage(entry & 0xFF, mode, False, 0, False, cause))

    # --- inputs

    def fire(self, offset: int, cause: int = 0) -> bool:
        """Raise a local source once and return whether it was accepted; a masked one is lost.

        The performance counter's entry masks itself as it fires: its handler writes it again.
        """
        entry = self.entries[offset]
        if entry & MASKED:
            return False
        if offset == PERF:
            self.entries[offset] = entry | MASKED
        mode = FIXED if offset in (TIMER, ERROR) else entry >> MODE_SHIFT & 7
        return self._lapic.accept(ApicMessage(entry & 0xFF, mode, False, 0, False, cause))

    def set_pin(self, pin: int, level: bool, cause: int = 0) -> None:
        """Take over the level of the wire at ``LINT0`` or ``LINT1``."""
        self._wire[pin] = level
        self._recompute_pin(pin, cause)

    def write(self, offset: int, value: int) -> None:
        """Write an entry; while the APIC is disabled by software the mask bit stays set whatever is written."""
        old = self.entries[offset]
        value &= WRITABLE[offset]
        if not self._lapic.enabled:
            value |= MASKED
        if value & LEVEL:
            value |= old & REMOTE_IRR
        self.entries[offset] = value
        if offset == TIMER:
            self._lapic.timer.set_mode(value >> TIMER_MODE_SHIFT & 3)
        elif offset in self._wire:
            self._recompute_pin(offset, 0)

    def force_masks(self) -> None:
        """Set every mask bit, as disabling the APIC by software does; enabling it again clears none."""
        for offset in self.entries:
            self.entries[offset] |= MASKED
        for pin in self._wire:
            self._recompute_pin(pin, 0)

    def reset(self) -> None:
        """Return every entry to its state after power-up; the wires keep their levels."""
        for offset in self.entries:
            self.entries[offset] = MASKED
        for pin in self._wire:
            self._recompute_pin(pin, 0)

    # --- acknowledge

    def eoi(self, vector: int) -> None:
        """Clear remote IRR of the pins that raised a level-triggered vector, and look at their wires again."""
        for pin in self._wire:
            entry = self.entries[pin]
            if entry & REMOTE_IRR and entry & 0xFF == vector:
                self.entries[pin] = entry & ~REMOTE_IRR
                self._recompute_pin(pin, 0)
