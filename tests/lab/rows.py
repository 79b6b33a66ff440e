"""Read the lab captures: what a real kernel did in each scripted case, row by row."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

LAB: Final = Path(__file__).parents[2] / "traces" / "lab"


class Row(NamedTuple):
    """One event: when (in the unit of its source), on which CPU, in which context (``h H s .``), in which class of task, what."""

    ts: int
    cpu: int
    context: str
    task: str
    what: str


BEGIN: Final = "begin"
"""What a row says that stands for the begin of a case."""
LEFT_OUT: Final = Row(0, 0, "", "", "...")
"""Stands where a capture leaves out the middle of a long case."""


@cache
def capture(name: str) -> dict[str, list[Row]]:
    """Return the cases of a capture in the order in which they ran."""
    with gzip.open(LAB / name / "golden.json.gz", "rt") as file:
        cases = json.load(file)
    return {case: [LEFT_OUT if len(row) == 2 else Row(*row) for row in rows] for case, rows in cases.items()}


def captures() -> list[str]:
    """Return the names of all captures."""
    return sorted(path.parent.name for path in LAB.glob("*/golden.json.gz"))
