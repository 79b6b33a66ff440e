"""Encode what an ITS is told: commands, 32 bytes each as four numbers of 64 bits, and the messages of devices.

Linux: drivers/irqchip/irq-gic-v3-its.c its_build_*_cmd().
"""

from __future__ import annotations

from typing import Final, NamedTuple

from asyncirq.hw.gic.regs import GITS_TRANSLATER
from asyncirq.hw.msi import MsiMessage

MOVI: Final = 0x01
INT: Final = 0x03
CLEAR: Final = 0x04
SYNC: Final = 0x05
MAPD: Final = 0x08
MAPC: Final = 0x09
MAPTI: Final = 0x0A
MAPI: Final = 0x0B
INV: Final = 0x0C
INVALL: Final = 0x0D
MOVALL: Final = 0x0E
DISCARD: Final = 0x0F

TRANSLATER: Final = 0x0808_0000 + GITS_TRANSLATER
"""Where devices write, on the bus."""
SIZE: Final = 32
_VALID: Final = 1 << 63
_ADDRESS: Final = ((1 << 52) - 1) & ~0xFF
_TARGET: Final = ((1 << 52) - 1) & ~0xFFFF


class Command(NamedTuple):
    """One command as the four numbers that lie in the queue, and its fields."""

    words: tuple[int, int, int, int]

    @property
    def number(self) -> int:
        """Return which command it is."""
        return self.words[0] & 0xFF

    @property
    def device(self) -> int:
        """Return the device's id."""
        return self.words[0] >> 32

    @property
    def event(self) -> int:
        """Return the event's id."""
        return self.words[1] & 0xFFFF_FFFF

    @property
    def intid(self) -> int:
        """Return the INTID that MAPTI gives."""
        return self.words[1] >> 32

    @property
    def event_bits(self) -> int:
        """Return how many bits a device's events have."""
        return (self.words[1] & 0x1F) + 1

    @property
    def collection(self) -> int:
        """Return the collection's id."""
        return self.words[2] & 0xFFFF

    @property
    def address(self) -> int:
        """Return where a device's table of events is."""
        return self.words[2] & _ADDRESS

    @property
    def target(self) -> int:
        """Return the number of a PE."""
        return (self.words[2] & _TARGET) >> 16

    @property
    def other_target(self) -> int:
        """Return the number of the PE that MOVALL moves to."""
        return (self.words[3] & _TARGET) >> 16

    @property
    def valid(self) -> bool:
        """Tell whether MAPD or MAPC maps, rather than unmaps."""
        return bool(self.words[2] & _VALID)


def mapd(device: int, address: int, event_bits: int, valid: bool = True) -> Command:
    """Give a device a table of events, or take it away."""
    return Command((MAPD | device << 32, event_bits - 1, address & _ADDRESS | valid * _VALID, 0))


def mapc(collection: int, target: int, valid: bool = True) -> Command:
    """Point a collection to a PE, or to none."""
    return Command((MAPC, 0, collection | target << 16 | valid * _VALID, 0))


def mapti(device: int, event: int, intid: int, collection: int) -> Command:
    """Map a device's event to an INTID and a collection."""
    return Command((MAPTI | device << 32, event | intid << 32, collection, 0))


def mapi(device: int, event: int, collection: int) -> Command:
    """Map a device's event to the INTID of the same number."""
    return Command((MAPI | device << 32, event, collection, 0))


def movi(device: int, event: int, collection: int) -> Command:
    """Move an event to another collection."""
    return Command((MOVI | device << 32, event, collection, 0))


def event_command(number: int, device: int, event: int) -> Command:
    """Build INT, CLEAR, INV or DISCARD."""
    return Command((number | device << 32, event, 0, 0))


def invall(collection: int) -> Command:
    """Have the PE of a collection read all its configuration again."""
    return Command((INVALL, 0, collection, 0))


def movall(source: int, target: int) -> Command:
    """Move everything that is pending from one PE to another."""
    return Command((MOVALL, 0, source << 16, target << 16))


def sync(target: int) -> Command:
    """Wait until all earlier commands have had their effect at a PE."""
    return Command((SYNC, 0, target << 16, 0))


class ItsMessage(MsiMessage):
    """A message to an ITS: the data is the event, and the device's id travels beside it."""

    __slots__ = ("device",)

    def __init__(self, device: int, event: int) -> None:
        super().__init__(TRANSLATER, event)
        self.device = device
