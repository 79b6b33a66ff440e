"""Join two 8259A as in a PC: fifteen requests, the second chip's output at the first one's input 2, ports, ELCR.

| port | what |
| --- | --- |
| 0x20, 0x21 | first chip: lines 0 to 7 |
| 0xA0, 0xA1 | second chip: lines 8 to 15 |
| 0x4D0, 0x4D1 | ELCR: which lines are level-triggered |
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from asyncirq.errors import UsageError
from asyncirq.hw.i8259 import I8259, SPURIOUS_INPUT

if TYPE_CHECKING:
    from asyncirq.hw.line import Line
    from asyncirq.trace.recorder import Recorder

LINES: Final = 16
CASCADE: Final = 2
ELCR_WRITABLE: Final = (0xF8, 0xDE)
"""Lines 0, 1, 2, 8 and 13 are edges for good."""
PORTS: Final = (0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1)


class I8259Pair:
    """The two controllers of a PC: ``master`` and ``slave``. ``out`` is INTR; ``on_output(level, cause)`` hears of its changes.

    Everything takes effect at once; the time of the bus is that of whoever reads and writes ports.

    Trace: ``pic_irr`` for each new request that is not masked, ``pic_eoi``.
    """

    def __init__(self, trace: Recorder | None, *, latched: bool = True) -> None:
        self.trace = trace
        self.on_output: Callable[[bool, int], None] = _nobody
        self.master = I8259("master", slaves=1 << CASCADE, elcr_writable=ELCR_WRITABLE[0], latched=latched)
        self.slave = I8259("slave", elcr_writable=ELCR_WRITABLE[1], latched=latched)
        self.spurious = 0
        self._wires: dict[int, list[Line]] = {}
        self.master.on_output = self._master_changed
        self.slave.on_output = self._slave_changed
        for chip, first in ((self.master, 0), (self.slave, 8)):
            chip.on_request = partial(self._requested, chip, first)
            chip.on_eoi = partial(self._ended, first)

    # --- recompute

    @property
    def out(self) -> bool:
        """The level of INTR."""
        return self.master.out

    def _master_changed(self) -> None:
        number = self.master.request()
        self.on_output(self.master.out, self.master.cause[number] if number >= 0 else 0)

    def _slave_changed(self) -> None:
        number = self.slave.request()
        self.master.set_input(CASCADE, self.slave.out, self.slave.cause[number] if number >= 0 else 0)

    def _requested(self, chip: I8259, first: int, number: int) -> None:
        if self.trace is not None and not (first == 0 and number == CASCADE):
            chip.cause[number] = self.trace.pic_irr(chip.cause[number], first + number)

    def _ended(self, first: int, number: int) -> None:
        if self.trace is not None and not (first == 0 and number == CASCADE):
            self.trace.pic_eoi(0, first + number)

    # --- inputs

    def set_line(self, number: int, high: bool, cause: int = 0) -> None:
        """Take over the level of line 0 to 15. Line 2 is the second chip's; what else pulls it makes a spurious line 15."""
        if number < 8:
            self.master.set_input(number, high, cause)
        else:
            self.slave.set_input(number - 8, high, cause)

    def connect(self, number: int, line: Line) -> None:
        """Solder a wire to a line, beside those that it has. Raises ``UsageError`` for a line that is not there or is the second chip's."""
        if not 0 <= number < LINES or number == CASCADE:
            raise UsageError(f"the 8259 has lines 0 to {LINES - 1} without {CASCADE}, not {number}")
        wires = self._wires.setdefault(number, [])
        wires.append(line)
        line.listen(partial(self._wire_changed, number, line))
        if line.level != line.idle:
            self.set_line(number, True, line.cause)

    def _wire_changed(self, number: int, line: Line, level: bool, cause: int) -> None:
        """Hand on a change of a wire; one that idles high comes through an inverter, several of them through an OR."""
        self.set_line(number, any(wire.level != wire.idle for wire in self._wires[number]), cause)

    # --- acknowledge

    def acknowledge(self) -> tuple[int, int]:
        """Answer the CPU's two acknowledge cycles: the vector, and the cause of the request.

        A request that was withdrawn meanwhile yields line 7, or line 15 after the second chip's; it is in service nowhere,
        but the first chip's line 2 is for a spurious 15.
        """
        master, slave = self.master, self.slave
        number = master.acknowledge()
        if number < 0:
            self.spurious += 1
            return master.base + SPURIOUS_INPUT, 0
        if number != CASCADE:
            return master.base + number, master.cause[number]
        number = slave.acknowledge()
        if slave.out:
            # The second chip's output drops between two of its requests: the next one is an edge for the first chip.
            master.set_input(CASCADE, False)
            self._slave_changed()
        if number < 0:
            self.spurious += 1
            return slave.base + SPURIOUS_INPUT, master.cause[CASCADE]
        return slave.base + number, slave.cause[number]

    # --- bus

    def read(self, port: int) -> int:
        """Read one of the six ports. Raises ``UsageError`` for another."""
        if port in (0x4D0, 0x4D1):
            return (self.slave if port & 1 else self.master).elcr
        return self._chip(port).read(port & 1)

    def write(self, port: int, value: int) -> None:
        """Write one of the six ports. Raises ``UsageError`` for another."""
        if port in (0x4D0, 0x4D1):
            (self.slave if port & 1 else self.master).write_elcr(value)
        else:
            self._chip(port).write(port & 1, value)

    def _chip(self, port: int) -> I8259:
        if port not in PORTS:
            raise UsageError(f"port {port:#x} is not the 8259's")
        return self.slave if port & 0x80 else self.master


def _nobody(level: bool, cause: int) -> None:
    """Stand in for ``on_output`` until INTR is wired."""
