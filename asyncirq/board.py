"""Put the silicon of a machine on a board: CPUs with their local APICs, the bus between them, the IO-APIC, the wires.

The room between ``hw`` and ``machine``: it knows how chips are joined and what firmware does before the kernel starts
(enabling the local APICs, choosing x2APIC where ids need it), and nothing of the kernel.
"""

from __future__ import annotations

from typing import Final

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


class Board:
    """The chips of one machine; ``lines[gsi]`` are the wires that devices have asked for."""

    def __init__(self, engine: Engine, cpus: int, costs: Costs, trace: Recorder | None) -> None:
        self.engine = engine
        self.trace = trace
        self.x2apic = cpus >= XAPIC_CPUS
        self.bus = ApicBus(trace=trace)
        self.lapics = [Lapic(engine, number, trace, self.bus) for number in range(cpus)]
        self.cpus = [Cpu(engine, lapic.cpu_id, lapic, Idt(), trace) for lapic in self.lapics]
        self.ioapic = IoApic(engine, trace, self.bus, latency_ns=costs.ioapic_latency_ns)
        self.lines: dict[int, Line] = {}
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


class Msi:
    """One message-signalled interrupt of a device: ``irq`` for the driver's request, ``send()`` for the device.

    The device has a mask bit; a message sent while it is masked, or before anybody asked for the interrupt, is kept
    (once) and leaves when the bit is cleared.
    """

    def __init__(self, name: str, board: Board) -> None:
        self.name = name
        self.irq = 0
        self.can_mask = True
        self.masked = False
        self.pending = False
        self._board = board
        self._message: MsiMessage | None = None

    def write_msi(self, message: MsiMessage) -> None:
        """Take over address and data, as the kernel writes them."""
        self._message = message if message.address else None

    def mask_msi(self, masked: bool) -> None:
        """Set or clear the mask bit; what was kept leaves."""
        self.masked = masked
        if not masked and self.pending:
            self.pending = False
            self.send()

    def send(self, cause: int = 0) -> None:
        """Raise the interrupt. Trace: msi_write."""
        message = self._message
        if self.masked or message is None:
            self.pending = True
            return
        msi.send(self._board.bus, message, cause)
