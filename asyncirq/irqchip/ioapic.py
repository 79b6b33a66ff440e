"""Deliver interrupts by wires: an IO-APIC turns each pin's signal into a message with a vector.

A level pin takes the fasteoi flow: the local EOI lets the IO-APIC look at the wire again. An edge pin takes the edge flow.

Linux: arch/x86/kernel/apic/io_apic.c. Model: the check of lost level bits is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.ioapic import IoApic
from asyncirq.hw.ioapic_regs import IOREGSEL, IOWIN, LEVEL, MASKED, REG_REDIRECTION, REMOTE_IRR, RedirectionEntry
from asyncirq.irq.affinity import irq_move_masked_irq
from asyncirq.irq.chip import IRQCHIP_MOVE_DEFERRED, IrqChip
from asyncirq.irq.core import IrqTable
from asyncirq.irq.desc import IrqData
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.flow import handle_edge_irq, handle_fasteoi_irq
from asyncirq.irqchip.i8259 import I8259Chip
from asyncirq.irqchip.vector import VectorData, VectorDomain


class PinConfig(msgspec.Struct, frozen=True):
    """How a pin is wired: by edges or levels, active high or low."""

    level: bool = False
    active_low: bool = False


class IoApicDomain(IrqDomain):
    """The pins of one IO-APIC: ``create_mapping(pin, arg=PinConfig(level=True))``."""

    def __init__(self, core: IrqTable, vectors: VectorDomain, ioapic: IoApic) -> None:
        super().__init__(core, f"IO-APIC-{ioapic.index}", len(ioapic.pins), vectors)
        self.ioapic = ioapic
        self.chip = IoApicChip(core, vectors, ioapic)

    def alloc(self, data: IrqData, arg: Any) -> None:
        """Wire one pin to the flow for its trigger; ``arg`` is its ``PinConfig``, an active-high edge if None."""
        config = PinConfig() if arg is None else arg
        if not isinstance(config, PinConfig):
            raise UsageError(f"pin {data.hwirq} of {self.name} needs a PinConfig, not {config!r}")
        data.chip = self.chip
        data.chip_data = config
        desc = data.desc
        desc.level = config.level
        if config.level:
            self.core.set_handler(desc, handle_fasteoi_irq, "fasteoi")
        else:
            self.core.set_handler(desc, handle_edge_irq, "edge")

    def activate(self, cpu: Cpu, data: IrqData, reserve: bool) -> int:
        """Write the pin's entry, masked."""
        self.chip.write_entry(data, masked=True)
        return 0

    def deactivate(self, cpu: Cpu, data: IrqData) -> None:
        """Mask the pin's entry and forget its vector."""
        self.chip.write_low(data.hwirq, MASKED)


class IoApicChip(IrqChip):
    """The pins' side of wired interrupts, in front of the vectors that they carry.

    ``legacy`` is the 8259 that ISA lines end at too, ``isa_of(gsi)`` says which line of it a wire is, -1 for none.
    """

    name = "IO-APIC"
    flags = IRQCHIP_MOVE_DEFERRED

    def __init__(self, core: IrqTable, vectors: VectorDomain, ioapic: IoApic) -> None:
        self.core = core
        self.vectors = vectors
        self.ioapic = ioapic
        self.ack_vector = vectors.chip.irq_ack
        self.legacy: I8259Chip | None = None
        self.isa_of: Callable[[int], int] = _no_isa
        self._requested: set[int] = set()

    # --- registers

    def read_low(self, pin: int) -> int:
        """Read the lower half of a pin's entry."""
        self.ioapic.write(IOREGSEL, REG_REDIRECTION + 2 * pin)
        return self.ioapic.read(IOWIN)

    def write_low(self, pin: int, value: int) -> None:
        """Write the lower half of a pin's entry."""
        self.ioapic.write(IOREGSEL, REG_REDIRECTION + 2 * pin)
        self.ioapic.write(IOWIN, value)

    def write_entry(self, data: IrqData, masked: bool) -> None:
        """Write a pin's entry for the vector that it has now: the upper half first, so that no message goes astray."""
        assert data.parent is not None
        vectors: VectorData = data.parent.chip_data
        config: PinConfig = data.chip_data
        entry = RedirectionEntry(
            vector=vectors.vector, active_low=config.active_low, level=config.level, masked=masked, dest=vectors.apic_id
        ).encode()
        self.ioapic.write(IOREGSEL, REG_REDIRECTION + 2 * data.hwirq + 1)
        self.ioapic.write(IOWIN, entry >> 32)
        self.write_low(data.hwirq, entry & 0xFFFF_FFFF)

    # --- operations

    def irq_startup(self, cpu: Cpu, data: IrqData) -> int:
        """Unmask the pin; an ISA line is masked in the 8259 first, and noted if it requests there.

        An edge from before is in that note alone: the pin has not seen it. Linux: startup_ioapic_irq().
        """
        cost = 0
        line = self.isa_of(self.ioapic.gsi_base + data.hwirq)
        self._requested.discard(data.hwirq)
        if line >= 0 and self.legacy is not None:
            cost = self.legacy.mask_line(line)
            if self.legacy.is_pending(line):
                self._requested.add(data.hwirq)
            cost += self.legacy.charge()
        return cost + self.irq_unmask(cpu, data)

    def irq_was_pending(self, data: IrqData) -> bool:
        """Tell whether the line requested in the 8259 when it was started up."""
        return data.hwirq in self._requested

    def irq_mask(self, cpu: Cpu, data: IrqData) -> int:
        """Set the mask bit of the pin's entry."""
        self.write_low(data.hwirq, self.read_low(data.hwirq) | MASKED)
        return self.core.costs.mmio_ns

    def irq_unmask(self, cpu: Cpu, data: IrqData) -> int:
        """Clear the mask bit of the pin's entry."""
        self.write_low(data.hwirq, self.read_low(data.hwirq) & ~MASKED)
        return self.core.costs.mmio_ns

    def irq_ack(self, cpu: Cpu, data: IrqData) -> int:
        """Leave an edge to the vector: EOI."""
        assert data.parent is not None
        return self.ack_vector(cpu, data.parent)

    def irq_eoi(self, cpu: Cpu, data: IrqData) -> int:
        """Write EOI for a level; a move that is due is made round it, once the pin's remote IRR is gone.

        Linux: ioapic_ack_level().
        """
        assert data.parent is not None
        vectors: VectorData = data.parent.chip_data
        desc = data.desc
        if vectors.move_in_progress:
            self.vectors.complete_move(cpu, data.parent, vectors)
        cost = self.core.costs.apic_eoi_ns
        moving = desc.setaffinity_pending and not desc.disabled
        if moving and not desc.masked:
            cost += self.irq_mask(cpu, data)
        cpu.lapic.eoi(cpu)
        if moving:
            if not self.read_low(data.hwirq) & REMOTE_IRR:
                irq_move_masked_irq(cpu, desc)
            if not desc.masked:
                cost += self.irq_unmask(cpu, data)
        return cost

    def clear_remote_irr(self, data: IrqData) -> None:
        """Make a pin whose level nobody will end deliver again: masked, it is made an edge and then what it was.

        Linux: __eoi_ioapic_pin() for chips without an EOI register.
        """
        low = self.read_low(data.hwirq)
        if low & REMOTE_IRR:
            self.write_low(data.hwirq, (low | MASKED) & ~LEVEL)
            self.write_low(data.hwirq, low | MASKED)
            self.write_low(data.hwirq, low)

    def irq_set_affinity(self, cpu: Cpu, data: IrqData, mask: int, force: bool) -> int:
        """Get a vector on one CPU of ``mask`` and write it into the pin's entry; its mask bit stays as it is."""
        assert data.parent is not None
        ret = self.vectors.chip.irq_set_affinity(cpu, data.parent, mask, force)
        if ret >= 0:
            self.write_entry(data, masked=bool(self.read_low(data.hwirq) & MASKED))
        return ret

    def irq_get_active(self, cpu: Cpu, data: IrqData) -> bool:
        """Tell whether a level was accepted by a CPU and not ended yet: its remote IRR."""
        low = self.read_low(data.hwirq)
        return bool(low & LEVEL and low & REMOTE_IRR)


def _no_isa(gsi: int) -> int:
    """Tell that no wire is an ISA line."""
    return -1
