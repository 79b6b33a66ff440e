from __future__ import annotations

from typing import Any

import pytest

from asyncirq.bottom_half.napi import Napi
from asyncirq.config import KernelConfig, preset
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task
from tests.bottom_half.harness import HZ1000, MS, Bench

OLD = preset("linux-6.1", hz=1000)


class Scene(Bench):
    """A device whose poll takes what is there; ``answers`` are those of napi_complete_done: may the interrupt be unmasked?"""

    def __init__(self, kernel: KernelConfig = HZ1000, **costs: Any) -> None:
        super().__init__(1, kernel, **costs)
        self.packets = 0
        self.answers: list[tuple[int, int, bool]] = []
        self.device = Napi(self.poll, 64, "eth0", "eth0")
        self.napi.netif_napi_add(self.device)
        self.napi.napi_enable(self.device)

    async def poll(self, cpu: Cpu, napi: Napi, budget: int) -> int:
        work, self.packets = self.packets, 0
        await cpu.spend(10)
        self.answers.append((self.engine.now, work, await self.napi.napi_complete_done(cpu, napi, work)))
        return work

    async def schedule(self, cpu: Cpu) -> None:
        await self.napi.napi_schedule(cpu, self.device)


def test_deferring_hard_interrupts() -> None:
    m = Scene()
    m.device.defer_hard_irqs = 2
    m.device.gro_flush_timeout_ns = 50_000
    m.packets = 3
    m.irq_at(1000, m.schedule)

    def more() -> None:
        m.packets = 1

    m.at(60_000, more)
    m.play(MS)
    # Two polls without packets are answered with no, the third with yes; packets begin the count anew.
    assert m.answers == [
        (1010, 3, False),
        (51_020, 0, False),
        (101_030, 1, False),
        (151_040, 0, False),
        (201_050, 0, True),
    ]
    assert [time for time, *_ in m.events("softirq_raise")] == [1000, 51_010, 101_020, 151_030, 201_040]


def test_a_timeout_of_zero_defers_nothing() -> None:
    m = Scene()
    m.device.defer_hard_irqs = 2
    m.irq_at(1000, m.schedule)
    m.play(MS)
    assert m.answers == [(1010, 0, True)]


def test_an_interrupt_that_comes_meanwhile_finds_the_timer_useless() -> None:
    m = Scene()
    m.device.defer_hard_irqs = 1
    m.device.gro_flush_timeout_ns = 50_000
    m.packets = 1
    m.irq_at(1000, m.schedule)
    m.irq_at(30_000, m.schedule)
    m.play(MS)
    assert m.answers == [(1010, 1, False), (30_010, 0, True), (51_020, 0, True)]


def test_suspending_interrupts() -> None:
    m = Scene()
    m.device.irq_suspend_timeout_ns = 200_000

    async def application(task: Task) -> None:
        cpu = task.preempt_disable()
        m.napi.napi_suspend_irqs(cpu, m.device)
        await task.preempt_enable()
        await task.spend(100_000)
        m.note("found packets, again")
        cpu = task.preempt_disable()
        m.napi.napi_suspend_irqs(cpu, m.device)
        await task.preempt_enable()
        await task.spend(50_000)
        m.note("sleeps")
        await m.napi.napi_resume_irqs(task, m.device)

    m.start(application, "app")
    m.play(120_000)
    assert m.answers == []  # the timer was armed anew before it expired


@pytest.mark.parametrize("returns", [True, False])
def test_the_suspension_ends_with_the_application_or_the_timer(returns: bool) -> None:
    m = Scene()
    m.device.irq_suspend_timeout_ns = 200_000

    async def application(task: Task) -> None:
        cpu = task.preempt_disable()
        m.napi.napi_suspend_irqs(cpu, m.device)
        await task.preempt_enable()
        await task.spend(50_000)
        if returns:
            await m.napi.napi_resume_irqs(task, m.device)
        await task.spend(400_000)

    m.start(application, "app")
    m.play(180_000 if returns else MS)
    assert m.answers == [(50_010, 0, True)] if returns else [(200_010, 0, True)]


@pytest.mark.parametrize(
    ("kernel", "raises", "rounds"),
    [(HZ1000, [1000], 1), (OLD, [1000, 1505], 2)],
    ids=["6.12", "6.1"],
)
def test_what_is_scheduled_during_a_round_raises_again_before_6_4(kernel: KernelConfig, raises: list[int], rounds: int) -> None:
    m = Scene(kernel)

    async def slow(cpu: Cpu, napi: Napi, budget: int) -> int:
        await cpu.spend(1000)
        await m.napi.napi_complete_done(cpu, napi, 1)
        return 1

    other = Napi(slow, 64, "slow", "slow")
    m.napi.netif_napi_add(other)
    m.napi.napi_enable(other)

    async def first(cpu: Cpu) -> None:
        await m.napi.napi_schedule(cpu, other)

    m.irq_at(1000, first)
    m.irq_at(1505, m.schedule)
    m.play(MS)
    assert [time for time, *_ in m.events("softirq_raise")] == raises
    assert len(m.events("softirq_entry")) == rounds
    assert len(m.answers) == 1


class Wanted(Scene):
    """The same device with a ring: a poll takes as much as its budget."""

    async def poll(self, cpu: Cpu, napi: Napi, budget: int) -> int:
        work = min(budget, self.packets)
        self.packets -= work
        await cpu.spend(10)
        if work < budget:
            self.answers.append((self.engine.now, work, await self.napi.napi_complete_done(cpu, napi, work)))
        return work


def test_preferred_busy_poll_leaves_the_device_masked_for_the_timeout() -> None:
    m = Wanted()
    m.device.defer_hard_irqs = 1
    m.device.gro_flush_timeout_ns = 50_000
    m.packets = 32
    polled: list[int] = []

    async def app(task: Task) -> None:
        polled.append(await m.napi.napi_busy_poll(task, m.device, 8, prefer=True))

    m.start(app, "app")
    m.play(MS)
    # Neither round completes; NET_RX is not raised before the timer, which takes the rest and defers once more.
    assert polled == [16]
    assert [time for time, *_ in m.events("softirq_raise")] == [50_010, 100_020]
    assert m.answers == [(50_020, 16, False), (100_030, 0, True)]


def test_busy_poll_without_preference_leaves_the_rest_to_net_rx() -> None:
    m = Wanted()
    m.device.defer_hard_irqs = 1
    m.device.gro_flush_timeout_ns = 50_000
    m.packets = 32

    async def app(task: Task) -> None:
        await m.napi.napi_busy_poll(task, m.device, 8)

    m.start(app, "app")
    m.play(MS)
    assert [time for time, *_ in m.events("softirq_raise")] == [20, 50_030]
    assert m.answers == [(30, 16, False), (50_040, 0, True)]


def test_net_rx_gives_back_an_instance_that_a_task_prefers_to_poll() -> None:
    m = Wanted()
    m.device.defer_hard_irqs = 1
    m.device.gro_flush_timeout_ns = 50_000
    m.packets = 3 * 64 + 1
    m.irq_at(1000, m.schedule)

    async def prefer(cpu: Cpu) -> None:
        m.device.prefer_busy_poll |= m.device.scheduled

    m.irq_at(1005, prefer)
    m.play(MS)
    # After the first full poll the instance is completed and its interrupt stays masked until the timer has it polled to the end.
    polls = [(time, work) for time, _, _, _, work, _ in m.events("napi_poll")]
    assert polls == [(1010, 64), (51_020, 64), (51_030, 64), (51_040, 1), (101_050, 0)]
    assert not m.device.prefer_busy_poll
