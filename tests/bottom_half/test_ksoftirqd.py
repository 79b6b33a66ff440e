"""Show how softirq threads begin, sleep, and give the CPU away between two rounds."""

from __future__ import annotations

import pytest

from asyncirq.bottom_half.softirq import NET_RX_SOFTIRQ
from asyncirq.config import KernelConfig, preset
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, TASK_RUNNING, Task
from tests.softirq_rig import FORCED, FULL, RT, STOCK, Rig

KERNEL_26 = preset("linux-2.6")


@pytest.mark.parametrize(
    ("kernel", "names"),
    [
        (STOCK, [("ksoftirqd/0", 120), ("ksoftirqd/1", 120)]),
        (RT, [("ksoftirqd/0", 120), ("ktimers/0", 98), ("ksoftirqd/1", 120), ("ktimers/1", 98)]),
        (KERNEL_26, [("ksoftirqd/0", 139), ("ksoftirqd/1", 139)]),
    ],
    ids=["stock", "rt", "2.6"],
)
def test_the_threads_of_each_kernel(kernel: KernelConfig, names: list[tuple[str, int]]) -> None:
    m = Rig(2, kernel)
    assert [(task.comm, task.prio) for task in m.sched.tasks.values()] == names
    assert {task.state for task in m.sched.tasks.values()} == {TASK_INTERRUPTIBLE}
    m.end()


def test_a_raise_before_the_thread_exists_stays() -> None:
    m = Rig(daemons=False)

    async def body(task: Task) -> None:
        cpu = task.preempt_disable()
        await m.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)
        await task.preempt_enable()
        m.note(f"{m.softirq.pending[0]:#x} {m.softirq.wake_ksoftirqd_count}")

    m.start(body, "body", cpu=0)
    m.play(100)
    assert m.log == [(0, "0x8 [0]")]
    m.end()


@pytest.mark.covers("S0-97")
@pytest.mark.parametrize("when", range(100, 132))
def test_no_wake_up_is_lost_while_it_goes_to_sleep(when: int) -> None:
    """ksoftirqd is woken at 100, runs from 110 on, clears the word at 113 and has gone to sleep by 120."""
    m = Rig(kernel=FORCED, switch_block_ns=7, switch_in_ns=5, switch_idle_ns=5, ksoftirqd_ns=3)

    async def body(cpu: Cpu) -> None:
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)

    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.irq(when, body)
    m.play(1000)
    daemon = m.softirq.ksoftirqd[0]
    assert daemon is not None
    assert (m.softirq.pending, daemon.state) == ([0], TASK_INTERRUPTIBLE)
    assert m.softirq.counts[0][NET_RX_SOFTIRQ] == (1 if when <= 110 else 2)
    m.end()


def endless(m: Rig) -> None:
    """Make NET_RX raise itself for ever, 10 ns at a time."""

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(10)
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.irq_raises(100, NET_RX_SOFTIRQ)


@pytest.mark.covers("S0-102")
@pytest.mark.parametrize("kernel", [STOCK, FULL, RT, KERNEL_26], ids=["voluntary", "full", "rt", "2.6"])
def test_a_real_time_task_gets_the_cpu_between_two_rounds(kernel: KernelConfig) -> None:
    m = Rig(kernel=kernel)
    ran = 0

    async def run_fifo(task: Task) -> None:
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()
        m.note(f"{task.comm} after {ran}")

    fifo = m.start(run_fifo, "fifo", cpu=0, policy=SCHED_FIFO, rt_priority=50)

    async def net_rx(cpu: Cpu) -> None:
        nonlocal ran
        ran += 1
        await cpu.spend(10)
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        task = cpu.current
        if ran == 15 and task is m.softirq.ksoftirqd[0]:
            # No interrupt is about that could reschedule at its exit.
            await m.sched.wake_up_process(cpu, fifo)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.play(1000)
    after = {"linux-2.6": 20}.get(kernel.release, 15)
    assert m.log == [(100 + 10 * after, f"fifo after {after}")]
    m.end()


def test_it_keeps_running_while_something_is_pending() -> None:
    m = Rig()
    endless(m)
    m.play(1000)
    daemon = m.softirq.ksoftirqd[0]
    assert daemon is not None
    assert daemon.state == TASK_RUNNING
    assert (m.softirq.counts[0][NET_RX_SOFTIRQ], m.softirq.wake_ksoftirqd_count) == (91, [1])
    assert m.story("sched_waking", "sched_switch") == [
        (200, "idle: waking ksoftirqd/0"),
        (200, "idle: swapper/0(R) > ksoftirqd/0"),
    ]
    m.end()


def test_on_rt_a_round_is_ten_passes_and_one_hold_of_the_lock() -> None:
    m = Rig(kernel=RT)
    endless(m)

    async def waiter(task: Task) -> None:
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()
        await m.softirq.local_bh_disable(task)
        m.note("waiter has the lock")
        await m.softirq.local_bh_enable(task)

    fifo = m.start(waiter, "waiter", cpu=0, policy=SCHED_FIFO, rt_priority=50)

    async def wake(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, fifo)

    m.irq(115, wake)
    m.play(400)
    # It has lent its priority, so that nothing ends the round that began at 100 before its tenth pass; then it is its turn at once.
    assert m.log == [(200, "waiter has the lock")]
    m.end()
