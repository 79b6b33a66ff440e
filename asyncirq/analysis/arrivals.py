"""Decide, per line and phase, what made its interrupts come, and plan each arrival of a replay.

Four models, the weakest assumption last:

* ``rate_limited``: the device spaces its interrupts (an ITR timer): at the recorded time, but not before the line's last
  arrival plus ``min_gap_ns``;
* ``synchronous``: the device answers at once to what a task does (a doorbell, a transmitted frame): the interrupt comes
  where the task's program has the ``Irq`` op, however late the task gets there;
* ``closed``: the interrupt follows an action after a delay (a timer after its hrtimer_start, a reply after the request
  whose sender then slept): ``delay_ns`` after the op ``anchor``;
* ``open``: the outside world decides: ``at_ns`` after the start of the phase.

The tick is open on an absolute grid; the gaps in which NO_HZ stopped it are in ``TickGrid.stopped``. In a replay idle has
its tick stopped when the grid has no arrival in the next period, and restarts it (one ``hrtimer_start``) on its way out.

Every line report carries its evidence, for the reader of a prediction. The thresholds are constants of this module,
chosen with the shipped stock capture in view: the source of a prediction, never its target.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Final, Literal

import msgspec

from asyncirq.analysis.ops import Arrival, Expiry, OpRef, PhaseCut
from asyncirq.analysis.segments import TICK_FUNCTIONS

Model = Literal["open", "synchronous", "closed", "rate_limited"]

MIN_SAMPLES: Final = 10
"""Fewer arrivals than this show no pattern: the line is open."""
TIGHT_NS: Final = 4_000
"""A device that answers at once does so within this spread (p90 - p10) of CPU progress."""
SPACING_PERCENT: Final = 5
"""Gaps this close above the smallest usual gap (p10) count as spaced by the device."""


class ArrivalPlan(msgspec.Struct):
    """How a replay produces one arrival; ``anchor`` is the op of a ``closed`` one, or where the ``Irq`` op stands."""

    arrival: int
    model: Model
    at_ns: int
    anchor: OpRef | None
    delay_ns: int
    min_gap_ns: int


class LineReport(msgspec.Struct):
    """The model of one line in one phase, and why; ``models`` counts its arrivals by model, all figures are ns."""

    phase: str
    line: str
    n: int
    model: Model
    models: dict[str, int]
    min_gap_ns: int
    evidence: str


class TickGrid(msgspec.Struct):
    """The tick's absolute grid in one phase.

    Slots are ``offset_ns + k * period_ns`` in capture time. ``fired`` holds the slots that came, ``stopped`` the
    stretches (from, to) between two of them in which the tick was off. ``period_ns`` is 0 if fewer than 2 came.
    """

    period_ns: int
    offset_ns: int
    fired: list[int]
    stopped: list[tuple[int, int]]


class PhasePlan(msgspec.Struct):
    """All plans of a phase, one per arrival and in that order; one report per line; the tick's grid."""

    phase: str
    plans: list[ArrivalPlan]
    lines: list[LineReport]
    tick: TickGrid


def plan_phase(phase: PhaseCut) -> PhasePlan:
    """Classify every line of a phase and plan all its arrivals."""
    lines: dict[str, list[int]] = {}
    for index, arrival in enumerate(phase.arrivals):
        lines.setdefault(arrival.line, []).append(index)
    plans: dict[int, ArrivalPlan] = {}
    reports: list[LineReport] = []
    for line in sorted(lines):
        timer = any(phase.arrivals[i].expiries for i in lines[line])
        made, why = _plan_timer(phase, lines[line]) if timer else _plan_device(phase, lines[line])
        reports.append(_report(phase.name, line, made, why))
        plans.update((plan.arrival, plan) for plan in made)
    return PhasePlan(phase.name, [plans[i] for i in range(len(phase.arrivals))], reports, tick_grid(phase))


def _report(phase: str, line: str, plans: list[ArrivalPlan], why: str) -> LineReport:
    counts = Counter(plan.model for plan in plans)
    order: tuple[Model, ...] = ("rate_limited", "synchronous", "closed", "open")
    model = max(order, key=lambda m: counts[m])
    models: dict[str, int] = {name: counts[name] for name in order if counts[name]}
    return LineReport(phase, line, len(plans), model, models, max(plan.min_gap_ns for plan in plans), why)


def _open(phase: PhaseCut, index: int) -> ArrivalPlan:
    return ArrivalPlan(index, "open", phase.arrivals[index].at_ns, None, 0, 0)


# -- timers -----------------------------------------------------------------------------------------------------------


def _plan_timer(phase: PhaseCut, indexes: list[int]) -> tuple[list[ArrivalPlan], str]:
    """Plan a timer interrupt: closed on the op that armed its hrtimer last, open on the grid if only the tick."""
    plans, ticks, before, delays = [], 0, 0, []
    for index in indexes:
        arrival = phase.arrivals[index]
        timers = [expiry for expiry in arrival.expiries if expiry.function not in TICK_FUNCTIONS]
        armed = min((expiry for expiry in timers if _armed_by_op(expiry, index)), key=lambda expiry: expiry.delay_ns, default=None)
        if armed is not None:
            plans.append(ArrivalPlan(index, "closed", arrival.at_ns, armed.armed, armed.delay_ns, 0))
            delays.append(armed.delay_ns)
        else:
            plans.append(_open(phase, index))
            ticks += not timers
            before += bool(timers)
    why = f"{ticks} ticks on the absolute grid"
    if delays:
        why += f"; {len(delays)} hrtimers armed in this phase, p50 {percentile(delays, 50)} ns after their hrtimer_start"
    if before:
        why += f"; {before} hrtimers armed before this phase or by the idle task"
    return plans, why


def _armed_by_op(expiry: Expiry, index: int) -> bool:
    """Tell whether a program's op armed the timer (not the arrival itself: it cannot wait for what it does later)."""
    return expiry.armed is not None and not (expiry.armed.kind == "hard" and expiry.armed.ident == index)


def tick_grid(phase: PhaseCut) -> TickGrid:
    """Find the tick's grid: the expiries of its hrtimer."""
    fired = [e.expires_ns for a in phase.arrivals for e in a.expiries if e.function in TICK_FUNCTIONS and e.expires_ns >= 0]
    fired = sorted(set(fired))
    steps = [after - before for before, after in pairwise(fired)]
    if not steps:
        return TickGrid(0, 0, fired, [])
    period = min(steps)
    stopped = [(a, b) for a, b in pairwise(fired) if b - a > period]
    return TickGrid(period, fired[0] % period, fired, stopped)


# -- devices ----------------------------------------------------------------------------------------------------------

_Group = tuple[str, str]


def _plan_device(phase: PhaseCut, indexes: list[int]) -> tuple[list[ArrivalPlan], str]:
    """Plan a device line: each arrival by the first model whose evidence holds for it.

    Where tasks are answered, one that found bottom halves off in a task comes where they are off again: that is what it
    has to wait for on RT.
    """
    arrivals = [phase.arrivals[i] for i in indexes]
    if len(indexes) < MIN_SAMPLES:
        return [_open(phase, i) for i in indexes], f"only {len(indexes)} arrivals: too few for a pattern"
    gaps = [after - before for before, after in pairwise([arrival.at_ns for arrival in arrivals])]
    p10, p50, p90 = (percentile(gaps, share) for share in (10, 50, 90))
    tight = _tight_progress(arrivals)
    answered = [_is_tight(arrival, tight) for arrival in arrivals]
    spaced = sum(100 * p10 <= 100 * gap <= (100 + SPACING_PERCENT) * p10 for gap in gaps)
    if 5 * spaced >= 3 * len(gaps) and 2 * sum(answered) < len(indexes):
        limited = [ArrivalPlan(i, "rate_limited", phase.arrivals[i].at_ns, None, 0, p10) for i in indexes]
        return limited, f"{spaced} of {len(gaps)} gaps are at most {SPACING_PERCENT} % above {p10} ns: the device spaces its interrupts"
    steady, text = _steady_delays(arrivals)
    whole = 2 * sum(answered) >= len(indexes) or 5 * sum(_is_steady(arrival, steady) for arrival in arrivals) >= 3 * len(indexes)
    plans = []
    for i, tied in zip(indexes, answered, strict=True):
        hit = phase.arrivals[i].hit
        loop = whole or tied or _is_steady(phase.arrivals[i], steady) or bool(tight and hit.kind == "task" and hit.bh_off)
        plans.append(_loop_plan(phase, i) if loop else _open(phase, i))
    why = []
    if any(answered):
        why.append(f"{sum(answered)} of {len(indexes)} arrivals hit a task at the same progress: {_describe(tight)}")
    if steady:
        why.append(f"{sum(_is_steady(a, steady) for a in arrivals)} of {len(indexes)} arrivals come after a steady idle time: {text}")
    if not why:
        why.append(f"no tie to a task's action; gaps p10/p50/p90 {p10}/{p50}/{p90} ns")
    return plans, "; ".join(why)


def _loop_plan(phase: PhaseCut, index: int) -> ArrivalPlan:
    """Plan an arrival of a closed loop: at the task's ``Irq`` op, after the ``Block`` that made the CPU idle, or open."""
    arrival = phase.arrivals[index]
    hit = arrival.hit
    if hit.kind == "task":
        return ArrivalPlan(index, "synchronous", arrival.at_ns, OpRef("task", hit.ident, hit.op), 0, 0)
    if hit.kind == "idle" and hit.last is not None:
        return ArrivalPlan(index, "closed", arrival.at_ns, hit.last, hit.idle_ns, 0)
    return _open(phase, index)


def _tight_progress(arrivals: list[Arrival]) -> dict[_Group, tuple[int, int]]:
    """Return the (task, op) groups whose arrivals come at one CPU progress after that op, with its p10 and p90."""
    groups: dict[_Group, list[int]] = {}
    for arrival in arrivals:
        if arrival.hit.kind == "task":
            groups.setdefault((arrival.hit.comm, arrival.hit.after), []).append(arrival.hit.progress_ns)
    found: dict[_Group, tuple[int, int]] = {}
    for key in sorted(groups):
        low, high = percentile(groups[key], 10), percentile(groups[key], 90)
        if len(groups[key]) >= MIN_SAMPLES and high - low <= TIGHT_NS:
            found[key] = (low, high)
    return found


def _is_tight(arrival: Arrival, tight: dict[_Group, tuple[int, int]]) -> bool:
    hit = arrival.hit
    bounds = tight.get((hit.comm, hit.after)) if hit.kind == "task" else None
    return bounds is not None and bounds[0] - TIGHT_NS <= hit.progress_ns <= bounds[1] + TIGHT_NS


def _describe(tight: dict[_Group, tuple[int, int]]) -> str:
    return "; ".join(f"{comm} {low}..{high} ns after {after}" for (comm, after), (low, high) in sorted(tight.items()))


def _is_steady(arrival: Arrival, steady: frozenset[int]) -> bool:
    hit = arrival.hit
    return hit.kind == "idle" and hit.last is not None and hit.last.ident in steady


def _steady_delays(arrivals: list[Arrival]) -> tuple[frozenset[int], str]:
    """Find the tasks after whose block the idle time varies by less than 40 % of its median (p10 to p90)."""
    groups: dict[int, list[int]] = {}
    for arrival in arrivals:
        if arrival.hit.kind == "idle" and arrival.hit.last is not None:
            groups.setdefault(arrival.hit.last.ident, []).append(arrival.hit.idle_ns)
    steady, texts = [], []
    for pid in sorted(groups):
        low, middle, high = (percentile(groups[pid], share) for share in (10, 50, 90))
        if len(groups[pid]) >= MIN_SAMPLES and 5 * (high - low) <= 2 * middle:
            steady.append(pid)
            texts.append(f"{low}..{high} ns after pid {pid} blocks")
    return frozenset(steady), "; ".join(texts)


def percentile(samples: list[int], share: int) -> int:
    """Return the ``share`` percentile (nearest rank below) of a non-empty list."""
    ordered = sorted(samples)
    return ordered[(len(ordered) - 1) * share // 100]
