"""Say in words what a report shows: what was captured, what each kernel changes, how far to trust it."""

from __future__ import annotations

from typing import Final

import msgspec

from asyncirq.analysis.figures import number, percent, plural, rate, us
from asyncirq.analysis.pack import Provenance
from asyncirq.analysis.quantities import describe, in_order
from asyncirq.analysis.report import Against, KernelRun, Report
from asyncirq.analysis.stats import PhaseStats, QuantityStats
from asyncirq.analysis.verdict import KernelScore
from asyncirq.units import NSEC_PER_SEC, NSEC_PER_USEC

MIN_SAMPLES: Final = 30
"""Samples that a quantity needs on both sides before words are made of it."""
MIN_ENTRIES: Final = 50
"""Entries that a vector needs on both sides before words are made of where it runs."""
_CHANGED_PERCENT: Final = 10
_NAMED: Final = 3
_KINDS: Final[tuple[tuple[Provenance, str], ...]] = (
    ("measured", "measured in the capture"),
    ("proxy", "taken from a like mechanism"),
    ("prior", "from elsewhere"),
)


class Part(msgspec.Struct, frozen=True):
    """A heading and its sentences."""

    title: str
    sentences: list[str]


def summarize(report: Report) -> list[Part]:
    """Return the summary of a report: the capture, each kernel, the comparison with the other capture, the constants."""
    parts = [Part("Captured", _captured(report))]
    for kernel in report.kernels:
        parts.append(Part(kernel.name, _kernel(report.captured.stats.pooled, kernel)))
    if report.against is not None:
        parts.append(Part("Against the real kernel", _against(report.against)))
    trust = _trust(report)
    return [*parts, Part("What this rests on", trust)] if trust else parts


def _captured(report: Report) -> list[str]:
    source, pooled = report.captured.source, report.captured.stats.pooled
    about = f"{source.name}{f' ({source.kernel})' if source.kernel else ''}: {plural(source.cpus, 'CPU')}"
    size = f"{source.events:,} events in {pooled.duration_ns / NSEC_PER_SEC:.2f} s"
    phases = f" and {plural(len(report.captured.stats.phases), 'phase')}" if len(report.captured.stats.phases) > 1 else ""
    clock = "1 us" if source.resolution_ns == NSEC_PER_USEC else f"{source.resolution_ns} ns"
    sentences = [f"{about}, {size}{phases}, stamps good to {clock}."]
    if source.lost_events:
        sentences.append(f"The capture lost {source.lost_events:,} events: every figure here may be off.")
    sentences.append("Every latency, real or predicted, includes the cost of tracing itself.")
    return sentences


def _kernel(base: PhaseStats, kernel: KernelRun) -> list[str]:
    run = kernel.stats.pooled
    sentences = _moved(base, run)
    sentences += _appeared(base, run)
    sentences += [text for vector in sorted(run.contexts) if (text := _place(vector, base, run))]
    sentences.append(
        f"Interrupts {rate(base.interrupts_per_second)} -> {rate(run.interrupts_per_second)} a second, "
        f"task switches {rate(base.switches_per_second)} -> {rate(run.switches_per_second)} a second; "
        f"CPU time in hard interrupts {percent(base.cpu_share['hardirq'])} -> {percent(run.cpu_share['hardirq'])}, "
        f"in softirqs {percent(base.cpu_share['softirq'])} -> {percent(run.cpu_share['softirq'])}."
    )
    return sentences + list(kernel.notes)


def _enough(stats: QuantityStats | None) -> bool:
    return stats is not None and stats.n >= MIN_SAMPLES


def _moved(base: PhaseStats, run: PhaseStats) -> list[str]:
    """Say how many headline medians move by more than 10 percent and 1 us, and which do most."""
    both = [name for name in in_order(run.quantities) if describe(name).headline and _enough(run.quantities[name])]
    both = [name for name in both if _enough(base.quantities.get(name))]
    if not both:
        return []
    move = {name: run.quantities[name].p50 - base.quantities[name].p50 for name in both}
    moved = [
        name for name in both if abs(move[name]) > NSEC_PER_USEC and 100 * abs(move[name]) > _CHANGED_PERCENT * base.quantities[name].p50
    ]
    known = plural(len(both), "latency", "latencies")
    if not moved:
        return [f"None of the {known} of scheduling and deferral moves its median by more than {_CHANGED_PERCENT} % and 1 us."]
    longer = sum(move[name] > 0 for name in moved)
    most = sorted(moved, key=lambda name: -abs(move[name]) / max(base.quantities[name].p50, NSEC_PER_USEC))[:_NAMED]
    named = "; ".join(f"{describe(name).title} {_quantiles(base.quantities[name])} -> {_quantiles(run.quantities[name])}" for name in most)
    return [
        f"Of {known} of scheduling and deferral, {longer} {'gets' if longer == 1 else 'get'} longer and {len(moved) - longer} shorter "
        f"by more than {_CHANGED_PERCENT} % and 1 us in the median. Largest (p50/p90/p99 us): {named}."
    ]


def _quantiles(stats: QuantityStats) -> str:
    return f"{us(stats.p50)}/{us(stats.p90)}/{us(stats.p99)}"


def _appeared(base: PhaseStats, run: PhaseStats) -> list[str]:
    """Say which headline quantities only one of two runs has."""
    sentences = []
    for words, here, there in (("Only here", run, base), ("Only in the capture", base, run)):
        names = [name for name in in_order(here.quantities) if describe(name).headline and name not in there.quantities]
        enough = [name for name in names if here.quantities[name].n >= MIN_SAMPLES]
        if enough:
            shown = [f"{describe(name).title} {_quantiles(here.quantities[name])}" for name in enough[: 2 * _NAMED]]
            rest = len(enough) - len(shown)
            sentences.append(f"{words} (p50/p90/p99 us): {'; '.join(shown)}{f'; and {rest} more' if rest else ''}.")
    return sentences


def _place(vector: str, base: PhaseStats, run: PhaseStats) -> str:
    """Say where a softirq vector mostly runs, if that changes."""
    old, new = base.contexts.get(vector, {}), run.contexts[vector]
    if min(sum(old.values()), sum(new.values())) < MIN_ENTRIES:
        return ""
    before, after = (max(sorted(counts), key=lambda context: counts[context]) for counts in (old, new))
    if before == after:
        return ""
    shares = (base.context_share(vector, before) or 0.0, run.context_share(vector, after) or 0.0)
    return f"{vector} moves from {before} ({percent(shares[0])}) to {after} ({percent(shares[1])})."


def _against(against: Against) -> list[str]:
    source = against.source
    sentences = [f"The real figures are those of {source.name}{f' ({source.kernel})' if source.kernel else ''}."]
    targets = [score for score in against.kernels if score.target] or against.kernels
    return sentences + [_score(score) for score in targets]


def _score(score: KernelScore) -> str:
    part = score.headline
    missed, gated = (sum(cell.headline for cell in cells) for cells in (score.missed, score.gated))
    left_out = f"{plural(missed, 'cell')} missed, {gated} gated out because the arrivals differ"
    if not part.cells:
        return f"{score.kernel}: no cell can be compared ({left_out})."
    skill = f", skill over copying the capture {number(part.skill, 2)}" if part.skill is not None else ""
    return (
        f"{score.kernel}: {plural(part.cells, 'latency cell')} (quantity in a phase) compared: the median is within 10 % in "
        f"{number(part.h10, 0)} % of them and within 25 % in {number(part.h25, 0)} %, p90 within 25 % in {number(part.t25, 0)} %; median "
        f"distance {number(part.w, 3)}{skill}. Vectors ran elsewhere than predicted by at most {number(score.x, 1)} points"
        f"{f' ({score.x_where})' if score.x_where else ''}; {left_out}."
    )


def _trust(report: Report) -> list[str]:
    sentences = []
    for kernel in report.kernels:
        kinds = [cost.kind for cost in kernel.costs]
        if kinds:
            counts = ", ".join(f"{kinds.count(kind)} {words}" for kind, words in _KINDS)
            priors = ", ".join(cost.name for cost in kernel.costs if cost.kind == "prior")
            sentences.append(f"{kernel.name}: {plural(len(kinds), 'constant')}, {counts}{f' ({priors})' if priors else ''}.")
    return [*sentences, *report.notes]
