"""Show the analytic bound: both published fixed points, the orderings, and when there is none."""

from __future__ import annotations

import pytest

from asyncirq.analysis.latency_bound import (
    ThreadLatency,
    none,
    sliding_window,
    solve,
    sporadic,
    worst_of_each,
    worst_single,
)
from asyncirq.errors import UsageError


def burst(*steps: tuple[int, int]) -> list[tuple[int, int]]:
    """Return arrivals whose worst windows are as published: ``(least window, cost in it)``, growing."""
    arrivals, before = [], 0
    for window, cost in steps:
        arrivals.append((window, cost - before))
        before = cost
    return arrivals


def test_published_example_of_rtsl() -> None:
    sections = ThreadLatency(poid=56194, paie=5167, psd=48092, dst=45883)
    assert sections.without_interference == 109453
    others = [[(0, cost)] for cost in (30522, 3463, 13735, 24572, 27098)]
    growing = [burst((0, 46687), (200_000, 49321))]
    bound = solve(sections, sliding_window([*others, *growing]))
    assert (bound.latency, bound.steps, bound.converged) == (258164, (109453, 255530, 258164), True)


def test_published_example_of_the_paper() -> None:
    sections = ThreadLatency(poid=22510, paie=0, psd=19702, dst=19312)
    assert sections.without_interference == 42212
    others = [[(0, cost)] for cost in (16914, 14588, 3299)]
    bound = solve(sections, sliding_window([*others, burst((0, 20728), (50_000, 21029))]))
    assert (bound.latency, bound.steps) == (98042, (42212, 97741, 98042))


def test_tail_of_a_switch_counts_where_it_is_longer() -> None:
    assert ThreadLatency(poid=1, paie=2, psd=3, dst=10).without_interference == 15


def test_characterisations_are_ordered() -> None:
    sections = ThreadLatency(poid=100, paie=0, psd=50, dst=0)
    seen = [[(0, 30), (40, 20), (90, 10)], [(0, 15), (400, 12)]]
    worst = [30, 15]
    bounds = [
        solve(sections, each).latency
        for each in (none, worst_single(worst), worst_of_each(worst), sliding_window(seen), sliding_window(seen, own_worst=True))
    ]
    assert bounds == sorted(bounds) == [150, 180, 195, 225, 255]


def test_sporadic_diverges_where_interrupts_take_the_whole_cpu() -> None:
    sections = ThreadLatency(poid=100, paie=0, psd=0, dst=0)
    assert solve(sections, sporadic([(1, 4), (1, 4)]), 10**7) == solve(sections, sporadic([(1, 4), (1, 4)]))
    assert solve(sections, sporadic([(1, 4), (1, 4)])).latency == 200
    assert not solve(sections, sporadic([(2, 4), (1, 2)]), 10**7).converged


def test_interference_that_shrinks_is_refused() -> None:
    with pytest.raises(UsageError):
        solve(ThreadLatency(poid=10, paie=0, psd=0, dst=0), lambda window: 100 if window < 50 else 0)
