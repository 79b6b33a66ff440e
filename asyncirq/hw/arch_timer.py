"""Model Arm's generic timer: one counter of the system, and for each PE a timer that compares with it.

The timer's output is a level: high while it is enabled, not masked, and the counter has reached the compare value. The
counter is never stored, it follows from the time. Linux: drivers/clocksource/arm_arch_timer.c drives it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncirq.errors import UsageError
from asyncirq.sim.engine import FOREVER, Engine

ENABLE: Final = 1 << 0
IMASK: Final = 1 << 1
ISTATUS: Final = 1 << 2
WRAP: Final = 1 << 64


class SystemCounter:
    """The counter that all timers of a machine compare with: ``hz`` counts a second, by default one each ns."""

    def __init__(self, engine: Engine, hz: int = 1_000_000_000) -> None:
        if not 1 <= hz <= 1_000_000_000:
            raise UsageError(f"the system counter counts 1 to 1000000000 times a second, not {hz}")
        self.engine = engine
        self.hz = hz
        self._offset = 0
        self._listeners: list[Callable[[], None]] = []

    @property
    def count(self) -> int:
        """Return the counter now."""
        return (self.engine.now * self.hz // 1_000_000_000 + self._offset) % WRAP

    def set_count(self, value: int) -> None:
        """Move the counter; every timer looks again."""
        self._offset += value - self.count
        for listener in self._listeners:
            listener()

    def when(self, count: int) -> int:
        """Return the first ns at which the counter reads at least ``count``."""
        return -((self._offset - count) * 1_000_000_000 // self.hz)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener()`` when the counter was moved."""
        self._listeners.append(listener)


class ArchTimer:
    """The timer of one PE. ``output(level, cause)`` is its wire, a level PPI. ``cval`` is the compare value."""

    def __init__(self, counter: SystemCounter, name: str, output: Callable[[bool, int], None]) -> None:
        self.counter = counter
        self.output = output
        self.cval = 0
        self.level = False
        self._control = 0
        self._timer = counter.engine.timer(self._look, name)
        counter.listen(self._look)

    # --- decide

    @property
    def due(self) -> bool:
        """Return ISTATUS: the timer is enabled and its condition met."""
        return bool(self._control & ENABLE) and self.counter.count >= self.cval

    # --- recompute

    def _look(self) -> None:
        """Derive the level, and wait for the counter if it is still to come."""
        enabled = self._control & ENABLE
        counter = self.counter
        due = enabled and counter.count >= self.cval
        when = counter.when(self.cval) if enabled and not due else FOREVER
        if when < FOREVER:
            self._timer.arm(when)
        else:
            self._timer.disarm()
        level = bool(due and not self._control & IMASK)
        if level is not self.level:
            self.level = level
            self.output(level, 0)

    # --- bus

    @property
    def control(self) -> int:
        """Read or write CTL: ENABLE, IMASK, and (read only) ISTATUS."""
        return self._control | self.due * ISTATUS

    @control.setter
    def control(self, value: int) -> None:
        self._control = value & (ENABLE | IMASK)
        self._look()

    def set_cval(self, value: int) -> None:
        """Write the compare value."""
        self.cval = value % WRAP
        self._look()

    @property
    def tval(self) -> int:
        """Read or write TVAL: the compare value as 32 bits with a sign, relative to the counter."""
        value = self.cval - self.counter.count & 0xFFFF_FFFF
        return value - (1 << 32) if value >> 31 else value

    @tval.setter
    def tval(self, value: int) -> None:
        value &= 0xFFFF_FFFF
        self.set_cval(self.counter.count + (value - (1 << 32) if value >> 31 else value))

    def program(self, cval: int) -> None:
        """Write the compare value and open the timer, in one step, as the kernel does for its next event."""
        self.cval = cval % WRAP
        self._control = ENABLE
        self._look()
