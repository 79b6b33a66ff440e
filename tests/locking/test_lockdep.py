"""Show lockdep's reports in Linux's form, its other checks, its policies, and that it changes nothing but what it says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncirq import Machine
from asyncirq.config import preset
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.apic_message import ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQF_NO_THREAD
from asyncirq.locking.lockdep import Lockdep
from asyncirq.locking.lockdep_check import (
    lockdep_assert_held,
    lockdep_assert_irqs_disabled,
    lockdep_assert_not_held,
    might_lock,
)
from asyncirq.locking.lockdep_class import LockKey
from asyncirq.locking.mutex import Mutex
from asyncirq.locking.raw_spinlock import RawSpinlock
from asyncirq.locking.rwsem import RwSemaphore
from asyncirq.locking.spinlock import Spinlock
from asyncirq.sched.task import Task
from asyncirq.trace.events import LockdepReport
from devices import E1000, E1000Driver
from tests.sched.harness import Lab

ONCE = preset("linux-6.12", lockdep="once")
ALL = preset("linux-6.12", lockdep="all")
RAISE = preset("linux-6.12", lockdep="raise")


def play(lab: Lab, *bodies: Any) -> Lockdep:
    for n, body in enumerate(bodies):
        lab.start(body, f"task{n}")
    lab.play(1_000_000)
    lab.end()
    assert lab.lockdep is not None
    return lab.lockdep


def test_a_circle_is_reported_with_both_chains_and_the_picture() -> None:
    lab = Lab(1, ONCE)
    a, b = Mutex(lab.sched, "A"), Mutex(lab.sched, "B")

    async def forwards(task: Task) -> None:
        async with a.held(task), b.held(task):
            await task.spend(10)

    async def backwards(task: Task) -> None:
        async with b.held(task), a.held(task):
            await task.spend(10)

    lockdep = play(lab, forwards, backwards)
    (report,) = lockdep.reports
    assert (report.kind, report.time_ns, report.comm, report.lock, report.other) == ("circular", 10, "task1", "A", "B")
    assert (
        report.text
        == """
======================================================
WARNING: possible circular locking dependency detected
6.12.0 #1 Not tainted
------------------------------------------------------
task1/2 is trying to acquire lock:
ffff888100000040 (A){+.+.}-{4:4}, at: backwards [test_lockdep]

but task is already holding lock:
ffff888100000080 (B){+.+.}-{4:4}, at: backwards [test_lockdep]

which lock already depends on the new lock.


the existing dependency chain (in reverse order) is:

-> #1 (B){+.+.}-{4:4}:
      forwards [test_lockdep]
      _task_main [switch]

-> #0 (A){+.+.}-{4:4}:
      backwards [test_lockdep]
      _task_main [switch]

other info that might help us debug this:

 Possible unsafe locking scenario:

       CPU0                    CPU1
       ----                    ----
  lock(B);
                               lock(A);
                               lock(B);
  lock(A);

 *** DEADLOCK ***

1 lock held by task1/2:
 #0: ffff888100000080 (B){+.+.}-{4:4}, at: backwards [test_lockdep]

stack backtrace:
 backwards [test_lockdep]
 _task_main [switch]"""
    )
    records = lab.records()
    place = next(index for index, record in enumerate(records) if isinstance(record, LockdepReport))
    found: Any = records[place]
    assert (found.ts, found.kind, found.comm, found.lock, found.other) == (10, "circular", "task1", "A", "B")
    assert lab.said() == list(report.lines)


def test_a_longer_circle_names_the_chain() -> None:
    lab = Lab(1, ONCE)
    a, b, c = (Mutex(lab.sched, name) for name in "ABC")

    async def body(task: Task) -> None:
        for first, second in ((a, b), (b, c), (c, a)):
            async with first.held(task), second.held(task):
                await task.spend(10)

    (report,) = play(lab, body).reports
    assert "Chain exists of:\n  A --> B --> C\n\n Possible unsafe locking scenario:\n" in report.text
    scenario = report.text[report.text.index("       CPU0") :]
    assert [line.strip() for line in scenario.splitlines()[2:6]] == ["lock(C);", "lock(B);", "lock(C);", "lock(A);"]


def test_an_interrupt_over_the_holder_is_reported_with_the_picture() -> None:
    lab = Lab(1, ONCE)
    lock = Spinlock(lab.sched, "lock")

    async def body(task: Task) -> None:
        async with lock.held(task.preempt_disable()) as cpu:
            await cpu.spend(10)
        await task.preempt_enable()

    async def handler(cpu: Cpu) -> None:
        assert lab.lockdep is not None
        take = lab.lockdep.may_thread(lock.lock)
        await take(cpu)
        await lock.unlock(cpu)

    lab.interrupt(500, handler)
    (report,) = play(lab, body).reports
    assert report.kind == "inconsistent"
    assert report.lines[2:11] == (
        "WARNING: inconsistent lock state",
        "6.12.0 #1 Not tainted",
        "--------------------------------",
        "inconsistent {HARDIRQ-ON-W} -> {IN-HARDIRQ-W} usage.",
        "swapper/0/0 [HC1[1]:SC0[0]:HE0:SE1] takes:",
        "ffff888100000040 (lock){?.+.}-{3:3}, at: handler [test_lockdep]",
        "{HARDIRQ-ON-W} state was registered at:",
        " body [test_lockdep]",
        " _task_main [switch]",
    )
    assert " Possible unsafe locking scenario:\n\n       CPU0\n       ----\n  lock(lock);\n  <Interrupt>\n    lock(lock);\n" in report.text
    assert "hardirqs last disabled at (" in report.text


def test_a_safe_lock_over_an_unsafe_one_is_reported_with_both_ends() -> None:
    lab = Lab(1, ONCE)
    safe, unsafe = RawSpinlock("safe"), RawSpinlock("unsafe")

    async def body(task: Task) -> None:
        cpu = task.preempt_disable()
        async with unsafe.held(cpu):
            await cpu.spend(1000)
        was_off = await safe.lock_irqsave(cpu)
        await unsafe.lock(cpu)
        await unsafe.unlock(cpu)
        await safe.unlock_irqrestore(cpu, was_off)
        await task.preempt_enable()

    async def handler(cpu: Cpu) -> None:
        async with safe.held(cpu):
            await cpu.spend(1)

    lab.interrupt(500, handler)
    (report,) = play(lab, body).reports
    assert (report.kind, report.lock, report.other) == ("irq-dependency", "unsafe", "safe")
    text = report.text
    assert "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected\n" in text
    assert "which would create a new lock dependency:\n (safe){-...}-{2:2} -> (unsafe){+.+.}-{2:2}\n" in text
    picture = text[text.index("       CPU0") :].splitlines()[2:8]
    assert picture == [
        "  lock(unsafe);",
        "                               local_irq_disable();",
        "                               lock(safe);",
        "                               lock(unsafe);",
        "  <Interrupt>",
        "    lock(safe);",
    ]


def test_what_is_held_where_it_must_not_be() -> None:
    lab = Lab(1, ALL)
    mutex, other = Mutex(lab.sched, "mutex"), Mutex(lab.sched, "other")

    async def body(task: Task) -> None:
        cpu = task.cpu
        lockdep_assert_held(cpu, mutex)
        lockdep_assert_irqs_disabled(cpu)
        await mutex.lock(task)
        lockdep_assert_held(cpu, mutex)
        lockdep_assert_held(cpu, mutex, 1)
        lockdep_assert_not_held(cpu, other)
        lockdep_assert_not_held(cpu, mutex)
        await task.user(10)

    lab.start(body, "task")
    with pytest.raises(KernelBug, match="^task/1 exits while holding mutex$"):
        lab.play(1000)
    lab.end()
    assert lab.lockdep is not None
    assert [(report.kind, report.lock) for report in lab.lockdep.reports] == [
        ("assert", "lockdep_assert_held(mutex)"),
        ("assert", "lockdep_assert_irqs_disabled()"),
        ("assert", "lockdep_assert_held(mutex)"),
        ("assert", "lockdep_assert_not_held(mutex)"),
        ("user", "mutex"),
        ("exit", "mutex"),
    ]
    user, leave = lab.lockdep.reports[-2:]
    assert user.lines[2:7] == (
        "WARNING: lock held when returning to user space!",
        "6.12.0 #1 Not tainted",
        "-" * 48,
        "task/1 is leaving the kernel with locks still held!",
        "1 lock held by task/1:",
    )
    assert leave.lines[2] == "WARNING: task/1 still has locks held!"


def test_a_held_lock_whose_memory_is_freed() -> None:
    lab = Lab(1, ALL)
    mutex, other = Mutex(lab.sched, "mutex"), Mutex(lab.sched, "other")

    async def body(task: Task) -> None:
        assert lab.lockdep is not None
        await other.lock(task)
        await other.unlock(task)
        await mutex.lock(task)
        lab.lockdep.check_freed(task.cpu, other)
        lab.lockdep.check_freed(task.cpu, other, mutex)
        await mutex.unlock(task)

    (report,) = play(lab, body).reports
    assert report.lines[2] == "WARNING: held lock freed!"
    assert report.lines[5] == "task0/1 is freeing memory ffff888100000080-ffff8881000000bf, with a lock still held there!"


def test_unlocking_what_is_not_held() -> None:
    lab = Lab(1, ALL)
    mutex, other = Mutex(lab.sched, "mutex"), Mutex(lab.sched, "other")

    async def body(task: Task) -> None:
        await mutex.lock(task)
        await other.unlock(task)

    lab.start(body, "task")
    with pytest.raises(KernelBug, match="^task/1 unlocks mutex other, which nobody owns, at 0 ns$"):
        lab.play(1000)
    lab.end()
    assert lab.lockdep is not None
    (report,) = lab.lockdep.reports
    assert report.lines[2:8] == (
        "WARNING: bad unlock balance detected!",
        "6.12.0 #1 Not tainted",
        "-" * 37,
        "task/1 is trying to release lock (other) at:",
        "body [test_lockdep]",
        "but there are no more locks to release!",
    )


def test_locks_given_up_out_of_order_leave_the_right_edges() -> None:
    lab = Lab(1, ALL)
    a, b, c = (Mutex(lab.sched, name) for name in "ABC")

    async def body(task: Task) -> None:
        await a.lock(task)
        await b.lock(task)
        await a.unlock(task)
        await c.lock(task)
        await b.unlock(task)
        await c.unlock(task)
        # B was the only lock before C: A and C have no order yet.
        async with c.held(task), a.held(task):
            await task.spend(1)

    # C -> A closes A -> B -> C all the same.
    (report,) = play(lab, body).reports
    assert report.kind == "circular"
    lab = Lab(1, ALL)
    a, b, c = (Mutex(lab.sched, name) for name in "ABC")

    async def free(task: Task) -> None:
        await a.lock(task)
        await a.unlock(task)
        await b.lock(task)
        await c.lock(task)
        await b.unlock(task)
        await a.lock(task)
        await c.unlock(task)
        await a.unlock(task)

    lockdep = play(lab, free)
    assert lockdep.reports == []
    edges = [(str(cls), [str(other) for other in cls.after]) for cls in lockdep.classes]
    assert edges == [("A", []), ("B", ["C"]), ("C", ["A"])]


def test_subclasses_and_nests_tell_of_an_order_within_a_class() -> None:
    lab = Lab(1, ALL)
    key = LockKey("&node->lock")
    parent, child, third = (Mutex(lab.sched, name, key) for name in ("parent", "child", "third"))
    outer = Mutex(lab.sched, "outer")

    async def body(task: Task) -> None:
        await parent.lock(task)
        await child.lock(task, subclass=1)
        await child.unlock(task)
        await parent.unlock(task)
        await outer.lock(task)
        for mutex in (parent, child, third):
            await mutex.lock(task, nest=outer)
        for mutex in (third, child, parent):
            await mutex.unlock(task)
        await outer.unlock(task)
        assert lab.lockdep is not None
        assert lab.lockdep.reports == []
        await parent.lock(task, nest=outer)
        await parent.unlock(task)
        # The other way round the subclasses close a circle.
        await child.lock(task, subclass=1)
        await parent.lock(task)
        await parent.unlock(task)
        await child.unlock(task)
        with pytest.raises(UsageError, match="^BUG: looking up invalid subclass: 8, of child"):
            await child.lock(task, subclass=8)

    lockdep = play(lab, body)
    assert [(report.kind, report.lock, report.other) for report in lockdep.reports] == [
        ("nest", "&node->lock", "outer"),
        ("circular", "&node->lock", "&node->lock/1"),
    ]


def test_locks_of_one_name_are_told_apart() -> None:
    lab = Lab(1, ALL)
    first, second = Mutex(lab.sched, "lock"), Mutex(lab.sched, "lock")

    async def body(task: Task) -> None:
        async with first.held(task), second.held(task):
            await task.spend(1)
        async with second.held(task), first.held(task):
            await task.spend(1)

    (report,) = play(lab, body).reports
    assert (report.lock, report.other) == ("lock", "lock#2")


def test_might_lock_teaches_an_order_without_taking_the_lock() -> None:
    lab = Lab(1, ALL)
    a, b = Mutex(lab.sched, "A"), Mutex(lab.sched, "B")

    async def body(task: Task) -> None:
        async with a.held(task):
            might_lock(task.cpu, b)
        assert b.owner is None
        async with b.held(task):
            might_lock(task.cpu, a)

    assert [report.kind for report in play(lab, body).reports] == ["circular"]


def test_trying_teaches_no_order_but_is_held() -> None:
    lab = Lab(1, ALL)
    a, b = Mutex(lab.sched, "A"), Mutex(lab.sched, "B")

    async def body(task: Task) -> None:
        async with a.held(task), b.held(task):
            await task.spend(1)
        await b.lock(task)
        assert a.try_lock(task)
        lockdep_assert_held(task.cpu, a)
        await a.unlock(task)
        await b.unlock(task)

    assert play(lab, body).reports == []


def test_a_downgraded_lock_is_shared() -> None:
    lab = Lab(1, ALL)
    sem = RwSemaphore(lab.sched, "sem")

    async def body(task: Task) -> None:
        await sem.down_write(task)
        lockdep_assert_held(task.cpu, sem, 0)
        await sem.downgrade_write(task)
        lockdep_assert_held(task.cpu, sem, 1)
        await sem.up_read(task)

    assert play(lab, body).reports == []


def test_an_NMI_must_not_wait_for_a_lock_that_others_use() -> None:
    lab = Lab(1, ALL)
    lock, own = RawSpinlock("lock"), RawSpinlock("own")

    async def nmi(cpu: Cpu) -> None:
        assert lock.try_lock(cpu)
        await lock.unlock(cpu)
        await own.lock(cpu)
        await own.unlock(cpu)
        await lock.lock(cpu)
        await lock.unlock(cpu)

    async def body(task: Task) -> None:
        cpu = await lock.lock(task.cpu)
        await lock.unlock(cpu)
        await task.spend(100)

    lab.entry.nmi = nmi
    lab.at(50, lambda: lab.send(ApicMessage(2, 4, False, 0, False, 0)))
    (report,) = play(lab, body).reports
    assert report.lines[5] == "inconsistent {INITIAL USE} -> {IN-NMI} usage."


def test_policies() -> None:
    def scene(kernel: Any) -> Lab:
        lab = Lab(1, kernel)
        locks = [Mutex(lab.sched, name) for name in "ABCD"]

        async def body(task: Task) -> None:
            for first, second in ((0, 1), (1, 0), (2, 3), (3, 2)):
                async with locks[first].held(task), locks[second].held(task):
                    await task.spend(1)
            lab.note("done")

        lab.start(body, "task")
        return lab

    for kernel, count, on in ((ONCE, 1, False), (ALL, 2, True)):
        lab = scene(kernel)
        lab.play(1000)
        lab.end()
        assert lab.lockdep is not None
        assert (len(lab.lockdep.reports), lab.lockdep.debug_locks) == (count, on)
        assert lab.log == [(4, "done")]
    lab = scene(RAISE)
    with pytest.raises(KernelBug, match="^=+\nWARNING: possible circular locking dependency detected\n"):
        lab.play(1000)
    lab.end()
    lab = scene(preset("linux-6.12"))
    lab.play(1000)
    lab.end()
    assert lab.lockdep is None
    assert lab.said() == []


def test_a_machine_finds_a_driver_that_forgets_irqsave() -> None:
    """The handler may be threaded, so its spinlock is in order; with NO_THREAD PREEMPT_RT could not sleep on it."""

    async def scene(flags: int, irqsave: bool) -> list[str]:
        async with Machine(cpus=1, kernel=ALL, sinks=()) as m:
            lock = Spinlock(m.sched, "&dev->lock")
            msi = m.msi("dev")

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                async with lock.held(cpu):
                    await cpu.spend(100)
                return IRQ_HANDLED

            async def thread(task: Task) -> None:
                await m.irq.request_irq(None, msi.irq, handler, flags, "dev", None)
                cpu = task.preempt_disable()
                async with lock.irqsave(cpu) if irqsave else lock.held(cpu):
                    await cpu.spend(10)
                await task.preempt_enable()

            m.start_thread(thread, "driver")
            await m.run_for(1_000_000)
            msi.send()
            await m.run_for(1_000_000)
            assert m.lockdep is not None
            return [report.kind for report in m.lockdep.reports]

    assert asyncio.run(scene(0, irqsave=True)) == []
    assert asyncio.run(scene(0, irqsave=False)) == ["inconsistent"]
    assert asyncio.run(scene(IRQF_NO_THREAD, irqsave=True)) == ["wait-context"]


@pytest.mark.parametrize("rt", [False, True], ids=["stock", "rt"])
def test_lockdep_changes_nothing_where_locking_is_right(rt: bool) -> None:
    async def scene(lockdep: str) -> str:
        async with Machine(cpus=2, kernel=preset("linux-6.12", rt=rt, lockdep=lockdep), sinks=()) as m:
            a, b = Mutex(m.sched, "A"), Spinlock(m.sched, "B", m.softirq)

            async def body(task: Task) -> None:
                for _ in range(5):
                    async with a.held(task):
                        cpu = await b.lock_bh(task)
                        await cpu.spend(1000)
                        await b.unlock_bh(task)
                    await task.spend(700)

            for n in range(3):
                m.start_thread(body, f"t{n}")
            await m.run_for(20_000_000)
            assert m.lockdep is None or m.lockdep.reports == []
            return m.digest

    assert asyncio.run(scene("off")) == asyncio.run(scene("raise"))


@pytest.mark.parametrize("options", [{}, {"threadirqs": True}, {"rt": True}], ids=["stock", "threadirqs", "rt"])
def test_the_kernel_itself_and_its_drivers_lock_in_order(options: dict[str, bool]) -> None:
    """A NIC under load with threaded NAPI, and a sleeper: nothing to report. A stock model needs no locks, PREEMPT_RT has its BH locks."""

    async def scene() -> int:
        kernel = preset("linux-6.12", lockdep="raise", napi_threaded=True, **options)
        async with Machine(cpus=2, kernel=kernel, sinks=()) as m:
            nic = E1000("eth0")
            await E1000Driver(nic).bind(m)
            for n in range(20):
                m.engine.timer(lambda: nic.receive([64]), f"packet {n}").arm(2_000_000 + n * 30_000)

            async def sleeper(task: Task) -> None:
                for _ in range(3):
                    await m.sleep.msleep(task, 4)

            m.start_thread(sleeper, "sleeper")
            await m.run_for(30_000_000)
            assert m.lockdep is not None
            assert m.lockdep.reports == []
            return len(m.lockdep.classes)

    assert (asyncio.run(scene()) > 0) == ("rt" in options)
