"""Number the errors of an ITS's commands: the command in bits 15:8, what is wrong with it below.

The architecture lists a number for each pair; ``number`` composes it. Linux: arch/arm64/kvm/vgic/vgic.h has some of them.
"""

from __future__ import annotations

from typing import Final

from asyncirq.hw.gic import its_command as cmd

DEVICE_RANGE: Final = 0x01
"""The device's id is beyond the table of devices."""
SIZE_RANGE: Final = 0x02
"""MAPD: the table of events is larger than an event's id can be."""
COLLECTION_RANGE: Final = 0x03
"""The collection's id is beyond the table of collections."""
UNMAPPED_DEVICE: Final = 0x04
"""The device has no table of events."""
EVENT_RANGE: Final = 0x05
"""The event's id is beyond the device's table."""
INTID_RANGE: Final = 0x06
"""The INTID is not that of an LPI."""
UNMAPPED_EVENT: Final = 0x07
"""The event has no INTID."""
UNMAPPED_COLLECTION: Final = 0x09
"""The collection that the command names, or for MOVI the event's old one, has no target."""
EVENT_INVALID: Final = 0x10
"""The event is mapped into a collection that has no target."""

MAPC_TARGET: Final = 0x010902
MOVALL_TARGET: Final = 0x010E01

_FIRST: Final = 0x010000
_CLEAR: Final = 0x05


def number(command: int, what: int) -> int:
    """Return the error of a command. CLEAR's have 5 for the command, although the command itself is 4."""
    return _FIRST | (_CLEAR if command == cmd.CLEAR else command) << 8 | what
