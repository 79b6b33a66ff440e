"""Programs: nothing is lost, and each kind of gap goes where it belongs."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import msgspec
import pytest

from asyncirq.analysis.event import Capture
from asyncirq.analysis.ops import BhOff, BhOn, Block, Cut, Emit, Exit, Fork, HrtimerStart, Irq, OpRef, PhaseCut, QueueWork, Raise, Run, Wake
from asyncirq.analysis.programs import accounts, cut, each_phase, find_op, reconstruct
from asyncirq.analysis.segments import ReferenceCosts, reference_costs
from asyncirq.errors import InternalError
from tests.analysis.linux_captures import ALL, RT, STOCK, THREADIRQS, capture
from tests.analysis.program_rows import capture_of, ev, irq, irq_end, soft, switch, wakeup, waking

COSTS = ReferenceCosts(irq_exit_softirq=2000, bh_enable_softirq=1000, preempt_switch=4000, block_switch=6000)


@functools.cache
def real(name: str) -> Cut:
    return cut(capture(name))


def only(trace: Capture) -> PhaseCut:
    done = cut(trace, COSTS)
    assert [phase.name for phase in done.phases] == ["p0"]
    phase = done.phases[0]
    assert accounts(phase).total == phase.span_ns * trace.cpus
    assert_same(trace, done)
    return phase


def assert_same(trace: Capture, done: Cut) -> None:
    back = [event for phase in done.phases for event in reconstruct(phase)]
    assert [(e.ts, e.cpu, e.pid, e.name, e.fields) for e in back] == [(e.ts, e.cpu, e.pid, e.name, e.fields) for e in trace.events]


@pytest.mark.parametrize("name", ALL)
def test_time_is_conserved_in_every_phase(name: str) -> None:
    left = {phase.name: phase.span_ns * real(name).cpus - accounts(phase).total for phase in real(name).phases}
    assert set(left.values()) == {0}
    assert sum(phase.span_ns for phase in real(name).phases) == capture(name).events[-1].ts - capture(name).events[0].ts


@pytest.mark.parametrize("name", ALL)
def test_reconstruct_gives_every_event_back(name: str) -> None:
    assert real(name).notes == {}
    assert_same(capture(name), real(name))


def test_conservation_can_fail() -> None:
    phase = cut(capture(STOCK)).phases[3]
    before = accounts(phase).total
    run = next(op for op in phase.bodies[0].ops if isinstance(op, Run))
    run.ns += 1
    assert accounts(phase).total - before == 1


@pytest.mark.parametrize(("change", "message"), [(-1, "more time than Run"), (1, "in the middle of a Run")])
def test_reconstruct_notices_changed_time(change: int, message: str) -> None:
    phase = cut(capture(STOCK)).phases[3]
    run = next(op for op in phase.bodies[0].ops if isinstance(op, Run))
    run.ns += change
    with pytest.raises(InternalError, match=message):
        reconstruct(phase)


def test_reconstruct_notices_an_op_too_many() -> None:
    phase = cut(capture(STOCK)).phases[3]
    phase.bodies[0].ops.append(Emit("napi_poll", {}))
    with pytest.raises(InternalError, match=r"\('soft', 0\) has ops left"):
        reconstruct(phase)


def test_structure_of_the_stock_capture() -> None:
    phases = {phase.name: phase for phase in real(STOCK).phases}
    assert len(phases) == 16
    ping = phases["2-ping"]
    assert sum(arrival.line == "eth0" for arrival in ping.arrivals) == 176
    assert sum(arrival.line == "local_timer" for arrival in ping.arrivals) == 212
    assert sum(arrival.hit.bh_off for arrival in ping.arrivals) == 100
    assert ping.pending == []
    assert len(phases["8-disk-virtio-blk"].works) == 100
    raised = [op.body for phase in phases.values() for arrival in phase.arrivals for op in find_ops(arrival.handlers[0].ops)]
    assert raised.count(-2) == 0


def find_ops(ops: Sequence[object]) -> list[Raise]:
    return [op for op in ops if isinstance(op, Raise)]


@pytest.mark.parametrize(("name", "interrupts"), [(STOCK, 824 + 740), (THREADIRQS, 1006 + 769), (RT, 1201 + 792 + 4)])
def test_every_hard_interrupt_is_one_arrival(name: str, interrupts: int) -> None:
    assert sum(len(arrival.handlers) for phase in real(name).phases for arrival in phase.arrivals) == interrupts


def test_interrupt_and_softirq_are_cut_out_of_the_task() -> None:
    phase = only(
        capture_of(
            ev(0, 7, "...", "mark"),
            irq(10, 7, "d.h"),
            soft(12, 7, "raise", 3, "d.h"),
            irq_end(13, 7, "d.h"),
            soft(15, 7, "entry", 3),
            ev(18, 7, "..s", "napi_poll", dev_name="eth0"),
            soft(20, 7, "exit", 3),
            ev(25, 7, "...", "mark"),
        )
    )
    assert phase.tasks[7].ops == [Emit("mark", {}), Run(10_000), Irq(0), Run(5_000), Emit("mark", {})]
    (arrival,) = phase.arrivals
    assert (arrival.line, arrival.irq, arrival.at_ns, arrival.tail) == ("eth0", 21, 10_000, [])
    assert arrival.handlers[0].ops[0] == Run(2_000)
    raised = arrival.handlers[0].ops[1]
    assert isinstance(raised, Raise)
    assert (raised.vec, raised.body) == (3, 0)
    assert (arrival.hit.kind, arrival.hit.ident, arrival.hit.op, arrival.hit.progress_ns, arrival.hit.after) == (
        "task",
        7,
        2,
        10_000,
        "mark",
    )
    assert (phase.bodies[0].context, phase.costs) == ("hardirq_exit", {"irq_exit_softirq": [2_000]})
    assert phase.bodies[0].ops == [Run(3_000), Emit("napi_poll", {"dev_name": "eth0"}), Run(2_000)]


def test_bh_off_region_ends_before_its_softirq() -> None:
    phase = only(
        capture_of(
            ev(0, 7, "...", "mark"),
            irq(10, 7, "D.h"),
            soft(11, 7, "raise", 3, "D.h"),
            irq_end(12, 7, "D.h"),
            soft(17, 7, "entry", 3),
            soft(19, 7, "exit", 3),
            ev(20, 7, "...", "mark"),
        )
    )
    assert phase.tasks[7].ops == [
        Emit("mark", {}),
        Run(10_000),
        BhOff(),
        Irq(0),
        Run(3_000),
        BhOn(),
        Run(1_000),
        Emit("mark", {}),
    ]
    assert phase.costs == {"bh_enable_softirq": [2_000]}
    assert (phase.arrivals[0].hit.bh_off, phase.bodies[0].context) == (True, "bh_enable")


def test_preemption_disappears_and_blocking_stays() -> None:
    phase = only(
        capture_of(
            ev(0, 7, "...", "mark"),
            waking(5, 7, 8),
            wakeup(9, 7, 8),
            switch(14, 7, "R+", 8),
            ev(20, 8, "...", "mark"),
            switch(30, 8, "S", 7),
            ev(40, 7, "...", "mark"),
            switch(43, 7, "X", 0),
            switch(60, 0, "R", 9),
        )
    )
    one, two = phase.tasks[7], phase.tasks[8]
    wake = one.ops[2]
    assert isinstance(wake, Wake)
    assert (wake.pid, wake.counts, wake.cost_ns) == (8, True, 4_000)
    assert [op for op in one.ops if op is not wake] == [Emit("mark", {}), Run(5_000), Run(11_000), Emit("mark", {}), Exit("X", 3_000)]
    assert two.ops == [Run(6_000), Emit("mark", {}), Run(4_000), Block("S", 6_000)]
    assert (one.state, two.state, phase.tasks[9].state, phase.running) == ("running", "blocked", "runnable", {0: 7})
    assert (phase.costs, phase.idle_ns) == ({"preempt_kernel": [4_000]}, {0: 17_000})


def test_wake_of_a_task_that_is_awake_gives_no_token() -> None:
    phase = only(
        capture_of(
            ev(0, 7, "...", "mark"),
            waking(1, 7, 8),
            wakeup(2, 7, 8),
            waking(3, 7, 8),
            wakeup(4, 7, 8),
            switch(9, 7, "S", 8),
        )
    )
    assert [op.counts for op in phase.tasks[7].ops if isinstance(op, Wake)] == [True, False]


def test_event_inside_a_wake_keeps_both() -> None:
    phase = only(capture_of(ev(0, 7, "...", "mark"), waking(1, 7, 8), ev(2, 7, "d..", "odd"), wakeup(4, 7, 8), ev(5, 7, "...", "mark")))
    wake = phase.tasks[7].ops[2]
    assert isinstance(wake, Wake)
    assert wake.cost_ns == -1
    assert [op.name for op in phase.tasks[7].ops if isinstance(op, Emit)] == ["mark", "odd", "sched_wakeup", "mark"]


def test_shared_line_is_one_arrival() -> None:
    phase = only(
        capture_of(
            ev(0, 7, "...", "mark"),
            irq(1, 7, "d.h", name="labA"),
            irq_end(2, 7, "d.h"),
            irq(4, 7, "d.h", name="labB"),
            irq_end(5, 7, "d.h"),
            irq(9, 7, "d.h", name="labA"),
            irq_end(10, 7, "d.h"),
            ev(12, 7, "...", "mark"),
        )
    )
    assert [[(h.name, h.lead_ns) for h in arrival.handlers] for arrival in phase.arrivals] == [
        [("labA", 0), ("labB", 2_000)],
        [("labA", 0)],
    ]


def test_raise_of_a_pending_vector_has_no_body() -> None:
    phase = only(
        capture_of(
            ev(0, 7, "...", "mark"),
            irq(1, 7, "d.h"),
            soft(2, 7, "raise", 3, "d.h"),
            soft(3, 7, "raise", 3, "d.h"),
            irq_end(4, 7, "d.h"),
            soft(6, 7, "entry", 3),
            soft(7, 7, "raise", 3, "d.s"),
            soft(8, 7, "exit", 3),
            soft(9, 7, "entry", 3),
            soft(10, 7, "exit", 3),
        )
    )
    assert [op.body for op in find_ops(phase.arrivals[0].handlers[0].ops)] == [0, -1]
    assert [op.body for op in find_ops(phase.bodies[0].ops)] == [1]
    assert phase.costs == {"irq_exit_softirq": [2_000], "softirq_next": [1_000]}


def test_raise_in_the_window_gets_the_second_entry() -> None:
    # The nested interrupt raises after the pass took its snapshot: its vector looks pending, but runs once more.
    phase = only(
        capture_of(
            ev(0, 7, "...", "mark"),
            irq(1, 7, "d.h"),
            soft(2, 7, "raise", 3, "d.h"),
            irq_end(3, 7, "d.h"),
            irq(4, 7, "d.H"),
            soft(5, 7, "raise", 3, "d.H"),
            irq_end(6, 7, "d.H"),
            soft(8, 7, "entry", 3),
            soft(9, 7, "exit", 3),
            soft(10, 7, "entry", 3),
            soft(11, 7, "exit", 3),
        )
    )
    assert [find_ops(arrival.handlers[0].ops)[0].body for arrival in phase.arrivals] == [0, 1]
    assert phase.arrivals[1].hit.kind == "kernel"


def test_softirq_entry_without_raise_is_noted() -> None:
    done = cut(capture_of(ev(0, 7, "...", "mark"), soft(1, 7, "entry", 3), soft(2, 7, "exit", 3)), COSTS)
    assert (done.notes, done.phases[0].pending) == ({"softirq_entry without raise": 1}, [(0, 3, 0)])


def test_hrtimer_and_the_arrival_that_it_fires() -> None:
    phase = only(
        capture_of(
            ev(0, 7, "d..", "hrtimer_start", hrtimer="h", function="f", expires=50_000, mode="REL"),
            switch(10, 7, "S", 0),
            ev(52, 0, "d.h", "local_timer_entry", vector=236),
            ev(53, 0, "d.h", "hrtimer_expire_entry", hrtimer="h", function="f", now=52_500),
            ev(54, 0, "d.h", "hrtimer_expire_exit", hrtimer="h"),
            ev(55, 0, "d.h", "local_timer_exit", vector=236),
            switch(60, 0, "R", 7),
        )
    )
    start = phase.tasks[7].ops[0]
    assert isinstance(start, HrtimerStart)
    assert (start.delay_ns, start.absolute, start.fires) == (50_000, False, 0)
    (expiry,) = phase.arrivals[0].expiries
    assert (expiry.armed, expiry.delay_ns, expiry.late_ns) == (OpRef("task", 7, 0), 52_000, 2_500)
    assert find_op(phase, OpRef("task", 7, 0)) is start
    hit = phase.arrivals[0].hit
    assert (hit.kind, hit.last, hit.idle_ns) == ("idle", OpRef("task", 7, 2), 42_000)
    assert phase.costs == {"idle_switch": [5_000]}


def test_work_item_is_a_slice_of_its_worker() -> None:
    phase = only(
        capture_of(
            ev(0, 7, "d..", "workqueue_queue_work", work="w", function="f"),
            waking(1, 7, 8),
            wakeup(5, 7, 8),
            switch(9, 7, "S", 8),
            ev(11, 8, "...", "workqueue_execute_start", work="w", function="f"),
            ev(14, 8, "...", "workqueue_execute_end", work="w"),
            switch(20, 8, "I", 0),
            switch(30, 0, "R", 7),
        )
    )
    queue, (item,) = phase.tasks[7].ops[0], phase.works
    assert isinstance(queue, QueueWork)
    assert (queue.item, item.pid, item.queued_by) == (0, 8, OpRef("task", 7, 0))
    names = [op.name if isinstance(op, Emit) else op for op in phase.tasks[8].ops[item.start : item.end]]
    assert names == ["workqueue_execute_start", Run(3_000), "workqueue_execute_end"]


def test_fork_makes_an_absent_task() -> None:
    new = ev(5, 7, "d..", "sched_wakeup_new", comm="t9", pid=9, prio=120, target_cpu=0)
    phase = only(capture_of(ev(0, 7, "...", "mark"), new, switch(12, 7, "S", 9)))
    assert isinstance(phase.tasks[7].ops[2], Fork)
    assert phase.tasks[9].state == "absent"


def test_phase_marker_splits_a_running_task_and_other_cpus() -> None:
    trace = capture_of(
        ev(0, 7, "...", "mark"), ev(1, 8, "...", "mark", 1), ev(10, 7, "...", "mark"), ev(15, 8, "...", "mark", 1), phases=(0, 2)
    )
    done = cut(trace, COSTS)
    first, second = done.phases
    assert first.tasks[8].ops == [Run(1_000), Emit("mark", {}), Run(9_000)]
    assert second.tasks[8].ops == [Run(5_000), Emit("mark", {})]
    assert [accounts(phase).total for phase in done.phases] == [20_000, 10_000]
    assert_same(trace, done)


def test_events_before_the_first_marker_are_the_preamble() -> None:
    done = cut(capture_of(ev(0, 7, "...", "mark"), ev(3, 7, "...", "mark"), phases=(1,)), COSTS)
    assert [(phase.name, phase.span_ns) for phase in done.phases] == [("preamble", 3_000), ("p0", 0)]


def test_phase_by_phase_gives_the_same_programs_and_uses_the_capture_up() -> None:
    whole = real(STOCK)
    trace = msgspec.structs.replace(capture(STOCK), events=list(capture(STOCK).events))
    notes: dict[str, int] = {}
    found = list(each_phase(trace, reference_costs(trace), notes))
    assert trace.events == []
    assert notes == whole.notes
    assert [phase.script for phase in found] == [[] for _ in found]
    for phase, same in zip(found, whole.phases, strict=True):
        assert (phase.name, phase.tasks, phase.arrivals, phase.bodies, phase.works) == (
            same.name,
            same.tasks,
            same.arrivals,
            same.bodies,
            same.works,
        )
