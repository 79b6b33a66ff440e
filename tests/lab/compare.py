"""Compare what the model does in a case with what a real kernel did, event for event.

When a shot lands is not the kernel's doing: the timer of the emulated machine ran in the host's time, so a shot that was
asked for 300 us after a request met the requester before its sleep or the idle task after it. Where the shots land is an
input, read from the capture (``place``): right after which of the events before it. All else must follow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from tests.lab.bench import HARD_SHOT, MS, NO_PAST, SOFT_SHOT, Bench, Past, Shot
from tests.lab.cases import group_of
from tests.lab.extract import rows_of
from tests.lab.kernels import Kernel
from tests.lab.normalise import UNKNOWN
from tests.lab.rows import Row, capture

BEGIN: Final = re.compile(r"shot begin n=(\d+)")
HRTIMERS: Final = {"softirq raise HRTIMER": SOFT_SHOT, "hrtimer_expire_entry hs_fn": HARD_SHOT}
"""What tells in a hard interrupt that a case's hrtimer has expired."""
ATTEMPTS: Final = 16
AWAY_NS: Final = 2 * MS
"""How far off a shot is put that came too early, before its place is found."""

Run = Callable[[dict[Shot, int]], list[Row]]


class Outcome(NamedTuple):
    """The two sequences of a case on one kernel, which shots had to be placed, and what the case found."""

    real: list[str]
    model: list[str]
    placed: tuple[Shot, ...]
    past: Past = NO_PAST

    @property
    def helped(self) -> bool:
        """Tell whether shots were placed, or something in the past of the case chosen, as in the capture."""
        return bool(self.placed) or self.past != NO_PAST

    @property
    def equal(self) -> bool:
        """Tell whether the sequences are the same."""
        return same(self.real, self.model)

    @property
    def first_difference(self) -> int:
        """Return where the sequences part."""
        return _parting(self.real, self.model)


def told(rows: Sequence[Row]) -> list[str]:
    """Return rows as (context, task class, event), time apart."""
    return [f"{row.context} {row.task} {row.what}" for row in rows]


def matches(real: str, model: str) -> bool:
    """Tell whether two events are the same; ``?`` is what the capture does not tell of a switch, and is in no row of the model's."""
    if real == model:
        return True
    if UNKNOWN not in real:
        return False
    pattern = re.escape(real).replace(re.escape(f"({UNKNOWN})"), r"\([A-Z]\+?\)").replace(re.escape(f"prio={UNKNOWN}"), r"prio=\d+")
    return re.fullmatch(pattern, model) is not None


def same(real: Sequence[str], model: Sequence[str]) -> bool:
    """Tell whether two sequences are the same."""
    return len(real) == len(model) and all(map(matches, real, model)) and not any(UNKNOWN in row for row in model)


def _parting(real: Sequence[str], model: Sequence[str]) -> int:
    i = 0
    while i < len(real) and i < len(model) and matches(real[i], model[i]):
        i += 1
    return i


def _shot_at(rows: Sequence[Row], i: int) -> Shot | None:
    """Return which shot begins in row ``i``, None if none does."""
    if i >= len(rows):
        return None
    row = rows[i]
    if row.context in "hH" and row.what in HRTIMERS:
        return Shot(HRTIMERS[row.what], 0)
    match = BEGIN.match(row.what)
    if match is None:
        return None
    return Shot(int(match[1]), sum(row.what.startswith(match[0] + " ") for row in rows[:i]))


def place(real: Sequence[Row], run: Run) -> tuple[list[Row], dict[Shot, int]]:
    """Run the model until its shots land where the capture's do; return its rows and the instants that the shots were given."""
    placed: dict[Shot, int] = {}
    rows = run(placed)
    for _ in range(ATTEMPTS):
        i = _parting(told(real), told(rows))
        wanted, early = _shot_at(real, i), _shot_at(rows, i)
        if wanted is not None and 0 < i <= len(rows):
            when = rows[i - 1].ts + 1
            shot = wanted
        elif early is not None:
            shot = early
            when = rows[i].ts + AWAY_NS
        else:
            break
        if placed.get(shot) == when:
            break
        placed[shot] = when
        rows = run(placed)
    return rows, placed


def _since(rows: list[Row], what: str) -> list[Row]:
    return next((rows[i:] for i, row in enumerate(rows) if row.what.startswith(what)), [])


def outcome(kernel: Kernel, case: str, since: str = "") -> Outcome:
    """Run a case on the model of a captured kernel and compare, from the first event on that begins with ``since``.

    Raises ``LookupError`` for a case that is not expressed.
    """
    group = group_of(case)
    if group is None:
        raise LookupError(case)
    program = group.programs[case]

    def rows_on_model(past: Past, places: dict[Shot, int]) -> list[Row]:
        records = Bench(kernel.config, kernel.cpus, places, past, group.costs).run(case, program)
        return _since(group.order(group.clean(rows_of(records, more=group.words), group.own)), since)

    captured = capture(kernel.capture)[case]
    real = _since(group.order(group.clean(captured, group.own)), since)
    outcomes = []
    for past in group.pasts(captured):
        rows, placed = place(real, partial(rows_on_model, past))
        found = Outcome(told(real), told(rows), tuple(sorted(placed)), past)
        if found.equal:
            return found
        outcomes.append(found)
    return max(outcomes, key=lambda found: found.first_difference)
