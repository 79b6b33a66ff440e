from __future__ import annotations

import pytest

from asyncirq.analysis.ops import Emit, Op, Run
from asyncirq.whatif.wiring import Wiring
from tests.whatif.tiny import EDGE, LEVEL, MESSAGE, arrival, phase, replay, story

ENTRIES = ("irq_handler_entry", "irq_handler_exit")


@pytest.mark.parametrize("wiring", [LEVEL, EDGE, MESSAGE])
def test_arrival_interrupts_at_its_instant_and_runs_its_code(wiring: Wiring) -> None:
    made = replay(phase([], [arrival(5_000, [Run(700), Emit("tracing_mark_write", {"text": "in it"}), Run(300)])]), wiring=wiring)
    assert story(made, *ENTRIES, "tracing_mark_write") == [
        (5_000, "irq_handler_entry 40"),
        (5_700, "tracing_mark_write in it"),
        (6_000, "irq_handler_exit 40"),
    ]


@pytest.mark.parametrize("wiring", [LEVEL, EDGE, MESSAGE])
def test_what_comes_during_a_handler_is_handled_after_it(wiring: Wiring) -> None:
    """Three arrivals within one handler: none is lost to coalescing."""
    arrivals = [arrival(5_000, [Run(2_000)]), arrival(5_500, [Run(100)]), arrival(5_600, [Run(200)]), arrival(5_700, [Run(300)])]
    made = replay(phase([], arrivals), wiring=wiring)
    assert story(made, *ENTRIES) == [
        (5_000, "irq_handler_entry 40"),
        (7_000, "irq_handler_exit 40"),
        (7_000, "irq_handler_entry 40"),
        (7_100, "irq_handler_exit 40"),
        (7_100, "irq_handler_entry 40"),
        (7_300, "irq_handler_exit 40"),
        (7_300, "irq_handler_entry 40"),
        (7_600, "irq_handler_exit 40"),
    ]


def test_tail_runs_behind_the_handlers_in_the_hard_interrupt() -> None:
    tail: list[Op] = [Run(50), Emit("tracing_mark_write", {"text": "tail"})]
    made = replay(phase([], [arrival(5_000, [Run(700)], tail=tail)]))
    assert story(made, "irq_handler_exit", "tracing_mark_write") == [(5_700, "irq_handler_exit 40"), (5_750, "tracing_mark_write tail")]


def test_forced_thread_takes_the_handler_and_leaves_the_tail() -> None:
    body: list[Op] = [Run(700), Emit("tracing_mark_write", {"text": "body"})]
    tail: list[Op] = [Run(50), Emit("tracing_mark_write", {"text": "tail"})]
    found = story(replay(phase([], [arrival(5_000, body, tail=tail)]), "threadirqs"), "tracing_mark_write", "sched_switch")
    assert [text for _, text in found] == [
        "tracing_mark_write tail",
        "sched_switch irq/40-dev",
        "tracing_mark_write body",
        "sched_switch swapper/0",
    ]


@pytest.mark.parametrize("kernel", ["threadirqs", "rt"])
@pytest.mark.parametrize("wiring", [LEVEL, EDGE, MESSAGE])
def test_thread_serves_every_arrival_once(kernel: str, wiring: Wiring) -> None:
    arrivals = [arrival(5_000 + 10 * n, [Run(100), Emit("tracing_mark_write", {"text": str(n)})]) for n in range(5)]
    found = story(replay(phase([], arrivals), kernel, wiring), "tracing_mark_write", "irq_handler_entry")
    assert [text for _, text in found if text.startswith("tracing")] == [f"tracing_mark_write {n}" for n in range(5)]
    assert sum(text == "irq_handler_entry 40" for _, text in found) == 5


def test_unhandled_interrupt_stays_unhandled() -> None:
    made = replay(phase([], [arrival(5_000, [Run(100)], ret="unhandled")]))
    story(made)
    desc = made.machine.irq.desc(40)
    assert (desc.tot_count, desc.irqs_unhandled) == (1, 1)


def test_sharers_of_a_line_run_their_own_code_in_order() -> None:
    shared = arrival(5_000, [Run(100)], name="first")
    shared.handlers.append(arrival(0, [Run(200)], name="second").handlers[0])
    alone = arrival(9_000, [Run(400)], name="second")
    found = story(replay(phase([], [shared, alone]), wiring=LEVEL), *ENTRIES)
    assert [at for at, _ in found] == [5_000, 5_100, 5_100, 5_300, 9_000, 9_000, 9_000, 9_400]
