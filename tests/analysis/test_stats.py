from __future__ import annotations

from asyncirq.analysis.dist import Dist
from asyncirq.analysis.stats import CURVE_POINTS, Change, changes, curve, phase_names, run_stats
from tests.analysis.linux_captures import STOCK, THREADIRQS, metrics


def test_curve_has_every_distinct_step() -> None:
    assert curve(Dist.of([5, 3, 3, 9, 5, 3])) == [(3, 3), (5, 5), (9, 6)]


def test_long_curve_is_thinned_to_exact_points() -> None:
    dist = Dist.of([value * value for value in range(3_000)] + [0] * 5)
    full = {value: index + 6 for index, value in enumerate(value * value for value in range(3_000))}
    thin = curve(dist)
    assert 400 <= len(thin) <= CURVE_POINTS
    assert all(full[value] == below for value, below in thin)
    assert thin[0] == (0, 6)
    assert thin[-100:] == [(value * value, value + 6) for value in range(2_900, 3_000)]
    assert thin == sorted(set(thin))


def test_one_dominant_step_does_not_break_thinning() -> None:
    thin = curve(Dist.of([0] * 1_000_000 + list(range(1, 700))))
    assert thin[0] == (0, 1_000_000)
    assert thin[-1] == (699, 1_000_699)
    assert len(thin) <= CURVE_POINTS


def test_stats_are_those_of_the_metrics() -> None:
    source = metrics(STOCK)
    stats = run_stats(source)
    dist, shown = source.pooled.quantities["entry_to_NET_RX:eth0"], stats.pooled.quantities["entry_to_NET_RX:eth0"]
    assert (shown.n, shown.p50, shown.p90, shown.p99, shown.p999, shown.max) == (404, 5_000, 6_000, 28_000, 146_000, 146_000)
    assert (shown.steps, shown.cdf[-1]) == (len(shown.cdf), (dist.max, dist.n))
    assert sum(stats.pooled.cpu_share.values()) == 1
    assert stats.of_phase("2-ping") is stats.phases[1]
    assert stats.of_phase("pooled") is stats.pooled
    assert stats.of_phase("none") is None
    assert stats.pooled.context_share("NET_RX", "irq_exit") == 393 / 423
    assert stats.pooled.context_share("HRTIMER", "ktimers") is None


def test_changes_are_new_minus_old_where_both_have_the_quantity() -> None:
    rows = changes(metrics(STOCK), metrics(THREADIRQS))
    found = next(row for row in rows if (row.phase, row.quantity) == ("pooled", "entry_to_NET_RX:eth0"))
    assert found == Change("pooled", "entry_to_NET_RX:eth0", 9_000, 11_000, -1_000, -114_000, -114_000, found.w1)
    assert 8_000 < found.w1 < 11_000
    assert not any(row.quantity.startswith("entry_to_thread") for row in rows)
    assert {row.w1 for row in changes(metrics(STOCK), metrics(STOCK))} == {0}


def test_phases_keep_the_first_run_s_order() -> None:
    stats = run_stats(metrics(STOCK))
    other = run_stats(metrics(THREADIRQS))
    other.phases.reverse()
    assert phase_names([stats, other]) == [phase.phase for phase in stats.phases]
