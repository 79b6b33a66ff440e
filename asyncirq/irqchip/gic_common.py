"""Hold what the drivers of GICv3 and GICv2 share: the translation of firmware's specifiers, and what a trigger may be.

Linux: drivers/irqchip/irq-gic-common.c, irq-gic-v3.c, irq-gic.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncirq.errors import UsageError
from asyncirq.hw.gic import regs
from asyncirq.irq.desc import IRQ_TYPE_EDGE_RISING, IRQ_TYPE_LEVEL_HIGH, IRQ_TYPE_SENSE_MASK

GIC_SPI: Final = 0
GIC_PPI: Final = 1
GIC_ESPI: Final = 2
GIC_EPPI: Final = 3

_BASES: Final = (regs.PPI_LIMIT, regs.SGI_LIMIT, regs.ESPI_BASE, regs.EPPI_BASE)


def translate(cells: Sequence[int]) -> tuple[int, int]:
    """Return INTID and trigger of a specifier: kind, number, flags; or of one cell, an SGI. Raises ``UsageError`` EINVAL for others."""
    if len(cells) == 1 and 0 <= cells[0] < regs.SGI_LIMIT:
        return cells[0], IRQ_TYPE_EDGE_RISING
    if len(cells) < 3 or cells[0] not in range(len(_BASES)):
        raise UsageError(f"{tuple(cells)} is no specifier of a GIC", 22)
    return _BASES[cells[0]] + cells[1], cells[2] & IRQ_TYPE_SENSE_MASK


def type_error(intid: int, kind: int) -> int:
    """Return 0 if an interrupt may have a trigger, else -EINVAL: SGIs and LPIs are edges, SPIs high levels or rising edges."""
    what = regs.kind_of(intid)
    if what in ("sgi", "lpi"):
        return 0 if kind == IRQ_TYPE_EDGE_RISING else -22
    if what in ("spi", "espi"):
        return 0 if kind in (IRQ_TYPE_LEVEL_HIGH, IRQ_TYPE_EDGE_RISING) else -22
    return 0
