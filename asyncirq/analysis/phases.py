"""Cut a trace into phases at its markers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncirq.analysis.event import Event, Phase

MARKER: Final = "tracing_mark_write"
"""The event that a write to ``trace_marker`` leaves."""
PREFIX: Final = "PHASE"
"""What the text of a marker that begins a phase starts with; the rest of it is the phase's name."""
WHOLE: Final = "all"
"""Name of the only phase of a trace without markers."""


def cut_phases(events: Sequence[Event]) -> list[Phase]:
    """Return the phases of a trace in order; what comes before the first marker belongs to none.

    A phase begins with its marker and ends before the next one, or with the trace. A name that was used before gets
    a number behind it.
    """
    starts: list[tuple[int, str]] = []
    used: dict[str, int] = {}
    for index, event in enumerate(events):
        if event.name == MARKER:
            text = str(event.fields.get("text", ""))
            if text.startswith(PREFIX):
                name = text[len(PREFIX) :].strip() or WHOLE
                used[name] = used.get(name, 0) + 1
                starts.append((index, name if used[name] == 1 else f"{name} ({used[name]})"))
    if not starts:
        return [Phase(name=WHOLE, start=0, end=len(events))]
    ends = [start for start, _ in starts[1:]] + [len(events)]
    return [Phase(name=name, start=start, end=end) for (start, name), end in zip(starts, ends, strict=True)]
