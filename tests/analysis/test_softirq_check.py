from __future__ import annotations

import msgspec
import pytest

from asyncirq.analysis.event import Capture, Event, Phase
from asyncirq.analysis.softirq_check import SoftirqChecker, SoftirqReport, WrongEntry, check_phases, check_softirqs
from tests.analysis.linux_captures import RT, STOCK, THREADIRQS, capture


def event(line: int, name: str, vec: int, context: str, pid: int = 5, comm: str = "task") -> Event:
    return Event(line * 1000, 0, pid, comm, ".", ".", context, 0, name, {"vec": vec}, line)


def run(line: int, vec: int, pid: int = 5, comm: str = "task") -> list[Event]:
    return [event(line, "softirq_entry", vec, "s", pid, comm), event(line + 1, "softirq_exit", vec, "s", pid, comm)]


def task(line: int, pid: int = 5) -> Event:
    return Event(line * 1000, 0, pid, "task", ".", ".", ".", 0, "other", {}, line)


@pytest.mark.parametrize(("name", "ok", "ambiguous"), [(STOCK, 795, 10), (THREADIRQS, 981, 0), (RT, 918, 0)])
def test_every_entry_of_the_shipped_captures_follows_the_rule(name: str, ok: int, ambiguous: int) -> None:
    assert check_softirqs(capture(name).events) == SoftirqReport(ok=ok, ambiguous=ambiguous)


def test_inferred_flags_only_make_more_entries_ambiguous() -> None:
    report = check_softirqs(capture(STOCK).events, exact_flags=False)
    assert (report.total, report.wrong) == (805, [])
    assert report.ambiguous > 10


def test_rt_needs_its_second_pending_word() -> None:
    # The same trace with ktimers renamed is checked with one word: it cannot be explained.
    text = msgspec.json.encode(capture(RT).events).replace(b"ktimers/", b"xtimers/")
    report = check_softirqs(msgspec.json.decode(text, type=list[Event]))
    assert (report.ok, len(report.wrong)) == (910, 8)


def test_a_planted_wrong_order_is_reported() -> None:
    events = capture(STOCK).events
    inner = [index for index, one in enumerate(events) if one.name in ("softirq_entry", "softirq_exit")]
    runs = [at for at in zip(inner, inner[1:], inner[2:], inner[3:], strict=False) if at[2] == at[1] + 1]
    i, j, k, m = next(at for at in runs if (events[at[0]].fields["vec"], events[at[2]].fields["vec"]) == (1, 9))
    planted = list(events)
    for here, there in ((i, k), (j, m), (k, i), (m, j)):
        planted[here] = msgspec.structs.replace(events[here], fields=events[there].fields)
    report = check_softirqs(planted)
    assert report.wrong == [
        WrongEntry(events[i].line, 0, "RCU", ("TIMER",)),
        WrongEntry(events[k].line, 0, "TIMER", ()),
    ]
    assert report.total == 805


def test_lowest_vector_first_and_raises_wait_for_the_next_pass() -> None:
    events = [event(1, "softirq_raise", 6, "h"), event(2, "softirq_raise", 3, "h"), *run(3, 3), *run(5, 6)]
    events[3:3] = [event(4, "softirq_raise", 1, "s")]
    assert check_softirqs([*events, *run(8, 1)]) == SoftirqReport(ok=3)
    early = [*events[:5], *run(6, 1), *run(8, 6)]
    assert check_softirqs(early).wrong == [
        WrongEntry(6, 0, "TIMER", ("TASKLET",)),
        WrongEntry(8, 0, "TASKLET", ()),
    ]


def test_an_entry_that_nobody_raised_is_wrong_after_the_first_pass() -> None:
    events = [event(1, "softirq_raise", 3, "h"), *run(2, 3), task(4), *run(5, 6)]
    assert check_softirqs(events).wrong == [WrongEntry(5, 0, "TASKLET", ())]
    later = event(9, "softirq_raise", 3, "h")
    assert check_softirqs([*run(5, 6), later]) == SoftirqReport(ambiguous=1)
    assert check_softirqs([*run(5, 6), later], start={0: (6,)}) == SoftirqReport(ok=1)
    assert check_softirqs([*run(5, 6), later], start={}).wrong == [WrongEntry(5, 0, "TASKLET", ())]
    assert check_softirqs([*run(5, 6), later], start={1: (6,)}).wrong == [WrongEntry(5, 0, "TASKLET", ())]


def test_what_the_first_pass_did_not_run_was_not_pending() -> None:
    first = [event(1, "softirq_raise", 3, "h"), *run(2, 3)]
    assert check_softirqs([*first, *run(4, 6)]) == SoftirqReport(ok=1, ambiguous=1)
    assert check_softirqs([*first, *run(4, 1)]).wrong == [WrongEntry(4, 0, "TIMER", ())]


def test_trace_may_begin_in_the_middle_of_a_pass() -> None:
    raised = event(1, "softirq_raise", 1, "s")
    middle = [raised, *run(2, 6), *run(4, 9), *run(6, 1)]
    assert check_softirqs(middle) == SoftirqReport(ok=1, ambiguous=2)
    assert [one.vector for one in check_softirqs([*middle, *run(8, 9), *run(9, 6)]).wrong] == ["TASKLET"]


def test_trace_without_raises_is_not_checked() -> None:
    assert check_softirqs([*run(2, 6), *run(4, 3)]) == SoftirqReport(unchecked=2)


def test_phase_begins_with_what_the_one_before_left_pending() -> None:
    pending = [event(1, "softirq_raise", 9, "."), task(2)]
    events = [*pending, task(3), *run(4, 9), task(6), *run(7, 9)]
    phases = [Phase("1-raise", 0, 2), Phase("2-run", 2, len(events))]
    reports = check_phases(Capture("a", events, 1, 1000, phases))
    assert reports == [SoftirqReport(), SoftirqReport(ok=1, wrong=[WrongEntry(7, 0, "RCU", ())])]
    assert check_phases(Capture("a", run(1, 3), 1, 1000, [Phase("all", 0, 2)])) == [SoftirqReport(unchecked=1)]


@pytest.mark.parametrize("name", [STOCK, THREADIRQS, RT])
def test_nothing_is_wrong_wherever_a_capture_is_cut(name: str) -> None:
    whole = capture(name)
    assert [report.wrong for report in check_phases(whole)] == [[] for _ in whole.phases]
    for at in range(0, len(whole.events), 1499):
        assert check_softirqs(whole.events[at : at + 1500]).wrong == []


@pytest.mark.parametrize("order", [(1, 3), (3, 1)])
def test_a_raise_in_the_window_may_be_in_this_pass_or_the_next(order: tuple[int, int]) -> None:
    events = [event(1, "softirq_raise", 3, "h"), event(2, "softirq_raise", 1, "H"), *run(3, order[0]), *run(5, order[1])]
    report = check_softirqs(events, start={})
    assert (report.ok, report.ambiguous, report.wrong) == (1, 1, [])
    # Inside a handler there is no such doubt: TIMER then has to wait.
    events = [event(1, "softirq_raise", 3, "h"), event(2, "softirq_raise", 6, "h"), event(3, "softirq_entry", 3, "s")]
    events += [event(4, "softirq_raise", 1, "H"), event(5, "softirq_exit", 3, "s"), *run(6, 1)]
    assert check_softirqs(events).wrong == [WrongEntry(6, 0, "TIMER", ("TASKLET",))]


def test_only_ktimers_takes_the_timers_of_the_second_word() -> None:
    ktimers = {"pid": 15, "comm": "ktimers/0"}
    raises = [event(1, "softirq_raise", 1, "h"), event(2, "softirq_raise", 3, "h")]
    wake = Event(2500, 0, 15, "ktimers/0", ".", ".", ".", 0, "other", {}, 2)
    good = [*raises, *run(3, 3), task(5), wake, *run(6, 1, **ktimers)]  # type: ignore[arg-type]
    assert check_softirqs(good, start={}) == SoftirqReport(ok=2)
    bad = [*raises, *run(3, 1), wake]
    assert check_softirqs(bad, start={}).wrong == [WrongEntry(3, 0, "TIMER", ("NET_RX",))]


def test_timers_that_others_raise_in_a_hard_interrupt_may_be_in_either_word() -> None:
    wake = Event(900, 0, 15, "ktimers/0", ".", ".", ".", 0, "other", {}, 1)
    events = [wake, event(1, "softirq_raise", 1, "h"), *run(3, 1)]
    assert len(check_softirqs(events, start={}).wrong) == 1
    checker = SoftirqChecker(True, start={}, plain_timers=True)
    checker.feed(events)
    assert checker.next_report().wrong == []
    checker.feed(run(5, 1))
    assert len(checker.report.wrong) == 1


def test_cpus_do_not_mix() -> None:
    other = [msgspec.structs.replace(e, cpu=1) for e in (event(2, "softirq_raise", 1, "h"), *run(5, 1))]
    assert check_softirqs([event(1, "softirq_raise", 3, "h"), other[0], *run(3, 3), *other[1:]]) == SoftirqReport(ok=2)
