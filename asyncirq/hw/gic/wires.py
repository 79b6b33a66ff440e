"""Lead wires into the distributor: a request takes time to arrive, and arrives in order.

A level that is withdrawn is gone at once: a request under way for it is dropped when it arrives, and one that has been signalled
already reads as 1023. So a driver that lets go of its wire before it ends the interrupt is not interrupted again by the old level.
"""

from __future__ import annotations

from collections import deque
from functools import partial

from asyncirq.errors import UsageError
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.hw.line import Line
from asyncirq.sim.engine import Engine
from asyncirq.sim.word import Word


class Inbox(Word):
    """What is under way: ``(due_ns, interrupt, cause)`` in the order of posting."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        super().__init__("gic")
        self.items: deque[tuple[int, GicInterrupt, int]] = deque()

    def ready(self) -> bool:
        """Tell whether anything is under way."""
        return bool(self.items)


class SpiWires:
    """The wires of one distributor. ``run()`` is its task: whoever builds the machine spawns it. Wires of idle level high are inverted."""

    def __init__(self, engine: Engine, latency_ns: int = 0) -> None:
        if latency_ns < 0:
            raise UsageError(f"the latency of a GIC cannot be {latency_ns} ns")
        self.engine = engine
        self.latency_ns = latency_ns
        self._inbox = Inbox()
        self._high: dict[int, bool] = {}

    def connect(self, line: Line, interrupt: GicInterrupt) -> None:
        """Solder a wire to an SPI. Raises ``UsageError`` for one that has a wire."""
        if interrupt.intid in self._high:
            raise UsageError(f"INTID {interrupt.intid} has a wire already")
        self._high[interrupt.intid] = False
        line.listen(partial(self._changed, interrupt, line.idle))
        if line.level != line.idle:
            self._changed(interrupt, line.idle, line.level, line.cause)

    def _changed(self, interrupt: GicInterrupt, idle: bool, level: bool, cause: int) -> None:
        high = level != idle
        self._high[interrupt.intid] = high
        if high:
            self._inbox.items.append((self.engine.now + self.latency_ns, interrupt, cause))
            self._inbox.poke()
        elif interrupt.line:
            interrupt.set_line(False, cause)

    async def run(self) -> None:
        """Handle requests for ever: everything that is due at a wake, then sleep until the next is."""
        engine = self.engine
        items = self._inbox.items
        while True:
            if not items:
                await engine.wait(self._inbox)
            ahead = items[0][0] - engine.now
            if ahead > 0:
                await engine.sleep(ahead)
            while items and items[0][0] <= engine.now:
                _, interrupt, cause = items.popleft()
                if interrupt.edge:
                    interrupt.pulse(cause)
                elif self._high[interrupt.intid]:
                    interrupt.set_line(True, cause)
