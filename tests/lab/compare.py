"""Compare what the model does in a case with what a real kernel did, event for event.

When a shot lands is not the kernel's doing: the timer of the emulated machine ran in the host's time, so a shot that was
asked for 300 us after a request met the requester before its sleep or the idle task after it. Where the shots land is an
input, read from the capture (``place``): right after which of the events before it. So are the instants at which ticks come (one for
a case: all others follow at a jiffy's distance), the ticks on which a timer of somebody else's expires where that wakes ktimers,
and the ends of the lab's busy loops. All else must follow.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from tests.lab.bench import HARD_SHOT, MS, NO_PAST, OTHERS, PHASE, SOFT_SHOT, US, WAY_NS, Bench, Past, Shot
from tests.lab.cases import group_of
from tests.lab.extract import rows_of
from tests.lab.kernels import Kernel
from tests.lab.normalise import UNKNOWN
from tests.lab.rows import LEFT_OUT, Row, capture

BEGIN: Final = re.compile(r"shot begin n=(\d+)")
HRTIMERS: Final = {"softirq raise HRTIMER": SOFT_SHOT, "hrtimer_expire_entry hs_fn": HARD_SHOT}
"""What tells in a hard interrupt that a case's hrtimer has expired."""
ATTEMPTS: Final = 40
TRIES: Final = 2
"""How often a tick is placed for one row: once to say when ticks come, once for somebody else's timer."""
AWAY_NS: Final = 2 * MS
"""How far off a shot is put that came too early, before its place is found."""

JIFFY_NS: Final = 4 * MS
"""The tick of all captured kernels."""
TURN_NS: Final = range(600, 4_000, 600)
"""Where in a turn of ksoftirqd for a disabled tasklet a tick can land."""
MIDDLE: Final = "..."
"""Stands where a capture leaves out the middle of a case."""

NEAR_NS: Final = 300_000
"""How far from the model's tick a capture's may be and be the same."""
MARGIN_NS: Final = 10_000
"""How long before or after the end of a pass the tick comes that decided about the next one."""

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
    return [MIDDLE if row is LEFT_OUT else f"{row.context} {row.task} {row.what}" for row in rows]


def matches(real: str, model: str) -> bool:
    """Tell whether two events are the same; ``?`` is what the capture does not tell of a switch, and is in no row of the model's."""
    if real == model:
        return True
    if UNKNOWN not in real:
        return False
    pattern = re.escape(real).replace(re.escape(f"({UNKNOWN})"), r"\([A-Z]\+?\)").replace(re.escape(f"prio={UNKNOWN}"), r"prio=\d+")
    return re.fullmatch(pattern, model) is not None


def same(real: Sequence[str], model: Sequence[str]) -> bool:
    """Tell whether two sequences are the same, or begin and end alike where the capture leaves out the middle."""
    if MIDDLE in real:
        i = real.index(MIDDLE)
        rest = len(real) - i - 1
        return len(model) >= i + rest and same(real[:i], model[:i]) and same(real[i + 1 :], model[len(model) - rest :])
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


def _others_at(rows: Sequence[Row], i: int) -> bool:
    """Tell whether in row ``i`` the tick wakes the thread for timers, which it does for whoever's timer."""
    return i < len(rows) and rows[i].what.startswith("wakeup ktimers ")


def _zero(rows: Sequence[Row]) -> int:
    """Return the instant of the model's first shot, from which a capture counts."""
    return next((row.ts for row in rows if BEGIN.match(row.what)), rows[0].ts)


def _more_passes(a: Sequence[Row], b: Sequence[Row], i: int) -> bool:
    """Tell whether in row ``i`` one goes on with a pass of softirqs and the other leaves them to ksoftirqd."""
    return i < len(a) and i < len(b) and a[i].what.startswith("softirq entry") and b[i].what.startswith("wakeup ksoftirqd")


def place(real: Sequence[Row], run: Run) -> tuple[list[Row], dict[Shot, int]]:
    """Run the model until its shots land where the capture's do; return its rows and the instants that the shots were given."""
    placed: dict[Shot, int] = {}
    rows = run(placed)
    tried: Counter[int] = Counter()
    for _ in range(ATTEMPTS):
        before = dict(placed)
        i = _parting(told(real), told(rows))
        _place_shot(real, rows, i, placed)
        if placed == before and tried[i] < TRIES:
            tried[i] += 1
            _place_tick(real, rows, i, placed)
        if placed == before:
            break
        rows = run(placed)
    if MIDDLE in told(real) and not same(told(real), told(rows)):
        return _within_a_turn(real, run, placed) or (rows, placed)
    return rows, placed


def _within_a_turn(real: Sequence[Row], run: Run, placed: dict[Shot, int]) -> tuple[list[Row], dict[Shot, int]] | None:
    """Run the model with ticks at other points of the few us in which ksoftirqd goes round, behind a middle that is not told."""
    for ns in TURN_NS:
        shifted = {**placed, PHASE: placed.get(PHASE, 0) + ns}
        rows = run(shifted)
        if same(told(real), told(rows)):
            return rows, shifted
    return None


def _place_shot(real: Sequence[Row], rows: Sequence[Row], i: int, placed: dict[Shot, int]) -> None:
    wanted, early = _shot_at(real, i), _shot_at(rows, i)
    if wanted is not None and i <= len(rows):
        if i == 0:
            placed[wanted] = rows[0].ts - WAY_NS * 3 // 4
        elif rows[i - 1].what.startswith("shot end") and real[i - 1].context == real[i].context:
            placed[wanted] = _last_begin(rows[:i])
        else:
            placed[wanted] = rows[i - 1].ts + 1
    elif early is not None:
        placed[early] = rows[i].ts + AWAY_NS


def _place_tick(real: Sequence[Row], rows: Sequence[Row], i: int, placed: dict[Shot, int]) -> None:
    if _others_at(real, i) and not _others_at(rows, i) and i > 1:
        instant = _zero(rows) + real[i].ts * US
        tick = (instant + JIFFY_NS // 2) // JIFFY_NS * JIFFY_NS
        number = sum(shot.n == OTHERS for shot in placed)
        if rows[i - 1].what.startswith("wakeup ") and rows[i - 2].what.startswith("shot end"):
            placed[Shot(OTHERS, number)] = _last_begin(rows[:i])
        elif PHASE not in placed:
            placed.clear()
            placed[PHASE] = -instant % JIFFY_NS
        else:
            near = abs(tick - instant) < NEAR_NS and tick not in placed.values()
            placed[Shot(OTHERS, number)] = tick if near else instant
    elif _more_passes(rows, real, i):
        _shift(placed, MARGIN_NS - rows[i].ts)
    elif _more_passes(real, rows, i):
        _shift(placed, -MARGIN_NS - rows[i].ts)


def _shift(placed: dict[Shot, int], ns: int) -> None:
    phase = placed.get(PHASE, 0)
    placed.clear()
    placed[PHASE] = (phase + ns) % JIFFY_NS


def _last_begin(rows: Sequence[Row]) -> int:
    return next(row.ts for row in reversed(rows) if BEGIN.match(row.what))


def outcome(kernel: Kernel, case: str) -> Outcome:
    """Run a case on the model of a captured kernel and compare.

    Raises ``LookupError`` for a case that is not expressed.
    """
    group = group_of(case)
    if group is None:
        raise LookupError(case)
    program = group.programs[case]

    cases = capture(kernel.capture)
    delays = {name: group.delays(name, cases[name]) for name in cases if name.startswith(group.prefix)}

    def rows_on_model(past: Past, places: dict[Shot, int]) -> list[Row]:
        records = Bench(kernel.config, kernel.cpus, places, past, group.costs, delays).run(case, program)
        return group.order(group.clean(rows_of(records, more=group.words), group.own))

    captured = cases[case]
    real = group.order(group.clean(captured, group.own))
    outcomes = []
    for past in group.pasts(captured):
        rows, placed = place(real, partial(rows_on_model, past))
        found = Outcome(told(real), told(rows), tuple(sorted(placed)), past)
        if found.equal:
            return found
        outcomes.append(found)
    return max(outcomes, key=lambda found: found.first_difference)
