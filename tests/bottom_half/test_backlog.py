from __future__ import annotations

from asyncirq.bottom_half.backlog import Backlog
from asyncirq.bottom_half.net_core import ETH_P_IP, NET_RX_DROP, NET_RX_SUCCESS, NetCore, NetDevice, PacketType, SkBuff
from asyncirq.bottom_half.rcu import Rcu
from asyncirq.config import KernelConfig
from asyncirq.entry import CALL_FUNCTION_SINGLE_VECTOR
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.ipi import Ipi, SmpCall
from tests.bottom_half.harness import HZ1000, Bench


class Scene(Bench):
    """A receiver of IP packets that takes 100 ns each, on top of the backlogs."""

    def __init__(self, cpus: int = 1, kernel: KernelConfig = HZ1000) -> None:
        super().__init__(cpus, kernel)
        self.grace = Rcu(self.softirq)
        self.net = NetCore(self.softnet, self.grace)
        self.net.net_dev_init()
        self.backlog = Backlog(self.napi, self.net)
        self.ipis = Ipi(self.sched, self.ipi)
        self.backlog.call = self.call
        self.entry.call_function = self.ipis.flush_queue
        self.net.dev_add_pack(PacketType(ETH_P_IP, self.ip_rcv))
        self.dev = NetDevice("eth0")
        self.results: list[int] = []

    async def call(self, cpu: Cpu, dest: int, function: SmpCall) -> None:
        await self.ipis.smp_call_function_single(cpu, dest, function, False)

    async def ip_rcv(self, cpu: Cpu, skb: SkBuff, receiver: PacketType) -> int:
        self.note(f"{skb.length} on {cpu.id}")
        await cpu.spend(100)
        return NET_RX_SUCCESS

    def arrive(self, when: int, *packets: SkBuff, cpu: int = 0) -> None:
        async def handler(here: Cpu) -> None:
            for skb in packets:
                self.results.append(await self.backlog.netif_rx(here, skb))

        self.irq_at(when, handler, cpu)


def test_packets_of_one_interrupt_are_one_poll() -> None:
    m = Scene()
    m.arrive(1000, *(SkBuff(m.dev, length=n) for n in range(3)))
    m.play(5000)
    assert m.log == [(1000, "0 on 0"), (1100, "1 on 0"), (1200, "2 on 0")]
    assert m.events("softirq_raise", "napi_poll") == [(1000, "softirq_raise", 3), (1300, "napi_poll", "backlog", "(no_device)", 3, 64)]
    assert not m.backlog.instances[0].scheduled


def test_what_arrives_during_the_poll_is_taken_by_it() -> None:
    m = Scene()
    m.arrive(1000, SkBuff(m.dev, length=1))
    m.arrive(1050, SkBuff(m.dev, length=2))
    m.arrive(1150, SkBuff(m.dev, length=3))
    m.play(5000)
    assert m.log == [(1000, "1 on 0"), (1100, "2 on 0"), (1200, "3 on 0")]
    assert [work for _, _, _, _, work, _ in m.events("napi_poll")] == [3]


def test_a_full_backlog_drops() -> None:
    m = Scene()
    m.backlog.max_backlog = 4
    m.arrive(1000, *(SkBuff(m.dev) for _ in range(8)))
    m.play(5000)
    assert m.results == [NET_RX_SUCCESS] * 5 + [NET_RX_DROP] * 3
    assert (len(m.log), m.softnet.data[0].dropped) == (5, 3)


def test_steering_by_hash_with_one_interrupt_for_each_cpu() -> None:
    m = Scene(3)
    m.dev.rps_cpus = (1, 2)
    low, high = 0x1000_0000, 0xF000_0000
    m.arrive(1000, *(SkBuff(m.dev, length=n, flow_hash=h) for n, h in enumerate((low, high, low))))
    m.play(5000)
    # The flows keep their order on their CPU; the interrupts are sent at the end of CPU0's round, the last CPU listed first.
    assert sorted(m.log) == [(1000, "0 on 1"), (1000, "1 on 2"), (1100, "2 on 1")]
    assert [(record[2], record[4]) for record in m.events("ipi_send_cpu")] == [
        (2, "generic_smp_call_function_single_interrupt"),
        (1, "generic_smp_call_function_single_interrupt"),
    ]
    assert [data.received_rps for data in m.softnet.data] == [0, 1, 1]
    assert [event for _, event, *_ in m.events("call_function_single_entry")] == ["call_function_single_entry"] * 2
    assert m.softnet.softnet_stat().splitlines()[1].split()[9] == "00000001"
    assert CALL_FUNCTION_SINGLE_VECTOR == 0xFB


def test_steering_a_packet_of_a_poll() -> None:
    m = Scene(2)
    m.dev.rps_cpus = (1,)

    async def net_rx(cpu: Cpu) -> None:
        m.softnet.data[0].in_net_rx_action = True
        m.results.append(await m.backlog.netif_receive_skb(cpu, SkBuff(m.dev, length=7)))
        m.softnet.data[0].in_net_rx_action = False
        await m.softnet.rps_action(cpu)

    m.softirq.open_softirq(4, net_rx)

    async def handler(cpu: Cpu) -> None:
        m.softirq.raise_softirq_nowake(cpu, 4)

    m.irq_at(1000, handler)
    m.play(5000)
    assert (m.results, m.log) == ([NET_RX_SUCCESS], [(1000, "7 on 1")])
    # Inside NET_RX the round's end sends the interrupt: NET_RX is raised on the receiving CPU alone.
    assert [record.cpu for record in m.records() if type(record).__name__ == "SoftirqRaise" and record.vec == 3] == [1]  # type: ignore[attr-defined]


def test_what_a_dead_cpu_had_queued() -> None:
    m = Scene(2)

    async def arrive(cpu: Cpu) -> None:
        cpu.preempt_count += 0x200
        for n in range(3):
            await m.backlog.netif_rx(cpu, SkBuff(m.dev, length=n))
        cpu.preempt_count -= 0x200
        m.softirq.pending[1] = 0

    async def takeover(cpu: Cpu) -> None:
        await m.backlog.takeover(cpu, 1)

    m.irq_at(100, arrive, cpu=1)
    m.irq_at(200, takeover, cpu=0)
    m.play(1000)
    assert m.log == [(200, "0 on 0"), (300, "1 on 0"), (400, "2 on 0")]
