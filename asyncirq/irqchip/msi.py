"""Deliver interrupts by messages: the device writes a vector to the local APIC's address.

A message cannot be taken back, so the flow is that for edges: EOI before the handlers, no masking.

Linux: kernel/irq/msi.c, arch/x86/kernel/apic/msi.c.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from asyncirq.hw.apic_message import XAPIC_BROADCAST
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.msi import MsiMessage
from asyncirq.irq.chip import IRQCHIP_MOVE_DEFERRED, IRQCHIP_ONESHOT_SAFE, IrqChip
from asyncirq.irq.core import IrqTable
from asyncirq.irq.desc import IrqData
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.flow import handle_edge_irq
from asyncirq.irqchip.vector import MANAGED_IRQ_SHUTDOWN_VECTOR, VectorData, VectorDomain

UNWRITTEN: Final = (0, 0)


class MsiTarget(Protocol):
    """The device's side of one message: an MSI capability or an entry of an MSI-X table. ``can_mask``: it has a mask bit."""

    @property
    def can_mask(self) -> bool:
        """Tell whether the device can hold the message back."""
        ...

    def write_msi(self, message: MsiMessage) -> None:
        """Take over address and data."""
        ...

    def mask_msi(self, masked: bool) -> None:
        """Set or clear the mask bit."""
        ...


class MsiDomain(IrqDomain):
    """The messages of one device, or of all: ``create_mapping(index, arg=target)``."""

    def __init__(self, core: IrqTable, vectors: VectorDomain, name: str = "PCI-MSI", size: int = 0) -> None:
        super().__init__(core, name, size, vectors)
        self.vectors = vectors
        self.chip = MsiChip(core, vectors, name)

    def alloc(self, data: IrqData, arg: Any) -> None:
        """Wire one message to the edge flow; ``arg`` is its ``MsiTarget``."""
        data.chip = self.chip
        data.chip_data = arg
        data.desc.msi_desc = arg
        self.core.set_handler(data.desc, handle_edge_irq, "edge")

    def activate(self, cpu: Cpu, data: IrqData, reserve: bool) -> int:
        """Write the message into the device."""
        self.chip.write_message(data)
        return 0

    def deactivate(self, cpu: Cpu, data: IrqData) -> None:
        """Take the message out of the device."""
        target: MsiTarget = data.chip_data
        target.write_msi(MsiMessage(*UNWRITTEN))


class MsiChip(IrqChip):
    """The device's side of a message, in front of the vector that it carries."""

    flags = IRQCHIP_ONESHOT_SAFE | IRQCHIP_MOVE_DEFERRED

    def __init__(self, core: IrqTable, vectors: VectorDomain, name: str) -> None:
        self.name = name
        self.core = core
        self.vectors = vectors
        self.ack_vector = vectors.chip.irq_ack

    def write_message(self, data: IrqData) -> None:
        """Compose address and data for the interrupt's vector and write them. Linux: irq_msi_update_msg()."""
        assert data.parent is not None
        vectors: VectorData = data.parent.chip_data
        self._write(data, vectors.vector, vectors.apic_id)

    def _write(self, data: IrqData, vector: int, apic_id: int) -> None:
        target: MsiTarget = data.chip_data
        target.write_msi(MsiMessage.compose(vector, apic_id, extended=apic_id >= XAPIC_BROADCAST))

    def irq_ack(self, cpu: Cpu, data: IrqData) -> int:
        """Leave it to the vector: EOI."""
        assert data.parent is not None
        return self.ack_vector(cpu, data.parent)

    def irq_mask(self, cpu: Cpu, data: IrqData) -> int:
        """Mask the message in the device, if it can."""
        return self._mask(data, masked=True)

    def irq_unmask(self, cpu: Cpu, data: IrqData) -> int:
        """Unmask the message in the device, if it can."""
        return self._mask(data, masked=False)

    def _mask(self, data: IrqData, masked: bool) -> int:
        target: MsiTarget = data.chip_data
        if not target.can_mask:
            return 0
        target.mask_msi(masked)
        return self.core.costs.mmio_ns

    def irq_set_affinity(self, cpu: Cpu, data: IrqData, mask: int, force: bool) -> int:
        """Move the message to another CPU, in two steps where it can neither be masked nor changed in one.

        Address and data are two writes. A message sent between them would go to the old CPU with the new vector: so
        that is written first, on purpose, and what came of it is sent on to the new CPU. Linux: msi_set_affinity().
        """
        assert data.parent is not None
        vectors: VectorData = data.parent.chip_data
        target: MsiTarget = data.chip_data
        old_vector, old_cpu, old_id = vectors.vector, vectors.cpu, vectors.apic_id
        ret = self.vectors.chip.irq_set_affinity(cpu, data.parent, mask, force)
        if ret < 0:
            return ret
        direct = target.can_mask or vectors.vector == old_vector or old_vector in (0, MANAGED_IRQ_SHUTDOWN_VECTOR)
        if direct or not data.desc.started or vectors.apic_id == old_id or old_cpu != cpu.id:
            self.write_message(data)
            return ret
        self.vectors.expect_stray(cpu.id, vectors.vector)
        self._write(data, vectors.vector, old_id)
        self.write_message(data)
        if cpu.lapic.irr >> vectors.vector & 1:
            self.vectors.chip.irq_retrigger(cpu, data.parent)
        return ret
