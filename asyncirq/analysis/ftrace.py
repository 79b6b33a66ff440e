"""Read ftrace text: tracefs' ``trace`` file, or what ``trace-cmd report`` prints.

The reader keeps the file's order (stamps of 1 us tie), takes the flag columns from the header because kernels differ,
and refuses a capture that the metrics could only misread: one clear message, with file and line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.ftrace_fields import VECTOR_EVENTS, Fields, Parser, build_parsers
from asyncirq.analysis.ftrace_header import NO_FLAGS, Flags, Header, Layout
from asyncirq.analysis.ftrace_infer import infer_contexts, repair_comms
from asyncirq.analysis.ftrace_source import find_trace, read_bytes
from asyncirq.analysis.phases import MARKER, cut_phases
from asyncirq.errors import UsageError
from asyncirq.units import NSEC_PER_SEC, format_ns

_ROW: Final = re.compile(r" *(.+?)-(\d+) +(?:\([ \d-]+\) +)?\[(\d+)\] +(?:([^\s\d]\S*) +)?(\d+)\.(\d+): +(.*)")
_LATENCY_ROW: Final = re.compile(r" *(.+?)-(\d+) +(\d+)([^\s\d]\S*) +(\d+)\.(\d+): +(.*)")
_EVENT: Final = re.compile(r"([A-Za-z_][\w.-]*): *(.*)")
_FUNCTION: Final = re.compile(r"(\S+) <-(\S+)")
_COUNTER: Final = re.compile(r" *.+?-\d+ +(?:\([ \d-]+\) +)?\[\d+\] +(?:\S+ +)?\d+: ")
_MARKER_TEXT: Final = re.compile(r"(?:ip=)?tracing_mark_write:? +(?:buf=)?(.*)")

_DIGITS: Final = {6: 1000, 9: 1}
"""Digits after the point of a stamp, and the resolution in ns that they give."""
_RESCHED_EVENTS: Final = ("sched_switch", "sched_waking")
_IRQ_EVENTS: Final = frozenset({"irq_handler_entry", *(f"{name}_entry" for name in VECTOR_EVENTS)})
LATEST_NS: Final = 1 << 62
"""146 years: what is later is damage, and would be simulated tick by tick."""
HIGHEST_CPU: Final = 1023
"""The last CPU that a machine of the model can have."""
_CACHE_LIMIT: Final = 4096


def read_capture(path: str | Path, *, partial: bool = False) -> Capture:
    """Return a capture read from a file, plain or gzip, or from the trace inside a directory.

    ``partial`` allows a capture without the events that latencies need (interrupts, ``sched_waking``,
    ``sched_switch``). ``meta`` tells ``flags`` (``inferred`` if the text has no flag columns: contexts then follow
    from the nesting of events and BH-off is unknown), ``tracer``, ``entries`` and ``overwritten`` where the header does.

    Errors: ``UsageError`` with file and line for anything that is no such text, is cut, or goes back in time.
    """
    found = find_trace(Path(path))
    reader = _Reader(found)
    reader.read(io.TextIOWrapper(io.BytesIO(read_bytes(found)), encoding="utf-8", errors="replace", newline="\n"))
    return reader.finish(partial)


class _Reader:
    """Turn lines into events, one file per reader."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._header = Header()
        self._events: list[Event] = []
        self._parsers = build_parsers()
        self._fields_of: dict[str, tuple[str, Fields]] = {}
        self._flags_of: dict[str, Flags] = {}
        self._comms: dict[str, str] = {}
        self._layout: Layout | None = None
        self._digits = 0
        self._last: dict[int, int] = {}
        self._without_flags = False
        self._short_comms = False

    def fail(self, line: int, message: str) -> UsageError:
        """Return the error that names the file and the line."""
        return UsageError(f"{self._path}:{line}: {message}")

    def read(self, lines: Iterable[str]) -> None:
        """Take every line of the file."""
        row = _ROW.match
        for number, line in enumerate((line.rstrip("\n") for line in lines), 1):
            found = row(line)
            if found:
                comm, pid, cpu, flags, seconds, fraction, body = found.groups()
                self._event(number, comm, pid, cpu, flags, seconds, fraction, body)
            elif line.startswith("#"):
                problem = self._header.note(line) or self._header.comment(line)
                if isinstance(problem, str):
                    raise self.fail(number, problem)
            elif line and not line.isspace():
                self._other(number, line)

    def _other(self, number: int, line: str) -> None:
        """Take a line that is neither an ordinary event nor a comment."""
        if self._header.note(line):
            return
        found = _LATENCY_ROW.match(line)
        if found:
            self._short_comms = True
            comm, pid, cpu, flags, seconds, fraction, body = found.groups()
            self._event(number, comm, pid, cpu, flags, seconds, fraction, body)
        elif _COUNTER.match(line):
            raise self.fail(number, "this stamp is no time in seconds: capture with trace_clock mono, local, global or boot")
        elif not self._events and not self._header.columns and not self._header.meta and not self._header.cpus:
            raise self.fail(number, f"this is not ftrace text: {_short(line)}")
        elif self._events and self._events[-1].name == MARKER:
            # A marker keeps the line breaks that its writer put into it.
            fields = self._events[-1].fields
            fields["text"] = f"{fields['text']}\n{line}"
        else:
            raise self.fail(number, f"cannot read this line (is the file cut or damaged?): {_short(line)}")

    def _event(self, line: int, comm: str, pid: str, cpu: str, flags: str | None, seconds: str, fraction: str, body: str) -> None:
        if len(fraction) != self._digits:
            self._set_digits(line, fraction)
        on = int(cpu)
        ts = int(seconds) * NSEC_PER_SEC + int(fraction) * _DIGITS[self._digits]
        if ts > LATEST_NS:
            raise self.fail(line, f"this stamp is {seconds} s: no machine runs that long")
        if on > HIGHEST_CPU:
            raise self.fail(line, f"this event is on CPU {on}: the highest number is {HIGHEST_CPU}")
        if ts < self._last.get(on, 0):
            before = format_ns(self._last[on] - ts)
            raise self.fail(line, f"time goes back by {before} on CPU {on}: the lines are not in the order ftrace wrote them")
        self._last[on] = ts
        if flags is None:
            self._without_flags = True
            irqs, resched, context, depth = NO_FLAGS
        else:
            irqs, resched, context, depth = self._flags_of.get(flags) or self._read_flags(line, flags)
        # Events of one text share their fields: nobody may change those but a marker's, which are not kept for another.
        name, fields = self._fields_of.get(body) or self._read_body(line, body)
        comm = self._comms.setdefault(comm, comm)
        self._events.append(Event(ts, on, int(pid), comm, irqs, resched, context, depth, name, fields, line))

    def _set_digits(self, line: int, fraction: str) -> None:
        if self._digits:
            raise self.fail(line, f"a stamp with {len(fraction)} digits after the point among stamps with {self._digits}")
        if len(fraction) not in _DIGITS:
            raise self.fail(line, f"a stamp with {len(fraction)} digits after the point: expected 6 (us) or 9 (ns)")
        self._digits = len(fraction)

    def _read_flags(self, line: int, flags: str) -> Flags:
        if self._layout is None:
            self._layout = self._header.layout(len(flags))
        found = self._layout.read(flags) if self._layout is not None else None
        if found is None:
            raise self.fail(line, f"unknown flag columns '{flags}' (the header names: {self._header.columns_text()})")
        self._flags_of[flags] = found
        return found

    def _read_body(self, line: int, body: str) -> tuple[str, Fields]:
        found = _EVENT.match(body)
        if not found:
            call = _FUNCTION.match(body)
            if call:
                return "function", {"function": call.group(1), "parent": call.group(2)}
            raise self.fail(line, f"no event name: {_short(body)}")
        name, text = found.groups()
        if name == "print" or name == MARKER:
            marker = _MARKER_TEXT.match(body if name == MARKER else text)
            return (MARKER, {"text": marker.group(1).rstrip()}) if marker else (name, {"text": text})
        parser: Parser | None = self._parsers.get(name)
        if parser is None:
            return name, {"text": text}
        fields = parser(text)
        if fields is None:
            raise self.fail(line, f"{name}: cannot read its fields: {_short(text)}")
        if len(self._fields_of) >= _CACHE_LIMIT:
            self._fields_of.clear()
        self._fields_of[body] = (name, fields)
        return name, fields

    def finish(self, partial: bool) -> Capture:
        """Return the capture, once it is known to hold what the metrics need."""
        if not self._events:
            raise UsageError(f"{self._path}:1: no events in this trace")
        if not partial:
            self._require()
        meta = self._header.meta
        meta["flags"] = "inferred" if self._without_flags else "recorded"
        if self._without_flags:
            infer_contexts(self._events)
        if self._short_comms:
            repair_comms(self._events)
        return Capture(
            path=str(self._path),
            events=self._events,
            cpus=max(self._header.cpus, max(self._last) + 1),
            resolution_ns=_DIGITS[self._digits],
            phases=cut_phases(self._events),
            lost_events=self._header.lost,
            meta=meta,
        )

    def _require(self) -> None:
        present = {event.name for event in self._events}
        last = self._events[-1].line
        if not present & _IRQ_EVENTS:
            advice = "enable the events irq:* and irq_vectors:* (trace-cmd record -e irq -e irq_vectors)"
            raise self.fail(last, f"no interrupt in this trace: {advice}")
        for name in _RESCHED_EVENTS:
            if name not in present:
                raise self.fail(last, f"no {name} in this trace: enable the event sched:{name} (trace-cmd record -e sched:{name})")


def _short(text: str) -> str:
    """Return a piece of a line that fits into a message."""
    clean = "".join(char if char.isprintable() else "?" for char in text.strip())
    return f"'{clean[:80]}{'...' if len(clean) > 80 else ''}'"
