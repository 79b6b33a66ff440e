"""Segments and named costs: exact figures of the stock capture, and where each cost comes from."""

from __future__ import annotations

import functools

import pytest

from asyncirq.analysis.pack import UNTRACEABLE, CostSource, builtin_pack
from asyncirq.analysis.segments import (
    CostTable,
    SegmentKey,
    extract_costs,
    gaps,
    is_hard_entry,
    median,
    reference_costs,
)
from asyncirq.errors import UsageError
from tests.analysis.linux_captures import ALL, STOCK, capture
from tests.analysis.program_rows import capture_of, ev, irq, irq_end, soft, switch


def priors(prefix: str) -> list[CostSource]:
    return [prior for prior in builtin_pack().costs if prior.name.startswith(prefix)]


@functools.cache
def stock() -> CostTable:
    return extract_costs(capture(STOCK))


@pytest.mark.parametrize(
    ("name", "value", "n"),
    [
        ("trace_event", 1_350, 591),
        ("try_to_wake_up", 4_178, 1_163),
        ("switch_from_idle", 3_793, 647),
        ("preempt_switch", 4_094, 245),
        ("block_kthread", 5_598, 328),
        ("ksoftirqd_enter", 2_067, 45),
        ("irq_exit_softirq", 1_827, 410),
        ("irq_exit_softirq_bh_off", 2_495, 105),
        ("tick_entry", 1_465, 740),
    ],
)
def test_measured_costs_of_the_stock_capture(name: str, value: int, n: int) -> None:
    cost = stock().cost(name)
    assert (cost.value, cost.n, cost.kind, len(cost.samples)) == (value, n, "measured", n)


def test_hard_entry_is_a_lower_bound_from_busy_ticks() -> None:
    cost = stock().cost("hard_entry")
    assert (cost.value, cost.n, cost.kind) == (1_482, 261, "proxy")
    assert min(cost.samples) > 1_000


def test_proxies_name_their_origin() -> None:
    wake, origin = stock().cost("irq_thread_wake"), stock().cost("try_to_wake_up")
    assert (wake.kind, wake.samples, wake.source) == ("proxy", origin.samples, "try_to_wake_up: any other wake-up")
    lock = stock().cost("bh_lock_block")
    assert (lock.kind, lock.value) == ("proxy", stock().cost("ksoftirqd_enter").value + stock().cost("block_kthread").value)


def test_priors_are_labelled_and_none_is_measured() -> None:
    assert {prior.name: prior.value for prior in priors("rt_")} == {
        "rt_lock_block": 9_140,
        "rt_lock_hand_over": 4_300,
        "rt_preempt_switch": 6_430,
        "rt_try_to_wake_up": 3_820,
    }
    assert all(prior.kind == "prior" and prior.source.startswith("lab L-61-rt-icount") for prior in priors("rt_"))
    assert all(prior.kind == "prior" and not prior.samples for prior in priors("fair_"))
    for prior in (*priors("rt_"), *priors("fair_"), *priors("syscall_")):
        assert stock().cost(prior.name) == prior
    assert "ring_drops" in UNTRACEABLE


@pytest.mark.parametrize("name", ALL)
def test_every_gap_is_one_sample(name: str) -> None:
    table = extract_costs(capture(name))
    assert sum(segment.n for segment in table.segments.values()) == len(capture(name).events) - 1
    span = capture(name).events[-1].ts - capture(name).events[0].ts
    assert sum(sum(segment.samples) for segment in table.segments.values()) == span


def test_segment_key_tells_kinds_of_switch_and_bh() -> None:
    trace = capture_of(
        ev(0, 7, "...", "mark"),
        switch(1, 7, "R+", 8),
        switch(3, 8, "S", 9),
        switch(6, 9, "X", 0),
        switch(10, 0, "R", 7),
        switch(15, 7, "R", 8),
        irq(21, 8, "D.h"),
        irq_end(22, 8, "D.h"),
        soft(25, 8, "entry", 3),
        soft(26, 8, "exit", 3),
    )
    found = {key: segment.samples for key, segment in extract_costs(trace).segments.items()}
    assert found == {
        SegmentKey("mark", "sched_switch", "task", "preempt"): [1_000],
        SegmentKey("sched_switch", "sched_switch", "task", "block"): [2_000],
        SegmentKey("sched_switch", "sched_switch", "task", "exit"): [3_000],
        SegmentKey("sched_switch", "sched_switch", "task", "idle"): [4_000],
        SegmentKey("sched_switch", "sched_switch", "idle", "yield"): [5_000],
        SegmentKey("sched_switch", "irq_handler_entry", "task", ""): [6_000],
        SegmentKey("irq_handler_entry", "irq_handler_exit", "hardirq", "bh_off"): [1_000],
        SegmentKey("irq_handler_exit", "softirq_entry", "hardirq", "bh_off"): [3_000],
        SegmentKey("softirq_entry", "softirq_exit", "softirq", ""): [1_000],
    }


def test_segment_statistics() -> None:
    trace = capture_of(*(ev(us, 7, "...", "mark") for us in (0, 1, 4, 10)))
    (segment,) = extract_costs(trace).segments.values()
    assert (segment.n, segment.mean, segment.median) == (3, 10_000 / 3, 3_000)


def test_unknown_cost_says_so() -> None:
    table = extract_costs(capture_of(ev(0, 7, "...", "mark"), ev(1, 7, "...", "mark")))
    with pytest.raises(UsageError, match="no sample of cost 'try_to_wake_up'"):
        table.cost("try_to_wake_up")


def test_gaps_stay_on_their_cpu() -> None:
    trace = capture_of(ev(0, 7, "...", "a"), ev(1, 8, "...", "b", 1), ev(2, 7, "...", "c"), ev(5, 8, "...", "d", 1))
    assert [(before.name, after.name) for before, after in gaps(trace)] == [("a", "c"), ("b", "d")]


def test_reference_costs_are_medians_and_zero_without_samples() -> None:
    assert tuple(reference_costs(capture(STOCK)))[:4] == (2_000, 1_000, 4_000, 6_000)
    assert tuple(reference_costs(capture_of(ev(0, 7, "...", "mark"))))[:6] == (0, 0, 0, 0, 0, 0)
    assert median([3, 1, 2, 4]) == 2


def test_hard_entries() -> None:
    assert [name for name in ("irq_handler_entry", "local_timer_entry", "softirq_entry", "irq_handler_exit") if is_hard_entry(name)] == [
        "irq_handler_entry",
        "local_timer_entry",
    ]
