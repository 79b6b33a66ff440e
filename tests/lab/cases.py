"""List the groups of lab cases that are re-expressed on the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from asyncirq.costs import Costs
from tests.lab import deferred, irq_cases, napi_cases, soft_cases, soft_rows, timer_cases, wq_cases
from tests.lab.bench import NO_PAST, TRACED, Delay, Past, Program
from tests.lab.extract import NO_WORDS, Words
from tests.lab.normalise import IRQ, Own, clean
from tests.lab.rows import Row


def no_delays(case: str, rows: list[Row]) -> list[Delay]:
    """Return nothing: every delay has the length that the case asks for."""
    return []


def no_past(rows: list[Row]) -> tuple[Past, ...]:
    """Tell that it does not matter what a case finds."""
    return (NO_PAST,)


class Group(NamedTuple):
    """Cases whose names begin alike: their programs, the tasks that are theirs, and how the rows of two CPUs are told.

    ``clean`` takes out what is not theirs, ``words`` are events that they tell beyond the common ones, ``pasts`` reads from a capture
    what its case may have found, ``delays`` when the delays of a case ended, in order; ``costs`` are those of traced steps, where it
    matters who ran how long.
    """

    prefix: str
    programs: Mapping[str, Program]
    own: Own
    order: Callable[[list[Row]], list[Row]]
    clean: Callable[[list[Row], Own], list[Row]] = clean
    words: Words = NO_WORDS
    pasts: Callable[[list[Row]], tuple[Past, ...]] = no_past
    costs: Costs | None = None
    delays: Callable[[str, list[Row]], list[Delay]] = no_delays


def by_cpu(rows: list[Row]) -> list[Row]:
    """Return each CPU's sequence for itself: how two CPUs interleave is a matter of time, except where a case is about it."""
    return sorted(rows, key=lambda row: row.cpu)


def as_it_was(rows: list[Row]) -> list[Row]:
    """Return the rows of all CPUs in one sequence."""
    return rows


GROUPS: Final = (
    Group("irq/", irq_cases.CASES, IRQ, by_cpu, pasts=irq_cases.pasts),
    Group("irqsmp/", irq_cases.CASES, IRQ, as_it_was),
    Group("wq/", wq_cases.CASES, deferred.DEFERRED, by_cpu, deferred.clean, wq_cases.WORDS, wq_cases.pasts, wq_cases.TRACED),
    Group("timer/", timer_cases.CASES, deferred.DEFERRED, by_cpu, deferred.clean, timer_cases.WORDS, timer_cases.pasts),
    Group("soft/", soft_cases.CASES, soft_rows.SOFT, by_cpu, soft_rows.clean, costs=TRACED, delays=soft_rows.delays),
    Group("napi/", napi_cases.CASES, soft_rows.SOFT, by_cpu, soft_rows.clean, costs=TRACED, delays=soft_rows.delays),
)


def group_of(case: str) -> Group | None:
    """Return the group of a case, None where the lab has cases that are not expressed here."""
    return next((group for group in GROUPS if case.startswith(group.prefix)), None)
