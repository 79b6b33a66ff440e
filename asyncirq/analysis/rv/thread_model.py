"""Hold the rules of the thread synchronisation model of PREEMPT_RT that single traces can break.

Source: D. Bristot de Oliveira and others, "Demystifying the real-time Linux scheduling latency" (ECRTS 2020), rules R1 to R14.
R1 forbids nothing; R7 is the monitor ``snep``; R12 to R14 promise that something follows, and hold where the next task is another one:
they are no safety rules, and not here. A capture of Linux, which does not tell who turned interrupts off, is held to the others.
"""

from __future__ import annotations

from typing import Final

from asyncirq.analysis.event import Event
from asyncirq.analysis.rv.automaton import Automaton, Guard, Monitor
from asyncirq.analysis.rv.models import both_are_off

_SCHEDULING: Final = frozenset({"sched_switch", "sched_entry_tp", "sched_exit_tp"})


def _in_task(event: Event, counted: bool) -> bool:
    return event.context in ".s"


RULES: Final[tuple[Monitor, ...]] = (
    Guard(
        name="R2",
        says="nothing of the scheduler happens in an NMI",
        needs=frozenset({"sched_switch"}),
        events=_SCHEDULING | {"sched_set_need_resched_tp"},
        holds=lambda event, counted: event.context not in "zZ",
        env="no NMI",
    ),
    Guard(
        name="R3",
        says="a hardirq handler neither schedules nor switches",
        needs=frozenset({"sched_switch"}),
        events=_SCHEDULING,
        holds=_in_task,
        env="no hardirq",
    ),
    Automaton(
        name="R4",
        says="interrupts are off by the thread or by the hardware, never by both",
        needs=frozenset({"irq_disable", "irq_enable", "sched_entry_tp"}),
        transitions={
            "on": {"thread_off": "thread", "hardware_off": "hardware", "hardware_on": "on"},
            "thread": {"thread_on": "on", "hardware_on": "on"},
            "hardware": {"hardware_on": "on", "thread_on": "on"},
        },
        start=frozenset({"thread_on", "hardware_on"}),
    ),
    Guard(
        name="R5",
        says="the scheduler is entered and left with interrupts on",
        needs=frozenset({"sched_entry_tp", "sched_exit_tp"}),
        events=frozenset({"sched_entry_tp", "sched_exit_tp"}),
        holds=lambda event, counted: event.irqs not in "dD",
        env="irqs on",
    ),
    Guard(
        name="R6",
        says="the scheduler is entered and left with preemption off",
        needs=frozenset({"sched_entry_tp", "sched_exit_tp"}),
        events=frozenset({"sched_entry_tp", "sched_exit_tp"}),
        holds=lambda event, counted: event.depth > 0 or not counted,
        env="preemption off",
    ),
    Guard(
        name="R8",
        says="a switch happens with interrupts and preemption off",
        needs=frozenset({"sched_switch"}),
        events=frozenset({"sched_switch"}),
        holds=lambda event, counted: event.irqs in "dD" and (event.depth > 0 or not counted),
        env="irqs off and preemption off",
    ),
    Automaton(
        name="R9",
        says="a switch happens only between the entry and the exit of the scheduler",
        needs=frozenset({"sched_entry_tp", "sched_exit_tp", "sched_switch"}),
        transitions={
            "thread": {"schedule_entry": "scheduling"},
            "scheduling": {"sched_switch": "switched", "schedule_exit": "thread"},
            "switched": {"schedule_exit": "thread"},
        },
        start=frozenset({"schedule_exit"}),
    ),
    Guard(
        name="R10",
        says="a reschedule is asked for with interrupts and preemption off",
        needs=frozenset({"sched_set_need_resched_tp"}),
        events=frozenset({"sched_set_need_resched_tp"}),
        holds=both_are_off,
        env="irqs off and preemption off",
    ),
    Guard(
        name="R11",
        says="a wake-up is issued with interrupts and preemption off",
        needs=frozenset({"sched_waking"}),
        events=frozenset({"sched_waking"}),
        holds=both_are_off,
        env="irqs off and preemption off",
    ),
)
"""The rules, in their order."""
