"""Show that the queue of hrtimers keeps their order, whatever is taken out of it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from asyncirq.bottom_half.hrtimer import Hrtimer
from asyncirq.bottom_half.hrtimer_queue import BUCKET_SHIFT, DEAD_ENTRIES, HrtimerQueue
from asyncirq.hw.cpu import Cpu
from asyncirq.sim.engine import FOREVER
from tests.bottom_half.harness import Bench


async def nothing(cpu: Cpu, timer: Hrtimer) -> bool:
    return False


class Queues:
    """Make queues on a machine that is closed afterwards."""

    def __init__(self) -> None:
        self.bench = Bench()

    def __call__(self) -> HrtimerQueue:
        return HrtimerQueue(self.bench.sched, 0)


@pytest.fixture
def queue() -> Iterator[Queues]:
    queues = Queues()
    yield queues
    queues.bench.play(1)


def timer(expires: int, name: str = "t") -> Hrtimer:
    made = Hrtimer(nothing, 0, name)
    made.expires = expires
    return made


def test_equal_expiries_run_in_the_order_of_arming(queue: Queues) -> None:
    q = queue()
    first, second, earlier = timer(5), timer(5), timer(4)
    assert [q.add(each) for each in (first, second, earlier)] == [True, False, True]
    assert [q.pop() for _ in range(3)] == [earlier, first, second]
    assert q.next_expiry() == FOREVER


def test_what_is_taken_out_is_never_at_the_top(queue: Queues) -> None:
    q = queue()
    early, middle, late = timer(1), timer(2), timer(3)
    for each in (early, middle, late):
        q.add(each)
    q.remove(middle)
    assert len(q.entries) == 3
    q.remove(early)
    assert (len(q.entries), q.armed, q.next_expiry()) == (1, 1, 3)
    # The same timer again, for later: its dead entry is not mistaken for it.
    q.add(middle)
    q.remove(middle)
    middle.expires = 9
    q.add(middle)
    assert q.timers() == [late, middle]
    assert [q.pop(), q.pop()] == [late, middle]
    assert (q.entries, q.armed) == ([], 0)


def test_a_timer_of_another_queue_is_dead_here(queue: Queues) -> None:
    here, there = queue(), queue()
    moved, stays = timer(3), timer(2)
    here.add(stays)
    here.add(moved)
    here.remove(moved)
    there.add(timer(1))
    there.add(moved)
    assert moved.seq == 2
    assert here.timers() == [stays]


@pytest.mark.parametrize("spread", [1_000, 8 << BUCKET_SHIFT, 5_000 << BUCKET_SHIFT])
def test_random_arming_and_taking_out_agrees_with_a_sorted_list(queue: Queues, spread: int) -> None:
    rng = random.Random(1)
    q = queue()
    armed: list[Hrtimer] = []
    for _ in range(3_000):
        if armed and rng.random() < 0.45:
            q.remove(armed.pop(rng.randrange(len(armed))))
        elif armed and rng.random() < 0.1:
            expected = min(armed, key=lambda each: (each.expires, each.seq))
            armed.remove(expected)
            assert q.pop() is expected
        else:
            armed.append(timer(rng.randrange(spread)))
            q.add(armed[-1])
        assert q.timers() == sorted(armed, key=lambda each: (each.expires, each.seq))
        assert q.armed == len(armed)
        assert q.next_expiry() == min((each.expires for each in armed), default=FOREVER)


def test_dead_entries_go_when_they_are_the_most(queue: Queues) -> None:
    q = queue()
    first = timer(0)
    q.add(first)
    for n in range(10_000):
        each = timer(1 + n % 7)
        q.add(each)
        q.remove(each)
        assert len(q.entries) <= DEAD_ENTRIES + 2
    assert q.timers() == [first]


def test_an_earlier_bucket_comes_first_and_the_later_one_back(queue: Queues) -> None:
    q = queue()
    late, later, early = timer(5 << BUCKET_SHIFT), timer((5 << BUCKET_SHIFT) + 1), timer(1)
    assert [q.add(each) for each in (later, late, early)] == [True, True, True]
    assert len(q.entries) == 1
    assert [q.pop() for _ in range(3)] == [early, late, later]
    assert q.add(early)
