"""Stand in front of a GIC's interrupt with a device's message: its mask bit where it has one, the rest is the next level's.

Linux: drivers/irqchip/irq-gic-its-msi-parent.c.
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import IRQCHIP_ONESHOT_SAFE, IrqChip
from asyncirq.irq.desc import IrqData
from asyncirq.irqchip.msi import MsiTarget


class GicMsiChip(IrqChip):
    """The device's side of a message. ``parent`` is the next level's chip (an ITS's or the GIC's), ``gic`` the one that an EOI goes to.

    A message that the device cannot mask is masked at the next level.
    """

    flags = IRQCHIP_ONESHOT_SAFE

    def __init__(self, name: str, parent: IrqChip, gic: IrqChip, mmio_ns: int) -> None:
        self.name = name
        self.parent = parent
        self.mmio_ns = mmio_ns
        self._eoi = gic.irq_eoi

    def irq_mask(self, cpu: Cpu, data: IrqData) -> int:
        """Mask the message."""
        return self._mask(cpu, data, masked=True)

    def irq_unmask(self, cpu: Cpu, data: IrqData) -> int:
        """Unmask the message."""
        return self._mask(cpu, data, masked=False)

    def _mask(self, cpu: Cpu, data: IrqData, masked: bool) -> int:
        assert data.parent is not None
        target: MsiTarget = data.chip_data
        if not target.can_mask:
            return self.parent.irq_mask(cpu, data.parent) if masked else self.parent.irq_unmask(cpu, data.parent)
        target.mask_msi(masked)
        return self.mmio_ns

    def irq_eoi(self, cpu: Cpu, data: IrqData) -> int:
        """Leave it to the GIC."""
        parent = data.parent
        assert parent is not None
        return self._eoi(cpu, parent)

    def irq_set_affinity(self, cpu: Cpu, data: IrqData, mask: int, force: bool) -> int:
        """Leave it to the next level."""
        assert data.parent is not None
        return self.parent.irq_set_affinity(cpu, data.parent, mask, force)
