"""Define what travels between APICs: one message, whoever sends it (IO-APIC, MSI, IPI)."""

from __future__ import annotations

from typing import Final

import msgspec

FIXED: Final = 0
LOWEST_PRIORITY: Final = 1
SMI: Final = 2
REMOTE_READ: Final = 3
NMI: Final = 4
INIT: Final = 5
STARTUP: Final = 6
EXTINT: Final = 7

DELIVERY_MODE_NAMES: Final = ("fixed", "lowest", "smi", "remote_read", "nmi", "init", "startup", "extint")
DEST_MODE_NAMES: Final = ("physical", "logical")
TRIGGER_NAMES: Final = ("edge", "level")

BROADCAST: Final = 0xFFFF_FFFF
"""Destination of a message to every APIC, in either destination mode."""
XAPIC_BROADCAST: Final = 0xFF
"""The same in an 8-bit destination field."""


class ApicMessage(msgspec.Struct, gc=False, frozen=True):
    """One message on the APIC bus.

    ``dest`` is 32 bits wide: senders with an 8-bit field widen 0xFF to ``BROADCAST``. ``cause`` is the ``seq`` of the
    record that led to the message. ``asserted`` is False only in an INIT level de-assert.
    """

    vector: int
    delivery_mode: int = FIXED
    level: bool = False
    dest: int = 0
    logical: bool = False
    cause: int = 0
    asserted: bool = True


def widen(dest: int) -> int:
    """Return the 32-bit destination that an 8-bit destination field means."""
    return BROADCAST if dest == XAPIC_BROADCAST else dest
