"""Turn trace events into monitor events, one kind of trace or the other.

What the kernel calls ``irq_entry`` is every entry of a hardirq handler: of a device's, of the local timer's, of the IPIs'. The two
CPUs of a remote wake-up are those that it happens on: ``sched_waking`` on the waker's.
"""

from __future__ import annotations

from typing import Final

from asyncirq.analysis.event import Event
from asyncirq.analysis.rv.automaton import Step

IRQ_ENTRIES: Final = frozenset(
    {
        "irq_handler_entry",
        "local_timer_entry",
        "irq_work_entry",
        "reschedule_entry",
        "call_function_entry",
        "call_function_single_entry",
        "ipi_entry",
    }
)
"""Tracepoints that are ``irq_entry``."""
_PLAIN: Final = frozenset({"preempt_disable", "preempt_enable", "irq_disable", "irq_enable", "sched_waking", "signal_deliver"})
RTLOCK: Final = "L"
"""State letter by which our own trace tells that a task waits for a lock that sleeps on PREEMPT_RT alone."""


class Translator:
    """The state of the translation: who waits for a lock that sleeps on PREEMPT_RT alone."""

    def __init__(self) -> None:
        self._rtlock: set[int] = set()

    def steps(self, event: Event) -> list[Step]:
        """Return the monitor events of one trace event. The idle tasks, which share pid 0, are no tasks here."""
        name, cpu, pid = event.name, event.cpu, event.pid
        if name in _PLAIN:
            steps = [Step(name, cpu, pid)]
            if name in ("irq_disable", "irq_enable"):
                by = "hardware" if event.fields.get("caller") == "hardware" else "thread"
                steps.append(Step(f"{by}_{'off' if name == 'irq_disable' else 'on'}", cpu, pid))
            return steps
        if name in IRQ_ENTRIES:
            return [Step("irq_entry", cpu, pid)]
        if name == "sched_switch":
            return self._switch(event)
        if name == "sched_entry_tp":
            kind = "schedule_entry_preempt" if event.fields["preempt"] else "schedule_entry"
            return [Step("schedule_entry", cpu, -1), Step(kind, -1, pid)]
        if name == "sched_exit_tp":
            return [Step("schedule_exit", cpu, pid)]
        if name in ("sched_wakeup", "sched_wakeup_new"):
            return [Step("wakeup", cpu, int(event.fields["pid"]))]
        if name == "sched_set_state_tp":
            return self._set_state(event)
        if name == "sched_set_need_resched_tp":
            return [Step("sched_need_resched", cpu, int(event.fields["pid"]))]
        return []

    def _set_state(self, event: Event) -> list[Step]:
        pid, state = int(event.fields["pid"]), str(event.fields["state"])
        if state == RTLOCK:
            self._rtlock.add(pid)
            return []
        self._rtlock.discard(pid)
        kind = "set_state_runnable" if state == "R" else "set_state_sleepable"
        return [Step("sched_set_state", event.cpu, pid), Step(kind, event.cpu, pid)]

    def _switch(self, event: Event) -> list[Step]:
        cpu = event.cpu
        before, after = int(event.fields["prev_pid"]), int(event.fields["next_pid"])
        steps = [Step("sched_switch", cpu, -1)]
        if before:
            steps += [Step("switch_out", cpu, before), Step(self._way_out(before, str(event.fields["prev_state"])), cpu, before)]
        if after:
            steps.append(Step("switch_in", cpu, after))
        return steps

    def _way_out(self, pid: int, state: str) -> str:
        if state.startswith("R"):
            return "switch_preempt" if state.endswith("+") else "switch_yield"
        if pid in self._rtlock:
            return "switch_blocking"
        return "switch_suspend"
