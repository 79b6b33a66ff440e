from __future__ import annotations

import errno
import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncirq.errors import UsageError
from asyncirq.trace import RECORD_TYPES, FileSink, encode_lines, read_jsonl, tag_of
from tests.trace.fakes import FakeCpu, field_type, one_of_each, recorder

RECORDS = one_of_each()
LINES = encode_lines(RECORDS)
GOOD = LINES.splitlines(keepends=True)[0]

FIELD_VALUES = {
    "int": st.integers(-(2**63), 2**64 - 1),
    "str": st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    "bool": st.booleans(),
}


def test_round_trip_of_every_type() -> None:
    read = list(read_jsonl(LINES.splitlines()))
    assert read == RECORDS
    assert [type(record) for record in read] == list(RECORD_TYPES)
    assert encode_lines(read) == LINES


@given(st.data())
def test_round_trip_of_any_values(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(RECORD_TYPES))
    values: dict[str, Any] = {field: data.draw(FIELD_VALUES[field_type(kind, field)]) for field in kind.__struct_fields__}
    record = kind(**values)
    lines = encode_lines([record])
    assert lines.count(b"\n") == 1
    assert list(read_jsonl([lines])) == [record]
    assert encode_lines(read_jsonl([lines])) == lines


def test_file_of_a_run_plain_and_zipped(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    rec, memory = recorder(FileSink(path))
    rec.irq_handler_entry(FakeCpu(), 19, "eth0")
    rec.printk(None, 4, 'two\nlines, "quoted", ä')
    rec.close()
    assert list(read_jsonl(path)) == memory.records
    assert list(read_jsonl(str(path))) == memory.records
    zipped = tmp_path / "zipped"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_jsonl(zipped)) == memory.records


def test_empty_file_is_an_empty_trace(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert list(read_jsonl(tmp_path / "empty")) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.replace(b'"irq":5', b'"irq":"5"'), "field `irq`: Expected `int`, got `str`"),
        (GOOD.replace(b'"irq":5', b'"irq":5.5'), "field `irq`: Expected `int`, got `float`"),
        (GOOD.replace(b'"common_flags":0', b'"common_flags":true'), "field `common_flags`: Expected `int`, got `bool`"),
        (GOOD.replace(b'"irq":5,', b""), "Object missing required field `irq`"),
        (GOOD.replace(b'"irq":5', b'"irq":5,"extra":1'), "Object contains unknown field `extra`"),
        (GOOD.replace(b"irq_handler_entry", b"irq_handler_enter"), "field `event`: Invalid value 'irq_handler_enter'"),
        (GOOD.replace(b'"event":"irq_handler_entry",', b""), "Object missing required field `event`"),
        (GOOD[:40], "JSON is malformed: invalid character (byte 40)"),
        (b"\n", "Input data was truncated"),
        (b"[]\n", "Expected `object`, got `array`"),
        (GOOD + b" {}", "JSON is malformed: trailing characters"),
        (GOOD.replace(b'"x"', b'"\xff"'), "'utf-8' codec can't decode"),
    ],
)
def test_errors_name_file_line_and_field(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(GOOD + line.replace(b"\n", b"") + b"\n" + GOOD)
    records = read_jsonl(path)
    assert next(records) == RECORDS[0]
    with pytest.raises(UsageError) as caught:
        next(records)
    assert str(caught.value).startswith(f"{path}:2: {message}")


@pytest.mark.parametrize("line", [b"# tracer: nop\n", b"\x00\x01", b"[1]\n", b"\n"])
def test_file_of_another_kind_is_told_at_its_first_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(line)
    with pytest.raises(UsageError) as caught:
        next(read_jsonl(path))
    assert str(caught.value) == f"{path}:1: these are no JSON lines: {line!r}"


def test_records_know_their_event() -> None:
    assert [record.event for record in RECORDS] == [tag_of(type(record)) for record in RECORDS]
    assert RECORDS[0].event == "irq_handler_entry"


def test_file_cut_off_in_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl"
    path.write_bytes(GOOD + GOOD[:40])
    records = read_jsonl(path)
    assert next(records) == RECORDS[0]
    with pytest.raises(UsageError, match=r"cut\.jsonl:2: Input data was truncated"):
        next(records)


def test_lines_without_a_file_are_named_too() -> None:
    with pytest.raises(UsageError, match="<lines>:1: Input data was truncated"):
        list(read_jsonl(["{"]))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing: cannot read the trace: No such file or directory \(-ENOENT\)") as caught:
        list(read_jsonl(tmp_path / "nothing"))
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("damage", ["truncated", "checksum", "body"])
def test_damaged_gzip(tmp_path: Path, damage: str) -> None:
    whole = gzip.compress(LINES)
    middle = len(whole) // 2
    data = {
        "truncated": whole[:middle],
        "checksum": whole[:-6] + b"\0\0" + whole[-4:],
        "body": whole[:12] + b"\xff" * 8 + whole[20:],
    }[damage]
    path = tmp_path / "t.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"t\.jsonl\.gz"):
        list(read_jsonl(path))
