"""Show the work on the way to user mode: its order, its rounds, what it asserts at its end."""

from __future__ import annotations

import pytest

from asyncirq.entry.exit_work import (
    ALL_WORK,
    EXIT_WORK,
    TIF_NOTIFY_RESUME,
    TIF_NOTIFY_SIGNAL,
    TIF_SIGPENDING,
    TIF_UPROBE,
    set_work,
)
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.mutex import Mutex
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, Task
from tests.softirq_rig import Rig


def note_work(m: Rig) -> None:
    """Write a line for each step, and what the interrupt flag is then."""
    for name, _ in EXIT_WORK:

        async def work(task: Task, flags: int, name: str = name) -> None:
            m.note(f"{name} {'off' if task.cpu.irqs_off else 'on'}")
            await task.spend(10)

        m.entry.exit_work.register(name, work)


def user_for(m: Rig, ns: int) -> Task:
    async def body(me: Task) -> None:
        await me.user(ns)
        m.note(f"user ends {me.work:#x}")

    return m.start(body, "body", cpu=0)


def test_S0_72_order_of_the_exit_work_and_its_second_round() -> None:
    m = Rig()
    note_work(m)
    task = user_for(m, 1000)
    again = [True]

    async def resume(me: Task, flags: int) -> None:
        m.note(f"notify_resume {flags:#x}")
        if again.pop():
            again.append(False)
            set_work(me, TIF_SIGPENDING)

    async def arch(me: Task, flags: int) -> None:
        m.note("arch")

    async def urgent(me: Task) -> None:
        me.set_current_state(TASK_INTERRUPTIBLE)
        await me.schedule()
        m.note("urgent")

    m.entry.exit_work.register("notify_resume", resume)
    m.entry.exit_work.arch = arch
    m.entry.exit_work.flush_rcu = lambda cpu: m.note("rcu")
    sleeper = m.start(urgent, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50)

    async def handler(cpu: Cpu) -> None:
        set_work(task, ALL_WORK)
        await m.sched.wake_up_process(cpu, sleeper)

    m.irq(100, handler)
    m.play(5000)
    assert m.log == [
        (100, "rcu"),
        (100, "urgent"),
        (100, "uprobe on"),
        (110, "patch on"),
        (120, "signal on"),
        (130, f"notify_resume {ALL_WORK:#x}"),
        (130, "arch"),
        (130, "rcu"),
        (130, "signal on"),
        (140, "arch"),
        (140, "rcu"),
        (1040, "user ends 0x0"),
    ]
    assert m.entry.exit_work.rounds == 2
    m.end()


@pytest.mark.parametrize("flag", [TIF_NOTIFY_SIGNAL, TIF_SIGPENDING])
def test_both_signal_flags_are_one_work(flag: int) -> None:
    m = Rig()
    note_work(m)
    task = user_for(m, 300)
    m.irq(100, lambda cpu: _set(task, flag))
    m.play(1000)
    assert m.log == [(100, "signal on"), (310, "user ends 0x0")]
    m.end()


async def _set(task: Task, flags: int) -> None:
    set_work(task, flags)


def test_work_set_in_kernel_mode_is_done_before_user_mode() -> None:
    m = Rig()
    note_work(m)

    async def body(me: Task) -> None:
        set_work(me, TIF_NOTIFY_RESUME | TIF_UPROBE)
        await me.spend(100)
        m.note("kernel ends")
        await me.user(100)
        m.note(f"user ends, irqs {'off' if me.cpu.irqs_off else 'on'}")

    m.start(body, "body", cpu=0)
    m.irq(50, lambda cpu: cpu.spend(1))
    m.play(1000)
    assert m.log == [(101, "kernel ends"), (101, "uprobe on"), (111, "notify_resume on"), (221, "user ends, irqs on")]
    m.end()


def test_an_nmi_does_no_work_on_its_way_out() -> None:
    m = Rig()
    note_work(m)
    task = user_for(m, 300)

    async def nmi(cpu: Cpu) -> None:
        set_work(task, TIF_SIGPENDING)

    m.entry.nmi = nmi
    m.nmi_at(100)
    m.irq(200, lambda cpu: cpu.spend(1))
    m.play(1000)
    assert m.log == [(201, "signal on"), (311, "user ends 0x0")]
    m.end()


def test_S0_71_a_lock_held_on_the_way_to_user_mode_is_reported() -> None:
    m = Rig()
    lock = Mutex(m.sched, "big_lock")

    async def body(me: Task) -> None:
        await lock.lock(me)
        await me.user(100)

    task = m.start(body, "body", cpu=0)
    m.irq(50, lambda cpu: _set(task, TIF_NOTIFY_RESUME))
    with pytest.raises(
        KernelBug,
        match=r"^WARNING: lock held when returning to user space! body/\d+ is leaving the kernel with big_lock still held, on CPU0 at 50",
    ):
        m.play(1000)
    m.end()


def test_what_is_no_work_is_refused() -> None:
    m = Rig()
    task = user_for(m, 100)
    with pytest.raises(UsageError, match="^0x8 is no work on the way to user mode$"):
        set_work(task, 8)
    with pytest.raises(UsageError, match="^'resched' is no work on the way to user mode: uprobe, patch, signal, notify_resume$"):
        m.entry.exit_work.register("resched", m.entry.exit_work.arch)  # type: ignore[arg-type]
    m.end()
