"""Build small worlds of APICs for tests: an engine, a bus, local APICs with a minimal CPU each, and an IO-APIC."""

from __future__ import annotations

from collections.abc import Callable

from asyncirq.hw.apic_bus import ApicBus
from asyncirq.hw.apic_message import FIXED, ApicMessage
from asyncirq.hw.ioapic import IoApic
from asyncirq.hw.ioapic_regs import IOREGSEL, IOWIN, REG_REDIRECTION, RedirectionEntry
from asyncirq.hw.lapic import Lapic
from asyncirq.hw.lapic_regs import SPIV
from asyncirq.hw.line import Line
from asyncirq.sim.engine import FOREVER, Engine
from asyncirq.trace.record import Record
from asyncirq.trace.recorder import Recorder
from asyncirq.trace.sinks import MemorySink

Handler = Callable[["Processor"], None]


class Processor:
    """The least CPU that takes interrupts: an IF bit, and a table of plain functions that run with IF clear.

    A vector without a function gets an EOI. ``taken`` lists ``(time_ns, vector)``; it is a ``CpuView`` for the recorder.
    """

    def __init__(self, engine: Engine, lapic: Lapic) -> None:
        self.engine = engine
        self.lapic = lapic
        self.id = lapic.cpu_id
        self.pid = 0
        self.preempt_count = 0
        self.irqs_off = False
        self.need_resched = False
        self.cause = 0
        self.taken: list[tuple[int, int]] = []
        self.causes: list[int] = []
        self.handlers: dict[int, Handler] = {}
        self._step = engine.timer(self.step, f"cpu{self.id}")
        lapic.on_output = self.look

    @property
    def vectors(self) -> list[int]:
        """Return the vectors taken so far."""
        return [vector for _, vector in self.taken]

    def look(self) -> None:
        """Take what is pending in this instant, after whatever is going on."""
        if self.lapic.intr and not self.irqs_off and not self._step.armed:
            self._step.arm(self.engine.now)

    def cli(self) -> None:
        """Clear IF."""
        self.irqs_off = True

    def sti(self) -> None:
        """Set IF."""
        self.irqs_off = False
        self.look()

    def step(self) -> None:
        """Take every interrupt that is deliverable, one after the other."""
        while self.lapic.intr and not self.irqs_off:
            vector, cause = self.lapic.inta()
            self.taken.append((self.engine.now, vector))
            self.causes.append(cause)
            self.irqs_off = True
            handler = self.handlers.get(vector)
            if handler is None:
                self.lapic.eoi(self)
            else:
                handler(self)
            self.irqs_off = False


class World:
    """CPUs with enabled local APICs on one bus, and one IO-APIC whose task runs."""

    def __init__(self, cpus: int = 1, traced: bool = False, latency_ns: int = 0, storm_brake: bool = False, version: int = 0x20) -> None:
        self.engine = Engine()
        self.sink = MemorySink()
        self.trace = Recorder(self.engine, (self.sink,)) if traced else None
        self.bus = ApicBus((), self.trace)
        self.lapics = [Lapic(self.engine, cpu_id, self.trace, self.bus) for cpu_id in range(cpus)]
        for lapic in self.lapics:
            lapic.write(SPIV, 0x1FF)
        self.cpus = [Processor(self.engine, lapic) for lapic in self.lapics]
        self.ioapic = IoApic(self.engine, self.trace, self.bus, latency_ns=latency_ns, storm_brake=storm_brake, version=version)
        self.engine.spawn(self.ioapic.run(), "ioapic")
        self.settle()

    def settle(self) -> None:
        """Run until nothing is left to do."""
        while not self.engine.run_slice(FOREVER, 1_000_000):
            assert self.engine.now < FOREVER

    def advance(self, to_ns: int) -> None:
        """Run to an instant, everything due at it included."""
        self.engine.timer(_nothing, "advance").arm(to_ns)
        while not self.engine.run_slice(to_ns, 1_000_000):
            assert self.engine.now <= to_ns

    def read_register(self, register: int) -> int:
        """Read an IO-APIC register through the window."""
        self.ioapic.write(IOREGSEL, register)
        return self.ioapic.read(IOWIN)

    def write_register(self, register: int, value: int) -> None:
        """Write an IO-APIC register through the window."""
        self.ioapic.write(IOREGSEL, register)
        self.ioapic.write(IOWIN, value)

    def set_entry(self, pin: int, entry: RedirectionEntry) -> None:
        """Write a redirection entry, the upper half first."""
        value = entry.encode()
        self.write_register(REG_REDIRECTION + 2 * pin + 1, value >> 32)
        self.write_register(REG_REDIRECTION + 2 * pin, value & 0xFFFF_FFFF)

    def get_entry(self, pin: int) -> RedirectionEntry:
        """Read a redirection entry."""
        low = self.read_register(REG_REDIRECTION + 2 * pin)
        return RedirectionEntry.decode(self.read_register(REG_REDIRECTION + 2 * pin + 1) << 32 | low)

    def wire(self, pin: int, entry: RedirectionEntry, idle: bool = False) -> Line:
        """Solder a new wire to a pin, program the pin, and return the wire."""
        line = Line(f"pin{pin}", self.trace, idle)
        self.ioapic.connect(pin, line)
        self.set_entry(pin, entry)
        return line

    def records(self) -> list[Record]:
        """Return what was traced so far."""
        assert self.trace is not None
        self.trace.flush()
        return list(self.sink.records)


def message(vector: int, mode: int = FIXED, level: bool = False, dest: int = 0, logical: bool = False, cause: int = 0) -> ApicMessage:
    """Build a message."""
    return ApicMessage(vector, mode, level, dest, logical, cause)


def bits(*vectors: int) -> int:
    """Return the set of these vectors."""
    return sum(1 << vector for vector in vectors)


def _nothing() -> None:
    """Do nothing at a due time."""
