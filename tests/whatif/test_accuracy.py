from __future__ import annotations

import msgspec
import pytest

from asyncirq.analysis.dist import Dist
from asyncirq.whatif.accuracy import against_lines, self_lines, tail_lines
from tests.analysis.linux_captures import FOLDER, THREADIRQS, metrics
from tests.whatif.predicted import prediction, source

# A replay makes recorded wake-ups where their task or handler is now, which need not be where its kernel made them.
pytestmark = pytest.mark.monitor_rule("opid", "R11")


@pytest.mark.parametrize(("ours", "theirs"), [(True, False), (False, True)])
def test_clock_that_follows_its_host_leaves_the_order_alone(ours: bool, theirs: bool) -> None:
    origin = msgspec.structs.replace(source(), host_clock=ours)
    lines = against_lines(origin, prediction("threadirqs"), FOLDER / THREADIRQS, metrics(THREADIRQS), host_clock=theirs)
    names = [line.split()[2] for line in lines]
    assert "clock" in names
    assert not any(name.startswith(("headline", "hard", "p50", "p99")) for name in names)
    (value,) = [line.split()[3] for line in lines if line.split()[2] == "spearman"]
    assert float(value) > 0.95


def test_self_replay_of_such_a_capture_still_counts() -> None:
    lines = self_lines(msgspec.structs.replace(source(), host_clock=True), prediction("stock"))
    names = [line.split()[2] for line in lines]
    assert names[:3] == ["counts.irq_handler_entry", "counts.vector_entry", "counts.softirq_entry"]
    assert "headline.H10" not in names


def test_tails_are_ratios() -> None:
    real = metrics(THREADIRQS)
    assert tail_lines("pair", real, real)[0] == "accuracy pair p99_ratio.raise_to_entry:TIMER 1.00"
    dist = real.pooled.quantities["raise_to_entry:TIMER"]
    double = msgspec.structs.replace(real.pooled, quantities={"raise_to_entry:TIMER": Dist.of(2 * one for one in dist.samples)})
    assert tail_lines("pair", msgspec.structs.replace(real, pooled=double), real) == ["accuracy pair p99_ratio.raise_to_entry:TIMER 2.00"]
