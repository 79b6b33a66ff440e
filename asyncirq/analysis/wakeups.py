"""Explain the scheduling latency of every wake-up: from sched_waking to the sched_switch that gives the task its CPU.

The time is cut at the events of the CPU on which the task waits, and each piece goes to what that CPU did: nothing is left over.

=========== ==========================================================================
part        what went on
=========== ==========================================================================
``waking``  the waker's work and the way to the other CPU, up to sched_wakeup
``hardirq`` hard interrupts on the CPU where the task waits
``softirq`` softirqs served there
``idle``    the idle task on its way out
``task``    other tasks: those that run on, and the scheduler on their behalf
=========== ==========================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from asyncirq.analysis.event import Event

PARTS: Final = ("waking", "hardirq", "softirq", "idle", "task")

LAST: Final = frozenset(
    [
        "vector_exit",
        "local_timer_exit",
        "reschedule_exit",
        "call_function_exit",
        "call_function_single_exit",
        "irq_work_exit",
        "softirq_exit",
    ]
)
"""The last event of an interrupt or softirq: what follows is the way back to the task."""


class WakeUp(msgspec.Struct):
    """One wake-up: ``waking_ns`` to ``running_ns`` on ``cpu``, cut into ``parts`` whose sum is exactly the latency."""

    pid: int
    comm: str
    cpu: int
    waking_ns: int
    running_ns: int
    parts: dict[str, int]

    @property
    def latency_ns(self) -> int:
        """Return the whole latency."""
        return self.running_ns - self.waking_ns


class _Waiting:
    __slots__ = ("comm", "cpu", "parts", "since", "waking", "woken")

    def __init__(self, event: Event) -> None:
        self.comm = str(event.fields["comm"])
        self.waking = self.since = event.ts
        self.cpu = int(event.fields["target_cpu"])
        self.woken = False
        self.parts = dict.fromkeys(PARTS, 0)

    def cut(self, ts: int, doing: str) -> None:
        self.parts[doing if self.woken else "waking"] += ts - self.since
        self.since = ts


def wake_ups(events: Iterable[Event]) -> list[WakeUp]:
    """Return every wake-up that came to its end, in the order of their ends.

    The events must be those of all CPUs in order of time, with sched_waking, sched_wakeup, sched_switch and sched_migrate_task.
    """
    waiting: dict[int, _Waiting] = {}
    found = []
    doing: dict[int, str] = {}
    for event in events:
        was = doing.get(event.cpu, "task")
        for each in waiting.values():
            if each.cpu == event.cpu and each.since < event.ts:
                each.cut(event.ts, was)
        name = event.name
        if name == "sched_waking":
            waiting[int(event.fields["pid"])] = _Waiting(event)
        elif name in ("sched_wakeup", "sched_wakeup_new") and int(event.fields["pid"]) in waiting:
            woken = waiting[int(event.fields["pid"])]
            woken.cut(event.ts, "waking")
            woken.woken = True
            woken.cpu = int(event.fields["target_cpu"])
        elif name == "sched_migrate_task" and int(event.fields["pid"]) in waiting:
            moved = waiting[int(event.fields["pid"])]
            moved.cut(event.ts, doing.get(moved.cpu, "task"))
            moved.cpu = int(event.fields["dest_cpu"])
        elif name == "sched_switch":
            done = waiting.pop(int(event.fields["next_pid"]), None) if event.fields["next_pid"] else None
            if done is not None:
                done.cut(event.ts, was)
                pid = int(event.fields["next_pid"])
                found.append(WakeUp(pid, done.comm, event.cpu, done.waking, event.ts, done.parts))
        doing[event.cpu] = _doing(event)
    return found


def _doing(event: Event) -> str:
    if event.name == "sched_switch":
        return "idle" if not event.fields["next_pid"] else "task"
    if event.name not in LAST:
        if event.context in "hHzZ":
            return "hardirq"
        if event.context == "s":
            return "softirq"
    return "idle" if event.pid == 0 else "task"
