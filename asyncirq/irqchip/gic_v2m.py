"""Deliver messages on a GICv2: a frame in memory, a write to which makes an SPI pending.

Linux: drivers/irqchip/irq-gic-v2m.c.
"""

from __future__ import annotations

from typing import Any, Final

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gic.regs import PPI_LIMIT
from asyncirq.hw.msi import MsiMessage
from asyncirq.irq.desc import IRQ_TYPE_EDGE_RISING, IrqData
from asyncirq.irq.domain import IrqDomain
from asyncirq.irqchip.gic import GicV2
from asyncirq.irqchip.gic_msi import GicMsiChip
from asyncirq.irqchip.msi import MsiTarget

FRAME: Final = 0x0802_0000
SETSPI_NS: Final = 0x40
DOORBELL: Final = FRAME + SETSPI_NS
"""The address that devices write to."""


class V2mDomain(IrqDomain):
    """The messages of devices, each an SPI of the frame: ``count`` from SPI ``first``; ``create_mapping(index, arg=target)``."""

    def __init__(self, gic: GicV2, first: int, count: int) -> None:
        super().__init__(gic.core, "MSI", 0, gic.domain)
        self.gic = gic
        self.chip = GicMsiChip("MSI", gic.chip, gic.chip, gic.core.costs.mmio_ns)
        self._free = list(range(PPI_LIMIT + first, PPI_LIMIT + first + count))

    def alloc(self, data: IrqData, arg: Any) -> None:
        """Take a free SPI of the frame, an edge. Raises ``UsageError`` ENOSPC when none is left."""
        if not self._free:
            raise UsageError("no SPI of the message frame is free", 28)
        assert data.parent is not None
        data.parent.hwirq = self._free.pop(0)
        data.chip = self.chip
        data.chip_data = arg
        data.desc.msi_desc = arg

    def free(self, data: IrqData) -> None:
        """Give the SPI back."""
        assert data.parent is not None
        self._free = sorted([*self._free, data.parent.hwirq])

    def activate(self, cpu: Cpu, data: IrqData, reserve: bool) -> int:
        """Write the message into the device: the SPI's INTID is the data."""
        parent = data.parent
        assert parent is not None
        self.gic.chip.irq_set_type(cpu, parent, IRQ_TYPE_EDGE_RISING)
        self.gic.chip.irq_unmask(cpu, parent)
        target: MsiTarget = data.chip_data
        target.write_msi(MsiMessage(DOORBELL, parent.hwirq))
        return 0

    def deactivate(self, cpu: Cpu, data: IrqData) -> None:
        """Take the message out of the device."""
        assert data.parent is not None
        target: MsiTarget = data.chip_data
        target.write_msi(MsiMessage(0, 0))
        self.gic.chip.irq_mask(cpu, data.parent)
