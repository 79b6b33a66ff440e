"""Show how tasks sleep, wake, migrate and end."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.errors import KernelBug, SimulationStalled, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task
from tests.sched.harness import FULL, NONE, RT, STOCK, Lab, records_of

COSTS: dict[str, Any] = {
    "ttwu_ns": 350,
    "ttwu_return_ns": 50,
    "switch_idle_ns": 400,
    "switch_block_ns": 450,
    "switch_preempt_ns": 300,
    "switch_in_ns": 600,
    "ipi_send_ns": 60,
}


def test_sleep_and_wake_with_costs() -> None:
    lab = Lab(1, FULL, **COSTS)

    async def sleeper(task: Task) -> None:
        lab.note("begins")
        await lab.nap(task, 10_000, TASK_INTERRUPTIBLE)
        lab.note("wakes")

    lab.start(sleeper, "sleeper")
    lab.play(100_000)
    lab.end()
    assert lab.log == [(1000, "begins"), (12_400, "wakes")]
    assert lab.story() == [
        (400, "0 swapper/0(R) > sleeper"),
        (1450, "0 sleeper(S) > swapper/0"),
        (11_000, "0 waking sleeper"),
        (11_350, "0 wakeup sleeper on 0"),
        (11_800, "0 swapper/0(R) > sleeper"),
        (12_400, "0 exit sleeper"),
        (12_850, "0 sleeper(X) > swapper/0"),
    ]


def test_the_header_of_a_switch_says_where_it_happened() -> None:
    lab = Lab(1, FULL)

    async def body(task: Task) -> None:
        await task.spend(10)

    task = lab.start(body, "body")
    lab.play(100)
    lab.end()
    switches = records_of(lab, "sched_switch")
    # The scheduler's own count and the run queue's: interrupts are off, the CPU belongs to the one who leaves.
    assert [(r.pid, r.preempt_count, r.irqs_off) for r in switches] == [(0, 2, True), (task.pid, 2, True)]


def test_causes_lead_from_the_wake_up_to_the_switch() -> None:
    lab = Lab(1, FULL)

    async def sleeper(task: Task) -> None:
        await lab.nap(task, 100)

    lab.start(sleeper, "sleeper")
    lab.play(1000)
    lab.end()
    waking = records_of(lab, "sched_waking")[0]
    switch = next(r for r in records_of(lab, "sched_switch") if r.seq > waking.seq)
    assert switch.cause == waking.seq
    assert records_of(lab, "sched_process_exit")[0].cause == switch.seq


@pytest.mark.parametrize("delay", range(0, 1200, 50))
def test_no_wake_up_is_lost_whenever_it_comes(delay: int) -> None:
    lab = Lab(2, FULL, **COSTS)
    ready = [False]

    async def sleeper(task: Task) -> None:
        while True:
            task.set_current_state(TASK_UNINTERRUPTIBLE)
            if ready[0]:
                break
            await task.spend(100)
            await task.schedule()
        task.set_current_state(TASK_RUNNING)
        lab.note("woken")

    task = lab.start(sleeper, "sleeper", cpu=0)

    async def body(cpu: Cpu) -> None:
        ready[0] = True
        await lab.sched.wake_up_process(cpu, task)

    lab.interrupt(900 + delay, body, 1)
    lab.play(50_000)
    lab.end()
    assert [text for _, text in lab.log] == ["woken"]


def test_a_wake_up_between_the_announcement_and_schedule_cancels_the_sleep() -> None:
    lab = Lab(1, FULL)

    async def sleeper(task: Task) -> None:
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        lab.wake_at(150, task)
        await task.spend(100)
        await task.schedule()
        lab.note(f"{task.state}")

    async def late(task: Task) -> None:
        await task.spend(50)
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        await task.spend(100)
        await task.schedule()
        lab.note("late")

    task = lab.start(late, "late")
    lab.wake_at(100, task)
    lab.play(1000)
    lab.end()
    assert lab.log == [(150, "late")]
    assert lab.story("sched_waking", "sched_wakeup", "sched_switch") == [
        (0, "0 swapper/0(R) > late"),
        (100, "0 waking late"),
        (100, "0 wakeup late on 0"),
        (150, "0 late(X) > swapper/0"),
    ]


def test_waking_a_running_task_does_nothing() -> None:
    lab = Lab(1, FULL)
    answers: list[bool] = []

    async def body(task: Task) -> None:
        await task.spend(100)

    task = lab.start(body, "body")

    async def irq(cpu: Cpu) -> None:
        answers.append(await lab.sched.wake_up_process(cpu, task))

    lab.interrupt(50, irq)
    lab.play(1000)
    lab.end()
    assert answers == [False]
    assert lab.story("sched_waking") == []


def test_a_preempted_sleeper_stays_queued() -> None:
    # SM_PREEMPT: a task that has announced its sleep is not taken off the queue by a preemption.
    lab = Lab(1, FULL)

    async def sleeper(task: Task) -> None:
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        await task.spend(200)
        task.set_current_state(TASK_RUNNING)
        lab.note("sleeper")

    async def urgent(task: Task) -> None:
        await task.spend(50)

    lab.start(sleeper, "sleeper")
    lab.begin(100, urgent, "urgent", policy=SCHED_FIFO, rt_priority=1)
    lab.play(1000)
    lab.end()
    assert lab.log == [(250, "sleeper")]
    assert lab.switches() == [
        (0, "0 swapper/0(R) > sleeper"),
        (100, "0 sleeper(R+) > urgent"),
        (150, "0 urgent(X) > sleeper"),
        (250, "0 sleeper(X) > swapper/0"),
    ]


@pytest.mark.parametrize("kernel", [STOCK, FULL, NONE, RT], ids=lambda k: k.preemption)
def test_CTX_03_scheduling_while_atomic(kernel: Any) -> None:
    lab = Lab(1, kernel)

    async def body(task: Task) -> None:
        await task.spend(10)
        task.preempt_disable()
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        await task.schedule()

    task = lab.start(body, "body")
    with pytest.raises(KernelBug, match=rf"^BUG: scheduling while atomic: body/{task.pid}/0x00000001 on CPU0 at 10 ns$"):
        lab.play(1000)
    lab.end()


def test_CTX_03_scheduling_with_interrupts_off() -> None:
    lab = Lab(1, FULL)

    async def body(task: Task) -> None:
        task.cpu.irq_disable()
        await task.schedule()

    task = lab.start(body, "body")
    with pytest.raises(KernelBug, match=rf"^BUG: scheduling while atomic: body/{task.pid}/0x00000000 irqs off on CPU0 at 0 ns$"):
        lab.play(1000)
    lab.end()


def test_a_task_that_exits_in_atomic_context_or_with_a_lock_is_a_bug() -> None:
    lab = Lab(1, FULL)

    async def atomic(task: Task) -> None:
        task.preempt_disable()

    task = lab.start(atomic, "atomic")
    with pytest.raises(KernelBug, match=rf"^note: atomic\[{task.pid}\] exited with preempt_count 1$"):
        lab.play(10)
    lab.end()
    lab = Lab(1, FULL)

    async def locked(task: Task) -> None:
        task.held_locks.append("big lock")

    task = lab.start(locked, "locked")
    with pytest.raises(KernelBug, match=rf"^locked/{task.pid} exits while holding big lock$"):
        lab.play(10)
    lab.end()


def test_exit_hands_the_cpu_to_the_next_task_and_frees_the_pid() -> None:
    lab = Lab(1, FULL)

    async def body(task: Task) -> None:
        await task.spend(100)
        lab.note(task.comm)

    first = lab.start(body, "first", policy=SCHED_FIFO, rt_priority=1)
    second = lab.start(body, "second", policy=SCHED_FIFO, rt_priority=1)
    lab.play(1000)
    assert lab.log == [(100, "first"), (200, "second")]
    assert lab.switches() == [(0, "0 swapper/0(R) > first"), (100, "0 first(X) > second"), (200, "0 second(X) > swapper/0")]
    assert first.exited and second.exited
    assert lab.sched.tasks == {}
    assert lab.sched.new_task(body, "third", pid=first.pid).pid == first.pid
    lab.end()


def test_a_new_task_goes_to_an_idle_cpu() -> None:
    lab = Lab(2, STOCK, ipi_send_ns=60, ttwu_ns=350)

    async def hog(task: Task) -> None:
        await task.spend(10_000)

    async def body(task: Task) -> None:
        lab.note(task.cpu.name)

    lab.start(hog, "hog", cpu=0)
    lab.begin(1000, body, "body")
    lab.play(20_000)
    lab.end()
    assert lab.story("sched_wakeup_new", "reschedule_entry", "sched_migrate_task") == [
        (1350, "0 wakeup_new body on 1"),
        (1410, "1 reschedule"),
    ]
    assert lab.log == [(1410, "CPU1")]


@pytest.mark.parametrize(("kernel", "ipi"), [(STOCK, "call_function_single"), (RT, "reschedule")], ids=["stock", "rt"])
def test_a_remote_idle_cpu_is_woken_by_the_ipi_that_the_kernel_uses(kernel: Any, ipi: str) -> None:
    lab = Lab(2, kernel, **COSTS)

    async def sleeper(task: Task) -> None:
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        await task.schedule()
        lab.note("woken")

    task = lab.start(sleeper, "sleeper", cpu=1)
    lab.wake_at(10_000, task, cpu=0)
    lab.play(50_000)
    lab.end()
    wakeup = (10_410, "1 wakeup sleeper on 1") if kernel is STOCK else (10_350, "0 wakeup sleeper on 1")
    assert lab.story()[2:6] == [(10_000, "0 waking sleeper"), *sorted([(10_410, f"1 {ipi}"), wakeup]), (10_810, "1 swapper/1(R) > sleeper")]
    assert lab.log == [(11_410, "woken")]


def test_two_wake_ups_of_an_idle_cpu_share_one_ipi() -> None:
    lab = Lab(2, STOCK, sysvec_entry_ns=1000)

    async def sleeper(task: Task) -> None:
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        await task.schedule()
        lab.note(task.comm)

    tasks = [lab.start(sleeper, name, cpu=1) for name in ("a", "b")]

    async def both(cpu: Cpu) -> None:
        for task in tasks:
            await lab.sched.wake_up_process(cpu, task)

    lab.interrupt(100, both, 0)
    lab.play(5000)
    lab.end()
    assert lab.story("call_function_single_entry", "sched_wakeup") == [
        (1100, "1 call_function_single"),
        (1100, "1 wakeup a on 1"),
        (1100, "1 wakeup b on 1"),
    ]
    assert sorted(lab.log) == [(1100, "a"), (1100, "b")]


def test_migration_on_wake_up_is_traced() -> None:
    lab = Lab(2, FULL)

    async def sleeper(task: Task) -> None:
        await lab.nap(task, 100)
        lab.note(task.cpu.name)

    async def hog(task: Task) -> None:
        await task.spend(1000)

    lab.start(sleeper, "sleeper")
    lab.begin(50, hog, "hog", cpu=0, policy=SCHED_FIFO, rt_priority=1)
    lab.play(5000)
    lab.end()
    assert lab.story("sched_migrate_task") == [(100, "1 migrate sleeper 0 > 1")]
    assert lab.log == [(100, "CPU1")]
    assert lab.sched.nr_migrations == 1


def test_affinity_moves_a_waiting_task_at_once() -> None:
    lab = Lab(2, FULL)

    async def hog(task: Task) -> None:
        await task.spend(1000)

    async def waiter(task: Task) -> None:
        lab.note(task.cpu.name)

    lab.start(hog, "hog", cpu=0, policy=SCHED_FIFO, rt_priority=1)
    task = lab.start(waiter, "waiter")
    lab.at(500, lambda: lab.sched.set_cpus_allowed(lab.cpus[0], task, 0b10))
    lab.play(5000)
    lab.end()
    assert lab.log == [(500, "CPU1")]
    assert lab.story("sched_migrate_task") == [(500, "0 migrate waiter 0 > 1")]


def test_using_smp_processor_id_in_preemptible_code() -> None:
    lab = Lab(1, FULL)

    async def body(task: Task) -> None:
        task.this_cpu()

    lab.start(body, "body")
    with pytest.raises(KernelBug, match=r"^BUG: using smp_processor_id\(\) in preemptible \[00000000\] code: body/1$"):
        lab.play(10)
    lab.end()


def test_a_sleep_that_nobody_can_end_stalls_the_simulation() -> None:
    lab = Lab(1, FULL)

    async def body(task: Task) -> None:
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        await task.schedule()

    lab.start(body, "body")
    with pytest.raises(SimulationStalled, match="nothing is left to run while body-1 cannot go on"):
        lab.play(1000)
    lab.end()


def test_usage_errors_name_what_is_wrong() -> None:
    lab = Lab(1, FULL)

    async def body(task: Task) -> None:
        await task.spend(1)

    with pytest.raises(UsageError, match=r"^x: real-time priority 100 is not in 1\.\.99 \(-EINVAL\)$"):
        lab.sched.new_task(body, "x", policy=SCHED_FIFO, rt_priority=100)
    with pytest.raises(UsageError, match=r"^x: nice 20 is not in -20\.\.19 \(-EINVAL\)$"):
        lab.sched.new_task(body, "x", nice=20)
    with pytest.raises(UsageError, match=r"^x: scheduling policy 7 is not known \(-EINVAL\)$"):
        lab.sched.new_task(body, "x", policy=7)
    lab.sched.new_task(body, "x", pid=77)
    with pytest.raises(UsageError, match="^pid 77 is taken by x$"):
        lab.sched.new_task(body, "y", pid=77)
    lab.end()
