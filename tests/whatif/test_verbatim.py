from __future__ import annotations

from typing import cast

from asyncirq.analysis.model import capture_from_records
from asyncirq.hw.cpu import Cpu
from asyncirq.trace.events import HrtimerStart, NapiPoll, OtherEvent, SchedWaking
from asyncirq.trace.recorder import Recorder
from asyncirq.trace.sinks import MemorySink
from asyncirq.whatif.verbatim import Verbatim
from tests.trace.fakes import FakeCpu


class Clock:
    now = 5_000


def emitted(name: str, fields: dict[str, str | int]) -> MemorySink:
    sink = MemorySink()
    recorder = Recorder(Clock(), [sink], check=True)
    Verbatim(recorder).emit(cast(Cpu, FakeCpu(id=1, pid=7)), name, fields)
    recorder.flush()
    return sink


def test_known_tracepoint_becomes_its_record() -> None:
    (record,) = emitted("napi_poll", {"napi": "0x1", "dev_name": "eth0", "work": 3, "budget": 64}).records
    assert isinstance(record, NapiPoll)
    assert (record.ts, record.cpu, record.pid) == (5_000, 1, 7)
    assert (record.napi, record.dev_name, record.work, record.budget) == ("0x1", "eth0", 3, 64)


def test_names_that_the_header_took_are_translated() -> None:
    (record,) = emitted("sched_waking", {"comm": "a", "pid": 9, "prio": 120, "target_cpu": 0}).records
    assert isinstance(record, SchedWaking)
    assert record.target_pid == 9


def test_missing_fields_are_empty_and_types_are_the_records() -> None:
    (record,) = emitted("hrtimer_start", {"hrtimer": "0x2", "function": "f", "expires": "17", "was_armed": 1}).records
    assert isinstance(record, HrtimerStart)
    assert (record.expires, record.softexpires, record.mode, record.was_armed) == (17, 0, "", True)


def test_unknown_tracepoint_keeps_name_and_text() -> None:
    sink = emitted("napi_gro_receive_entry", {"dev": "eth0", "len": 84})
    (record,) = sink.records
    assert isinstance(record, OtherEvent)
    assert (record.name, record.text) == ("napi_gro_receive_entry", "dev=eth0 len=84")
    (event,) = capture_from_records(sink.records, "test").events
    assert (event.name, event.fields) == ("napi_gro_receive_entry", {"text": "dev=eth0 len=84"})


def test_text_that_nobody_could_parse_stays_as_it_is() -> None:
    (record,) = emitted("strange", {"text": "as it was"}).records
    assert isinstance(record, OtherEvent)
    assert record.text == "as it was"
