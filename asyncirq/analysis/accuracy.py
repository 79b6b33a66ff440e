"""Score a prediction against a real capture, cell by cell, next to what copying the source capture would score.

Every number that was left out is listed: cells that the real capture has and the prediction lacks are *missed*, cells
whose arrivals differ are *gated*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Final

import msgspec

from asyncirq.analysis.cells import gate, is_hard, is_headline
from asyncirq.analysis.dist import Dist, w1n
from asyncirq.analysis.metrics import Metrics, PhaseMetrics

MIN_SAMPLES: Final = 30
"""Samples that a cell needs on both sides."""
MIN_TAIL_SAMPLES: Final = 300
"""Samples that a pooled row needs on both sides before its p99 says anything."""
MIN_CONTEXT_SAMPLES: Final = 50
"""Entries that a vector needs in the real capture before its contexts are compared."""
FLOOR_NS: Final = 1_000
"""Smallest tolerance: the step of a microsecond capture's clock."""


class Cell(msgspec.Struct, frozen=True):
    """One quantity in one phase, real against predicted, in ns; ``w1n_copy`` is None if the source has too few samples."""

    quantity: str
    phase: str
    headline: bool
    hard: bool
    n_real: int
    n_predicted: int
    real: tuple[int, int, int]
    predicted: tuple[int, int, int]
    w1n: float
    w1n_copy: float | None

    def within(self, index: int, percent: int) -> bool:
        """Tell whether p50, p90 or p99 (``index`` 0, 1, 2) is within ``percent`` of the real one, or within 1 us."""
        error = abs(self.predicted[index] - self.real[index])
        return error <= FLOOR_NS or 100 * error <= percent * self.real[index]


class LeftOut(msgspec.Struct, frozen=True):
    """A cell of the real capture that is not scored, and why."""

    quantity: str
    phase: str
    headline: bool
    n_real: int
    n_predicted: int
    reason: str


class SetScore(msgspec.Struct, frozen=True):
    """The numbers of one set of cells.

    ``h10``, ``h25``: percent of cells with p50 within 10 and 25 percent; ``t10``, ``t25``: the same for p90. ``w`` is the
    median normalised W1 distance, ``w_p90`` its 90th percentile; ``skill`` is 1 minus the ratio of the mean distances of
    model and copy over the ``skill_cells`` that copying can fill. None where there is no cell, or copying is exact.
    """

    cells: int
    h10: float | None
    h25: float | None
    t10: float | None
    t25: float | None
    w: float | None
    w_p90: float | None
    skill: float | None
    skill_cells: int


class Score(msgspec.Struct):
    """The comparison of a prediction with a real capture.

    ``x`` is the largest difference, in percentage points, of any vector's share in any execution context over the run,
    and ``x_where`` names it. ``p99_within_50`` and ``p99_within_25`` are percents of the ``p99_rows`` headline rows that are
    pooled over the phases whose arrivals agree; ``tails`` are these rows. ``pooled`` rows are those of the whole run.
    """

    predicted: str
    real: str
    source: str
    headline: SetScore
    hard: SetScore
    x: float
    x_where: str
    p99_rows: int
    p99_within_50: float | None
    p99_within_25: float | None
    cells: list[Cell]
    pooled: list[Cell]
    tails: list[Cell]
    missed: list[LeftOut]
    gated: list[LeftOut]

    def to_json(self) -> bytes:
        """Return the score as JSON: equal scores give equal bytes."""
        return msgspec.json.encode(self)


def score(predicted: Metrics, real: Metrics, source: Metrics) -> Score:
    """Compare a prediction with the real capture of the target; ``source`` is the capture that it was made from.

    Cells come in the order of the real capture's phases, then by quantity.
    """
    cells: list[Cell] = []
    missed: list[LeftOut] = []
    gated: list[LeftOut] = []
    for phase in real.phases:
        there = predicted.of_phase(phase.phase)
        copy = source.of_phase(phase.phase)
        for quantity, dist in phase.quantities.items():
            if dist.n < MIN_SAMPLES:
                continue
            guess = there.quantities.get(quantity) if there is not None else None
            if there is None or guess is None or guess.n < MIN_SAMPLES:
                count = guess.n if guess is not None else 0
                missed.append(_left_out(quantity, phase, dist, count, f"{count} samples predicted, {dist.n} real"))
            elif reason := gate(quantity, there, phase, real.net_lines):
                gated.append(_left_out(quantity, phase, dist, guess.n, reason))
            else:
                cells.append(_cell(quantity, phase.phase, guess, dist, copy))
    tails = _tails(predicted, real, source)
    x, where = context_distance(predicted.pooled, real.pooled)
    return Score(
        predicted=predicted.name,
        real=real.name,
        source=source.name,
        headline=_set([cell for cell in cells if cell.headline]),
        hard=_set([cell for cell in cells if cell.hard]),
        x=x,
        x_where=where,
        p99_rows=len(tails),
        p99_within_50=_percent(tails, lambda cell: cell.within(2, 50)),
        p99_within_25=_percent(tails, lambda cell: cell.within(2, 25)),
        cells=cells,
        pooled=_pooled(predicted, real, source),
        tails=tails,
        missed=missed,
        gated=gated,
    )


def context_distance(predicted: PhaseMetrics, real: PhaseMetrics) -> tuple[float, str]:
    """Return the largest difference of a vector's share per execution context, in percentage points, and where it is."""
    worst, where = 0.0, ""
    for vector, counts in real.contexts.items():
        if sum(counts.values()) < MIN_CONTEXT_SAMPLES:
            continue
        for context in sorted({*counts, *predicted.contexts.get(vector, {})}):
            points = 100 * abs(predicted.context_share(vector, context) - real.context_share(vector, context))
            if points > worst:
                worst, where = points, f"{vector} in {context}"
    return worst, where


def _pooled(predicted: Metrics, real: Metrics, source: Metrics) -> list[Cell]:
    rows = []
    for quantity, dist in real.pooled.quantities.items():
        guess = predicted.pooled.quantities.get(quantity)
        if guess is not None and min(guess.n, dist.n) >= MIN_SAMPLES:
            rows.append(_cell(quantity, real.pooled.phase, guess, dist, source.pooled))
    return rows


def _tails(predicted: Metrics, real: Metrics, source: Metrics) -> list[Cell]:
    """Return the headline rows with enough samples for a p99, pooled over the phases that pass the arrival gate.

    A phase in which the outside world did something else is a matter of weights here: its samples would move every rank.
    """
    rows = []
    for quantity in real.pooled.quantities:
        if not is_headline(quantity):
            continue
        guess: list[int] = []
        truth: list[int] = []
        for phase in real.phases:
            there = predicted.of_phase(phase.phase)
            if there is not None and gate(quantity, there, phase, real.net_lines) is None:
                guess += there.quantities[quantity].samples if quantity in there.quantities else []
                truth += phase.quantities[quantity].samples if quantity in phase.quantities else []
        if min(len(guess), len(truth)) >= MIN_TAIL_SAMPLES:
            rows.append(_cell(quantity, real.pooled.phase, Dist.of(guess), Dist.of(truth), source.pooled))
    return rows


def _cell(quantity: str, phase: str, predicted: Dist, real: Dist, source: PhaseMetrics | None) -> Cell:
    copy = source.quantities.get(quantity) if source is not None else None
    return Cell(
        quantity=quantity,
        phase=phase,
        headline=is_headline(quantity),
        hard=is_hard(quantity, real.p50),
        n_real=real.n,
        n_predicted=predicted.n,
        real=(real.p50, real.p90, real.p99),
        predicted=(predicted.p50, predicted.p90, predicted.p99),
        w1n=w1n(predicted, real),
        w1n_copy=w1n(copy, real) if copy is not None and copy.n >= MIN_SAMPLES else None,
    )


def _left_out(quantity: str, phase: PhaseMetrics, real: Dist, predicted: int, reason: str) -> LeftOut:
    return LeftOut(quantity, phase.phase, is_headline(quantity), real.n, predicted, reason)


def _percent(cells: Sequence[Cell], good: Callable[[Cell], bool]) -> float | None:
    return 100 * sum(map(good, cells)) / len(cells) if cells else None


def _set(cells: Sequence[Cell]) -> SetScore:
    distances = sorted(cell.w1n for cell in cells)
    copied = [(cell.w1n, cell.w1n_copy) for cell in cells if cell.w1n_copy is not None]
    copy_mean = fmean(copy for _, copy in copied) if copied else 0.0
    return SetScore(
        cells=len(cells),
        h10=_percent(cells, lambda cell: cell.within(0, 10)),
        h25=_percent(cells, lambda cell: cell.within(0, 25)),
        t10=_percent(cells, lambda cell: cell.within(1, 10)),
        t25=_percent(cells, lambda cell: cell.within(1, 25)),
        w=median(distances) if distances else None,
        w_p90=distances[min(len(distances) - 1, int(0.9 * len(distances)))] if distances else None,
        skill=1 - fmean(model for model, _ in copied) / copy_mean if copy_mean else None,
        skill_cells=len(copied),
    )


def accuracy_lines(pair: str, result: Score) -> list[str]:
    """Return a score as lines ``accuracy PAIR METRIC VALUE``: percents with one digit, distances with three, ``none`` if undefined."""
    values: list[tuple[str, str]] = []
    for prefix, part in (("headline", result.headline), ("hard", result.hard)):
        values += [
            (f"{prefix}.cells", str(part.cells)),
            (f"{prefix}.H10", _number(part.h10, 1)),
            (f"{prefix}.H25", _number(part.h25, 1)),
            (f"{prefix}.T10", _number(part.t10, 1)),
            (f"{prefix}.T25", _number(part.t25, 1)),
            (f"{prefix}.W", _number(part.w, 3)),
            (f"{prefix}.W_p90", _number(part.w_p90, 3)),
            (f"{prefix}.S", _number(part.skill, 3)),
            (f"{prefix}.S_cells", str(part.skill_cells)),
        ]
    values += [
        ("X", _number(result.x, 1)),
        ("p99.rows", str(result.p99_rows)),
        ("p99.within_50", _number(result.p99_within_50, 1)),
        ("p99.within_25", _number(result.p99_within_25, 1)),
        ("missed", str(len(result.missed))),
        ("missed.headline", str(sum(cell.headline for cell in result.missed))),
        ("gated", str(len(result.gated))),
        ("gated.headline", str(sum(cell.headline for cell in result.gated))),
    ]
    return [f"accuracy {pair} {metric} {value}" for metric, value in values]


def _number(value: float | None, digits: int) -> str:
    return "none" if value is None else f"{value:.{digits}f}"
