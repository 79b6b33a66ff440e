"""Run monitors: deterministic automata per CPU or per task, conditions on single events, and bounds in time.

An event with no transition from the current state is a violation; the instance waits for its next start event then. Events that a
monitor has no transition for anywhere are none of its business. Linux: include/linux/rv.h, include/rv/da_monitor.h.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from asyncirq.analysis.event import Event

Scope = Literal["cpu", "task"]
WAY: Final = 8
"""Transitions that a violation shows of the way there."""


class Step(msgspec.Struct, frozen=True):
    """One monitor event: its name, the CPU that it happened on and the task that it is about."""

    name: str
    cpu: int
    pid: int


class Violation(msgspec.Struct, frozen=True):
    """An event that a monitor refused.

    ``instance`` is the CPU or the pid; ``way`` the last transitions before it, oldest first, as (ns, state, event). ``state`` is "" and
    ``way`` empty for a condition on a single event. ``line`` is that of the trace.
    """

    monitor: str
    scope: Scope
    instance: int
    state: str
    event: str
    ts: int
    cpu: int
    line: int
    way: tuple[tuple[int, str, str], ...] = ()
    env: str = ""

    def __str__(self) -> str:
        where = f"CPU {self.instance}" if self.scope == "cpu" else f"pid {self.instance}"
        what = f"{self.event} not allowed" + (f" in state {self.state}" if self.state else "") + (f" with {self.env}" if self.env else "")
        way = "".join(f"\n    {ts} ns: {state} x {event}" for ts, state, event in self.way)
        return f"{self.monitor}: {where}, line {self.line}, {self.ts} ns: {what}{way}"


class Monitor(msgspec.Struct, frozen=True):
    """What every monitor has: a name, what it says, and the trace events without which it says nothing.

    ``advisory``: a kernel may break it and be right; it is run only when asked for.
    """

    name: str
    says: str
    needs: frozenset[str]
    advisory: bool = False


class Automaton(Monitor, frozen=True):
    """A deterministic automaton; ``transitions[state][event]`` is the next state, the first state is the initial one.

    ``start``: events that start an instance in its initial state unchecked; ``run``: those that start it and are checked.
    """

    scope: Scope = "cpu"
    transitions: Mapping[str, Mapping[str, str]] = msgspec.field(default_factory=dict)
    start: frozenset[str] = frozenset()
    run: frozenset[str] = frozenset()

    @property
    def alphabet(self) -> frozenset[str]:
        """Return the events that the automaton knows."""
        return frozenset(event for row in self.transitions.values() for event in row)


class Guard(Monitor, frozen=True):
    """A condition on single trace events: ``holds(event, counted)`` for each event of the names in ``events``.

    ``counted`` tells whether the kernel counts how often preemption is off; one that cannot preempt need not. ``env`` says what
    the condition asks for.
    """

    events: frozenset[str] = frozenset()
    holds: Callable[[Event, bool], bool] = lambda event, counted: True
    env: str = ""


class Bound(Monitor, frozen=True):
    """An automaton per task with a clock: in state ``waits`` no longer than ``limit_ns`` may pass since an event of ``resets``."""

    transitions: Mapping[str, Mapping[str, str]] = msgspec.field(default_factory=dict)
    start: frozenset[str] = frozenset()
    waits: str = ""
    resets: frozenset[tuple[str, str]] = frozenset()
    limit_ns: int = 0


class Instance:
    """One automaton at work, for one CPU or task."""

    __slots__ = ("state", "way")

    def __init__(self) -> None:
        self.state = ""
        self.way: deque[tuple[int, str, str]] = deque(maxlen=WAY)


class Runner:
    """All instances of one automaton."""

    def __init__(self, model: Automaton) -> None:
        self.model = model
        self.alphabet = model.alphabet
        self.initial = next(iter(model.transitions))
        self.instances: dict[int, Instance] = {}
        self.seen = 0

    def feed(self, step: Step, event: Event) -> Violation | None:
        """Take one monitor event; return the violation that it is."""
        model = self.model
        name = step.name
        if name not in self.alphabet:
            return None
        key = step.cpu if model.scope == "cpu" else step.pid
        one = self.instances.get(key)
        if one is None:
            one = self.instances[key] = Instance()
        if not one.state:
            if name in model.start:
                one.state = self.initial
                return None
            if name not in model.run:
                return None
            one.state = self.initial
        self.seen += 1
        state = one.state
        following = model.transitions[state].get(name)
        if following is None:
            found = Violation(model.name, model.scope, key, state, name, event.ts, event.cpu, event.line, tuple(one.way))
            one.state = ""
            one.way.clear()
            return found
        if following != state:
            one.way.append((event.ts, state, name))
        one.state = following
        return None


class BoundRunner:
    """All instances of one bound; a late one is told once, when its time is over."""

    def __init__(self, model: Bound) -> None:
        self.model = model
        self.alphabet = frozenset(event for row in model.transitions.values() for event in row)
        self.initial = next(iter(model.transitions))
        self.states: dict[int, str] = {}
        self.since: dict[int, tuple[int, int]] = {}
        self.seen = 0

    def feed(self, step: Step, event: Event) -> Violation | None:
        """Take one monitor event; return the violation that it is."""
        model, pid, name = self.model, step.pid, step.name
        if name not in self.alphabet:
            return None
        state = self.states.get(pid, "")
        if not state:
            if name in model.start:
                self.states[pid] = self.initial
            return None
        self.seen += 1
        following = model.transitions[state].get(name)
        if following is None:
            self.states[pid] = ""
            self.since.pop(pid, None)
            return Violation(model.name, "task", pid, state, name, event.ts, event.cpu, event.line)
        if (state, name) in model.resets:
            self.since[pid] = (event.ts, event.line)
        elif following != model.waits:
            self.since.pop(pid, None)
        self.states[pid] = following
        return None

    def late(self, now: int) -> list[Violation]:
        """Return who has waited too long at ``now``."""
        model = self.model
        found = []
        for pid in [pid for pid, (ts, _) in self.since.items() if now - ts >= model.limit_ns]:
            ts, line = self.since.pop(pid)
            self.states[pid] = ""
            env = f"clk >= {model.limit_ns} ns"
            found.append(Violation(model.name, "task", pid, model.waits, "none", ts + model.limit_ns, -1, line, (), env))
        return found
