"""Show the wait queue with a lock of its own: on PREEMPT_RT a woken task may meet its waker inside the lock."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.config import preset
from asyncirq.errors import KernelBug
from asyncirq.locking.wait_head import WaitHead
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.sched.harness import FULL, RT, STOCK, Lab

KERNELS = pytest.mark.parametrize("kernel", [STOCK, FULL, RT], ids=lambda k: k.preemption)


def play(lab: Lab, waker_prio: int, waiter_prio: int) -> WaitHead:
    head = WaitHead(lab.sched, "test")
    ready = False

    async def waiter(task: Task) -> None:
        await head.wait_event(task, lambda: ready)
        lab.note("waiter goes on")

    async def waker(task: Task) -> None:
        nonlocal ready
        await task.spend(100)
        ready = True
        assert await head.wake_up(task) == 1
        lab.note("waker goes on")

    lab.start(waiter, "waiter", cpu=0, policy=SCHED_FIFO, rt_priority=waiter_prio)
    lab.start(waker, "waker", cpu=0, policy=SCHED_FIFO, rt_priority=waker_prio)
    lab.play(10_000)
    lab.end()
    return head


def of_two(lab: Lab) -> list[str]:
    return [text for _, text in lab.switches() if "wa" in text.split("swapper")[0]]


@KERNELS
def test_a_waiter_goes_on_when_the_condition_holds(kernel: Any) -> None:
    lab = Lab(1, kernel)
    play(lab, waker_prio=50, waiter_prio=50)
    assert lab.log == [(100, "waker goes on"), (100, "waiter goes on")]


def test_a_waiter_that_preempts_its_waker_blocks_on_the_lock_under_rt() -> None:
    lab = Lab(1, RT)
    play(lab, waker_prio=10, waiter_prio=50)
    assert of_two(lab) == [
        "0 waiter(D) > waker",
        "0 waker(R+) > waiter",
        "0 waiter(D) > waker",
        "0 waker(R+) > waiter",
        "0 waiter(X) > waker",
        "0 waker(X) > swapper/0",
    ]
    assert lab.log == [(100, "waiter goes on"), (100, "waker goes on")]


def test_a_waiter_takes_the_cpu_once_where_the_lock_spins() -> None:
    lab = Lab(1, FULL)
    play(lab, waker_prio=10, waiter_prio=50)
    assert of_two(lab) == ["0 waiter(D) > waker", "0 waker(R+) > waiter", "0 waiter(X) > waker", "0 waker(X) > swapper/0"]


def test_a_condition_that_holds_already_takes_neither_lock_nor_sleep() -> None:
    lab = Lab(1, STOCK)
    head = WaitHead(lab.sched, "test")

    async def body(task: Task) -> None:
        await head.wait_event(task, lambda: True)
        lab.note("done")
        assert await head.wake_up(task) == 0

    lab.start(body, "a", cpu=0)
    lab.play(1_000)
    lab.end()
    assert lab.log == [(0, "done")]


def test_waiting_in_atomic_context_is_a_bug() -> None:
    lab = Lab(1, FULL)
    head = WaitHead(lab.sched, "test")

    async def body(task: Task) -> None:
        task.preempt_disable()
        await head.wait_event(task, lambda: False)

    lab.start(body, "a", cpu=0)
    with pytest.raises(KernelBug, match=r"sleeping function called from invalid context at wait_event\(test\)"):
        lab.play(1_000)
    lab.end()


def test_a_voluntary_kernel_offers_the_cpu_before_the_wait() -> None:
    """might_sleep() is a preemption point there, and is none with preemption=none."""
    seen = {}
    for kernel in (STOCK, preset("linux-6.12", preemption="none")):
        lab = Lab(1, kernel)
        head = WaitHead(lab.sched, "test")
        urgent: list[Task] = []

        async def rt(task: Task, lab: Lab = lab) -> None:
            lab.note("urgent")

        async def body(task: Task, lab: Lab = lab, head: WaitHead = head, urgent: list[Task] = urgent) -> None:
            await task.wake(urgent[0])
            await head.wait_event(task, lambda: True)
            lab.note("after the wait")

        urgent.append(lab.sched.new_task(rt, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50))
        lab.start(body, "body", cpu=0)
        lab.play(1_000)
        lab.end()
        seen[kernel.preemption] = [text for _, text in lab.log]
    assert seen == {"voluntary": ["urgent", "after the wait"], "none": ["after the wait", "urgent"]}
