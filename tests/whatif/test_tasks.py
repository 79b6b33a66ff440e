from __future__ import annotations

import pytest

from asyncirq.analysis.ops import BhOff, BhOn, Block, Emit, Exit, Fork, Irq, Op, Raise, Run, SoftBody
from tests.whatif.tiny import arrival, phase, replay, story, task, tick, wake


def mark(text: str) -> Emit:
    return Emit("tracing_mark_write", {"text": text})


def test_running_task_has_its_cpu_when_the_phase_begins() -> None:
    made = replay(phase([task(5, [mark("a"), Run(2_000), mark("b")], "running")], []))
    assert story(made, "tracing_mark_write", "sched_switch")[:2] == [(0, "tracing_mark_write a"), (2_000, "tracing_mark_write b")]


def test_block_and_wake_take_their_recorded_time() -> None:
    tasks = [task(5, [Run(1_000), Block("S", 300), mark("awake"), Run(10)], "running")]
    made = replay(phase(tasks, [arrival(9_000, [Run(200), wake(5, 150), Run(50)])]))
    found = story(made, "sched_switch", "sched_waking", "sched_wakeup")
    assert found[:3] == [(1_300, "sched_switch swapper/0"), (9_200, "sched_waking task5"), (9_350, "sched_wakeup task5")]


def test_wake_up_that_comes_early_is_kept() -> None:
    tasks = [task(5, [Run(5_000), Block("S", 300), mark("went on"), Block("S", 300), mark("never")], "running")]
    found = story(replay(phase(tasks, [arrival(1_000, [Run(200), wake(5)])])), "tracing_mark_write", "sched_waking")
    assert found == [(5_200, "tracing_mark_write went on")]


def test_wake_up_of_a_task_that_was_awake_gives_no_token() -> None:
    tasks = [task(5, [Run(5_000), Block("S", 300), mark("never")], "running")]
    found = story(replay(phase(tasks, [arrival(1_000, [wake(5, counts=False)])])), "tracing_mark_write", "sched_waking", "sched_wakeup")
    assert found == [(1_000, "sched_waking task5"), (1_100, "sched_wakeup task5")]


def test_fork_starts_a_task_and_exit_ends_it() -> None:
    child: list[Op] = [Run(500), Exit("X", 250)]
    fork = Fork(6, "task6", 120, {"comm": "task6", "pid": 6, "prio": 120, "target_cpu": 0})
    made = replay(phase([task(5, [Run(100), fork, Run(100), Block("S", 300)], "running"), task(6, child, "absent")], []))
    found = story(made, "sched_wakeup_new", "sched_switch", "sched_process_exit")
    assert found == [
        (100, "sched_wakeup_new task6"),
        (500, "sched_switch task6"),
        (1_000, "sched_process_exit task6"),
        (1_250, "sched_switch swapper/0"),
    ]


def test_softirqs_wait_for_the_end_of_a_section() -> None:
    ops: list[Op] = [Run(100), BhOff(), Run(2_000), BhOn(), Run(100)]
    body = SoftBody(3, "NET_RX", 0, "bh_enable", [Run(400)])
    raising = arrival(1_000, [Run(50), Raise(3, 0, {"vec": 3})])
    found = story(replay(phase([task(5, ops, "running")], [raising], [body])), "softirq_raise", "softirq_entry", "softirq_exit")
    # local_bh_enable itself costs what the model says, 40 ns: this recording has no sample.
    assert [text for _, text in found] == ["softirq_raise 3", "softirq_entry 3", "softirq_exit 3"]
    assert found[1][0] >= 2_150
    assert found[2][0] - found[1][0] == 400


def test_owner_of_the_bh_lock_is_waited_for_on_preempt_rt() -> None:
    ops: list[Op] = [Run(100), BhOff(), Run(20_000), BhOn(), Run(100), Block("S", 0)]
    made = replay(phase([task(5, ops, "running")], [arrival(1_000, [Run(50), mark("handler")])]), "rt")
    found = [text for _, text in story(made, "sched_switch", "sched_pi_setprio", "tracing_mark_write")]
    assert found == [
        "sched_switch irq/40-dev",
        "sched_pi_setprio task5",
        "sched_switch task5",
        "sched_pi_setprio task5",
        "sched_switch irq/40-dev",
        "tracing_mark_write handler",
        "sched_switch task5",
        "sched_switch swapper/0",
    ]


def test_synchronous_arrival_comes_where_its_program_was_hit() -> None:
    """Ten arrivals at one progress are an answer to the task: a task that gets there later is answered later."""
    ops: list[Op] = []
    arrivals = []
    for n in range(10):
        ops += [mark(f"ask {n}"), Run(500), Irq(n), Run(5_000 + 977 * n)]
        made = arrival(1_000 * n, [Run(100)])
        made.hit = type(made.hit)("task", 5, "task5", 4 * n + 2, 500, "tracing_mark_write", False, None, 0, False)
        arrivals.append(made)
    found = story(replay(phase([task(5, ops, "running")], arrivals)), "tracing_mark_write", "irq_handler_entry")
    asked = [at for at, text in found if text.startswith("tracing")]
    answered = [at for at, text in found if text.startswith("irq")]
    assert [later - earlier for earlier, later in zip(asked, answered, strict=True)] == [500] * 10


@pytest.mark.parametrize("kernel", ["stock", "rt"])
def test_uninterruptible_sleep_at_the_end_is_no_stall(kernel: str) -> None:
    made = replay(phase([task(5, [Run(100), Block("D", 10), mark("never")], "running")], []), kernel)
    assert story(made, "tracing_mark_write") == []


def test_tasks_of_two_cpus_begin_together() -> None:
    tasks = [task(5, [mark("a"), Run(1_000)], "running"), task(6, [mark("b"), Run(1_000)], "running", cpu=1)]
    found = story(replay(phase(tasks, [], cpus=2), cpus=2), "tracing_mark_write")
    assert [at for at, _ in found] == [0, 0]
    assert {text for _, text in found} == {"tracing_mark_write a", "tracing_mark_write b"}


def test_tick_takes_the_cpu_from_a_hog_that_had_its_slice() -> None:
    ticks = [tick(4_000_000 * n, [Run(1_000)]) for n in range(1, 6)]
    tasks = [task(5, [Run(30_000_000)], "running"), task(6, [Run(100), Block("S", 0)], "runnable")]
    made = phase(tasks, ticks)
    made.end_ns = 30_000_000
    found = story(replay(made), "sched_switch", "local_timer_entry")
    first = next(at for at, text in found if text == "sched_switch task6")
    assert 4_000_000 < first < 8_100_000
