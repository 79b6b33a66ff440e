"""Follow which context runs on each CPU: where softirq vectors run, who uses the time, which interrupts did nothing."""

from __future__ import annotations

from typing import Final

from asyncirq.analysis.event import Event
from asyncirq.analysis.ftrace_fields import VECTOR_EVENTS
from asyncirq.analysis.names import TaskClasses
from asyncirq.analysis.tally import Tally
from asyncirq.trace.names import softirq_name

HARD: Final = frozenset("hHzZ")
"""Context flags of a hard interrupt or NMI."""
SOFT: Final = frozenset("sH")
"""Context flags of a softirq being served, interrupted or not."""

_SERVERS: Final = frozenset({"ksoftirqd", "ktimers", "rcuc", "napi"})
_EFFECTS: Final = frozenset({"softirq_raise", "sched_waking", "workqueue_queue_work"})
_ENTRIES: Final = {f"{name}_entry": name for name in VECTOR_EVENTS} | {"ipi_entry": "ipi"}
_EXITS: Final = frozenset({"irq_handler_exit", "ipi_exit", *(f"{name}_exit" for name in VECTOR_EVENTS)})


class _Cpu:
    """What is known of one CPU."""

    def __init__(self, ts: int) -> None:
        self.last_ts = ts
        self.hard = 0
        self.serving: int | None = None
        self.after_hard = False
        self.handler: str | None = None
        self.effect = False


class ContextTracker:
    """Account for every event: ``contexts``, ``cpu_ns``, ``interrupts``, ``vectors`` and the ``no_effect`` counts.

    A vector ran in ``irq_exit`` if a hard interrupt was seen since the CPU was last in task context, else in the kind of
    task that served it: ``ksoftirqd``, ``ktimers``, ``rcuc``, ``napi``, ``irq_thread``, ``task_bh_enable``, or ``idle``.
    """

    def __init__(self, classes: TaskClasses) -> None:
        self._classes = classes
        self._cpus: dict[int, _Cpu] = {}

    def see(self, event: Event, tally: Tally) -> None:
        """Take the next event, in file order."""
        cpu = self._cpus.get(event.cpu)
        if cpu is None:
            cpu = self._cpus[event.cpu] = _Cpu(event.ts)
        self._charge(cpu, event, tally)
        name = event.name
        hard = event.context in HARD
        if hard:
            cpu.after_hard = True
            if cpu.handler is not None and name in _EFFECTS:
                cpu.effect = True
        elif cpu.handler is not None:
            self._finish(cpu, tally)
        if name == "irq_handler_entry":
            self._finish(cpu, tally)
            cpu.hard += 1
            cpu.handler = str(event.fields["name"])
            cpu.effect = False
            tally.interrupts[cpu.handler] += 1
        elif name == "softirq_entry":
            cpu.serving = event.pid
            vector = softirq_name(int(event.fields["vec"]))
            tally.softirqs[vector] += 1
            tally.contexts[vector][self._server(cpu, event)] += 1
        elif name == "softirq_exit":
            cpu.serving = None
        elif name in _ENTRIES:
            # A device's vector is counted as its line; on some machines an IPI is a device line as well.
            if name != "vector_entry" and (name != "ipi_entry" or not cpu.hard):
                tally.vectors[_ENTRIES[name]] += 1
            cpu.hard += 1
        elif name in _EXITS:
            cpu.hard = max(0, cpu.hard - 1)
        if not hard and event.context not in SOFT and name != "softirq_exit":
            cpu.after_hard = False

    def _charge(self, cpu: _Cpu, event: Event, tally: Tally) -> None:
        if cpu.hard:
            kind = "hardirq"
        elif cpu.serving == event.pid:
            kind = "softirq"
        else:
            kind = "task" if event.pid else "idle"
        tally.cpu_ns[kind] += event.ts - cpu.last_ts
        cpu.last_ts = event.ts

    def _server(self, cpu: _Cpu, event: Event) -> str:
        kind = self._classes.of(event.comm)
        if kind in _SERVERS:
            return kind
        if kind.startswith("irq/"):
            return "irq_thread"
        if cpu.after_hard:
            return "irq_exit"
        return "task_bh_enable" if event.pid else "idle"

    @staticmethod
    def _finish(cpu: _Cpu, tally: Tally) -> None:
        if cpu.handler is not None and not cpu.effect:
            tally.censored[f"no_effect:{cpu.handler}"] += 1
        cpu.handler = None
