"""Predict a capture under several kernels: every phase on a machine of its own, joined into one trace and measured.

The same capture, kernels and seed give the same bytes, whatever else is predicted beside them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from asyncirq.analysis.arrivals import LineReport
from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.ftrace import read_capture
from asyncirq.analysis.latency import measure
from asyncirq.analysis.metrics import Metrics
from asyncirq.analysis.model import capture_from_records
from asyncirq.analysis.ops import Cut, PhaseCut
from asyncirq.analysis.phases import cut_phases
from asyncirq.analysis.programs import cut
from asyncirq.analysis.segments import CostSource, CostTable, extract_costs
from asyncirq.errors import UsageError
from asyncirq.trace.events import TracingMark
from asyncirq.trace.reader import encode_lines
from asyncirq.trace.record import Record
from asyncirq.whatif.costs import merge_uses
from asyncirq.whatif.kernels import Target, captured_threading, guess_release
from asyncirq.whatif.replay import PhaseResult, Replay, Setting
from asyncirq.whatif.wiring import read_wiring

Progress = Callable[[str, str], None]
"""Called as ``progress(kernel, phase)`` before each phase."""

PREAMBLE: Final = "preamble"
WHOLE: Final = "all"
_MARKER: Final = "PHASE "
_PIDS: Final = 1000
_SEED_STEP: Final = 1_000_003


class Source(msgspec.Struct):
    """A capture made ready: read, cut into programs, its costs measured. ``release`` is the preset that it follows."""

    path: Path
    capture: Capture
    cut: Cut
    table: CostTable
    setting: Setting
    release: str
    meta: str
    metrics: Metrics
    phases: list[str]


class KernelPrediction(msgspec.Struct):
    """One kernel: its run as a capture, what was measured in it, and what did not go as recorded.

    ``lines`` are the arrival models of every phase. ``trace`` is the run as JSON lines, ``sha256`` its digest.
    """

    target: Target
    capture: Capture
    metrics: Metrics
    lines: list[LineReport]
    costs: list[CostSource]
    notes: list[str]
    trace: bytes
    sha256: str
    records: int


def load(path: Path, phases: Sequence[str] = (), release: str | None = None) -> Source:
    """Read a capture and make it ready; ``phases`` restricts it to some, by name or leading number.

    Raises ``UsageError`` for a file that is no capture, for a phase that it does not have, or if nothing is left.
    """
    capture = read_capture(path)
    meta = read_meta(path)
    programs = cut(capture)
    chosen = choose_phases([phase.name for phase in programs.phases if phase.name != PREAMBLE and phase.span_ns], phases, path)
    lines: dict[int, list[str]] = {}
    for phase in programs.phases:
        for arrival in phase.arrivals:
            for handler in arrival.handlers if arrival.irq >= 0 else ():
                names = lines.setdefault(arrival.irq, [])
                if handler.name not in names:
                    names.append(handler.name)
    highest = max((pid for phase in programs.phases for pid in phase.tasks), default=0)
    setting = Setting(lines, read_wiring(path, lines), (highest // _PIDS + 1) * _PIDS, capture.cpus)
    kept = restrict(capture, chosen) if phases else capture
    return Source(path, kept, programs, extract_costs(capture), setting, release or guess_release(meta), meta, measure(kept), chosen)


def read_meta(path: Path) -> str:
    """Return the text of the ``meta.txt`` next to a trace, empty if there is none."""
    file = (path if path.is_dir() else path.parent) / "meta.txt"
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def choose_phases(known: Sequence[str], wanted: Sequence[str], path: Path) -> list[str]:
    """Return the phases that were asked for, in the order of the capture: all if none was."""
    if not known:
        raise UsageError(f"{path}: no phase of this capture has a length: nothing to replay")
    if not wanted:
        return list(known)
    chosen = set()
    for name in wanted:
        found = [one for one in known if one == name or re.match(rf"{re.escape(name)}-", one)]
        if not found:
            raise UsageError(f"{path}: there is no phase {name!r}; there are {', '.join(known)}")
        chosen.update(found)
    return [name for name in known if name in chosen]


def restrict(capture: Capture, phases: Sequence[str]) -> Capture:
    """Return a capture that consists of some phases alone. Raises ``UsageError`` if it has none of them."""
    events: list[Event] = []
    for phase in capture.phases:
        if phase.name in phases:
            events += capture.of_phase(phase)
    if not events:
        raise UsageError(f"{capture.path}: there is none of the phases {', '.join(phases)}")
    return msgspec.structs.replace(capture, events=events, phases=cut_phases(events))


async def predict(
    source: Source, targets: Sequence[Target], *, seed: int = 0, progress: Progress | None = None, check: bool = False
) -> list[KernelPrediction]:
    """Run a capture's programs under each kernel; ``check`` watches the machine's invariants.

    Raises what the model raises: a ``KernelBug`` under a kernel is a finding.
    """
    return [await predict_one(source, target, seed=seed, progress=progress, check=check) for target in targets]


async def predict_one(
    source: Source, target: Target, *, seed: int = 0, progress: Progress | None = None, check: bool = False
) -> KernelPrediction:
    """Run a capture's programs under one kernel, phase by phase."""
    records: list[Record] = []
    lines: list[LineReport] = []
    costs: list[dict[str, tuple[CostSource, set[str]]]] = []
    counts: Counter[str] = Counter()
    clock = 0
    for number, phase in enumerate(source.cut.phases):
        if phase.name not in source.phases or not phase.span_ns:
            continue
        if progress is not None:
            progress(target.name, phase.name)
        replay = Replay(phase, source.table, target, source.setting, seed=seed * _SEED_STEP + number, check=check)
        result = await replay.run()
        clock = _join(records, phase, result, max(clock, phase.start_ns))
        lines += result.plan.lines
        costs.append(result.costs)
        counts["arrivals were never raised: the programs did not get to what they follow"] += result.lost
        counts["vectors of the recording were left to the replayed kernel"] += result.strange
    trace = encode_lines(records)
    capture = capture_from_records(records, target.name, resolution_ns=source.capture.resolution_ns)
    notes = [f"{counts[text]} {text}" for text in sorted(counts) if counts[text]]
    threading = captured_threading(source.meta)
    if threading != "stock":
        notes.append(f"the capture is of a {threading} kernel: what ran in its irq threads stays in those threads, as recorded tasks")
    return KernelPrediction(
        target=target,
        capture=capture,
        metrics=measure(capture),
        lines=lines,
        costs=merge_uses(costs),
        notes=notes,
        trace=trace,
        sha256=hashlib.sha256(trace).hexdigest(),
        records=len(records),
    )


def _join(records: list[Record], phase: PhaseCut, result: PhaseResult, start_ns: int) -> int:
    """Append a phase's records behind those before it, renumbered; return the first instant that is free again."""
    first = len(records)
    mark = f"{_MARKER}{phase.name}"
    own = result.records
    if phase.name != WHOLE and not any(isinstance(record, TracingMark) and record.text == mark for record in own[:1]):
        records.append(TracingMark(first + 1, 0, start_ns, 0, 0, 0, 0, mark))
    offset = own[0].seq - len(records) - 1 if own else 0
    origin = result.origin_ns
    for record in own:
        record.seq -= offset
        record.cause = max(0, record.cause - offset)
        record.ts += start_ns - origin
    records += own
    return start_ns + result.span_ns
