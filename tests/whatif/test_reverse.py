"""The other way: what captures of threadirqs and PREEMPT_RT say of the other kernels."""

from __future__ import annotations

import asyncio
import functools

import pytest

from asyncirq.analysis.accuracy import Score, score
from asyncirq.whatif.kernels import parse_targets
from asyncirq.whatif.run import KernelPrediction, predict_one
from asyncirq.whatif.source import Source, load
from tests.analysis.linux_captures import FOLDER, metrics
from tests.whatif.predicted import REAL, SEED

# A replay makes recorded wake-ups where their task or handler is now, which need not be where its kernel made them.
pytestmark = pytest.mark.monitor_rule("opid", "R11")


@functools.cache
def origin(kernel: str) -> Source:
    return load(FOLDER / REAL[kernel])


@functools.cache
def predicted(source: str, kernel: str) -> KernelPrediction:
    (target,) = parse_targets(kernel, origin(source).release)
    return asyncio.run(predict_one(origin(source), target, seed=SEED))


def result(source: str, kernel: str) -> Score:
    return score(predicted(source, kernel).metrics, metrics(REAL[kernel]), origin(source).metrics)


@pytest.mark.parametrize(
    ("source", "kernel", "h10", "h25"),
    [("rt", "stock", 80, 80), ("rt", "rt", 85, 90), ("threadirqs", "stock", 90, 95), ("threadirqs", "rt", 90, 95)],
)
def test_cells_are_as_near_as_they_were(source: str, kernel: str, h10: int, h25: int) -> None:
    found = result(source, kernel).headline
    assert found.cells >= 14
    assert found.h10 is not None and found.h10 >= h10
    assert found.h25 is not None and found.h25 >= h25


@pytest.mark.parametrize("source", ["rt", "threadirqs"])
def test_every_device_interrupt_comes_back(source: str) -> None:
    real = metrics(REAL[source])
    for phase in predicted(source, source).metrics.phases:
        there = real.of_phase(phase.phase)
        assert there is not None
        assert phase.interrupts == there.interrupts


def test_stock_kernel_has_no_threads_left() -> None:
    found = predicted("rt", "stock")
    assert found.softirqs.wrong == []
    assert not any(name.startswith(("entry_to_thread:", "waking_to_switch:irq/")) for name in found.metrics.pooled.quantities)
    assert "HRTIMER" not in found.metrics.pooled.contexts
    assert set(found.metrics.pooled.contexts["TIMER"]) <= {"irq_exit", "ksoftirqd", "task_bh_enable", "idle"}


def test_costs_that_only_stock_shows_are_priors() -> None:
    kinds = {cost.name: cost.kind for cost in predicted("rt", "stock").costs}
    assert kinds["irq_exit_softirq"] == "prior"
    assert kinds["try_to_wake_up"] == "measured"


def test_note_says_what_was_done() -> None:
    assert any("what its irq threads did went back into the interrupts" in note for note in predicted("rt", "stock").notes)
