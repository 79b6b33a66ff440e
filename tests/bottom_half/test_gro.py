from __future__ import annotations

from asyncirq.bottom_half.gro import GRO_HELD, GRO_MERGED, GRO_NORMAL, MAX_GRO_SKBS, Gro
from asyncirq.bottom_half.napi import Napi
from asyncirq.bottom_half.net_core import ETH_P_IP, NET_RX_SUCCESS, NetCore, NetDevice, PacketType, SkBuff
from asyncirq.bottom_half.rcu import Rcu
from asyncirq.config import KernelConfig, preset
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task
from tests.bottom_half.harness import HZ1000, MS, Bench

Packet = tuple[int, int, bool]
"""The hash of its flow, its length, whether it ends its flow's burst."""


class Scene(Bench):
    """A device whose instance holds packets back; ``log`` tells what the protocol got, ``fates`` what became of each packet."""

    def __init__(self, kernel: KernelConfig = HZ1000, weight: int = 64, max_size: int = 65536) -> None:
        super().__init__(1, kernel)
        self.net = NetCore(self.softnet, Rcu(self.softirq))
        self.net.net_dev_init()
        self.net.dev_add_pack(PacketType(ETH_P_IP, self.ip_rcv))
        self.dev = NetDevice("eth0")
        self.ring: list[Packet] = []
        self.fates: list[int] = []
        self.answers: list[tuple[int, bool]] = []
        self.device = Napi(self.poll, weight, "eth0", "eth0")
        self.napi.netif_napi_add(self.device)
        self.napi.napi_enable(self.device)
        self.gro = self.device.gro = Gro(self.net, max_size)

    async def ip_rcv(self, cpu: Cpu, skb: SkBuff, receiver: PacketType) -> int:
        self.note(f"{skb.hash}: {skb.length}")
        return NET_RX_SUCCESS

    async def poll(self, cpu: Cpu, napi: Napi, budget: int) -> int:
        taken, self.ring = self.ring[:budget], self.ring[budget:]
        for flow, length, last in taken:
            self.fates.append(await self.gro.receive(cpu, SkBuff(self.dev, length=length, flow_hash=flow), last))
        await cpu.spend(10)
        if len(taken) < budget:
            self.answers.append((self.engine.now, await self.napi.napi_complete_done(cpu, napi, len(taken))))
        return len(taken)

    def arrive(self, when: int, *packets: Packet) -> None:
        async def handler(cpu: Cpu) -> None:
            self.ring += packets
            await self.napi.napi_schedule(cpu, self.device)

        self.irq_at(when, handler)


def test_packets_of_one_flow_go_up_as_one_when_polling_ends() -> None:
    m = Scene()
    m.arrive(1000, (1, 100, False), (2, 40, False), (1, 200, False))
    m.play(MS)
    assert m.fates == [GRO_HELD, GRO_HELD, GRO_MERGED]
    assert m.log == [(1010, "1: 300"), (1010, "2: 40")]
    assert m.answers == [(1010, True)]
    assert (m.gro.merged, m.gro.passed, m.gro.held) == (1, 2, 0)
    assert [record[1:] for record in m.events("netif_receive_skb")] == [
        ("netif_receive_skb", "eth0", 300),
        ("netif_receive_skb", "eth0", 40),
    ]


def test_last_packet_of_a_burst_ends_the_holding() -> None:
    m = Scene()
    m.arrive(1000, (1, 100, False), (1, 50, True), (1, 7, True))
    m.play(MS)
    assert m.fates == [GRO_HELD, GRO_MERGED, GRO_NORMAL]
    assert m.log == [(1010, "1: 150"), (1010, "1: 7")]


def test_packet_that_would_grow_too_long_goes_up_and_the_next_is_held() -> None:
    m = Scene(max_size=250)
    m.arrive(1000, (1, 100, False), (1, 100, False), (1, 100, False))
    m.play(MS)
    assert m.fates == [GRO_HELD, GRO_MERGED, GRO_HELD]
    assert m.log == [(1010, "1: 200"), (1010, "1: 100")]


def test_full_bucket_gives_up_its_oldest() -> None:
    m = Scene()
    m.arrive(1000, *((8 * n, 10 + n, False) for n in range(MAX_GRO_SKBS + 1)))
    m.play(MS)
    assert m.fates == [GRO_HELD] * (MAX_GRO_SKBS + 1)
    assert [text for _, text in m.log] == [f"{8 * n}: {10 + n}" for n in range(MAX_GRO_SKBS + 1)]


def test_collected_packets_go_up_in_batches() -> None:
    m = Scene()
    m.arrive(1000, *((1, n, True) for n in range(9)))
    m.play(MS)
    assert [time for time, _ in m.log] == [1000] * 8 + [1010]


def test_timeout_keeps_what_is_young_and_polls_again() -> None:
    m = Scene()
    m.device.gro_flush_timeout_ns = 50_000
    m.arrive(1000, (1, 100, False))
    m.arrive(20_000, (1, 11, False))
    m.play(MS)
    # The interrupt is unmasked each time: only the packets wait.
    assert m.answers == [(1010, True), (20_010, True), (70_020, True)]
    assert m.log == [(70_020, "1: 111")]


def test_packet_of_an_earlier_jiffy_does_not_wait_for_the_timeout() -> None:
    m = Scene()
    m.device.gro_flush_timeout_ns = 5 * MS
    m.arrive(999_000, (1, 100, False))
    m.arrive(MS + 1000, (2, 7, False))
    m.play(10 * MS)
    assert m.log == [(MS + 1010, "1: 100"), (6 * MS + 1020, "2: 7")]


def test_full_polls_pass_up_what_is_old_and_all_of_it_where_a_jiffy_is_long() -> None:
    for kernel, expected in ((HZ1000, [(1020, "1: 30")]), (preset("linux-6.12", hz=250), [(1010, "1: 20"), (1020, "1: 10")])):
        m = Scene(kernel, weight=2)
        m.arrive(1000, *[(1, 10, False)] * 3)
        m.play(MS)
        assert m.log == expected


def test_deferral_keeps_packets_and_the_mask() -> None:
    m = Scene()
    m.device.defer_hard_irqs = 1
    m.device.gro_flush_timeout_ns = 50_000
    m.arrive(1000, (1, 100, False))
    m.play(MS)
    assert m.answers == [(1010, False), (51_020, True)]
    assert m.log == [(51_020, "1: 100")]


def test_busy_poll_passes_up_what_is_collected() -> None:
    m = Scene()

    async def app(task: Task) -> None:
        m.ring = [(1, 5, True)] * 3
        await m.napi.napi_busy_poll(task, m.device, 2)

    m.start(app, "app")
    m.play(MS)
    assert [text for _, text in m.log] == ["1: 5"] * 3
