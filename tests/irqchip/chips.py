"""Put vectors, an IO-APIC and message-signalled devices under the interrupt core of a ``Rig``."""

from __future__ import annotations

from asyncirq.config import KernelConfig
from asyncirq.hw.ioapic import IoApic
from asyncirq.hw.line import Line
from asyncirq.hw.msi import MsiMessage, send
from asyncirq.irqchip.ioapic import IoApicDomain, PinConfig
from asyncirq.irqchip.lapic import LocalApics
from asyncirq.irqchip.msi import MsiDomain
from asyncirq.irqchip.vector import VectorData, VectorDomain, vector_data
from tests.irq.harness import STOCK, Rig


class Device:
    """A device with one message; ``written`` lists what the kernel wrote into it, as (vector, destination)."""

    def __init__(self, chips: Chips, can_mask: bool) -> None:
        self.chips = chips
        self.can_mask = can_mask
        self.masked = False
        self.held = False
        self.message = MsiMessage(0, 0)
        self.written: list[tuple[int, int]] = []
        self.raise_after_writes = 0

    def write_msi(self, message: MsiMessage) -> None:
        self.message = message
        self.written.append((message.vector, message.dest))
        if self.raise_after_writes:
            self.raise_after_writes -= 1
            self.fire()

    def mask_msi(self, masked: bool) -> None:
        self.masked = masked
        if self.held and not masked:
            self.held = False
            self.fire()

    def fire(self) -> None:
        """Interrupt, or hold the message back while masked."""
        if self.masked:
            self.held = True
        else:
            send(self.chips.bus, self.message, self.chips.trace.device_raise(0, "device", "test"))


class Chips(Rig):
    """The machine: ``vectors``, one IO-APIC with its domain ``pins``, and the domain ``msi``."""

    def __init__(self, cpus: int = 1, kernel: KernelConfig = STOCK, **costs: int) -> None:
        super().__init__(cpus, kernel, debug=False, noirqdebug=False, irqfixup=0, **costs)
        self.vectors = VectorDomain(self.core)
        self.entry.vector_irq = self.vectors.vector_irq
        self.entry.unused = self.vectors.handle_unused
        self.apics = LocalApics(self.cpus)
        for cpu in self.cpus:
            self.apics.setup(cpu)
        self.ioapic = IoApic(self.engine, self.trace, self.bus, latency_ns=50)
        self.engine.spawn(self.ioapic.run(), "ioapic")
        self.pins = IoApicDomain(self.core, self.vectors, self.ioapic)
        self.msi = MsiDomain(self.core, self.vectors)

    def pin(self, number: int, level: bool) -> tuple[int, Line]:
        """Map a pin and connect a wire to it: the irq, and the wire."""
        irq = self.pins.create_mapping(number, arg=PinConfig(level=level))
        line = Line(f"line{number}", self.trace)
        self.ioapic.connect(number, line)
        return irq, line

    def device(self, index: int = 0, can_mask: bool = True) -> tuple[int, Device]:
        """Map a device's message: the irq, and the device."""
        device = Device(self, can_mask)
        return self.msi.create_mapping(index, arg=device), device

    def vector_of(self, irq: int) -> VectorData:
        """Return what the vector domain keeps for an irq."""
        return vector_data(self.core.desc(irq).data)
