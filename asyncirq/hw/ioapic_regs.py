"""Define the registers of an IO-APIC and take its redirection entries apart.

| bits | field | bits | field |
| --- | --- | --- | --- |
| 7:0 | vector | 14 | remote IRR (read-only) |
| 10:8 | delivery mode | 15 | level-triggered |
| 11 | logical destination | 16 | masked |
| 12 | delivery status (read-only) | 55:17 | reserved, 0 |
| 13 | active low | 63:56 | destination |
"""

from __future__ import annotations

from typing import Final

import msgspec

from asyncirq.errors import UsageError

IOREGSEL: Final = 0x00
IOWIN: Final = 0x10
PIN_ASSERT: Final = 0x20
EOI_REGISTER: Final = 0x40

REG_ID: Final = 0
REG_VERSION: Final = 1
REG_ARBITRATION: Final = 2
REG_REDIRECTION: Final = 0x10

VERSION_NO_EOI: Final = 0x11
VERSION_EOI: Final = 0x20
ID_MASK: Final = 0x0F00_0000

LOGICAL: Final = 1 << 11
DELIVERY_STATUS: Final = 1 << 12
ACTIVE_LOW: Final = 1 << 13
REMOTE_IRR: Final = 1 << 14
LEVEL: Final = 1 << 15
MASKED: Final = 1 << 16
WRITABLE_LOW: Final = MASKED | LEVEL | ACTIVE_LOW | LOGICAL | 0x7FF


class RedirectionEntry(msgspec.Struct, frozen=True):
    """One redirection entry, field by field; the form in which software composes it."""

    vector: int = 0
    delivery_mode: int = 0
    logical: bool = False
    delivery_status: bool = False
    active_low: bool = False
    remote_irr: bool = False
    level: bool = False
    masked: bool = False
    dest: int = 0

    def encode(self) -> int:
        """Return the 64-bit register. Raises ``UsageError`` for a field that does not fit."""
        for name, value, limit in (("vector", self.vector, 0xFF), ("delivery mode", self.delivery_mode, 7), ("dest", self.dest, 0xFF)):
            if not 0 <= value <= limit:
                raise UsageError(f"redirection entry: {name} {value} is not in 0..{limit}")
        return (
            self.vector
            | self.delivery_mode << 8
            | self.logical * LOGICAL
            | self.delivery_status * DELIVERY_STATUS
            | self.active_low * ACTIVE_LOW
            | self.remote_irr * REMOTE_IRR
            | self.level * LEVEL
            | self.masked * MASKED
            | self.dest << 56
        )

    @classmethod
    def decode(cls, value: int) -> RedirectionEntry:
        """Take a 64-bit register apart; reserved bits are dropped."""
        return cls(
            vector=value & 0xFF,
            delivery_mode=value >> 8 & 7,
            logical=bool(value & LOGICAL),
            delivery_status=bool(value & DELIVERY_STATUS),
            active_low=bool(value & ACTIVE_LOW),
            remote_irr=bool(value & REMOTE_IRR),
            level=bool(value & LEVEL),
            masked=bool(value & MASKED),
            dest=value >> 56 & 0xFF,
        )
