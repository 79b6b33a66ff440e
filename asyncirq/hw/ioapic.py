"""Model an IO-APIC: what arrives at a pin leaves as a message to the APIC bus.

The chip is a task with an inbox: changes of its wires, and requests to look at a pin again, are handled in order, each
``latency_ns`` after it was posted. Registers take effect at once, and software sees remote IRR clear right after an EOI; the
chip itself acts on the EOI in order, behind the changes of the wire that are still under way. So a driver that lets go of a
line and then writes EOI is never interrupted again by the old level.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from asyncirq.errors import UsageError
from asyncirq.hw import ioapic_regs as regs
from asyncirq.hw.apic_message import DELIVERY_MODE_NAMES, DEST_MODE_NAMES, LOWEST_PRIORITY, TRIGGER_NAMES, ApicMessage, widen
from asyncirq.sim.engine import Engine
from asyncirq.sim.word import Word
from asyncirq.units import NSEC_PER_MSEC

if TYPE_CHECKING:
    from asyncirq.hw.apic_bus import ApicBus
    from asyncirq.hw.line import Line
    from asyncirq.trace.recorder import Recorder

LOW: Final = 0
HIGH: Final = 1
LOOK: Final = 2
LOOK_AFTER_EOI: Final = 3
PULSE: Final = 4

STORM_LIMIT: Final = 10_000
STORM_DELAY_NS: Final = 10 * NSEC_PER_MSEC


class Inbox(Word):
    """What is under way to the chip: ``(due_ns, what, pin, cause)`` in the order of posting."""

    __slots__ = ("items",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.items: deque[tuple[int, int, int, int]] = deque()

    def ready(self) -> bool:
        """Tell whether anything is under way."""
        return bool(self.items)


class PinState:
    """One pin: its redirection entry taken apart, its wire, and what it remembers.

    ``asserted`` is the wire seen through the polarity. ``ending`` says that an EOI is under way: software reads remote IRR
    as clear, but the pin holds its peace until the EOI has arrived. ``lost_edges`` counts the edges that came while the pin was masked.
    ``cause`` is that of the last assertion.
    """

    __slots__ = (
        "active_low",
        "asserted",
        "cause",
        "delivery_mode",
        "delivery_status",
        "dest",
        "ending",
        "eoi_streak",
        "level",
        "line",
        "logical",
        "lost_edges",
        "low",
        "masked",
        "number",
        "remote_irr",
        "vector",
        "wire",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.line: Line | None = None
        self.wire = False
        self.asserted = False
        self.remote_irr = False
        self.ending = False
        self.delivery_status = False
        self.cause = 0
        self.lost_edges = 0
        self.eoi_streak = 0
        self.dest = 0
        self.write_low(regs.MASKED)

    def write_low(self, value: int) -> None:
        """Take over the writable lower bits; an edge-triggered entry has no remote IRR, so writing one clears it."""
        self.low = value & regs.WRITABLE_LOW
        self.vector = value & 0xFF
        self.delivery_mode = value >> 8 & 7
        self.logical = bool(value & regs.LOGICAL)
        self.active_low = bool(value & regs.ACTIVE_LOW)
        self.level = bool(value & regs.LEVEL)
        self.masked = bool(value & regs.MASKED)
        self.asserted = self.wire != self.active_low
        if not self.level:
            self.remote_irr = False

    def read_low(self) -> int:
        """Return the lower 32 bits as software reads them."""
        return self.low | self.remote_irr * regs.REMOTE_IRR | self.delivery_status * regs.DELIVERY_STATUS


class IoApic:
    """One IO-APIC with the global interrupts ``gsi_base`` to ``gsi_base + pins - 1``.

    ``index`` is its number in the trace and its id after reset. ``version`` 0x20 has an EOI register, 0x11 has none.
    ``storm_brake`` delays a level that is never lowered by 10 ms after 10,000 redeliveries in a row, as KVM does.

    ``run()`` is the chip's task: whoever builds the machine spawns it.

    Linux: arch/x86/kvm/ioapic.c models the same chip; arch/x86/kernel/apic/io_apic.c drives it.
    """

    def __init__(
        self,
        engine: Engine,
        trace: Recorder | None,
        bus: ApicBus,
        pins: int = 24,
        gsi_base: int = 0,
        latency_ns: int = 0,
        *,
        index: int = 0,
        version: int = regs.VERSION_EOI,
        storm_brake: bool = False,
    ) -> None:
        if not 1 <= pins <= 120:
            raise UsageError(f"an IO-APIC has 1 to 120 pins, not {pins}")
        if latency_ns < 0:
            raise UsageError(f"IO-APIC {index}: the latency cannot be {latency_ns} ns")
        self.engine = engine
        self.trace = trace
        self.bus = bus
        self.index = index
        self.gsi_base = gsi_base
        self.latency_ns = latency_ns
        self.version = version
        self.storm_brake = storm_brake
        self.undelivered = 0
        self.pins = [PinState(number) for number in range(pins)]
        self._inbox = Inbox(f"ioapic{index}")
        self._in_service = 0
        self._select = 0
        self._id = index << 24 & regs.ID_MASK
        bus.attach_ioapic(self)

    # --- decide

    def _wants(self, pin: PinState) -> bool:
        """Tell whether a level-triggered pin has something to send."""
        return pin.level and pin.asserted and not pin.masked and not pin.remote_irr and not pin.ending

    # --- recompute

    def _serve(self, pin: PinState, edge: bool, cause: int) -> None:
        """Send the message of a pin that has one to send: the only place where the chip interrupts.

        Remote IRR is set when somebody accepted a level-triggered message. The delivery status stays set while a level
        asks and nobody accepts. Modes other than fixed and lowest priority are edges whatever the entry says.

        Trace: ``ioapic_deliver``.
        """
        if not edge and not self._wants(pin):
            return
        mode = pin.delivery_mode
        level = pin.level and mode <= LOWEST_PRIORITY
        if self.trace is not None:
            cause = self.trace.ioapic_deliver(
                cause,
                self.index,
                pin.number,
                pin.vector,
                pin.dest,
                DEST_MODE_NAMES[pin.logical],
                DELIVERY_MODE_NAMES[mode],
                TRIGGER_NAMES[level],
            )
        accepted = self.bus.deliver(ApicMessage(pin.vector, mode, level, widen(pin.dest), pin.logical, cause))
        pin.delivery_status = not accepted and not edge
        if not accepted:
            self.undelivered += 1
        elif level:
            pin.remote_irr = True
            self._in_service |= 1 << pin.number

    # --- inputs

    async def run(self) -> None:
        """Handle the inbox for ever: everything that is due at a wake, then sleep until the next is."""
        engine = self.engine
        inbox = self._inbox
        items = inbox.items
        while True:
            if not items:
                await engine.wait(inbox)
            ahead = items[0][0] - engine.now
            if ahead > 0:
                await engine.sleep(ahead)
            while items and items[0][0] <= engine.now:
                _, what, number, cause = items.popleft()
                self._handle(what, self.pins[number], cause)

    def _handle(self, what: int, pin: PinState, cause: int) -> None:
        if what <= HIGH:
            pin.wire = what == HIGH
            was = pin.asserted
            pin.asserted = pin.wire != pin.active_low
            if pin.asserted and not was:
                pin.cause = cause
                if pin.level:
                    self._serve(pin, False, cause)
                elif pin.masked:
                    pin.lost_edges += 1
                else:
                    self._serve(pin, True, cause)
            elif not pin.asserted:
                pin.delivery_status = False
        elif what == PULSE:
            if pin.masked or pin.level:
                pin.lost_edges += 1
            else:
                self._serve(pin, True, cause)
        else:
            if what == LOOK_AFTER_EOI:
                pin.ending = False
                if self._brakes(pin):
                    self._resume_later(pin)
                    return
            self._serve(pin, False, self._request_cause(pin))

    def _request_cause(self, pin: PinState) -> int:
        """Return the cause of the request that a level still stands for: on a shared wire the first pull may be gone."""
        return (pin.line.cause if pin.line is not None else 0) or pin.cause

    def _brakes(self, pin: PinState) -> bool:
        """Count redeliveries by EOI in a row and tell whether this one is to be delayed."""
        if not pin.asserted:
            pin.eoi_streak = 0
            return False
        if not self.storm_brake or not self._wants(pin):
            return False
        pin.eoi_streak += 1
        return pin.eoi_streak > STORM_LIMIT

    def _resume_later(self, pin: PinState) -> None:
        pin.eoi_streak = 0
        timer = self.engine.timer(partial(self._post, LOOK, pin.number, 0), f"ioapic{self.index}-storm")
        timer.arm(self.engine.now + STORM_DELAY_NS)

    def _post(self, what: int, number: int, cause: int) -> None:
        inbox = self._inbox
        inbox.items.append((self.engine.now + self.latency_ns, what, number, cause))
        inbox.poke()

    def set_pin(self, number: int, level: bool, cause: int = 0) -> None:
        """Take note that the wire at a pin changed its level."""
        self._post(HIGH if level else LOW, number, cause)

    def connect(self, number: int, line: Line) -> None:
        """Solder a wire to a pin. Raises ``UsageError`` for a pin that is not there or has a wire."""
        if not 0 <= number < len(self.pins):
            raise UsageError(f"IO-APIC {self.index} has pins 0 to {len(self.pins) - 1}, not {number}")
        pin = self.pins[number]
        if pin.line is not None:
            raise UsageError(f"IO-APIC {self.index} pin {number} is wired to {pin.line.name} already")
        pin.line = line
        pin.wire = line.level
        pin.asserted = pin.wire != pin.active_low
        line.listen(partial(self.set_pin, number))

    # --- acknowledge

    def eoi(self, vector: int, cause: int = 0) -> None:
        """End a level-triggered vector: clear remote IRR of every pin that sent it, and look at those pins in due order.

        Trace: ``ioapic_eoi`` for each pin.
        """
        rest = self._in_service
        while rest:
            bit = rest & -rest
            rest ^= bit
            pin = self.pins[bit.bit_length() - 1]
            if pin.vector == vector:
                pin.remote_irr = False
                pin.ending = True
                self._in_service ^= bit
                if self.trace is not None:
                    self.trace.ioapic_eoi(cause, self.index, pin.number, vector)
                self._post(LOOK_AFTER_EOI, pin.number, cause)

    # --- bus

    def read(self, offset: int) -> int:
        """Read the memory page: IOREGSEL, or the register that it selects."""
        if offset == regs.IOREGSEL:
            return self._select
        return self._get(self._select) if offset == regs.IOWIN else 0

    def write(self, offset: int, value: int, cause: int = 0) -> None:
        """Write the memory page: IOREGSEL, the register that it selects, the pin assertion or the EOI register.

        Writing a pin's number to the pin assertion register is one edge at that pin: how an MSI reaches an IO-APIC.
        """
        if offset == regs.IOREGSEL:
            self._select = value & 0xFF
        elif offset == regs.IOWIN:
            self._put(self._select, value)
        elif offset == regs.PIN_ASSERT and value & 0xFF < len(self.pins):
            self._post(PULSE, value & 0xFF, cause)
        elif offset == regs.EOI_REGISTER and self.version >= regs.VERSION_EOI:
            self.eoi(value & 0xFF, cause)

    def _get(self, register: int) -> int:
        if register in (regs.REG_ID, regs.REG_ARBITRATION):
            return self._id
        if register == regs.REG_VERSION:
            return (len(self.pins) - 1) << 16 | self.version
        number, high = divmod(register - regs.REG_REDIRECTION, 2)
        if not 0 <= number < len(self.pins):
            return 0
        pin = self.pins[number]
        return pin.dest << 24 if high else pin.read_low()

    def _put(self, register: int, value: int) -> None:
        if register == regs.REG_ID:
            self._id = value & regs.ID_MASK
        number, high = divmod(register - regs.REG_REDIRECTION, 2)
        if not 0 <= number < len(self.pins):
            return
        pin = self.pins[number]
        if high:
            pin.dest = value >> 24 & 0xFF
            return
        pin.write_low(value)
        if not pin.remote_irr:
            self._in_service &= ~(1 << number)
        if self._wants(pin):
            self._post(LOOK, number, 0)

    def __repr__(self) -> str:
        return f"<IoApic {self.index}>"


def find_gsi(ioapics: Iterable[IoApic], gsi: int) -> tuple[IoApic, int]:
    """Return the IO-APIC and the pin that a global interrupt number means. Raises ``UsageError`` when there is none."""
    for ioapic in ioapics:
        if ioapic.gsi_base <= gsi < ioapic.gsi_base + len(ioapic.pins):
            return ioapic, gsi - ioapic.gsi_base
    raise UsageError(f"no IO-APIC has GSI {gsi}")
