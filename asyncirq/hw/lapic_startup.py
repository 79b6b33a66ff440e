"""Model how one CPU resets and starts another: INIT and SIPI, which bypass the interrupt window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncirq.hw.apic_message import INIT, ApicMessage

if TYPE_CHECKING:
    from asyncirq.hw.lapic import Lapic


class Startup:
    """The startup latches of one local APIC.

    ``pending`` is derived; the APIC's ``on_output()`` is called when it changed. ``waits_for_sipi`` is True after power-up
    and INIT on every CPU but the boot CPU; a SIPI that comes at any other time is dropped, not remembered.
    """

    def __init__(self, lapic: Lapic, bsp: bool) -> None:
        self._lapic = lapic
        self.bsp = bsp
        self.waits_for_sipi = not bsp
        self.pending = False
        self._init = False
        self._sipi_vector = -1

    # --- recompute

    def _recompute(self) -> None:
        pending = self._init or self._sipi_vector >= 0
        if pending is not self.pending:
            self.pending = pending
            self._lapic.on_output()

    # --- inputs

    def accept(self, message: ApicMessage) -> bool:
        """Take an INIT, which resets the APIC, or a SIPI, of which the last one counts; an INIT level de-assert is ignored."""
        if message.delivery_mode != INIT:
            if not self.waits_for_sipi:
                return False
            self._sipi_vector = message.vector
        else:
            if message.level and not message.asserted:
                return False
            self._lapic.reset()
            self._init = True
            self._sipi_vector = -1
            self.waits_for_sipi = not self.bsp
        self._recompute()
        return True

    # --- acknowledge

    def take(self) -> tuple[bool, int]:
        """Hand both to the CPU: whether INIT came, and the SIPI vector or -1. A SIPI ends the wait for it."""
        taken = (self._init, self._sipi_vector)
        if self._sipi_vector >= 0:
            self.waits_for_sipi = False
        self._init = False
        self._sipi_vector = -1
        self._recompute()
        return taken
