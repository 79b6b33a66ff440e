from __future__ import annotations

import pytest

from asyncirq.analysis.accuracy import score
from asyncirq.whatif.accuracy import count_lines, median_lines, self_lines
from tests.whatif.predicted import prediction, source

PAIR = "a4->a4"


def test_every_interrupt_of_every_line_comes_back_in_its_phase() -> None:
    real = source().metrics
    replayed = prediction("stock").metrics
    assert [phase.phase for phase in replayed.phases] == [phase.phase for phase in real.phases if phase.duration_ns]
    for phase in replayed.phases:
        recorded = real.of_phase(phase.phase)
        assert recorded is not None
        assert phase.interrupts == recorded.interrupts
        assert phase.vectors == recorded.vectors
        assert phase.softirqs == recorded.softirqs


def test_counts_are_printed_as_accuracy_lines() -> None:
    assert count_lines(PAIR, prediction("stock").metrics, source().metrics) == [
        "accuracy a4->a4 counts.irq_handler_entry 16/16",
        "accuracy a4->a4 counts.vector_entry 14/14",
        "accuracy a4->a4 counts.softirq_entry 41/41",
    ]


def test_medians_are_those_of_the_capture() -> None:
    lines = median_lines(PAIR, prediction("stock").metrics, source().metrics)
    assert lines[0] == "accuracy a4->a4 p50_ns.entry_to_NET_RX:eth0 5000"
    assert lines[-1] == "accuracy a4->a4 p50_within_25 2/2"


def test_cells_come_back_within_ten_percent() -> None:
    result = score(prediction("stock").metrics, source().metrics, source().metrics)
    assert result.missed == []
    assert result.gated == []
    assert len(result.cells) == 40
    assert sum(cell.within(0, 10) for cell in result.cells) * 100 >= 90 * len(result.cells)
    assert sum(cell.within(1, 10) for cell in result.cells) * 100 >= 85 * len(result.cells)
    assert result.headline.t10 is not None and result.headline.t10 >= 85


@pytest.mark.parametrize("kernel", ["stock", "threadirqs", "rt"])
def test_softirq_checker_predicts_every_entry_of_our_own_run(kernel: str) -> None:
    report = prediction(kernel).softirqs
    assert report.wrong == []
    assert report.total > 780


def test_no_arrival_is_lost() -> None:
    assert prediction("stock").notes == []


def test_lines_of_a_self_replay_name_their_pair() -> None:
    lines = self_lines(source(), prediction("stock"))
    assert {line.split()[1] for line in lines} == {PAIR}
    assert all(line.startswith("accuracy ") and len(line.split()) == 4 for line in lines)
