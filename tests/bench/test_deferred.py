"""Show that the measurements of deferred work do what they say, in small."""

from __future__ import annotations

import pytest

from asyncirq.machine import Machine
from tests.bench import bench, deferred


@pytest.mark.parametrize("kind", deferred.KINDS)
def test_as_many_items_run_as_were_asked_for(kind: str) -> None:
    cost = deferred.run(kind, 300, 50)
    assert cost.items >= 300
    assert cost.us > 0


def test_expiries_come_as_often_with_many_pending_as_with_few() -> None:
    """Else the comparison would be of how busy the machine is: expiries in one slice, which is longer than any timer runs."""
    few, many = deferred.run("hrtimer", 1, 100).items, deferred.run("hrtimer", 1, 1_000).items
    assert 0.9 * few < many < 1.1 * few
    assert deferred.SLICE_NS > 2 * 1_000 // deferred.PER_JIFFY * 4_000_000


def test_growth_beyond_the_limit_breaks_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    costs = {("timer", deferred.FEW): 1.0, ("timer", deferred.MANY): 1.2, ("hrtimer", deferred.FEW): 1.0, ("hrtimer", deferred.MANY): 1.4}
    monkeypatch.setattr(bench, "cost_of", lambda kind, items, pending: costs.get((kind, pending), 2.0))
    limits = bench.Limits()
    bench.deferred_work(limits, 10)
    assert limits.verdicts[:2] == ["ok      tasklet_pending 1.00, at most 1.3", "ok      work_pending 1.00, at most 1.3"]
    assert limits.verdicts[2:] == ["ok      timer_pending 1.20, at most 1.3", "BROKEN  hrtimer_pending 1.40, at most 1.3"]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "deferred tasklet 2.00 us an item with 100 timers pending, 2.00 with 100000, 10 items each"
    assert said[4:6] == [
        "deferred timer 1.00 us an item with 100 timers pending, 1.20 with 100000, 10 items each",
        "ratio timer_pending 1.20",
    ]


def test_a_measurement_is_a_process_of_its_own() -> None:
    assert bench.cost_of("tasklet", 100, 0) > 0


def test_timers_pend_beside_tasklets_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their expiries go to a counter of their own."""
    armed = []
    timers = deferred.timers

    async def noted(machine: Machine, counter: deferred.Counter, pending: int) -> None:
        await timers(machine, counter, pending)
        armed.append((counter, pending))

    monkeypatch.setattr(deferred, "timers", noted)
    for kind in ("tasklet", "work"):
        cost = deferred.run(kind, 300, 50)
        assert armed[-1][1] == 50
        assert cost.items >= 300
        assert armed[-1][0].items > 0
