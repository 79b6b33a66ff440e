from __future__ import annotations

import inspect
from typing import Any

import pytest

from asyncirq.trace import RECORD_TYPES, Record, Recorder, events, tag_of
from tests.trace.fakes import FakeCpu, field_type, own_fields, recorder

METHODS = {"tracing_mark_write": "mark"}
BY_TAG = {tag_of(kind): kind for kind in RECORD_TYPES}


def emit_of(tag: str) -> Any:
    return getattr(Recorder, METHODS.get(tag, tag))


def test_header_is_what_every_reader_relies_on() -> None:
    assert Record.__struct_fields__ == ("seq", "cause", "ts", "cpu", "pid", "preempt_count", "common_flags")


def test_tags_are_unique_and_every_subclass_is_registered() -> None:
    assert len(BY_TAG) == len(RECORD_TYPES)
    assert set(RECORD_TYPES) == set(Record.__subclasses__())


def test_classes_are_exported_and_named_after_their_event() -> None:
    for tag, kind in BY_TAG.items():
        expected = "TracingMark" if tag == "tracing_mark_write" else "".join(part.capitalize() for part in tag.split("_"))
        assert kind.__name__ == expected
        assert getattr(events, expected) is kind
        assert expected in events.__all__


@pytest.mark.parametrize("tag", BY_TAG)
def test_emit_method_takes_exactly_the_fields(tag: str) -> None:
    parameters = list(inspect.signature(emit_of(tag)).parameters.values())[1:]
    lead = [parameter.name for parameter in parameters if parameter.name in {"cpu", "cause", "cpu_id", "irr_cause"}]
    fields = [parameter for parameter in parameters if parameter.name not in lead]
    assert tuple(parameter.name for parameter in fields) == own_fields(BY_TAG[tag])
    assert [parameter.annotation for parameter in fields] == [field_type(BY_TAG[tag], parameter.name) for parameter in fields]


@pytest.mark.parametrize("tag", BY_TAG)
def test_emit_method_puts_every_argument_into_its_field(tag: str) -> None:
    kind = BY_TAG[tag]
    rec, memory = recorder(now=1234)
    cpu = FakeCpu(id=3, pid=42, preempt_count=0x101, irqs_off=True, need_resched=True, cause=9)
    arguments: dict[str, Any] = {}
    for number, parameter in enumerate(list(inspect.signature(emit_of(tag)).parameters)[1:]):
        if parameter == "cpu":
            arguments[parameter] = cpu
        elif parameter in {"cause", "cpu_id", "irr_cause"}:
            arguments[parameter] = 100 + number
        else:
            arguments[parameter] = {"int": number + 20, "str": f"s{number}", "bool": number % 2 == 0}[field_type(kind, parameter)]
    assert getattr(rec, METHODS.get(tag, tag))(**arguments) == 1
    rec.flush()
    (record,) = memory.records
    assert type(record) is kind
    for field in own_fields(kind):
        assert getattr(record, field) == arguments[field]
    if "cpu" in arguments:
        header: tuple[Any, ...] = (arguments.get("irr_cause", 9), 1234, 3, 42, 0x101, 5)
    else:
        header = (arguments["cause"], 1234, arguments.get("cpu_id", -1), -1, 0, 0)
    assert tuple(getattr(record, field) for field in Record.__struct_fields__) == (1, *header)


def test_fields_never_hide_the_header() -> None:
    for kind in RECORD_TYPES:
        assert len(set(kind.__struct_fields__)) == len(kind.__struct_fields__)
        assert not set(own_fields(kind)) & set(Record.__struct_fields__)


def test_linux_order_of_fields() -> None:
    assert own_fields(events.SchedSwitch) == ("prev_comm", "prev_pid", "prev_prio", "prev_state", "next_comm", "next_pid", "next_prio")
    assert own_fields(events.WorkqueueQueueWork) == ("work", "function", "workqueue", "req_cpu", "target_cpu")
    assert own_fields(events.NapiPoll) == ("napi", "dev_name", "work", "budget")
    assert own_fields(events.HrtimerStart) == ("hrtimer", "function", "expires", "softexpires", "mode", "was_armed")
