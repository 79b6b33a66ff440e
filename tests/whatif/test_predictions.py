from __future__ import annotations

import pytest

from asyncirq.analysis.accuracy import Score, score
from asyncirq.whatif.accuracy import against_lines, median_lines
from tests.analysis.linux_captures import FOLDER, RT, metrics
from tests.whatif.predicted import REAL, events, prediction, source


def result(kernel: str) -> Score:
    return score(prediction(kernel).metrics, metrics(REAL[kernel]), source().metrics)


@pytest.mark.parametrize("kernel", ["threadirqs", "rt"])
def test_headline_medians_are_within_a_quarter(kernel: str) -> None:
    lines = median_lines("pair", prediction(kernel).metrics, metrics(REAL[kernel]))
    quantities = [line.split()[2].removeprefix("p50_ns.") for line in lines if " p50_ns." in line]
    assert quantities == ["entry_to_thread:eth0", "entry_to_NET_RX:eth0", "raise_to_entry:TIMER", "waking_to_switch:irq/eth0"]
    assert lines[-1] == "accuracy pair p50_within_25 4/4"


@pytest.mark.parametrize(("kernel", "h25", "h10", "t25", "hard_h25"), [("threadirqs", 90, 80, 80, 80), ("rt", 95, 90, 90, 95)])
def test_cells_are_as_near_as_they_were(kernel: str, h25: int, h10: int, t25: int, hard_h25: int) -> None:
    found = result(kernel)
    headline, hard = found.headline, found.hard
    assert headline.cells >= 25
    assert hard.cells >= 12
    assert headline.h25 is not None and headline.h25 >= h25
    assert headline.h10 is not None and headline.h10 >= h10
    assert headline.t25 is not None and headline.t25 >= t25
    assert hard.h25 is not None and hard.h25 >= hard_h25
    assert headline.w is not None and headline.w <= 0.13
    assert headline.skill is not None and headline.skill >= 0.55
    assert found.x <= 20


def test_bh_lock_of_preempt_rt_delays_the_receive_softirq() -> None:
    """The NIC's thread wants the lock that ping holds: without it the median would be about 15 us."""
    cell = next(cell for cell in result("rt").cells if cell.quantity == "entry_to_NET_RX:eth0" and cell.phase == "2-ping")
    assert cell.real[0] == 43_000
    assert abs(cell.predicted[0] - cell.real[0]) * 4 <= cell.real[0]


def test_vectors_run_where_each_kernel_runs_them() -> None:
    contexts = prediction("threadirqs").metrics.pooled.contexts
    assert max(contexts["NET_RX"], key=contexts["NET_RX"].__getitem__) == "irq_thread"
    assert max(contexts["TIMER"], key=contexts["TIMER"].__getitem__) == "ksoftirqd"
    contexts = prediction("rt").metrics.pooled.contexts
    assert set(contexts["TIMER"]) == set(contexts["HRTIMER"]) == {"ktimers"}
    assert "RCU" not in contexts


@pytest.mark.parametrize("kernel", ["napi-threaded", "workqueue", "tasklet", "rt+napi-threaded", "rt+workqueue"])
def test_receive_work_moves_out_of_its_softirq(kernel: str) -> None:
    recorded = source("2-ping").metrics.pooled
    pooled = prediction(kernel, "2-ping").metrics.pooled
    assert "NET_RX" not in pooled.softirqs
    assert pooled.interrupts == recorded.interrupts
    assert (pooled.packets, pooled.polls) == (recorded.packets, recorded.polls)


def test_threaded_napi_polls_in_its_thread() -> None:
    found = events("napi-threaded", "2-ping")
    assert {event.comm for event in found if event.name == "napi_poll"} == {"napi/eth0-1"}


def test_workqueue_executes_the_receive_work() -> None:
    found = events("workqueue", "2-ping")
    executed = [event for event in found if event.name == "workqueue_execute_start" and event.fields["function"] == "receive_work"]
    assert len(executed) == 176
    assert all(event.comm.startswith("kworker/0:") for event in executed)


def test_tasklet_runs_the_receive_work() -> None:
    found = events("tasklet", "2-ping")
    assert sum(event.name == "tasklet_entry" and event.fields["tasklet"] == "receive_tasklet" for event in found) == 176


def test_lines_against_a_real_capture_name_both() -> None:
    lines = against_lines(source(), prediction("rt"), FOLDER / RT, metrics(RT))
    assert {line.split()[1] for line in lines} == {"a4->c4"}
    assert "accuracy a4->c4 softirq_check.wrong 0" in lines


def test_costs_say_where_they_come_from() -> None:
    kinds = {cost.name: cost.kind for cost in prediction("rt").costs}
    assert kinds["try_to_wake_up"] == "measured"
    assert kinds["irq_thread_enter"] == "proxy"
    assert {name for name, kind in kinds.items() if kind == "prior"} == {"rt_lock_block", "rt_lock_hand_over", "rt_preempt_switch"}
