"""Model a wire with a level: several drivers pull it, listeners hear its changes.

A wire knows levels only. What a level means (active high or low, edge or level triggered) is the business of the pin it
ends at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from asyncirq.errors import UsageError

if TYPE_CHECKING:
    from asyncirq.trace.recorder import Recorder

Listener: TypeAlias = Callable[[bool, int], None]
"""Called with the new level and the cause of the change."""


class Line:
    """One interrupt wire.

    ``idle`` is the level while nobody pulls: False for an active-high wire, True for one with a pull-up that drivers
    pull low (PCI INTx). The wire leaves ``idle`` while at least one driver pulls: the wired-OR of the requests.

    Trace: ``line_level`` at each change of the level; a second driver that joins changes nothing and leaves none.
    """

    def __init__(self, name: str, trace: Recorder | None = None, idle: bool = False) -> None:
        self.name = name
        self.idle = idle
        self.level = idle
        self._trace = trace
        self._pulling = 0
        self._causes: list[int] = [0]
        self._listeners: list[Listener] = []

    # --- decide

    @property
    def cause(self) -> int:
        """Return the cause of the request that has lasted longest among those still there, 0 when nobody pulls."""
        return min((cause for driver, cause in enumerate(self._causes) if self._pulling >> driver & 1), default=0)

    # --- recompute

    def _recompute(self, cause: int) -> None:
        level = (self._pulling != 0) != self.idle
        if level != self.level:
            self.level = level
            if self._trace is not None:
                cause = self._trace.line_level(cause, self.name, level)
            for listener in self._listeners:
                listener(level, cause)

    # --- inputs

    def set(self, level: bool, cause: int = 0, driver: int = 0) -> None:
        """Drive the wire to ``level``; a driver that asks for the idle level lets go of it.

        Raises ``UsageError`` for a driver that ``add_driver`` did not hand out.
        """
        if not 0 <= driver < len(self._causes):
            raise UsageError(f"line {self.name} has no driver {driver}")
        bit = 1 << driver
        if level == self.idle:
            self._pulling &= ~bit
        else:
            if not self._pulling & bit:
                self._causes[driver] = cause
            self._pulling |= bit
        self._recompute(cause)

    def pulse(self, cause: int = 0, driver: int = 0) -> None:
        """Drive the wire away from its idle level and back at once: one edge for an edge-triggered pin."""
        self.set(not self.idle, cause, driver)
        self.set(self.idle, cause, driver)

    # --- bus

    def add_driver(self) -> int:
        """Add one more driver and return its number; driver 0 is always there."""
        self._causes.append(0)
        return len(self._causes) - 1

    def listen(self, listener: Listener) -> None:
        """Call ``listener(level, cause)`` at each change from now on, after the listeners that came before."""
        self._listeners.append(listener)

    def __repr__(self) -> str:
        return f"<Line {self.name} {'high' if self.level else 'low'}>"
