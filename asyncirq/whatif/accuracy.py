"""Say how right a prediction is, as lines ``accuracy PAIR METRIC VALUE``.

``PAIR`` is ``a4->b4``: the capture that was run again, and the real one that it is compared with. A capture run again under
its own kernel has to give its own counts back; that pair is printed whenever that kernel is predicted.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from asyncirq.analysis.accuracy import Score, accuracy_lines, score
from asyncirq.analysis.cells import family
from asyncirq.analysis.clock import spearman
from asyncirq.analysis.metrics import Metrics, PhaseMetrics
from asyncirq.whatif.run import KernelPrediction
from asyncirq.whatif.source import Source

ONE_STEP_NS: Final = 1_000
"""Stamps of a microsecond capture are good to this: a smaller error is none."""
SERIES: Final = re.compile(r"[a-z]\d+(?=-)")
"""Captures of one series differ in the kernel alone, which the letter says: it is name enough."""
TAILS: Final = ("raise_to_entry:TIMER", "local_timer_to_TIMER", "waking_to_switch:ksoftirqd", "waking_to_switch:ktimers")
"""Quantities whose longest delays tell whether the scheduler's rules are right."""
NEAR: Final = 25
"""Percent within which the medians of the headline quantities have to be."""


def short_name(path: Path) -> str:
    """Return what a capture is called in a pair: its folder's name, or the series that it begins with (``a4-...``)."""
    folder = path if path.is_dir() or not path.parent.name else path.parent
    series = SERIES.match(folder.name)
    return series[0] if series else folder.name or str(path)


def median_lines(pair: str, predicted: Metrics, real: Metrics) -> list[str]:
    """Return the errors of the headline medians over the whole run, in percent, and how many are near enough."""
    lines = []
    near = total = 0
    for quantity in headline_medians(real):
        guess = predicted.pooled.quantities.get(quantity)
        truth = real.pooled.quantities[quantity]
        total += 1
        if guess is None:
            lines.append(f"accuracy {pair} p50_error_percent.{quantity} none")
            continue
        error = guess.p50 - truth.p50
        near += abs(error) <= ONE_STEP_NS or 100 * abs(error) <= NEAR * truth.p50
        lines.append(f"accuracy {pair} p50_ns.{quantity} {guess.p50}")
        lines.append(f"accuracy {pair} p50_error_percent.{quantity} {100 * error / truth.p50 if truth.p50 else 0.0:.1f}")
    return [*lines, f"accuracy {pair} p50_within_{NEAR} {near}/{total}"]


def headline_medians(real: Metrics) -> list[str]:
    """Return the quantities whose medians every prediction has to get: the NIC's way to its thread and softirq, TIMER's delay."""
    lines = real.net_lines
    wanted = [f"{kind}:{line}" for line in lines for kind in ("entry_to_thread", "entry_to_NET_RX")]
    wanted += ["raise_to_entry:TIMER", *(f"waking_to_switch:irq/{line}" for line in lines)]
    return [quantity for quantity in wanted if quantity in real.pooled.quantities]


def count_lines(pair: str, predicted: Metrics, real: Metrics) -> list[str]:
    """Return how many counts per line (or vector) and phase are exactly the recorded ones."""
    lines = []
    for name, of in (("irq_handler_entry", _interrupts), ("vector_entry", _vectors), ("softirq_entry", _softirqs)):
        exact = total = 0
        for phase in real.phases:
            there = predicted.of_phase(phase.phase)
            wanted = of(phase)
            got = of(there) if there is not None else {}
            for key in sorted({*wanted, *got}):
                total += 1
                exact += wanted.get(key, 0) == got.get(key, 0)
        lines.append(f"accuracy {pair} counts.{name} {exact}/{total}")
    return lines


def _interrupts(phase: PhaseMetrics) -> dict[str, int]:
    return phase.interrupts


def _vectors(phase: PhaseMetrics) -> dict[str, int]:
    return phase.vectors


def _softirqs(phase: PhaseMetrics) -> dict[str, int]:
    return phase.softirqs


def checker_lines(pair: str, prediction: KernelPrediction) -> list[str]:
    """Return what the softirq checker says of a predicted trace: every entry has to follow from the raises."""
    report = prediction.softirqs
    return [
        f"accuracy {pair} softirq_check.ok {report.ok}",
        f"accuracy {pair} softirq_check.ambiguous {report.ambiguous}",
        f"accuracy {pair} softirq_check.wrong {len(report.wrong)}",
    ]


def self_lines(source: Source, prediction: KernelPrediction) -> list[str]:
    """Return the lines of a capture that was run again under its own kernel."""
    name = short_name(source.path)
    pair = f"{name}->{name}"
    result = score(prediction.metrics, source.metrics, source.metrics)
    lines = count_lines(pair, prediction.metrics, source.metrics)
    if source.host_clock:
        return lines + checker_lines(pair, prediction) + rank_lines(pair, result)
    lines += median_lines(pair, prediction.metrics, source.metrics)
    lines += tail_lines(pair, prediction.metrics, source.metrics)
    return lines + checker_lines(pair, prediction) + _score_lines(pair, result)


def against_lines(source: Source, prediction: KernelPrediction, path: Path, real: Metrics, *, host_clock: bool = False) -> list[str]:
    """Return the lines of a prediction against the real capture of its kernel; ``host_clock``: the clock of that one follows its host."""
    pair = f"{short_name(source.path)}->{short_name(path)}"
    result = score(prediction.metrics, real, source.metrics)
    if source.host_clock or host_clock:
        return checker_lines(pair, prediction) + rank_lines(pair, result)
    lines = median_lines(pair, prediction.metrics, real) + checker_lines(pair, prediction)
    return lines + tail_lines(pair, prediction.metrics, real) + _score_lines(pair, result)


def tail_lines(pair: str, predicted: Metrics, real: Metrics) -> list[str]:
    """Return by what factor the p99 of TIMER and ksoftirqd over the whole run differs: above 1 where it was predicted too long."""
    lines = []
    for quantity in TAILS:
        guess, truth = predicted.pooled.quantities.get(quantity), real.pooled.quantities.get(quantity)
        if guess is not None and truth is not None and truth.p99:
            lines.append(f"accuracy {pair} p99_ratio.{quantity} {guess.p99 / truth.p99:.2f}")
    return lines


def rank_lines(pair: str, result: Score) -> list[str]:
    """Return what may be said where a clock follows its host: the order of the headline medians, and where vectors ran."""
    cells = [(cell.real[0], cell.predicted[0]) for cell in result.cells if cell.headline]
    found = spearman(cells)
    return [
        f"accuracy {pair} clock host",
        f"accuracy {pair} spearman {'none' if found is None else f'{found:.3f}'}",
        f"accuracy {pair} spearman.cells {len(cells)}",
        f"accuracy {pair} X {result.x:.1f}",
        f"accuracy {pair} missed.headline {sum(cell.headline for cell in result.missed)}",
        f"accuracy {pair} gated.headline {sum(cell.headline for cell in result.gated)}",
    ]


def _score_lines(pair: str, result: Score) -> list[str]:
    lines = accuracy_lines(pair, result)
    for cell in result.cells:
        if family(cell.quantity) == "entry_to_NET_RX" and cell.real[0]:
            error = 100 * (cell.predicted[0] - cell.real[0]) / cell.real[0]
            lines.append(f"accuracy {pair} p50_error_percent.{cell.quantity}@{cell.phase} {error:.1f}")
    return lines
