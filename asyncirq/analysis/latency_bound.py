"""Bound the scheduling latency analytically: the least fixed point of its own length and what interrupts can do in it.

A thread waits at most for the longest section without preemption or interrupts (``poid``) or the tail of a switch (``dst``), then for
what is preemptible (``paie``) and for the way to the scheduler (``psd``); interrupts come on top, as much as fits into the whole:

    L = max(poid, dst) + paie + psd + I(L)

Source: Bristot de Oliveira, Casini, de Oliveira, Cucinotta, "Demystifying the Real-Time Linux Scheduling Latency", ECRTS 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from asyncirq.errors import UsageError

Interference = Callable[[int], int]
"""The most CPU time, in ns, that interrupts can take in a window of so many ns."""


class ThreadLatency(msgspec.Struct, frozen=True):
    """The greatest lengths of the four sections, in ns."""

    poid: int
    paie: int
    psd: int
    dst: int

    @property
    def without_interference(self) -> int:
        """Return the bound if no interrupt came."""
        return max(self.poid, self.dst) + self.paie + self.psd


class Bound(msgspec.Struct, frozen=True):
    """The fixed point and the windows on the way to it; ``converged`` False when it grew past the limit."""

    latency: int
    steps: tuple[int, ...]
    converged: bool


def solve(sections: ThreadLatency, interference: Interference, limit_ns: int = 10_000_000_000) -> Bound:
    """Return the least fixed point, or how far it grew past ``limit_ns``."""
    base = window = sections.without_interference
    steps = [window]
    while True:
        following = base + interference(window)
        steps.append(following)
        if following == window:
            return Bound(window, tuple(steps[:-1]), True)
        if following > limit_ns:
            return Bound(following, tuple(steps), False)
        if following < window:
            raise UsageError(f"interference shrinks as the window grows, at {window} ns")
        window = following


def none(window: int) -> int:
    """Say that no interrupt comes."""
    return 0


def worst_single(costs: Sequence[int]) -> Interference:
    """Say that the dearest interrupt comes once."""
    return lambda window: max(costs, default=0)


def worst_of_each(costs: Sequence[int]) -> Interference:
    """Say that each interrupt comes once, at its dearest."""
    return lambda window: sum(costs)


def sporadic(sources: Iterable[tuple[int, int]]) -> Interference:
    """Say that each source ``(cost, least distance)`` comes as often as it may. It has no fixed point where they take the whole CPU."""
    known = tuple(sources)
    return lambda window: sum(-(-window // distance) * cost for cost, distance in known)


def sliding_window(arrivals: Iterable[Sequence[tuple[int, int]]], *, own_worst: bool = False) -> Interference:
    """Say that each source comes as in its worst window of what was seen: ``(time, cost)`` in order of time.

    ``own_worst``: every one of them at that source's dearest.
    """
    known = [tuple(source) for source in arrivals]

    def interference(window: int) -> int:
        total = 0
        for source in known:
            worst = max((cost for _, cost in source), default=0)
            best = running = first = 0
            for time, cost in source:
                running += worst if own_worst else cost
                while time - source[first][0] >= window:
                    running -= worst if own_worst else source[first][1]
                    first += 1
                best = max(best, running)
            total += best
        return total

    return interference
