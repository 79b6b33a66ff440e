"""Make a capture ready to be replayed: read it, measure what its code costs, cut it into programs.

The programs of a phase are kept encoded, and its events are dropped once they are cut: of a long capture only the phase that is
being replayed is in memory as objects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from asyncirq.analysis.clock import follows_host
from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.ftrace import read_capture
from asyncirq.analysis.latency import measure
from asyncirq.analysis.metrics import Metrics
from asyncirq.analysis.ops import PhaseCut
from asyncirq.analysis.phases import cut_phases
from asyncirq.analysis.programs import each_phase
from asyncirq.analysis.report import InputFile, input_file
from asyncirq.analysis.segments import CostTable, extract_costs
from asyncirq.errors import UsageError
from asyncirq.whatif.arrivals import is_own
from asyncirq.whatif.kernels import captured_threading, guess_release, kernel_name
from asyncirq.whatif.replay import Setting
from asyncirq.whatif.wiring import read_controller, read_wiring

PREAMBLE: Final = "preamble"
_PIDS: Final = 1000


class PackedPhase(msgspec.Struct, frozen=True):
    """The programs of one phase, encoded; ``number`` is its place in the capture."""

    number: int
    name: str
    data: bytes

    def unpack(self) -> PhaseCut:
        """Return the programs."""
        return msgspec.msgpack.decode(self.data, type=PhaseCut)


class Source(msgspec.Struct):
    """A capture made ready: cut into programs, its costs measured. ``release`` is the preset that it follows.

    ``host_clock``: its clock follows a host that does other things. ``programs`` holds the phases to replay, ``phases`` their names;
    ``notes`` counts what did not fit the model of a capture.
    """

    path: Path
    file: InputFile
    programs: list[PackedPhase]
    notes: dict[str, int]
    table: CostTable
    setting: Setting
    release: str
    meta: str
    metrics: Metrics
    phases: list[str]
    host_clock: bool


def load(path: Path, phases: Sequence[str] = (), release: str | None = None) -> Source:
    """Read a capture and make it ready; ``phases`` restricts it to some, by name or leading number.

    Raises ``UsageError`` for a file that is no capture, for a phase that it does not have, or if nothing is left.
    """
    capture = read_capture(path)
    meta = read_meta(path)
    table = extract_costs(capture)
    host_clock = follows_host(capture)
    chosen = choose_phases(_with_length(capture), phases, path)
    kept = restrict(capture, chosen) if phases else capture
    file, metrics = input_file(kept, kernel_name(meta)), measure(kept)
    del kept
    lines: dict[int, list[str]] = {}
    programs: list[PackedPhase] = []
    notes: dict[str, int] = {}
    highest = 0
    for number, phase in enumerate(each_phase(capture, table.references, notes, forced=captured_threading(meta) != "stock")):
        highest = max([highest, *phase.tasks])
        _add_lines(phase, lines)
        if phase.name in chosen and phase.name != PREAMBLE:
            programs.append(PackedPhase(number, phase.name, msgspec.msgpack.encode(phase)))
    setting = Setting(lines, read_wiring(path, lines), (highest // _PIDS + 1) * _PIDS, capture.cpus, read_controller(path))
    return Source(path, file, programs, notes, table, setting, release or guess_release(meta), meta, metrics, chosen, host_clock)


def _add_lines(phase: PhaseCut, lines: dict[int, list[str]]) -> None:
    """Take the lines of a phase, each with the names of its actions, into those of the capture."""
    for arrival in phase.arrivals:
        for handler in arrival.handlers if arrival.irq >= 0 else ():
            if is_own(arrival):
                continue
            names = lines.setdefault(arrival.irq, [])
            if handler.name not in names:
                names.append(handler.name)


def _with_length(capture: Capture) -> list[str]:
    """Return the names of the phases in which time passes, in order."""
    events = capture.events
    found = []
    for phase in capture.phases:
        end = events[min(phase.end, len(events) - 1)].ts if events else 0
        if phase.start < len(events) and end > events[phase.start].ts:
            found.append(phase.name)
    return found


def read_meta(path: Path) -> str:
    """Return the text of the ``meta.txt`` next to a trace, empty if there is none."""
    file = (path if path.is_dir() else path.parent) / "meta.txt"
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def choose_phases(known: Sequence[str], wanted: Sequence[str], path: Path) -> list[str]:
    """Return the phases that were asked for, in the order of the capture: all if none was."""
    if not known:
        raise UsageError(f"{path}: no phase of this capture has a length: nothing to replay")
    if not wanted:
        return list(known)
    chosen = set()
    for name in wanted:
        found = [one for one in known if one == name or re.match(rf"{re.escape(name)}-", one)]
        if not found:
            raise UsageError(f"{path}: there is no phase {name!r}; there are {', '.join(known)}")
        chosen.update(found)
    return [name for name in known if name in chosen]


def restrict(capture: Capture, phases: Sequence[str]) -> Capture:
    """Return a capture that consists of some phases alone. Raises ``UsageError`` if it has none of them."""
    events: list[Event] = []
    for phase in capture.phases:
        if phase.name in phases:
            events += capture.of_phase(phase)
    if not events:
        raise UsageError(f"{capture.path}: there is none of the phases {', '.join(phases)}")
    return msgspec.structs.replace(capture, events=events, phases=cut_phases(events))
