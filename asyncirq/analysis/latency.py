"""Measure a trace: the one metric code that judges a real capture and a run of our own alike.

What each quantity means is the table in ``asyncirq.analysis.metrics``. Stamps of a microsecond capture are rounded, so
a difference is good to 1 us.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from asyncirq.analysis.contexts import ContextTracker
from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.metrics import POOLED, Metrics, pool
from asyncirq.analysis.names import NET_RX, TIMER, TIMER_LINES, TaskClasses, irq_thread_line, line_names
from asyncirq.analysis.phases import cut_phases
from asyncirq.analysis.tally import Tally
from asyncirq.trace.names import softirq_name


def measure(capture: Capture, name: str | None = None) -> Metrics:
    """Return every quantity of a capture, per phase and pooled.

    ``name`` is the result's name, the capture's path by default.
    """
    return _results(capture, name, [(0, 1)])[0]


def measure_halves(capture: Capture, name: str | None = None) -> tuple[Metrics, Metrics]:
    """Return a capture's quantities twice, each with every second sample: how well it predicts itself.

    That floor is optimistic: both halves share their arrivals. Counts are the whole capture's in both.
    """
    first, second = _results(capture, name, [(0, 2), (1, 2)])
    return first, second


def _results(capture: Capture, name: str | None, slices: Sequence[tuple[int, int]]) -> list[Metrics]:
    """Walk a capture once; return one result per slice (start, step) of the samples."""
    events = capture.events
    phases = capture.phases or cut_phases(events)
    meter = _Meter(events)
    before = [_walk(meter, events, 0, phases[0].start, "before")] if phases[0].start > 0 else []
    tallies = [_walk(meter, events, phase.start, phase.end, phase.name) for phase in phases]
    meter.close(tallies[-1])
    return [
        Metrics(
            name=capture.path if name is None else name,
            resolution_ns=capture.resolution_ns,
            pooled=pool(POOLED, [tally.result(start, step) for tally in before + tallies]),
            phases=[tally.result(start, step) for tally in tallies],
            net_lines=meter.net_lines,
        )
        for start, step in slices
    ]


def _walk(meter: _Meter, events: Sequence[Event], start: int, end: int, name: str) -> Tally:
    if start == end:
        return Tally(name, 0)
    tally = Tally(name, events[end if end < len(events) else end - 1].ts - events[start].ts)
    for index in range(start, end):
        meter.see(events[index], tally)
    return tally


def net_lines(events: Sequence[Event]) -> set[int]:
    """Return the lines whose hard handler or irq thread raises NET_RX."""
    found: set[int] = set()
    inside: dict[int, int] = {}
    for event in events:
        if event.name == "irq_handler_entry":
            inside[event.cpu] = int(event.fields["irq"])
        elif event.name == "irq_handler_exit":
            inside.pop(event.cpu, None)
        elif event.name == "softirq_raise" and event.fields["vec"] == NET_RX:
            if event.cpu in inside:
                found.add(inside[event.cpu])
            elif event.context == ".":
                line = irq_thread_line(event.comm)
                if line is not None:
                    found.add(line)
    return found


class _Meter:
    """Pair the events of a trace, walked once in file order; samples go to the tally of the phase at hand."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._lines = line_names(events)
        self._classes = TaskClasses(self._lines)
        self._net = net_lines(events)
        self.net_lines: Final = sorted({self._lines[line] for line in self._net if line in self._lines})
        self._contexts = ContextTracker(self._classes)
        self._handler: dict[tuple[int, int], tuple[int, str]] = {}
        self._thread_first: dict[int, int] = {}
        self._thread_last: dict[int, int] = {}
        self._thread_wake: dict[int, int] = {}
        self._net_first: dict[tuple[int, int], int] = {}
        self._net_last: dict[int, tuple[int, int]] = {}
        self._net_raise: dict[int, tuple[int, int]] = {}
        self._raised: dict[tuple[int, int], int] = {}
        self._running: dict[tuple[int, int], int] = {}
        self._timer: dict[int, int] = {}
        self._timer_inside: dict[int, int] = {}
        self._waking: dict[int, int] = {}
        self._queued: dict[str, int] = {}
        self._thread_lines: dict[str, int | None] = {}
        self._threaded: set[int] = {line for event in events if (line := self._switch_line(event)) is not None}
        self._handlers: dict[str, Callable[[Event, Tally], None]] = {
            "irq_handler_entry": self._irq_entry,
            "irq_handler_exit": self._irq_exit,
            "softirq_raise": self._softirq_raise,
            "softirq_entry": self._softirq_entry,
            "softirq_exit": self._softirq_exit,
            "local_timer_entry": self._timer_entry,
            "local_timer_exit": self._timer_exit,
            "sched_waking": self._sched_waking,
            "sched_switch": self._sched_switch,
            "workqueue_queue_work": self._queue_work,
            "workqueue_execute_start": self._execute_start,
            "napi_poll": self._napi_poll,
        }

    def see(self, event: Event, tally: Tally) -> None:
        """Take the next event."""
        tally.events += 1
        self._contexts.see(event, tally)
        handler = self._handlers.get(event.name)
        if handler is not None:
            handler(event, tally)

    def close(self, tally: Tally) -> None:
        """Count the interrupts that the end of the trace left without their thread or their NET_RX."""
        for line in sorted(self._thread_first):
            tally.censored[f"merged:entry_to_thread:{self._name(line)}"] += 1
        for _, line in sorted(self._net_first):
            tally.censored[f"merged:entry_to_NET_RX:{self._name(line)}"] += 1

    def _name(self, line: int) -> str:
        return self._lines.get(line, str(line))

    def _switch_line(self, event: Event) -> int | None:
        """Return the line whose primary irq thread gets the CPU by this event."""
        if event.name != "sched_switch":
            return None
        return self._line_of(str(event.fields["next_comm"]))

    def _line_of(self, comm: str) -> int | None:
        if not comm.startswith("irq/"):
            return None
        if comm not in self._thread_lines:
            self._thread_lines[comm] = None if "-s-" in comm else irq_thread_line(comm)
        return self._thread_lines[comm]

    def _irq_entry(self, event: Event, tally: Tally) -> None:
        line, cpu, ts, action = int(event.fields["irq"]), event.cpu, event.ts, str(event.fields["name"])
        self._handler[cpu, line] = (ts, action)
        if action in TIMER_LINES:
            self._timer_entry(event, tally)
        if action != self._lines[line]:
            return  # a further action of a shared line: the interrupt was counted with the first
        if line in self._threaded:
            if line in self._thread_first:
                tally.censored[f"merged:entry_to_thread:{self._name(line)}"] += 1
            self._thread_first.setdefault(line, ts)
            self._thread_last[line] = ts
        if line in self._net:
            if (cpu, line) in self._net_first:
                tally.censored[f"merged:entry_to_NET_RX:{self._name(line)}"] += 1
            self._net_first.setdefault((cpu, line), ts)
            self._net_last[cpu] = (ts, line)

    def _irq_exit(self, event: Event, tally: Tally) -> None:
        start = self._handler.pop((event.cpu, int(event.fields["irq"])), None)
        if start is None:
            return
        tally.samples[f"hard_handler:{start[1]}"].append(event.ts - start[0])
        if start[1] in TIMER_LINES:
            self._timer_exit(event, tally)

    def _softirq_raise(self, event: Event, tally: Tally) -> None:
        key = (event.cpu, int(event.fields["vec"]))
        if key in self._raised:
            return
        self._raised[key] = event.ts
        if key[1] == NET_RX and event.cpu in self._net_last:
            self._net_raise[event.cpu] = self._net_last.pop(event.cpu)

    def _softirq_entry(self, event: Event, tally: Tally) -> None:
        cpu, vec, ts = event.cpu, int(event.fields["vec"]), event.ts
        start = self._raised.pop((cpu, vec), None)
        if start is not None:
            tally.samples[f"raise_to_entry:{softirq_name(vec)}"].append(ts - start)
        self._running[cpu, vec] = ts
        if vec == NET_RX:
            for key in [key for key in self._net_first if key[0] == cpu]:
                tally.samples[f"entry_to_NET_RX:{self._name(key[1])}"].append(ts - self._net_first.pop(key))
            if cpu in self._net_raise:
                entered, line = self._net_raise.pop(cpu)
                tally.samples[f"entry_to_NET_RX_last:{self._name(line)}"].append(ts - entered)
        elif vec == TIMER and cpu in self._timer:
            tally.samples["local_timer_to_TIMER"].append(ts - self._timer.pop(cpu))

    def _softirq_exit(self, event: Event, tally: Tally) -> None:
        vec = int(event.fields["vec"])
        start = self._running.pop((event.cpu, vec), None)
        if start is not None:
            tally.samples[f"softirq_run:{softirq_name(vec)}"].append(event.ts - start)

    def _timer_entry(self, event: Event, tally: Tally) -> None:
        self._timer[event.cpu] = self._timer_inside[event.cpu] = event.ts

    def _timer_exit(self, event: Event, tally: Tally) -> None:
        start = self._timer_inside.pop(event.cpu, None)
        if start is not None:
            tally.samples["local_timer_vector"].append(event.ts - start)

    def _sched_waking(self, event: Event, tally: Tally) -> None:
        pid = int(event.fields["pid"])
        if pid in self._waking:
            return
        self._waking[pid] = event.ts
        line = self._line_of(str(event.fields["comm"]))
        if line is not None and line in self._thread_last:
            self._thread_wake[line] = self._thread_last[line]

    def _sched_switch(self, event: Event, tally: Tally) -> None:
        tally.switches += 1
        ts, comm = event.ts, str(event.fields["next_comm"])
        left = self._line_of(str(event.fields["prev_comm"]))
        if left is not None and left in self._thread_first and str(event.fields["prev_state"]).startswith("S"):
            # The thread looks for more before it sleeps: what came while it was awake woke nobody.
            del self._thread_first[left]
            tally.censored[f"awake:entry_to_thread:{self._name(left)}"] += 1
        start = self._waking.pop(int(event.fields["next_pid"]), None)
        if start is not None:
            tally.samples[f"waking_to_switch:{self._classes.of(comm)}"].append(ts - start)
        line = self._line_of(comm)
        if line is None:
            return
        if line in self._thread_first:
            tally.samples[f"entry_to_thread:{self._name(line)}"].append(ts - self._thread_first.pop(line))
        if line in self._thread_wake:
            tally.samples[f"entry_to_thread_last:{self._name(line)}"].append(ts - self._thread_wake.pop(line))

    def _queue_work(self, event: Event, tally: Tally) -> None:
        self._queued.setdefault(str(event.fields["work"]), event.ts)

    def _execute_start(self, event: Event, tally: Tally) -> None:
        start = self._queued.pop(str(event.fields["work"]), None)
        if start is not None:
            tally.samples["queue_to_execute"].append(event.ts - start)

    def _napi_poll(self, event: Event, tally: Tally) -> None:
        tally.polls += 1
        tally.packets += int(event.fields.get("work", 0))
