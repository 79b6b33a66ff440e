"""Build small worlds of a GICv3 for tests: an engine, a distributor with its redistributors, and a minimal PE for each."""

from __future__ import annotations

from collections.abc import Callable

from asyncirq.hw.gic import regs
from asyncirq.hw.gic.common import GicState
from asyncirq.hw.gic.cpu_interface import CpuInterface
from asyncirq.hw.gic.distributor import Distributor, route_of_affinity
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.sim.engine import FOREVER, Engine
from asyncirq.trace.record import Record
from asyncirq.trace.recorder import Recorder
from asyncirq.trace.sinks import MemorySink

G0, G1 = regs.GROUP0, regs.GROUP1_NS
NONE = regs.NONE_PENDING


class Processor:
    """The least PE: an I bit, and one plain function for all interrupts that runs with I set.

    ``taken`` lists ``(time_ns, intid)``. Without a handler an interrupt is acknowledged and ended (and deactivated in the split mode).
    """

    def __init__(self, engine: Engine, interface: CpuInterface) -> None:
        self.engine = engine
        self.interface = interface
        self.id = interface.number
        self.pid = 0
        self.preempt_count = 0
        self.irqs_off = False
        self.need_resched = False
        self.cause = 0
        self.taken: list[tuple[int, int]] = []
        self.handler: Callable[[Processor, int], None] = finish
        self._step = engine.timer(self.step, f"pe{self.id}")
        interface.on_output = self.look

    @property
    def intids(self) -> list[int]:
        """Return the numbers taken so far."""
        return [intid for _, intid in self.taken]

    def look(self) -> None:
        """Take what is signalled in this instant, after whatever is going on."""
        if self.interface.irq and not self.irqs_off and not self._step.armed:
            self._step.arm(self.engine.now)

    def mask(self) -> Processor:
        """Set the I bit."""
        self.irqs_off = True
        return self

    def unmask(self) -> None:
        """Clear the I bit."""
        self.irqs_off = False
        self.look()

    def step(self) -> None:
        """Take every interrupt that is signalled, one after the other."""
        while self.interface.irq and not self.irqs_off:
            intid, _ = self.interface.acknowledge(G1, self)
            self.taken.append((self.engine.now, intid))
            self.irqs_off = True
            self.handler(self, intid)
            self.irqs_off = False

    def ack(self, group: int = G1) -> int:
        """Read IAR."""
        return self.interface.acknowledge(group)[0]


def finish(pe: Processor, intid: int) -> None:
    """End an interrupt, in either mode."""
    pe.interface.end(intid)
    if pe.interface.split:
        pe.interface.deactivate(intid)


class World:
    """PEs that are awake with both groups open and PMR 0xF0; every interrupt in group 1 with priority 0xA0, disabled."""

    def __init__(
        self, pes: int = 4, *, traced: bool = False, secure: bool = False, spis: int = 64, extended: int = 0, write_ns: int = 0
    ) -> None:
        self.engine = Engine()
        self.sink = MemorySink()
        self.trace = Recorder(self.engine, (self.sink,)) if traced else None
        self.gic = GicState(self.engine, self.trace, one_security_state=not secure, write_ns=write_ns)
        self.distributor = Distributor(self.gic, pes, spis, extended, extended)
        self.parts = self.distributor.redistributors
        self.interfaces = self.distributor.interfaces
        self.distributor.write(regs.GICD_CTLR, 7, secure=True)
        for interrupt in self.all():
            interrupt.set_group(True, False)
            interrupt.set_priority(regs.DEFAULT_PRIORITY)
        for part in self.parts:
            part.write(regs.GICR_WAKER, 0)
        for interface in self.interfaces:
            interface.set_pmr(0xF0)
            for group in (G0, G1):
                self.distributor.enable_group(interface.number, group)
        self.pes = [Processor(self.engine, interface) for interface in self.interfaces]

    def all(self) -> list[GicInterrupt]:
        """Return every interrupt, the private ones of each PE first."""
        return [interrupt for part in self.parts for interrupt in part.private.values()] + list(self.distributor.shared.values())

    def get(self, intid: int, pe: int = 0) -> GicInterrupt:
        """Return an interrupt."""
        found = self.distributor.find(intid, pe)
        assert found is not None
        return found

    def enable(self, *intids: int, pe: int = 0, priority: int | None = None, edge: bool | None = None) -> None:
        """Enable interrupts through the registers, with this priority and trigger."""
        for intid in intids:
            interrupt = self.get(intid, pe)
            if priority is not None:
                interrupt.set_priority(priority)
            if edge is not None:
                self.get(intid, pe).edge = edge
            self.strobe(regs.ISENABLER, intid, pe)

    def strobe(self, register: int, intid: int, pe: int = 0) -> None:
        """Write one interrupt's bit into a register of one bit each."""
        self.write(register + intid // 32 * 4, 1 << intid % 32, pe, intid)

    def write(self, offset: int, value: int, pe: int, intid: int) -> None:
        """Write a register where an interrupt has it."""
        if intid < 32:
            self.parts[pe].write(regs.SGI_FRAME + offset, value)
        else:
            self.distributor.write(offset, value)

    def route(self, intid: int, pe: int) -> None:
        """Route an SPI to a PE."""
        self.distributor.write(regs.IROUTER + 8 * intid, route_of_affinity(self.parts[pe].affinity), 8)

    def states(self, *intids: int, pe: int = 0) -> list[str]:
        """Return the names of states."""
        return [self.get(intid, pe).state for intid in intids]

    def settle(self) -> None:
        """Run until nothing is left to do."""
        while not self.engine.run_slice(FOREVER, 1_000_000):
            assert self.engine.now < FOREVER

    def advance(self, to_ns: int) -> None:
        """Run to an instant, everything due at it included."""
        self.engine.timer(_nothing, "advance").arm(to_ns)
        while not self.engine.run_slice(to_ns, 1_000_000):
            assert self.engine.now <= to_ns

    def records(self) -> list[Record]:
        """Return what was traced so far."""
        assert self.trace is not None
        self.trace.flush()
        return list(self.sink.records)


def _nothing() -> None:
    """Do nothing at a due time."""
