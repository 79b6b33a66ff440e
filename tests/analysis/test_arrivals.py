"""Arrival models: what the stock capture shows per line and phase, and each rule by itself."""

from __future__ import annotations

import functools

import pytest

from asyncirq.analysis.arrivals import LineReport, PhasePlan, percentile, plan_phase, tick_grid
from asyncirq.analysis.ops import Arrival, Block, Expiry, Hit, HrtimerStart, Irq, OpRef, PhaseCut
from asyncirq.analysis.programs import cut, find_op
from tests.analysis.linux_captures import STOCK, capture


@functools.cache
def cuts() -> dict[str, PhaseCut]:
    return {phase.name: phase for phase in cut(capture(STOCK)).phases}


@functools.cache
def plans() -> dict[str, PhasePlan]:
    return {name: plan_phase(phase) for name, phase in cuts().items()}


def report(phase: str, line: str) -> LineReport:
    return next(item for item in plans()[phase].lines if item.line == line)


@pytest.mark.parametrize(
    ("phase", "line", "models"),
    [
        ("2-ping", "eth0", {"synchronous": 101, "closed": 75}),
        ("3-udp-single-1ms-gap", "eth0", {"open": 157}),
        ("4-udp-burst64", "eth0", {"open": 18}),
        ("5-udp-flood-1000", "eth0", {"open": 2}),
        ("6-udp-flood-with-cpu-hog", "eth0", {"open": 13}),
        ("7-udp-tx-200", "eth0", {"rate_limited": 35}),
        ("8-disk-virtio-blk", "virtio0-req.0", {"synchronous": 100}),
        ("9-disk-sda", "ahci[0000:00:1f.2]", {"synchronous": 100}),
        ("10-disk-sdb", "ehci_hcd:usb1", {"synchronous": 1, "closed": 119}),
        ("12-serial-in", "ttyS1", {"open": 59}),
        ("2-ping", "local_timer", {"closed": 99, "open": 113}),
        ("6-udp-flood-with-cpu-hog", "local_timer", {"open": 253}),
        ("14-usleep", "local_timer", {"closed": 100, "open": 12}),
    ],
)
def test_models_of_the_stock_capture(phase: str, line: str, models: dict[str, int]) -> None:
    found = report(phase, line)
    assert (found.models, found.n) == (models, sum(models.values()))


def test_evidence_names_its_figures() -> None:
    assert report("8-disk-virtio-blk", "virtio0-req.0").evidence == (
        "99 of 100 arrivals hit a task at the same progress: kworker/0:1H 6000..7000 ns after workqueue_execute_start"
    )
    limited = report("7-udp-tx-200", "eth0")
    assert (limited.model, limited.min_gap_ns) == ("rate_limited", 128_000)
    assert limited.evidence == "34 of 34 gaps are at most 5 % above 128000 ns: the device spaces its interrupts"


def test_every_arrival_has_one_plan_and_its_anchor_fits() -> None:
    for name, phase in cuts().items():
        assert [plan.arrival for plan in plans()[name].plans] == list(range(len(phase.arrivals)))
        for plan in plans()[name].plans:
            if plan.model == "synchronous":
                assert plan.anchor is not None
                assert find_op(phase, plan.anchor) == Irq(plan.arrival)
            elif plan.model == "closed":
                assert plan.anchor is not None
                assert isinstance(find_op(phase, plan.anchor), Block | HrtimerStart)
                assert plan.delay_ns >= 0
            else:
                assert plan.anchor is None


def test_tick_grid_of_ping_has_gaps() -> None:
    grid = plans()["2-ping"].tick
    assert (grid.period_ns, grid.offset_ns, len(grid.fired), len(grid.stopped)) == (4_000_000, 0, 113, 93)
    assert all((after - before) % 4_000_000 == 0 and after - before > 4_000_000 for before, after in grid.stopped)
    assert plans()["6-udp-flood-with-cpu-hog"].tick.stopped == []


def hit(kind: str, ident: int = 7, progress: int = 0, idle: int = 0, last: int | None = None) -> Hit:
    at = None if last is None else OpRef("task", last, 0)
    done = Hit("idle", ident, "t", 0, progress, "mark", False, at, idle, False)
    done.kind = "task" if kind == "task" else "idle"
    return done


def phase_of(arrivals: list[Arrival]) -> PhaseCut:
    return PhaseCut("p", 0, 0, {0: 7}, {}, arrivals, [], [], [], {}, {}, {}, [])


def arrivals_at(times: list[int], hits: list[Hit]) -> list[Arrival]:
    return [Arrival("dev", 5, 0, at, where, [], [], [], {}) for at, where in zip(times, hits, strict=True)]


IRREGULAR = [0, 90, 130, 300, 310, 500, 680, 700, 910, 1_300, 1_350, 1_900]


def planned(hits: list[Hit], times: list[int] | None = None) -> LineReport:
    times = [us * 1_000 for us in IRREGULAR[: len(hits)]] if times is None else times
    (line,) = plan_phase(phase_of(arrivals_at(times, hits))).lines
    return line


def test_synchronous_needs_one_progress() -> None:
    assert planned([hit("task", progress=6_000 + 100 * i) for i in range(12)]).model == "synchronous"
    assert planned([hit("task", progress=6_000 + 1_000 * i) for i in range(12)]).model == "open"


def test_closed_needs_a_steady_delay() -> None:
    assert planned([hit("idle", idle=200_000 + 1_000 * i, last=8) for i in range(12)]).models == {"closed": 12}
    assert planned([hit("idle", idle=200_000 + 30_000 * i, last=8) for i in range(12)]).models == {"open": 12}


def test_rate_limited_needs_even_gaps() -> None:
    hits = [hit("task", progress=6_000 + 5_000 * i) for i in range(12)]
    line = planned(hits, [128_000 * i for i in range(12)])
    assert (line.model, line.min_gap_ns) == ("rate_limited", 128_000)
    assert planned(hits, [128_000 * i + 10_000 * (i * i % 7) for i in range(12)]).model == "open"


def test_few_arrivals_are_open() -> None:
    line = planned([hit("task", progress=6_000) for _ in range(9)])
    assert (line.model, line.evidence) == ("open", "only 9 arrivals: too few for a pattern")


def test_arrival_that_expires_two_timers_hangs_on_the_later_start() -> None:
    first = Expiry("a", "wake", OpRef("task", 7, 3), 900_000, 0, 0)
    second = Expiry("b", "wake", OpRef("task", 8, 4), 500_000, 0, 0)
    arrival = Arrival("local_timer", -1, 0, 1_000_000, hit("idle"), [], [], [first, second], {})
    (plan,) = plan_phase(phase_of([arrival])).plans
    assert (plan.model, plan.anchor, plan.delay_ns) == ("closed", OpRef("task", 8, 4), 500_000)


def test_timer_that_its_own_arrival_armed_is_open() -> None:
    own = Expiry("a", "wake", OpRef("hard", 0, 3), 900_000, 0, 0)
    arrival = Arrival("local_timer", -1, 0, 1_000_000, hit("idle"), [], [], [own], {})
    assert plan_phase(phase_of([arrival])).plans[0].model == "open"


def test_grid_without_ticks_is_empty() -> None:
    grid = tick_grid(phase_of([]))
    assert (grid.period_ns, grid.fired, grid.stopped) == (0, [], [])


def test_percentile_is_a_sample() -> None:
    assert [percentile([5, 1, 3], share) for share in (0, 50, 99, 100)] == [1, 3, 3, 5]
