"""Drive an engine inside the user's own event loop: slices, checkpoints, arrivals from outside, pacing.

``run_until`` is an ordinary coroutine. It steps the model for a few milliseconds of wall time, then gives the host loop
a checkpoint, so progress bars, Ctrl-C and cancellation work; none of this can be seen in the trace.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from time import perf_counter_ns
from typing import Final, Literal

import anyio
from anyio.lowlevel import checkpoint

from asyncirq.errors import UsageError
from asyncirq.sim.engine import FOREVER, Engine
from asyncirq.sim.executor import AnyioExecutor, Executor, NativeExecutor, Stop
from asyncirq.sim.inbox import Inbox

ExecutorName = Literal["native", "anyio"]
SLICE_NS: Final = 4_000_000
STEPS_PER_LOOK: Final = 256


class Driver:
    """Run an engine up to given instants.

    ``slice_ns`` is wall time between two checkpoints. ``on_slice()`` is called at each slice end (sinks are flushed
    there). ``live(speed)`` releases the model by the wall clock; ``lag_ns`` tells how far it is behind.
    """

    def __init__(self, engine: Engine, executor: ExecutorName = "native", inbox: Inbox | None = None, slice_ns: int = SLICE_NS) -> None:
        if executor not in ("native", "anyio"):
            raise UsageError(f"executor {executor!r} is neither 'native' nor 'anyio'")
        if slice_ns < 0:
            raise UsageError(f"slice_ns is {slice_ns}, below 0")
        self.engine = engine
        self.inbox = inbox if inbox is not None else Inbox()
        self.executor: Executor = NativeExecutor(engine) if executor == "native" else AnyioExecutor(engine)
        self.slice_ns = slice_ns
        self.on_slice: Callable[[], None] | None = None
        self.lag_ns = 0
        self._speed: Fraction | None = None
        self._origin = (0, 0)
        self._posted: anyio.Event | None = None
        self.inbox.on_post = self._wake

    def live(self, speed: Fraction | int = 1) -> None:
        """Release the model by the wall clock from now on, ``speed`` times as fast as real time.

        Raises ``UsageError`` for a speed of 0 or below.
        """
        if speed <= 0:
            raise UsageError(f"live speed {speed} is not above 0")
        self._speed = Fraction(speed)
        self._origin = (self.engine.now, perf_counter_ns())

    async def run_until(self, until: int = FOREVER, stop: Stop | None = None) -> None:
        """Run everything that is due up to and including ``until`` ns, or until ``stop()`` is true after a step.

        Cancellation leaves the model between two steps: what was traced is kept and the run can go on.
        """
        engine = self.engine
        self._check_alive()
        if until < engine.now:
            raise UsageError(f"cannot run until {until} ns: it is {engine.now} ns already")
        inbox = self.inbox
        with engine.stepping(stop is not None):
            while True:
                if inbox.waiting:
                    if await self._dry(stop):
                        return
                    inbox.deliver(engine.now)
                    continue
                limit = min(until, inbox.next_due(FOREVER), self._wall_limit())
                engine.horizon = limit
                drained = await self._slice(limit, stop)
                if stop is not None and stop():
                    return
                if drained:
                    if limit < FOREVER:
                        engine.now = max(engine.now, limit)
                    if inbox.next_due(FOREVER) <= engine.now:
                        inbox.deliver(engine.now)
                        continue
                    if limit in (until, FOREVER) and not inbox.waiting:
                        engine.check_progress()
                        return
                if drained and self._speed is not None and not inbox.waiting:
                    await self._wait_for_wall()
                else:
                    await checkpoint()
                self._check_alive()

    async def _dry(self, stop: Stop | None) -> bool:
        """Run every entry of this instant, so that an arrival comes behind them; return whether ``stop()`` holds."""
        self.engine.horizon = self.engine.now
        while not await self.executor.run_slice(self.engine.now, STEPS_PER_LOOK, stop):
            if stop is not None and stop():
                return True
            await checkpoint()
        return stop is not None and stop()

    async def _slice(self, limit: int, stop: Stop | None) -> bool:
        end = perf_counter_ns() + self.slice_ns
        while True:
            drained = await self.executor.run_slice(limit, STEPS_PER_LOOK, stop)
            if drained or perf_counter_ns() >= end or (stop is not None and stop()):
                break
        if self.on_slice is not None:
            self.on_slice()
        return drained

    def _check_alive(self) -> None:
        dead = self.engine.dead
        if dead is not None:
            raise UsageError(f"the machine is dead and cannot run on: {type(dead).__name__}: {dead}") from dead

    def _wall_limit(self) -> int:
        if self._speed is None:
            return FOREVER
        start, wall = self._origin
        limit = start + int((perf_counter_ns() - wall) * self._speed)
        self.lag_ns = max(0, limit - self.engine.now)
        return limit

    async def _wait_for_wall(self) -> None:
        assert self._speed is not None
        ahead = min(self.engine.next_due(), self.inbox.next_due(FOREVER)) - self._wall_limit()
        if ahead <= 0:
            await checkpoint()
            return
        self._posted = anyio.Event()
        with anyio.move_on_after(min(ahead, 1_000_000_000) * float(1 / self._speed) * 1e-9):
            await self._posted.wait()
        self._posted = None

    def _wake(self) -> None:
        if self._posted is not None:
            self._posted.set()

    async def close(self) -> None:
        """Close every context of the engine; nothing stays pending."""
        await self.executor.close()
