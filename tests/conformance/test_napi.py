"""Show the NAPI cases of the catalogue."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.bottom_half.napi import Napi
from asyncirq.config import KernelConfig, preset
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import in_serving_softirq, in_softirq
from asyncirq.sched.task import SCHED_NORMAL, Task
from tests.bottom_half.harness import HZ1000, MS, Bench

PACKET = 10
"""CPU time of one packet, ns."""


class Scene(Bench):
    """Devices with a queue of packets; their poll functions take them, complete, and say whether the interrupt is unmasked."""

    def __init__(self, cpus: int = 1, kernel: KernelConfig = HZ1000, **costs: Any) -> None:
        super().__init__(cpus, kernel, **costs)
        self.packets: dict[str, int] = {}
        self.unmasked: list[tuple[int, str, bool]] = []

    def device(self, name: str, packets: int = 0, weight: int = 64, threaded: bool = False, packet_ns: int = PACKET) -> Napi:
        async def poll(cpu: Cpu, napi: Napi, budget: int) -> int:
            assert in_softirq(cpu)
            work = min(budget, self.packets[name])
            self.packets[name] -= work
            for _ in range(work):
                self.softnet.netif_receive_skb(cpu, name, 64)
            await cpu.spend(work * packet_ns)
            if work < budget:
                self.unmasked.append((self.engine.now, name, await self.napi.napi_complete_done(cpu, napi, work)))
            return work

        napi = Napi(poll, weight, name, name)
        self.packets[name] = packets
        self.napi.netif_napi_add(napi, threaded)
        self.napi.napi_enable(napi)
        return napi

    def irq(self, when: int, *devices: Napi, cpu: int = 0) -> None:
        async def handler(here: Cpu) -> None:
            for napi in devices:
                await self.napi.napi_schedule(here, napi)

        self.irq_at(when, handler, cpu)

    def polls(self) -> list[tuple[int, str, int]]:
        return [(time, napi, work) for time, _, napi, _, work, _ in self.events("napi_poll")]


def test_NAPI_01_schedule() -> None:
    m = Scene()
    a = m.device("a", 3)
    answers: list[object] = []

    async def handler(cpu: Cpu) -> None:
        answers.append(await m.napi.napi_schedule(cpu, a))
        answers.append((a.scheduled, a.missed, list(m.softnet.data[0].poll_list)))
        answers.append(await m.napi.napi_schedule(cpu, a))
        answers.append((a.scheduled, a.missed, list(m.softnet.data[0].poll_list)))
        a.missed = False

    m.irq_at(1000, handler)
    m.play(2000)
    assert answers == [True, (True, False, [a]), False, (True, True, [a])]
    assert m.events("softirq_raise") == [(1000, "softirq_raise", 3)]
    assert m.events("napi_poll") == [(1030, "napi_poll", "a", "a", 3, 64)]
    assert m.unmasked == [(1030, "a", True)]
    assert (a.scheduled, a.listed, a.polls, a.packets) == (False, False, 1, 3)


def test_NAPI_02_complete_with_missed() -> None:
    m = Scene()
    a = m.device("a", 3)
    m.irq(1000, a)
    # The device raises again while it is polled.
    m.at(1010, lambda: m.packets.update(a=2))
    m.irq(1010, a)
    m.play(2000)
    assert m.polls() == [(1030, "a", 3), (1050, "a", 2)]
    assert m.unmasked == [(1030, "a", False), (1050, "a", True)]
    assert len(m.events("softirq_raise")) == 1


@pytest.mark.covers("S4-30")
def test_NAPI_07_order_of_leftovers() -> None:
    m = Scene(kernel=preset("linux-6.12", hz=1000, netdev_budget=64))
    full, short, late, new = (m.device(name, count) for name, count in (("full", 100), ("short", 5), ("late", 5), ("new", 5)))
    m.irq(1000, full, short, late)
    m.irq(1100, new)
    m.play(5000)
    # The budget ends the first round after "full": not polled, newly scheduled, full weight.
    assert m.polls() == [(1640, "full", 64), (1690, "short", 5), (1740, "late", 5), (1790, "new", 5), (2150, "full", 36)]
    assert [time for time, *_ in m.events("softirq_entry")] == [1000, 1640]
    assert m.softnet.data[0].time_squeeze == 1


def test_NAPI_07_leftovers_between_two_rounds() -> None:
    m = Scene(kernel=preset("linux-6.12", hz=1000, netdev_budget=64), softirq_next_ns=10, softirq_exit_ns=10)
    full, short, new = m.device("full", 100), m.device("short", 5), m.device("new", 5)
    seen: list[list[str]] = []

    async def block(cpu: Cpu) -> None:
        seen.append([napi.name for napi in m.softnet.data[0].poll_list])

    m.softirq.open_softirq(4, block)

    async def raise_block(cpu: Cpu) -> None:
        m.softirq.raise_softirq_nowake(cpu, 4)
        await m.napi.napi_schedule(cpu, full)
        await m.napi.napi_schedule(cpu, short)

    m.irq_at(1000, raise_block)
    m.irq(1100, new)
    m.play(5000)
    assert seen == [["short", "new", "full"]]


def test_NAPI_08_scheduling_during_net_rx_action() -> None:
    m = Scene()
    a, b = m.device("a", 10), m.device("b", 10)
    m.irq(1000, a)
    m.irq(1050, b)
    m.play(5000)
    assert m.events("softirq_raise", "softirq_entry", "softirq_exit") == [
        (1000, "softirq_raise", 3),
        (1000, "softirq_entry", 3),
        (1200, "softirq_exit", 3),
    ]
    assert m.polls() == [(1100, "a", 10), (1200, "b", 10)]


def test_NAPI_09_return_equal_to_weight_while_completed() -> None:
    m = Scene()
    taken = []

    async def poll(cpu: Cpu, napi: Napi, budget: int) -> int:
        taken.append(m.engine.now)
        if len(taken) <= 2:
            await m.napi.napi_complete_done(cpu, napi, budget)
            await m.napi.napi_schedule(cpu, napi)
            return budget
        await m.napi.napi_complete_done(cpu, napi, 0)
        return 0

    async def greedy_poll(cpu: Cpu, napi: Napi, budget: int) -> int:
        if len(taken) < 5:
            taken.append(m.engine.now)
            return budget + 1
        await m.napi.napi_complete_done(cpu, napi, 0)
        return 0

    bad, greedy = Napi(poll, 64, "bad", "eth0"), Napi(greedy_poll, 64, "greedy", "eth1")
    for napi in (bad, greedy):
        m.napi.netif_napi_add(napi)
        m.napi.napi_enable(napi)
    m.irq(1000, bad)
    m.irq(2000, greedy)
    m.play(5000)
    assert taken == [1000, 1000, 1000, 2000, 2000]
    assert m.said() == [
        "eth0: Budget exhausted after napi rescheduled",
        "NAPI poll function greedy_poll returned 65, exceeding its budget of 64.",
    ]


def test_NAPI_10_full_weight_is_still_owned() -> None:
    m = Scene()
    a = m.device("a", 64 * 12)
    m.irq(1000, a)
    m.play(20_000)
    # Ten rounds at the interrupt's exit, the rest in ksoftirqd; each round polls an instance once.
    assert m.polls() == [(1000 + 640 * n, "a", 64) for n in range(1, 13)] + [(8680, "a", 0)]
    assert m.unmasked == [(8680, "a", True)]
    assert len(m.events("softirq_entry")) == 13
    pids = [record.pid for record in m.records() if type(record).__name__ == "NapiPoll"]
    assert pids == [0] * 10 + [1] * 3
    assert m.softnet.data[0].time_squeeze == 0


@pytest.mark.parametrize("everywhere", [False, True])
def test_NAPI_13_threaded(everywhere: bool) -> None:
    m = Scene(kernel=preset("linux-6.12", hz=1000, napi_threaded=everywhere))
    a = m.device("eth0", 100, threaded=not everywhere)
    m.irq(1000, a)
    m.irq(1100, a)
    contexts = []

    def look() -> None:
        cpu = m.cpus[0]
        contexts.append((in_softirq(cpu), in_serving_softirq(cpu), m.sched.rqs[0].curr.comm))

    m.at(1200, look)
    m.play(5000)
    assert a.thread is not None
    assert (a.thread.comm, a.thread.policy, a.thread.percpu) == ("napi/eth0-1", SCHED_NORMAL, False)
    assert m.polls() == [(1640, "eth0", 64), (2000, "eth0", 36), (2000, "eth0", 0)]
    assert m.unmasked == [(2000, "eth0", False), (2000, "eth0", True)]
    assert contexts == [(True, False, "napi/eth0-1")]
    assert m.events("softirq_raise") == []


def test_NAPI_15_busy_poll_owner() -> None:
    m = Scene()
    a = m.device("a", 20)
    answers = []

    async def reader(task: Task) -> None:
        answers.append(await m.napi.napi_busy_poll(task, a))
        answers.append(await m.napi.napi_busy_poll(task, a))

    m.start(reader, "reader")
    # An interrupt while it is claimed does nothing.
    m.irq(1010, a)
    m.play(5000)
    # Both rounds of 8 are full, so the instance is left to NET_RX, which completes it; then nobody owns it.
    assert answers == [16, 0]
    assert m.polls() == [(80, "a", 8), (160, "a", 8), (200, "a", 4), (200, "a", 0), (200, "a", 0), (1010, "a", 0)]
    assert m.unmasked == [(200, "a", True), (200, "a", False), (200, "a", True), (1010, "a", True)]


def test_NAPI_15_polls_without_budget_never_complete() -> None:
    m = Scene()
    answers = []

    async def poll(cpu: Cpu, napi: Napi, budget: int) -> int:
        napi.npsvc = True
        answers.append(await m.napi.napi_complete_done(cpu, napi, 0))
        answers.append(napi.scheduled)
        napi.npsvc = False
        answers.append(await m.napi.napi_complete_done(cpu, napi, 0))
        return 0

    a = Napi(poll, 64, "a", "a")
    m.napi.netif_napi_add(a)
    m.napi.napi_enable(a)
    m.irq(1000, a)
    m.play(2000)
    assert answers == [False, True, True]


@pytest.mark.parametrize(("usecs", "rounds"), [(0, 2), (1000, 1), (3500, 4)])
def test_time_limit_in_jiffies(usecs: int, rounds: int) -> None:
    m = Scene(kernel=preset("linux-6.12", hz=1000, netdev_budget=10_000, netdev_budget_usecs=usecs, softirq_max_restart=1))
    devices = [m.device(f"d{n}", 1, packet_ns=MS) for n in range(6)]
    m.irq(MS, *devices)
    stop = []
    m.at(MS * (rounds + 1) + 1, lambda: stop.append((m.softnet.data[0].time_squeeze, sum(napi.polls for napi in devices))))
    m.play(10 * MS)
    assert stop == [(1, rounds)]


def test_disable_waits_for_the_end_of_polling() -> None:
    m = Scene()
    a = m.device("a", 64 * 3, packet_ns=1000)
    m.irq(1000, a)

    async def closer(task: Task) -> None:
        await m.sleep.usleep_range(task, 2, 2)
        await m.napi.napi_disable(task, a)
        m.note("disabled")
        cpu = task.preempt_disable()
        m.log.append((m.engine.now, str(m.napi.napi_schedule_prep(a))))
        m.napi.napi_enable(a)
        m.log.append((m.engine.now, str(await m.napi.napi_schedule(cpu, a))))
        await task.preempt_enable()

    m.start(closer, "closer")
    m.play(MS)
    # The full poll of a disabled instance completes it; scheduling it before it is enabled only marks it missed.
    assert m.log == [(265_000, "disabled"), (265_000, "False"), (265_000, "True")]
    assert m.polls() == [(65_000, "a", 64), (129_000, "a", 64), (329_000, "a", 64), (329_000, "a", 0), (329_000, "a", 0)]


def test_softnet_stat() -> None:
    m = Scene(2)
    a = m.device("a", 18)
    m.irq(1000, a, cpu=1)
    m.play(2000)
    m.softnet.drop_packet(m.cpus[1], 3)
    zeros = " ".join(["00000000"] * 9)
    assert m.softnet.softnet_stat() == (
        f"00000000 00000000 00000000 {zeros} 00000000 00000000 00000000\n00000012 00000003 00000000 {zeros} 00000001 00000000 00000000\n"
    )
    assert len(m.events("netif_receive_skb")) == 18


def test_transmitted_packets_are_freed_by_net_tx() -> None:
    m = Scene(tx_clean_ns=100)

    async def handler(cpu: Cpu) -> None:
        await m.softnet.dev_kfree_skb_irq(cpu, 3)

    m.irq_at(1000, handler)
    m.play(2000)
    assert m.events("softirq_entry", "softirq_exit") == [(1000, "softirq_entry", 2), (1300, "softirq_exit", 2)]
