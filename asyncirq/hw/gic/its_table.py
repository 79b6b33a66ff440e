"""Hold what an ITS knows: devices with their events, and collections with their targets; and write it to memory and back.

A device's event names an INTID and a collection, a collection the redistributor of one PE. Linux: arch/arm64/kvm/vgic/vgic-its.c
has the layout in memory, which the architecture leaves open.
"""

from __future__ import annotations

from typing import Final

from asyncirq.hw.gic.memory import Memory

VALID: Final = 1 << 63
ENTRY: Final = 8
"""Bytes of an entry of each of the three tables."""


class Event:
    """One event of a device: its INTID and collection."""

    __slots__ = ("collection", "intid")

    def __init__(self, intid: int, collection: int) -> None:
        self.intid = intid
        self.collection = collection


class Device:
    """One device: events below ``1 << event_bits``, in a table at ``address``."""

    __slots__ = ("address", "event_bits", "events")

    def __init__(self, address: int, event_bits: int) -> None:
        self.address = address
        self.event_bits = event_bits
        self.events: dict[int, Event] = {}


class ItsTables:
    """The three tables. ``collections[id]`` is a PE's number."""

    def __init__(self) -> None:
        self.devices: dict[int, Device] = {}
        self.collections: dict[int, int] = {}

    def find(self, device: int, event: int) -> Event | None:
        """Return what an event of a device is mapped to."""
        found = self.devices.get(device)
        return None if found is None else found.events.get(event)

    def save(self, memory: Memory, device_base: int, collection_base: int) -> None:
        """Write every entry into memory."""
        for number in sorted(self.devices):
            device = self.devices[number]
            memory.write(device_base + ENTRY * number, ENTRY, VALID | device.address >> 8 << 5 | device.event_bits - 1)
            for index in sorted(device.events):
                event = device.events[index]
                memory.write(device.address + ENTRY * index, ENTRY, VALID | event.intid << 16 | event.collection)
        for number in sorted(self.collections):
            memory.write(collection_base + ENTRY * number, ENTRY, VALID | self.collections[number] << 16 | number)

    def restore(self, memory: Memory, device_base: int, devices: int, collection_base: int, collections: int) -> None:
        """Read every entry from memory; what was known before is forgotten."""
        self.devices.clear()
        self.collections.clear()
        for number in range(devices):
            entry = memory.read(device_base + ENTRY * number, ENTRY) or 0
            if entry & VALID:
                device = self.devices[number] = Device((entry & ~VALID) >> 5 << 8, (entry & 0x1F) + 1)
                self._restore_events(memory, device)
        for number in range(collections):
            entry = memory.read(collection_base + ENTRY * number, ENTRY) or 0
            if entry & VALID:
                self.collections[number] = (entry & ~VALID) >> 16

    def _restore_events(self, memory: Memory, device: Device) -> None:
        for index in range(1 << device.event_bits):
            entry = memory.read(device.address + ENTRY * index, ENTRY) or 0
            if entry & VALID:
                device.events[index] = Event((entry & ~VALID) >> 16, entry & 0xFFFF)
