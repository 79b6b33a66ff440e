from __future__ import annotations

import io
import json
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from asyncirq.errors import UsageError
from asyncirq.trace import CommTable, Processor, Readable, StructlogSink, encode_lines
from asyncirq.trace.structlog_sink import CHUNK
from tests.trace.fakes import FakeCpu, one_of_each, recorder

RECORDS = one_of_each()
LINES = encode_lines(RECORDS)


CONSOLE_LINE = "1.000000123 IRQ_HANDLER_ENTRY seq=2 cause=7 cpu=1 task=bash-42 flags=d.h.. irq=19 name=eth0"


def written(*processors: Processor, records: Any = RECORDS, **options: Any) -> bytes:
    out = io.BytesIO()
    sink = StructlogSink(out, processors, **options)
    sink.write(records, encode_lines(records))
    sink.flush()
    sink.close()
    return out.getvalue()


def keep(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    return event


def test_default_is_the_lines_as_they_are() -> None:
    assert StructlogSink(io.BytesIO()).wants_lines
    assert written() == LINES


def test_default_stream_is_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    sink = StructlogSink()
    sink.write(RECORDS, LINES)
    sink.close()
    assert capfdbinary.readouterr().out == LINES


def test_processors_that_change_nothing_write_the_same_bytes() -> None:
    assert len(RECORDS) % CHUNK
    many = RECORDS * 3
    assert len(many) > 2 * CHUNK
    assert written(keep, keep, records=many) == LINES * 3


def test_processors_see_each_record_in_order_and_may_replace_it() -> None:
    seen = []

    def note(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        seen.append((logger, method, event["event"]))
        return {"event": event["event"], "seq": event["seq"]}

    text = written(note, logger="me", records=RECORDS[:2])
    assert text == b'{"event":"irq_handler_entry","seq":1}\n{"event":"irq_handler_exit","seq":2}\n'
    assert seen == [("me", "info", "irq_handler_entry"), ("me", "info", "irq_handler_exit")]


def test_method_is_the_printks_level() -> None:
    rec, memory = recorder()
    for level in range(8):
        rec.printk(FakeCpu(), level, "x")
    rec.flush()
    out = written(structlog.stdlib.add_log_level, records=memory.records).splitlines()
    levels = [json.loads(line)["level"] for line in out]
    assert levels == ["critical", "critical", "critical", "error", "warning", "info", "info", "debug"]


def test_dropped_records_are_dropped_by_the_user_alone() -> None:
    def only_softirqs(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        if not event["event"].startswith("softirq"):
            raise structlog.DropEvent
        return event

    assert [json.loads(line)["event"] for line in written(only_softirqs).splitlines()] == ["softirq_raise", "softirq_entry", "softirq_exit"]


def test_users_own_renderer() -> None:
    text = written(structlog.processors.KeyValueRenderer(key_order=["event"]), records=RECORDS[:1]).decode()
    assert text.startswith("event='irq_handler_entry' seq=1 cause=0 ts=10 ")
    assert written(structlog.processors.JSONRenderer(), records=RECORDS[:2]).count(b"\n") == 2
    assert written(lambda *_: b"raw \xc3\xa4", records=RECORDS[:2]) == b"raw \xc3\xa4\n" * 2


def test_values_json_has_no_form_for() -> None:
    class Own:
        def __structlog__(self) -> str:
            return "own form"

    class Other:
        def __repr__(self) -> str:
            return "<other>"

    values = {"a": Own(), "b": Other(), "t": datetime(2026, 1, 2, tzinfo=UTC)}
    assert written(lambda *_: dict(values), records=RECORDS[:1]) == b'{"a":"own form","b":"<other>","t":"2026-01-02T00:00:00Z"}\n'


def test_what_a_processor_may_not_return() -> None:
    with pytest.raises(UsageError, match="a processor returned NoneType; it must return an event dict, str or bytes"):
        written(lambda *_: None)


def test_failed_batch_is_not_doubled() -> None:
    out = io.BytesIO()
    armed = [True]

    def fail_once(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        if armed and event["seq"] == 50 and out.tell():
            armed.clear()
            raise ValueError("user's bug")
        return event

    sink = StructlogSink(out, [fail_once])
    many = RECORDS * 2
    with pytest.raises(ValueError, match="user's bug"):
        sink.write(many, b"")
    assert out.getvalue().count(b"\n") == CHUNK
    sink.write(many, b"")
    assert out.getvalue() == LINES * 2


def test_stream_that_takes_few_bytes_at_a_time() -> None:
    class Slow(io.RawIOBase):
        taken = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.taken += bytes(data[:7])
            return min(7, len(data))

    slow = Slow()
    StructlogSink(slow).write(RECORDS, LINES)  # type: ignore[arg-type]
    assert slow.taken == LINES


def test_text_stream_is_refused() -> None:
    with pytest.raises(UsageError, match="binary stream"):
        StructlogSink(io.StringIO())  # type: ignore[arg-type]


def test_unknown_renderer_is_refused() -> None:
    with pytest.raises(UsageError, match="no renderer is called 'xml': choose json, console or logfmt"):
        StructlogSink(io.BytesIO(), renderer="xml")  # type: ignore[arg-type]


def interrupt_records() -> Any:
    rec, memory = recorder(now=1_000_000_123)
    rec.task_newtask(FakeCpu(), 42, "bash")
    rec.irq_handler_entry(FakeCpu(), 19, "eth0")
    rec.printk(FakeCpu(), 3, "irq 19: nobody cared")
    rec.device_raise(0, "eth0", "rx")
    rec.flush()
    return memory.records


def test_logfmt() -> None:
    assert written(renderer="logfmt", records=interrupt_records()).decode().splitlines()[1:] == [
        "timestamp=1.000000123 event=irq_handler_entry seq=2 cause=7 cpu=1 task=bash-42 flags=d.h.. irq=19 name=eth0",
        'timestamp=1.000000123 event=printk seq=3 cause=7 cpu=1 task=bash-42 flags=d.h.. level=error text="irq 19: nobody cared"',
        "timestamp=1.000000123 event=device_raise seq=4 cause=0 cpu=-1 task=<hardware>--1 flags=..... device=eth0 source=rx",
    ]


def test_console_with_a_processor_of_the_user() -> None:
    def shout(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        event["event"] = event["event"].upper()
        return event

    lines = written(shout, renderer="console", records=interrupt_records()).decode().splitlines()
    assert " ".join(lines[1].split()) == CONSOLE_LINE
    assert lines[2].split()[:3] == ["1.000000123", "[error", "]"]


def test_console_may_be_coloured() -> None:
    assert b"\x1b[" in written(renderer="console", colors=True)
    assert b"\x1b[" not in written(renderer="console")


def test_readable_takes_names_it_is_given() -> None:
    event = json.loads(encode_lines(RECORDS[:1]))
    assert Readable(CommTable({1: "init"}))(None, "info", event)["task"] == "init-1"
