"""Define the records of the silicon: devices, lines, messages and interrupt controllers (all ours)."""

from __future__ import annotations

from asyncirq.trace.record import Record


class DeviceRaise(Record, tag="device_raise"):
    """Tell that a device decided to interrupt; ``source`` names the reason."""

    device: str
    source: str


class LineLevel(Record, tag="line_level"):
    """Tell that a wire changed its level."""

    line: str
    level: bool


class MsiWrite(Record, tag="msi_write"):
    """Tell that a message-signalled interrupt went onto the bus."""

    address: int
    data: int


class IoapicDeliver(Record, tag="ioapic_deliver"):
    """Tell that an IO-APIC sent a pin's interrupt to the APIC bus."""

    ioapic: int
    pin: int
    vector: int
    dest: int
    dest_mode: str
    delivery_mode: str
    trigger: str


class IoapicEoi(Record, tag="ioapic_eoi"):
    """Tell that an EOI broadcast cleared a pin's remote IRR."""

    ioapic: int
    pin: int
    vector: int


class LapicIrr(Record, tag="lapic_irr"):
    """Tell that a local APIC accepted a vector; ``coalesced`` counts earlier raises still unserved in that slot."""

    vector: int
    trigger: str
    coalesced: int


class LapicInta(Record, tag="lapic_inta"):
    """Tell that the CPU acknowledged a vector: it moved from IRR to ISR."""

    vector: int


class LapicEoi(Record, tag="lapic_eoi"):
    """Tell that the CPU ended the vector in service."""

    vector: int


class LapicSpurious(Record, tag="lapic_spurious"):
    """Tell that the acknowledge cycle found nothing and yielded the spurious vector."""

    vector: int


class NmiInta(Record, tag="nmi_inta"):
    """Tell that the CPU took its pending NMI."""


HW_RECORDS: tuple[type[Record], ...] = (
    DeviceRaise,
    LineLevel,
    MsiWrite,
    IoapicDeliver,
    IoapicEoi,
    LapicIrr,
    LapicInta,
    LapicEoi,
    LapicSpurious,
    NmiInta,
)
"""Every record type of this module, in the order above."""
