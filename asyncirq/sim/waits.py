"""Let the running context wait: for a time, for a word, or with time moved on under it.

Inline advance: when nothing else is due by then, time moves on and the context goes on without parking. Only the park is
replaced; what follows is common code, so the run is the same with and without it.
"""

from __future__ import annotations

import types
from collections.abc import Generator
from heapq import heappop, heappush
from typing import Final

from asyncirq.errors import UsageError
from asyncirq.sim.context import PARKED
from asyncirq.sim.queue import INLINE_RUN, EventQueue
from asyncirq.sim.word import Word

PARK: Final = object()


class Waits(EventQueue):
    """What a running context calls."""

    @types.coroutine
    def park(self) -> Generator[object, None, None]:
        """Give the turn back to the engine until this context is poked, resumed or due."""
        ctx = self.current
        assert ctx is not None
        ctx.state = PARKED
        yield PARK

    def set_due(self, ns: int) -> None:
        """Make the running context due ``ns`` from now: it must yield ``PARK`` next. A poke may wake it earlier."""
        if not isinstance(ns, int) or ns < 0:
            raise UsageError(f"{ns!r} ns of time cannot pass, at {self.now} ns: durations are whole numbers from 0 on")
        ctx = self.current
        assert ctx is not None
        self._seq = seq = self._seq + 1
        ctx.ticket = seq
        heappush(self._heap, (self.now + ns, seq, ctx))
        ctx.state = PARKED

    def advance(self, ns: int) -> bool:
        """Move time on by ``ns`` in the running context without parking it, if nothing else is due by then.

        The wake-up must lie strictly before every live entry and not beyond the horizon, with the front queue empty.
        Every ``INLINE_RUN``-th time the answer is no, and the slice ends, so that the driver can look at the host.
        """
        end = self.now + ns
        if self._front or end > self.horizon or not self._inline:
            return False
        heap = self._heap
        while heap:
            entry = heap[0]
            if entry[2].ticket == entry[1]:
                if end >= entry[0]:
                    return False
                break
            heappop(heap)
            self._dead_entries -= 1
        left = self._inline_left
        if not left:
            self._inline_left = INLINE_RUN
            self._look = True
            return False
        self._inline_left = left - 1
        if ns > 0:
            self.now = end
            self._still = 0
        elif ns < 0:
            raise UsageError(f"{ns} ns of time cannot pass, at {self.now} ns")
        else:
            self._still += 1
            if self._still > self.step_limit:
                self._stuck()
        return True

    @types.coroutine
    def elapse(self, ns: int) -> Generator[object, None, int]:
        """Park the running context for up to ``ns`` and return how many passed: fewer when it was poked.

        It is what remains to be done when ``advance(ns)`` said no.
        """
        start = self.now
        self.set_due(ns)
        yield PARK
        return self.now - start

    async def sleep(self, ns: int) -> None:
        """Let exactly ``ns`` pass in a device or controller task, which no interrupt can shorten."""
        ctx = self.current
        if ctx is not None and ctx.on_cpu:
            raise UsageError(f"{ctx.name} runs on a CPU; engine.sleep is for devices: take cpu.spend, task.spend or m.sleep")
        end = self.now + ns
        left = ns
        while not self.advance(left):
            await self.elapse(left)
            left = end - self.now
            if left <= 0:
                return

    async def wait(self, word: Word) -> None:
        """Park a device or controller task until ``word.ready()``; it takes no heap entry."""
        ctx = self.current
        assert ctx is not None
        while not word.ready():
            word.waiters.append(ctx)
            await self.park()
            word.waiters.remove(ctx)

    def step(self) -> None:
        """Count a step that parks nobody: too many at one instant are no progress."""
        self._still += 1
        if self._still > self.step_limit:
            self._stuck()
