from __future__ import annotations

from typing import Any

import pytest

from asyncirq import UsageError
from asyncirq.drivers import DmaMemory


def test_what_is_mapped_can_be_reached_at_its_address() -> None:
    memory = DmaMemory("disk")
    first: list[Any] = [1]
    second: list[Any] = [2]
    addresses = memory.map(first), memory.map(second)
    assert addresses == (0x1000, 0x2000)
    assert memory.at(0x1000) is first
    assert memory.at(0x2000) is second


def test_unmapped_memory_is_out_of_reach() -> None:
    memory = DmaMemory("disk")
    address = memory.map([])
    memory.unmap(address)
    for access in (memory.at, memory.unmap):
        with pytest.raises(UsageError, match="^disk: DMA to 0x1000, where nothing is mapped$"):
            access(address)
    assert memory.map([]) == 0x2000
