"""Predict every ``softirq_entry`` of a trace from its raises alone, by the rule of the pass.

The rule: a pass begins by taking a snapshot of the CPU's pending word and clearing it; the vectors of the snapshot run
lowest first; what is raised meanwhile waits for the next pass. On PREEMPT_RT the timer vectors raised in a hard
interrupt go to a second word, which only ``ktimers`` moves into the first, when it starts to serve.

The trace does not show the snapshot, and interrupts are on between it and the first ``softirq_entry``: a raise by a
hard interrupt in that window may be in this pass or in the next. The checker follows every possibility and drops
those that a later entry contradicts; an entry that needed it is *ambiguous*, an entry that no possibility explains is
*wrong*. The same code checks a real kernel and our own.

Where a trace begins, every vector may be pending, and a pass may be under way: what a pass of which the snapshot has been seen
did not run was not pending. A caller that knows what was pending says so (``start``): a machine that boots has nothing pending, a phase
of a capture has what the phases before it left (``check_phases``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from asyncirq.analysis.contexts import HARD, SOFT
from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.names import HRTIMER, TIMER
from asyncirq.trace.names import SOFTIRQ_NAMES, softirq_name

_TIMERS: Final = frozenset({TIMER, HRTIMER})
_KTIMERS: Final = "ktimers/"
_MOST: Final = 64
"""Possibilities followed at once; more than a handful of raises in one window has not been seen."""
_ALL: Final = tuple(range(len(SOFTIRQ_NAMES)))


class WrongEntry(msgspec.Struct, frozen=True):
    """One ``softirq_entry`` that the rule does not explain: ``expected`` are the vectors that could have come."""

    line: int
    cpu: int
    vector: str
    expected: tuple[str, ...]


class SoftirqReport(msgspec.Struct):
    """Result of the check: ``ok`` entries were certain, ``ambiguous`` ones fell into a window, ``wrong`` ones broke the rule.

    ``unchecked`` are the entries of a trace that records no raises: it tells nothing of what was pending.
    """

    ok: int = 0
    ambiguous: int = 0
    unchecked: int = 0
    wrong: list[WrongEntry] = msgspec.field(default_factory=list)

    @property
    def total(self) -> int:
        """Return the number of entries that were checked."""
        return self.ok + self.ambiguous + len(self.wrong)


class _State(msgspec.Struct, frozen=True):
    """One possibility of what a CPU's softirq state is.

    ``pending`` is the pending word, ``timers`` PREEMPT_RT's second one, ``rest`` what the running pass still has to
    run. ``window`` and ``late`` hold what was raised where the snapshot (the drain of ``timers``) may already have
    been taken, ``window`` in order. Of ``maybe`` and ``maybe_timers`` it is not known whether they pend since before the
    trace, of ``more`` whether they are in the running pass.
    """

    pending: frozenset[int] = frozenset()
    timers: frozenset[int] = frozenset()
    rest: tuple[int, ...] = ()
    window: tuple[int, ...] = ()
    late: frozenset[int] = frozenset()
    maybe: frozenset[int] = frozenset()
    maybe_timers: frozenset[int] = frozenset()
    more: tuple[int, ...] = ()


_UNKNOWN: Final = _State(maybe=frozenset(_ALL), maybe_timers=_TIMERS, more=_ALL)
"""What is possible where a trace begins: anything pends, and a pass may be under way."""


class _Cpu:
    """What the checker knows of one CPU: the possibilities, and who is serving (``server``) or was (``last``)."""

    def __init__(self, pending: Collection[int] | None) -> None:
        self.states: list[_State] = [_UNKNOWN if pending is None else _State(pending=frozenset(pending))]
        self.inside = False
        self.server: int | None = None
        self.last: int | None = None


class SoftirqChecker:
    """The check of one trace, fed in pieces: ``report`` is that of the events fed since the last ``next_report``.

    ``rt``: a kernel with ``ktimers``. ``start`` tells what is pending where the trace begins, by CPU (a CPU that it does not name has
    nothing pending); None: it is not known. ``exact_flags``: see ``check_softirqs``. ``plain_timers``: hard interrupts raise the timer
    vectors as the tick does or as any other (``raise_softirq``), which the trace does not tell apart.
    """

    def __init__(
        self, rt: bool, *, exact_flags: bool = True, start: Mapping[int, Collection[int]] | None = None, plain_timers: bool = False
    ) -> None:
        self.rt = rt
        self.plain_timers = plain_timers
        self.exact_flags = exact_flags
        self.report = SoftirqReport()
        self._start = start
        self._cpus: dict[int, _Cpu] = {}

    def next_report(self) -> SoftirqReport:
        """Return the report so far and begin another one; what is pending stays known."""
        report, self.report = self.report, SoftirqReport()
        return report

    def feed(self, events: Sequence[Event]) -> None:
        """Check more events, in file order."""
        for event in events:
            cpu = self._cpus.get(event.cpu)
            if cpu is None:
                start = self._start
                cpu = self._cpus[event.cpu] = _Cpu(None if start is None else start.get(event.cpu, ()))
            if event.name == "softirq_raise":
                if not self.rt and event.context == "h":
                    _over(cpu)
                self._raise(cpu, event)
            elif event.name == "softirq_entry":
                _enter(cpu, event, self.report)
            elif event.name == "softirq_exit":
                cpu.inside = False
            elif event.context in "hz" or (event.context not in HARD and event.context not in SOFT):
                cpu.server = None  # the softirqs being served are done: a later entry begins a new invocation
                if not self.rt or (event.context == "." and event.pid == cpu.last):
                    _over(cpu)

    def _raise(self, cpu: _Cpu, event: Event) -> None:
        vec = int(event.fields["vec"])
        hard = event.context in HARD
        window = hard and not cpu.inside and (event.context in SOFT or not self.exact_flags)
        second = self.rt and hard and vec in _TIMERS
        words = (True, False) if second and self.plain_timers else (second,)
        cpu.states = list({_raised(state, vec, word, window and not state.rest): None for state in cpu.states for word in words})[:_MOST]


def is_rt(events: Sequence[Event]) -> bool:
    """Tell whether a trace is that of a kernel with ``ktimers``."""
    return any(event.comm.startswith(_KTIMERS) or str(event.fields.get("next_comm", "")).startswith(_KTIMERS) for event in events)


def check_softirqs(
    events: Sequence[Event], *, exact_flags: bool = True, start: Mapping[int, Collection[int]] | None = None
) -> SoftirqReport:
    """Check every ``softirq_entry`` of a trace, in file order.

    ``exact_flags`` is False for a text whose flags were inferred: a hard interrupt that nests in a softirq then looks
    like any other, so every raise outside a handler may fall into a window. ``start`` tells which vectors are pending where the trace
    begins, by CPU (``{}``: none); None: it is not known. A trace that records no raises is not checked.
    """
    if not any(event.name == "softirq_raise" for event in events):
        return SoftirqReport(unchecked=sum(event.name == "softirq_entry" for event in events))
    checker = SoftirqChecker(is_rt(events), exact_flags=exact_flags, start=start)
    checker.feed(events)
    return checker.report


def check_phases(capture: Capture) -> list[SoftirqReport]:
    """Check a capture phase by phase: each begins with what the one before it left pending."""
    if not any(event.name == "softirq_raise" for event in capture.events):
        return [check_softirqs(capture.of_phase(phase)) for phase in capture.phases]
    checker = SoftirqChecker(is_rt(capture.events), exact_flags=capture.meta.get("flags") != "inferred")
    reports = []
    at = 0
    for phase in capture.phases:
        checker.feed(capture.events[at : phase.start])
        checker.next_report()
        checker.feed(capture.of_phase(phase))
        reports.append(checker.next_report())
        at = phase.end
    return reports


def _over(cpu: _Cpu) -> None:
    """Take note that no pass is under way: what of it was uncertain has not been in it."""
    if any(state.more for state in cpu.states):
        cpu.states = list({msgspec.structs.replace(state, more=()): None for state in cpu.states})


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
    options = list({option: None for state in cpu.states for option in _begin(state, ktimers, begins) if option.rest or option.more})
    after = list({_without(option, vec): None for option in options if _next_may_be(option, vec)})
    known = {msgspec.structs.replace(option, more=(), maybe=frozenset(), maybe_timers=frozenset()) for option in options if option.rest}
    if after:
        cpu.states = after[:_MOST]
        if len(known) == 1 and any(option.rest[0] == vec for option in known):
            report.ok += 1
        else:
            report.ambiguous += 1
    else:
        expected = sorted({option.rest[0] for option in options if option.rest})
        report.wrong.append(WrongEntry(event.line, event.cpu, softirq_name(vec), tuple(softirq_name(one) for one in expected)))
        cpu.states = [_resume(options[0] if options else cpu.states[0], vec)]
    cpu.inside = True
    cpu.server = cpu.last = event.pid


def _next_may_be(state: _State, vec: int) -> bool:
    first = state.rest[0] if state.rest else len(_ALL)
    return vec == first or (vec < first and vec in state.more)


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
    maybe = state.maybe | state.maybe_timers if ktimers else state.maybe
    found: dict[_State, None] = {state: None} if state.more else {}
    for moved, timers in drains:
        for cut in range(len(state.window), -1, -1):
            snapshot = state.pending | moved | set(state.window[:cut])
            found[
                _State(
                    pending=frozenset(state.window[cut:]),
                    timers=timers,
                    rest=tuple(sorted(snapshot)),
                    maybe_timers=frozenset() if ktimers else state.maybe_timers,
                    more=tuple(sorted(maybe - snapshot)),
                )
            ] = None
    return list(found)


def _without(state: _State, vec: int) -> _State:
    rest = state.rest[1:] if state.rest and state.rest[0] == vec else state.rest
    return msgspec.structs.replace(state, rest=rest, more=tuple(one for one in state.more if one > vec))


def _resume(state: _State, vec: int) -> _State:
    """Return a possibility to go on with after a wrong entry: the pass goes on behind the vector that ran."""
    rest = state.rest[state.rest.index(vec) + 1 :] if vec in state.rest else ()
    return msgspec.structs.replace(state, pending=state.pending - {vec}, timers=state.timers - {vec}, rest=rest, more=())
