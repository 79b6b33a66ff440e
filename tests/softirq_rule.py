"""Hold every trace that a test's machine leaves in memory or in a file against the rule of the softirq pass.

A test that plants a fault in how softirqs are served, damages a trace, writes records by hand, or begins with something pending that
nobody raised says so: ``@pytest.mark.softirq_rule("broken")``.
One that raises timer vectors from hard interrupts without being the tick: ``@pytest.mark.softirq_rule("plain timers")``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

from asyncirq.analysis.event import Event
from asyncirq.analysis.softirq_check import SoftirqChecker, SoftirqReport
from asyncirq.trace.events_irq import SoftirqEntry, SoftirqExit, SoftirqRaise
from asyncirq.trace.events_sched import SchedSwitch
from asyncirq.trace.names import latency_flags
from asyncirq.trace.reader import read_jsonl
from asyncirq.trace.record import Record, tag_of
from asyncirq.trace.sinks import FileSink, MemorySink
from tests.monitor_rule import refused

_WANTED: Final[dict[type[Record], str]] = {kind: tag_of(kind) for kind in (SoftirqRaise, SoftirqEntry, SoftirqExit, SchedSwitch)}


def check_records(records: Iterable[Record], plain_timers: bool = False) -> SoftirqReport:
    """Check the softirqs of a machine from its boot on, when nothing is pending."""
    events: list[Event] = []
    ktimers: dict[int, str] = {}
    for record in records:
        name = _WANTED.get(type(record))
        if name is None:
            continue
        fields: dict[str, str | int] = {}
        if isinstance(record, SchedSwitch):
            if record.next_comm.startswith("ktimers/"):
                ktimers[record.next_pid] = record.next_comm
        else:
            fields["vec"] = record.vec  # type: ignore[attr-defined]  # each of the three others has it
        context = latency_flags(record.preempt_count, record.common_flags)[2]
        events.append(Event(record.ts, record.cpu, record.pid, ktimers.get(record.pid, ""), ".", ".", context, 0, name, fields, record.seq))
    checker = SoftirqChecker(bool(ktimers), start={}, plain_timers=plain_timers)
    checker.feed(events)
    return checker.report


@pytest.fixture(autouse=True)
def softirq_rule(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Check what the machines of a test have recorded, at its end."""
    marker = request.node.get_closest_marker("softirq_rule")
    said = marker.args if marker is not None else ()
    if "broken" in said:
        yield
        return
    made: list[MemorySink] = []
    files: dict[Path, None] = {}
    init, init_file = MemorySink.__init__, FileSink.__init__

    def remember(sink: MemorySink) -> None:
        init(sink)
        made.append(sink)

    def remember_file(sink: FileSink, path: str | Path) -> None:
        init_file(sink, path)
        files[sink.path] = None

    monkeypatch.setattr(MemorySink, "__init__", remember)
    monkeypatch.setattr(FileSink, "__init__", remember_file)
    yield
    marker = request.node.get_closest_marker("monitor_rule")
    for sink in made:
        assert check_records(sink.records, "plain timers" in said).wrong == []
        wrong = refused(sink.records, marker.args if marker is not None else ())
        assert not wrong, wrong[0]
    for path in files:
        if path.is_file():
            assert check_records(read_jsonl(path), "plain timers" in said).wrong == []
