from __future__ import annotations

import asyncio

import pytest

from asyncirq.analysis.ops import Block, Emit, HrtimerStart, Op, OpRef, Raise, Run, SoftBody
from asyncirq.whatif.arrivals import is_own
from tests.whatif.tiny import arrival, phase, replay, story, task, tick, wake


def start(fires: int) -> HrtimerStart:
    return HrtimerStart("0x9", "hrtimer_wakeup", 5_000, False, fires, {"hrtimer": "0x9", "function": "hrtimer_wakeup"})


def test_timer_fires_its_delay_after_the_op_that_armed_it() -> None:
    ops: list[Op] = [Run(1_000), start(0), Run(100), Block("S", 0)]
    fired = tick(99_000, [Run(50)], "hrtimer_wakeup", OpRef("task", 5, 1), 5_000)
    assert story(replay(phase([task(5, ops, "running")], [fired])), "local_timer_entry") == [(6_000, "local_timer_entry")]


def test_closed_loop_follows_the_block_that_made_the_cpu_idle() -> None:
    ops: list[Op] = []
    arrivals = []
    for n in range(12):
        ops += [Run(1_000), Block("S", 200)]
        made = arrival(7_000 * n + 3_000, [wake(5)])
        made.hit = type(made.hit)("idle", 0, "", -1, 0, "", False, OpRef("task", 5, 2 * n + 1), 3_000, False)
        arrivals.append(made)
    # The device spaces nothing: the gaps vary.
    for n, made in enumerate(arrivals):
        made.at_ns += 400 * n * n
    found = story(replay(phase([task(5, ops, "running")], arrivals)), "irq_handler_entry", "sched_switch")
    slept = [at for at, text in found if text == "sched_switch swapper/0"]
    came = [at for at, text in found if text.startswith("irq")]
    assert [later - earlier for earlier, later in zip(slept, came, strict=False)] == [3_000] * 12


def test_arrival_whose_anchor_is_never_reached_is_lost_and_counted() -> None:
    ops: list[Op] = [Run(1_000), Block("S", 0), start(0)]
    fired = tick(99_000, [Run(50)], "hrtimer_wakeup", OpRef("task", 5, 2), 5_000)
    result = asyncio.run(replay(phase([task(5, ops, "running")], [fired])).run())
    assert (result.lost, result.strange) == (1, 0)


def test_vectors_that_the_kernel_sends_itself_are_left_to_it() -> None:
    ipi = tick(5_000, [Run(50)])
    ipi.line = "reschedule"
    ipi.expiries.clear()
    result = asyncio.run(replay(phase([], [ipi])).run())
    assert (result.lost, result.strange) == (0, 1)


def test_line_of_an_ipi_is_left_to_the_kernel_as_well() -> None:
    assert is_own(arrival(5_000, [Run(50)], irq=2, name="IPI"))
    assert not is_own(arrival(5_000, [Run(50)], irq=11, name="arch_timer"))
    assert not is_own(arrival(5_000, [Run(50)]))
    assert not is_own(tick(5_000, [Run(50)]))


def test_device_that_spaces_its_interrupts_keeps_its_distance() -> None:
    arrivals = [arrival(10_000 * n, [Run(100)]) for n in range(1, 13)]
    made = replay(phase([], arrivals))
    assert {plan.model for plan in made.plan.plans} == {"rate_limited"}
    for plan in made.plan.plans[1:]:
        plan.at_ns -= 9_000
    found = story(made, "irq_handler_entry")
    assert [at for at, _ in found] == [10_000 * n for n in range(1, 13)]


def test_soft_timer_moves_to_ktimers_on_preempt_rt() -> None:
    body: list[Op] = [
        Run(10),
        Emit("hrtimer_expire_entry", {"hrtimer": "0x9", "function": "hrtimer_wakeup", "now": 1}),
        Run(20),
        Emit("hrtimer_expire_exit", {"hrtimer": "0x9"}),
        Run(30),
    ]
    events = ("softirq_raise", "softirq_entry", "local_timer_entry", "local_timer_exit", "hrtimer_expire_entry", "sched_switch")
    stock = story(replay(phase([], [tick(5_000, list(body), "hrtimer_wakeup")])), *events)
    assert stock == [(5_000, "local_timer_entry"), (5_010, "hrtimer_expire_entry hrtimer_wakeup"), (5_060, "local_timer_exit")]
    moved = [text for _, text in story(replay(phase([], [tick(5_000, list(body), "hrtimer_wakeup")]), "rt"), *events)]
    assert moved == [
        "local_timer_entry",
        "softirq_raise 8",
        "local_timer_exit",
        "sched_switch ktimers/0",
        "softirq_entry 8",
        "hrtimer_expire_entry hrtimer_wakeup",
        "sched_switch swapper/0",
    ]


def test_rcu_runs_in_its_thread_on_preempt_rt() -> None:
    body = SoftBody(9, "RCU", 0, "hardirq_exit", [Run(400), Emit("tracing_mark_write", {"text": "rcu"})])
    made = replay(phase([], [tick(5_000, [Run(10), Raise(9, 0, {"vec": 9}), Run(10)])], [body]), "rt")
    found = [text for _, text in story(made, "softirq_raise", "softirq_entry", "sched_switch", "tracing_mark_write")]
    assert found == ["sched_switch rcuc/0", "tracing_mark_write rcu", "sched_switch swapper/0"]


@pytest.mark.softirq_rule("broken")
def test_softirq_that_was_pending_at_the_start_runs_in_ksoftirqd() -> None:
    body = SoftBody(1, "TIMER", 0, "ksoftirqd", [Run(400)])
    found = story(replay(phase([task(5, [Run(100), Block("S", 0)], "running")], [], [body], [(0, 1, 0)])), "softirq_entry", "sched_switch")
    assert [text for _, text in found] == ["sched_switch ksoftirqd/0", "softirq_entry 1", "sched_switch swapper/0"]


@pytest.mark.softirq_rule("broken")
@pytest.mark.parametrize(("vec", "thread", "runs"), [(1, "ktimers/0", "softirq_entry 1"), (9, "rcuc/0", "tracing_mark_write here")])
def test_what_was_pending_at_the_start_runs_in_its_thread_on_preempt_rt(vec: int, thread: str, runs: str) -> None:
    body = SoftBody(vec, "", 0, "ksoftirqd", [Run(400), Emit("tracing_mark_write", {"text": "here"})])
    found = [
        text for _, text in story(replay(phase([], [], [body], [(0, vec, 0)]), "rt"), "softirq_entry", "sched_switch", "tracing_mark_write")
    ]
    assert found[0] == f"sched_switch {thread}"
    assert runs in found
    assert found[-1] == "sched_switch swapper/0"


def test_raises_before_a_run_are_merged_into_one_entry() -> None:
    bodies = [SoftBody(3, "NET_RX", 0, "hardirq_exit", [Run(400)]), SoftBody(3, "NET_RX", 0, "hardirq_exit", [Run(300)])]
    raising = arrival(5_000, [Run(10), Raise(3, 0, {"vec": 3}), Run(10), Raise(3, 1, {"vec": 3})])
    found = story(replay(phase([], [raising], bodies)), "softirq_raise", "softirq_entry", "softirq_exit")
    assert [text for _, text in found] == ["softirq_raise 3", "softirq_raise 3", "softirq_entry 3", "softirq_exit 3"]
    assert found[3][0] - found[2][0] == 700


def test_vector_that_is_served_in_the_next_phase_is_only_announced() -> None:
    made = replay(phase([], [arrival(5_000, [Run(10), Raise(3, -2, {"vec": 3})])]))
    assert story(made, "softirq_raise", "softirq_entry") == [(5_010, "softirq_raise 3")]
