"""Work that a kernel moved into threads goes back to the interrupts: each kind of move, told in a few events."""

from __future__ import annotations

from asyncirq.analysis.event import Event
from asyncirq.analysis.ops import BhOff, BhOn, Block, Emit, Irq, PhaseCut, Raise, Run
from asyncirq.analysis.programs import each_phase
from asyncirq.analysis.segments import ReferenceCosts
from tests.analysis.program_rows import capture_of, ev, irq, irq_end, soft

COSTS = ReferenceCosts(0, 1_000, 4_000, 6_000, trace_event=1_000, thread_enter=2_000, hand_over=4_000)
COMMS = {0: "swapper/0", 9: "irq/21-eth0", 8: "ktimers/0", 6: "rcuc/0", 7: "t7"}
PRIOS = {9: 49, 8: 98, 6: 98}


def switch(us: int, prev: int, state: str, new: int, prio: int = 0, flags: str = "d..") -> Event:
    return ev(
        us, prev, flags, "sched_switch",
        0, prev_comm=COMMS[prev], prev_pid=prev, prev_prio=PRIOS.get(prev, 120), prev_state=state,
        next_comm=COMMS[new], next_pid=new, next_prio=prio or PRIOS.get(new, 120),
    )  # fmt: skip


def wake(us: int, by: int, target: int, flags: str = "d.h") -> list[Event]:
    fields: dict[str, str | int] = {"comm": COMMS[target], "pid": target, "prio": PRIOS.get(target, 120), "target_cpu": 0}
    return [ev(us, by, flags, "sched_waking", 0, **fields), ev(us + 4, by, flags, "sched_wakeup", 0, **fields)]


def forced(*events: Event) -> PhaseCut:
    trace = capture_of(*events)
    for event in trace.events:
        event.comm = COMMS[event.pid]
    (phase,) = each_phase(trace, COSTS, {}, forced=True)
    return phase


def test_thread_of_an_interrupt_is_its_handler() -> None:
    phase = forced(
        ev(0, 0, "...", "mark"),
        irq(10, 0, "d.h"),
        irq_end(11, 0, "d.h"),
        *wake(12, 0, 9),
        switch(20, 0, "R", 9),
        soft(23, 9, "raise", 3, "D.."),
        soft(25, 9, "entry", 3),
        ev(27, 9, "..s", "napi_poll"),
        soft(28, 9, "exit", 3),
        switch(34, 9, "S", 0),
    )
    (arrival,) = phase.arrivals
    (handler,) = arrival.handlers
    # 3 us from the switch, less 2 of its way in, plus the event that an entry costs; the rest of the raise is one event.
    assert handler.ops == [Run(2_000), Raise(3, 0, {"vec": 3, "action": "NET_RX"}), Run(1_000)]
    assert arrival.tail == []
    assert phase.bodies[0].ops == [Run(2_000), Emit("napi_poll", {}), Run(1_000)]
    assert phase.tasks == {}
    assert phase.costs["primary_handler"] == [1_000]
    assert phase.costs["wake_irq_thread"] == [1_000]
    assert phase.costs["irq_thread_block"] == [6_000]


def test_waiting_for_the_lock_of_bottom_halves_is_no_work() -> None:
    phase = forced(
        ev(0, 7, "...", "mark"),
        irq(10, 7, "D.h"),
        irq_end(11, 7, "D.h"),
        *wake(12, 7, 9, "D.h"),
        switch(22, 7, "R+", 9, flags="D.."),
        switch(31, 9, "D", 7, prio=49),
        *wake(38, 7, 9, "d.."),
        switch(50, 7, "R+", 9),
        soft(53, 9, "raise", 3, "D.."),
        soft(55, 9, "entry", 3),
        soft(57, 9, "exit", 3),
        switch(63, 9, "S", 7),
        switch(73, 7, "S", 0),
    )
    assert phase.arrivals[0].handlers[0].ops == [Run(2_000), Raise(3, 0, {"vec": 3, "action": "NET_RX"}), Run(1_000)]
    assert phase.tasks[7].ops == [Emit("mark", {}), Run(10_000), BhOff(), Irq(0), Run(1_000), BhOn(), Run(4_000), Block("S", 6_000)]
    assert phase.tasks[7].prio == 120
    assert phase.costs["lock_hand_over"] == [6_000]


def test_soft_expiry_goes_back_into_the_timer_interrupt() -> None:
    phase = forced(
        ev(0, 0, "...", "mark"),
        ev(5, 0, "d.h", "local_timer_entry", 0, vector=236),
        soft(7, 0, "raise", 8, "d.h"),
        ev(8, 0, "d.h", "local_timer_exit", 0, vector=236),
        *wake(10, 0, 8, "d.."),
        switch(18, 0, "R", 8),
        soft(20, 8, "entry", 8),
        ev(21, 8, "..s", "hrtimer_expire_entry", 0, hrtimer="0x1", function="it_real_fn", now=20_000),
        ev(24, 8, "..s", "hrtimer_expire_exit", 0, hrtimer="0x1"),
        soft(25, 8, "exit", 8),
        switch(31, 8, "S", 0),
    )
    (arrival,) = phase.arrivals
    fields: dict[str, str | int] = {"hrtimer": "0x1", "function": "it_real_fn", "now": 20_000}
    assert arrival.handlers[0].ops == [
        Run(2_000),
        Emit("hrtimer_expire_entry", fields),
        Run(3_000),
        Emit("hrtimer_expire_exit", {"hrtimer": "0x1"}),
        Run(1_000),
    ]
    assert [expiry.function for expiry in arrival.expiries] == ["it_real_fn"]
    assert phase.bodies == []


def test_run_of_rcuc_is_a_body_of_rcu() -> None:
    phase = forced(
        ev(0, 0, "...", "mark"),
        ev(5, 0, "d.h", "local_timer_entry", 0, vector=236),
        *wake(7, 0, 6),
        ev(12, 0, "d.h", "local_timer_exit", 0, vector=236),
        switch(16, 0, "R", 6),
        ev(19, 6, "D..", "rcu_event"),
        switch(29, 6, "S", 0),
    )
    assert phase.arrivals[0].handlers[0].ops == [Run(2_000), Raise(9, 0, {"vec": 9, "action": "RCU"}), Run(1_000)]
    assert phase.bodies[0].vec == 9
    assert phase.bodies[0].ops == [Run(2_000), Emit("rcu_event", {}), Run(4_000)]


def test_threads_of_a_stock_capture_stay_tasks() -> None:
    trace = capture_of(ev(0, 0, "...", "mark"), switch(2, 0, "R", 9), ev(5, 9, "...", "mark"), switch(20, 9, "S", 0))
    (phase,) = each_phase(trace, COSTS, {})
    assert list(phase.tasks) == [9]
