"""Show what is the lab's own of work items and timers, and what the cases do that no capture holds."""

from __future__ import annotations

import pytest

from asyncirq.config import KernelConfig, preset
from asyncirq.costs import Costs, cost_names
from tests.lab.bench import NO_PAST, US, Bench, Past
from tests.lab.cases import group_of
from tests.lab.compare import outcome, told
from tests.lab.deferred import clean
from tests.lab.deferred_exceptions import DEFERRED_EXCEPTIONS
from tests.lab.extract import rows_of
from tests.lab.kernels import KERNELS
from tests.lab.rows import Row, capture, captures
from tests.lab.table import outcome_of, pairs

STOCK = preset("linux-6.12")


def seen(case: str, kernel: KernelConfig = STOCK) -> list[str]:
    """Return what the model does in a case, without switches."""
    group = group_of(case)
    assert group is not None
    records = Bench(kernel, 1, costs=group.costs).run(case, group.programs[case])
    return [text for text in told(clean(rows_of(records, True, group.words))) if " switch " not in text]


def test_every_captured_case_of_work_and_timers_is_expressed() -> None:
    given = {(name, case) for name in captures() for case in capture(name) if case.startswith(("wq/", "timer/"))}
    assert given <= set(pairs())
    assert len(given) == 107
    assert len(DEFERRED_EXCEPTIONS) == 9
    assert set(DEFERRED_EXCEPTIONS) <= given


def test_what_a_case_found_is_chosen_only_where_it_is_needed() -> None:
    """A worker that ran before is behind the other, which takes the CPU from it: of that the capture tells nothing but the outcome."""
    needed = {pair for pair in pairs() if pair[1].startswith("wq/") and outcome_of(*pair).equal and outcome_of(*pair).past != NO_PAST}
    assert {pair for pair in needed if not outcome_of(*pair).past.busy} == {
        ("L-61-rt", "wq/max_active2-4-sleep-4ms"),
        ("L-61-rt-icount", "wq/system-4-sleep-4ms"),
        ("L-61-rt-icount", "wq/max_active2-4-sleep-4ms"),
    }
    assert {pair[1] for pair in needed if outcome_of(*pair).past.busy} == {"wq/cpu-hog-30ms-then-other"}


def test_microseconds_decide_which_of_two_workers_is_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the exception says of one case: only the order of the two differs, and 5 us more for the start of an item turn it over."""
    kernel, case = next(kernel for kernel in KERNELS if kernel.capture == "L-61-threadirqs"), "wq/max_active2-4-sleep-4ms"
    usual = outcome_of(kernel.capture, case)
    differing = [(real, model) for real, model in zip(usual.real, usual.model, strict=True) if real != model]
    assert differing == [(f". kworker work {one} end", f". kworker work {other} end") for one, other in ((2, 3), (3, 2))]
    group = group_of(case)
    assert group is not None and group.costs is not None
    costs = {name: getattr(group.costs, name) for name in cost_names()}
    costs["work_start_ns"] += 5 * US
    monkeypatch.setattr("tests.lab.compare.group_of", lambda case: group._replace(costs=Costs(**costs)))
    assert outcome(kernel, case).equal


# --- cases that no capture holds


def test_items_of_an_unbound_workqueue_run_one_after_the_other_on_one_cpu() -> None:
    texts = [text.removeprefix(". kworker-unbound ") for text in seen("wq/unbound-2")]
    # The first idle worker is awake already when the second item comes.
    assert texts.count("h idle wakeup kworker-unbound prio=120") == 1
    assert texts[-9:-1] == [
        f"{'' if what.startswith('work ') else 'workqueue_execute_'}{what}"
        for n in (0, 1)
        for what in ("start", f"work {n} start pid=N prio=120 re=0", f"work {n} end", "end")
    ]


def test_an_item_that_queues_itself_runs_five_times() -> None:
    texts = seen("wq/self-requeue-4")
    assert [text for text in texts if " start pid" in text] == [f". kworker work 0 start pid=N prio=120 re={n}" for n in (4, 3, 2, 1, 0)]
    assert texts.count(". kworker workqueue_queue_work wq=events") == 4


def test_an_item_is_queued_once() -> None:
    texts = seen("wq/queue-twice-pending")
    assert "h idle queue same work twice -> 0 1" in texts
    assert texts.count(". kworker workqueue_execute_start") == 1


def test_flush_waits_for_an_item_that_sleeps() -> None:
    assert seen("wq/flush-from-process")[1:] == [
        ". insmod workqueue_queue_work wq=events",
        ". insmod workqueue_activate_work",
        ". insmod wakeup kworker prio=120",
        ". insmod flush_work begin",
        ". kworker workqueue_execute_start",
        ". kworker work 0 start pid=N prio=120 re=0",
        "s idle wakeup kworker prio=120",
        ". kworker work 0 end",
        ". kworker workqueue_execute_end",
        ". kworker wakeup insmod prio=120",
        ". insmod flush_work end",
        "s idle wakeup insmod prio=120",
    ]


@pytest.mark.parametrize(
    ("case", "vector", "runs"), [("wq/bh-2", "TASKLET", 2), ("wq/bh-highpri-2", "HI", 2), ("wq/bh-self-requeue-15", "TASKLET", 16)]
)
def test_items_run_in_softirqs(case: str, vector: str, runs: int) -> None:
    texts = seen(case)
    assert texts.count("s idle workqueue_execute_start") == runs
    # Ten items to an entry; the rest raises the softirq anew.
    assert texts.count(f"s idle softirq entry {vector}") == (1 if runs <= 10 else 2)


# --- what is the case's own


def row(text: str, cpu: int = 0) -> Row:
    """Return a row from ``context task what``."""
    context, task, what = text.split(" ", 2)
    return Row(0, cpu, context, task, what)


def cleaned(*texts: str) -> list[str]:
    """Return what is left of rows, without their begin."""
    return told(clean([row(text) for text in texts]))[1:]


SHOT = ("h idle shot begin n=0 cpu=0", "h idle wakeup kworker prio=120", "h idle shot end n=0")


def test_a_worker_that_serves_somebody_else_is_foreign() -> None:
    assert cleaned(
        ". insmod switch insmod(D) -> kworker prio=120",
        ". kworker switch kworker(I) -> idle prio=120",
        *SHOT,
        ". idle switch idle(R) -> kworker prio=120",
        ". kworker workqueue_execute_start",
        ". kworker switch kworker(I) -> idle prio=120",
        "s idle wakeup kworker prio=120",
        ". idle switch idle(R) -> kworker prio=120",
        ". kworker switch kworker(I) -> idle prio=120",
        ". idle switch idle(R) -> insmod prio=120",
    ) == [
        ". insmod switch insmod(D) -> idle prio=120",
        *SHOT,
        ". idle switch idle(R) -> kworker prio=120",
        ". kworker workqueue_execute_start",
        ". kworker switch kworker(I) -> idle prio=120",
        ". idle switch idle(R) -> insmod prio=120",
    ]


def test_a_worker_that_the_case_woke_in_vain_is_its_own() -> None:
    rows = (
        ". insmod wakeup kworker prio=120",
        ". insmod cancel_work -> 1",
        ". insmod switch insmod(D) -> kworker prio=120",
        ". kworker switch kworker(I) -> idle prio=120",
    )
    assert cleaned(*rows) == list(rows)
    # Nobody sees it run: it was woken for what comes after the case.
    assert cleaned(*rows, ". idle switch idle(R) -> insmod prio=120", ". insmod wakeup kworker prio=120")[-1].endswith("insmod prio=120")


def test_making_a_worker_is_one_wake_up() -> None:
    rows = (
        ". insmod switch insmod(D) -> idle prio=120",
        *SHOT,
        ". idle switch idle(R) -> kworker prio=120",
        ". kworker wakeup kworker prio=120",
        ". kworker switch kworker(D) -> kworker prio=120",
        ". kworker wakeup kworker prio=120",
        ". kworker workqueue_execute_start",
        ". kworker switch kworker(D) -> kworker prio=120",
        ". kworker switch kworker(I) -> idle prio=120",
    )
    assert cleaned(*rows) == [*rows[:5], *rows[7:]]


def test_a_preempted_worker_is_not_the_one_that_follows_it() -> None:
    rows = (
        ". insmod switch insmod(D) -> idle prio=120",
        *SHOT,
        ". idle switch idle(R) -> kworker prio=120",
        ". kworker workqueue_execute_start",
        "h kworker wakeup kworker prio=120",
        ". kworker switch kworker(R+) -> ktimers prio=98",
        ". ktimers switch ktimers(S) -> kworker prio=120",
        ". kworker workqueue_execute_start",
    )
    assert cleaned(*rows) == [*rows[:7], ". kworker switch kworker(R+) -> kworker prio=120", rows[-1]]


def test_a_softirq_without_the_cases_timers_is_foreign_and_its_raising_too() -> None:
    empty = ("h idle softirq raise TIMER", "s idle softirq entry TIMER", "s idle softirq exit TIMER")
    used = (*empty[:2], "s idle timer 0 fires jiffies_late=1 serving_softirq=1 pid=N", empty[2])
    rows = (". insmod switch insmod(D) -> idle prio=120", *empty, *used)
    assert cleaned(*rows) == [rows[0], *used]


def test_jiffies_count_from_the_first_expiry() -> None:
    rows = [f"s idle timer_expire_entry function=tm_fn now={now} baseclk={now}" for now in (4294895435, 4294895436)]
    assert cleaned(". insmod switch insmod(D) -> idle prio=120", *rows)[1:] == [
        f"s idle timer_expire_entry function=tm_fn now=+{n} baseclk=+{n}" for n in (0, 1)
    ]


def test_busy_items_take_as_long_as_the_capture_says() -> None:
    group = group_of("wq/")
    assert group is not None
    pasts = group.pasts(capture("L-61-rt-icount")["wq/system-4-busy-200us"])
    assert pasts[0] == Past() and pasts[4].busy == (201, 201, 201, 201)


def test_a_different_model_would_be_noticed() -> None:
    kernel = next(kernel for kernel in KERNELS if kernel.capture == "L-612-stock")
    assert outcome(kernel, "wq/ordered-4-sleep-4ms").equal
    assert not outcome(kernel._replace(config=preset("linux-6.1")), "wq/ordered-4-sleep-4ms").equal
