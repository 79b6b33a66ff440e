"""Show that the parts of the benchmark run, that both sides do the same work, and that a broken limit is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import bench, peer_simpy, workload

INTERRUPTS = 60


@pytest.mark.parametrize("cpus", [1, 3])
def test_both_sides_do_the_same_work(cpus: int, tmp_path: Path) -> None:
    traces = tmp_path / "ours.jsonl", tmp_path / "peer.jsonl", tmp_path / "tuned.jsonl"
    ours = workload.run(cpus, INTERRUPTS, traces[0])
    peer = peer_simpy.run(cpus, INTERRUPTS, traces[1])
    tuned = peer_simpy.run(cpus, INTERRUPTS, traces[2], tuned=True)
    for result in (ours, peer, tuned):
        assert (result.interrupts, result.packets) == (INTERRUPTS, INTERRUPTS)
    assert (ours.records_per_interrupt, peer.records_per_interrupt, tuned.records_per_interrupt) == (14, 14, 14)
    assert [trace.read_bytes().count(b"\n") for trace in traces[1:]] == [14 * INTERRUPTS] * 2
    assert traces[0].read_bytes().count(b"\n") > 14 * INTERRUPTS


def test_untraced_sides_do_the_same_work_too() -> None:
    for result in (workload.run(2, INTERRUPTS, None, far_timers=10), peer_simpy.run(2, INTERRUPTS, None)):
        assert (result.interrupts, result.packets, result.records) == (INTERRUPTS, INTERRUPTS, 0)


def test_a_trace_does_not_depend_on_where_it_goes(tmp_path: Path) -> None:
    assert workload.run(2, INTERRUPTS, tmp_path / "trace.jsonl").digest == workload.run(2, INTERRUPTS, None, digest=True).digest


def test_every_tenth_is_looked_at() -> None:
    result = workload.run(1, 100, None)
    assert (len(result.tenths), len(result.rss_kib)) == (10, 10)


def test_a_broken_limit_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    limits = bench.Limits()
    limits.ratio("example", 1.5)
    limits.floor("example", 1.5, 1, 2)
    limits.ceiling("example", 1.5, 2)
    assert limits.broken == 0
    limits.floor("example", 0.5, 1, 2)
    limits.ceiling("example", 2.5, 2)
    assert limits.broken == 2
    assert capsys.readouterr().out == "ratio example 1.50\n"
    assert limits.verdicts == [
        "ok      example 1.50, at least 1 (the aim is 2)",
        "ok      example 1.50, at most 2",
        "BROKEN  example 0.50, at least 1 (the aim is 2)",
        "BROKEN  example 2.50, at most 2",
    ]


def test_a_measurement_is_a_process_of_its_own() -> None:
    assert bench.measure("asyncirq", 1, 20).interrupts == 20
