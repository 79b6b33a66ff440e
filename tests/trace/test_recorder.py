from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from asyncirq.errors import InternalError, UsageError
from asyncirq.trace import FileSink, MemorySink, Record, Recorder, encode_lines, tag_of
from tests.trace.fakes import FakeClock, FakeCpu, recorder, tags

EMPTY = hashlib.sha256(b"").hexdigest()

# The same on every Python: two versions that disagree fail here.
RUN_DIGEST = "020caac210b2c411e27d93f457ad4ef6b0f595d35cef782f52cace0cfbcfb481"


def run(rec: Recorder, clock: FakeClock, interrupts: int = 10) -> None:
    cpu = FakeCpu()
    for _ in range(interrupts):
        clock.now += 977
        cause = rec.device_raise(0, "eth0", "rx")
        cause = rec.lapic_irr(cause, 1, 49, "level", 0)
        cpu.cause = rec.lapic_inta(cpu, 49, cause)
        rec.irq_handler_entry(cpu, 19, "eth0")
        rec.softirq_raise(cpu, 3)
        rec.irq_handler_exit(cpu, 19, 1)


def digest_of_run(sinks: Sequence[Any] = (), **options: Any) -> str:
    clock = FakeClock()
    with Recorder(clock, sinks, **options) as rec:
        run(rec, clock)
        return rec.hexdigest()


class Batches:
    """Be a sink that remembers how many records came at a time."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.lines: list[bytes] = []
        self.calls: list[str] = []

    def write(self, batch: Sequence[Record], lines: bytes | memoryview) -> None:
        self.sizes.append(len(batch))
        self.lines.append(bytes(lines))

    def flush(self) -> None:
        self.calls.append("flush")

    def close(self) -> None:
        self.calls.append("close")


class Failing(Batches):
    """Be a sink that fails as often as told."""

    def __init__(self, error: BaseException, times: int) -> None:
        super().__init__()
        self.error = error
        self.times = times

    def write(self, batch: Sequence[Record], lines: bytes | memoryview) -> None:
        if self.times:
            self.times -= 1
            raise self.error
        super().write(batch, lines)


def test_seq_begins_at_1_and_causes_are_passed_on() -> None:
    rec, memory = recorder()
    assert rec.seq == 0
    run(rec, FakeClock(), interrupts=1)
    rec.flush()
    assert rec.seq == 6
    assert [(record.seq, record.cause) for record in memory.records] == [(1, 0), (2, 1), (3, 2), (4, 3), (5, 3), (6, 3)]


def test_line_is_exactly_this() -> None:
    rec, _ = recorder(sink := Batches(), now=1_000_000_123)
    rec.irq_handler_entry(FakeCpu(), 19, "eth0")
    rec.flush()
    assert sink.lines == [
        b'{"event":"irq_handler_entry","seq":1,"cause":7,"ts":1000000123,"cpu":1,"pid":42,"preempt_count":65536,'
        b'"common_flags":1,"irq":19,"name":"eth0"}\n'
    ]


def test_digest_of_an_empty_trace_is_that_of_nothing() -> None:
    rec, _ = recorder()
    assert rec.hexdigest() == EMPTY
    rec.flush()
    assert rec.hexdigest() == EMPTY


@pytest.mark.parametrize("limit", [1, 2, 7, 59, 60, 61, 16384])
def test_digest_does_not_depend_on_batches(limit: int) -> None:
    assert digest_of_run(limit=limit) == RUN_DIGEST


def test_digest_does_not_depend_on_sinks(tmp_path: Path) -> None:
    assert digest_of_run([MemorySink()]) == RUN_DIGEST
    assert digest_of_run([MemorySink(), FileSink(tmp_path / "t.jsonl")], check=True) == RUN_DIGEST
    assert hashlib.sha256((tmp_path / "t.jsonl").read_bytes()).hexdigest() == RUN_DIGEST


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_digest_does_not_depend_on_the_hash_seed(seed: str) -> None:
    root = Path(__file__).resolve().parents[2]
    code = "from tests.trace.test_recorder import digest_of_run; print(digest_of_run())"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == RUN_DIGEST


def test_digest_is_that_of_plain_json() -> None:
    rec, memory = recorder(now=0)
    run(rec, cast(FakeClock, rec._clock))
    digest = hashlib.sha256()
    assert rec.hexdigest() == RUN_DIGEST
    for record in memory.records:
        fields = {field: getattr(record, field) for field in record.__struct_fields__}
        line = json.dumps({"event": tag_of(type(record)), **fields}, separators=(",", ":"))
        digest.update(f"{line}\n".encode())
    assert digest.hexdigest() == RUN_DIGEST


def test_digest_tells_one_changed_bit() -> None:
    clock = FakeClock()
    rec = Recorder(clock)
    clock.now = 1
    run(rec, clock)
    assert rec.hexdigest() != RUN_DIGEST


def test_digest_can_be_taken_in_the_middle() -> None:
    clock = FakeClock()
    rec = Recorder(clock)
    run(rec, clock, 4)
    rec.hexdigest()
    run(rec, clock, 6)
    assert rec.hexdigest() == RUN_DIGEST


def test_no_digest_no_lines_unless_a_sink_wants_them() -> None:
    rec = Recorder(FakeClock(), [memory := MemorySink()], digest=False)
    rec.mark(None, "hello")
    rec.flush()
    assert tags(memory.records) == ["tracing_mark_write"]
    with pytest.raises(UsageError, match="digest=False"):
        rec.hexdigest()
    rec = Recorder(FakeClock(), [batches := Batches()], digest=False)
    rec.mark(None, "hello")
    rec.flush()
    assert batches.lines == [encode_lines(memory.records)]


def test_emit_flushes_by_itself_at_the_limit() -> None:
    rec, _ = recorder(sink := Batches(), limit=4)
    for _ in range(3):
        rec.mark(None, "a")
    assert sink.sizes == []
    rec.mark(None, "a")
    assert sink.sizes == [4]
    rec.mark(None, "a")
    rec.flush()
    for _ in range(4):
        rec.task_newtask(FakeCpu(), 1, "a")
    assert sink.sizes == [4, 1, 4]
    rec.close()
    assert sink.sizes == [4, 1, 4]


def test_limit_must_hold_a_record() -> None:
    with pytest.raises(UsageError, match="at least 1 record, not 0"):
        Recorder(FakeClock(), limit=0)


def test_close_flushes_and_closes_once() -> None:
    rec, memory = recorder(sink := Batches())
    rec.mark(None, "last words")
    rec.close()
    rec.close()
    assert sink.sizes == [1]
    assert sink.calls == ["flush", "close"]
    assert len(memory.records) == 1


def test_mark_and_printk_outside_any_cpu() -> None:
    rec, memory = recorder()
    rec.mark(None, "a")
    rec.printk(None, 4, "b")
    rec.printk(FakeCpu(), 3, "c")
    rec.flush()
    assert [(record.cpu, record.pid, record.cause) for record in memory.records] == [(-1, -1, 0), (-1, -1, 0), (1, 42, 7)]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failed_batch_is_offered_again_and_nothing_is_lost_or_doubled(error: BaseException) -> None:
    first, last = Batches(), Batches()
    rec = Recorder(FakeClock(), [first, failing := Failing(error, 1), last])
    rec.mark(None, "a")
    with pytest.raises(type(error)):
        rec.flush()
    assert (first.sizes, failing.sizes, last.sizes) == ([1], [], [])
    rec.mark(None, "b")
    rec.close()
    assert first.lines == failing.lines == last.lines
    assert first.sizes == [1, 1]
    assert rec.hexdigest() == hashlib.sha256(b"".join(first.lines)).hexdigest()


def test_close_closes_every_sink_and_raises_the_first_error() -> None:
    error = OSError(28, "No space left on device")
    rec = Recorder(FakeClock(), [failing := Failing(error, 9), last := Batches()])
    rec.mark(None, "a")
    with pytest.raises(OSError, match="No space left") as caught:
        rec.close()
    assert caught.value is error
    assert failing.calls == last.calls == ["close"]


def test_check_finds_a_field_of_the_wrong_type() -> None:
    rec, _ = recorder()
    rec.lapic_irr(0, 1, 49, "level", cast(int, True))
    with pytest.raises(InternalError, match=r"record 1 .*Expected `int`, got `bool` - at `\$.coalesced`"):
        rec.flush()
