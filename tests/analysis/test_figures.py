from __future__ import annotations

import pytest

from asyncirq.analysis.figures import number, percent, plural, rate, signed_us, us


@pytest.mark.parametrize(("ns", "text"), [(0, "0"), (5_000, "5"), (1_340, "1.3"), (99_940, "99.9"), (100_400, "100"), (-1_500, "-1.5")])
def test_us(ns: int, text: str) -> None:
    assert us(ns) == text


def test_signed_us() -> None:
    assert [signed_us(value) for value in (9_000, 0, -229_000)] == ["+9", "0", "-229"]


@pytest.mark.parametrize(("share", "text"), [(0, "0 %"), (0.0019, "0.19 %"), (0.071, "7.1 %"), (0.931, "93 %"), (1, "100 %")])
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


def test_rate_number_and_plural() -> None:
    assert [rate(99.94), rate(281.6)] == ["99.9", "282"]
    assert [number(None, 1), number(0.1234, 3)] == ["-", "0.123"]
    assert [plural(1, "cell"), plural(2, "cell"), plural(0, "latency", "latencies")] == ["1 cell", "2 cells", "0 latencies"]
