from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncirq.bottom_half.timer_wheel import NEXT_TIMER_MAX_DELTA, Timer, TimerBase, level_start, wheel_depth, wheel_index
from asyncirq.hw.cpu import Cpu
from tests.bottom_half.harness import Bench


async def nothing(cpu: Cpu, timer: Timer) -> None:
    return None


def base() -> TimerBase:
    m = Bench(daemons=False)
    m.play(0)
    return TimerBase(m.sched, 0, 9)


def put(wheel: TimerBase, expires: int) -> Timer:
    timer = Timer(nothing, str(expires))
    timer.expires = expires
    wheel.enqueue(timer, *wheel_index(expires, wheel.clk, wheel.depth))
    return timer


def test_depth_by_tick_rate() -> None:
    assert [wheel_depth(hz) for hz in (100, 250, 300, 1000)] == [8, 9, 9, 9]


def test_levels_begin_where_the_table_says() -> None:
    starts = [0, 63, 504, 4032, 32256, 258048, 2064384, 16515072, 132120576]
    assert [level_start(level) for level in range(9)] == starts
    for level, start in enumerate(starts):
        assert wheel_index(start, 0, 9)[0] >> 6 == level
        if start:
            assert wheel_index(start - 1, 0, 9)[0] >> 6 == level - 1


@pytest.mark.parametrize("depth", [8, 9])
def test_beyond_the_capacity_is_clamped(depth: int) -> None:
    cutoff = 63 << 3 * (depth - 1)
    granularity = 1 << 3 * (depth - 1)
    last = wheel_index(cutoff - granularity, 5, depth)
    assert wheel_index(cutoff * 10, 5, depth) == wheel_index(cutoff + 5, 5, depth) == wheel_index(5 + cutoff - granularity, 5, depth)
    assert last[1] == cutoff


@given(st.integers(0, 1 << 20), st.integers(-100, 1 << 28))
def test_never_early_and_late_by_one_granularity_at_most(clk: int, delta: int) -> None:
    idx, due = wheel_index(clk + delta, clk, 9)
    if delta < 0:
        assert (idx, due) == (clk & 63, clk)
    elif delta < 63 << 24:
        granularity = 8 ** (idx >> 6)
        assert 0 < due - (clk + delta) <= granularity
        assert due % granularity == 0
        assert idx & 63 == due // granularity % 64


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 3)), max_size=60), st.randoms(use_true_random=False))
def test_every_timer_comes_out_once_in_its_jiffy_in_order(steps: list[tuple[int, int]], random: object) -> None:
    wheel = base()
    waiting: dict[str, tuple[Timer, int]] = {}
    out: list[int] = []
    jiffies = 0
    for number, (ahead, kind) in enumerate(steps):
        if kind == 0:
            jiffies += ahead & 0x7F
            while wheel.next_expiry <= jiffies:
                at = wheel.next_expiry
                for chain in wheel.collect():
                    for timer in chain.timers:
                        timer.chain = None
                        assert waiting.pop(timer.name)[1] == at
                        out.append(at)
        elif kind == 1 and waiting:
            timer, _ = waiting.pop(sorted(waiting)[ahead % len(waiting)])
            wheel.detach(timer)
        else:
            wheel.forward(jiffies)
            timer = Timer(nothing, str(number))
            idx, due = wheel_index(jiffies + ahead, wheel.clk, 9)
            wheel.enqueue(timer, idx, due)
            waiting[timer.name] = (timer, due)
            assert wheel.next_expiry <= min(due for _, due in waiting.values())
    wheel.recalculate()
    assert wheel.timers_pending is bool(waiting)
    assert wheel.next_expiry == (min(due for _, due in waiting.values()) if waiting else wheel.clk + NEXT_TIMER_MAX_DELTA)
    assert {timer.name for timer in wheel.pending_timers()} == set(waiting)
    assert all(a <= b for a, b in pairwise(out))


def test_a_deletion_leaves_next_expiry_early_until_it_is_looked_at() -> None:
    wheel = base()
    soon, _ = put(wheel, 5), put(wheel, 50)
    assert wheel.next_expiry == 6
    wheel.detach(soon)
    assert (wheel.next_expiry, wheel.recalc, wheel.timers_pending) == (6, True, True)
    assert wheel.collect() == []
    assert (wheel.clk, wheel.next_expiry, wheel.recalc) == (7, 51, False)


def test_an_idle_clock_never_passes_the_next_expiry() -> None:
    wheel = base()
    put(wheel, 20)
    wheel.forward(10)
    assert wheel.clk == 10
    wheel.forward(100)
    assert wheel.clk == 21
    wheel.forward(50)
    assert wheel.clk == 21


def test_a_bucket_that_is_emptied_and_filled_again_stays_one_entry() -> None:
    wheel = base()
    for _ in range(1000):
        wheel.detach(put(wheel, 30))
    assert len(wheel._order) == 1
    timer = put(wheel, 30)
    assert [list(chain.timers) for chain in wheel.collect()] == [[timer]]
