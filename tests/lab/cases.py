"""List the groups of lab cases that are re-expressed on the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tests.lab import irq_cases
from tests.lab.bench import Program
from tests.lab.normalise import IRQ, Own
from tests.lab.rows import Row


class Group(NamedTuple):
    """Cases whose names begin alike: their programs, the tasks that are theirs, and how the rows of two CPUs are told."""

    prefix: str
    programs: Mapping[str, Program]
    own: Own
    order: Callable[[list[Row]], list[Row]]


def by_cpu(rows: list[Row]) -> list[Row]:
    """Return each CPU's sequence for itself: how two CPUs interleave is a matter of time, except where a case is about it."""
    return sorted(rows, key=lambda row: row.cpu)


def as_it_was(rows: list[Row]) -> list[Row]:
    """Return the rows of all CPUs in one sequence."""
    return rows


GROUPS: Final = (
    Group("irq/", irq_cases.CASES, IRQ, by_cpu),
    Group("irqsmp/", irq_cases.CASES, IRQ, as_it_was),
)


def group_of(case: str) -> Group | None:
    """Return the group of a case, None where the lab has cases that are not expressed here."""
    return next((group for group in GROUPS if case.startswith(group.prefix)), None)
