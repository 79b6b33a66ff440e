"""Model the memory that the GIC reads and writes by itself: tables of LPIs, and the command queue of the ITS."""

from __future__ import annotations

from typing import Final

from asyncirq.errors import UsageError

PAGE: Final = 0x1_0000
FIRST: Final = 0x4000_0000


class Memory:
    """Memory in pages of 64 KiB, of which only those that were allocated are there. Numbers are little-endian."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._next = FIRST

    def alloc(self, size: int) -> int:
        """Return the address of ``size`` zeroed bytes, a multiple of the page. Raises ``UsageError`` for no bytes at all."""
        if size < 1:
            raise UsageError(f"cannot allocate {size} bytes")
        address = self._next
        for _ in range(-(-size // PAGE)):
            self._pages[self._next] = bytearray(PAGE)
            self._next += PAGE
        return address

    def free(self, address: int, size: int) -> None:
        """Take pages away; what reads them from now on faults."""
        for page in range(address, address + size, PAGE):
            self._pages.pop(page & ~(PAGE - 1), None)

    def read(self, address: int, size: int) -> int | None:
        """Return a number of ``size`` bytes, None where there is no memory. It must not cross a page."""
        page = self._pages.get(address & ~(PAGE - 1))
        if page is None:
            return None
        offset = address & PAGE - 1
        return int.from_bytes(page[offset : offset + size], "little")

    def write(self, address: int, size: int, value: int) -> bool:
        """Write a number of ``size`` bytes; return False where there is no memory."""
        page = self._pages.get(address & ~(PAGE - 1))
        if page is None:
            return False
        offset = address & PAGE - 1
        page[offset : offset + size] = value.to_bytes(size, "little")
        return True
