"""Read what the model did as rows like those of the captures: the same selection of events, in the same words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from asyncirq.trace.names import SOFTIRQ_NAMES, CommTable, latency_flags
from asyncirq.trace.record import NO_CPU, Record, tag_of
from tests.lab.bench import TRACE_OFF, TRACE_ON
from tests.lab.rows import BEGIN, Row

QUIET: Final = tuple(SOFTIRQ_NAMES[nr] for nr in (1, 7, 8, 9))
"""The vectors of the tick and of RCU, which the captures leave out, except in cases that raise every vector."""
EVERY: Final = "raise-all"
"""What stands in the names of the cases that do."""
_NUMBER: Final = re.compile(r"\b(irq|pid)=\d+")
_IRQ_THREAD: Final = re.compile(r"irq/\d+-")
_CONTEXT: Final = 2
"""Which of ftrace's flag columns tells the context."""


def task_class(comm: str) -> str:
    """Return the class under which a switch or a wake-up names a task."""
    if comm.startswith("irq/"):
        return _IRQ_THREAD.sub("irq/N-", comm)
    for name in ("ksoftirqd", "ktimers", "rcuc", "migration", "irq_work"):
        if comm.startswith(name + "/"):
            return name
    if comm.startswith("kworker/u"):
        return "kworker-unbound"
    if comm.startswith("kworker/"):
        return "kworker-highpri" if re.match(r"kworker/\d+:\d+H", comm) else "kworker"
    return "idle" if comm.startswith("swapper") else comm


def _row_class(comm: str) -> str:
    name = task_class(comm)
    return "irq/N-lab" if name.startswith("irq/N-") and "lab" in name else name


def _softirq(edge: str) -> Callable[[Any], str | None]:
    return lambda r: f"softirq {edge} {SOFTIRQ_NAMES[r.vec]}"


_WHAT: Final[dict[str, Callable[[Any], str | None]]] = {
    "tracing_mark_write": lambda r: _NUMBER.sub(r"\1=N", r.text.removeprefix("LAB ")) if r.text.startswith("LAB ") else None,
    "irq_handler_entry": lambda r: f"irq_handler_entry name={r.name}",
    "irq_handler_exit": lambda r: f"irq_handler_exit ret={'handled' if r.ret else 'unhandled'}",
    "softirq_raise": _softirq("raise"),
    "softirq_entry": _softirq("entry"),
    "softirq_exit": _softirq("exit"),
    "tasklet_entry": lambda r: "tasklet_entry",
    "tasklet_exit": lambda r: "tasklet_exit",
    "sched_wakeup": lambda r: f"wakeup {task_class(r.comm)} prio={r.prio}",
    "sched_switch": lambda r: f"switch {task_class(r.prev_comm)}({r.prev_state}) -> {task_class(r.next_comm)} prio={r.next_prio}",
    "napi_poll": lambda r: f"napi_poll work {r.work} budget {r.budget}",
    "call_function_single_entry": lambda r: "call_function_single_entry",
}
Words = Mapping[str, Callable[[Any], str | None]]
"""How a group of cases tells events, by the names of the events; None: this one is not told."""
NO_WORDS: Final[Words] = MappingProxyType({})
REQUESTER: Final = "wakeup insmod "
"""The captures leave out the wake-ups of the requester, but not where it waits for what it asked for."""
WAITS: Final = "CASE napi/schedule-"
"""How the names of the cases begin in which they do not."""


def rows_of(records: Iterable[Record], requester_wakeups: bool = False, more: Words = NO_WORDS) -> list[Row]:
    """Return the rows of one case: what came before its mark (``LAB CASE``) is left out. ``more`` adds to the events told.

    Calls from CPU to CPU are told in the cases on two CPUs only (``irqsmp/``).
    """
    comms = CommTable()
    words = {**_WHAT, **more}
    rows: list[Row] = []
    calls = off = waits = every = False
    for record in records:
        comms.feed(record)
        word = words.get(tag_of(type(record)))
        if word is None or record.cpu == NO_CPU:
            continue
        what = word(record)
        if what is None or (what.startswith(REQUESTER) and not (requester_wakeups or waits)):
            continue
        if what in (TRACE_OFF, TRACE_ON):
            off = what == TRACE_OFF
            continue
        if off:
            continue
        if what.startswith("CASE "):
            rows.clear()
            calls = what.startswith("CASE irqsmp/")
            waits = what.startswith(WAITS)
            every = EVERY in what
            if more:
                rows.append(Row(record.ts, record.cpu, ".", _row_class(comms[record.pid]), BEGIN))
            continue
        if what.startswith("call_function") and not calls:
            continue
        if what.startswith("softirq ") and what.endswith(QUIET) and not every and "softirq_raise" not in more:
            continue
        flag = latency_flags(record.preempt_count, record.common_flags)[_CONTEXT]
        context = flag if flag in "hHs" else "."
        task = "idle" if record.pid == 0 else _row_class(comms[record.pid])
        rows.append(Row(record.ts, record.cpu, context, task, what))
    return rows
