"""Start interrupt controllers from ACPI's multiple APIC description table.

Linux: drivers/acpi/scan.c acpi_probe_device_table(), include/linux/acpi.h IRQCHIP_ACPI_DECLARE().
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

GIC_CPU_INTERFACE: Final = 0xB
GIC_DISTRIBUTOR: Final = 0xC
GIC_MSI_FRAME: Final = 0xD
GIC_REDISTRIBUTOR: Final = 0xE
GIC_TRANSLATOR: Final = 0xF


class Subtable(NamedTuple):
    """One entry of the table: its type, and for a distributor the version of its GIC."""

    kind: int
    version: int = 0


class AcpiProbe(NamedTuple):
    """One row of the table of drivers: for which entry (type and version), and what starts it: 0 or a negative errno."""

    name: str
    kind: int
    version: int
    init: Callable[[Subtable], int]


def acpi_probe_device_table(madt: Sequence[Subtable], probes: Sequence[AcpiProbe]) -> int:
    """Offer every entry to every row, row by row; return how many rows started something.

    A machine without ACPI has no entries, so nothing happens.
    """
    count = 0
    for probe in probes:
        found = [entry for entry in madt if entry.kind == probe.kind and entry.version == probe.version]
        count += any(not probe.init(entry) for entry in found)
    return count
