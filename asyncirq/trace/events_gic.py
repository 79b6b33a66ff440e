"""Define the records of Arm's interrupt controller (ours), and of its inter-processor interrupts (Linux's)."""

from __future__ import annotations

from asyncirq.trace.record import Record


class GicPend(Record, tag="gic_pend"):
    """Tell that an interrupt became pending; ``coalesced`` counts earlier raises still unserved."""

    intid: int
    trigger: str
    coalesced: int


class GicIar(Record, tag="gic_iar"):
    """Tell that the CPU read the acknowledge register: the interrupt became active, or a special number told why none did."""

    intid: int


class GicEoir(Record, tag="gic_eoir"):
    """Tell that the CPU wrote the end register: the priority drops, and outside the split mode the interrupt is over."""

    intid: int


class GicDir(Record, tag="gic_dir"):
    """Tell that the CPU wrote the deactivate register."""

    intid: int


class ItsTranslate(Record, tag="its_translate"):
    """Tell that an ITS turned a device's event into an interrupt for the redistributor of one CPU."""

    device: int
    eventid: int
    intid: int


class IpiRaise(Record, tag="ipi_raise"):
    """Tell that an inter-processor interrupt was sent to a mask of CPUs."""

    target_cpus: str
    reason: str


class IpiEntry(Record, tag="ipi_entry"):
    """Tell that the work of an inter-processor interrupt begins."""

    reason: str


class IpiExit(Record, tag="ipi_exit"):
    """Tell that the work of an inter-processor interrupt is done."""

    reason: str


GIC_RECORDS: tuple[type[Record], ...] = (GicPend, GicIar, GicEoir, GicDir, ItsTranslate, IpiRaise, IpiEntry, IpiExit)
"""Every record type of this module, in the order above."""
