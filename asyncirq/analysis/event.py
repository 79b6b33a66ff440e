"""Define the one form in which analysis sees a trace, real or modelled.

A real ftrace capture and our own records are both turned into ``Event`` s; every metric, checker and cutter in this
package takes a sequence of them, so a model run and a real machine are judged by the same code.
"""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, gc=False):
    """One trace event in file order.

    ``ts`` is in ns (a microsecond capture holds multiples of 1000). ``context`` is ftrace's third flag column: ``.``
    task, ``s`` softirq, ``h`` hard interrupt, ``H`` hard interrupt inside a softirq, ``z``/``Z`` NMI. ``irqs`` is the
    first column: ``d`` irqs off, ``b`` BH off, ``D`` both, ``.`` neither. ``resched`` is the second. ``depth`` is the
    preempt depth. ``fields`` holds the tracepoint's own fields under Linux's names, numbers as ``int``; an event that
    has no known form keeps its text under ``"text"``. ``line`` is the 1-based line of the file, or the record's seq.
    """

    ts: int
    cpu: int
    pid: int
    comm: str
    irqs: str
    resched: str
    context: str
    depth: int
    name: str
    fields: dict[str, str | int]
    line: int


class Phase(msgspec.Struct, frozen=True):
    """A stretch of a capture between two markers: ``[start, end)`` indexes into the events."""

    name: str
    start: int
    end: int


class Capture(msgspec.Struct):
    """A whole trace: its events in file order, and what its header told.

    ``resolution_ns`` is 1000 for text with microsecond stamps, 1 for nanoseconds. ``phases`` are cut at
    ``tracing_mark_write`` events whose text starts with ``PHASE``; a capture without markers is one phase ``all``.
    """

    path: str
    events: list[Event]
    cpus: int
    resolution_ns: int
    phases: list[Phase]
    lost_events: int = 0
    meta: dict[str, str] = msgspec.field(default_factory=dict)

    def of_phase(self, phase: Phase) -> list[Event]:
        """Return the events of one phase, in file order."""
        return self.events[phase.start : phase.end]
