"""Print a report to a terminal, or as plain text that does not depend on one.

On a terminal the tables take the width that there is: a table that does not fit side by side is printed with one row per
kernel. Anywhere else (a file, a pipe) the same tables come without colour, as wide as they are, with ASCII frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import IO, Final

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from asyncirq.analysis.figures import NONE, number, percent, rate, signed_us, us
from asyncirq.analysis.quantities import describe, is_alternate
from asyncirq.analysis.report import CostRow, Report
from asyncirq.analysis.stats import CPU_CONTEXTS, PhaseStats, QuantityStats
from asyncirq.analysis.summary import MIN_SAMPLES, summarize
from asyncirq.analysis.verdict import CellRow, KernelScore

_PLAIN_WIDTH: Final = 10_000
_WORST: Final = 10
_GOOD: Final = 10
_FAIR: Final = 25

Cells = list[str | Text]
Columns = Sequence[tuple[str, PhaseStats | None]]


def print_report(report: Report, file: IO[str] | None = None, *, phase: str | None = None, width: int | None = None) -> None:
    """Print a report: summary, latencies, where vectors ran, CPU and rates, accuracy, constants.

    ``phase`` is a phase's name, the whole run by default. ``width`` overrules the terminal's. The output of a file that is
    no terminal depends on the report alone.
    """
    target = Console(file=file, width=width, highlight=False, markup=False, emoji=False)
    if target.is_terminal:
        _print(report, target, phase)
        return
    plain = Console(file=StringIO(), width=width or _PLAIN_WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    with plain.capture() as captured:
        _print(report, plain, phase)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    target.file.writelines(f"{line}\n" for line, before in zip(lines, ["", *lines], strict=False) if line or before)


def _print(report: Report, console: Console, phase: str | None) -> None:
    name = phase if phase is not None else report.captured.stats.pooled.phase
    columns = [(heading, stats.of_phase(name)) for heading, stats in report.runs()]
    for part in summarize(report):
        console.print(Text(part.title, style="bold"))
        for sentence in part.sentences:
            console.print(_bullet(sentence))
    where = "" if phase is None else f", phase {phase}"
    _show(
        console,
        f"Latencies in us{where}: p50/p90/p99 (samples), change against the captured kernel ({MIN_SAMPLES} samples or more)",
        *_latencies(report, columns, console),
    )
    _show(console, f"Where softirq vectors ran{where}", _places(columns, console))
    _show(console, f"CPU time, rates and interrupts{where}", _rates(columns, console))
    if report.against is not None:
        title = f"Accuracy against {report.against.source.name}: share of cells within 10 and 25 %"
        _show(console, title, _accuracy(report.against.kernels, console))
        for score in [score for score in report.against.kernels if score.target] or report.against.kernels:
            _print_cells(console, score)
    _show(console, "Constants that were not measured in the capture", _constants(report, console))


def _bullet(text: str) -> Table:
    """Return a sentence that hangs behind its bullet when it wraps."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(overflow="fold")
    grid.add_row("  -", Text(text))
    return grid


def _show(console: Console, title: str, *tables: Table) -> None:
    """Print the first table that fits, the last one if none does; nothing if it has no row."""
    chosen = next((table for table in tables if _natural_width(console, table) <= console.width), tables[-1])
    if chosen.row_count:
        console.print()
        console.print(Text(title, style="bold"))
        console.print(chosen)


def _natural_width(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(width=_PLAIN_WIDTH), table).maximum


def _table(console: Console, *headings: str, left: int = 1) -> Table:
    frame = box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN
    table = Table(box=frame, pad_edge=not console.is_terminal, header_style="bold")
    for index, heading in enumerate(headings):
        if index < left:
            table.add_column(Text(heading), overflow="fold")
        else:
            table.add_column(Text(heading), justify="right", overflow="fold")
    return table


def _row(table: Table, *cells: str | Text) -> None:
    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


# -- latencies --------------------------------------------------------------------------------------------------------


def _latencies(report: Report, columns: Columns, console: Console) -> tuple[Table, Table]:
    """Return the latencies twice: one column per kernel, and one row per kernel for a narrow terminal."""
    wide = _table(console, "quantity", columns[0][0], *(text for heading, _ in columns[1:] for text in (heading, "change")))
    narrow = _table(console, "quantity", "kernel", "p50", "p90", "p99", "n", "change", left=2)
    group = ""
    for info in report.quantities:
        found = [stats.quantities.get(info.name) if stats is not None else None for _, stats in columns]
        if is_alternate(info.name) or not any(stats is not None and stats.n >= MIN_SAMPLES for stats in found):
            continue
        base = found[0]
        cells: Cells = [Text(info.title, style="" if info.headline else "dim"), _quantiles(base)]
        for stats in found[1:]:
            cells += [_quantiles(stats), _change(base, stats)]
        _row(wide, *cells)
        if info.group != group:
            group = info.group
            _row(narrow, Text(group, style="bold"))
        label = f"  {info.label}" if info.label else ""
        for (heading, _), stats in zip(columns, found, strict=True):
            if stats is not None:
                move = Text("") if stats is base else _median_change(base, stats)
                _row(narrow, label, heading, us(stats.p50), us(stats.p90), us(stats.p99), str(stats.n), move)
                label = ""
    return wide, narrow


def _quantiles(stats: QuantityStats | None) -> str:
    return NONE if stats is None else f"{us(stats.p50)}/{us(stats.p90)}/{us(stats.p99)} ({stats.n})"


def _change(base: QuantityStats | None, stats: QuantityStats | None) -> Text:
    if base is None or stats is None:
        return Text(NONE if stats is None else "new", style="dim")
    moves = (stats.p50 - base.p50, stats.p90 - base.p90, stats.p99 - base.p99)
    return Text("/".join(map(signed_us, moves)) if any(moves) else "=", style=_colour(moves[0]))


def _median_change(base: QuantityStats | None, stats: QuantityStats) -> Text:
    if base is None:
        return Text("new", style="dim")
    move = stats.p50 - base.p50
    return Text(signed_us(move) if move else "=", style=_colour(move))


def _colour(move: int) -> str:
    return "red" if move > 0 else "green" if move < 0 else "dim"


# -- contexts and rates -----------------------------------------------------------------------------------------------


def _places(columns: Columns, console: Console) -> Table:
    table = _table(console, "vector", "ran in", *(heading for heading, _ in columns), left=2)
    known = [stats for _, stats in columns if stats is not None]
    for vector in sorted({vector for stats in known for vector in stats.contexts}):
        title = vector
        for context in sorted({context for stats in known for context in stats.contexts.get(vector, {})}):
            cells = []
            for _, stats in columns:
                share = stats.context_share(vector, context) if stats is not None else None
                cells.append(NONE if share is None else percent(share))
            _row(table, title, context, *cells)
            title = ""
    return table


def _rates(columns: Columns, console: Console) -> Table:
    table = _table(console, "", *(heading for heading, _ in columns))
    runs = [stats for _, stats in columns]
    for context in CPU_CONTEXTS:
        _row(table, f"CPU in {context}", *(NONE if run is None else percent(run.cpu_share[context]) for run in runs))
    _row(table, "interrupts/s", *(NONE if run is None else rate(run.interrupts_per_second) for run in runs))
    _row(table, "task switches/s", *(NONE if run is None else rate(run.switches_per_second) for run in runs))
    for line in sorted({line for run in runs if run is not None for line in run.interrupts}):
        _row(table, f"interrupts {line}", *(NONE if run is None else str(run.interrupts.get(line, 0)) for run in runs))
    for vector in sorted({vector for run in runs if run is not None for vector in run.vectors}):
        _row(table, f"vector {vector}", *(NONE if run is None else str(run.vectors.get(vector, 0)) for run in runs))
    return table


# -- accuracy and constants -------------------------------------------------------------------------------------------


def _accuracy(scores: Sequence[KernelScore], console: Console) -> Table:
    headings = ("p50 10%", "p50 25%", "p90 10%", "p90 25%", "W1n", "skill", "X")
    table = _table(console, "kernel", "set", "cells", *headings, "missed", "gated", left=2)
    for score in scores:
        title = f"{score.kernel} (target)" if score.target else score.kernel
        for name, part in (("headline", score.headline), ("hard set", score.hard)):
            shares = [number(value, 0) for value in (part.h10, part.h25, part.t10, part.t25)]
            rest = [number(score.x, 1), str(len(score.missed)), str(len(score.gated))] if name == "headline" else [""] * 3
            _row(table, title, name, str(part.cells), *shares, number(part.w, 3), number(part.skill, 2), *rest)
            title = ""
    return table


def _print_cells(console: Console, score: KernelScore) -> None:
    """Print the worst headline cells of a kernel, and every headline cell that was left out."""
    cells = [cell for cell in score.cells if cell.headline]
    worst = sorted(cells, key=lambda cell: -(cell.w1n if cell.w1n is not None else float("inf")))[:_WORST]
    wide = _table(console, "phase", "quantity", "n real", "n", "real", "predicted", "p50 %", "W1n", "of copy", left=2)
    narrow = _table(console, "quantity", "real", "predicted", "p50 %", "W1n")
    for cell in worst:
        title = describe(cell.quantity).title
        values = (_three(cell.real), _three(cell.predicted), _error(cell), number(cell.w1n, 3))
        _row(wide, cell.phase, title, str(cell.n_real), str(cell.n_predicted), *values, number(cell.w1n_copy, 3))
        _row(narrow, f"{cell.phase}: {title}", *values)
    count = f"the {len(worst)} worst of {len(cells)}" if len(cells) > len(worst) else "all"
    _show(console, f"{score.kernel}: headline cells, p50/p90/p99 in us, error of p50, distance W1n ({count})", wide, narrow)
    for words, rows in (("missed", score.missed), ("gated out", score.gated)):
        left_out = _table(console, "phase", "quantity", "why", left=3)
        for row in rows:
            if row.headline:
                _row(left_out, row.phase, describe(row.quantity).title, row.reason)
        _show(console, f"{score.kernel}: headline cells {words}", left_out)


def _three(values: tuple[int, int, int]) -> str:
    return "/".join(map(us, values))


def _error(cell: CellRow) -> Text:
    style = "green" if cell.within[0] == _GOOD else "yellow" if cell.within[0] == _FAIR else "red"
    error = cell.error_percent[0]
    return Text(NONE if error is None else f"{error:+.0f}" if round(error) else "0", style=style)


def _constants(report: Report, console: Console) -> Table:
    table = _table(console, "constant", "kind", "from", "used by", "us", "n", left=4)
    found: dict[CostRow, list[str]] = {}
    for kernel in report.kernels:
        for cost in kernel.costs:
            if cost.kind != "measured":
                found.setdefault(cost, []).append(kernel.name)
    for cost in sorted(found, key=lambda cost: (cost.kind != "prior", cost.name)):
        used = "all" if len(found[cost]) == len(report.kernels) else ", ".join(found[cost])
        _row(table, cost.name, cost.kind, cost.source, used, us(cost.value), str(cost.n or NONE))
    return table
