"""Let host tasks put values into the model, stamped and taped so that a live run can be replayed.

Real I/O never happens in a model task: a host task does it and posts the result. The driver delivers what was posted
once every entry of the current instant has run, and writes down when that was; a run that is given the tape delivers
the same values at the same instants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from asyncirq.errors import ReplayDiverged, UsageError


class Arrival(msgspec.Struct, frozen=True):
    """One value that came from outside: when it was delivered, to which receiver, and the value."""

    when: int
    name: str
    value: Any


class Inbox:
    """Values from outside, in the order of their posting, and the tape of those that were delivered."""

    def __init__(self, replay: Sequence[Arrival] = ()) -> None:
        self.tape: list[Arrival] = []
        self.on_post: Callable[[], None] | None = None
        self._receivers: dict[str, Callable[[Any], None]] = {}
        self._posted: deque[tuple[str, Any]] = deque()
        self._replay = deque(replay)
        self._replaying = bool(replay)

    def receive(self, name: str, fn: Callable[[Any], None]) -> None:
        """Register the function that takes the values posted under ``name``; it must not take virtual time."""
        if name in self._receivers:
            raise UsageError(f"inbox {name!r} has a receiver already")
        self._receivers[name] = fn

    def post(self, name: str, value: Any) -> None:
        """Put a value into the model from a host task; it arrives in the instant that the model has reached."""
        if name not in self._receivers:
            raise UsageError(f"inbox {name!r} has no receiver")
        if self._replaying:
            raise ReplayDiverged(f"{name!r} is posted while a tape of arrivals is replayed")
        self._posted.append((name, value))
        if self.on_post is not None:
            self.on_post()

    @property
    def waiting(self) -> bool:
        """Tell whether posted values wait for delivery."""
        return bool(self._posted)

    def next_due(self, never: int) -> int:
        """Return the instant of the next taped arrival, or ``never``."""
        return self._replay[0].when if self._replay else never

    def deliver(self, now: int) -> None:
        """Hand over one value: the taped arrival that is due ``now``, else the first that was posted.

        One at a time: the driver runs the instant dry before the next, in a live run as in its replay.
        """
        if self._replay and self._replay[0].when <= now:
            arrival = self._replay.popleft()
            if arrival.name not in self._receivers:
                raise ReplayDiverged(f"the tape holds an arrival for {arrival.name!r}, which has no receiver")
            self._give(arrival)
        elif self._posted:
            name, value = self._posted.popleft()
            self._give(Arrival(now, name, value))

    def _give(self, arrival: Arrival) -> None:
        self.tape.append(arrival)
        self._receivers[arrival.name](arrival.value)
