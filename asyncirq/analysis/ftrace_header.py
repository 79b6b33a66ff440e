"""Read the comment lines of an ftrace text: which flag columns it has, how many CPUs, what was lost."""

from __future__ import annotations

import re
from typing import Final

import msgspec

Flags = tuple[str, str, str, int]
"""What the flag columns say: irqs, resched, context, preempt depth."""

NO_FLAGS: Final[Flags] = (".", ".", ".", 0)

_LEGEND: Final = re.compile(r"#[\s|/_-]*=> *(\S+)")
_CPUS: Final = re.compile(r"#P:(\d+)")
_ENTRIES: Final = re.compile(r"entries-in-buffer/entries-written: *(\d+)/(\d+)")
_TRACER: Final = re.compile(r"# tracer: *(\S+)")
_LOST: Final = re.compile(r"CPU: *\d+ +\[(?:LOST (\d+) EVENTS|LOST EVENTS|(\d+) EVENTS DROPPED|EVENTS DROPPED)\]")
_REPORT_CPUS: Final = re.compile(r"cpus=(\d+)$")
_NOTE: Final = re.compile(
    r"CPU \d+ is empty$|##### CPU \d+ buffer started ####$|version = \d+$|trace-cmd: |file: |Trace buffer: | *=> |.*--1 +\[---\] "
)

_IRQS: Final = ("irqs-off/BH-disabled", "irqs-off")
_RESCHED: Final = "need-resched"
_CONTEXT: Final = "hardirq/softirq"
_DEPTH: Final = "preempt-depth"
_KNOWN: Final = frozenset({*_IRQS, _RESCHED, _CONTEXT, _DEPTH, "need-resched-lazy", "preempt-lazy-depth", "migrate-disable", "delay"})
_TRACERS: Final = frozenset({"nop", "function"})


class Layout(msgspec.Struct, frozen=True):
    """Where the flags that matter stand in the flag columns, and how many columns there are."""

    width: int
    irqs: int
    resched: int
    context: int
    depth: int

    def read(self, flags: str) -> Flags | None:
        """Return what the columns say, None if they are not such columns."""
        if len(flags) != self.width:
            return None
        depth = flags[self.depth]
        if flags[self.irqs] not in ".dbDX" or flags[self.context] not in ".shHzZ" or depth not in ".0123456789abcdef":
            return None
        return flags[self.irqs], flags[self.resched], flags[self.context], 0 if depth == "." else int(depth, 16)


_BY_WIDTH: Final = {
    4: Layout(width=4, irqs=0, resched=1, context=2, depth=3),
    5: Layout(width=5, irqs=0, resched=1, context=2, depth=3),
    6: Layout(width=6, irqs=0, resched=1, context=2, depth=3),
    7: Layout(width=7, irqs=0, resched=1, context=3, depth=4),
}
"""Columns of a text without a legend: 4 before Linux 5.12, 5 since, 6 in trace-cmd's latency format, 7 in 6.1-rt."""


class Header:
    """Collect what the lines that are no events say."""

    def __init__(self) -> None:
        self.columns: list[str] = []
        self.cpus = 0
        self.lost = 0
        self.meta: dict[str, str] = {}

    def comment(self, line: str) -> str | None:
        """Take one line that begins with ``#``; return what is wrong with it, None if nothing is."""
        if legend := _LEGEND.match(line):
            name = legend.group(1)
            if name not in _KNOWN:
                return f"unknown flag column '{name}': this kernel's trace format is newer than this reader"
            self.columns.append(name)
        elif tracer := _TRACER.match(line):
            self.meta["tracer"] = tracer.group(1)
            if tracer.group(1) not in _TRACERS:
                return f"made by the tracer '{tracer.group(1)}': set current_tracer to nop and enable events instead"
        elif entries := _ENTRIES.search(line):
            held, written = (int(n) for n in entries.groups())
            self.meta["entries"] = str(held)
            if written > held:
                self.meta["overwritten"] = str(written - held)
        if cpus := _CPUS.search(line):
            self.cpus = int(cpus.group(1))
        return None

    def note(self, line: str) -> bool:
        """Take a line without ``#`` that is no event; tell whether it is one that ftrace or trace-cmd prints."""
        if lost := _LOST.match(line):
            self.lost += int(lost.group(1) or lost.group(2) or 1)
            return True
        if cpus := _REPORT_CPUS.match(line):
            self.cpus = int(cpus.group(1))
            return True
        return _NOTE.match(line) is not None

    def layout(self, width: int) -> Layout | None:
        """Return the layout of flag columns of a given width, None if no kernel that is known prints such."""
        columns = [name for name in self.columns if name != "delay"]
        if not columns:
            return _BY_WIDTH.get(width)
        irqs = next((columns.index(name) for name in _IRQS if name in columns), None)
        if irqs is None or not {_RESCHED, _CONTEXT, _DEPTH} <= set(columns):
            return None
        return Layout(len(columns), irqs, columns.index(_RESCHED), columns.index(_CONTEXT), columns.index(_DEPTH))

    def columns_text(self) -> str:
        """Return the legend's columns for an error message."""
        return ", ".join(self.columns) if self.columns else "no legend in the header"
