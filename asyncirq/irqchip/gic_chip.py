"""Say which register of a GIC each operation of an interrupt writes. Linux: drivers/irqchip/irq-gic-v3.c, irq-gic.c."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gic import regs
from asyncirq.irq.chip import (
    IRQCHIP_MASK_ON_SUSPEND,
    IRQCHIP_SET_TYPE_MASKED,
    IRQCHIP_SKIP_SET_WAKE,
    IRQCHIP_STATE_ACTIVE,
    IRQCHIP_STATE_MASKED,
    IRQCHIP_STATE_PENDING,
    IRQCHIP_SUPPORTS_NMI,
    IrqChip,
)
from asyncirq.irq.core import KERN_WARNING
from asyncirq.irq.desc import IRQ_TYPE_EDGE_RISING, IrqData
from asyncirq.irq.flow import handle_fasteoi_irq, handle_fasteoi_nmi
from asyncirq.irqchip.gic_common import type_error

if TYPE_CHECKING:
    from asyncirq.irqchip.gic_driver import GicDriver

EXTENDED: Final = MappingProxyType(
    {
        regs.ISENABLER: 0x1200,
        regs.ICENABLER: 0x1400,
        regs.ISPENDR: 0x1600,
        regs.ICPENDR: 0x1800,
        regs.ISACTIVER: 0x1A00,
        regs.ICACTIVER: 0x1C00,
        regs.IPRIORITYR: 0x2000,
        regs.ICFGR: 0x3000,
    }
)
"""Where the distributor has a register for extended SPIs."""


class GicChip(IrqChip):
    """The operations of SGIs, PPIs and SPIs; an EOI ends the interrupt in one step."""

    flags = IRQCHIP_SET_TYPE_MASKED | IRQCHIP_SKIP_SET_WAKE | IRQCHIP_MASK_ON_SUSPEND

    def __init__(self, gic: GicDriver) -> None:
        self.gic = gic
        self.name = gic.name
        self.costs = gic.core.costs
        self.interfaces = gic.interfaces
        self.group = gic.group
        if gic.pseudo_nmi:
            self.flags |= IRQCHIP_SUPPORTS_NMI

    def poke(self, cpu: Cpu, data: IrqData, register: int, *, value: int = 1, bits: int = 1) -> None:
        """Write an interrupt's field in a register that several share: one bit alone, wider ones among the others' as they are."""
        offset, shift = self._place(data.hwirq, register, bits)
        others = self.gic.read_register(cpu, data.hwirq, offset) & ~(((1 << bits) - 1) << shift) if bits > 1 else 0
        self.gic.write_register(cpu, data.hwirq, offset, others | value << shift)

    def _place(self, intid: int, register: int, bits: int) -> tuple[int, int]:
        index = intid
        if intid >= regs.ESPI_BASE:
            index -= regs.ESPI_BASE
            register = EXTENDED[register]
        elif intid >= regs.EPPI_BASE:
            index -= regs.EPPI_BASE - regs.PPI_LIMIT
        return register + index * bits // 32 * 4, index * bits % 32

    def irq_mask(self, cpu: Cpu, data: IrqData) -> int:
        """Write ICENABLER."""
        interrupt = self.gic.interrupt(cpu, data)
        interrupt.gic.disable(interrupt)
        return self.costs.mmio_ns

    def irq_unmask(self, cpu: Cpu, data: IrqData) -> int:
        """Write ISENABLER."""
        self.gic.interrupt(cpu, data).set_enabled(True)
        return self.costs.mmio_ns

    def irq_eoi(self, cpu: Cpu, data: IrqData) -> int:
        """Write EOIR."""
        self.interfaces[cpu.id].end(data.hwirq, self.group, cpu)
        return self.costs.gic_eoi_ns

    def irq_set_type(self, cpu: Cpu, data: IrqData, kind: int) -> int:
        """Write ICFGR. A PPI whose trigger is fixed is said so, and left as it is."""
        error = type_error(data.hwirq, kind)
        if error or data.hwirq < regs.SGI_LIMIT:
            return error
        edge = kind == IRQ_TYPE_EDGE_RISING
        self.poke(cpu, data, regs.ICFGR, value=2 * edge, bits=2)
        if self.gic.interrupt(cpu, data).edge is not edge:
            self.gic.core.printk(cpu, KERN_WARNING, f"GIC: PPI INTID{data.hwirq} is secure or misconfigured")
        return 0

    def irq_set_affinity(self, cpu: Cpu, data: IrqData, mask: int, force: bool) -> int:
        """Route an SPI to one CPU of ``mask``, the first that is online; ``force``: the first at all."""
        if data.hwirq < regs.PPI_LIMIT or isinstance(data.chip_data, tuple):
            return -22
        found = mask if force else mask & self.gic.core.online_mask
        if not found:
            return -22
        target = (found & -found).bit_length() - 1
        self.gic.route(data.hwirq, target)
        data.desc.effective_affinity = 1 << target
        return 0

    def irq_retrigger(self, cpu: Cpu, data: IrqData) -> bool:
        """Write ISPENDR: the hardware sends the interrupt again."""
        return not self.irq_set_irqchip_state(cpu, data, IRQCHIP_STATE_PENDING, True)

    def irq_get_active(self, cpu: Cpu, data: IrqData) -> bool:
        """Tell whether the interrupt is active."""
        return self.gic.interrupt(cpu, data).active

    def irq_get_irqchip_state(self, cpu: Cpu, data: IrqData, which: int) -> bool:
        """Read ISPENDR, ISACTIVER or ISENABLER."""
        interrupt = self.gic.interrupt(cpu, data)
        if which == IRQCHIP_STATE_PENDING:
            return interrupt.pending
        if which == IRQCHIP_STATE_ACTIVE:
            return interrupt.active
        if which == IRQCHIP_STATE_MASKED:
            return not interrupt.enabled
        raise UsageError(f"{self.name} has no state {which}", 22)

    def irq_set_irqchip_state(self, cpu: Cpu, data: IrqData, which: int, value: bool) -> int:
        """Write a pair of set and clear registers."""
        if data.hwirq >= regs.LPI_BASE:
            return -22
        pairs = {
            IRQCHIP_STATE_PENDING: (regs.ICPENDR, regs.ISPENDR),
            IRQCHIP_STATE_ACTIVE: (regs.ICACTIVER, regs.ISACTIVER),
            IRQCHIP_STATE_MASKED: (regs.ISENABLER, regs.ICENABLER),
        }
        if which not in pairs:
            return -22
        self.poke(cpu, data, pairs[which][value])
        return 0

    def irq_nmi_setup(self, data: IrqData) -> int:
        """Give an SPI or PPI the priority of pseudo-NMIs and the flow for them. Linux: gic_irq_nmi_setup()."""
        if not self.gic.pseudo_nmi or data.hwirq < regs.SGI_LIMIT or data.hwirq >= regs.LPI_BASE:
            return -22
        if not isinstance(data.chip_data, tuple):
            self.gic.core.set_handler(data.desc, handle_fasteoi_nmi, "fasteoi_nmi")
        self._set_priority(data, self.gic.prio_nmi)
        return 0

    def irq_nmi_teardown(self, data: IrqData) -> None:
        """Undo ``irq_nmi_setup``."""
        self._set_priority(data, self.gic.prio_irq)
        if not isinstance(data.chip_data, tuple):
            self.gic.core.set_handler(data.desc, handle_fasteoi_irq, "fasteoi")

    def _set_priority(self, data: IrqData, priority: int) -> None:
        for cpu in self.gic.core.cpus:
            self.poke(cpu, data, regs.IPRIORITYR, value=priority, bits=8)


class GicSplitChip(GicChip):
    """The operations with the split mode: the root handler has dropped the priority, so the EOI deactivates. LPIs need none."""

    def irq_eoi(self, cpu: Cpu, data: IrqData) -> int:
        """Write DIR."""
        if data.hwirq >= regs.LPI_BASE:
            return 0
        self.interfaces[cpu.id].deactivate(data.hwirq, cpu)
        return self.costs.gic_eoi_ns
