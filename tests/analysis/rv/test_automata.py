"""Hold every table against what it must refuse: each event that has no transition, and the sequences that catch a wrong kernel."""

from __future__ import annotations

from collections import deque

import pytest

from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.rv import MONITORS, RULES, Automaton, Bound, Guard, Monitor, MonitorResult, Violation, check_capture
from asyncirq.analysis.rv.automaton import Runner, Step

AUTOMATA = {one.name: one for one in (*MONITORS, *RULES) if isinstance(one, Automaton)}
GUARDS = [one for one in (*MONITORS, *RULES) if isinstance(one, Guard)]
(STALL,) = (one for one in MONITORS if isinstance(one, Bound))


def event(name: str, *, ts: int = 0, cpu: int = 0, pid: int = 5, flags: str = "d..2", line: int = 1, **fields: str | int) -> Event:
    return Event(
        ts=ts,
        cpu=cpu,
        pid=pid,
        comm="t",
        irqs=flags[0],
        resched=flags[1],
        context=flags[2],
        depth=int(flags[3]),
        name=name,
        fields=dict(fields),
        line=line,
    )


def switch(prev: int, state: str, following: int, *, ts: int = 0, flags: str = "d..2") -> Event:
    return event("sched_switch", ts=ts, pid=prev, flags=flags, prev_pid=prev, prev_state=state, next_pid=following)


def wakeup(pid: int, ts: int = 0) -> Event:
    made = event("sched_wakeup", ts=ts)
    made.fields["pid"] = pid
    return made


def run(model: Automaton, names: list[str]) -> list[Violation]:
    """Feed names to an instance that was started by hand in its initial state."""
    runner = Runner(model)
    begin = next(iter(sorted(model.start)))
    found = [runner.feed(Step(begin, 0, 0), event("x")), *(runner.feed(Step(name, 0, 0), event(name)) for name in names)]
    return [one for one in found if one is not None]


def path_to(model: Automaton, state: str) -> list[str] | None:
    """Return the shortest events from the initial state to a state."""
    first = next(iter(model.transitions))
    todo: deque[tuple[str, list[str]]] = deque([(first, [])])
    seen = {first}
    while todo:
        at, way = todo.popleft()
        if at == state:
            return way
        for name, following in model.transitions[at].items():
            if following not in seen:
                seen.add(following)
                todo.append((following, [*way, name]))
    return None


EDGES = [(name, state) for name, model in AUTOMATA.items() for state in model.transitions]


@pytest.mark.parametrize(("name", "state"), EDGES, ids=[f"{name}-{state}" for name, state in EDGES])
def test_a_state_takes_its_events_and_refuses_all_others(name: str, state: str) -> None:
    model = AUTOMATA[name]
    way = path_to(model, state)
    assert way is not None, "a state that no event leads to"
    assert run(model, way) == []
    for step in sorted(model.alphabet):
        found = run(model, [*way, step])
        if step in model.transitions[state]:
            assert found == []
        else:
            (one,) = found
            assert (one.monitor, one.state, one.event) == (name, state, step)
            assert len(one.way) <= len(way)


def test_every_automaton_refuses_something() -> None:
    for model in AUTOMATA.values():
        assert any(set(row) != model.alphabet for row in model.transitions.values()), model.name


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("sco", ["schedule_entry", "sched_set_state"]),
        ("sts", ["schedule_entry", "sched_switch"]),
        ("sts", ["schedule_entry", "irq_disable", "irq_entry", "sched_switch"]),
        ("sts", ["schedule_entry", "irq_disable", "sched_switch", "sched_switch"]),
        ("sssw", ["switch_suspend"]),
        ("sssw", ["set_state_sleepable", "switch_suspend", "switch_in"]),
        ("scpd", ["schedule_entry"]),
        ("snep", ["schedule_entry", "preempt_enable"]),
        ("snroc", ["sched_set_state"]),
        ("nrp", ["schedule_entry_preempt", "schedule_entry_preempt", "schedule_entry_preempt"]),
        ("wip", ["sched_waking"]),
    ],
)
def test_the_last_event_of_a_wrong_kernel_is_refused(name: str, wrong: list[str]) -> None:
    (found,) = run(AUTOMATA[name], wrong)
    assert found.event == wrong[-1]
    assert run(AUTOMATA[name], wrong[:-1]) == []


def test_after_a_violation_an_instance_waits_for_its_next_start() -> None:
    assert len(run(AUTOMATA["scpd"], ["schedule_entry", "schedule_entry", "preempt_enable", "schedule_entry"])) == 2


@pytest.mark.parametrize("guard", GUARDS, ids=lambda one: f"{one.name}-{min(one.events)}")
def test_a_condition_takes_the_right_event_and_refuses_a_wrong_one(guard: Guard) -> None:
    for name in guard.events:
        flags = [f"{irqs}.{context}{depth}" for irqs in ".d" for context in ".shz" for depth in "02"]
        verdicts = {one: guard.holds(event(name, flags=one), True) for one in flags}
        assert set(verdicts.values()) == {True, False}
        assert all(guard.holds(event(name, flags=one), False) for one, good in verdicts.items() if good)


def test_a_kernel_that_does_not_count_preemption_is_held_to_interrupts_alone() -> None:
    uncounted = [switch(5, "S", 6, flags="d..0"), event("sched_waking", flags="d..0"), event("sched_waking", flags="...0")]
    said = {result.monitor.name: result.violations for result in results(uncounted) if result.events}
    assert [one.event for one in said["R11"]] == ["sched_waking"]
    assert said["R8"] == []
    counted = [switch(5, "S", 6), *uncounted[1:]]
    assert len({result.monitor.name: result.violations for result in results(counted)}["R11"]) == 2


def results(events: list[Event], monitors: tuple[Monitor, ...] = (*MONITORS, *RULES)) -> list[MonitorResult]:
    capture = Capture("x", events, 1, 1, [])
    return check_capture(capture, monitors)


def test_a_ready_task_that_does_not_run_in_time_is_told_at_that_time() -> None:
    begin = [switch(5, "S", 6), wakeup(5, ts=10)]
    late = results([*begin, wakeup(7, ts=4_000_000_010)], (STALL,))
    ((one,),) = [result.violations for result in late]
    assert (one.instance, one.state, one.ts) == (5, "enqueued", 4_000_000_010)
    in_time = results([*begin, wakeup(7, ts=4_000_000_009)], (STALL,))
    assert [result.violations for result in in_time] == [[]]


def test_a_monitor_without_its_events_is_not_run_and_says_what_it_lacks() -> None:
    by_name = {result.monitor.name: result for result in results([switch(5, "S", 6), wakeup(5)])}
    assert by_name["wip"].lacks == ("preempt_disable", "preempt_enable", "sched_waking")
    assert by_name["stall"].lacks == ()


def test_a_violation_tells_the_way_there() -> None:
    (found,) = run(AUTOMATA["sts"], ["schedule_entry", "irq_disable", "irq_entry", "sched_switch"])
    assert [(state, name) for _, state, name in found.way] == [
        ("can_sched", "schedule_entry"),
        ("scheduling", "irq_disable"),
        ("disable_to_switch", "irq_entry"),
    ]
    assert str(found).splitlines()[0] == "sts: CPU 0, line 1, 0 ns: sched_switch not allowed in state in_irq"
