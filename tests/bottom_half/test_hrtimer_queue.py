"""Show that the queue of hrtimers keeps their order, whatever is taken out of it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from asyncirq.bottom_half.hrtimer import Hrtimer
from asyncirq.bottom_half.hrtimer_queue import DEAD_ENTRIES, HrtimerQueue
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
    assert q.dead == 1
    q.remove(early)
    assert (q.dead, q.next_expiry()) == (0, 3)
    # The same timer again, for later: its dead entry is not mistaken for it.
    q.add(middle)
    q.remove(middle)
    middle.expires = 9
    q.add(middle)
    assert q.armed() == [late, middle]
    assert [q.pop(), q.pop()] == [late, middle]
    assert q.entries == []


def test_a_timer_of_another_queue_is_dead_here(queue: Queues) -> None:
    here, there = queue(), queue()
    moved, stays = timer(3), timer(2)
    here.add(stays)
    here.add(moved)
    here.remove(moved)
    there.add(timer(1))
    there.add(moved)
    assert moved.seq == 2
    assert here.armed() == [stays]


def test_random_arming_and_taking_out_agrees_with_a_sorted_list(queue: Queues) -> None:
    rng = random.Random(1)
    q = queue()
    armed: list[Hrtimer] = []
    most_dead = 0
    for _ in range(5_000):
        if armed and rng.random() < 0.45:
            q.remove(armed.pop(rng.randrange(len(armed))))
        elif armed and rng.random() < 0.1:
            expected = min(armed, key=lambda each: (each.expires, each.seq))
            armed.remove(expected)
            assert q.pop() is expected
        else:
            armed.append(timer(rng.randrange(1000)))
            q.add(armed[-1])
        assert q.armed() == sorted(armed, key=lambda each: (each.expires, each.seq))
        most_dead = max(most_dead, q.dead)
        assert q.dead <= DEAD_ENTRIES or 2 * q.dead <= len(q.entries)
    assert most_dead > DEAD_ENTRIES // 2
