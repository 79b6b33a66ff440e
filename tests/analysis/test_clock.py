from __future__ import annotations

import pytest

from asyncirq.analysis.clock import follows_host, spearman
from asyncirq.analysis.event import Event
from asyncirq.analysis.ftrace import read_capture
from tests.analysis.linux_captures import ALL, FOLDER, capture
from tests.analysis.program_rows import capture_of, wakeup, waking


def wakes(*costs: int) -> list[Event]:
    return [event for at, cost in enumerate(costs) for event in (waking(1000 * at, 7, 8), wakeup(1000 * at + cost, 7, 8))]


@pytest.mark.parametrize("name", ALL)
def test_clock_of_counted_instructions_is_steady(name: str) -> None:
    assert not follows_host(capture(name))


@pytest.mark.parametrize("name", ["A-61-stock-arm64-gicv3", "A-61-threadirqs-arm64-gicv3"])
def test_clock_of_a_shared_host_is_not(name: str) -> None:
    assert follows_host(read_capture(FOLDER / name))


def test_one_slow_wake_up_in_ten_tells() -> None:
    assert not follows_host(capture_of(*wakes(*[4] * 58, 40, 40)))
    assert follows_host(capture_of(*wakes(*[4] * 54, *[40] * 6)))
    assert not follows_host(capture_of(*wakes(*[4] * 20, *[40] * 6)))


def test_rank_correlation() -> None:
    assert spearman([(1, 10), (2, 20), (3, 300)]) == pytest.approx(1)
    assert spearman([(1, 3), (2, 2), (3, 1)]) == pytest.approx(-1)
    assert spearman([(1, 1), (1, 2), (2, 3)]) == pytest.approx(0.8660254)
    assert spearman([(1, 1), (2, 2)]) is None
    assert spearman([(1, 1), (1, 2), (1, 3)]) is None
