"""Give every quantity of ``Metrics`` its place in a report: group, label, definition, order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from asyncirq.analysis.cells import family, is_headline, subject


class QuantityInfo(msgspec.Struct, frozen=True):
    """How a report calls a quantity: ``group`` and ``label`` together name it, ``definition`` says what a sample is."""

    name: str
    group: str
    label: str
    definition: str
    headline: bool

    @property
    def title(self) -> str:
        """Return group and label as one name."""
        return f"{self.group}: {self.label}" if self.label else self.group


_GROUPS: Final = (
    ("entry_to_thread", "Interrupt to irq thread", "first irq_handler_entry since the irq thread last ran or slept, to the switch to it"),
    ("entry_to_NET_RX", "Interrupt to NET_RX", "first irq_handler_entry of a NIC line since the CPU's last NET_RX, to the NET_RX entry"),
    ("raise_to_entry", "Softirq raise to entry", "the softirq_raise that made the vector pending, to its softirq_entry"),
    ("local_timer_to_TIMER", "Timer interrupt to TIMER", "last timer interrupt before it, to the entry of the TIMER softirq"),
    ("waking_to_switch", "Wake-up to switch", "first sched_waking of a task, to the switch to it"),
    ("queue_to_execute", "Work queued to started", "workqueue_queue_work to workqueue_execute_start of the same work"),
    ("hard_handler", "Hard handler run time", "irq_handler_entry to irq_handler_exit of one action"),
    ("softirq_run", "Softirq run time", "softirq_entry to softirq_exit, with whatever interrupted it"),
    ("local_timer_vector", "Timer interrupt run time", "entry to exit of the CPU's timer interrupt"),
    ("entry_to_thread_last", "Last interrupt to irq thread", "last irq_handler_entry before each sched_waking, to the switch"),
    ("entry_to_NET_RX_last", "Last interrupt to NET_RX", "last irq_handler_entry before the raise that made NET_RX pending, to its entry"),
)  # fmt: skip
_PLACE: Final = {name: place for place, (name, _, _) in enumerate(_GROUPS)}


def describe(quantity: str) -> QuantityInfo:
    """Return what a report says of a quantity; one of an unknown family stands for itself."""
    kind, of = family(quantity), subject(quantity)
    place = _PLACE.get(kind)
    group, definition = (_GROUPS[place][1], _GROUPS[place][2]) if place is not None else (kind, "")
    return QuantityInfo(quantity, group, of, definition, is_headline(quantity))


def is_alternate(quantity: str) -> bool:
    """Tell whether a quantity only pairs the events of another one differently."""
    return family(quantity).endswith("_last")


def in_order(quantities: Iterable[str]) -> list[str]:
    """Return quantities without repetition in the order of a report: by group, then by name."""
    return sorted(set(quantities), key=lambda name: (_PLACE.get(family(name), len(_PLACE)), name))
