"""Show EEVDF: lag, eligibility, virtual deadlines, slices, protection of who runs, sleepers that pay their debt first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncirq.config import KernelConfig, preset
from asyncirq.sched.eevdf import EevdfQueue
from asyncirq.sched.task import NICE_WEIGHTS, Task
from tests.sched.harness import FULL, STOCK, Lab

US = 1_000
MS = 1_000_000
SLICE = 750 * US
OLD = preset("linux-6.12", preemption="full", eevdf_preempt_short=False, eevdf_delay_dequeue=False)
"""EEVDF as it came with 6.6."""


@dataclass(eq=False)
class Entity:
    """What the queue knows of a task."""

    comm: str
    weight: int = 1024
    vruntime: int = 0
    vlag: int = 0
    deadline: int = 0
    rel_deadline: int = 0
    protected: int = -1
    custom_slice: int = 0
    delayed: bool = False
    state: int = 1


class Queue:
    """An EEVDF queue without a CPU: the test charges, wakes and puts to sleep."""

    def __init__(self, kernel: KernelConfig = FULL) -> None:
        self.fair: Any = EevdfQueue(kernel, 1)

    def wake(self, entity: Any, initial: bool = False) -> Any:
        self.fair.place(entity, initial)
        if not entity.delayed:
            self.fair.enqueue(entity)
        entity.delayed = False
        return entity

    def run(self, ns: int) -> bool:
        """Charge the task that runs."""
        curr = self.fair.curr
        assert curr is not None
        return bool(self.fair.account(curr, ns))

    def reschedule(self) -> Any:
        """Pick again while the running task stays ready."""
        curr = self.fair.curr
        if curr is not None:
            self.fair.enqueue(curr)
        return self.fair.pick(curr)

    def sleep(self) -> Any:
        """Put the running task to sleep and pick."""
        curr = self.fair.curr
        assert curr is not None
        self.fair.leave(curr, sleeps=True)
        return self.fair.pick(None)

    def lags(self, *entities: Any) -> list[int]:
        return [self.fair.average() - entity.vruntime for entity in entities]


def test_new_task_starts_at_the_average_and_is_due_after_half_a_slice() -> None:
    q = Queue()
    a = q.wake(Entity("a"), initial=True)
    assert q.reschedule() is a
    assert (a.vruntime, a.deadline) == (0, SLICE // 2)
    q.run(100 * US)
    b = q.wake(Entity("b"), initial=True)
    assert (b.vruntime, b.deadline) == (100 * US, 100 * US + SLICE // 2)
    assert q.lags(a, b) == [0, 0]


def test_heavier_task_advances_slower_and_asks_for_less_virtual_time() -> None:
    q = Queue()
    heavy = q.wake(Entity("heavy", weight=NICE_WEIGHTS[20 - 5]))
    assert q.reschedule() is heavy
    assert heavy.deadline == SLICE * 1024 // 3121
    q.run(3121)
    assert heavy.vruntime == 1024


def test_who_was_picked_runs_until_its_slice_is_over_or_its_lag_negative() -> None:
    q = Queue()
    a, b = q.wake(Entity("a")), q.wake(Entity("b"))
    assert q.reschedule() is a
    assert not q.run(100 * US)
    # Ahead of the average of the two: not eligible, so its protection does not hold.
    assert q.lags(a, b) == [-50 * US, 50 * US]
    assert q.reschedule() is b
    assert not q.run(SLICE // 2)
    # b is ahead now, but had it been protected for its eligibility alone, a would be just as late.
    assert q.reschedule() is a


def test_protection_outlives_an_earlier_deadline() -> None:
    """Who is eligible and within its slice is not interrupted by who is due before; without run-to-parity it is."""
    for parity, runs in ((True, "a"), (False, "b")):
        q = Queue(preset("linux-6.12", eevdf_run_to_parity=parity))
        a = q.wake(Entity("a"))
        assert q.reschedule() is a
        b = Entity("b")
        q.wake(b, initial=True)
        assert (a.deadline, b.deadline) == (SLICE, SLICE // 2)
        assert q.fair.preempts(b, a) is (runs == "b")
        assert q.reschedule().comm == runs


def test_end_of_a_slice_asks_for_a_reschedule_if_others_wait() -> None:
    q = Queue()
    a = q.wake(Entity("a"))
    q.reschedule()
    assert not q.run(SLICE)
    assert a.deadline == 2 * SLICE
    q.wake(Entity("b"))
    assert q.run(SLICE)
    assert a.deadline == 3 * SLICE


def test_who_ran_alone_past_its_slice_is_protected_no_more() -> None:
    """6.12 checks this where time is charged; 6.6 did not."""
    for kernel, gives_way in ((FULL, True), (OLD, False)):
        q = Queue(kernel)
        q.wake(Entity("a"))
        q.reschedule()
        q.run(SLICE + 1)
        q.wake(Entity("b"))
        assert q.run(1000) is gives_way


def test_shorter_slice_preempts_within_the_protection() -> None:
    for kernel, preempts in ((FULL, True), (OLD, False)):
        q = Queue(kernel)
        a = q.wake(Entity("a"))
        q.reschedule()
        b = q.wake(Entity("b", custom_slice=100 * US))
        assert q.fair.preempts(b, a) is preempts


def test_sleeper_keeps_its_lag() -> None:
    q = Queue()
    a, b = q.wake(Entity("a")), q.wake(Entity("b"))
    q.reschedule()
    q.run(300 * US)
    assert q.reschedule() is b
    q.run(100 * US)
    assert q.sleep() is a
    assert b.vlag == 100 * US and not b.delayed
    q.run(50 * US)
    q.wake(b)
    # It has the same lag when it counts in the average itself.
    assert q.lags(a, b) == [-100 * US, 100 * US]


def test_lag_is_bounded_by_two_slices_or_a_tick() -> None:
    q = Queue()
    a, b = q.wake(Entity("a")), q.wake(Entity("b"))
    q.reschedule()
    q.run(40 * MS)
    assert q.reschedule() is b
    assert q.sleep() is a
    assert b.vlag == max(2 * SLICE, 4 * MS) == 4 * MS


def test_sleeper_in_debt_stays_queued_until_it_has_paid() -> None:
    q = Queue()
    a, b = q.wake(Entity("a")), q.wake(Entity("b"))
    q.reschedule()
    q.run(200 * US)
    assert q.sleep() is b
    assert a.delayed and q.fair.queued == [a]
    q.run(150 * US)
    assert q.reschedule() is b
    assert a.delayed
    q.run(100 * US)
    # b is ahead: a is eligible again, is picked, and only leaves.
    assert q.reschedule() is b
    assert not a.delayed and a.vlag == 0 and len(q.fair) == 0


def test_debt_paid_while_queued_is_forgiven_no_more() -> None:
    q = Queue()
    a, b = q.wake(Entity("a")), q.wake(Entity("b"))
    q.reschedule()
    q.run(200 * US)
    assert q.sleep() is b
    q.run(500 * US)
    assert q.lags(a)[0] > 0
    q.wake(a)
    assert not a.delayed
    assert q.lags(a, b) == [0, 0]


def test_debtor_that_wakes_early_still_owes() -> None:
    q = Queue()
    a, b = q.wake(Entity("a")), q.wake(Entity("b"))
    q.reschedule()
    q.run(200 * US)
    assert q.sleep() is b
    q.wake(a)
    assert q.lags(a, b) == [-100 * US, 100 * US]


def test_without_delayed_dequeue_the_debt_sleeps_too() -> None:
    q = Queue(OLD)
    a, b = q.wake(Entity("a")), q.wake(Entity("b"))
    q.reschedule()
    q.run(200 * US)
    assert q.sleep() is b
    assert not a.delayed and a.vlag == -100 * US


@given(st.lists(st.tuples(st.sampled_from(["run", "wake", "sleep", "resched"]), st.integers(0, 5), st.integers(1, 3 * SLICE)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_lags_sum_to_nothing_and_who_is_picked_is_eligible(steps: list[tuple[str, int, int]]) -> None:
    """The definition of the average, whatever happens: the weighted lags cancel out, to the rounding of one division."""
    q = Queue()
    entities = [Entity(str(n), weight=NICE_WEIGHTS[10 + 4 * n]) for n in range(6)]
    for what, n, ns in steps:
        entity: Any = entities[n]
        curr = q.fair.curr
        on = [e for e in entities if e in q.fair.queued or e is curr]
        if what == "run" and curr is not None:
            q.run(ns)
        elif what == "wake" and (entity.delayed or entity not in on):
            q.wake(entity)
        elif what == "sleep" and curr is not None:
            q.sleep()
        elif what == "resched":
            q.reschedule()
        on = [e for e in entities if e in q.fair.queued or e is q.fair.curr]
        assert q.fair.weight == sum(e.weight for e in on if e is not q.fair.curr)
        if on:
            total = sum(e.weight * (q.fair.average() - e.vruntime) for e in on)
            assert -sum(e.weight for e in on) < total <= 0
            assert any(q.fair.eligible(e) for e in on)


# --- on a machine


def spender(lab: Lab, ns: int) -> Any:
    async def body(task: Task) -> None:
        await task.spend(ns)
        lab.note(task.comm)

    return body


def ticks(lab: Lab, until_ms: int) -> None:
    for tick in range(1, until_ms):
        lab.tick_at(tick * MS)


def test_two_equal_tasks_take_turns_at_each_tick() -> None:
    lab = Lab(1, FULL)
    for name in ("a", "b"):
        lab.start(spender(lab, 3_500 * US), name, cpu=0)
    ticks(lab, 20)
    lab.play(20 * MS)
    lab.end()
    assert lab.switches() == [
        (0, "0 swapper/0(R) > a"),
        (1 * MS, "0 a(R+) > b"),
        (2 * MS, "0 b(R+) > a"),
        (3 * MS, "0 a(R+) > b"),
        (4 * MS, "0 b(R+) > a"),
        (5 * MS, "0 a(R+) > b"),
        (6 * MS, "0 b(R+) > a"),
        (6_500 * US, "0 a(X) > b"),
        (7 * MS, "0 b(X) > swapper/0"),
    ]


@pytest.mark.parametrize("nices", [(0, 5), (-5, 0, 5), (0, 0, 0), (-20, 19), (10, 11, 12, 13)])
def test_shares_follow_the_weights_within_one_slice(nices: tuple[int, ...]) -> None:
    """Each has what an ideally fair CPU would have given it, give or take what can pass before a tick notices: a slice and a tick."""
    lab = Lab(1, FULL)
    tasks = [lab.start(spender(lab, 1000 * MS), f"t{n}", cpu=0, nice=nice) for n, nice in enumerate(nices)]
    ticks(lab, 400)
    lab.play(400 * MS)
    lab.sched.rqs[0].update_curr(lab.engine.now)
    lab.end()
    load = sum(task.weight for task in tasks)
    assert sum(task.sum_exec for task in tasks) == 400 * MS
    for task in tasks:
        assert abs(task.sum_exec - 400 * MS * task.weight // load) <= SLICE + MS


def test_sleeper_preempts_who_is_past_its_slice() -> None:
    lab = Lab(1, FULL)

    async def sleeper(task: Task) -> None:
        await lab.nap(task, 10 * MS)
        await task.spend(100)
        lab.note("sleeper")

    lab.start(sleeper, "sleeper", cpu=0)
    lab.start(spender(lab, 50 * MS), "hog", cpu=0)
    lab.play(100 * MS)
    lab.end()
    # Its lag was 0, and so is the hog's, who ran alone: both are eligible and due at once. The hog's protection ended with its first slice.
    assert lab.log == [(10 * MS + 100, "sleeper"), (50 * MS + 100, "hog")]


def test_nice_of_a_running_task_changes_its_pace_at_once() -> None:
    lab = Lab(1, FULL)
    a = lab.start(spender(lab, 1000 * MS), "a", cpu=0)
    b = lab.start(spender(lab, 1000 * MS), "b", cpu=0)
    ticks(lab, 200)

    async def renice(cpu: Any) -> None:
        lab.sched.set_scheduler(cpu, a, 0, nice=5)

    lab.interrupt(100 * MS + 10, renice)
    lab.play(200 * MS)
    lab.sched.rqs[0].update_curr(lab.engine.now)
    lab.end()
    fair = 50 * MS + 100 * MS * 335 // (335 + 1024)
    assert abs(a.sum_exec - fair) <= 2 * (SLICE + MS)
    assert a.sum_exec + b.sum_exec == 200 * MS


def test_presets_choose_the_policy() -> None:
    assert [preset(name).fair for name in ("linux-2.6", "linux-6.1", "linux-6.12", "linux-7.1")] == ["cfs", "cfs", "eevdf", "eevdf"]
    assert (STOCK.eevdf_base_slice_ns, preset("linux-7.1").eevdf_base_slice_ns) == (750_000, 700_000)
