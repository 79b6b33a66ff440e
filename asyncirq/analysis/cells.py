"""Say which cells of a comparison count: families, sets, and the gate that arrivals have to pass.

A cell is a quantity in a phase. *Headline* cells are those of scheduling and deferral; the *hard set* are the headline
cells of 8 us and more whose cause the configuration changes. Everything else is shown, not scored.
"""

from __future__ import annotations

from typing import Final

from asyncirq.analysis.metrics import PhaseMetrics
from asyncirq.analysis.names import CPU_LINES, TIMER_LINES

HEADLINE_FAMILIES: Final = frozenset({"entry_to_thread", "entry_to_NET_RX", "raise_to_entry", "local_timer_to_TIMER", "waking_to_switch"})
"""Families that are scored. The ``_last`` variants pair differently and are shown only: one definition is scored."""

HARD_FLOOR_NS: Final = 8_000
"""Real median from which a headline cell may be in the hard set: below, 1 us of tolerance forgives too much."""
GATE_NUM: Final = 3
GATE_DEN: Final = 2
"""Arrivals agree if neither side has more than 3/2 of the other's."""

_LINE_FAMILIES: Final = frozenset({"hard_handler", "entry_to_thread", "entry_to_thread_last", "entry_to_NET_RX", "entry_to_NET_RX_last"})
_TICK_VECTORS: Final = frozenset({"TIMER", "HRTIMER", "SCHED", "RCU"})
_NET_VECTORS: Final = frozenset({"NET_RX", "NET_TX"})
_TICK: Final = "local_timer"


def family(quantity: str) -> str:
    """Return the part of a quantity's name before the colon."""
    return quantity.split(":", 1)[0]


def subject(quantity: str) -> str:
    """Return the part of a quantity's name behind the first colon, empty if there is none."""
    return quantity.partition(":")[2]


def is_headline(quantity: str) -> bool:
    """Tell whether a quantity's cells are scored."""
    return family(quantity) in HEADLINE_FAMILIES


def is_hard(quantity: str, real_p50_ns: int) -> bool:
    """Tell whether a cell is in the hard set: a headline cell, 8 us or more, of an irq thread, a NIC path or a softirq.

    Wakes of kworkers, ksoftirqd, ktimers, other kernel threads and user tasks hardly change with the configuration.
    """
    if not is_headline(quantity) or real_p50_ns < HARD_FLOOR_NS:
        return False
    return family(quantity) != "waking_to_switch" or subject(quantity).startswith("irq/")


def gate(quantity: str, predicted: PhaseMetrics, real: PhaseMetrics, net_lines: list[str]) -> str | None:
    """Return why a cell's arrivals cannot be compared, None if they can.

    The cell's own line has to have about as many interrupts on both sides: the line that its name tells, the NIC lines
    for NET_RX and NET_TX, the tick for the vectors that it raises, else (wakes of a task, TASKLET, BLOCK) the busiest
    device line of the phase. Where that line is a NIC's, packets per poll have to agree too.
    """
    lines = _lines_of(quantity, real, net_lines)
    for line in lines:
        here, there = _count(predicted, line), _count(real, line)
        if not _alike(here, there):
            return f"interrupts of {line}: predicted {here}, real {there}"
    if any(line in net_lines for line in lines) and real.polls:
        if not predicted.polls:
            return f"no polls predicted, real {real.polls}"
        # packets/polls on each side, compared without a division
        if not _alike(predicted.packets * real.polls, real.packets * predicted.polls):
            ratio = f"{predicted.packets}/{predicted.polls}, real {real.packets}/{real.polls}"
            return f"packets per poll: predicted {ratio}"
    return None


def _lines_of(quantity: str, real: PhaseMetrics, net_lines: list[str]) -> list[str]:
    kind, name = family(quantity), subject(quantity)
    if kind in _LINE_FAMILIES:
        return [name]
    if kind == "waking_to_switch" and name.startswith("irq/"):
        return [name.removeprefix("irq/").removesuffix("-s")]
    if name in _NET_VECTORS:
        return [line for line in net_lines if line in real.interrupts]
    if name in _TICK_VECTORS or kind.startswith("local_timer"):
        return [_TICK]
    busiest = max(sorted(set(real.interrupts) - CPU_LINES), key=lambda line: real.interrupts[line], default=None)
    return [] if busiest is None else [busiest]


def _count(metrics: PhaseMetrics, line: str) -> int:
    if line == _TICK:
        return metrics.vectors.get(line, 0) + sum(metrics.interrupts.get(name, 0) for name in sorted(TIMER_LINES))
    return metrics.interrupts.get(line, 0)


def _alike(left: int, right: int) -> bool:
    return GATE_DEN * max(left, right) <= GATE_NUM * min(left, right)
