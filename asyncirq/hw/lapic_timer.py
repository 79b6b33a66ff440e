"""Model the local APIC timer: one-shot, periodic, TSC-deadline.

The current count is never stored: it follows from the time at which counting began. Expiry ``n`` of a periodic timer is
computed from that same origin, so rounding to whole nanoseconds never adds up.

A clock is a ratio ``(num, den)``: one count takes ``num`` by ``den`` nanoseconds. The APIC clock is divided further by the
divide configuration; the TSC is not.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from asyncirq.errors import UsageError
from asyncirq.sim.engine import Engine

ONE_SHOT: Final = 0
PERIODIC: Final = 1
TSC_DEADLINE: Final = 2

DIVISORS: Final = MappingProxyType({0x0: 2, 0x1: 4, 0x2: 8, 0x3: 16, 0x8: 32, 0x9: 64, 0xA: 128, 0xB: 1})
"""Divisor by value of the divide configuration register (bits 3, 1 and 0)."""


class LapicTimer:
    """The timer of one local APIC; ``expire()`` is called each time it runs out, whether its LVT entry is masked or not.

    ``initial`` is TMICT, ``divide`` TDCR, ``deadline`` the TSC-deadline MSR (0 when disarmed), ``mode`` bits 18:17 of LVTT.
    """

    def __init__(
        self, engine: Engine, name: str, expire: Callable[[], None], clock: tuple[int, int] = (1, 1), tsc: tuple[int, int] = (1, 1)
    ) -> None:
        for what, ratio in (("APIC clock", clock), ("TSC", tsc)):
            if ratio[0] < 1 or ratio[1] < 1:
                raise UsageError(f"{name}: the {what} needs two positive integers, not {ratio}")
        self._engine = engine
        self._timer = engine.timer(self._on_expiry, name)
        self._expire = expire
        self._clock_num, self._clock_den = clock
        self._tsc_num, self._tsc_den = tsc
        self.reset()

    # --- decide

    @property
    def current(self) -> int:
        """Return TMCCT: the counts left, 0 when stopped or in TSC-deadline mode."""
        if not self._target:
            return 0
        return max(0, self._target - self._elapsed())

    @property
    def tsc(self) -> int:
        """Return the time-stamp counter."""
        return self._engine.now * self._tsc_den // self._tsc_num

    def _elapsed(self) -> int:
        """Return the whole counts since counting began."""
        return (self._engine.now - self._origin) * self._clock_den // (self._clock_num * self._divisor)

    # --- recompute

    def _recompute(self) -> None:
        """Derive the due time of the engine's timer: rounded up, so that it is never early."""
        if self.deadline:
            self._timer.arm(-(-self.deadline * self._tsc_num // self._tsc_den))
        elif self._target:
            self._timer.arm(self._origin - (-self._target * self._divisor * self._clock_num // self._clock_den))
        else:
            self._timer.disarm()

    # --- inputs

    def reset(self) -> None:
        """Return to the state after power-up: stopped, one-shot, divide by 2."""
        self.mode = ONE_SHOT
        self.initial = 0
        self.divide = 0
        self.deadline = 0
        self._divisor = DIVISORS[0]
        self._origin = 0
        self._target = 0
        self._recompute()

    def set_initial(self, count: int) -> None:
        """Write TMICT: start over from ``count``, or stop for 0; ignored in TSC-deadline mode."""
        if self.mode == TSC_DEADLINE:
            return
        self.initial = self._target = count
        self._origin = self._engine.now
        self._recompute()

    def set_divide(self, value: int) -> None:
        """Write TDCR; a running count goes on from its present value at the new rate."""
        if self._target and not self.current:  # due in this very instant: it expires under the old divisor
            self._on_expiry()
        left = self.current
        self.divide = value & 0xB
        self._divisor = DIVISORS[self.divide]
        if self._target:
            self._origin = self._engine.now
            self._target = left
        self._recompute()

    def set_mode(self, mode: int) -> None:
        """Take over the mode bits of LVTT: the count goes on, except that a change from or to TSC-deadline stops the timer."""
        if mode == self.mode:
            return
        if TSC_DEADLINE in (mode, self.mode):
            self.initial = 0
            self.deadline = 0
            self._target = 0
        self.mode = mode
        self._recompute()

    def set_deadline(self, tsc: int) -> None:
        """Write the TSC-deadline MSR: expire at that TSC value, at once if it is not ahead; 0 disarms; ignored in other modes.

        Linux: ``lapic_next_deadline`` in arch/x86/kernel/apic/apic.c is who writes it.
        """
        if self.mode != TSC_DEADLINE:
            return
        if tsc and tsc <= self.tsc:
            self.deadline = 0
            self._recompute()
            self._expire()
            return
        self.deadline = tsc
        self._recompute()

    def _on_expiry(self) -> None:
        if self.deadline:
            self.deadline = 0
        elif self.mode == PERIODIC and self.initial:
            self._target += self.initial
            self._recompute()
        else:
            self._target = 0
        self._expire()

    # --- bus

    @property
    def when(self) -> int:
        """Return the time of the next expiry in ns, or -1 when there is none."""
        return self._timer.when if self._timer.armed else -1
