"""Show each detector of what is stuck: its threshold, its message, and silence on what is in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncirq import Machine
from asyncirq.bottom_half.lockup import Lockup
from asyncirq.config import preset
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.completion import Completion
from asyncirq.locking.mutex import Mutex
from asyncirq.sched.task import SCHED_FIFO, TASK_IDLE, TASK_UNINTERRUPTIBLE, Task
from asyncirq.trace.events import LockupReport, Printk

SECOND = 1_000_000_000


def machine(cpus: int = 1, **options: Any) -> Machine:
    return Machine(cpus=cpus, kernel=preset("linux-6.12", hz=100, **options))


def reports(m: Machine) -> list[Lockup]:
    return m.kernel.detectors.lockups.reports


def hog(ns: int, irqs_off: bool = False) -> Any:
    async def body(task: Task) -> None:
        cpu = task.preempt_disable()
        if irqs_off:
            cpu.irq_disable()
        await cpu.spend(ns)
        if irqs_off:
            await cpu.irq_enable()
        await task.preempt_enable()

    return body


def test_soft_lockup() -> None:
    async def scene() -> None:
        async with machine(watchdog_thresh_s=10) as m:
            await m.run_for(SECOND)
            task = m.start_thread(hog(50 * SECOND), "hog")
            await m.run_for(60 * SECOND)
            found = reports(m)
            # The timer's turns are 4 s apart; the detector's seconds are a little longer than others.
            assert [report.time_ns // SECOND for report in found] == [24, 48]
            first = found[0]
            assert (first.kind, first.cpu, first.target_cpu, first.pid, first.comm) == ("softlockup", 0, 0, task.pid, "hog")
            assert first.lines[0] == f"watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [hog:{task.pid}]"
            assert first.lines[1] == f"CPU: 0 UID: 0 PID: {task.pid} Comm: hog Not tainted 6.12.0 #1"
            records = [record for record in m.records if isinstance(record, LockupReport)]
            assert [(record.kind, record.target_pid, record.comm) for record in records] == [("softlockup", task.pid, "hog")] * 2
            said = [record.text for record in m.records if isinstance(record, Printk)]
            assert said[:2] == list(first.lines)

    asyncio.run(scene())


def test_no_soft_lockup_of_what_gives_way_or_runs_in_user_mode() -> None:
    async def scene() -> None:
        async with machine(watchdog_thresh_s=10) as m:

            async def offers(task: Task) -> None:
                for _ in range(60):
                    await task.spend(SECOND)
                    await m.sched.cond_resched(task)

            async def user(task: Task) -> None:
                await task.user(60 * SECOND)

            m.start_thread(offers, "offers")
            await m.run_for(70 * SECOND)
            m.start_thread(user, "user")
            await m.run_for(70 * SECOND)
            assert reports(m) == []

    asyncio.run(scene())


@pytest.mark.monitor_rule("stall")  # a thread is kept from its CPU for 8 s
def test_the_stopper_gets_past_what_kept_the_watchdog_thread_away() -> None:
    """A FIFO 99 task in the kernel gives way to the stop class alone."""

    async def scene(stopper: bool) -> list[str]:
        async with machine(watchdog_thresh_s=10, preemption="full", softlockup_stopper=stopper) as m:

            async def greedy(task: Task) -> None:
                await task.spend(30 * SECOND)

            m.start_thread(greedy, "greedy", policy=SCHED_FIFO, rt_priority=99)
            await m.run_for(40 * SECOND)
            return [report.kind for report in reports(m)]

    assert asyncio.run(scene(stopper=True)) == []
    assert asyncio.run(scene(stopper=False)) == ["softlockup"]


def test_a_touched_watchdog_keeps_quiet() -> None:
    async def scene() -> None:
        async with machine(watchdog_thresh_s=10) as m:
            watchdog = m.kernel.detectors.watchdog
            assert watchdog is not None

            async def body(task: Task) -> None:
                cpu = task.preempt_disable()
                for _ in range(4):
                    await cpu.spend(10 * SECOND)
                    watchdog.touch(cpu)
                await task.preempt_enable()

            m.start_thread(body, "body")
            await m.run_for(50 * SECOND)
            assert reports(m) == []

    asyncio.run(scene())


def test_hard_lockup_noticed_by_the_buddy() -> None:
    async def scene() -> None:
        async with machine(2, watchdog_thresh_s=10, hardlockup_buddy=True) as m:
            await m.run_for(SECOND)
            task = m.start_thread(hog(100 * SECOND, irqs_off=True), "hog", cpu=1)
            await m.run_for(60 * SECOND)
            found = [report for report in reports(m) if report.kind == "hardlockup"]
            # CPU 0 looks at its turns 3, 6, ...: at 12 s it sees CPU 1's count for the first time, and 0 is what it was.
            assert [(report.time_ns // SECOND, report.cpu, report.target_cpu) for report in found] == [(12, 0, 1)]
            assert found[0].pid == task.pid
            assert found[0].lines[0] == "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1"

    asyncio.run(scene())


def test_no_hard_lockup_where_interrupts_are_taken() -> None:
    async def scene() -> None:
        async with machine(2, watchdog_thresh_s=10, hardlockup_buddy=True) as m:
            m.start_thread(hog(100 * SECOND), "hog", cpu=1)
            await m.run_for(60 * SECOND)
            assert {report.kind for report in reports(m)} == {"softlockup"}

    asyncio.run(scene())


def test_hung_task() -> None:
    async def scene() -> None:
        async with machine(hung_task_timeout_s=120, hung_task_blocker=True) as m:
            mutex = Mutex(m.sched, "mutex")

            async def owner(task: Task) -> None:
                await mutex.lock(task)
                task.set_current_state(TASK_IDLE)
                await task.schedule()

            async def waiter(task: Task) -> None:
                await mutex.lock(task)

            async def alive(task: Task) -> None:
                while True:
                    await m.sleep.msleep(task, 1000)

            first = m.start_thread(owner, "owner")
            await m.run_for(SECOND)
            second = m.start_thread(waiter, "waiter")
            m.start_thread(alive, "alive")
            await m.run_for(400 * SECOND)
            found = reports(m)
            # The timer wheel rounds 120 s up to 122.88 s.
            assert [(report.kind, report.comm, report.time_ns // SECOND) for report in found] == [
                ("hung_task", "waiter", 245),
                ("hung_task", "waiter", 368),
            ]
            assert found[0].lines == (
                f"INFO: task waiter:{second.pid} blocked for more than 122 seconds.",
                "      Not tainted 6.12.0 #1",
                '"echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.',
                f"INFO: task waiter:{second.pid} is blocked on a mutex likely owned by task owner:{first.pid}.",
            )

    asyncio.run(scene())


def test_hung_tasks_are_reported_ten_times() -> None:
    async def scene() -> None:
        async with machine(hung_task_timeout_s=1) as m:

            async def waiter(task: Task) -> None:
                await Completion("never").wait(task, TASK_UNINTERRUPTIBLE)

            for n in range(4):
                m.start_thread(waiter, f"waiter{n}")
            await m.run_for(20 * SECOND)
            found = reports(m)
            assert len(found) == 10
            assert found[-1].lines[-1] == "Future hung task reports are suppressed, see sysctl kernel.hung_task_warnings"

    asyncio.run(scene())


async def nothing(cpu: Cpu) -> None:
    """Be an RCU callback."""


def test_rcu_stall_of_the_cpu_itself() -> None:
    async def scene() -> None:
        async with machine(rcu_stall_timeout_s=21) as m:

            async def body(task: Task) -> None:
                cpu = task.preempt_disable()
                m.kernel.rcu.call_rcu(cpu, nothing)
                await cpu.spend(100 * SECOND)
                await task.preempt_enable()

            task = m.start_thread(body, "body")
            await m.run_for(101 * SECOND)
            found = reports(m)
            # Again after three times the timeout and three jiffies.
            assert [(report.kind, report.time_ns // 10_000_000) for report in found] == [("rcu_stall", 2100), ("rcu_stall", 2100 + 6303)]
            assert found[0].pid == task.pid
            assert found[0].lines == (
                "rcu: INFO: rcu_sched self-detected stall on CPU",
                "rcu: \t0-....: (2100 ticks this GP)",
                "rcu: \t(t=2100 jiffies g=1 q=1 ncpus=1)",
            )

    asyncio.run(scene())


def test_rcu_stall_of_a_reader_that_sleeps_is_noticed_by_others() -> None:
    async def scene() -> None:
        async with machine(2, rcu_stall_timeout_s=21, preemption="full") as m:

            async def reader(task: Task) -> None:
                cpu = task.preempt_disable()
                m.kernel.rcu.rcu_read_lock(cpu)
                await task.preempt_enable()
                await m.sleep.msleep(task, 40_000)
                m.kernel.rcu.rcu_read_unlock(task)

            async def updater(task: Task) -> None:
                await m.kernel.rcu.synchronize_rcu(task)

            task = m.start_thread(reader, "reader", cpu=0)
            await m.run_for(SECOND)
            m.start_thread(updater, "updater", cpu=1)
            await m.run_for(60 * SECOND)
            (found,) = reports(m)
            assert (found.kind, found.pid, found.time_ns // 10_000_000) == ("rcu_stall", task.pid, 2202)
            assert found.lines[0] == "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"
            assert found.lines[1] == f"rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-1): P{task.pid}"
            assert found.lines[2] == "rcu: \t(detected by 1, t=2102 jiffies, g=1, q=1 ncpus=2)"

    asyncio.run(scene())


def test_a_report_can_be_a_panic() -> None:
    async def scene() -> None:
        async with machine(watchdog_thresh_s=10, panic_on_lockup=True) as m:
            m.start_thread(hog(50 * SECOND), "hog")
            with pytest.raises(KernelBug, match="^Kernel panic - not syncing: softlockup: hung tasks, on CPU0 at 24"):
                await m.run_for(60 * SECOND)

    asyncio.run(scene())


def test_a_kernel_has_no_detectors_unless_it_asks() -> None:
    async def scene() -> None:
        async with machine() as m:
            detectors = m.kernel.detectors
            assert (detectors.watchdog, detectors.hung_tasks, detectors.rcu_stall) == (None, None, None)
            m.start_thread(hog(50 * SECOND), "hog")
            await m.run_for(60 * SECOND)
            assert reports(m) == []

    asyncio.run(scene())
