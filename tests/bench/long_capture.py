"""Make a long ftrace text from a short one: its phases again and again, each time later and under new names.

``long_capture.py CAPTURE EVENTS OUT`` writes at least ``EVENTS`` events to ``OUT``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from asyncirq.analysis.ftrace_source import find_trace, read_bytes

_STAMP: Final = re.compile(r"^( *.+?-\d+ +\[\d+\] \S+ +)(\d+)\.(\d{6}): ")
_CLOCK: Final = re.compile(r"\b(now|expires|softexpires)=(\d+)")
_MARKER: Final = re.compile(r"tracing_mark_write: PHASE (\S+)")
_GAP_US: Final = 100_000
"""What lies between one round and the next."""
_US: Final = 1_000_000


def long_capture(text: str, events: int) -> Iterator[str]:
    """Yield the lines of a trace of at least ``events`` events that repeats the phases of ``text``."""
    lines = text.splitlines(keepends=True)
    head = [line for line in lines if line.startswith("#") and "entries-in-buffer" not in line]
    rows = [(found, line[found.end() :]) for line in lines if (found := _STAMP.match(line))]
    first = next(index for index, (_, body) in enumerate(rows) if _MARKER.match(body))
    rows = rows[first:]
    stamps = [int(found[2]) * _US + int(found[3]) for found, _ in rows]
    step = stamps[-1] - stamps[0] + _GAP_US
    yield from head
    for number in range(-(-events // len(rows))):
        for (found, body), stamp in zip(rows, stamps, strict=True):
            when = stamp + number * step
            yield f"{found[1]}{when // _US}.{when % _US:06}: {_shifted(body, number, step)}"


def _shifted(body: str, number: int, step: int) -> str:
    """Return an event of another round: its clocks move with its stamp, a phase gets a name of its own."""
    if not number:
        return body
    marker = _MARKER.match(body)
    if marker:
        return f"tracing_mark_write: PHASE {marker[1]}-round{number}\n"
    if not body.startswith("hrtimer"):
        return body
    return _CLOCK.sub(lambda found: f"{found[1]}={int(found[2]) + number * step * 1000}", body)


def write_long_capture(capture: Path, events: int, out: Path) -> None:
    """Write a long capture made from a short one."""
    text = bytes(read_bytes(find_trace(capture))).decode("utf-8", errors="replace")
    with out.open("w", encoding="utf-8") as file:
        file.writelines(long_capture(text, events))


if __name__ == "__main__":
    write_long_capture(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
