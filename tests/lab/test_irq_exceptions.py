"""Hold every excepted irq case to what its reason says: where it differs, and what in the capture shows why."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import pytest

from tests.lab.exceptions import ALL_AT_ONCE, BUSY_AND_LATE, BUSY_CPU1, EXCEPTIONS, LOST_SWITCH, ON_CPU0, OVERTAKEN, STOOD_STILL
from tests.lab.irq_cases import PAUSE_MS
from tests.lab.normalise import UNKNOWN
from tests.lab.rows import Row, capture
from tests.lab.table import Pair, outcome_of, pairs

IRQ_PAIRS: Final = [pair for pair in EXCEPTIONS if pair[1].startswith(("irq/", "irqsmp/"))]
NO_ROW: Final = ""
EXITS: Final = ". irq/N-lab switch irq/N-lab(X) -> insmod prio=120"
WAKES_NEW: Final = ". insmod wakeup irq/N-lab prio=120"
WAKES: Final = ". insmod wakeup irq/N-lab prio=49"
TO_IDLE: Final = ". insmod switch insmod(D) -> idle prio=120"
TO_THREAD: Final = ". insmod switch insmod(D) -> irq/N-lab prio=120"
SLEEPS: Final = ". irq/N-lab switch irq/N-lab(D) -> idle prio=120"
ENDS: Final = ". irq/N-lab thread fn end"

PARTING: Final[dict[Pair, tuple[int, str, str]]] = {
    ("L-61-stock", "irq/simple/thr-null-noshot"): (2, EXITS, ". irq/N-lab switch irq/N-lab(R+) -> insmod prio=120"),
    ("L-61-stock-smp2", "irq/simple/thr-wake-oneshot"): (1, WAKES_NEW, TO_IDLE),
    ("L-61-stock-smp2", "irq/level/thr-oneshot"): (45, NO_ROW, ". irq/N-lab switch irq/N-lab(X) -> idle prio=120"),
    ("L-61-stock-smp2", "irq/edge/thr-wake-noshot"): (40, ENDS, SLEEPS),
    ("L-61-stock-smp2", "irq/edge/thr-wake-oneshot"): (15, WAKES, TO_IDLE),
    ("L-61-stock-smp2", "irq/edge/thr-null-noshot"): (0, WAKES_NEW, ". insmod request_threaded_irq lab primary=0 thread=1 flags=0 -> -22"),
    ("L-61-stock-smp2", "irq/fasteoi/thr-wake-noshot"): (10, "h idle wakeup irq/N-lab prio=49", "h idle chip eoi ---"),
    ("L-61-stock-smp2", "irq/edge-oneshotsafe/thr-oneshot"): (1, WAKES_NEW, TO_IDLE),
    ("L-61-rt", "irq/level/thr-oneshot"): (28, ENDS, SLEEPS),
    ("L-61-rt", "irq/edge-oneshotsafe/thr-null-noshot"): (
        15,
        ". irq/N-lab switch irq/N-lab(S) -> insmod prio=120",
        ". irq/N-lab switch irq/N-lab(S) -> idle prio=120",
    ),
    ("L-612-rt", "irq/level/none"): (4, TO_THREAD, ". insmod request_threaded_irq lab primary=1 thread=0 flags=0 -> 0"),
    ("L-612-rt", "irq/edge-oneshotsafe/thr-oneshot"): (24, ENDS, SLEEPS),
}
"""For each excepted case the first row in which the two part, and what the real kernel and the model say there."""


def named(reason: str) -> list[Pair]:
    """Return the irq cases that are excepted for that reason; there is at least one."""
    found = [pair for pair in IRQ_PAIRS if EXCEPTIONS[pair] == reason]
    assert found
    return found


def rows_of(pair: Pair) -> list[Row]:
    return capture(pair[0])[pair[1]]


def instants(pair: Pair, what: str) -> list[int]:
    return [row.ts for row in rows_of(pair) if row.what.startswith(what)]


@pytest.mark.parametrize("pair", IRQ_PAIRS, ids=" ".join)
def test_case_parts_from_the_model_just_there(pair: Pair) -> None:
    result = outcome_of(*pair)
    i = result.first_difference
    assert (i, [*result.real, NO_ROW][i], [*result.model, NO_ROW][i]) == PARTING[pair]


def test_no_other_irq_case_is_excepted() -> None:
    assert set(IRQ_PAIRS) == set(PARTING)


@pytest.mark.parametrize("pair", IRQ_PAIRS, ids=" ".join)
def test_case_is_equal_in_other_captures(pair: Pair) -> None:
    """What the model does in the case is what real kernels do wherever the accident did not happen."""
    others = [other for other in pairs() if other[1] == pair[1] and other not in EXCEPTIONS]
    assert len(others) >= 4
    assert [other for other in others if not outcome_of(*other).equal] == []


# --- what in the capture shows the reason


def test_switches_are_missing_where_it_is_said() -> None:
    for pair in named(LOST_SWITCH):
        result = outcome_of(*pair)
        assert any(UNKNOWN in row for row in result.real[: result.first_difference + 1])


def test_threads_were_switched_to_after_their_sleep_was_over() -> None:
    for pair in named(STOOD_STILL):
        rows = rows_of(pair)
        slept = next(row.ts for row in rows if row.what.startswith("switch irq/N-lab(D)") and row.ts > 0)
        back = next(row.ts for row in rows if row.ts > slept and "-> irq/N-lab" in row.what)
        assert back - slept > 4_000
        wakings = [row for row in rows if slept < row.ts < back and row.what.startswith("wakeup irq/N-lab")]
        assert len(wakings) == 1


def test_shots_came_all_at_once() -> None:
    for pair in named(ALL_AT_ONCE):
        shots = instants(pair, "shot begin")
        assert len(shots) == 3 and shots[2] - shots[0] < 200
        assert instants(pair, "free_irq")[0] - shots[2] < 300


def test_second_shot_came_after_the_first_run() -> None:
    for pair in named(BUSY_AND_LATE):
        shots = instants(pair, "shot begin")
        assert shots[1] - shots[0] > 12_000 and shots[1] > instants(pair, "thread fn end")[0]
        assert len(instants(pair, "thread fn start")) == 3
        assert woken_without_interrupt(pair, 49)


def woken_without_interrupt(pair: Pair, prio: int) -> bool:
    """Tell whether CPU 0 woke the thread by itself where CPU 1 was to run it: the next row of CPU 1 is no wake-up."""
    rows = rows_of(pair)
    for i, row in enumerate(rows):
        if row.cpu == 0 and row.what == f"wakeup irq/N-lab prio={prio}":
            there = next(other for other in rows[i:] if other.cpu == 1)
            return not there.what.startswith("wakeup")
    return False


def test_no_interrupt_woke_the_thread_where_cpu_1_was_busy() -> None:
    for pair in named(BUSY_CPU1):
        assert woken_without_interrupt(pair, 120 if pair[1].endswith("thr-null-noshot") else 49)


def test_new_thread_was_placed_on_cpu_0_in_these_cases_alone() -> None:
    """Of the other cases of that capture only the one that CPU 1 was too busy for has it so."""
    name = "L-61-stock-smp2"
    made = {
        case: next(row.cpu for row in rows if row.what == "wakeup irq/N-lab prio=120")
        for case, rows in capture(name).items()
        if case.startswith("irq/") and any(row.what == "wakeup irq/N-lab prio=120" for row in rows)
    }
    on_cpu_0 = {(name, case) for case, cpu in made.items() if cpu == 0}
    assert (on_cpu_0 - set(named(BUSY_CPU1)), len(made)) == (set(named(ON_CPU0)), 18)


def test_last_switch_of_an_overtaken_case_is_in_neither() -> None:
    for name, case in named(OVERTAKEN):
        cases = list(capture(name).items())
        (_, rows), (_, following) = next(two for two in pairwise(cases) if two[0][0] == case)
        assert [row.what for row in rows if row.cpu == 1][-1] == "switch idle(R) -> irq/N-lab prio=49"
        assert next(row for row in following if row.cpu == 1).task == "idle"


def test_only_a_machine_that_stood_still_keeps_a_stuck_line_alive() -> None:
    """Where the trace was off 25 jiffies went by without an interrupt; it is chosen where the line survived, and nowhere else."""
    chosen = {pair[0]: outcome_of(*pair).past.paused_ms for pair in pairs() if pair[1] == "irq/level/spurious-100000"}
    assert chosen == {name: PAUSE_MS if name == "L-61-rt" else 0 for name in chosen}
    killed = {name: any("DM" in row for row in outcome_of(name, "irq/level/spurious-100000").real) for name in chosen}
    assert killed == {name: name != "L-61-rt" for name in chosen}
