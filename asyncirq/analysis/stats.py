"""Boil ``Metrics`` down to what a report shows: quantiles, cumulative curves, rates, shares, changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import msgspec

from asyncirq.analysis.dist import Dist, wasserstein_1
from asyncirq.analysis.metrics import Metrics, PhaseMetrics

CURVE_POINTS: Final = 500
"""Most points of a curve in a report."""
_TAIL_POINTS: Final = 100
"""Points of a thinned curve that are kept for its upper end, where the worst cases are."""
CPU_CONTEXTS: Final = ("hardirq", "softirq", "task", "idle")
"""The contexts that share a CPU's time, in a report's order."""


class QuantityStats(msgspec.Struct, frozen=True):
    """One distribution, in ns.

    ``cdf`` holds ``(value, samples at or below it)``, rising in both; ``steps`` is the number of distinct values. The
    curve is complete if it has as many points; a thinned one has exact points only.
    """

    n: int
    p50: int
    p90: int
    p99: int
    p999: int
    max: int
    steps: int
    cdf: list[tuple[int, int]]


class PhaseStats(msgspec.Struct):
    """One phase of a run, or all of it; counts are those of ``PhaseMetrics``, shares are 0 to 1."""

    phase: str
    duration_ns: int
    events: int
    interrupts_per_second: float
    switches_per_second: float
    switches: int
    polls: int
    packets: int
    cpu_share: dict[str, float]
    interrupts: dict[str, int]
    vectors: dict[str, int]
    softirqs: dict[str, int]
    contexts: dict[str, dict[str, int]]
    censored: dict[str, int]
    quantities: dict[str, QuantityStats]

    def context_share(self, vector: str, context: str) -> float | None:
        """Return the share of a vector's entries that ran in a context, None if it never ran."""
        counts = self.contexts.get(vector, {})
        total = sum(counts.values())
        return counts.get(context, 0) / total if total else None


class RunStats(msgspec.Struct):
    """A whole run: pooled, and phase by phase."""

    pooled: PhaseStats
    phases: list[PhaseStats]

    def of_phase(self, phase: str) -> PhaseStats | None:
        """Return a phase, or the pooled result under its own name; None if there is no such phase."""
        return next((found for found in (self.pooled, *self.phases) if found.phase == phase), None)


class Change(msgspec.Struct, frozen=True):
    """How far one quantity of one phase moved from the captured kernel, in ns; ``w1`` is the Wasserstein distance."""

    phase: str
    quantity: str
    p50: int
    p90: int
    p99: int
    p999: int
    max: int
    w1: float


def run_stats(metrics: Metrics) -> RunStats:
    """Return what a report shows of a run."""
    return RunStats(_phase(metrics.pooled), [_phase(phase) for phase in metrics.phases])


def curve(dist: Dist) -> list[tuple[int, int]]:
    """Return the cumulative curve of a distribution, thinned to ``CURVE_POINTS`` if it has more steps.

    A thinned curve keeps its first step, its last hundred, and between them those that cross equal levels.
    """
    steps: list[tuple[int, int]] = []
    below = 0
    for value, group in groupby(dist.samples):
        below += sum(1 for _ in group)
        steps.append((value, below))
    if len(steps) <= CURVE_POINTS:
        return steps
    body, tail = steps[:-_TAIL_POINTS], steps[-_TAIL_POINTS:]
    levels = CURVE_POINTS - _TAIL_POINTS - 1
    kept, level = [body[0]], 0
    for step in body[1:]:
        reached = step[1] * levels // body[-1][1]
        if reached > level:
            kept.append(step)
            level = reached
    return kept + tail


def changes(base: Metrics, run: Metrics) -> list[Change]:
    """Return the change of every quantity that both runs have, the pooled ones first."""
    rows = _changes(base.pooled, run.pooled)
    for phase in run.phases:
        there = base.of_phase(phase.phase)
        if there is not None:
            rows += _changes(there, phase)
    return rows


def _changes(base: PhaseMetrics, run: PhaseMetrics) -> list[Change]:
    rows = []
    for quantity in sorted(run.quantities):
        old, new = base.quantities.get(quantity), run.quantities[quantity]
        if old is not None:
            moved = (new.p50 - old.p50, new.p90 - old.p90, new.p99 - old.p99, new.p999 - old.p999, new.max - old.max)
            rows.append(Change(run.phase, quantity, *moved, wasserstein_1(new, old)))
    return rows


def phase_names(runs: Sequence[RunStats]) -> list[str]:
    """Return the names of all phases in the order in which the runs have them; the first run's order rules."""
    return list(dict.fromkeys(phase.phase for run in runs for phase in run.phases))


def _quantity(dist: Dist) -> QuantityStats:
    return QuantityStats(dist.n, dist.p50, dist.p90, dist.p99, dist.p999, dist.max, len(set(dist.samples)), curve(dist))


def _phase(metrics: PhaseMetrics) -> PhaseStats:
    return PhaseStats(
        phase=metrics.phase,
        duration_ns=metrics.duration_ns,
        events=metrics.events,
        interrupts_per_second=metrics.interrupts_per_second,
        switches_per_second=metrics.switches_per_second,
        switches=metrics.switches,
        polls=metrics.polls,
        packets=metrics.packets,
        cpu_share={context: metrics.cpu_share(context) for context in CPU_CONTEXTS},
        interrupts=metrics.interrupts,
        vectors=metrics.vectors,
        softirqs=metrics.softirqs,
        contexts=metrics.contexts,
        censored=metrics.censored,
        quantities={name: _quantity(metrics.quantities[name]) for name in sorted(metrics.quantities)},
    )
