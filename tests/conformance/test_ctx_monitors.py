"""Show CTX-17: what the kernel's own monitors demand of the scheduler, accepted on our traces and refused where it is broken."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.model import capture_from_records
from asyncirq.analysis.rv import MONITORS, Guard, check_capture
from asyncirq.config import KernelConfig, preset
from tests.analysis.rv.test_automata import AUTOMATA, event, run
from tests.analysis.rv.test_on_machines import busy

OBLIGATIONS = ("sco", "scpd", "snep", "snroc", "sts", "nrp", "sssw", "opid")
KERNELS = [preset("linux-6.12", preemption=preemption, rv=True) for preemption in ("none", "voluntary", "full", "lazy")]
KERNELS += [preset("linux-6.12", rt=True, rv=True), preset("linux-7.1", rt=True, rv=True)]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: f"{kernel.release}-{kernel.preemption}")
@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_CTX_17_our_traces_are_accepted(kernel: KernelConfig, cpus: int) -> None:
    m = asyncio.run(busy(kernel, cpus))
    monitors = [one for one in MONITORS if one.name in OBLIGATIONS]
    results = check_capture(capture_from_records(m.records, "machine"), monitors)
    assert {result.monitor.name for result in results} == set(OBLIGATIONS)
    assert [str(one) for result in results for one in result.violations] == []
    assert all(result.events and not result.lacks for result in results)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("sco", ["schedule_entry"], "sched_set_state"),
        ("sts", ["schedule_entry"], "sched_switch"),
        ("sts", ["schedule_entry", "irq_disable", "irq_entry"], "sched_switch"),
        ("sts", ["schedule_entry", "irq_disable", "sched_switch"], "sched_switch"),
        ("sssw", [], "switch_suspend"),
        ("sssw", ["set_state_sleepable", "switch_suspend"], "switch_in"),
        ("scpd", [], "schedule_entry"),
        ("snep", ["schedule_entry"], "preempt_enable"),
        ("snroc", [], "sched_set_state"),
        ("nrp", ["schedule_entry_preempt", "schedule_entry_preempt"], "schedule_entry_preempt"),
    ],
)
def test_CTX_17_injections_are_refused_at_their_last_event(name: str, good: list[str], bad: str) -> None:
    model = AUTOMATA[name]
    assert run(model, good) == []
    (found,) = run(model, [*good, bad])
    assert (found.monitor, found.event) == (name, bad)


@pytest.mark.parametrize(
    ("name", "flags", "refused"),
    [
        ("sched_waking", "d..2", False),
        ("sched_waking", "...2", True),
        ("sched_waking", "...0", True),
        ("sched_set_need_resched_tp", "d..2", False),
        ("sched_set_need_resched_tp", "...2", True),
    ],
)
def test_CTX_17_operations_with_interrupts_or_preemption_on_are_refused(name: str, flags: str, refused: bool) -> None:
    opid = [one for one in MONITORS if isinstance(one, Guard) and one.name == "opid"]
    counted = event("sched_switch", ts=1, prev_pid=5, prev_state="S", next_pid=6)
    asked = event(name, ts=2, flags=flags)
    asked.fields["pid"] = 7
    events: list[Event] = [counted, asked]
    results = check_capture(Capture("injected", events, 1, 1, []), opid)
    found = [one for result in results for one in result.violations]
    assert [(one.event, one.ts) for one in found] == ([(name, 2)] if refused else [])
