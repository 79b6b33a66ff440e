"""Hold everything that a what-if run found, as one value: ``report.json``, the terminal tables and the page all show it.

Nothing in it depends on the host: no time, no folder, no version of Python. Equal inputs give equal bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from asyncirq.analysis.arrivals import LineReport
from asyncirq.analysis.event import Capture
from asyncirq.analysis.ftrace_source import CANDIDATES, find_trace
from asyncirq.analysis.metrics import Metrics
from asyncirq.analysis.pack import UNTRACEABLE, CostSource, Provenance
from asyncirq.analysis.quantities import QuantityInfo, describe, in_order
from asyncirq.analysis.segments import median
from asyncirq.analysis.stats import Change, RunStats, changes, phase_names, run_stats
from asyncirq.analysis.verdict import KernelScore, judge
from asyncirq.errors import UsageError

FORMAT: Final = 1
"""Version of the layout of ``report.json``: changed when a field is renamed, removed or means something else."""

Policy = str | int | bool | None


class InputFile(msgspec.Struct, frozen=True):
    """A capture that went in: its file's name without folders, the SHA-256 of its bytes, and what its header told."""

    name: str
    sha256: str
    kernel: str
    cpus: int
    events: int
    lost_events: int
    resolution_ns: int
    meta: dict[str, str]


class RealRun(msgspec.Struct):
    """A real capture and what was measured in it, as ``build_report`` takes it."""

    source: InputFile
    metrics: Metrics


class TraceFile(msgspec.Struct, frozen=True):
    """The JSON-lines trace of a predicted run: the file's name, the SHA-256 of its bytes, its number of records."""

    name: str
    sha256: str
    records: int


class ModelRun(msgspec.Struct):
    """A predicted run, as ``build_report`` takes it.

    ``name`` is the kernel as the user asked for it (``threadirqs``), ``title`` says it in full. ``policies`` are those of
    the modelled kernel. ``arrivals`` and ``costs`` tell what made each line's interrupts come and what code costs.
    """

    name: str
    metrics: Metrics
    title: str = ""
    policies: Mapping[str, Policy] = msgspec.field(default_factory=dict)
    arrivals: Sequence[LineReport] = ()
    costs: Sequence[CostSource] = ()
    trace: TraceFile | None = None
    notes: Sequence[str] = ()


class CostRow(msgspec.Struct, frozen=True):
    """One constant in ns and where it comes from; ``p10``, ``p50``, ``p90`` are those of its samples, None without any."""

    name: str
    value: int
    kind: Provenance
    n: int
    source: str
    p10: int | None
    p50: int | None
    p90: int | None


class CapturedRun(msgspec.Struct):
    """The real run that everything starts from."""

    source: InputFile
    stats: RunStats


class KernelRun(msgspec.Struct):
    """One predicted kernel; ``changes`` are against the captured one."""

    name: str
    title: str
    policies: dict[str, Policy]
    stats: RunStats
    changes: list[Change]
    arrivals: list[LineReport]
    costs: list[CostRow]
    trace: TraceFile | None
    notes: list[str]


class Against(msgspec.Struct):
    """The real run of another kernel, and how well each predicted one agrees with it."""

    source: InputFile
    stats: RunStats
    kernels: list[KernelScore]


class Report(msgspec.Struct):
    """Everything that a what-if run found.

    ``quantities`` and ``phases`` are in the order in which a report shows them. ``untraceable`` says what no capture
    tells, and what the model does instead.
    """

    format: int
    versions: dict[str, str]
    seed: int
    captured: CapturedRun
    kernels: list[KernelRun]
    against: Against | None
    phases: list[str]
    quantities: list[QuantityInfo]
    untraceable: dict[str, str]
    notes: list[str]

    def runs(self) -> list[tuple[str, RunStats]]:
        """Return every run with its heading: the captured one, the predicted ones, the real one of the other kernel."""
        predicted = [(kernel.name, kernel.stats) for kernel in self.kernels]
        real = [("real", self.against.stats)] if self.against is not None else []
        return [("captured", self.captured.stats), *predicted, *real]


def input_file(capture: Capture, kernel: str = "") -> InputFile:
    """Return what a report says of a capture that was read from a file; ``kernel`` names the kernel it is of, if known.

    Errors: ``UsageError`` if the file cannot be read again.
    """
    path = find_trace(Path(capture.path))
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}", error.errno or 0) from None
    folder = path.parent.name
    return InputFile(
        name=f"{folder}/{path.name}" if folder and path.name in CANDIDATES else path.name,
        sha256=digest,
        kernel=kernel,
        cpus=capture.cpus,
        events=len(capture.events),
        lost_events=capture.lost_events,
        resolution_ns=capture.resolution_ns,
        meta={key: capture.meta[key] for key in sorted(capture.meta)},
    )


def build_report(
    captured: RealRun,
    kernels: Sequence[ModelRun],
    *,
    seed: int,
    versions: Mapping[str, str],
    against: RealRun | None = None,
    target: str | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """Return the report of a what-if run.

    ``kernels`` come in the order in which they are shown. ``against`` is the real run of another kernel, ``target`` the
    name of the predicted kernel that it is the truth for; every kernel is scored, the target's score is put first.

    Errors: ``UsageError`` if two kernels have one name, or ``target`` is not among them.
    """
    names = [kernel.name for kernel in kernels]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"kernel {name!r} is given twice")
    if target is not None and target not in names:
        raise UsageError(f"target {target!r} is none of the predicted kernels: {', '.join(names)}")
    runs = [_kernel_run(kernel, captured.metrics) for kernel in kernels]
    base = CapturedRun(captured.source, run_stats(captured.metrics))
    other = _against(against, target, captured, kernels) if against is not None else None
    every = [base.stats, *(run.stats for run in runs), *([other.stats] if other is not None else [])]
    return Report(
        format=FORMAT,
        versions={name: versions[name] for name in sorted(versions)},
        seed=seed,
        captured=base,
        kernels=runs,
        against=other,
        phases=phase_names(every),
        quantities=[describe(name) for name in in_order(name for stats in every for name in stats.pooled.quantities)],
        untraceable={name: UNTRACEABLE[name] for name in sorted(UNTRACEABLE)},
        notes=list(notes),
    )


def encode_report(report: Report) -> bytes:
    """Return a report as one line of JSON: equal reports give equal bytes."""
    return msgspec.json.encode(report, order="deterministic") + b"\n"


def write_report_json(report: Report, path: Path) -> None:
    """Write ``report.json``.

    Errors: ``UsageError`` if the file cannot be written.
    """
    write_file(path, encode_report(report))


def read_report_json(path: Path) -> Report:
    """Read ``report.json`` back.

    Errors: ``UsageError`` if the file cannot be read or holds no report.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}", error.errno or 0) from None
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: this is no report: {error}") from None


def write_file(path: Path, data: bytes) -> None:
    """Write a whole file.

    Errors: ``UsageError`` if it cannot be written.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{path}: cannot write: {error.strerror}", error.errno or 0) from None


def _kernel_run(kernel: ModelRun, base: Metrics) -> KernelRun:
    return KernelRun(
        name=kernel.name,
        title=kernel.title,
        policies={name: kernel.policies[name] for name in sorted(kernel.policies)},
        stats=run_stats(kernel.metrics),
        changes=changes(base, kernel.metrics),
        arrivals=list(kernel.arrivals),
        costs=[_cost_row(cost) for cost in sorted(kernel.costs, key=lambda cost: cost.name)],
        trace=kernel.trace,
        notes=list(kernel.notes),
    )


def _cost_row(cost: CostSource) -> CostRow:
    ordered = sorted(cost.samples)
    last = len(ordered) - 1
    return CostRow(
        name=cost.name,
        value=cost.value,
        kind=cost.kind,
        n=cost.n,
        source=cost.source,
        p10=ordered[last // 10] if ordered else None,
        p50=median(ordered) if ordered else None,
        p90=ordered[last * 9 // 10] if ordered else None,
    )


def _against(real: RealRun, target: str | None, captured: RealRun, kernels: Sequence[ModelRun]) -> Against:
    first = sorted(kernels, key=lambda kernel: kernel.name != target)
    scores = [judge(kernel.name, kernel.name == target, kernel.metrics, real.metrics, captured.metrics) for kernel in first]
    return Against(real.source, run_stats(real.metrics), scores)
