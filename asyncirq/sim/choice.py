"""Decide ties and every other nondeterministic step through one tape.

Each decision is ``choose(n, label)``: an integer below ``n``. The policy decides, the tape remembers. ``fifo`` always
takes 0 and leaves no tape; ``Seeded`` draws; ``Scripted`` replays a tape and says so when the run asks for something
else than the tape holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from asyncirq.errors import ReplayDiverged
from asyncirq.sim.stream import Stream


class Choice(NamedTuple):
    """One decision: which of ``n`` alternatives, and what it was about."""

    value: int
    n: int
    label: str


class Policy(Protocol):
    """Whatever takes decisions: answers each ``choose`` with an integer in ``0 .. n-1``."""

    def choose(self, n: int, label: str) -> int:
        """Take one decision among ``n`` alternatives."""
        ...


class Seeded:
    """Draw every decision from a seeded stream."""

    def __init__(self, seed: int) -> None:
        self._stream = Stream(seed, "choices")

    def choose(self, n: int, label: str) -> int:
        """Take one decision among ``n`` alternatives, each as likely as the others."""
        return self._stream.below(n)


class Scripted:
    """Replay a tape; past its end take 0. A tape that does not fit raises ``ReplayDiverged``."""

    def __init__(self, tape: Sequence[Choice | int]) -> None:
        self._tape: tuple[Choice | int, ...] = tuple(tape)
        self._next = 0

    def choose(self, n: int, label: str) -> int:
        """Return the next decision of the tape, after comparing what it was about."""
        if self._next >= len(self._tape):
            return 0
        entry = self._tape[self._next]
        self._next += 1
        if isinstance(entry, Choice):
            if (entry.n, entry.label) != (n, label):
                raise ReplayDiverged(f"choice {self._next}: the tape holds {entry.label!r} of {entry.n}, the run asks for {label!r} of {n}")
            return entry.value
        if not 0 <= entry < n:
            raise ReplayDiverged(f"choice {self._next}: the tape holds {entry}, the run asks for {label!r} of {n}")
        return entry
