"""Predict every ``softirq_entry`` of a trace from its raises alone, by the rule of the pass.

The rule: a pass begins by taking a snapshot of the CPU's pending word and clearing it; the vectors of the snapshot run
lowest first; what is raised meanwhile waits for the next pass. On PREEMPT_RT the timer vectors raised in a hard
interrupt go to a second word, which only ``ktimers`` moves into the first, when it starts to serve.

The trace does not show the snapshot, and interrupts are on between it and the first ``softirq_entry``: a raise by a
hard interrupt in that window may be in this pass or in the next. The checker follows every possibility and drops
those that a later entry contradicts; an entry that needed it is *ambiguous*, an entry that no possibility explains is
*wrong*. The same code checks a real kernel and our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from asyncirq.analysis.contexts import HARD, SOFT
from asyncirq.analysis.event import Event
from asyncirq.analysis.names import HRTIMER, TIMER
from asyncirq.trace.names import softirq_name

_TIMERS: Final = frozenset({TIMER, HRTIMER})
_KTIMERS: Final = "ktimers/"
_MOST: Final = 64
"""Possibilities followed at once; more than a handful of raises in one window has not been seen."""


class WrongEntry(msgspec.Struct, frozen=True):
    """One ``softirq_entry`` that the rule does not explain: ``expected`` are the vectors that could have come."""

    line: int
    cpu: int
    vector: str
    expected: tuple[str, ...]


class SoftirqReport(msgspec.Struct):
    """Result of the check: ``ok`` entries were certain, ``ambiguous`` ones fell into a window, ``wrong`` ones broke the rule."""

    ok: int = 0
    ambiguous: int = 0
    wrong: list[WrongEntry] = msgspec.field(default_factory=list)

    @property
    def total(self) -> int:
        """Return the number of entries that were checked."""
        return self.ok + self.ambiguous + len(self.wrong)


class _State(msgspec.Struct, frozen=True):
    """One possibility of what a CPU's softirq state is.

    ``pending`` is the pending word, ``timers`` PREEMPT_RT's second one, ``rest`` what the running pass still has to
    run. ``window`` and ``late`` hold what was raised where the snapshot (the drain of ``timers``) may already have
    been taken, ``window`` in order.
    """

    pending: frozenset[int] = frozenset()
    timers: frozenset[int] = frozenset()
    rest: tuple[int, ...] = ()
    window: tuple[int, ...] = ()
    late: frozenset[int] = frozenset()


class _Cpu:
    """What the checker knows of one CPU: the possibilities, and who is serving."""

    def __init__(self) -> None:
        self.states: list[_State] = [_State()]
        self.inside = False
        self.server: int | None = None
        self.seen: set[int] = set()
        self.passes = 0


def check_softirqs(events: Sequence[Event], *, exact_flags: bool = True) -> SoftirqReport:
    """Check every ``softirq_entry`` of a trace, in file order.

    ``exact_flags`` is False for a text whose flags were inferred: a hard interrupt that nests in a softirq then looks
    like any other, so every raise outside a handler may fall into a window.

    What was pending before the trace began is unknown: until a CPU has finished its first pass, a vector that nobody
    was seen to raise counts as ambiguous.
    """
    rt = any(event.comm.startswith(_KTIMERS) or str(event.fields.get("next_comm", "")).startswith(_KTIMERS) for event in events)
    report = SoftirqReport()
    cpus: dict[int, _Cpu] = {}
    for event in events:
        cpu = cpus.get(event.cpu)
        if cpu is None:
            cpu = cpus[event.cpu] = _Cpu()
        if event.name == "softirq_raise":
            _raise(cpu, event, rt, exact_flags)
        elif event.name == "softirq_entry":
            _enter(cpu, event, report)
        elif event.name == "softirq_exit":
            cpu.inside = False
        elif event.context in "hz" or (event.context not in HARD and event.context not in SOFT):
            cpu.server = None  # the softirqs being served are done: a later entry begins a new invocation
    return report


def _raise(cpu: _Cpu, event: Event, rt: bool, exact_flags: bool) -> None:
    vec = int(event.fields["vec"])
    cpu.seen.add(vec)
    hard = event.context in HARD
    window = hard and not cpu.inside and (event.context in SOFT or not exact_flags)
    second = rt and hard and vec in _TIMERS
    cpu.states = [_raised(state, vec, second, window and not state.rest) for state in cpu.states]


def _raised(state: _State, vec: int, second: bool, window: bool) -> _State:
    """Return a possibility after a raise: into the first or the second word, for certain or in a window."""
    if second and window:
        return msgspec.structs.replace(state, late=state.late | {vec})
    if second:
        return msgspec.structs.replace(state, timers=state.timers | {vec})
    if not window:
        return msgspec.structs.replace(state, pending=state.pending | {vec})
    return state if vec in state.window else msgspec.structs.replace(state, window=(*state.window, vec))


def _enter(cpu: _Cpu, event: Event, report: SoftirqReport) -> None:
    vec = int(event.fields["vec"])
    ktimers = event.comm.startswith(_KTIMERS)
    begins = cpu.server != event.pid
    options = list({option: None for state in cpu.states for option in _begin(state, ktimers, begins) if option.rest})
    after = list({_without_first(option): None for option in options if option.rest[0] == vec})
    if after:
        cpu.states = after[:_MOST]
        if len(options) == 1:
            report.ok += 1
        else:
            report.ambiguous += 1
    elif cpu.passes == 0 and vec not in cpu.seen:
        report.ambiguous += 1
    else:
        expected = sorted({option.rest[0] for option in options})
        report.wrong.append(WrongEntry(event.line, event.cpu, softirq_name(vec), tuple(softirq_name(one) for one in expected)))
        cpu.states = [_resume(options[0] if options else cpu.states[0], vec)]
    if all(not state.rest for state in cpu.states):
        cpu.passes += 1
    cpu.inside = True
    cpu.server = event.pid


def _begin(state: _State, ktimers: bool, begins: bool) -> list[_State]:
    """Return the passes that may be running when an entry comes: the one at hand, or one per snapshot that was possible.

    The snapshot fell somewhere among the raises of the window: those before it are in the pass, the others pend.
    ``ktimers`` moves the second word into the first when it starts to serve; that it did so a second time, with no
    event between, cannot be seen, so it may have whenever a pass of its begins.
    """
    if state.rest:
        return [state]
    everything = state.timers | state.late
    drains: list[tuple[frozenset[int], frozenset[int]]] = [(everything, frozenset())]
    if not ktimers:
        drains = [(frozenset(), everything)]
    elif state.late:
        drains.append((state.timers, state.late))
    if ktimers and not begins:
        drains.append((frozenset(), everything))
    found: dict[_State, None] = {}
    for moved, timers in drains:
        for cut in range(len(state.window), -1, -1):
            snapshot = state.pending | moved | set(state.window[:cut])
            found[_State(frozenset(state.window[cut:]), timers, tuple(sorted(snapshot)))] = None
    return list(found)


def _without_first(state: _State) -> _State:
    return msgspec.structs.replace(state, rest=state.rest[1:])


def _resume(state: _State, vec: int) -> _State:
    """Return a possibility to go on with after a wrong entry: the pass goes on behind the vector that ran."""
    rest = state.rest[state.rest.index(vec) + 1 :] if vec in state.rest else ()
    return msgspec.structs.replace(state, pending=state.pending - {vec}, timers=state.timers - {vec}, rest=rest)
