"""Collect samples and counts of one phase while a trace is walked."""

from __future__ import annotations

from collections import defaultdict

from asyncirq.analysis.dist import Dist
from asyncirq.analysis.metrics import PhaseMetrics


class Tally:
    """Take samples and counts; hand out the sorted result."""

    def __init__(self, phase: str, duration_ns: int) -> None:
        self.phase = phase
        self.duration_ns = duration_ns
        self.events = 0
        self.samples: defaultdict[str, list[int]] = defaultdict(list)
        self.interrupts: defaultdict[str, int] = defaultdict(int)
        self.vectors: defaultdict[str, int] = defaultdict(int)
        self.softirqs: defaultdict[str, int] = defaultdict(int)
        self.contexts: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.cpu_ns: defaultdict[str, int] = defaultdict(int)
        self.censored: defaultdict[str, int] = defaultdict(int)
        self.polls = 0
        self.packets = 0
        self.switches = 0

    def result(self, start: int = 0, step: int = 1) -> PhaseMetrics:
        """Return what was collected, every dict sorted; of the samples, every ``step``-th from ``start`` in order of time."""
        quantities = {name: self.samples[name][start::step] for name in sorted(self.samples)}
        return PhaseMetrics(
            phase=self.phase,
            duration_ns=self.duration_ns,
            events=self.events,
            quantities={name: Dist.of(samples) for name, samples in quantities.items() if samples},
            interrupts=_ordered(self.interrupts),
            vectors=_ordered(self.vectors),
            softirqs=_ordered(self.softirqs),
            polls=self.polls,
            packets=self.packets,
            switches=self.switches,
            contexts={vector: _ordered(self.contexts[vector]) for vector in sorted(self.contexts)},
            cpu_ns=_ordered(self.cpu_ns),
            censored=_ordered(self.censored),
        )


def _ordered(counts: dict[str, int]) -> dict[str, int]:
    return {key: counts[key] for key in sorted(counts)}
