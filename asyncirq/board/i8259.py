"""Join a CPU without APIC to a pair of 8259A and a PIT: the PC of before, and what any PC is with its APIC switched off.

The CPU's local APIC is there and disabled by its base register, so that its two pins are plain INTR and NMI.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from asyncirq.board.base import Board, Msi
from asyncirq.costs import Costs
from asyncirq.errors import UsageError
from asyncirq.hw import lapic_regs as regs
from asyncirq.hw.apic_bus import ApicBus
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.i8254 import CONTROL_PORT, I8254
from asyncirq.hw.i8259_pair import LINES, I8259Pair
from asyncirq.hw.idt import Idt
from asyncirq.hw.lapic import Lapic
from asyncirq.hw.lapic_lvt import LINT0
from asyncirq.hw.line import Line
from asyncirq.hw.msi import MsiMessage
from asyncirq.sim import Engine
from asyncirq.trace.recorder import Recorder

PIRQ_LINES: Final = (11, 10, 9, 5, 11, 10, 9, 5)
"""Where firmware routed the wires of PCI slots, gsi 16 to 23."""
TIMER_LINE: Final = 0
ONE_SHOT: Final = 0x38
"""Control word of counter 0: both bytes, mode 4."""


class I8259Board(Board):
    """The board without APICs: ``pic`` for the wires, ``pit`` for the time.

    Global interrupt numbers 0 to 15 are the lines of the 8259; 16 to 23 are PCI wires, which firmware routed to some of them.
    """

    controller = "i8259"
    max_cpus = 1

    def __init__(self, engine: Engine, cpus: int, costs: Costs, trace: Recorder | None) -> None:
        super().__init__(engine, cpus, costs, trace)
        self.pic = I8259Pair(trace)
        self.pit = I8254(engine)
        lapic = Lapic(engine, 0, trace, ApicBus(trace=trace))
        lapic.regs.set_base(lapic.regs.apic_base & ~regs.BASE_EN)
        lapic.extint_source = self.pic.acknowledge
        self.cpus = [Cpu(engine, 0, lapic, Idt(), trace)]
        self.pic.on_output = partial(lapic.lvt.set_pin, LINT0)
        self.pit.write(CONTROL_PORT, ONE_SHOT)
        self.pic.set_line(TIMER_LINE, True)
        self.pit.counters[0].on_output = partial(self.pic.set_line, TIMER_LINE)

    def program_timer(self, cpu: Cpu, when_ns: int | None) -> None:
        """Have the PIT fire once, at its next clock from ``when_ns`` on; None stops it.

        It counts at most 54.9 ms: a later instant gets an interrupt too early, after which the kernel programs the rest.
        """
        if when_ns is None:
            self.pit.write(CONTROL_PORT, ONE_SHOT)
            return
        # The output rises one clock after the count has run out.
        count = max(self.pit.clocks(max(when_ns - self.engine.now, 0)) - 1, 1)
        self.pit.write(0, count)
        self.pit.write(0, count >> 8)

    def pic_line(self, gsi: int) -> int:
        """Return the line of the 8259 that a wire ends at. Raises ``UsageError`` for one that is not there."""
        if 0 <= gsi < LINES:
            return gsi
        if LINES <= gsi < LINES + len(PIRQ_LINES):
            return PIRQ_LINES[gsi - LINES]
        raise UsageError(f"the 8259 has wires 0 to {LINES + len(PIRQ_LINES) - 1}, not {gsi}")

    def line(self, gsi: int, active_low: bool = False) -> Line:
        """Return a wire, made at the first call. Raises ``UsageError`` for one that is not there or belongs to the board."""
        line = self.lines.get(gsi)
        if line is None:
            number = self.pic_line(gsi)
            if number == TIMER_LINE:
                raise UsageError(f"line {TIMER_LINE} of the 8259 is the PIT's")
            line = Line(f"gsi{gsi}", self.trace, idle=active_low)
            self.pic.connect(number, line)
            self.lines[gsi] = line
        return line


class WiredMsi(Msi):
    """The edge of a wire in place of a message, as a driver falls back to where the machine has none."""

    def __init__(self, name: str, line: Line, irq: int) -> None:
        super().__init__(name)
        self.irq = irq
        self._line = line

    def write_msi(self, message: MsiMessage) -> None:
        """Refuse an address: nobody writes one here. Raises ``UsageError``."""
        raise UsageError(f"{self.name} has a wire, and takes no {message!r}", 19)

    def send(self, cause: int = 0) -> None:
        """Raise the interrupt. Trace: line_level, for the edge and back."""
        if self.masked:
            self.pending = True
        else:
            self._line.pulse(cause)
