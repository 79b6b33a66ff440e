from __future__ import annotations

from asyncirq.analysis.accuracy import score
from asyncirq.analysis.verdict import judge
from tests.analysis.linux_captures import RT, STOCK, THREADIRQS, metrics


def test_a_perfect_prediction_has_no_error() -> None:
    result = judge("rt", True, metrics(RT), metrics(RT), metrics(STOCK))
    assert {(cell.error_percent[0], cell.w1_ns, cell.w1n) for cell in result.cells} == {(0.0, 0.0, 0.0)}
    assert {cell.within for cell in result.cells} == {(10, 10, 10)}
    assert {cell.skill for cell in result.cells if cell.w1n_copy} == {1.0}
    assert (result.headline.skill, result.missed, result.gated) == (1.0, [], [])


def test_rows_say_error_distance_and_skill() -> None:
    result = judge("threadirqs", False, metrics(THREADIRQS), metrics(RT), metrics(STOCK))
    row = next(cell for cell in result.cells if (cell.phase, cell.quantity) == ("2-ping", "entry_to_NET_RX:eth0"))
    assert (row.real, row.predicted) == ((43_000, 44_000, 46_000), (16_000, 16_000, 18_000))
    assert row.error_percent == (100 * -27 / 43, 100 * -28 / 44, 100 * -28 / 46)
    assert row.within == (0, 0, 0)
    assert row.w1n is not None
    assert row.w1n_copy is not None
    assert row.skill == 1 - row.w1n / row.w1n_copy
    assert row.w1_ns > 10_000


def test_figures_are_those_of_the_score() -> None:
    result = judge("threadirqs", False, metrics(THREADIRQS), metrics(RT), metrics(STOCK))
    expected = score(metrics(THREADIRQS), metrics(RT), metrics(STOCK))
    assert (result.headline, result.hard, result.x, result.missed, result.gated) == (
        expected.headline,
        expected.hard,
        expected.x,
        expected.missed,
        expected.gated,
    )
    assert [(cell.phase, cell.quantity) for cell in result.cells] == [(cell.phase, cell.quantity) for cell in expected.cells]
