"""Model the 8254 interval timer: three counters, of which the first is the PC's tick.

A count is never stored: it follows from the time at which counting began. The clock is a ratio ``(num, den)``: one count takes
``num`` by ``den`` nanoseconds.

| mode | output after a count is written |
| --- | --- |
| 0 | low, then high for good after ``count`` (interrupt on terminal count) |
| 2 | high, low for one clock every ``count`` (rate generator) |
| 3 | high for half of ``count``, low for the other (square wave) |
| 4 | high, low for one clock after ``count`` (software strobe) |

The edge that interrupts is the one to high: at the end of the count in mode 0, of the low clock in modes 2 and 4.

Model: the gates are tied high, so modes 1 and 5, which a gate triggers, never count; counting is binary, not BCD.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncirq.errors import UsageError
from asyncirq.sim.engine import Engine

CLOCK: Final = (1_000_000_000, 1_193_182)
"""Ratio of the PC's 1.193182 MHz."""
TERMINAL_COUNT: Final = 0
RATE: Final = 2
SQUARE: Final = 3
STROBE: Final = 4
MAX_COUNT: Final = 0x10000
LOW_BYTE: Final = 1
HIGH_BYTE: Final = 2
BOTH_BYTES: Final = 3
READ_BACK: Final = 3
CONTROL_PORT: Final = 3


class Counter:
    """One counter: ``mode``, ``reload`` (the count as written, 0 meaning 65536). ``on_output(high)`` hears the rising and falling edges."""

    def __init__(self, engine: Engine, number: int, clock: tuple[int, int]) -> None:
        self._engine = engine
        self._num, self._den = clock
        self._timer = engine.timer(self._expired, f"pit{number}")
        self.on_output: Callable[[bool], None] = _nobody
        self.mode = TERMINAL_COUNT
        self.access = BOTH_BYTES
        self.reload = 0
        self.out = False
        self._origin = 0
        self._running = False
        self._edges = 0
        self._first_byte = -1
        self._latches: list[int] = []
        self._read_high = False

    # --- decide

    @property
    def period(self) -> int:
        """Return the clocks of one round."""
        return self.reload or MAX_COUNT

    def _elapsed(self) -> int:
        return (self._engine.now - self._origin) * self._den // self._num

    @property
    def count(self) -> int:
        """Return what the counter holds now."""
        if not self._running:
            return self.reload
        elapsed = self._elapsed()
        if self.mode == RATE:
            return (self.period - elapsed % self.period) & 0xFFFF
        if self.mode == SQUARE:
            return (self.period - 2 * elapsed % self.period) & 0xFFFE
        return (self.period - elapsed) & 0xFFFF

    # --- recompute

    def _set_out(self, high: bool) -> None:
        if high is not self.out:
            self.out = high
            self.on_output(high)

    def _at(self, clocks: int) -> int:
        """Return the instant of so many clocks after the count was written, rounded up: never early."""
        return self._origin + -(-clocks * self._num // self._den)

    def _arm(self) -> None:
        """Arm the timer for the next edge of the output, the one after ``_edges`` of them."""
        period = self.period
        number = self._edges
        if self.mode == SQUARE:
            clocks = number // 2 * period + ((period + 1) // 2 if number % 2 == 0 else period)
        elif self.mode == RATE:
            clocks = number // 2 * period + (period - 1 if number % 2 == 0 else period)
        elif self.mode == STROBE:
            clocks = period + number
        else:
            clocks = period
        self._timer.arm(self._at(clocks))

    def _expired(self) -> None:
        self._edges += 1
        more = {TERMINAL_COUNT: 0, STROBE: 1}.get(self.mode)
        if more is None or self._edges <= more:
            self._arm()
        self._set_out(not self.out)

    # --- inputs

    def set_mode(self, access: int, mode: int) -> None:
        """Take over a control word: counting stops until a count is written, and the output goes to where the mode begins."""
        self.access = access
        self.mode = mode & 3 if mode & 2 else mode
        self._running = False
        self._timer.disarm()
        self._first_byte = -1
        self._latches.clear()
        self._read_high = False
        self._set_out(self.mode != TERMINAL_COUNT)

    def write(self, byte: int) -> None:
        """Write one byte of the count; the last one starts counting over."""
        if self.access == BOTH_BYTES and self._first_byte < 0:
            self._first_byte = byte
            return
        if self.access == BOTH_BYTES:
            self.reload = self._first_byte | byte << 8
            self._first_byte = -1
        else:
            self.reload = byte << 8 if self.access == HIGH_BYTE else byte
        if self.mode not in (TERMINAL_COUNT, RATE, SQUARE, STROBE):
            return
        self._origin = self._engine.now
        self._running = True
        self._edges = 0
        self._set_out(self.mode != TERMINAL_COUNT)
        self._arm()

    def latch_count(self) -> None:
        """Hold the count for the next read; a second latch before it is ignored."""
        if not self._latches:
            self._latches += self._bytes_of(self.count)

    def latch_status(self) -> None:
        """Hold the status byte for the next read, before a latched count."""
        null_count = not self._running
        self._latches.insert(0, self.out << 7 | null_count << 6 | self.access << 4 | self.mode << 1)

    def _bytes_of(self, count: int) -> list[int]:
        low, high = count & 0xFF, count >> 8
        return [low, high] if self.access == BOTH_BYTES else [high if self.access == HIGH_BYTE else low]

    # --- bus

    def read(self) -> int:
        """Read one byte: what is latched, else the running count."""
        if self._latches:
            return self._latches.pop(0)
        low, *rest = self._bytes_of(self.count)
        if not rest:
            return low
        self._read_high = not self._read_high
        return low if self._read_high else rest[0]


class I8254:
    """The chip: ``counters[0]`` to ``[2]``, at ports 0 to 2; port 3 takes control words.

    Linux: drivers/clocksource/i8253.c drives it.
    """

    def __init__(self, engine: Engine, clock: tuple[int, int] = CLOCK) -> None:
        if clock[0] < 1 or clock[1] < 1:
            raise UsageError(f"the 8254's clock needs two positive integers, not {clock}")
        self.clock = clock
        self.counters = [Counter(engine, number, clock) for number in range(3)]

    def clocks(self, ns: int) -> int:
        """Return the clocks that cover so many ns: at least one, at most a full count."""
        num, den = self.clock
        return min(max(-(-ns * den // num), 1), MAX_COUNT)

    def read(self, port: int) -> int:
        """Read a counter; the control port reads as 0."""
        return 0 if port == CONTROL_PORT else self.counters[port].read()

    def write(self, port: int, value: int) -> None:
        """Write a count, a control word, a latch command or a read-back command."""
        value &= 0xFF
        if port != CONTROL_PORT:
            self.counters[port].write(value)
        elif value >> 6 == READ_BACK:
            for number, counter in enumerate(self.counters):
                if value >> (number + 1) & 1:
                    if not value & 0x20:
                        counter.latch_count()
                    if not value & 0x10:
                        counter.latch_status()
        elif not value & 0x30:
            self.counters[value >> 6].latch_count()
        else:
            self.counters[value >> 6].set_mode(value >> 4 & 3, value >> 1 & 7)


def _nobody(high: bool) -> None:
    """Stand in for ``on_output`` until somebody listens."""
