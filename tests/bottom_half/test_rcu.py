from __future__ import annotations

import asyncio

import pytest

from asyncirq import Machine, ms
from asyncirq.bottom_half.rcu import BATCH, Rcu
from asyncirq.bottom_half.softirq import RCU_SOFTIRQ
from asyncirq.config import KernelConfig, preset
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.bottom_half.harness import FULL1000, HZ1000, MS, Bench, burn


class Scene(Bench):
    def __init__(self, cpus: int = 1, kernel: KernelConfig = HZ1000) -> None:
        super().__init__(cpus, kernel, tick=True)
        self.grace = Rcu(self.softirq)
        self.tick.hooks.insert(0, self.grace.tick)
        self.tick.keepers.append(self.grace.needs_cpu)

    async def freed(self, cpu: Cpu) -> None:
        self.note(f"freed on {cpu.id}")

    def call_at(self, when: int, cpu: int = 0) -> None:
        async def handler(here: Cpu) -> None:
            self.grace.call_rcu(here, self.freed)

        self.irq_at(when, handler, cpu)


async def user(task: Task) -> None:
    while True:
        await task.user(10 * MS)


def test_the_tick_in_user_mode_is_a_quiescent_state() -> None:
    m = Scene()
    m.start(user, "user")
    m.call_at(MS // 2)
    m.play(5 * MS)
    assert m.log == [(MS, "freed on 0")]
    assert (m.grace.started, m.grace.completed, m.softirq.counts[0][RCU_SOFTIRQ]) == (1, 1, 1)
    assert [time for time, *_ in m.events("softirq_raise")] == [MS]


def test_a_callback_waits_for_a_grace_period_that_begins_after_it() -> None:
    m = Scene(2)
    m.start(user, "user", cpu=0)

    async def in_the_kernel(task: Task) -> None:
        cpu = task.preempt_disable()
        await cpu.spend(3_500_000)
        await task.preempt_enable()
        await user(task)

    m.start(in_the_kernel, "kernel", cpu=1)
    m.call_at(MS // 2)
    m.call_at(2 * MS + 100)  # in the first grace period: it waits for the second one
    m.play(10 * MS)
    # CPU1 has nothing but kernel mode with preemption off until 3.5 ms; its tick at 4 ms reports, CPU0's of 5 ms ends it.
    assert m.log == [(5 * MS, "freed on 0"), (6 * MS, "freed on 0")]
    assert m.grace.completed == 2


def test_a_context_switch_is_a_quiescent_state() -> None:
    m = Scene()

    async def kernel(task: Task) -> None:
        await task.spend(1_200_000)
        await m.sleep.usleep_range(task, 100, 100)
        await task.spend(5 * MS)

    m.start(kernel, "kernel")
    m.call_at(MS // 2)
    m.play(10 * MS)
    # Kernel mode of a kernel without preemption is none: the tick of 1 ms finds nothing, that of 2 ms the switch.
    assert m.log == [(2 * MS, "freed on 0")]


def test_kernel_mode_outside_a_reader_is_one_on_a_preemptible_kernel() -> None:
    m = Scene(kernel=FULL1000)
    m.start(burn, "burn")
    m.call_at(MS // 2)
    m.play(10 * MS)
    assert m.log == [(MS, "freed on 0")]


def test_a_preempted_reader_holds_the_grace_period_up() -> None:
    m = Scene(kernel=FULL1000)

    async def reader(task: Task) -> None:
        held = m.grace.rcu_read_lock(task.cpu)
        nested = m.grace.rcu_read_lock(task.cpu)
        await task.spend(300_000)
        m.grace.rcu_read_unlock(nested)
        await task.spend(100_000)
        m.note("reader ends")
        m.grace.rcu_read_unlock(held)
        await task.spend(5 * MS)

    async def urgent(task: Task) -> None:
        await m.sleep.usleep_range(task, 200, 200)
        await task.spend(2 * MS)

    m.start(reader, "reader")
    m.start(urgent, "urgent", policy=SCHED_FIFO, rt_priority=10)
    m.call_at(100_000)
    m.play(10 * MS)
    # Preempted from 0.2 to 2.2 ms with 0.2 ms to go.
    assert m.log == [(2_400_000, "reader ends"), (3 * MS, "freed on 0")]


def test_unlocking_without_a_lock_is_a_bug() -> None:
    m = Scene()

    async def wrong(task: Task) -> None:
        m.grace.rcu_read_unlock(task)

    m.start(wrong, "wrong")
    with pytest.raises(KernelBug, match=r"^rcu_read_unlock of wrong/\d+, which is no reader, at 0 ns$"):
        m.play(MS)


def test_idle_cpus_are_not_waited_for() -> None:
    m = Scene(4)
    m.call_at(MS // 2, cpu=2)
    m.play(5 * MS)
    assert m.log == [(MS, "freed on 2")]
    assert [time for time, *_ in m.events("softirq_raise")] == [MS]
    assert m.tick.ts[2].stopped  # the callback kept the tick, now nothing does


def test_synchronize_sleeps_for_a_grace_period() -> None:
    m = Scene()

    async def updater(task: Task) -> None:
        await task.spend(200_000)
        await m.grace.synchronize_rcu(task)
        m.note("synchronized")

    m.start(updater, "updater")
    m.play(5 * MS)
    assert m.log == [(MS, "synchronized")]


def test_callbacks_run_in_batches() -> None:
    m = Scene()
    m.start(user, "user")

    async def handler(cpu: Cpu) -> None:
        for _ in range(2 * BATCH + 1):
            m.grace.call_rcu(cpu, m.freed)

    m.irq_at(MS // 2, handler)
    m.play(5 * MS)
    assert len(m.log) == 2 * BATCH + 1
    assert m.softirq.counts[0][RCU_SOFTIRQ] == 3


@pytest.mark.parametrize(("kernel", "where"), [("linux-6.12", "softirq"), ("linux-6.12-rt", "rcuc/0")])
def test_who_runs_the_callbacks(kernel: str, where: str) -> None:
    async def body() -> str:
        async with Machine(1, preset("linux-6.12", rt=kernel.endswith("rt"), hz=1000)) as m:
            found: list[str] = []

            async def freed(cpu: Cpu) -> None:
                assert isinstance(cpu.current, Task)
                found.append(cpu.current.comm)

            async def caller(task: Task) -> None:
                cpu = task.preempt_disable()
                m.kernel.rcu.call_rcu(cpu, freed)
                await task.preempt_enable()
                await task.user(ms(3))

            m.start_thread(caller, "caller", cpu=0)
            await m.run_for(ms(5))
            rcu = m.softirq.counts[0][RCU_SOFTIRQ]
            return "softirq" if rcu == 1 and found == ["caller"] else found[0]

    assert asyncio.run(body()) == where
