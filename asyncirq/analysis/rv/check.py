"""Run every monitor that a trace has the events for, and gather what they say."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.rv.automaton import Automaton, Bound, BoundRunner, Guard, Monitor, Runner, Violation
from asyncirq.analysis.rv.models import MONITORS
from asyncirq.analysis.rv.thread_model import RULES
from asyncirq.analysis.rv.translate import Translator


class MonitorResult(msgspec.Struct):
    """What one monitor said: ``events`` it looked at; ``lacks``: the trace events without which it was not run."""

    monitor: Monitor
    events: int
    violations: list[Violation]
    lacks: tuple[str, ...] = ()


class Checker:
    """Monitors at work on one stream of events; ``counted``: the kernel counts how often preemption is off."""

    def __init__(self, monitors: Sequence[Monitor], counted: bool = True) -> None:
        self._monitors = monitors
        self._counted = counted
        self._translator = Translator()
        self._automata = [(Runner(one), one) for one in monitors if isinstance(one, Automaton)]
        self._bounds = [(BoundRunner(one), one) for one in monitors if isinstance(one, Bound)]
        self._runners: list[tuple[Runner | BoundRunner, Monitor]] = [*self._automata, *self._bounds]
        self._guards = [one for one in monitors if isinstance(one, Guard)]
        self._seen = dict.fromkeys(map(id, self._guards), 0)
        self._found: dict[int, list[Violation]] = {id(one): [] for one in monitors}

    def feed(self, event: Event) -> None:
        """Take the next event of the trace."""
        for guard in self._guards:
            if event.name in guard.events:
                self._seen[id(guard)] += 1
                if not guard.holds(event, self._counted):
                    self._found[id(guard)].append(_broken(guard, event))
        for late, bound in self._bounds:
            self._found[id(bound)] += late.late(event.ts)
        for step in self._translator.steps(event):
            for runner, model in self._runners:
                wrong = runner.feed(step, event)
                if wrong is not None:
                    self._found[id(model)].append(wrong)

    def results(self) -> list[MonitorResult]:
        """Return what each monitor said, in their order."""
        seen = {id(model): runner.seen for runner, model in self._runners} | self._seen
        return [MonitorResult(one, seen[id(one)], self._found[id(one)]) for one in self._monitors]


def _lacks(monitor: Monitor, there: set[str], capture: Capture) -> tuple[str, ...]:
    missing = sorted(monitor.needs - there)
    if isinstance(monitor, Guard) and capture.meta.get("flags") == "inferred":
        missing.append("flag columns")
    return tuple(missing)


def _broken(guard: Guard, event: Event) -> Violation:
    seen = f"flags {event.irqs}{event.resched}{event.context}{event.depth}, not {guard.env}"
    return Violation(guard.name, "cpu", event.cpu, "", event.name, event.ts, event.cpu, event.line, (), seen)


def check_capture(capture: Capture, monitors: Sequence[Monitor] = (*MONITORS, *RULES)) -> list[MonitorResult]:
    """Check a trace against the monitors that it has the events for; the others' results say what they lack.

    A trace whose switches never have preemption off is of a kernel that does not count it (CONFIG_PREEMPT_COUNT off).
    """
    there = {event.name for event in capture.events}
    lacks = {id(one): _lacks(one, there, capture) for one in monitors}
    able = [one for one in monitors if not lacks[id(one)]]
    depths = {event.depth > 0 for event in capture.events if event.name == "sched_switch"}
    checker = Checker(able, depths != {False})
    for event in capture.events:
        checker.feed(event)
    said = {id(result.monitor): result for result in checker.results()}
    return [said.get(id(one)) or MonitorResult(one, 0, [], lacks[id(one)]) for one in monitors]
