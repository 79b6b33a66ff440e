"""Be ``asyncirq check``: run every monitor that a trace has the events for, and say what they refuse."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO, Annotated, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from asyncirq.analysis.event import Capture
from asyncirq.analysis.ftrace import read_capture
from asyncirq.analysis.model import capture_from_records
from asyncirq.analysis.rv.automaton import Monitor, Violation
from asyncirq.analysis.rv.check import MonitorResult, check_capture
from asyncirq.analysis.rv.models import MONITORS
from asyncirq.analysis.rv.thread_model import RULES
from asyncirq.errors import UsageError
from asyncirq.trace.reader import read_jsonl

REFUSED: Final = 1
SHOWN: Final = 5
"""Violations of a monitor that are printed; the table has the number of all."""
_GZIP: Final = b"\x1f\x8b"


def check(
    trace: Annotated[
        Path, typer.Argument(help="A trace: our JSON lines or ftrace text, plain or gzip, or the folder that holds trace.txt.")
    ],
    monitor: Annotated[list[str] | None, typer.Option(help="Run this monitor or rule alone; may be repeated.")] = None,
    advisory: Annotated[bool, typer.Option(help="Run the monitors too that a kernel may trip and be right.")] = False,
    way: Annotated[bool, typer.Option(help="Show the transitions that led to each violation.")] = True,
) -> None:
    """Check a trace against the kernel's runtime monitors and the thread model's rules; exit with 1 if one refuses an event."""
    results = check_capture(load(trace), chosen(monitor, advisory))
    print_results(results, way=way)
    if any(result.violations for result in results):
        raise typer.Exit(REFUSED)


def chosen(names: list[str] | None, advisory: bool) -> list[Monitor]:
    """Return the monitors of these names; all, if no name is given. Raises ``UsageError`` for one that there is not."""
    every = [*MONITORS, *RULES]
    if not names:
        return [one for one in every if advisory or not one.advisory]
    known = list(dict.fromkeys(one.name for one in every))
    for name in names:
        if name not in known:
            raise UsageError(f"no monitor is called {name!r}; there are {', '.join(known)}")
    return [one for one in every if one.name in names]


def load(path: Path) -> Capture:
    """Read a trace of either kind. Raises ``UsageError`` that names file and line."""
    if path.is_dir():
        found = [path / name for name in ("trace.jsonl", "trace.txt", "trace.txt.gz") if (path / name).is_file()]
        if not found:
            raise UsageError(f"{path}: no trace.jsonl, trace.txt or trace.txt.gz in this folder")
        path = found[0]
    try:
        first = _first_byte(path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot read the trace: {error.strerror}", error.errno or 0) from None
    if first == b"{":
        return capture_from_records(read_jsonl(path), str(path))
    return read_capture(path, partial=True)


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(2)
    if head == _GZIP:
        with gzip.open(path) as packed:
            return packed.read(1)
    return head[:1]


def print_results(results: list[MonitorResult], *, way: bool, out: IO[str] | None = None) -> None:
    """Print a row for each monitor, then the first violations of each."""
    console = Console(file=out, highlight=False, soft_wrap=True)
    table = Table(box=box.ASCII2)
    for name, justify in (("monitor", "left"), ("events", "right"), ("refused", "right"), ("says", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]  # rich types its four words
    for result in results:
        says = result.monitor.says if not result.lacks else f"not run: the trace has no {', '.join(result.lacks)}"
        counts = ("-", "-") if result.lacks else (str(result.events), str(len(result.violations)))
        table.add_row(result.monitor.name, *counts, says)
    console.print(table)
    for result in results:
        for violation in result.violations[:SHOWN]:
            console.print(_text(violation, way), markup=False)
        if len(result.violations) > SHOWN:
            console.print(f"{result.monitor.name}: and {len(result.violations) - SHOWN} more", markup=False)


def _text(violation: Violation, way: bool) -> str:
    text = str(violation)
    return text if way else text.splitlines()[0]
