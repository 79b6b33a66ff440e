from __future__ import annotations

import msgspec
import pytest

from asyncirq.analysis.dist import Dist, w1n, wasserstein_1
from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.latency import measure, measure_halves
from asyncirq.analysis.metrics import Metrics, join, pool
from asyncirq.analysis.names import TaskClasses
from asyncirq.analysis.phases import cut_phases
from tests.analysis.linux_captures import ALL, RT, STOCK, THREADIRQS, capture, metrics

Row = tuple[str, int, int, int, int]

# quantity, n, p50, p90, p99 in microseconds
STOCK_ROWS: tuple[Row, ...] = (
    ("hard_handler:eth0", 404, 3, 3, 3),
    ("entry_to_NET_RX:eth0", 404, 5, 6, 28),
    ("entry_to_NET_RX_last:eth0", 404, 5, 6, 28),
    ("raise_to_entry:NET_RX", 423, 3, 4, 243),
    ("raise_to_entry:TIMER", 106, 8, 9, 32),
    ("raise_to_entry:TASKLET", 136, 4, 13, 84),
    ("local_timer_to_TIMER", 106, 12, 14, 36),
    ("waking_to_switch:ksoftirqd", 41, 11, 238, 240),
    ("waking_to_switch:kworker", 36, 21, 58, 1188),
    ("waking_to_switch:kworker-highpri", 243, 9, 9, 20),
    ("waking_to_switch:kworker-unbound", 49, 13, 27, 58),
    ("waking_to_switch:user", 552, 12, 15, 689),
    ("softirq_run:NET_RX", 423, 19, 45, 817),
    ("local_timer_vector", 740, 9, 12, 12),
    ("queue_to_execute", 340, 14, 28, 948),
)
THREADIRQS_ROWS: tuple[Row, ...] = (
    ("hard_handler:eth0", 575, 1, 2, 2),
    ("entry_to_thread:eth0", 571, 11, 13, 21),
    ("entry_to_thread_last:eth0", 571, 11, 13, 21),
    ("entry_to_NET_RX:eth0", 575, 14, 17, 27),
    ("raise_to_entry:NET_RX", 590, 2, 2, 14),
    ("raise_to_entry:TIMER", 111, 18, 23, 52),
    ("raise_to_entry:TASKLET", 139, 2, 12, 39),
    ("local_timer_to_TIMER", 111, 22, 27, 55),
    ("waking_to_switch:irq/eth0", 571, 8, 11, 18),
    ("waking_to_switch:irq/ahci[0000:00:1f.2]", 100, 8, 11, 17),
    ("waking_to_switch:irq/virtio0-req.0", 100, 8, 10, 14),
    ("waking_to_switch:irq/ehci_hcd:usb1", 124, 8, 8, 11),
    ("waking_to_switch:ksoftirqd", 133, 8, 17, 322),
    ("waking_to_switch:kworker", 42, 26, 134, 359),
    ("waking_to_switch:kworker-highpri", 243, 9, 9, 17),
    ("waking_to_switch:kworker-unbound", 50, 15, 30, 46),
    ("waking_to_switch:user", 903, 14, 15, 110),
    ("softirq_run:NET_RX", 590, 20, 38, 1137),
    ("local_timer_vector", 769, 9, 12, 12),
)
RT_ROWS: tuple[Row, ...] = (
    ("hard_handler:eth0", 418, 1, 2, 2),
    ("entry_to_thread:eth0", 414, 11, 13, 14),
    ("entry_to_thread_last:eth0", 534, 12, 40, 42),
    ("entry_to_NET_RX:eth0", 418, 15, 44, 46),
    ("raise_to_entry:NET_RX", 439, 2, 2, 21),
    ("raise_to_entry:TIMER", 118, 21, 24, 70),
    ("raise_to_entry:HRTIMER", 213, 15, 16, 35),
    ("raise_to_entry:TASKLET", 140, 2, 12, 22),
    ("local_timer_to_TIMER", 118, 25, 29, 74),
    ("waking_to_switch:irq/eth0", 534, 10, 11, 12),
    ("waking_to_switch:irq/virtio0-req.0", 100, 8, 8, 9),
    ("waking_to_switch:ktimers", 330, 10, 18, 62),
    ("waking_to_switch:kworker", 40, 37, 224, 872),
    ("waking_to_switch:kworker-highpri", 243, 10, 10, 13),
    ("waking_to_switch:kworker-unbound", 48, 12, 30, 47),
    ("waking_to_switch:user", 789, 13, 15, 739),
    ("softirq_run:NET_RX", 439, 20, 46, 1170),
    ("local_timer_vector", 792, 9, 16, 21),
)


def row(result: Metrics, quantity: str) -> Row:
    dist = result.pooled.quantities[quantity]
    return quantity, dist.n, *(value // 1000 for value in (dist.p50, dist.p90, dist.p99))  # type: ignore[return-value]


@pytest.mark.parametrize(("name", "rows"), [(STOCK, STOCK_ROWS), (THREADIRQS, THREADIRQS_ROWS), (RT, RT_ROWS)])
def test_shipped_captures_give_the_known_figures(name: str, rows: tuple[Row, ...]) -> None:
    assert tuple(row(metrics(name), quantity) for quantity, *_ in rows) == rows


def test_no_thread_latency_where_there_are_no_irq_threads() -> None:
    assert not [quantity for quantity in metrics(STOCK).pooled.quantities if quantity.startswith("entry_to_thread")]


def test_interrupts_per_line_and_phase() -> None:
    counts = {name: [phase.interrupts.get("eth0", 0) for phase in metrics(name).phases[1:7]] for name in ALL}
    assert counts == {STOCK: [176, 157, 18, 2, 13, 35], THREADIRQS: [149, 169, 201, 1, 13, 39], RT: [172, 166, 11, 4, 15, 47]}
    assert metrics(STOCK).pooled.interrupts == {
        **{"ahci[0000:00:1f.2]": 100, "ehci_hcd:usb1": 124, "eth0": 404, "i8042": 17, "ttyS1": 79, "virtio0-req.0": 100},
    }
    assert metrics(RT).pooled.vectors == {"irq_work": 4, "local_timer": 792}


def test_contexts_of_the_vectors() -> None:
    assert metrics(STOCK).pooled.contexts == {
        "NET_RX": {"irq_exit": 393, "ksoftirqd": 30},
        "NET_TX": {"irq_exit": 3, "ksoftirqd": 5, "task_bh_enable": 3},
        "RCU": {"irq_exit": 76, "ksoftirqd": 53},
        "TASKLET": {"irq_exit": 135, "ksoftirqd": 1},
        "TIMER": {"irq_exit": 102, "ksoftirqd": 4},
    }
    assert metrics(THREADIRQS).pooled.contexts["NET_RX"] == {"irq_thread": 581, "ksoftirqd": 9}
    assert metrics(RT).pooled.contexts["TIMER"] == {"ktimers": 118}
    assert metrics(RT).pooled.contexts["HRTIMER"] == {"ktimers": 213}


def test_censored_interrupts_are_counted() -> None:
    assert metrics(THREADIRQS).pooled.censored == {
        **{"awake:entry_to_thread:eth0": 3, "awake:entry_to_thread:i8042": 1, "awake:entry_to_thread:ttyS1": 33},
        **{"merged:entry_to_thread:eth0": 1, "merged:entry_to_thread:ttyS1": 7},
        **{"no_effect:eth0": 4, "no_effect:i8042": 1, "no_effect:ttyS1": 40},
    }


def test_cpu_time_is_the_span_of_the_trace() -> None:
    pooled = metrics(STOCK).pooled
    events = capture(STOCK).events
    assert sum(pooled.cpu_ns.values()) == events[-1].ts - events[0].ts
    assert pooled.cpu_ns == {"hardirq": 10_478_000, "idle": 4_441_700_000, "softirq": 32_274_000, "task": 1_069_615_000}
    assert round(pooled.cpu_share("idle"), 3) == 0.8
    assert pooled.switches == 2114
    assert round(pooled.switches_per_second, 1) == 380.6
    assert round(pooled.interrupts_per_second, 1) == 281.6


def test_result_is_deterministic_json_and_comes_back() -> None:
    encoded = metrics(RT).to_json()
    assert measure(capture(RT), RT).to_json() == encoded
    assert msgspec.json.decode(encoded, type=Metrics) == metrics(RT)


def test_joined_phases_make_the_pooled_result() -> None:
    whole = metrics(STOCK)
    assert pool("pooled", whole.phases).quantities["raise_to_entry:NET_RX"] == whole.pooled.quantities["raise_to_entry:NET_RX"]
    both = join("both", [whole, metrics(RT)])
    assert both.pooled.interrupts["eth0"] == 404 + 418
    assert len(both.phases) == 30


def test_halves_share_out_the_samples() -> None:
    first, second = measure_halves(capture(STOCK))
    halves = [half.pooled.quantities["hard_handler:eth0"].n for half in (first, second)]
    assert sum(halves) == 404
    assert max(halves) - min(halves) <= len(first.phases)


def event(ts: int, kind: str, context: str = ".", /, **fields: str | int) -> Event:
    return Event(ts, 0, 0, "<idle>", ".", ".", context, 0, kind, fields, ts)


def switch(ts: int, comm: str, pid: int) -> Event:
    return event(ts, "sched_switch", next_comm=comm, next_pid=pid, prev_comm="x", prev_pid=9, prev_state="S")


def small(events: list[Event]) -> Metrics:
    return measure(Capture("small", events, 1, 1, cut_phases(events)))


def test_first_and_last_pairing_differ_where_an_interrupt_is_merged() -> None:
    result = small(
        [
            event(10, "irq_handler_entry", "h", irq=5, name="a"),
            event(11, "irq_handler_exit", "h", irq=5, ret="handled"),
            event(20, "irq_handler_entry", "h", irq=5, name="a"),
            event(21, "irq_handler_exit", "h", irq=5, ret="handled"),
            event(22, "sched_waking", "h", comm="irq/5-a", pid=7),
            switch(30, "irq/5-a", 7),
        ]
    ).pooled
    assert result.quantities["entry_to_thread:a"] == Dist((20,))
    assert result.quantities["entry_to_thread_last:a"] == Dist((10,))
    assert result.censored == {"merged:entry_to_thread:a": 1, "no_effect:a": 1}


def test_a_shared_line_counts_once_and_times_each_action() -> None:
    result = small(
        [
            event(10, "irq_handler_entry", "h", irq=5, name="a"),
            event(12, "irq_handler_exit", "h", irq=5, ret="unhandled"),
            event(13, "irq_handler_entry", "h", irq=5, name="b"),
            event(18, "irq_handler_exit", "h", irq=5, ret="handled"),
            event(19, "sched_waking", "h", comm="irq/5-a", pid=7),
            switch(30, "irq/5-a", 7),
        ]
    ).pooled
    assert result.quantities["hard_handler:a"] == Dist((2,))
    assert result.quantities["hard_handler:b"] == Dist((5,))
    assert result.quantities["entry_to_thread:a"] == Dist((20,))
    assert "merged:entry_to_thread:a" not in result.censored


def test_only_the_first_raise_and_the_first_waking_count() -> None:
    result = small(
        [
            event(1, "softirq_raise", "h", vec=1),
            event(5, "softirq_raise", "h", vec=1),
            event(6, "softirq_entry", "s", vec=1),
            event(7, "sched_waking", "s", comm="t", pid=7),
            event(8, "sched_waking", "s", comm="t", pid=7),
            event(9, "softirq_exit", "s", vec=1),
            switch(17, "t", 7),
        ]
    ).pooled.quantities
    assert result == {"raise_to_entry:TIMER": Dist((5,)), "softirq_run:TIMER": Dist((3,)), "waking_to_switch:user": Dist((10,))}


def test_an_arm64_timer_and_ipi_count_once() -> None:
    result = small(
        [
            event(1, "irq_handler_entry", "h", irq=11, name="arch_timer"),
            event(2, "softirq_raise", "h", vec=1),
            event(4, "irq_handler_exit", "h", irq=11, ret="handled"),
            event(5, "softirq_entry", "s", vec=1),
            event(6, "softirq_exit", "s", vec=1),
            event(7, "irq_handler_entry", "h", irq=1, name="IPI"),
            event(7, "ipi_entry", "h", reason="Rescheduling interrupts"),
            event(8, "ipi_exit", "h", reason="Rescheduling interrupts"),
            event(9, "irq_handler_exit", "h", irq=1, ret="handled"),
        ]
    ).pooled
    assert result.quantities["local_timer_vector"] == Dist((3,))
    assert result.quantities["local_timer_to_TIMER"] == Dist((4,))
    assert (result.interrupts, result.vectors) == ({"IPI": 1, "arch_timer": 1}, {})
    assert result.cpu_ns == {"hardirq": 5, "idle": 2, "softirq": 1}


def test_task_classes() -> None:
    classes = TaskClasses({28: "virtio0-req.0"})
    comms = ["irq/28-virtio0-", "irq/28-s-virtio", "irq/3-x", "ksoftirqd/0", "ktimers/1", "kworker/0:1H-kb", "kworker/0:1-eve"]
    comms += ["kworker/u2:0-ev", "swapper/3", "<idle>", "napi/eth0-8193", "rcu_preempt", "usb-storage", "my-program"]
    assert [classes.of(comm) for comm in comms] == [
        *("irq/virtio0-req.0", "irq/virtio0-req.0-s", "irq/x", "ksoftirqd", "ktimers", "kworker-highpri", "kworker"),
        *("kworker-unbound", "idle", "idle", "napi", "rcu_preempt", "usb-storage", "user"),
    ]


def test_quantiles_are_observed_values() -> None:
    dist = Dist.of(range(100, 0, -1))
    assert (dist.n, dist.p50, dist.p90, dist.p99, dist.p999, dist.max) == (100, 51, 91, 100, 100, 100)
    assert Dist((7,)).p50 == 7


def test_wasserstein_distance() -> None:
    assert wasserstein_1(Dist((1, 2, 3)), Dist((1, 2, 3))) == 0
    assert wasserstein_1(Dist((0, 0)), Dist((5,))) == 5
    assert wasserstein_1(Dist((0, 10)), Dist((5,))) == 5
    assert wasserstein_1(Dist((1, 2, 3, 4)), Dist((2, 4))) == 0.5
    assert w1n(Dist((4, 4)), Dist((2, 2))) == 0.0  # clipped at the real p98
    assert w1n(Dist((1, 1)), Dist((2, 2))) == 0.5
    assert w1n(Dist((0,)), Dist((0,))) == 0.0
