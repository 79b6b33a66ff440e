"""Show where a running task may lose its CPU: on a kernel without preemption, a voluntary one, a full one, PREEMPT_RT."""

from __future__ import annotations

import pytest

from asyncirq.config import KernelConfig
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.sched.harness import FULL, LAZY, NONE, RT, STOCK, Lab

EVERY = pytest.mark.parametrize("kernel", [NONE, STOCK, FULL, LAZY, RT], ids=lambda k: k.preemption)


def takes(kernel: KernelConfig, early: int, late: int) -> int:
    """Return when the urgent task gets the CPU: early on a preemptible kernel, else late."""
    return early if kernel.preemption in ("full", "lazy", "rt") else late


@EVERY
def test_CTX_13_an_interrupt_preempts_kernel_code_on_a_preemptible_kernel_alone(kernel: KernelConfig) -> None:
    lab = Lab(1, kernel)

    async def hog(task: Task) -> None:
        await task.spend(1000)

    async def urgent(task: Task) -> None:
        lab.note("urgent")

    lab.start(hog, "hog", kthread=True)
    lab.begin(100, urgent, "urgent", policy=SCHED_FIFO, rt_priority=1)
    lab.play(5000)
    lab.end()
    assert lab.log == [(takes(kernel, 100, 1000), "urgent")]


@EVERY
def test_CTX_13_every_kernel_preempts_user_mode(kernel: KernelConfig) -> None:
    lab = Lab(1, kernel)

    async def user(task: Task) -> None:
        await task.user(1000)
        lab.note("user")

    async def urgent(task: Task) -> None:
        lab.note("urgent")
        await task.spend(50)

    lab.start(user, "user")
    lab.begin(100, urgent, "urgent", policy=SCHED_FIFO, rt_priority=1)
    lab.play(5000)
    lab.end()
    assert lab.log == [(100, "urgent"), (1050, "user")]
    # At the return to user mode the task calls schedule() itself: it was not preempted, so no plus sign.
    assert lab.switches()[1:3] == [(100, "0 user(R) > urgent"), (150, "0 urgent(X) > user")]


@EVERY
def test_CTX_13_preempt_enable_is_a_preemption_point(kernel: KernelConfig) -> None:
    lab = Lab(1, kernel)

    async def hog(task: Task) -> None:
        task.preempt_disable()
        await task.spend(300)
        task.preempt_disable()
        await task.spend(100)
        await task.preempt_enable()
        await task.spend(100)
        await task.preempt_enable()
        await task.spend(500)

    async def urgent(task: Task) -> None:
        lab.note("urgent")

    lab.start(hog, "hog", kthread=True)
    lab.begin(100, urgent, "urgent", policy=SCHED_FIFO, rt_priority=1)
    lab.play(5000)
    lab.end()
    assert lab.log == [(takes(kernel, 500, 1000), "urgent")]


@EVERY
def test_cond_resched_is_a_preemption_point_where_there_is_no_other(kernel: KernelConfig) -> None:
    lab = Lab(1, kernel)

    async def hog(task: Task) -> None:
        await task.spend(500)
        await lab.sched.cond_resched(task)
        await task.spend(500)

    async def urgent(task: Task) -> None:
        lab.note("urgent")

    lab.start(hog, "hog", kthread=True)
    lab.begin(100, urgent, "urgent", policy=SCHED_FIFO, rt_priority=1)
    lab.play(5000)
    lab.end()
    assert lab.log == [(takes(kernel, 100, 500), "urgent")]
    assert lab.switches()[1] == (takes(kernel, 100, 500), "0 hog(R+) > urgent")


@EVERY
def test_CTX_13_a_section_with_bottom_halves_off_is_preemptible_on_rt_alone(kernel: KernelConfig) -> None:
    lab = Lab(1, kernel)

    async def hog(task: Task) -> None:
        await lab.softirq.local_bh_disable(task)
        await task.spend(500)
        await lab.softirq.local_bh_enable(task)
        await task.spend(500)

    async def urgent(task: Task) -> None:
        lab.note("urgent")

    lab.start(hog, "hog", kthread=True)
    lab.begin(100, urgent, "urgent", policy=SCHED_FIFO, rt_priority=1)
    lab.play(5000)
    lab.end()
    when = {"none": 1000, "voluntary": 1000, "full": 500, "lazy": 500, "rt": 100}[kernel.preemption]
    assert lab.log == [(when, "urgent")]


def test_a_wake_up_by_a_pinned_task_preempts_it_at_once() -> None:
    lab = Lab(1, RT)

    async def urgent(task: Task) -> None:
        lab.note("urgent")

    async def waker(task: Task) -> None:
        await task.spend(100)
        await lab.sched.wake_up_process(task.this_cpu(), other)
        lab.note("waker")

    other = lab.sched.new_task(urgent, "urgent", policy=SCHED_FIFO, rt_priority=1)
    lab.start(waker, "waker", cpu=0, kthread=True)
    lab.play(1000)
    lab.end()
    assert lab.log == [(100, "urgent"), (100, "waker")]


def test_interrupts_in_the_window_of_a_reschedule_do_not_recurse() -> None:
    lab = Lab(1, FULL, switch_preempt_ns=1000)

    async def hog(task: Task) -> None:
        await task.spend(10_000)

    async def urgent(task: Task) -> None:
        await task.spend(10)

    lab.start(hog, "hog")
    for n in range(20):
        lab.begin(100 + 10 * n, urgent, f"urgent{n}", policy=SCHED_FIFO, rt_priority=1 + n)
    lab.play(100_000)
    lab.end()
    # One reschedule for the first; the other 19 interrupts are pending until it is over, and the best of all comes next.
    assert lab.switches()[1:4] == [
        (1100, "0 hog(R+) > urgent0"),
        (2100, "0 urgent0(R+) > urgent19"),
        (2110, "0 urgent19(X) > urgent18"),
    ]
