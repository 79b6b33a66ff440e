from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from asyncirq.errors import UsageError
from asyncirq.trace import FileSink, encode_lines, read_jsonl
from tests.trace.fakes import one_of_each, recorder

RECORDS = one_of_each()[:4]
LINES = encode_lines(RECORDS)
FIRST = LINES.index(b"\n") + 1


class ShortFile:
    """Stand before a file: take so many bytes, then fail so many times."""

    def __init__(self, file: Any, room: int, error: BaseException, times: int = 1) -> None:
        self.file, self.room, self.error, self.times = file, room, error, times

    def write(self, data: memoryview) -> int:
        if self.times and self.room < len(data):
            if self.room:
                done = int(self.file.write(data[: self.room]))
                self.room = 0
                return done
            self.times -= 1
            raise self.error
        return int(self.file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def short(sink: FileSink, room: int, error: BaseException, times: int = 1) -> None:
    sink._file = ShortFile(sink._file, room, error, times)  # type: ignore[assignment]


def test_memory_keeps_all() -> None:
    rec, memory = recorder(limit=2)
    for text in "abc":
        rec.mark(None, text)
    rec.close()
    assert [record.seq for record in memory.records] == [1, 2, 3]


def test_file_holds_the_lines(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "t.jsonl")
    sink.write(RECORDS, LINES)
    assert (tmp_path / "t.jsonl").read_bytes() == LINES
    sink.write(RECORDS, memoryview(LINES))
    sink.flush()
    sink.close()
    assert (tmp_path / "t.jsonl").read_bytes() == LINES * 2


def test_old_content_goes_at_the_first_batch_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"old\n" * 1000)
    sink = FileSink(path)
    assert path.read_bytes() == b"old\n" * 1000
    sink.write(RECORDS, LINES)
    assert path.read_bytes() == LINES
    sink.close()


def test_run_without_records_leaves_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"old\n")
    sink = FileSink(path)
    sink.close()
    sink.close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("room", [0, 1, FIRST - 1, FIRST, FIRST + 1, len(LINES) - 1])
def test_failed_write_leaves_whole_lines_and_goes_on_behind_them(tmp_path: Path, room: int, error: BaseException) -> None:
    path = tmp_path / "t.jsonl"
    sink = FileSink(path)
    sink.write(RECORDS, LINES)
    short(sink, room, error)
    with pytest.raises(type(error)):
        sink.write(RECORDS, LINES)
    assert path.read_bytes() == LINES + LINES[: LINES.rfind(b"\n", 0, room) + 1]
    assert len(list(read_jsonl(path))) == 4 + LINES[:room].count(b"\n")
    sink.write(RECORDS, LINES)
    sink.write(RECORDS, LINES)
    sink.close()
    assert path.read_bytes() == LINES * 3


def test_two_failures_of_one_batch(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "t.jsonl")
    short(sink, FIRST + 3, OSError(errno.ENOSPC, "full"), times=2)
    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            sink.write(RECORDS, LINES)
        assert (tmp_path / "t.jsonl").read_bytes() == LINES[:FIRST]
    sink.write(RECORDS, LINES)
    sink.close()
    assert (tmp_path / "t.jsonl").read_bytes() == LINES


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk_is_an_error() -> None:
    rec, _ = recorder(FileSink("/dev/full"))
    rec.mark(None, "a")
    with pytest.raises(OSError, match="No space left"):
        rec.flush()
    with pytest.raises(OSError, match="No space left"):
        rec.close()


def test_path_that_cannot_be_opened_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write a trace here: No such file or directory \(-ENOENT\)") as caught:
        FileSink(tmp_path / "nowhere" / "t.jsonl")
    assert caught.value.errno == errno.ENOENT


def test_pipe_gets_the_bytes(tmp_path: Path) -> None:
    os.mkfifo(fifo := tmp_path / "fifo")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    sink = FileSink(fifo)
    sink.write(RECORDS, LINES)
    sink.close()
    assert os.read(reader, len(LINES) + 1) == LINES
    os.close(reader)
