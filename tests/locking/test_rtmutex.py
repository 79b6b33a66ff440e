"""Show priority inheritance: who is lent what, through chains, and who gets the lock next."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.rtmutex import RtLock, RtMutex, adjust_prio_chain
from asyncirq.sched.preempt import SOFTIRQ_DISABLE_OFFSET
from asyncirq.sched.task import SCHED_FIFO, SCHED_NORMAL, TASK_INTERRUPTIBLE, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task
from tests.sched.harness import FULL, RT, Lab

KINDS = pytest.mark.parametrize("kind", [RtLock, RtMutex])
Kind = type[RtLock] | type[RtMutex]


def user(lab: Lab, lock: Any, ns: int) -> Any:
    async def body(task: Task) -> None:
        await lock.lock(task)
        lab.note(f"{task.comm} has it")
        await task.spend(ns)
        await lock.unlock(task)
        lab.note(f"{task.comm} is done")

    return body


@KINDS
def test_the_owner_runs_at_the_best_priority_of_its_waiters(kind: Kind) -> None:
    lab = Lab(1, RT, lock_block_ns=900, lock_handover_ns=300)
    lock = kind(lab.sched, "lock")
    lab.start(user(lab, lock, 1000), "low")
    lab.begin(100, user(lab, lock, 100), "high", policy=SCHED_FIFO, rt_priority=50)
    # Without inheritance this one would run for as long as it likes while high waits.
    lab.begin(200, user(lab, RtLock(lab.sched, "another"), 5000), "middle", policy=SCHED_FIFO, rt_priority=20)
    lab.play(50_000)
    lab.end()
    assert lab.story("sched_pi_setprio", "sched_switch", "sched_wakeup") == [
        (0, "0 swapper/0(R) > low"),
        (100, "0 low(R+) > high"),
        (100, "0 setprio low 120 > 49"),
        (1000, "0 high(D) > low"),
        (2200, "0 setprio low 49 > 120"),
        (2200, "0 wakeup high on 0"),
        (2200, "0 low(R+) > high"),
        (2300, "0 high(X) > middle"),
        (7300, "0 middle(X) > low"),
        (7300, "0 low(X) > swapper/0"),
    ]
    assert lock.owner is None
    assert lock.waiters == []


@KINDS
def test_inheritance_follows_a_chain_of_locks(kind: Kind) -> None:
    lab = Lab(1, RT)
    first, second = kind(lab.sched, "first"), kind(lab.sched, "second")

    async def link(task: Task) -> None:
        await second.lock(task)
        await first.lock(task)
        await first.unlock(task)
        await second.unlock(task)
        lab.note("link")

    lab.start(user(lab, first, 1000), "bottom")
    lab.begin(100, link, "link", policy=SCHED_FIFO, rt_priority=10)
    lab.begin(200, user(lab, second, 10), "top", policy=SCHED_FIFO, rt_priority=30)
    lab.play(10_000)
    lab.end()
    assert lab.story("sched_pi_setprio") == [
        (100, "0 setprio bottom 120 > 89"),
        (200, "0 setprio link 89 > 69"),
        (200, "0 setprio bottom 89 > 69"),
        (1000, "0 setprio bottom 69 > 120"),
        (1000, "0 setprio link 69 > 89"),
    ]
    assert lab.log == [
        (0, "bottom has it"),
        (1000, "top has it"),
        (1010, "top is done"),
        (1010, "link"),
        (1010, "bottom is done"),
    ]


@KINDS
def test_waiters_get_the_lock_by_priority_then_by_arrival(kind: Kind) -> None:
    lab = Lab(1, RT)
    lock = kind(lab.sched, "lock")
    lab.start(user(lab, lock, 1000), "owner", cpu=0)
    for n, (name, prio) in enumerate((("a", 10), ("b", 20), ("c", 10), ("d", 30))):
        lab.begin(100 + n, user(lab, lock, 10), name, cpu=0, policy=SCHED_FIFO, rt_priority=prio)
    lab.play(10_000)
    lab.end()
    assert [text for _, text in lab.log if "has" in text] == [f"{name} has it" for name in ("owner", "d", "b", "a", "c")]


@pytest.mark.parametrize(("policy", "prio", "stolen"), [(SCHED_FIFO, 20, True), (SCHED_FIFO, 10, False), (SCHED_NORMAL, 0, False)])
@KINDS
def test_a_better_task_takes_a_free_lock_before_the_woken_waiter(kind: Kind, policy: int, prio: int, stolen: bool) -> None:
    lab = Lab(3, RT, ttwu_ns=1000)
    lock = kind(lab.sched, "lock")

    async def waiter(task: Task) -> None:
        await task.spend(100)
        await user(lab, lock, 10)(task)

    async def thief(task: Task) -> None:
        await task.spend(1500)
        if lock.try_lock(task):
            lab.note("stolen")
            await task.spend(1000)
            await lock.unlock(task)

    lab.start(user(lab, lock, 1000), "owner", cpu=0)
    lab.start(waiter, "waiter", cpu=1, policy=SCHED_FIFO, rt_priority=10)
    lab.start(thief, "thief", cpu=2, policy=policy, rt_priority=prio)
    lab.play(20_000)
    lab.end()
    # The owner wakes the waiter from 1000 to 2000; meanwhile the lock is free, and the waiter's unless somebody better comes.
    assert [line for line in lab.log if "done" not in line[1]] == (
        [(0, "owner has it"), (1500, "stolen"), (3500, "waiter has it")] if stolen else [(0, "owner has it"), (2000, "waiter has it")]
    )


@KINDS
def test_a_wait_that_would_never_end_is_reported_with_its_chain(kind: Kind) -> None:
    lab = Lab(2, RT)
    a, b = kind(lab.sched, "A"), kind(lab.sched, "B")

    def crossing(first: Any, second: Any) -> Any:
        async def body(task: Task) -> None:
            await first.lock(task)
            await task.spend(100)
            await second.lock(task)

        return body

    one = lab.start(crossing(a, b), "one", cpu=0)
    two = lab.start(crossing(b, a), "two", cpu=1)
    with pytest.raises(
        KernelBug,
        match=rf"^deadlock detected on CPU1 at 100 ns: two/{two.pid} waits for A, held by one/{one.pid}; "
        rf"one/{one.pid} waits for B, held by two/{two.pid}$",
    ):
        lab.play(10_000)
    lab.end()


@KINDS
def test_taking_a_lock_twice_is_a_deadlock(kind: Kind) -> None:
    lab = Lab(1, RT)
    lock = kind(lab.sched, "A")

    async def body(task: Task) -> None:
        await lock.lock(task)
        await lock.lock(task)

    lab.start(body, "one")
    with pytest.raises(KernelBug, match=r"^deadlock detected on CPU0 at 0 ns: one/1 waits for A, held by one/1$"):
        lab.play(10)
    lab.end()


@KINDS
def test_only_the_owner_may_unlock(kind: Kind) -> None:
    lab = Lab(1, RT)
    lock = kind(lab.sched, "A")

    async def body(task: Task) -> None:
        await lock.unlock(task)

    lab.start(body, "one")
    with pytest.raises(KernelBug, match="^one/1 unlocks A, which nobody owns, at 0 ns$"):
        lab.play(10)
    lab.end()


def test_an_rtlock_keeps_the_state_of_another_sleep() -> None:
    lab = Lab(1, RT)
    lock = RtLock(lab.sched, "lock")
    states: list[int] = []

    async def sleeper(task: Task) -> None:
        await task.spend(50)
        task.set_current_state(TASK_INTERRUPTIBLE)
        await lock.lock(task)
        states.append(task.state)
        await lock.unlock(task)
        task.set_current_state(TASK_RUNNING)

    async def owner(task: Task) -> None:
        await lock.lock(task)
        await task.spend(1000)
        await lock.unlock(task)

    lab.start(owner, "owner", policy=SCHED_FIFO, rt_priority=1)
    lab.begin(100, sleeper, "sleeper", policy=SCHED_FIFO, rt_priority=2)
    lab.play(10_000)
    lab.end()
    assert states == [TASK_INTERRUPTIBLE]


@pytest.mark.parametrize("when", [700, 1000, 1100])
def test_a_wake_up_for_the_other_sleep_is_not_lost(when: int) -> None:
    # Before the lock is released, as it is released, and between the rtlock's wake-up and the moment the sleeper runs.
    lab = Lab(1, RT, switch_in_ns=300)
    lock = RtLock(lab.sched, "lock")
    states: list[int] = []

    async def sleeper(task: Task) -> None:
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        await lock.lock(task)
        states.append(task.state)
        await lock.unlock(task)

    async def owner(task: Task) -> None:
        await lock.lock(task)
        await task.spend(1000 - lab.engine.now)
        await lock.unlock(task)

    lab.start(owner, "owner", policy=SCHED_FIFO, rt_priority=1)
    lab.wake_at(when, lab.begin(350, sleeper, "sleeper", policy=SCHED_FIFO, rt_priority=2))
    lab.play(10_000)
    lab.end()
    assert states == [TASK_RUNNING]


def test_bottom_halves_off_do_not_forbid_an_rtlock() -> None:
    lab = Lab(1, RT)
    lock = RtLock(lab.sched, "lock")

    async def body(task: Task) -> None:
        task.cpu.preempt_count += SOFTIRQ_DISABLE_OFFSET
        await lock.lock(task)
        await lock.unlock(task)
        task.cpu.preempt_count -= SOFTIRQ_DISABLE_OFFSET
        lab.note("done")

    lab.start(body, "body")
    lab.play(10)
    lab.end()
    assert lab.log == [(0, "done")]


@pytest.mark.parametrize(("rtlock", "count"), [(True, 1), (False, 1), (False, SOFTIRQ_DISABLE_OFFSET)])
def test_CTX_03_sleeping_locks_refuse_atomic_context(rtlock: bool, count: int) -> None:
    lab = Lab(1, RT)
    lock = RtLock(lab.sched, "A") if rtlock else RtMutex(lab.sched, "A")

    async def body(task: Task) -> None:
        task.cpu.preempt_count += count
        await lock.lock(task)

    lab.start(body, "body")
    where = "rt_spin_lock" if rtlock else "rt_mutex_lock"
    with pytest.raises(
        KernelBug,
        match=rf"^BUG: sleeping function called from invalid context at {where}\(A\): in_atomic\(\): 1, irqs_disabled\(\): 0, "
        rf"pid: 1, name: body, preempt_count: {count:#x}, on CPU0 at 0 ns$",
    ):
        lab.play(10)
    lab.end()


def test_a_change_of_a_waiters_own_priority_reaches_the_owner() -> None:
    lab = Lab(1, FULL)
    lock = RtMutex(lab.sched, "lock")
    owner = lab.start(user(lab, lock, 1000), "owner", cpu=0)
    waiter = lab.begin(100, user(lab, lock, 10), "waiter", cpu=0, policy=SCHED_FIFO, rt_priority=10)

    async def change(cpu: Cpu) -> None:
        lab.sched.set_scheduler(cpu, waiter, SCHED_FIFO, 40)
        adjust_prio_chain(cpu, waiter)

    async def own(cpu: Cpu) -> None:
        # The owner's own priority changes while it is boosted: what it was lent stays.
        lab.sched.set_scheduler(cpu, owner, SCHED_NORMAL, nice=5)

    lab.interrupt(200, change)
    lab.interrupt(300, own)
    lab.play(5000)
    lab.end()
    assert lab.story("sched_pi_setprio") == [
        (100, "0 setprio owner 120 > 89"),
        (200, "0 setprio owner 89 > 59"),
        (1000, "0 setprio owner 59 > 125"),
    ]
