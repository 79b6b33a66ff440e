from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncirq.errors import UsageError
from asyncirq.hw.lapic_timer import DIVISORS, ONE_SHOT, PERIODIC, TSC_DEADLINE, LapicTimer
from asyncirq.sim.engine import Engine

DIVIDE_BY_1 = 0xB


class Bench:
    """A timer with its engine, and the times at which it ran out."""

    def __init__(self, clock: tuple[int, int] = (1, 1), tsc: tuple[int, int] = (1, 1)) -> None:
        self.engine = Engine()
        self.fired: list[int] = []
        self.timer = LapicTimer(self.engine, "t", lambda: self.fired.append(self.engine.now), clock, tsc)
        self.timer.set_divide(DIVIDE_BY_1)

    def advance(self, to_ns: int) -> None:
        self.engine.timer(lambda: None, "advance").arm(to_ns)
        while not self.engine.run_slice(to_ns, 1000):
            assert self.engine.now <= to_ns


def test_one_shot_counts_down_to_zero_once() -> None:
    bench = Bench()
    bench.timer.set_initial(100)
    bench.advance(99)
    assert (bench.timer.current, bench.timer.when, bench.fired) == (1, 100, [])
    bench.advance(1000)
    assert (bench.timer.current, bench.timer.initial, bench.timer.when, bench.fired) == (0, 100, -1, [100])


def test_periodic_does_not_drift_from_the_exact_ratio() -> None:
    bench = Bench(clock=(10, 3))
    bench.timer.set_mode(PERIODIC)
    bench.timer.set_initial(1)
    bench.advance(40)
    assert bench.fired == [4, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40]


@given(num=st.integers(1, 50), den=st.integers(1, 50), count=st.integers(1, 1000), divide=st.sampled_from(sorted(DIVISORS)))
def test_never_early_and_less_than_one_ns_late(num: int, den: int, count: int, divide: int) -> None:
    bench = Bench(clock=(num, den))
    bench.timer.set_divide(divide)
    bench.timer.set_initial(count)
    exact = count * DIVISORS[divide] * num
    assert exact <= bench.timer.when * den < exact + den


def test_current_count_follows_the_divisor() -> None:
    bench = Bench()
    bench.timer.set_divide(0)
    bench.timer.set_initial(100)
    bench.advance(31)
    assert bench.timer.current == 85
    bench.timer.set_divide(0x3)
    assert (bench.timer.current, bench.timer.when) == (85, 31 + 85 * 16)


def test_change_of_the_divisor_in_the_instant_of_expiry_loses_nothing() -> None:
    bench = Bench()
    bench.timer.set_mode(PERIODIC)
    seen = []

    def change() -> None:
        bench.timer.set_divide(0)
        seen.append((bench.timer.current, bench.timer.when))

    bench.engine.timer(change, "change").arm(10)
    bench.timer.set_initial(10)
    bench.advance(30)
    assert seen == [(10, 30)]
    assert bench.fired == [10, 30]


def test_mode_change_from_periodic_finishes_the_period() -> None:
    bench = Bench()
    bench.timer.set_mode(PERIODIC)
    bench.timer.set_initial(10)
    bench.advance(25)
    bench.timer.set_mode(ONE_SHOT)
    assert bench.timer.current == 5
    bench.advance(100)
    assert bench.fired == [10, 20, 30]


def test_writing_zero_stops() -> None:
    bench = Bench()
    bench.timer.set_initial(10)
    bench.timer.set_initial(0)
    bench.advance(100)
    assert (bench.fired, bench.timer.current) == ([], 0)


def test_deadline_rounds_up_to_whole_ns_and_clears() -> None:
    bench = Bench(tsc=(1, 3))
    bench.timer.set_mode(TSC_DEADLINE)
    bench.timer.set_deadline(301)
    assert (bench.timer.when, bench.timer.deadline, bench.timer.current) == (101, 301, 0)
    bench.advance(200)
    assert (bench.fired, bench.timer.deadline, bench.timer.tsc) == ([101], 0, 600)


def test_deadline_in_the_past_expires_at_once_and_zero_disarms() -> None:
    bench = Bench()
    bench.timer.set_mode(TSC_DEADLINE)
    bench.advance(50)
    bench.timer.set_deadline(20)
    assert (bench.fired, bench.timer.deadline) == ([50], 0)
    bench.timer.set_deadline(50)
    assert (bench.fired, bench.timer.when) == ([50, 50], -1)
    bench.timer.set_deadline(90)
    bench.timer.set_deadline(0)
    bench.advance(100)
    assert bench.fired == [50, 50]


def test_modes_do_not_share_their_registers() -> None:
    bench = Bench()
    bench.timer.set_deadline(90)
    assert bench.timer.deadline == 0
    bench.timer.set_initial(80)
    bench.timer.set_mode(TSC_DEADLINE)
    assert (bench.timer.initial, bench.timer.when) == (0, -1)
    bench.timer.set_initial(80)
    assert bench.timer.initial == 0
    bench.timer.set_deadline(90)
    bench.timer.set_mode(PERIODIC)
    assert (bench.timer.deadline, bench.timer.when) == (0, -1)


def test_a_rearmed_timer_leaves_the_heap_bounded() -> None:
    bench = Bench()
    bench.timer.set_mode(TSC_DEADLINE)
    for deadline in range(1000, 11000):
        bench.timer.set_deadline(deadline)
    assert bench.engine.heap_length() <= 140


@pytest.mark.parametrize("ratio", [(0, 1), (1, 0), (-1, 1)])
def test_a_clock_needs_positive_integers(ratio: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="the APIC clock needs two positive integers"):
        Bench(clock=ratio)
