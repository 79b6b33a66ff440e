"""Predict a capture under a kernel: every phase on a machine of its own, measured, its records written behind those before.

The same capture, kernel and seed give the same bytes, whatever else is predicted beside it. A phase is measured by itself: what began
in the one before it was on another machine.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from asyncirq.analysis.arrivals import LineReport
from asyncirq.analysis.latency import measure
from asyncirq.analysis.metrics import Metrics, join
from asyncirq.analysis.model import Comms, capture_from_records
from asyncirq.analysis.ops import PhaseCut
from asyncirq.analysis.pack import CostSource
from asyncirq.analysis.phases import PREFIX, WHOLE
from asyncirq.analysis.softirq_check import SoftirqChecker, SoftirqReport
from asyncirq.trace.events import TracingMark
from asyncirq.trace.reader import encode_lines
from asyncirq.trace.record import Record
from asyncirq.whatif.costs import merge_uses
from asyncirq.whatif.kernels import Target, captured_threading
from asyncirq.whatif.replay import PhaseResult, Replay
from asyncirq.whatif.source import Source

Progress = Callable[[str, str], None]
"""Called as ``progress(kernel, phase)`` before each phase."""

Write = Callable[[bytes], object]
"""Takes the next piece of a trace, as JSON lines."""

_SEED_STEP: Final = 1_000_003


class KernelPrediction(msgspec.Struct):
    """One kernel: what was measured in its run, and what did not go as recorded.

    ``lines`` are the arrival models of every phase, ``softirqs`` is what the softirq checker says of the run. ``trace`` is the run as
    JSON lines, empty if it was written elsewhere; ``sha256`` is its digest.
    """

    target: Target
    metrics: Metrics
    lines: list[LineReport]
    costs: list[CostSource]
    notes: list[str]
    softirqs: SoftirqReport
    trace: bytes
    sha256: str
    records: int


async def predict(
    source: Source, targets: Sequence[Target], *, seed: int = 0, progress: Progress | None = None, check: bool = False
) -> list[KernelPrediction]:
    """Run a capture's programs under each kernel; ``check`` watches the machine's invariants.

    Raises what the model raises: a ``KernelBug`` under a kernel is a finding.
    """
    return [await predict_one(source, target, seed=seed, progress=progress, check=check) for target in targets]


async def predict_one(
    source: Source,
    target: Target,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    check: bool = False,
    write: Write | None = None,
) -> KernelPrediction:
    """Run a capture's programs under one kernel, phase by phase; ``write`` takes the trace if it is not to be kept."""
    kept = bytearray()
    joiner = _Joiner(target, source, kept.extend if write is None else write)
    for packed in source.programs:
        if progress is not None:
            progress(target.name, packed.name)
        phase = packed.unpack()
        replay = Replay(phase, source.table, target, source.setting, seed=seed * _SEED_STEP + packed.number, check=check)
        joiner.add(phase, await replay.run())
    return joiner.finish(bytes(kept))


class _Joiner:
    """Put the phases of one prediction behind each other: records, figures, notes."""

    def __init__(self, target: Target, source: Source, write: Write) -> None:
        self._target = target
        self._source = source
        self._write = write
        self._digest = hashlib.sha256()
        self._records = 0
        self._clock = 0
        self._parts: list[Metrics] = []
        self._lines: list[LineReport] = []
        self._costs: list[dict[str, tuple[CostSource, set[str]]]] = []
        self._counts: Counter[str] = Counter()
        self._comms = Comms()
        self._checker = SoftirqChecker(target.config.has_ktimers)

    def add(self, phase: PhaseCut, result: PhaseResult) -> None:
        """Take the next phase."""
        records = self._renumbered(phase, result)
        data = encode_lines(records)
        self._digest.update(data)
        self._write(data)
        resolution_ns = self._source.file.resolution_ns
        capture = capture_from_records(records, self._target.name, resolution_ns=resolution_ns, comms=self._comms)
        self._checker.feed(capture.events)
        self._parts.append(measure(capture))
        self._lines += result.plan.lines
        self._costs.append(result.costs)
        self._counts["arrivals were never raised: the programs did not get to what they follow"] += result.lost
        self._counts["vectors of the recording were left to the replayed kernel"] += result.strange

    def _renumbered(self, phase: PhaseCut, result: PhaseResult) -> list[Record]:
        """Return a phase's records as they stand behind those before it, its marker first."""
        start_ns = max(self._clock, phase.start_ns)
        mark = f"{PREFIX} {phase.name}"
        records = result.records
        marked = records[0] if records else None
        if phase.name != WHOLE:
            if isinstance(marked, TracingMark) and marked.text.startswith(PREFIX):
                marked.text = mark
            else:
                seq, ts = (marked.seq, result.origin_ns) if marked is not None else (1, result.origin_ns)
                for record in records:
                    record.seq += 1
                records.insert(0, TracingMark(seq, 0, ts, 0, 0, 0, 0, mark))
        offset = records[0].seq - self._records - 1 if records else 0
        for record in records:
            record.seq -= offset
            record.cause = max(0, record.cause - offset)
            record.ts += start_ns - result.origin_ns
        self._records += len(records)
        self._clock = start_ns + result.span_ns
        return records

    def finish(self, trace: bytes) -> KernelPrediction:
        """Return the whole prediction."""
        counts = self._counts
        notes = [f"{counts[text]} {text}" for text in sorted(counts) if counts[text]]
        threading = captured_threading(self._source.meta)
        if threading != "stock":
            notes.append(f"the capture is of a {threading} kernel: what its irq threads did went back into the interrupts")
        return KernelPrediction(
            target=self._target,
            metrics=join(self._target.name, self._parts),
            lines=self._lines,
            costs=merge_uses(self._costs),
            notes=notes,
            softirqs=self._checker.report,
            trace=trace,
            sha256=self._digest.hexdigest(),
            records=self._records,
        )
