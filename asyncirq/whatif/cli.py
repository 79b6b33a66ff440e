"""Answer ``asyncirq whatif CAPTURE --under …``: predict, measure, compare, write the traces and the report.

Everything that is written depends on the captures, the kernels and the seed alone.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Annotated, Final

import anyio
import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from asyncirq.analysis.clock import follows_host
from asyncirq.analysis.ftrace import read_capture
from asyncirq.analysis.html import write_report_html
from asyncirq.analysis.latency import measure
from asyncirq.analysis.report import (
    ModelRun,
    RealRun,
    Report,
    TraceFile,
    build_report,
    input_file,
    write_report_json,
)
from asyncirq.analysis.tables import print_report
from asyncirq.errors import UsageError
from asyncirq.whatif.accuracy import against_lines, self_lines, short_name
from asyncirq.whatif.kernels import Target, guess_release, is_kernel_of, kernel_name, match_target, parse_targets
from asyncirq.whatif.run import KernelPrediction
from asyncirq.whatif.source import Source, load, read_meta, restrict
from asyncirq.whatif.workers import Job, predict_to_files, usual_jobs

DEFAULT_UNDER: Final = "stock,threadirqs,rt"
INTERRUPTED: Final = 130
MAX_SEED: Final = (1 << 63) - 1
_UNSAFE: Final = re.compile(r"[^\w.+-]+")


def whatif(
    capture: Annotated[Path, typer.Argument(help="A captured trace: ftrace text, plain or gzip, or the folder that holds it.")],
    under: Annotated[
        str, typer.Option(help="Kernels, by commas: stock, threadirqs, rt, napi-threaded, workqueue, tasklet, a preset, a .toml file.")
    ] = DEFAULT_UNDER,
    against: Annotated[Path | None, typer.Option(help="A real capture of one of these kernels, to score its prediction.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the traces, report.json and report.html.")] = Path("out"),
    seed: Annotated[int, typer.Option(help="Seed of the sampled costs.")] = 0,
    phase: Annotated[list[str] | None, typer.Option(help="Replay this phase alone, by name or number; may be repeated.")] = None,
    release: Annotated[str | None, typer.Option(help="Preset that the captured kernel follows, if its meta.txt does not tell.")] = None,
    check: Annotated[bool, typer.Option(help="Watch the machine's invariants while it runs.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes: by default one for each kernel if the capture is long.")] = None,
) -> None:
    """Predict what other kernels would do to the latencies of a captured run."""
    asked = Asked(capture, under, [against] if against is not None else [], out, seed, phase or [], release, check, jobs)
    try:
        anyio.run(_whatif, asked)
    except KeyboardInterrupt:
        typer.echo(f"asyncirq: interrupted: what {out} holds may be of an earlier run", err=True)
        raise typer.Exit(INTERRUPTED) from None


class Asked(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    capture: Path
    under: str
    against: list[Path]
    out: Path
    seed: int
    phases: list[str]
    release: str | None
    check: bool
    jobs: int | None


async def _whatif(asked: Asked) -> None:
    seed, phases, out = asked.seed, asked.phases, asked.out
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(f"--seed is {seed}, not in 0..{MAX_SEED}")
    meta = read_meta(asked.capture)
    targets = parse_targets(asked.under, asked.release or guess_release(meta))
    with _progress() as bar:
        task = bar.add_task("reading", total=None)
        bar.refresh()
        source = load(asked.capture, phases, asked.release)
        reals = [_real(path, source, bool(phases)) for path in asked.against]
        for real in reals:
            check_target(targets, real.path)
        _make_folder(out)
        done = 0

        def show(kernel: str, name: str) -> None:
            nonlocal done
            bar.update(task, description=f"{kernel}: {name}", total=len(targets) * len(source.phases), completed=done)
            bar.refresh()
            done += 1

        work = [Job(target, out / trace_name(target.name)) for target in targets]
        processes = usual_jobs(source, len(targets)) if asked.jobs is None else asked.jobs
        predictions = await predict_to_files(source, work, processes=processes, seed=seed, progress=show, check=asked.check)
    lines = _accuracy(source, predictions, reals)
    report = _report(source, predictions, reals, seed, lines)
    write_report_json(report, out / "report.json")
    write_report_html(report, out / "report.html")
    print_report(report, phase=source.phases[0] if len(source.phases) == 1 and phases else None)
    if reals:
        _print_lines(lines, sys.stdout)
    typer.echo(f"wrote {len(predictions)} traces, report.json and {out / 'report.html'}", err=True)


def _print_lines(lines: list[str], file: IO[str]) -> None:
    file.writelines(f"{line}\n" for line in lines)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    # Refreshed by hand: a thread of its own would be there when workers are forked.
    return Progress(*columns, console=console, transient=True, auto_refresh=False, disable=not console.is_terminal)


class Real(msgspec.Struct, frozen=True):
    """A real capture to score against; ``host_clock``: its clock follows its host."""

    path: Path
    run: RealRun
    host_clock: bool


def _real(path: Path, source: Source, restricted: bool) -> Real:
    capture = read_capture(path)
    host_clock = follows_host(capture)
    if restricted:
        capture = restrict(capture, source.phases)
    return Real(path, RealRun(input_file(capture, kernel_name(read_meta(path))), measure(capture)), host_clock)


def _accuracy(source: Source, predictions: list[KernelPrediction], reals: list[Real]) -> list[str]:
    lines: list[str] = []
    for prediction in predictions:
        if is_kernel_of(prediction.target, source.meta, source.release):
            lines += self_lines(source, prediction)
    for real in reals:
        prediction = _match(predictions, real.path)
        lines += against_lines(source, prediction, real.path, real.run.metrics, host_clock=real.host_clock)
    return lines


def _clock_notes(source: Source, reals: list[Real]) -> list[str]:
    """Say of which captures only the order of latencies means anything."""
    paths = [source.path] if source.host_clock else []
    paths += [real.path for real in reals if real.host_clock]
    return [
        f"the clock of {short_name(path)} follows its host: latencies hold in their rank order only, nothing here passes or fails by them"
        for path in paths
    ]


def _match(predictions: list[KernelPrediction], path: Path) -> KernelPrediction:
    name = check_target([prediction.target for prediction in predictions], path).name
    return next(prediction for prediction in predictions if prediction.target.name == name)


def check_target(targets: list[Target], path: Path) -> Target:
    """Return the target that a real capture is the truth for. Raises ``UsageError`` if it is none of them."""
    meta = read_meta(path)
    return match_target(targets, meta, guess_release(meta), path)


def _report(source: Source, predictions: list[KernelPrediction], reals: list[Real], seed: int, lines: list[str]) -> Report:
    captured = RealRun(source.file, source.metrics)
    against = reals[0] if reals else None
    return build_report(
        captured,
        [_model_run(prediction) for prediction in predictions],
        seed=seed,
        versions={"asyncirq": _version()},
        against=against.run if against is not None else None,
        target=_match(predictions, against.path).target.name if against is not None else None,
        notes=[
            *_clock_notes(source, reals),
            *_misfits(source),
            *_short(lines),
        ],
    )


def _misfits(source: Source) -> list[str]:
    return [f"{source.notes[what]} times in the capture: {what}" for what in sorted(source.notes)]


def _short(lines: list[str]) -> list[str]:
    """Return the lines that a report shows beside its own scores: exact counts, the checker, the headline medians, rank order."""
    return [line for line in lines if re.search(r" (counts|softirq_check)\.| p50_within_| spearman", line)]


def _model_run(prediction: KernelPrediction) -> ModelRun:
    target = prediction.target
    policies = msgspec.structs.asdict(target.config)
    return ModelRun(
        name=target.name,
        metrics=prediction.metrics,
        title=_title(prediction),
        policies={name: value for name, value in policies.items() if value is None or isinstance(value, str | int | bool)},
        arrivals=prediction.lines,
        costs=prediction.costs,
        trace=TraceFile(trace_name(target.name), prediction.sha256, prediction.records),
        notes=prediction.notes,
    )


def _title(prediction: KernelPrediction) -> str:
    target = prediction.target
    config = target.config
    kind = "PREEMPT_RT" if config.rt else "threadirqs" if config.threadirqs else f"{config.preemption} preemption"
    where = "" if target.bottom_half == "softirq" else f", receive work: {target.bottom_half}"
    return f"{config.release}, {kind}{where}"


def trace_name(kernel: str) -> str:
    """Return the name of the file for a kernel's trace."""
    return f"trace-{_UNSAFE.sub('-', kernel)}.jsonl"


def _version() -> str:
    try:
        return version("asyncirq")
    except PackageNotFoundError:
        return "not installed"


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: cannot make this folder: {error.strerror}", error.errno or 0) from None
