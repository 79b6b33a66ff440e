"""Turn a ``Score`` into the rows that a report shows: per-cell errors, distances, skill over copying, what was left out."""

from __future__ import annotations

from math import isfinite

import msgspec

from asyncirq.analysis.accuracy import Cell, LeftOut, SetScore, score
from asyncirq.analysis.dist import wasserstein_1
from asyncirq.analysis.metrics import Metrics


class CellRow(msgspec.Struct, frozen=True):
    """One scored quantity of one phase, real against predicted.

    ``real``, ``predicted`` are p50, p90, p99 in ns; ``error_percent`` is that of each, None where the real one is 0.
    ``within`` holds the tightest of 10, 25, 50 percent that each error keeps, 0 if none; an error of 1 us or less keeps all.
    ``w1_ns`` is the Wasserstein distance, ``w1n`` the normalised one, ``w1n_copy`` that of the captured kernel's own
    figures, ``skill`` 1 minus their ratio; None where it is undefined.
    """

    phase: str
    quantity: str
    headline: bool
    hard: bool
    n_real: int
    n_predicted: int
    real: tuple[int, int, int]
    predicted: tuple[int, int, int]
    error_percent: tuple[float | None, float | None, float | None]
    within: tuple[int, int, int]
    w1_ns: float
    w1n: float | None
    w1n_copy: float | None
    skill: float | None


class KernelScore(msgspec.Struct):
    """How well one predicted kernel agrees with the real one; ``target`` marks the kernel that the real one is.

    The figures are those of ``accuracy.Score``; ``pooled`` are rows over the whole run, shown but not scored.
    """

    kernel: str
    target: bool
    headline: SetScore
    hard: SetScore
    x: float
    x_where: str
    p99_rows: int
    p99_within_50: float | None
    p99_within_25: float | None
    cells: list[CellRow]
    pooled: list[CellRow]
    missed: list[LeftOut]
    gated: list[LeftOut]


def judge(kernel: str, target: bool, predicted: Metrics, real: Metrics, captured: Metrics) -> KernelScore:
    """Score one predicted kernel against the real one; ``captured`` is what the prediction was made from."""
    result = score(predicted, real, captured)
    return KernelScore(
        kernel=kernel,
        target=target,
        headline=result.headline,
        hard=result.hard,
        x=result.x,
        x_where=result.x_where,
        p99_rows=result.p99_rows,
        p99_within_50=result.p99_within_50,
        p99_within_25=result.p99_within_25,
        cells=[_row(cell, predicted, real) for cell in result.cells],
        pooled=[_row(cell, predicted, real) for cell in result.pooled],
        missed=result.missed,
        gated=result.gated,
    )


def _row(cell: Cell, predicted: Metrics, real: Metrics) -> CellRow:
    here = (predicted.of_phase(cell.phase) or predicted.pooled).quantities[cell.quantity]
    there = (real.of_phase(cell.phase) or real.pooled).quantities[cell.quantity]
    copy = _finite(cell.w1n_copy)
    return CellRow(
        phase=cell.phase,
        quantity=cell.quantity,
        headline=cell.headline,
        hard=cell.hard,
        n_real=cell.n_real,
        n_predicted=cell.n_predicted,
        real=cell.real,
        predicted=cell.predicted,
        error_percent=(_error(cell, 0), _error(cell, 1), _error(cell, 2)),
        within=(_within(cell, 0), _within(cell, 1), _within(cell, 2)),
        w1_ns=wasserstein_1(here, there),
        w1n=_finite(cell.w1n),
        w1n_copy=copy,
        skill=1 - cell.w1n / copy if copy and isfinite(cell.w1n) else None,
    )


def _error(cell: Cell, index: int) -> float | None:
    return 100 * (cell.predicted[index] - cell.real[index]) / cell.real[index] if cell.real[index] else None


def _within(cell: Cell, index: int) -> int:
    return next((percent for percent in (10, 25, 50) if cell.within(index, percent)), 0)


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
