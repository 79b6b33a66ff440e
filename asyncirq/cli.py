"""Be the ``asyncirq`` command: run scenarios, show traces, ask what another kernel would do.

A mistake of the caller is one line on stderr and exit code 2; a disk that fails is one line too, with 1. Ctrl-C ends a run
early, keeps what was traced and exits with 130.
"""

from __future__ import annotations

import fnmatch
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from io import StringIO
from itertools import chain, islice
from pathlib import Path
from typing import IO, Annotated, Any, Final

import anyio
import structlog
import typer
from anyio.abc import TaskStatus
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from asyncirq import __version__
from asyncirq.analysis.figures import us
from asyncirq.analysis.latency import measure
from asyncirq.analysis.model import capture_from_records
from asyncirq.analysis.quantities import describe, in_order, is_alternate
from asyncirq.analysis.stats import run_stats
from asyncirq.errors import UsageError
from asyncirq.host import run as run_on_host
from asyncirq.scenario import Result, Scenario, load_scenario, run_scenario, with_seed
from asyncirq.trace import (
    NANOSECONDS,
    RECORD_TYPES,
    CommTable,
    FileSink,
    Record,
    Sink,
    StructlogSink,
    encode_lines,
    read_jsonl,
    render,
    tag_of,
)
from asyncirq.units import format_ns

USAGE: Final = 2
INTERRUPTED: Final = 130
CHUNK: Final = 4096
PLAIN_WIDTH: Final = 10_000


class Format(StrEnum):
    """How ``show`` writes records."""

    ftrace = "ftrace"
    json = "json"
    logfmt = "logfmt"


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit: with 0, 2 for a mistake of the caller, 130 after Ctrl-C."""
    given = list(sys.argv[1:] if args is None else args)
    try:
        make_app(given)(args=given, prog_name="asyncirq")
    except UsageError as error:
        typer.echo(f"asyncirq: error: {error}", err=True)
        sys.exit(USAGE)
    except OSError as error:
        typer.echo(f"asyncirq: error: {error}", err=True)
        sys.exit(1)


def make_app(args: Sequence[str]) -> typer.Typer:
    """Return the command line; commands that take long to import are there only if ``args`` may ask for them."""
    app = typer.Typer(
        help="Model the Linux interrupt subsystem in virtual time.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    app.command("run")(run)
    app.command("show")(show)
    if not args or args[0] in ("check", "--help"):
        from asyncirq.analysis.rv.cli import check

        app.command("check")(check)
    if not args or args[0] in ("whatif", "--help"):
        from asyncirq.whatif.cli import whatif

        app.command("whatif")(whatif)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"asyncirq {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Model the Linux interrupt subsystem in virtual time."""


# --- run


def run(
    scenario: Annotated[Path, typer.Argument(help="The scenario, a TOML file.")],
    seed: Annotated[int | None, typer.Option(help="Use this seed instead of the scenario's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write trace.jsonl and report.txt into this folder.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write the trace to this file, as JSON lines.")] = None,
) -> None:
    """Run a scenario and print its counters, /proc/interrupts, /proc/softirqs and its latencies."""
    loaded = load_scenario(scenario)
    if seed is not None:
        loaded = with_seed(loaded, seed)
    sinks: list[Sink] = []
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{out}: cannot make this folder: {error.strerror}", error.errno or 0) from None
        sinks.append(FileSink(out / "trace.jsonl"))
    if trace is not None:
        sinks.append(FileSink(trace))
    result = run_on_host(_run_until_interrupt, loaded, sinks)
    # Where the scenario shows its trace on stdout, the report must not be mixed into it.
    print_result(result, sys.stdout if loaded.file.trace.stdout is None else sys.stderr)
    if out is not None:
        text = StringIO()
        print_result(result, text)
        (out / "report.txt").write_text(text.getvalue(), encoding="utf-8")
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)


async def _run_until_interrupt(scenario: Scenario, sinks: Sequence[Sink]) -> Result:
    """Run a scenario until its end or until Ctrl-C, with its result in both cases."""
    stop = anyio.CancelScope()
    failure: Exception | None = None
    result: Result | None = None
    async with anyio.create_task_group() as group:
        await group.start(_cancel_on_interrupt, stop)
        try:
            result = await run_scenario(scenario, sinks=sinks, stop=stop)
        except Exception as error:
            # Kept out of the group, which would wrap it.
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    assert result is not None
    return result


async def _cancel_on_interrupt(stop: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            stop.cancel()
            return


def print_result(result: Result, file: IO[str]) -> None:
    """Print a run: plain text that depends on the run alone, coloured tables on a terminal."""
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(file=file, width=PLAIN_WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    state = "interrupted at" if result.interrupted else "ran for"
    print(f"{result.scenario}: {state} {format_ns(result.now)}, {len(result.records)} records, sha256 {result.digest}", file=file)
    counters = [[name, counter, str(value)] for name, counts in result.counters.items() for counter, value in counts.items()]
    _print_table(console, "Devices", ("device", "counter", "value"), counters, left=2)
    for title, text in (("/proc/interrupts", result.interrupts), ("/proc/softirqs", result.softirqs)):
        print(f"\n{title}\n{_without_zeros(text)}", file=file)
    if any(record.cpu >= 0 and record.pid >= 0 for record in result.records):
        rows = list(_latency_rows(result))
        _print_table(console, "Latencies in us", ("quantity", "n", "p50", "p90", "p99", "max"), rows)


def _without_zeros(text: str) -> str:
    """Return a table of counts per CPU without the rows that are all zero, and without blanks at line ends."""
    head, *lines = text.splitlines()
    cpus = len(head.split())
    kept = [line for line in lines if any(count.strip("0") for count in line.split(":", 1)[1].split()[:cpus])]
    return "\n".join(line.rstrip() for line in (head, *kept))


def _latency_rows(result: Result) -> Iterator[list[str]]:
    stats = run_stats(measure(capture_from_records(result.records, result.scenario))).pooled
    for name in in_order(name for name in stats.quantities if not is_alternate(name)):
        found = stats.quantities[name]
        yield [describe(name).title, str(found.n), us(found.p50), us(found.p90), us(found.p99), us(found.max)]


def _print_table(console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    if not rows:
        return
    console.print()
    console.print(Text(title, style="bold"))
    if console.is_terminal:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for index, heading in enumerate(headings):
            table.add_column(heading, justify="left" if index < left else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    widths = [max(len(row[index]) for row in (headings, *rows)) for index in range(len(headings))]
    for row in (headings, *rows):
        cells = [
            cell.ljust(width) if index < left else cell.rjust(width) for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip(), file=console.file)


# --- show


def show(
    trace: Annotated[Path, typer.Argument(help="A trace as JSON lines, plain or gzipped.")],
    form: Annotated[Format, typer.Option("--format", help="As ftrace prints it, as JSON lines, as key=value.")] = Format.ftrace,
    event: Annotated[list[str] | None, typer.Option(help="Show events of this name only; may hold * and be repeated.")] = None,
) -> None:
    """Render a trace."""
    wanted = matching_events(event)
    records = _told_if_empty(read_jsonl(trace), trace)
    if form is Format.ftrace:
        _show_ftrace(records, wanted)
        return
    out = sys.stdout.buffer
    if form is Format.json:
        kept = (record for record in records if wanted is None or tag_of(type(record)) in wanted)
        for chunk in _chunks(kept):
            out.write(encode_lines(chunk))
    else:
        _show_logfmt(records, wanted)
    out.flush()


def _told_if_empty(records: Iterator[Record], path: Path) -> Iterator[Record]:
    """Hand records on, and say on stderr if there are none: a run without records leaves an empty file, which is no mistake."""
    first = next(records, None)
    if first is None:
        typer.echo(f"asyncirq: {path} holds no records", err=True)
        return iter(())
    return chain((first,), records)


def matching_events(patterns: Sequence[str] | None) -> frozenset[str] | None:
    """Return the events that patterns stand for, None for all. Raises ``UsageError`` for one that stands for none."""
    if not patterns:
        return None
    tags = [tag_of(kind) for kind in RECORD_TYPES]
    found: set[str] = set()
    for pattern in patterns:
        matching = fnmatch.filter(tags, pattern)
        if not matching:
            raise UsageError(f"no event is called {pattern!r}")
        found.update(matching)
    return frozenset(found)


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    source = iter(records)
    while chunk := list(islice(source, CHUNK)):
        yield chunk


def _show_ftrace(records: Iterable[Record], wanted: frozenset[str] | None) -> None:
    comms = CommTable()
    for record in records:
        # Tasks' names are learnt from every record, shown or not.
        comms.feed(record)
        if wanted is None or tag_of(type(record)) in wanted:
            sys.stdout.write(render(record, comms, NANOSECONDS) + "\n")


def _show_logfmt(records: Iterable[Record], wanted: frozenset[str] | None) -> None:
    def keep(logger: Any, method_name: str, event_dict: Any) -> Any:
        if wanted is not None and event_dict["event"] not in wanted:
            raise structlog.DropEvent
        return event_dict

    sink = StructlogSink(sys.stdout.buffer, [keep], renderer="logfmt")
    for chunk in _chunks(records):
        sink.write(chunk, b"")
