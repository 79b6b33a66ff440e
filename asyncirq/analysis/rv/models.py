"""Hold the kernel's own monitors as tables.

Linux: tools/verification/models/sched/*.dot and kernel/trace/rv/monitors/. ``sncid`` and ``tss`` are what ``sts`` replaced.
"""

from __future__ import annotations

from typing import Final

from asyncirq.analysis.event import Event
from asyncirq.analysis.rv.automaton import Automaton, Bound, Guard, Monitor
from asyncirq.units import NSEC_PER_SEC

_PREEMPT: Final = frozenset({"preempt_disable", "preempt_enable"})
_IRQ: Final = frozenset({"irq_disable", "irq_enable"})
_SCHED: Final = frozenset({"sched_entry_tp", "sched_exit_tp"})


def irqs_are_off(event: Event, counted: bool = True) -> bool:
    """Tell whether interrupts were off."""
    return event.irqs in "dD"


def both_are_off(event: Event, counted: bool) -> bool:
    """Tell whether interrupts were off, and preemption by a count or in an interrupt."""
    return event.irqs in "dD" and (not counted or event.depth > 0 or event.context != ".")


WIP: Final = Automaton(
    name="wip",
    says="a wake-up is only issued with preemption off",
    needs=_PREEMPT | {"sched_waking"},
    transitions={
        "preemptive": {"preempt_disable": "non_preemptive"},
        "non_preemptive": {"sched_waking": "non_preemptive", "preempt_enable": "preemptive"},
    },
    start=frozenset({"preempt_enable"}),
)
WWNR: Final = Automaton(
    name="wwnr",
    says="a task is woken only while it does not run (broken by whoever is woken between its state and its switch)",
    needs=frozenset({"sched_switch", "sched_wakeup"}),
    advisory=True,
    scope="task",
    transitions={
        "not_running": {"wakeup": "not_running", "switch_in": "running"},
        "running": {"switch_out": "not_running"},
    },
    start=frozenset({"switch_out"}),
)
SCO: Final = Automaton(
    name="sco",
    says="no task state is set inside the scheduler",
    needs=_SCHED | {"sched_set_state_tp"},
    transitions={
        "thread_context": {"sched_set_state": "thread_context", "schedule_entry": "scheduling_context"},
        "scheduling_context": {"schedule_exit": "thread_context"},
    },
    start=frozenset({"sched_set_state", "schedule_exit"}),
)
SNROC: Final = Automaton(
    name="snroc",
    says="a task's state is set only by itself while it runs",
    needs=frozenset({"sched_switch", "sched_set_state_tp"}),
    scope="task",
    transitions={
        "other_context": {"switch_in": "own_context"},
        "own_context": {"sched_set_state": "own_context", "switch_out": "other_context"},
    },
    start=frozenset({"switch_out"}),
)
SCPD: Final = Automaton(
    name="scpd",
    says="the scheduler is called with preemption disabled",
    needs=_SCHED | _PREEMPT,
    transitions={
        "cant_sched": {"preempt_disable": "can_sched"},
        "can_sched": {"schedule_entry": "can_sched", "schedule_exit": "can_sched", "preempt_enable": "cant_sched"},
    },
    start=frozenset({"preempt_enable"}),
)
SNEP: Final = Automaton(
    name="snep",
    says="the scheduler neither enables nor disables preemption",
    needs=_SCHED | _PREEMPT,
    transitions={
        "non_scheduling_context": {
            "preempt_disable": "non_scheduling_context",
            "preempt_enable": "non_scheduling_context",
            "schedule_entry": "scheduling_contex",
        },
        "scheduling_contex": {"schedule_exit": "non_scheduling_context"},
    },
    start=frozenset({"preempt_disable", "preempt_enable", "schedule_exit"}),
)
STS: Final = Automaton(
    name="sts",
    says="a switch happens once per call of the scheduler at most, with interrupts off by the scheduler",
    needs=_SCHED | _IRQ | {"sched_switch"},
    transitions={
        "can_sched": {"irq_disable": "cant_sched", "schedule_entry": "scheduling"},
        "cant_sched": {"irq_entry": "cant_sched", "irq_enable": "can_sched"},
        "scheduling": {"irq_disable": "disable_to_switch"},
        "disable_to_switch": {"sched_switch": "switching", "irq_enable": "enable_to_exit", "irq_entry": "in_irq"},
        "in_irq": {"irq_entry": "in_irq", "irq_enable": "scheduling"},
        "switching": {"irq_enable": "enable_to_exit"},
        "enable_to_exit": {
            "irq_disable": "enable_to_exit",
            "irq_entry": "enable_to_exit",
            "irq_enable": "enable_to_exit",
            "schedule_exit": "can_sched",
        },
    },
    start=frozenset({"schedule_exit"}),
)
SNCID: Final = Automaton(
    name="sncid",
    says="the scheduler is not called with interrupts disabled",
    needs=_SCHED | _IRQ,
    transitions={
        "can_sched": {"schedule_entry": "can_sched", "schedule_exit": "can_sched", "irq_disable": "cant_sched"},
        "cant_sched": {"irq_enable": "can_sched"},
    },
    start=frozenset({"irq_enable"}),
    advisory=True,
)
TSS: Final = Automaton(
    name="tss",
    says="a switch happens only while scheduling",
    needs=_SCHED | {"sched_switch"},
    transitions={
        "thread": {"schedule_entry": "sched"},
        "sched": {"sched_switch": "sched", "schedule_exit": "thread"},
    },
    start=frozenset({"schedule_exit"}),
)
NRP: Final = Automaton(
    name="nrp",
    says="the kernel preempts a task only after need_resched",
    needs=_SCHED | {"sched_set_need_resched_tp"},
    scope="task",
    transitions={
        "preempt_irq": {
            "irq_entry": "preempt_irq",
            "sched_need_resched": "preempt_irq",
            "schedule_entry": "nested_preempt",
            "schedule_entry_preempt": "nested_preempt",
        },
        "nested_preempt": {
            "irq_entry": "nested_preempt",
            "sched_need_resched": "preempt_irq",
            "schedule_entry": "any_thread_running",
            "schedule_entry_preempt": "any_thread_running",
        },
        "any_thread_running": {
            "schedule_entry": "any_thread_running",
            "irq_entry": "any_thread_running",
            "sched_need_resched": "rescheduling",
        },
        "rescheduling": {
            "sched_need_resched": "rescheduling",
            "irq_entry": "preempt_irq",
            "schedule_entry": "any_thread_running",
            "schedule_entry_preempt": "any_thread_running",
        },
    },
    start=frozenset({"sched_need_resched"}),
)
SSSW: Final = Automaton(
    name="sssw",
    says="a task that sleeps has said so before, and a sleeping task does not run before it is woken",
    needs=frozenset({"sched_switch", "sched_wakeup", "sched_set_state_tp"}),
    scope="task",
    transitions={
        "runnable": {
            "set_state_runnable": "runnable",
            "wakeup": "runnable",
            "switch_in": "runnable",
            "switch_yield": "runnable",
            "switch_preempt": "runnable",
            "signal_deliver": "runnable",
            "set_state_sleepable": "sleepable",
            "switch_blocking": "sleeping",
        },
        "sleepable": {
            "set_state_sleepable": "sleepable",
            "switch_in": "sleepable",
            "switch_preempt": "sleepable",
            "signal_deliver": "sleepable",
            "set_state_runnable": "runnable",
            "wakeup": "runnable",
            "switch_yield": "signal_wakeup",
            "switch_suspend": "sleeping",
            "switch_blocking": "sleeping",
        },
        "sleeping": {"wakeup": "runnable"},
        "signal_wakeup": {
            "switch_in": "signal_wakeup",
            "switch_preempt": "signal_wakeup",
            "switch_yield": "signal_wakeup",
            "wakeup": "signal_wakeup",
            "signal_deliver": "runnable",
            "set_state_sleepable": "sleepable",
        },
    },
    start=frozenset({"set_state_runnable", "wakeup"}),
)
OPID: Final = (
    Guard(
        name="opid",
        says="a wake-up is issued with interrupts and preemption off",
        needs=frozenset({"sched_waking"}),
        events=frozenset({"sched_waking"}),
        holds=both_are_off,
        env="irqs off and preemption off",
    ),
    Guard(
        name="opid",
        says="a reschedule is asked for with interrupts off",
        needs=frozenset({"sched_set_need_resched_tp"}),
        events=frozenset({"sched_set_need_resched_tp"}),
        holds=irqs_are_off,
        env="irqs off",
    ),
)
STALL: Final = Bound(
    name="stall",
    says="a task that is ready runs within 4 s (1000 jiffies of 250 Hz)",
    needs=frozenset({"sched_switch", "sched_wakeup"}),
    transitions={
        "dequeued": {"wakeup": "enqueued"},
        "enqueued": {"wakeup": "enqueued", "switch_in": "running"},
        "running": {
            "switch_in": "running",
            "wakeup": "running",
            "switch_suspend": "dequeued",
            "switch_blocking": "dequeued",
            "switch_preempt": "enqueued",
            "switch_yield": "enqueued",
        },
    },
    start=frozenset({"switch_suspend", "switch_blocking"}),
    waits="enqueued",
    resets=frozenset({("dequeued", "wakeup"), ("running", "switch_preempt"), ("running", "switch_yield")}),
    limit_ns=4 * NSEC_PER_SEC,
)
MONITORS: Final[tuple[Monitor, ...]] = (WIP, WWNR, SCO, SNROC, SCPD, SNEP, STS, SNCID, TSS, NRP, SSSW, *OPID, STALL)
"""Every monitor of this module, in the order of the kernel's documentation."""
