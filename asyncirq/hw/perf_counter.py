"""Model a counter of unhalted CPU cycles that raises the local APIC's performance interrupt when it overflows.

The entry of the local vector table masks itself as it fires, so whoever handles the overflow writes it again. A cycle is a
nanosecond here; while the CPU halts the counter stands still.
"""

from __future__ import annotations

from typing import Final

from asyncirq.errors import UsageError
from asyncirq.hw.lapic import Lapic
from asyncirq.hw.lapic_lvt import PERF
from asyncirq.sim.engine import Engine

LVT_NMI: Final = 4 << 8
"""The entry that makes the overflow an NMI."""


class PerfCounter:
    """One counter of one CPU. ``overflowed`` stays set until whoever handles the overflow clears it; ``overflows`` counts them."""

    def __init__(self, engine: Engine, lapic: Lapic) -> None:
        self._engine = engine
        self._lapic = lapic
        self._timer = engine.timer(self._overflow, f"perf{lapic.cpu_id}")
        self._period = 0
        self._left = 0
        self._since = 0
        self.running = False
        self.overflowed = False
        self.overflows = 0

    def start(self, period_ns: int) -> None:
        """Overflow after so many ns of unhalted time, again and again. Raises ``UsageError`` unless that is at least 1."""
        if period_ns < 1:
            raise UsageError(f"a performance counter cannot overflow every {period_ns} ns", 22)
        self._period = self._left = period_ns
        self.arm()
        self.halt(False)

    def stop(self) -> None:
        """Stop counting."""
        self.halt(True)
        self._period = 0

    def arm(self) -> None:
        """Let the next overflow be an NMI: the entry is written anew."""
        self.overflowed = False
        self._lapic.lvt.write(PERF, LVT_NMI)

    def halt(self, halted: bool) -> None:
        """Stand still while the CPU halts, and go on after it."""
        if not self._period or halted is not self.running:
            return
        self.running = not halted
        now = self._engine.now
        if halted:
            self._left -= now - self._since
            self._timer.disarm()
        else:
            self._since = now
            self._timer.arm(now + self._left)

    def _overflow(self) -> None:
        self.overflowed = True
        self.overflows += 1
        self._since = self._engine.now
        self._left = self._period
        self._timer.arm(self._since + self._period)
        self._lapic.lvt.fire(PERF)
