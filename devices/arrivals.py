"""Say when something arrives at a device: at fixed distances, at random, or at given instants.

Random arrivals come from a stream of the machine's seed that no other consumer draws from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count as counting

from asyncirq.errors import UsageError
from asyncirq.sim import Engine, Stream


class Arrivals:
    """When things arrive. ``start_ns`` is when the first gap begins; ``count`` limits the arrivals, None for no end."""

    def __init__(self, *, start_ns: int = 0, count: int | None = None) -> None:
        if start_ns < 0:
            raise UsageError(f"arrivals cannot start at {start_ns} ns")
        if count is not None and count < 0:
            raise UsageError(f"there cannot be {count} arrivals")
        self.start_ns = start_ns
        self.count = count

    def times(self, stream: Stream) -> Iterator[int]:
        """Yield the instants in ns, never falling."""
        when = self.start_ns
        for _ in counting() if self.count is None else range(self.count):
            when += self.gap(stream)
            yield when

    def gap(self, stream: Stream) -> int:
        """Return the ns from one arrival to the next."""
        raise TypeError(f"{type(self).__name__} does not say how far its arrivals are apart")


class Periodic(Arrivals):
    """Arrive every ``period_ns``, for the first time one period after the start."""

    def __init__(self, period_ns: int, *, start_ns: int = 0, count: int | None = None) -> None:
        super().__init__(start_ns=start_ns, count=count)
        if period_ns <= 0:
            raise UsageError(f"a period of {period_ns} ns is not above 0")
        self.period_ns = period_ns

    def gap(self, stream: Stream) -> int:
        """Return the period."""
        return self.period_ns


class Exponential(Arrivals):
    """Arrive without memory, ``mean_ns`` apart on average: a Poisson process."""

    def __init__(self, mean_ns: int, *, start_ns: int = 0, count: int | None = None) -> None:
        super().__init__(start_ns=start_ns, count=count)
        if mean_ns <= 0:
            raise UsageError(f"a mean distance of {mean_ns} ns is not above 0")
        self.mean_ns = mean_ns

    def gap(self, stream: Stream) -> int:
        """Draw a distance; two arrivals are never at the same instant."""
        return max(1, stream.exponential_ns(self.mean_ns))


class At(Arrivals):
    """Arrive at given instants, which must not fall."""

    def __init__(self, times_ns: Sequence[int]) -> None:
        super().__init__()
        before = 0
        for when in times_ns:
            if when < before:
                raise UsageError(f"arrival times must not fall: {when} ns after {before} ns")
            before = when
        self.times_ns = tuple(times_ns)

    def times(self, stream: Stream) -> Iterator[int]:
        """Yield the given instants."""
        return iter(self.times_ns)


async def arrive(engine: Engine, name: str, arrivals: Arrivals, event: Callable[[], None]) -> None:
    """Call ``event()`` at each arrival: the body of a device's task. Instants that are past already come at once."""
    for when in arrivals.times(engine.stream(f"{name}/arrivals")):
        ahead = when - engine.now
        if ahead > 0:
            await engine.sleep(ahead)
        event()
