"""Fill in what some ftrace texts leave out: contexts without flag columns, comms cut by the latency format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncirq.analysis.event import Event
from asyncirq.analysis.ftrace_fields import VECTOR_EVENTS

_HARD_ENTRY: Final = frozenset({"irq_handler_entry", "ipi_entry", *(f"{name}_entry" for name in VECTOR_EVENTS)})
_WAKE: Final = frozenset({"sched_waking", "sched_wakeup"})
_HARD_EXIT: Final = frozenset({"irq_handler_exit", "ipi_exit", *(f"{name}_exit" for name in VECTOR_EVENTS)})


def infer_contexts(events: Sequence[Event]) -> None:
    """Set ``context`` and ``irqs`` of each event from the nesting of entry and exit events on its CPU.

    The wake-up of an irq thread right after ``irq_handler_exit`` still belongs to the interrupt. Whether BH was off
    stays unknown: the text does not tell.
    """
    hard: dict[int, int] = {}
    serving: dict[int, int | None] = {}
    tail: dict[int, bool] = {}
    for event in events:
        cpu, name = event.cpu, event.name
        tail[cpu] = tail.get(cpu, False) and name in _WAKE and str(event.fields["comm"]).startswith("irq/")
        if name in _HARD_ENTRY:
            hard[cpu] = hard.get(cpu, 0) + 1
        elif name == "softirq_entry":
            serving[cpu] = event.pid
        in_hard = hard.get(cpu, 0) > 0 or tail[cpu]
        in_soft = serving.get(cpu) == event.pid
        event.context = ("H" if in_soft else "h") if in_hard else ("s" if in_soft else ".")
        event.irqs = "d" if in_hard or name == "sched_switch" else "."
        if name in _HARD_EXIT and hard.get(cpu, 0):
            hard[cpu] -= 1
            tail[cpu] = name == "irq_handler_exit"
        elif name == "softirq_exit":
            serving[cpu] = None


def repair_comms(events: Sequence[Event]) -> None:
    """Give rows whose comm the latency format cut at 8 characters the full one that scheduler events tell."""
    full: dict[int, str] = {}
    for event in events:
        if event.name == "sched_switch":
            for side in ("prev", "next"):
                pid = event.fields[f"{side}_pid"]
                if isinstance(pid, int) and pid:
                    full[pid] = str(event.fields[f"{side}_comm"])
        comm = full.get(event.pid, event.comm)
        if comm.startswith(event.comm):
            event.comm = comm
