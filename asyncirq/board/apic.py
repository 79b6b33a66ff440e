"""Join APICs: a local APIC for each CPU, the bus between them, the IO-APIC, its wires, and messages.

Firmware has enabled the local APICs, in x2APIC mode where ids need it.
"""

from __future__ import annotations

from typing import Final

from asyncirq.board.base import Board, Msi
from asyncirq.costs import Costs
from asyncirq.hw import lapic_regs as regs
from asyncirq.hw import msi
from asyncirq.hw.apic_bus import ApicBus
from asyncirq.hw.apic_message import FIXED, ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.idt import Idt
from asyncirq.hw.ioapic import IoApic
from asyncirq.hw.lapic import Lapic
from asyncirq.hw.lapic_lvt import TIMER
from asyncirq.hw.line import Line
from asyncirq.hw.msi import MsiMessage
from asyncirq.sim import Engine
from asyncirq.trace.recorder import Recorder

XAPIC_CPUS: Final = 255
"""Number of CPUs from which xAPIC ids, whose 255 is the broadcast, no longer do."""
SPURIOUS_VECTOR: Final = 0xFF
TSC_DEADLINE: Final = 2 << 17


class ApicBoard(Board):
    """The board with APICs: ``lapics`` one for each CPU, ``bus`` between them, ``ioapic`` for the wires."""

    controller = "apic"

    def __init__(self, engine: Engine, cpus: int, costs: Costs, trace: Recorder | None) -> None:
        super().__init__(engine, cpus, costs, trace)
        self.x2apic = cpus >= XAPIC_CPUS
        self.bus = ApicBus(trace=trace)
        self.lapics = [Lapic(engine, number, trace, self.bus) for number in range(cpus)]
        self.cpus = [Cpu(engine, lapic.cpu_id, lapic, Idt(), trace) for lapic in self.lapics]
        self.ioapic = IoApic(engine, trace, self.bus, latency_ns=costs.ioapic_latency_ns)
        for lapic in self.lapics:
            self._enable(lapic)
        engine.spawn(self.ioapic.run(), "ioapic")

    def _enable(self, lapic: Lapic) -> None:
        if self.x2apic:
            lapic.regs.set_base(lapic.regs.apic_base | regs.BASE_EN | regs.BASE_EXTD)
        self.write(lapic, regs.SPIV, regs.SPIV_ENABLE | SPURIOUS_VECTOR)

    def write(self, lapic: Lapic, offset: int, value: int) -> None:
        """Write a local APIC register through the window of the mode that it is in."""
        if self.x2apic:
            lapic.regs.wrmsr(regs.MSR_X2APIC + (offset >> 4), value)
        else:
            lapic.write(offset, value)

    def setup_timer(self, cpu: Cpu, vector: int) -> None:
        """Put the local timer of a CPU into TSC-deadline mode; the TSC counts nanoseconds."""
        self.write(cpu.lapic, TIMER, TSC_DEADLINE | vector)

    def program_timer(self, cpu: Cpu, when_ns: int | None) -> None:
        """Have the local timer of a CPU fire once at ``when_ns``, at once if that is past; None stops it."""
        cpu.lapic.timer.set_deadline(0 if when_ns is None else max(when_ns, self.engine.now, 1))

    def fixed_message(self, cpu: Cpu, vector: int, cause: int = 0) -> ApicMessage:
        """Return the message that delivers a vector to one CPU."""
        return ApicMessage(vector, FIXED, False, cpu.lapic.regs.id, False, cause)

    def line(self, gsi: int, active_low: bool = False) -> Line:
        """Return the wire to an IO-APIC pin, made at the first call. Raises ``UsageError`` for a pin that is not there."""
        line = self.lines.get(gsi)
        if line is None:
            line = Line(f"gsi{gsi}", self.trace, idle=active_low)
            self.ioapic.connect(gsi - self.ioapic.gsi_base, line)
            self.lines[gsi] = line
        return line

    def send_msi(self, message: MsiMessage, cause: int = 0) -> int:
        """Write a device's message onto the bus; return how many CPUs it reached. Trace: msi_write."""
        return msi.send(self.bus, message, cause)


class ApicMsi(Msi):
    """A message to the local APICs."""

    def __init__(self, name: str, board: ApicBoard) -> None:
        super().__init__(name)
        self._bus = board.bus
        self._message: MsiMessage | None = None

    def write_msi(self, message: MsiMessage) -> None:
        """Take over address and data, as the kernel writes them."""
        self._message = message if message.address else None

    def send(self, cause: int = 0) -> None:
        """Raise the interrupt. Trace: msi_write."""
        message = self._message
        if self.masked or message is None:
            self.pending = True
            return
        msi.send(self._bus, message, cause)
