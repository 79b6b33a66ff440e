from __future__ import annotations

import pytest

from asyncirq import Stream, UsageError
from devices import Arrivals, At, Exponential, Periodic


def test_periodic() -> None:
    assert list(Periodic(10, start_ns=5, count=3).times(Stream(0, "x"))) == [15, 25, 35]


def test_at() -> None:
    assert list(At([3, 3, 9]).times(Stream(0, "x"))) == [3, 3, 9]


def test_exponential_depends_on_its_stream_alone() -> None:
    draws = [
        list(Exponential(1_000, start_ns=50, count=4).times(Stream(seed, name))) for seed, name in ((1, "a"), (1, "a"), (1, "b"), (2, "a"))
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert draws[0] != draws[3]
    assert draws[0] == sorted(set(draws[0]))
    assert draws[0][0] > 50


def test_exponential_has_its_mean() -> None:
    *_, last = Exponential(1_000, count=20_000).times(Stream(1, "a"))
    assert 980 * 20_000 < last < 1_020 * 20_000


def test_endless() -> None:
    times = Periodic(7).times(Stream(0, "x"))
    assert [next(times) for _ in range(3)] == [7, 14, 21]


def test_base_has_no_gaps() -> None:
    with pytest.raises(TypeError, match="Arrivals does not say how far its arrivals are apart"):
        next(Arrivals().times(Stream(0, "x")))


def test_bad_arrivals_are_refused() -> None:
    with pytest.raises(UsageError, match="a period of 0 ns is not above 0"):
        Periodic(0)
    with pytest.raises(UsageError, match="a mean distance of -1 ns is not above 0"):
        Exponential(-1)
    with pytest.raises(UsageError, match="arrivals cannot start at -1 ns"):
        Periodic(1, start_ns=-1)
    with pytest.raises(UsageError, match="there cannot be -1 arrivals"):
        Periodic(1, count=-1)
    with pytest.raises(UsageError, match="arrival times must not fall: 2 ns after 3 ns"):
        At([3, 2])
