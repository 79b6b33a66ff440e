"""Hold the drivers of interrupt controllers by what firmware calls them, and start those that a machine has.

Linux: drivers/irqchip/irqchip.c, include/linux/irqchip.h. Model: the linker collects Linux's table; here whoever puts the kernel
together enters the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from asyncirq.firmware.acpi import AcpiProbe, Subtable, acpi_probe_device_table
from asyncirq.firmware.devicetree import DeviceTree, Node
from asyncirq.firmware.of_irq import InitFn, Match, Say, of_irq_init


class IrqchipTable:
    """Drivers by compatible string (``matches``) and by entry of ACPI's table (``probes``)."""

    def __init__(self) -> None:
        self.matches: list[Match] = []
        self.probes: list[AcpiProbe] = []

    def declare(self, compatible: str, init: InitFn | None) -> None:
        """Enter a driver. Linux: IRQCHIP_DECLARE()."""
        self.matches.append(Match(compatible, init))

    def acpi_declare(self, probe: AcpiProbe) -> None:
        """Enter a driver. Linux: IRQCHIP_ACPI_DECLARE()."""
        self.probes.append(probe)

    def irqchip_init(self, tree: DeviceTree | None, madt: Sequence[Subtable], say: Say) -> list[Node]:
        """Start what the device tree names, then what ACPI does; return the nodes started."""
        started = of_irq_init(tree, self.matches, say) if tree is not None else []
        acpi_probe_device_table(madt, self.probes)
        return started
