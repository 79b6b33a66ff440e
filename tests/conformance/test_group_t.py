"""Show the rows of inventory group T that no other file shows, and the pending softirqs that an idle CPU finds (SOFT-21)."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq import Machine, Task, us
from asyncirq.bottom_half.global_timer import GlobalTimer
from asyncirq.bottom_half.napi import Napi
from asyncirq.bottom_half.rcu import Rcu
from asyncirq.bottom_half.softirq import BLOCK_SOFTIRQ, NET_RX_SOFTIRQ, RCU_SOFTIRQ
from asyncirq.bottom_half.timer_wheel import Timer
from asyncirq.config import KernelConfig, preset
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.rtmutex import RtLock
from tests.bottom_half.harness import HZ1000, MS, RT1000, Bench, burn
from tests.softirq_rig import Rig

HZ1000_26 = preset("linux-2.6", hz=1000)


@pytest.mark.parametrize("kernel", [HZ1000_26, HZ1000], ids=["2.6", "modern"])
def test_S4_14_mod_timer_to_now_runs_on_the_next_pass(kernel: KernelConfig) -> None:
    m = Bench(kernel=kernel, tick=True)

    async def watchdog(cpu: Cpu, timer: Timer) -> None:
        m.note("watchdog")

    timer = Timer(watchdog, "watchdog")
    m.timers.mod_timer(m.cpus[0], timer, 2000)

    async def link_interrupt(cpu: Cpu) -> None:
        m.timers.mod_timer(cpu, timer, m.timers.jiffies)

    m.start(burn, "burn")
    m.irq_at(5 * MS + 300_000, link_interrupt)
    m.play(20 * MS)
    assert m.log == [(6 * MS, "watchdog")]


def softirq_passes(start: int) -> int:
    """Return how many passes of 0.3 ms fit into one exit that begins at ``start``."""
    m = Rig(kernel=HZ1000)

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(300_000)
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.irq_raises(start, NET_RX_SOFTIRQ)
    m.play(start + 5 * MS)
    runs = [text for _, text in m.softirqs()]
    m.end()
    return runs.index("ksoftirqd/0: NET_RX")


def net_polls(start: int) -> int:
    """Return how many polls of 0.3 ms fit into one NET_RX round that begins at ``start``."""
    m = Bench(kernel=preset("linux-6.12", hz=1000, netdev_budget=10_000))

    async def poll(cpu: Cpu, napi: Napi, budget: int) -> int:
        await cpu.spend(300_000)
        return budget

    instances = [Napi(poll, 64, f"n{n}", f"eth{n}") for n in range(20)]
    for napi in instances:
        m.napi.netif_napi_add(napi)
        m.napi.napi_enable(napi)

    async def handler(cpu: Cpu) -> None:
        for napi in instances:
            await m.napi.napi_schedule(cpu, napi)

    m.irq_at(start, handler)
    m.play(start + 5 * MS)
    rounds = m.events("softirq_exit")
    return sum(time <= rounds[0][0] for time, *_ in m.events("napi_poll"))


@pytest.mark.parametrize("count", [softirq_passes, net_polls])
def test_S0_104_whole_ticks_are_compared(count: Any) -> None:
    # Just after a tick two whole ticks are left, just before one only a little more than one.
    assert (count(10 * MS + 1000), count(11 * MS - 1000)) == (7, 4)


def test_S0_22_an_interrupt_restarts_the_tick_of_an_idle_cpu() -> None:
    m = Bench(tick=True)

    async def nothing(cpu: Cpu, timer: Timer) -> None:
        m.note("timer")

    timer = Timer(nothing, "t")
    ticks = m.tick.ts[0]
    stopped: list[tuple[int, bool, int]] = []

    def look() -> None:
        stopped.append((m.engine.now, ticks.stopped, ticks.next_tick))

    async def arms(cpu: Cpu) -> None:
        m.timers.mod_timer(cpu, timer, m.timers.jiffies + 3)

    m.at(4 * MS, look)
    m.irq_at(5 * MS + 100, arms)
    m.at(5 * MS + 200, look)
    m.play(20 * MS)
    # Stopped for good; the exit of the interrupt puts the event to the timer's jiffy; afterwards it stops again.
    assert stopped[0][:2] == (4 * MS, True)
    assert stopped[1] == (5 * MS + 200, True, 9 * MS)
    assert m.log == [(9 * MS, "timer")]
    assert [(t, when) for t, _, when in m.programmed if t >= 4 * MS] == [(5 * MS + 100, 9 * MS), (9 * MS, None)]


def test_S0_22_rcu_restarts_the_tick() -> None:

    m = Bench(tick=True)
    rcu = Rcu(m.softirq)
    m.tick.hooks.insert(0, rcu.tick)
    m.tick.keepers.append(rcu.needs_cpu)

    async def freed(cpu: Cpu) -> None:
        m.note("freed")

    async def handler(cpu: Cpu) -> None:
        rcu.call_rcu(cpu, freed)

    m.irq_at(5 * MS + 100, handler)
    m.play(20 * MS)
    # A callback keeps the tick on: the next one finds the CPU idle, ends the grace period and runs the callback.
    assert m.log == [(6 * MS, "freed")]
    assert [time for time, *_ in m.events("softirq_raise")] == [6 * MS]


@pytest.mark.asyncio
async def test_S4_04_only_the_global_timer_updates_jiffies() -> None:
    async with Machine(2, preset("linux-2.6", hz=1000)) as m:
        line, irq = m.line(2, level=False)
        timer = GlobalTimer(2)
        await m.irq.request_irq(None, irq, timer.timer_interrupt, 0, "timer", timer)

        async def pit() -> None:
            for _ in range(5):
                await m.engine.sleep(MS)
                line.set(True)
                line.set(False)

        async def busy(task: Task) -> None:
            while True:
                await task.user(us(10))

        m.start_thread(busy, "busy0", cpu=0)
        m.start_thread(busy, "busy1", cpu=1)
        m.spawn(pit(), "pit")
        await m.run_for(20 * MS + us(500))
        # The local timers of both CPUs go on after the global one has stopped; nobody counts jiffies any more.
        assert [ts.nr_ticks for ts in m.kernel.tick.ts] == [20, 20]
        assert (timer.jiffies, timer.updates) == (5, [5, 0])


def pending_at_idle(m: Bench, vec: int) -> None:
    """Leave a vector pending on an idle CPU, again and again, without anybody who runs it."""

    async def forgetful(task: Task) -> None:
        cpu = task.preempt_disable()
        m.softirq.raise_softirq_nowake(cpu, vec)
        await task.preempt_enable()

    for n in range(12):
        m.at(n * 10_000 + 100, lambda: m.sched.start_now(m.sched.new_task(forgetful, "forgetful", cpu=0)))
        m.at(n * 10_000 + 100, lambda: setattr(m.cpus[0], "need_resched", True))
        m.irq_at(n * 10_000 + 200, nothing_at_all)
        m.at(n * 10_000 + 5000, lambda: m.softirq.pending.__setitem__(0, 0))
    m.play(MS // 2)


async def nothing_at_all(cpu: Cpu) -> None:
    """Handle an interrupt without doing anything."""


WORDS = "NOHZ tick-stop error: local softirq work is pending, handler #{:02x}!!!"


@pytest.mark.parametrize(("kernel", "vec"), [(HZ1000, BLOCK_SOFTIRQ), (HZ1000, RCU_SOFTIRQ), (RT1000, BLOCK_SOFTIRQ)])
def test_SOFT_21_idle_with_pending_bits(kernel: KernelConfig, vec: int) -> None:
    m = Bench(kernel=kernel, tick=True, daemons=False)
    pending_at_idle(m, vec)
    assert m.said() == [WORDS.format(1 << vec)] * 10


@pytest.mark.parametrize(("vec", "reports"), [(RCU_SOFTIRQ, 0), (BLOCK_SOFTIRQ, 10)])
def test_SOFT_21_a_cpu_that_goes_down_may_leave_what_is_hotplug_safe(vec: int, reports: int) -> None:
    m = Bench(tick=True, daemons=False)
    m.tick.online[0] = False
    pending_at_idle(m, vec)
    assert len(m.said()) == reports


def test_SOFT_21_not_on_rt_while_bottom_halves_are_blocked() -> None:
    m = Bench(2, RT1000, tick=True)
    lock = RtLock(m.sched, "lock")

    async def other(task: Task) -> None:
        await lock.lock(task)
        await task.spend(200_000)
        await lock.unlock(task)

    async def holder(task: Task) -> None:
        await task.spend(100)
        cpu = await m.softirq.local_bh_disable(task)
        m.softirq.raise_softirq_nowake(cpu, BLOCK_SOFTIRQ)
        await lock.lock(task)  # a section of PREEMPT_RT may sleep on a lock: the CPU idles with the bit pending
        await lock.unlock(task)
        await m.softirq.local_bh_enable(task)

    m.start(other, "other", cpu=1)
    m.start(holder, "holder", cpu=0)
    m.play(MS)
    assert m.said() == []
    assert m.log == [(200_000, "block")]
