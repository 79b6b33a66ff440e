"""Define the records of the PC's old controllers, and of what an APIC refuses (all ours)."""

from __future__ import annotations

from asyncirq.trace.record import Record


class PicIrr(Record, tag="pic_irr"):
    """Tell that an 8259 has a new request that is not masked; ``line`` 8 and above are the second chip's."""

    line: int


class PicInta(Record, tag="pic_inta"):
    """Tell that the CPU acknowledged an 8259, which gave it a vector."""

    vector: int


class PicEoi(Record, tag="pic_eoi"):
    """Tell that an 8259 took an EOI for a line in service."""

    line: int


class LapicSmi(Record, tag="lapic_smi"):
    """Tell that a local APIC was sent a system management interrupt, which the model does not take."""

    vector: int


PIC_RECORDS: tuple[type[Record], ...] = (PicIrr, PicInta, PicEoi, LapicSmi)
"""Every record type of this module, in the order above."""
