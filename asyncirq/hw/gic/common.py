"""Hold what all parts of one GIC share: group enables, security, priority bits, the time that a disable takes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from asyncirq.errors import UsageError

if TYPE_CHECKING:
    from asyncirq.hw.gic.interrupt import GicInterrupt
    from asyncirq.sim.engine import Engine
    from asyncirq.trace.recorder import Recorder


class GicState:
    """The shared state. ``forwards[group]`` says whether the distributor forwards a group.

    ``one_security_state`` is GICD_CTLR.DS; ``priority_bits`` are implemented, from the top. ``write_ns``: how long a disable takes
    until it is sure; meanwhile RWP reads as one. ``guest_errors`` collects what software did that the architecture calls
    unpredictable: the model does something defined and says so here.
    """

    def __init__(
        self, engine: Engine, trace: Recorder | None, *, one_security_state: bool = True, priority_bits: int = 5, write_ns: int = 0
    ) -> None:
        if not 4 <= priority_bits <= 8 or (priority_bits < 5 and not one_security_state):
            raise UsageError(f"a GIC has 4 to 8 bits of priority, with two security states at least 5, not {priority_bits}")
        self.engine = engine
        self.trace = trace
        self.one_security_state = one_security_state
        self.priority_bits = priority_bits
        self.priority_mask = 0xFF << (8 - priority_bits) & 0xFF
        self.write_ns = write_ns
        self.forwards = [False, False, False]
        self.guest_errors: list[str] = []
        self._disabling: deque[tuple[int, GicInterrupt]] = deque()
        self._timer = engine.timer(self._settle, "gic-rwp")

    def guest_error(self, text: str) -> None:
        """Note what software did wrong."""
        self.guest_errors.append(text)

    @property
    def write_pending(self) -> bool:
        """Return RWP: whether a disable is still under way."""
        return bool(self._disabling)

    def disable(self, interrupt: GicInterrupt) -> None:
        """Disable an interrupt; where that takes time it may still be taken until RWP reads as zero."""
        if not self.write_ns:
            interrupt.set_enabled(False)
            return
        self._disabling.append((self.engine.now + self.write_ns, interrupt))
        if not self._timer.armed:
            self._timer.arm(self._disabling[0][0])

    def _settle(self) -> None:
        while self._disabling and self._disabling[0][0] <= self.engine.now:
            self._disabling.popleft()[1].set_enabled(False)
        if self._disabling:
            self._timer.arm(self._disabling[0][0])
