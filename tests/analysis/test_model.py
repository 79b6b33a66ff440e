from __future__ import annotations

from pathlib import Path

import pytest

from asyncirq.analysis.event import Event
from asyncirq.analysis.ftrace import read_capture
from asyncirq.analysis.latency import measure
from asyncirq.analysis.model import capture_from_records
from asyncirq.analysis.softirq_check import SoftirqReport, check_softirqs
from asyncirq.errors import UsageError
from asyncirq.trace.events import (
    DeviceRaise,
    IrqHandlerEntry,
    IrqHandlerExit,
    Record,
    SchedSwitch,
    SchedWaking,
    SoftirqEntry,
    SoftirqExit,
    SoftirqRaise,
    TimerStart,
    TracingMark,
    WorkqueueQueueWork,
)
from asyncirq.trace.names import CommTable
from asyncirq.trace.text import NANOSECONDS, render_trace

HARD = 0x10000
SERVING = 0x100


def head(seq: int, ts: int, pid: int, preempt_count: int = 0, irqs_off: bool = False) -> tuple[int, int, int, int, int, int, int]:
    return seq, 0, ts, 0, pid, preempt_count, int(irqs_off)


RECORDS: list[Record] = [
    TracingMark(*head(1, 1_000, 5), text="PHASE one"),
    DeviceRaise(2, 0, 1_500, -1, -1, 0, 0, device="eth0", source="rx"),
    IrqHandlerEntry(*head(3, 2_400, 5, HARD, True), irq=21, name="eth0"),
    SoftirqRaise(*head(4, 3_000, 5, HARD, True), vec=3),
    IrqHandlerExit(*head(5, 4_000, 5, HARD, True), irq=21, ret=1),
    SoftirqEntry(*head(6, 6_600, 5, SERVING), vec=3),
    WorkqueueQueueWork(*head(7, 7_000, 5, SERVING | 1), work="w", function="f", workqueue="events", req_cpu=8, target_cpu=0),
    TimerStart(
        *head(8, 7_500, 5, SERVING), timer="t", function="f", expires=9, timeout=1, bucket_expiry=9, timer_cpu=0, idx=3, flags="P|I"
    ),
    SchedWaking(*head(9, 8_000, 5, SERVING | 0x202, True), comm="reader", target_pid=7, prio=120, target_cpu=0),
    SoftirqExit(*head(10, 9_000, 5, SERVING), vec=3),
    SchedSwitch(
        *head(11, 12_000, 5, 2, True),
        prev_comm="worker",
        prev_pid=5,
        prev_prio=120,
        prev_state="R+",
        next_comm="reader",
        next_pid=7,
        next_prio=120,
    ),
]


def test_an_event_is_what_ftrace_would_show() -> None:
    events = capture_from_records(RECORDS, "run").events
    assert events[1] == Event(
        ts=2_400,
        cpu=0,
        pid=5,
        comm="worker",
        irqs="d",
        resched=".",
        context="h",
        depth=0,
        name="irq_handler_entry",
        fields={"irq": 21, "name": "eth0"},
        line=3,
    )
    assert [event.context for event in events] == [".", "h", "h", "h", "s", "s", "s", "s", "s", "."]
    assert (events[7].irqs, events[7].depth, events[7].fields["pid"]) == ("D", 2, 7)
    assert events[3].fields == {"irq": 21, "ret": "handled"}


@pytest.mark.parametrize("resolution_ns", [1, 1000])
def test_records_and_their_rendered_text_are_the_same_capture(tmp_path: Path, resolution_ns: int) -> None:
    digits = NANOSECONDS if resolution_ns == 1 else 6
    lines = list(render_trace(RECORDS, CommTable.of(RECORDS), digits))
    (tmp_path / "trace.txt").write_text("\n".join(lines) + "\n")
    text = read_capture(tmp_path / "trace.txt")
    ours = capture_from_records(RECORDS, "run", resolution_ns=resolution_ns)
    for event in (*text.events, *ours.events):
        event.line = 0
    assert ours.events == text.events
    assert (ours.cpus, ours.resolution_ns, ours.phases) == (text.cpus, text.resolution_ns, text.phases)


def test_the_same_metric_code_judges_a_run() -> None:
    ours = capture_from_records(RECORDS, "run")
    quantities = measure(ours).of_phase("one")
    assert quantities is not None
    assert {name: dist.samples for name, dist in quantities.quantities.items()} == {
        "hard_handler:eth0": (1_600,),
        "entry_to_NET_RX:eth0": (4_200,),
        "entry_to_NET_RX_last:eth0": (4_200,),
        "raise_to_entry:NET_RX": (3_600,),
        "softirq_run:NET_RX": (2_400,),
        "waking_to_switch:user": (4_000,),
    }
    assert check_softirqs(ours.events) == SoftirqReport(ok=1)


def test_stamps_are_rounded_like_text() -> None:
    assert [event.ts for event in capture_from_records(RECORDS, "run", resolution_ns=1000).events[:5]] == [1000, 2000, 3000, 4000, 7000]


def test_bad_records_are_refused() -> None:
    with pytest.raises(UsageError, match="run: no records of a CPU in this trace"):
        capture_from_records(RECORDS[1:2], "run")
    with pytest.raises(UsageError, match="run:3: time goes back on CPU 0"):
        capture_from_records([RECORDS[3], RECORDS[2]], "run")
