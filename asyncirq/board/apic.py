"""Join APICs: a local APIC for each CPU, the bus between them, the IO-APIC, its wires, and messages.

Firmware has enabled the local APIC of the boot CPU, in x2APIC mode where ids need it; the other CPUs wait for their SIPI.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from asyncirq.board.base import Board
from asyncirq.costs import Costs
from asyncirq.errors import UsageError
from asyncirq.hw import lapic_regs as regs
from asyncirq.hw import msi
from asyncirq.hw.apic_bus import ApicBus
from asyncirq.hw.apic_message import FIXED, ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.i8259_pair import CASCADE, LINES, I8259Pair
from asyncirq.hw.idt import Idt
from asyncirq.hw.ioapic import IoApic
from asyncirq.hw.lapic import Lapic
from asyncirq.hw.lapic_lvt import LINT0, TIMER
from asyncirq.hw.line import Line
from asyncirq.hw.msi import MsiMessage
from asyncirq.sim import Engine
from asyncirq.trace.recorder import Recorder

XAPIC_CPUS: Final = 255
"""Number of CPUs from which xAPIC ids, whose 255 is the broadcast, no longer do."""
SPURIOUS_VECTOR: Final = 0xFF
TSC_DEADLINE: Final = 2 << 17


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What firmware says of an ISA interrupt that is wired otherwise than one to one: its gsi, trigger and polarity."""

    isa: int
    gsi: int
    level: bool = False
    active_low: bool = False


class ApicWiring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is on a board with APICs: ``ioapics``, the pins of each, numbered through as gsi; ``overrides`` of ISA interrupts.

    ``extint_pin`` is the pin of the first IO-APIC that the 8259's output ends at, besides LINT0 of the boot CPU; None: no pin.
    """

    ioapics: tuple[int, ...] = (24,)
    overrides: tuple[Override, ...] = ()
    extint_pin: int | None = None


class ApicBoard(Board):
    """The board with APICs: ``lapics`` one for each CPU, ``bus`` between them, ``ioapics`` for the wires, an 8259 (``pic``) beside them.

    ISA wires end at both an IO-APIC pin and a line of the 8259, which the kernel masks.
    """

    controller = "apic"

    def __init__(self, engine: Engine, cpus: int, costs: Costs, trace: Recorder | None, wiring: ApicWiring | None = None) -> None:
        super().__init__(engine, cpus, costs, trace)
        self.wiring = wiring if wiring is not None else ApicWiring()
        self.x2apic = cpus >= XAPIC_CPUS
        self.bus = ApicBus(trace=trace)
        self.lapics = [Lapic(engine, number, trace, self.bus) for number in range(cpus)]
        self.cpus = [Cpu(engine, lapic.cpu_id, lapic, Idt(), trace) for lapic in self.lapics]
        self.ioapics: list[IoApic] = []
        base = 0
        for index, pins in enumerate(self.wiring.ioapics):
            self.ioapics.append(IoApic(engine, trace, self.bus, pins, base, costs.ioapic_latency_ns, index=index))
            base += pins
        self.ioapic = self.ioapics[0]
        self.pic = I8259Pair(trace)
        for lapic in self.lapics:
            lapic.extint_source = self.pic.acknowledge
        self.enable(self.lapics[0])
        for ioapic in self.ioapics:
            engine.spawn(ioapic.run(), f"ioapic{ioapic.index}" if ioapic.index else "ioapic")
        self._wire_pic()

    def _wire_pic(self) -> None:
        pin = self.wiring.extint_pin
        lint0 = partial(self.lapics[0].lvt.set_pin, LINT0)
        self.pic.on_output = lint0
        if pin is not None:
            wire = Line("8259", self.trace)
            self.ioapic.connect(pin, wire)

            def both(level: bool, cause: int) -> None:
                lint0(level, cause)
                wire.set(level, cause)

            self.pic.on_output = both

    def enable(self, lapic: Lapic) -> None:
        """Switch a local APIC on, in the mode that this board needs: firmware for the boot CPU, each other CPU for itself."""
        if self.x2apic:
            lapic.regs.set_base(lapic.regs.apic_base | regs.BASE_EN | regs.BASE_EXTD)
        lapic.regs.put(regs.SPIV, regs.SPIV_ENABLE | SPURIOUS_VECTOR)

    def setup_timer(self, cpu: Cpu, vector: int) -> None:
        """Put the local timer of a CPU into TSC-deadline mode; the TSC counts nanoseconds."""
        cpu.lapic.regs.put(TIMER, TSC_DEADLINE | vector)

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
            ioapic = self.ioapic_of(gsi)
            line = Line(f"gsi{gsi}", self.trace, idle=active_low)
            ioapic.connect(gsi - ioapic.gsi_base, line)
            self.lines[gsi] = line
            isa = self.gsi_to_isa(gsi)
            if isa >= 0 and isa != CASCADE:
                self.pic.connect(isa, line)
        return line

    def ioapic_of(self, gsi: int) -> IoApic:
        """Return the IO-APIC of a global interrupt number, the last one for a number past all of them."""
        for ioapic in self.ioapics:
            if gsi < ioapic.gsi_base + len(ioapic.pins):
                return ioapic
        return self.ioapics[-1]

    def isa_to_gsi(self, isa: int) -> Override:
        """Return where an ISA interrupt is wired: as firmware says, else one to one, an active-high edge."""
        if not 0 <= isa < LINES:
            raise UsageError(f"there are ISA interrupts 0 to {LINES - 1}, not {isa}", 22)
        for override in self.wiring.overrides:
            if override.isa == isa:
                return override
        return Override(isa, isa)

    def gsi_to_isa(self, gsi: int) -> int:
        """Return the ISA interrupt of a wire, -1 for none."""
        for override in self.wiring.overrides:
            if override.gsi == gsi:
                return override.isa
        overridden = any(override.isa == gsi for override in self.wiring.overrides)
        return gsi if 0 <= gsi < LINES and not overridden else -1

    def send_msi(self, message: MsiMessage, cause: int = 0) -> int:
        """Write a device's message onto the bus; return how many CPUs it reached. Trace: msi_write."""
        return msi.send(self.bus, message, cause)
