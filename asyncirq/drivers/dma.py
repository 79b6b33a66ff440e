"""Hold the memory that a device reads and writes by itself: bus addresses of descriptor rings.

Model: an address stands for a whole ring, whose descriptors are objects; there are no bytes, and an access takes no time
of its own.
"""

from __future__ import annotations

from typing import Any, Final

from asyncirq.errors import UsageError

PAGE: Final = 4096


class DmaMemory:
    """What one device can reach: ``map(ring)`` gives the bus address to write into a register, ``at(address)`` is the device's view."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._rings: dict[int, list[Any]] = {}
        self._next = PAGE

    def map(self, ring: list[Any]) -> int:
        """Make a ring of descriptors reachable and return its bus address."""
        address = self._next
        self._rings[address] = ring
        self._next += PAGE
        return address

    def unmap(self, address: int) -> None:
        """Take a ring away from the device. Raises ``UsageError`` for an address that is none."""
        self.at(address)
        del self._rings[address]

    def at(self, address: int) -> list[Any]:
        """Return the ring at a bus address. Raises ``UsageError`` for an access to memory that nobody mapped."""
        ring = self._rings.get(address)
        if ring is None:
            raise UsageError(f"{self.name}: DMA to {address:#x}, where nothing is mapped")
        return ring
