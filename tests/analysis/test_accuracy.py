from __future__ import annotations

from statistics import median

import msgspec
import pytest

from asyncirq.analysis.accuracy import Cell, Score, accuracy_lines, score
from asyncirq.analysis.cells import gate, is_hard, is_headline
from asyncirq.analysis.dist import Dist
from asyncirq.analysis.latency import measure_halves
from asyncirq.analysis.metrics import Metrics, PhaseMetrics, pool
from tests.analysis.linux_captures import RT, STOCK, THREADIRQS, capture, metrics


def share(cells: list[Cell], index: int, percent: int) -> int:
    return round(100 * sum(cell.within(index, percent) for cell in cells) / len(cells))


def test_a_capture_predicts_itself_perfectly() -> None:
    result = score(metrics(RT), metrics(RT), metrics(RT))
    assert accuracy_lines("rt->rt", result)[:9] == [
        "accuracy rt->rt headline.cells 37",
        "accuracy rt->rt headline.H10 100.0",
        "accuracy rt->rt headline.H25 100.0",
        "accuracy rt->rt headline.T10 100.0",
        "accuracy rt->rt headline.T25 100.0",
        "accuracy rt->rt headline.W 0.000",
        "accuracy rt->rt headline.W_p90 0.000",
        "accuracy rt->rt headline.S none",
        "accuracy rt->rt headline.S_cells 37",
    ]
    assert (result.x, result.missed, result.gated) == (0.0, [], [])


def naive(target: str) -> Score:
    return score(metrics(STOCK), metrics(target), metrics(STOCK))


def test_copying_the_stock_capture_scores_badly() -> None:
    # The naive baseline that was published for these captures: 11 pooled rows, p50 18 % and 55 % within 10 and 25 %,
    # p90 45 % and 45 %, median distance 0.34.
    rows = [
        *("entry_to_NET_RX:eth0", "raise_to_entry:NET_RX", "raise_to_entry:TIMER", "raise_to_entry:TASKLET", "local_timer_to_TIMER"),
        *("waking_to_switch:ksoftirqd", "waking_to_switch:kworker", "waking_to_switch:kworker-highpri"),
        *("waking_to_switch:kworker-unbound", "waking_to_switch:user", "waking_to_switch:usb-storage"),
    ]
    pooled = [cell for cell in naive(THREADIRQS).pooled if cell.quantity in rows]
    assert len(pooled) == 11
    assert [share(pooled, index, percent) for index in (0, 1) for percent in (10, 25)] == [18, 55, 45, 45]
    assert round(median(cell.w1n for cell in pooled), 2) == 0.34
    rt = [cell for cell in naive(RT).pooled if cell.quantity in rows]
    assert len(rt) == 10
    assert [share(rt, index, percent) for index in (0, 1) for percent in (10, 25)] == [40, 50, 50, 50]


def test_copying_has_no_skill_and_misses_every_irq_thread() -> None:
    result = naive(THREADIRQS)
    assert result.headline.skill == 0
    assert (result.headline.cells, result.hard.cells) == (17, 3)
    assert (result.hard.h25, result.hard.t25) == (0, 0)
    assert {cell.quantity for cell in result.missed if cell.phase == "2-ping" and cell.headline} == {
        "entry_to_thread:eth0",
        "waking_to_switch:irq/eth0",
    }
    assert (result.x, result.x_where) == (100.0, "TASKLET in irq_thread")


def test_other_arrivals_are_gated_not_dropped() -> None:
    result = naive(RT)
    assert [(cell.quantity, cell.phase, cell.reason) for cell in result.gated] == [
        (quantity, "12-serial-in", "interrupts of ttyS1: predicted 59, real 144")
        for quantity in ("hard_handler:ttyS1", "queue_to_execute", "waking_to_switch:kworker-unbound", "waking_to_switch:user")
    ]
    burst = [cell for cell in naive(THREADIRQS).missed if cell.quantity == "raise_to_entry:NET_RX"]
    assert [(cell.phase, cell.n_predicted, cell.n_real) for cell in burst] == [("4-udp-burst64", 23, 202)]


def test_contended_ping_on_rt_is_a_hard_cell() -> None:
    found = next(cell for cell in naive(RT).cells if (cell.phase, cell.quantity) == ("2-ping", "entry_to_NET_RX:eth0"))
    assert (found.real, found.predicted, found.hard) == ((43_000, 44_000, 46_000), (5_000, 6_000, 6_000), True)


def test_halves_of_a_capture_predict_each_other() -> None:
    first, second = measure_halves(capture(THREADIRQS))
    result = score(first, second, first)
    assert result.headline.cells == 28
    assert (result.headline.h10, result.headline.h25) == (100, 100)
    assert result.headline.w is not None
    assert result.headline.w < 0.03
    assert (result.gated, result.missed) == ([], [])


def test_score_encodes_to_the_same_json() -> None:
    result = naive(RT)
    assert naive(RT).to_json() == result.to_json()
    assert msgspec.json.decode(result.to_json(), type=Score) == result


def phase(quantity: str, samples: list[int], interrupts: int = 100, polls: int = 0, packets: int = 0) -> PhaseMetrics:
    empty: dict[str, int] = {}
    return PhaseMetrics(
        *("p", 1000, 0, {quantity: Dist.of(samples)}, {"eth0": interrupts}, {"local_timer": 10}, empty),
        *(polls, packets, 0, {}, empty, empty),
    )


def whole(one: PhaseMetrics) -> Metrics:
    return Metrics("m", 1000, pool("pooled", [one]), [one], ["eth0"])


@pytest.mark.parametrize(
    ("real", "predicted", "tight", "wide"),
    [
        (2_000, 3_000, True, True),  # 1 us is always forgiven
        (2_000, 3_001, False, False),
        (20_000, 22_000, True, True),
        (20_000, 22_001, False, True),
        (20_000, 25_001, False, False),
    ],
)
def test_tolerance(real: int, predicted: int, tight: bool, wide: bool) -> None:
    quantity = "raise_to_entry:TASKLET"
    there = whole(phase(quantity, [real] * 30))
    cell = score(whole(phase(quantity, [predicted] * 30)), there, there).cells[0]
    assert (cell.within(0, 10), cell.within(0, 25)) == (tight, wide)


def test_cells_need_thirty_samples_on_both_sides() -> None:
    quantity = "raise_to_entry:TASKLET"
    full, short = whole(phase(quantity, [5] * 30)), whole(phase(quantity, [5] * 29))
    assert len(score(full, full, full).cells) == 1
    assert [one.reason for one in score(short, full, full).missed] == ["29 samples predicted, 30 real"]
    assert score(full, short, full).cells == []


def test_skill_compares_with_the_copy() -> None:
    quantity = "raise_to_entry:TASKLET"
    result = score(*(whole(phase(quantity, [value] * 40)) for value in (9_000, 10_000, 6_000)))
    assert result.headline.w == pytest.approx(0.1)
    assert result.headline.skill == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("quantity", "predicted", "real", "reason"),
    [
        ("entry_to_thread:eth0", (100, 0, 0), (150, 0, 0), None),
        ("entry_to_thread:eth0", (100, 0, 0), (151, 0, 0), "interrupts of eth0: predicted 100, real 151"),
        ("waking_to_switch:irq/eth0", (151, 0, 0), (100, 0, 0), "interrupts of eth0: predicted 151, real 100"),
        ("raise_to_entry:NET_RX", (100, 10, 30), (100, 20, 40), None),
        ("raise_to_entry:NET_RX", (100, 10, 31), (100, 20, 40), "packets per poll: predicted 31/10, real 40/20"),
        ("raise_to_entry:NET_RX", (100, 0, 0), (100, 20, 40), "no polls predicted, real 20"),
        ("raise_to_entry:TIMER", (100, 0, 0), (200, 0, 0), None),
        ("waking_to_switch:user", (100, 0, 0), (200, 0, 0), "interrupts of eth0: predicted 100, real 200"),
    ],
)
def test_arrival_gate(quantity: str, predicted: tuple[int, int, int], real: tuple[int, int, int], reason: str | None) -> None:
    assert gate(quantity, phase(quantity, [1], *predicted), phase(quantity, [1], *real), ["eth0"]) == reason


def test_sets() -> None:
    assert [is_headline(q) for q in ("raise_to_entry:TIMER", "local_timer_to_TIMER", "hard_handler:x", "entry_to_thread_last:x")] == [
        *(True, True, False, False),
    ]
    assert [
        is_hard(q, 8_000) for q in ("raise_to_entry:TIMER", "waking_to_switch:irq/x", "waking_to_switch:kworker", "softirq_run:RCU")
    ] == [
        *(True, True, False, False),
    ]
    assert not is_hard("raise_to_entry:TIMER", 7_999)
