"""Measure what a record costs: built, encoded, hashed, written, through processors; and a stock structlog chain beside it.

Run ``python tests/bench/bench_trace.py``. All variants take turns, so a machine that slows down slows down all; each value
is the median of its rounds. Lines are ``cost NAME VALUE us`` (a record) and ``ratio NAME VALUE``. Budgets are told here
and judged by ``bench.py``; microseconds belong to a machine. SHA-256 runs at what the CPU's own instructions give, about 1.8 GB/s at best.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import msgspec
import structlog

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from asyncirq.trace import FileSink, Record, Recorder, StructlogSink

RECORDS_AN_INTERRUPT: Final = 10
BATCH: Final = 1600 * RECORDS_AN_INTERRUPT
ROUNDS: Final = 15
BUDGET: Final = {"default_sink": 0.15, "processors": 0.5}
"""Most that a sink may add to a record, in us: the file beside a run that has its digest, the chain beside the user's own work."""


class Clock:
    """Be a clock that the bench moves."""

    def __init__(self) -> None:
        self.now = 1_000_000_000


class Cpu:
    """Be a CPU as the recorder sees it, with plain attributes as the model's CPU has."""

    def __init__(self) -> None:
        self.id = 3
        self.pid = 1234
        self.preempt_count = 0x10000
        self.irqs_off = True
        self.need_resched = False
        self.cause = 77


class Discard:
    """Be a sink that wants nothing."""

    wants_lines = False

    def write(self, batch: Any, lines: Any) -> None:
        """Forget the batch."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def interrupts(rec: Recorder, clock: Clock, cpu: Cpu, count: int) -> None:
    """Emit the records of so many device interrupts, each with one NAPI poll."""
    for _ in range(count):
        clock.now += 977
        cause = rec.device_raise(0, "eth0", "rx")
        cause = rec.line_level(cause, "gsi19", True)
        cause = rec.lapic_irr(cause, 3, 49, "level", 0)
        cpu.cause = rec.lapic_inta(cpu, 49, cause)
        rec.irq_handler_entry(cpu, 19, "eth0")
        rec.softirq_raise(cpu, 3)
        rec.irq_handler_exit(cpu, 19, 1)
        rec.softirq_entry(cpu, 3)
        rec.napi_poll(cpu, "eth0-0", "eth0", 7, 64)
        rec.softirq_exit(cpu, 3)


def seconds(work: Callable[[], object]) -> float:
    """Return how much processor time a call took."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def build(sinks: Any, digest: bool) -> Callable[[], object]:
    """Return a run of one batch through a recorder with these sinks."""
    clock, cpu = Clock(), Cpu()
    rec = Recorder(clock, sinks, digest)

    def run() -> None:
        interrupts(rec, clock, cpu, BATCH // RECORDS_AN_INTERRUPT)
        rec.flush()

    return run


def stock(out: TextIO) -> Callable[[], object]:
    """Return the same events as a structlog user logs them: a call each, JSON rendered each."""
    log = structlog.wrap_logger(
        structlog.WriteLogger(out),
        processors=[structlog.stdlib.add_log_level, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        cache_logger_on_first_use=True,
    ).bind()
    cpu, clock = Cpu(), Clock()
    own: tuple[tuple[str, dict[str, Any]], ...] = (
        ("device_raise", {"device": "eth0", "source": "rx"}),
        ("line_level", {"line": "gsi19", "level": True}),
        ("lapic_irr", {"vector": 49, "trigger": "level", "coalesced": 0}),
        ("lapic_inta", {"vector": 49}),
        ("irq_handler_entry", {"irq": 19, "name": "eth0"}),
        ("softirq_raise", {"vec": 3}),
        ("irq_handler_exit", {"irq": 19, "ret": 1}),
        ("softirq_entry", {"vec": 3}),
        ("napi_poll", {"napi": "eth0-0", "dev_name": "eth0", "work": 7, "budget": 64}),
        ("softirq_exit", {"vec": 3}),
    )

    def run() -> None:
        seq = 0
        for _ in range(BATCH // RECORDS_AN_INTERRUPT):
            clock.now += 977
            for event, fields in own:
                seq += 1
                log.info(
                    event,
                    seq=seq,
                    cause=cpu.cause,
                    ts=clock.now,
                    cpu=cpu.id,
                    pid=cpu.pid,
                    preempt_count=cpu.preempt_count,
                    irqs_off=cpu.irqs_off,
                    need_resched=cpu.need_resched,
                    **fields,
                )

    return run


def one_batch() -> list[Record]:
    """Return the records of one batch."""
    clock, cpu = Clock(), Cpu()
    rec = Recorder(clock, digest=False, limit=2 * BATCH)
    interrupts(rec, clock, cpu, BATCH // RECORDS_AN_INTERRUPT)
    return rec._take()


def keep(_logger: Any, _method: str, event: Any) -> Any:
    """Be the user's cheapest processor."""
    return event


def users_share(events: list[dict[str, Any]]) -> Callable[[], object]:
    """Return what the user's own processor costs, called for every event dict."""

    def run() -> None:
        for event in events:
            keep(None, "info", event)

    return run


def measure(folder: Path, binary: BinaryIO, text: TextIO) -> dict[str, float]:
    """Return the median cost of every variant, in us a record."""
    batch = one_batch()
    encoder = msgspec.json.Encoder()
    lines = encoder.encode_lines(batch)
    files = [FileSink(folder / "plain.jsonl"), FileSink(folder / "hashed.jsonl")]
    variants: dict[str, Callable[[], object]] = {
        "emit": build([Discard()], False),
        "emit+encode+sha256": build([], True),
        "emit+encode+write": build([files[0]], False),
        "emit+encode+sha256+write": build([files[1]], True),
        "emit+encode+sha256+structlog": build([StructlogSink(binary)], True),
        "emit+processors": build([StructlogSink(binary, [keep])], False),
        "stock": stock(text),
        "encode": lambda: encoder.encode_lines(batch),
        "sha256": lambda: hashlib.sha256(lines).digest(),
        "users_share": users_share(msgspec.to_builtins(batch)),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, work in variants.items():
            times[name].append(seconds(work))
    for file in files:
        file.close()
    return {name: statistics.median(values) * 1e6 / BATCH for name, values in times.items()}


def costs() -> dict[str, float]:
    """Return what every variant costs, in us a record, and the differences that have a budget."""
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "wb") as binary, open(os.devnull, "w") as text:
        cost = measure(Path(folder), binary, text)
    cost["default_sink"] = cost["emit+encode+sha256+write"] - cost["emit+encode+sha256"]
    cost["processors"] = cost["emit+processors"] - cost["emit"] - cost["users_share"]
    return cost


def report(cost: dict[str, float]) -> None:
    """Print costs and ratios."""
    for name, value in cost.items():
        print(f"cost {name} {value:.3f} us a record")
    for name in ("emit+encode+sha256+write", "emit+encode+sha256+structlog", "emit+processors"):
        print(f"ratio stock_structlog/{name} {cost['stock'] / cost[name]:.2f}")


def main() -> None:
    """Print costs and ratios, and which budget is exceeded."""
    cost = costs()
    report(cost)
    for name, budget in BUDGET.items():
        if cost[name] > budget:
            print(f"over budget: {name} costs {cost[name]:.3f} us a record, {budget} allowed", file=sys.stderr)


if __name__ == "__main__":
    main()
