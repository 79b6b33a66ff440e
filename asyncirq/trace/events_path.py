"""Define the records of the steps inside entry code; all of them are ours, and a machine makes them only with its detail on."""

from __future__ import annotations

from asyncirq.trace.record import Record


class EntryStep(Record, tag="entry_step"):
    """Tell that the entry code took a step, and which stack it is on then, at which stack pointer."""

    step: str
    stack: str
    sp: int


class NmiUnmasked(Record, tag="nmi_unmasked"):
    """Tell that an IRET let NMIs in again before the NMI handler that runs has ended."""


PATH_RECORDS: tuple[type[Record], ...] = (EntryStep, NmiUnmasked)
"""Every record type of this module, in the order above."""
