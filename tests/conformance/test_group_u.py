"""Show group U of the inventory, scheduler bits, and CTX-15: waking, affinity, parking, counters, calls from CPU to CPU."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncirq import Machine, preset
from asyncirq.errors import KernelBug, SimulationStalled, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.kthread import Kthread, kthread_create
from asyncirq.sched.placement import nr_cpus_allowed
from asyncirq.sched.preempt import ARM64_WORD, X86_WORD, in_hardirq
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, TASK_PARKED, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task
from asyncirq.trace.record import tag_of
from tests.sched.harness import FULL, Lab


def spender(ns: int) -> Any:
    async def body(task: Task) -> None:
        await task.spend(ns)

    return body


def test_S0_83_wake_up_process() -> None:
    lab = Lab(1, FULL)
    got: list[bool] = []

    async def sleeper(task: Task) -> None:
        for state in (TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE):
            task.set_current_state(state)
            await task.schedule()
        await task.spend(1000)

    async def wake(cpu: Cpu) -> None:
        got.append(await lab.sched.wake_up_process(cpu, task))

    task = lab.start(sleeper, "sleeper")
    for when in (100, 200, 300):
        lab.interrupt(when, wake)
    lab.play(5000)
    lab.end()
    # Out of either normal sleep; the running task is left alone, without a record.
    assert got == [True, True, False]
    assert [ts for ts, _ in lab.story("sched_waking")] == [100, 200]


def test_S0_94_affinity_change_under_run() -> None:
    lab = Lab(2, FULL)
    running = lab.start(spender(1000), "running", policy=SCHED_FIFO, rt_priority=5)
    queued = lab.start(spender(1000), "queued")
    queued.allowed = 0b01

    async def boss(task: Task) -> None:
        await task.spend(100)
        await lab.sched.set_cpus_allowed_ptr(task, running, 0b01)  # where it is: nothing happens
        await lab.sched.set_cpus_allowed_ptr(task, queued, 0b10)  # waits: moves at once
        await lab.sched.set_cpus_allowed_ptr(task, running, 0b10)  # runs: stopped, then moved

    lab.start(boss, "boss", cpu=1, policy=SCHED_FIFO, rt_priority=50)
    lab.play(9000)
    lab.end()
    assert [text for _, text in lab.story("sched_switch", "sched_migrate_task")[2:6]] == [
        "1 migrate queued 0 > 1",
        "1 boss(D) > queued",
        "0 running(R+) > migration/0",
        "0 migrate running 0 > 1",
    ]


def test_S0_95_common_set_mask() -> None:
    lab = Lab(4, FULL)
    task = lab.start(spender(100), "task")
    counts = [nr_cpus_allowed(task)]
    for mask in (0b0110, 0b1, 0xFF):
        lab.sched.set_cpus_allowed(lab.cpus[0], task, mask)
        counts.append(nr_cpus_allowed(task))
    with pytest.raises(UsageError):
        lab.sched.set_cpus_allowed(lab.cpus[0], task, 0x10)
    assert (counts, nr_cpus_allowed(task)) == ([4, 2, 1, 4], 4)
    lab.play(1000)
    lab.end()


def test_S0_91_park_and_unpark() -> None:
    lab = Lab(1, FULL)

    async def loop(kthread: Kthread) -> None:
        while not kthread.should_stop:
            if kthread.should_park:
                await kthread.parkme()
                continue
            kthread.task.set_current_state(TASK_INTERRUPTIBLE)
            if not (kthread.should_stop or kthread.should_park):
                await kthread.task.schedule()
            kthread.task.set_current_state(TASK_RUNNING)

    thread = kthread_create(lab.sched, loop, "thread", cpu=0)

    async def boss(task: Task) -> None:
        await task.wake(thread.task)
        await thread.park(task)
        lab.note(f"parked {thread.parked} {thread.task.state == TASK_PARKED}")
        await thread.unpark(task)
        await lab.nap(task, 100)
        lab.note(f"parked {thread.parked}")
        await thread.park(task)
        await thread.stop(task)
        lab.note(f"ended {thread.exited}")

    lab.start(boss, "boss", cpu=0)
    lab.play(5000)
    lab.end()
    assert [text for _, text in lab.log] == ["parked True True", "parked False", "ended True"]


def waits(delay: int, state_first: bool) -> bool:
    """Let a condition become true ``delay`` after the wait began; return whether the waiter went on."""
    lab = Lab(1, FULL, switch_block_ns=50)
    condition: list[int] = []
    done: list[int] = []

    async def waiter(task: Task) -> None:
        await task.spend(100)
        if state_first:
            task.set_current_state(TASK_UNINTERRUPTIBLE)
            await task.spend(50)
            while not condition:
                await task.schedule()
                task.set_current_state(TASK_UNINTERRUPTIBLE)
        else:
            while not condition:
                await task.spend(50)
                task.set_current_state(TASK_UNINTERRUPTIBLE)
                await task.schedule()
        task.set_current_state(TASK_RUNNING)
        done.append(1)

    async def wake(cpu: Cpu) -> None:
        condition.append(1)
        await lab.sched.wake_up_process(cpu, task)

    task = lab.start(waiter, "waiter")
    lab.interrupt(delay, wake)
    try:
        lab.play(5000)
    except SimulationStalled:
        return False
    lab.end()
    return bool(done)


def test_S0_98_state_before_test() -> None:
    instants = range(10, 400, 10)
    assert all(waits(when, state_first=True) for when in instants)
    # Swapped, the wake-up between the test and the state is lost, and that one alone.
    assert [when for when in instants if not waits(when, state_first=False)] == [110, 120, 130, 140, 150]


def test_S0_101_leave_without_reschedule() -> None:
    outs = []
    for check in (True, False):
        lab = Lab(1, FULL)

        other = lab.sched.new_task(spender(100), "other", policy=SCHED_FIFO, rt_priority=1)

        async def waker(task: Task, lab: Lab = lab, check: bool = check, other: Task = other) -> None:
            task.set_current_state(TASK_UNINTERRUPTIBLE)
            cpu = task.preempt_disable()
            await lab.sched.wake_up_process(cpu, other)
            if check:
                await task.preempt_enable()
            else:
                lab.sched.preempt_enable_no_resched(task)
            await task.schedule()

        task = lab.start(waker, "waker")
        lab.wake_at(1000, task)
        lab.play(5000)
        lab.end()
        outs.append([text for ts, text in lab.switches() if text.startswith("0 waker") and ts < 1000])
    assert outs == [["0 waker(R+) > other", "0 waker(D) > swapper/0"], ["0 waker(D) > other"]]


@pytest.mark.parametrize("layout", [ARM64_WORD, X86_WORD], ids=["arm64", "x86"])
def test_S1_69_thread_info_counters(layout: Any) -> None:
    lab = Lab(1, FULL)
    cpu = lab.cpus[0]
    found = []
    for count in (0, 1, 0x200, 0x10000):
        for flag in (False, True):
            cpu.preempt_count, cpu.need_resched = count, flag
            found.append((count, flag, layout.word(cpu) == 0))
    # One compare with zero decides: only a count of 0 and the flag, which is stored inverted, make the word 0.
    assert [(count, flag) for count, flag, now in found if now] == [(0, True)]
    cpu.preempt_count, cpu.need_resched = 1, False
    lab.end()


def test_S0_121_per_cpu_preempt_count() -> None:
    lab = Lab(1, FULL)
    cpu = lab.cpus[0]
    for count in (0, 1, 0x301, 0x110000):
        for flag in (False, True):
            cpu.preempt_count, cpu.need_resched = count, flag
            assert X86_WORD.count(X86_WORD.word(cpu)) == count == cpu.preempt_count
    cpu.preempt_count, cpu.need_resched = 1, False
    lab.end()


def test_CTX_15_ipi_calls() -> None:
    seen: list[Any] = []

    async def function(cpu: Cpu) -> None:
        seen.append((cpu.id, in_hardirq(cpu), cpu.irqs_off))
        await cpu.spend(100)

    machine = Machine(2, preset("linux-6.12"), check=True)

    async def caller(task: Task) -> None:
        ipi = machine.kernel.ipi
        cpu = task.preempt_disable()
        await ipi.smp_call_function_single(cpu, 1, function, True)
        seen.append("returned")
        cpu.irq_disable()
        with pytest.raises(KernelBug, match="interrupts off"):
            await ipi.smp_call_function_single(cpu, 1, function, True)
        await cpu.irq_enable()
        await task.preempt_enable()

    async def run() -> None:
        async with machine:
            machine.start_thread(caller, "caller", cpu=0)
            await machine.run_for(1_000_000)

    asyncio.run(run())
    assert seen == [(1, True, True), "returned"]


def test_CTX_15_several_calls_run_in_one_interrupt_in_order() -> None:
    order: list[int] = []
    machine = Machine(2, preset("linux-6.12"), check=True)

    def call(n: int) -> Any:
        async def function(cpu: Cpu) -> None:
            order.append(n)

        return function

    async def deaf(task: Task) -> None:
        cpu = task.preempt_disable()
        cpu.irq_disable()
        await cpu.spend(50_000)
        await cpu.irq_enable()
        await task.preempt_enable()

    async def caller(task: Task) -> None:
        await task.spend(5_000)
        cpu = task.preempt_disable()
        for n in range(3):
            await machine.kernel.ipi.smp_call_function_single(cpu, 1, call(n), False)
        await task.preempt_enable()

    async def run() -> None:
        async with machine:
            machine.start_thread(deaf, "deaf", cpu=1)
            machine.start_thread(caller, "caller", cpu=0)
            await machine.run_for(1_000_000)

    asyncio.run(run())
    assert order == [0, 1, 2]
    tags = [tag_of(type(record)) for record in machine.records]
    queued = tags.index("csd_queue_cpu")
    assert tags[queued:].count("ipi_send_cpu") == 1
    assert tags.count("call_function_single_entry") == 1 and tags.count("csd_function_entry") == 3
