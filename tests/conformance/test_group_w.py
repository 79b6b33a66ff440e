"""Show the rows of inventory group W: the receive path of 2.6, from the driver's schedule to the protocol."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.bottom_half.dev_poll import Budget, DevPoll, PollDevice
from asyncirq.bottom_half.napi import Napi
from asyncirq.bottom_half.net_core import (
    ETH_P_ALL,
    ETH_P_ARP,
    ETH_P_IP,
    NET_RX_DROP,
    NET_RX_SUCCESS,
    TC_ACT_OK,
    TC_ACT_SHOT,
    TC_ACT_STOLEN,
    NetCore,
    NetDevice,
    PacketType,
    SkBuff,
)
from asyncirq.bottom_half.rcu import Rcu
from asyncirq.bottom_half.softirq import NET_RX_SOFTIRQ, NET_TX_SOFTIRQ
from asyncirq.config import preset
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import in_serving_softirq
from asyncirq.sched.task import Task
from tests.bottom_half.harness import MS, Bench


class Scene(Bench):
    """Devices with a queue of packets that cost ``packet_ns`` each, and what NET_RX did with them."""

    def __init__(self, cpus: int = 1, *, packet_ns: int = 10, budget: int = 300, tick: bool = False) -> None:
        super().__init__(cpus, preset("linux-2.6", hz=1000, net_rx="quota", netdev_budget=budget), tick=tick)
        self.packet_ns = packet_ns
        self.grace = Rcu(self.softirq)
        self.tick.hooks.insert(0, self.grace.tick)
        self.tick.keepers.append(self.grace.needs_cpu)
        self.net = NetCore(self.softnet, self.grace)
        assert self.net.net_dev_init() == 0
        self.rx = DevPoll(self.net)
        self.packets: dict[str, int] = {}
        self.polls: list[tuple[str, int]] = []

    def device(self, name: str, packets: int, weight: int = 64) -> PollDevice:
        async def poll(cpu: Cpu, dev: PollDevice, budget: Budget) -> int:
            assert in_serving_softirq(cpu)
            assert not cpu.irqs_off
            work = min(dev.quota, budget.left, self.packets[name])
            self.packets[name] -= work
            dev.quota -= work
            budget.left -= work
            self.polls.append((name, work))
            await cpu.spend(work * self.packet_ns)
            if self.packets[name]:
                return 1
            await self.rx.netif_rx_complete(cpu, dev)
            return 0

        self.packets[name] = packets
        return PollDevice(name, poll, weight)

    def irq(self, when: int, *devices: PollDevice) -> None:
        async def handler(cpu: Cpu) -> None:
            for dev in devices:
                await self.rx.netif_rx_schedule(cpu, dev)

        self.irq_at(when, handler)

    def receiver(self, name: str, protocol: int, dev: NetDevice | None = None, result: int = NET_RX_SUCCESS) -> PacketType:
        async def func(cpu: Cpu, skb: SkBuff, receiver: PacketType) -> int:
            assert self.grace._readers
            self.note(f"{name} {skb.users}")
            skb.consume()
            return result

        made = PacketType(protocol, func, dev)
        self.net.dev_add_pack(made)
        return made

    def receive(self, *packets: SkBuff) -> list[int]:
        """Pass packets up in one softirq; return the results."""
        results: list[int] = []

        async def body(cpu: Cpu) -> None:
            for skb in packets:
                results.append(await self.net.netif_receive_skb(cpu, skb))

        self.softirq.open_softirq(NET_RX_SOFTIRQ, body)

        async def handler(cpu: Cpu) -> None:
            self.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)

        self.irq_at(1000, handler)
        self.play(5000)
        return results

    def heard(self) -> list[str]:
        return [text for _, text in self.log]


def test_S4_24_per_cpu_receive_data() -> None:
    m = Scene(2)
    for data, other in zip(m.rx.data, m.softnet.data, strict=True):
        backlog = data.backlog_dev
        assert (len(data.input_pkt_queue), other.completion_queue, len(data.poll_list)) == (0, 0, 0)
        assert (backlog.running, backlog.weight, backlog.poll, backlog.refcnt) == (True, 64, m.rx.process_backlog, 1)
    assert m.rx.data[0].backlog_dev is not m.rx.data[1].backlog_dev
    m.play(10)


def test_S4_23_net_init() -> None:
    m = Scene()
    assert (m.net.ptype_all, len(m.net.ptype_base), len(m.net.name_head), len(m.net.index_head)) == ([], 16, 256, 256)
    assert dict(m.softirq.actions())[NET_TX_SOFTIRQ].endswith("_net_tx_action")
    assert dict(m.softirq.actions())[NET_RX_SOFTIRQ].endswith("DevPoll._net_rx_action")
    eth = [NetDevice(f"eth{n}") for n in range(3)]
    for dev in eth:
        m.net.register_netdev(dev)
    assert [dev.ifindex for dev in eth] == [1, 2, 3]
    assert (m.net.dev_get_by_name("eth1"), eth[1].refcnt, m.net.dev_get_by_name("lo")) == (eth[1], 2, None)
    with pytest.raises(UsageError, match=r"^there is a device eth1 already \(-EEXIST\)$"):
        m.net.register_netdev(NetDevice("eth1"))
    with pytest.raises(KernelBug, match=r"^kernel BUG: net_dev_init runs twice, at 0 ns$"):
        m.net.net_dev_init()
    for step in ("proc", "sysfs"):
        failing = NetCore(m.softnet, m.grace)
        failing.may_init = step.__ne__
        assert failing.net_dev_init() == -12
        failing.may_init = lambda name: True
        assert failing.net_dev_init() == 0  # a failed one has not booted
    m.play(10)


def test_S4_23_the_hotplug_hook_receives_what_a_dead_cpu_had_queued() -> None:
    m = Scene(2)
    dev = NetDevice("eth0")
    m.receiver("ip", ETH_P_IP)

    async def arrive(cpu: Cpu) -> None:
        cpu.preempt_count += 0x200  # nothing runs at this exit: the CPU dies with its packets
        for _ in range(3):
            await m.rx.netif_rx(cpu, SkBuff(dev))
        cpu.preempt_count -= 0x200
        m.softirq.pending[1] = 0

    async def takeover(cpu: Cpu) -> None:
        assert dev.refcnt == 4
        await m.rx.takeover(cpu, 1)

    m.irq_at(100, arrive, cpu=1)
    m.irq_at(200, takeover, cpu=0)
    m.play(1000)
    assert m.log == [(200, "ip 1")] * 3
    assert (len(m.rx.data[1].input_pkt_queue), dev.refcnt, m.rx.data[0].total) == (0, 1, 3)


def test_S4_21_rx_schedule() -> None:
    m = Scene()
    dev = m.device("eth0", 5, weight=16)
    steps: list[object] = []

    async def handler(cpu: Cpu) -> None:
        dev.quota = 7
        steps.append(m.rx.netif_rx_schedule_prep(dev))
        await m.rx.netif_rx_schedule_claimed(cpu, dev)
        steps.append((dev.refcnt, list(m.rx.data[0].poll_list), dev.quota, m.softirq.pending[0], cpu.irqs_off))
        steps.append(await m.rx.netif_rx_schedule(cpu, dev))

    m.irq_at(100, handler)
    m.play(1000)
    # A positive quota is overwritten; the second schedule is refused by prep; raising woke nobody.
    assert steps == [True, (2, [dev], 16, 1 << NET_RX_SOFTIRQ, True), False]
    assert m.events("softirq_raise", "sched_waking") == [(100, "softirq_raise", 3)]
    assert (m.polls, dev.refcnt, dev.rx_sched) == ([("eth0", 5)], 1, False)


def test_S4_21_a_negative_quota_is_a_carried_debt() -> None:
    m = Scene()
    dev = m.device("eth0", 5, weight=16)
    dev.quota = -6
    m.irq(100, dev)
    m.play(101)
    assert m.polls == [("eth0", 5)]
    assert dev.quota == -6 + 16 - 5


def test_S4_21_a_device_that_is_down_is_not_scheduled() -> None:
    m = Scene()
    dev = m.device("eth0", 5)
    dev.running = False
    m.irq(100, dev)
    m.play(1000)
    assert (m.polls, m.events("softirq_raise")) == ([], [])


def test_S4_25_two_devices_alternate_by_weight() -> None:
    m = Scene()
    a, b = m.device("a", 40, weight=16), m.device("b", 20, weight=8)
    m.irq(100, a, b)
    m.play(2000)
    assert m.polls == [("a", 16), ("b", 8), ("a", 16), ("b", 8), ("a", 8), ("b", 4)]
    assert (a.refcnt, b.refcnt, a.rx_sched, b.rx_sched) == (1, 1, False, False)


@pytest.mark.covers("S4-30")
def test_S4_27_the_budget_ends_a_round() -> None:
    m = Scene(budget=300)
    m.irq(100, m.device("a", 700))
    m.play(20_000)
    assert m.polls[:5] == [("a", 64)] * 4 + [("a", 44)]
    # 700 packets are two full budgets and a rest: two squeezes, each of which raises NET_RX again.
    assert m.rx.data[0].time_squeeze == 2
    assert [time for time, *_ in m.events("softirq_raise")] == [100, 3100, 6100]
    assert [time for time, *_ in m.events("softirq_exit")] == [3100, 6100, 7100]


def test_S4_27_more_than_one_tick_ends_a_round() -> None:
    m = Scene(packet_ns=10_000, budget=10_000)
    m.irq(10 * MS, m.device("a", 500))
    m.play(10 * MS + 2_700_000)
    # Polls of 0.64 ms: after 1.92 ms one tick has passed, after 2.56 ms two, which is more than one.
    assert [time for time, *_ in m.events("softirq_exit")] == [10 * MS + 2_560_000]
    assert m.rx.data[0].time_squeeze == 1


def test_S4_28_a_driver_that_claims_to_be_done_stalls() -> None:
    m = Scene()

    async def wrong(cpu: Cpu, dev: PollDevice, budget: Budget) -> int:
        m.packets["eth0"] -= 16
        m.note(f"left {m.packets['eth0']}")
        await m.rx.netif_rx_complete(cpu, dev)
        return 0  # with packets left, and without a look at them

    m.packets["eth0"] = 40
    dev = PollDevice("eth0", wrong)
    m.irq(100, dev)
    m.irq(50_000, dev)
    m.play(100_000)
    assert m.log == [(100, "left 24"), (50_000, "left 8")]


def test_S4_29_an_overspent_device_loses_a_turn() -> None:
    m = Scene()
    a, b = m.device("a", 100, weight=16), m.device("b", 24, weight=8)

    async def greedy(cpu: Cpu, dev: PollDevice, budget: Budget) -> int:
        work = min(40, m.packets["a"])
        m.packets["a"] -= work
        dev.quota -= work
        budget.left -= work
        m.polls.append(("a", work))
        if m.packets["a"]:
            return 1
        await m.rx.netif_rx_complete(cpu, dev)
        return 0

    a.poll = greedy
    m.irq(100, a, b)
    m.play(2000)
    # 16 - 40 = -24, refilled to -8: skipped once and refilled to 8, then polled.
    assert m.polls == [("a", 40), ("b", 8), ("b", 8), ("a", 40), ("b", 8), ("a", 20)]


def test_S4_31_process_backlog() -> None:
    m = Scene()
    dev = NetDevice("eth0")
    backlog = m.rx.data[0].backlog_dev
    m.receiver("ip", ETH_P_IP)
    quotas: list[int] = []

    async def arrive(cpu: Cpu) -> None:
        for _ in range(100):
            await m.rx.netif_rx(cpu, SkBuff(dev))
        m.rx.weight_p = 20  # the tunable is read at every call

    m.irq_at(100, arrive)
    original = backlog.poll

    async def watched(cpu: Cpu, device: PollDevice, budget: Budget) -> int:
        before = len(m.log)
        result = await original(cpu, device, budget)
        quotas.append((len(m.log) - before) * (1 if result else -1))
        return result

    backlog.poll = watched
    m.play(5000)
    # The first quota is of the weight at its refill, 64; then 20 a call, and 0 with the rest of 16 (shown negative here).
    assert quotas == [64, 20, -16]
    assert (backlog.rx_sched, backlog.refcnt, dev.refcnt, len(m.rx.data[0].poll_list)) == (False, 1, 1, 0)


def test_S4_31_more_than_one_tick_ends_a_call() -> None:
    m = Scene()
    dev = NetDevice("eth0")

    async def slow(cpu: Cpu, skb: SkBuff, receiver: PacketType) -> int:
        m.note("slow")
        await cpu.spend(700_000)
        return NET_RX_SUCCESS

    m.net.dev_add_pack(PacketType(ETH_P_IP, slow))

    async def arrive(cpu: Cpu) -> None:
        for _ in range(10):
            await m.rx.netif_rx(cpu, SkBuff(dev))

    m.irq_at(10 * MS, arrive)
    m.play(12 * MS + 100_001)
    # Three of 0.7 ms reach 2.1 ms: two ticks have passed, the call ends with packets left, and so does the round.
    assert len(m.log) == 4  # three, and the first of the next round
    assert m.rx.data[0].time_squeeze == 1


def test_S4_31_an_arrival_in_the_done_window_is_not_lost() -> None:
    m = Scene()
    dev = NetDevice("eth0")
    sent = 1

    async def ip(cpu: Cpu, skb: SkBuff, receiver: PacketType) -> int:
        m.note("ip")
        await cpu.spend(100)
        return NET_RX_SUCCESS

    async def arrive(cpu: Cpu) -> None:
        await m.rx.netif_rx(cpu, SkBuff(dev))

    m.net.dev_add_pack(PacketType(ETH_P_IP, ip))
    # Whatever the instant around the end of the first packet's delivery (1100), the second one is delivered.
    for when in (1099, 1100, 1101):
        m.irq_at(when, arrive)
        sent += 1
    m.irq_at(1000, arrive)
    m.play(5000)
    assert len(m.log) == sent
    assert len(m.rx.data[0].input_pkt_queue) == 0


def test_S4_26_an_interrupt_during_poll_appends_safely() -> None:
    m = Scene()
    a, b = m.device("a", 64), m.device("b", 3)
    lists: list[list[PollDevice]] = []

    async def handler(cpu: Cpu) -> None:
        assert cpu.irqs_off
        await m.rx.netif_rx_schedule(cpu, b)
        lists.append(list(m.rx.data[0].poll_list))

    m.irq(100, a)
    m.irq_at(300, handler)  # in the middle of a's poll, which runs with interrupts on
    m.play(5000)
    assert lists == [[a, b]]
    assert m.polls == [("a", 64), ("b", 3)]
    assert [time for time, *_ in m.events("softirq_entry")] == [100, 770]  # b was polled in a's round: its raise finds nothing


def test_S4_33_receive_skb_pre_steps() -> None:
    m = Scene()
    master, slave = NetDevice("bond0"), NetDevice("eth0")
    slave.master = master
    m.receiver("ip", ETH_P_IP)
    fresh, stamped = SkBuff(slave), SkBuff(slave)
    stamped.stamp = 77
    assert m.receive(fresh, stamped) == [NET_RX_SUCCESS] * 2
    assert [(skb.stamp, skb.input_dev, skb.dev, skb.header) for skb in (fresh, stamped)] == [
        (1000, slave, master, 0),
        (77, slave, master, 0),
    ]
    assert m.net.total == 2
    assert m.events("netif_receive_skb") == [(1000, "netif_receive_skb", "bond0", 64)] * 2


def test_S4_33_netpoll_may_take_it() -> None:
    m = Scene()
    m.receiver("ip", ETH_P_IP)
    m.net.netpoll_rx = lambda skb: skb.length == 99
    trapped = SkBuff(NetDevice("eth0"), length=99)
    assert m.receive(trapped, SkBuff(NetDevice("eth0"))) == [NET_RX_DROP, NET_RX_SUCCESS]
    assert (trapped.freed, m.net.total, m.heard()) == (True, 1, ["ip 1"])


def test_S4_36_taps_first_and_the_last_owner_needs_no_copy() -> None:
    m = Scene()
    dev, other = NetDevice("eth0"), NetDevice("eth1")
    m.receiver("ip", ETH_P_IP)
    m.receiver("tap of eth1", ETH_P_ALL, other)
    m.receiver("tap of eth0", ETH_P_ALL, dev)
    m.receiver("tap", ETH_P_ALL)
    skb = SkBuff(dev)
    assert m.receive(skb) == [NET_RX_SUCCESS]
    # Two clones (a second user while each tap has it), one consumed by the last owner.
    assert m.heard() == ["tap 2", "tap of eth0 2", "ip 1"]
    assert skb.freed


@pytest.mark.parametrize(
    ("verdict", "heard", "result"),
    [
        (TC_ACT_OK, ["tap 2", "ip 1"], NET_RX_SUCCESS),
        (TC_ACT_SHOT, ["tap 2"], NET_RX_DROP),
        (TC_ACT_STOLEN, ["tap 2"], NET_RX_DROP),
    ],
)
def test_S4_35_the_ingress_classifier(verdict: int, heard: list[str], result: int) -> None:
    m = Scene()
    m.receiver("ip", ETH_P_IP)
    m.receiver("tap", ETH_P_ALL)

    async def classify(cpu: Cpu, skb: SkBuff) -> int:
        return verdict

    m.net.ing_filter = classify
    skb = SkBuff(NetDevice("eth0"))
    marked = SkBuff(NetDevice("eth0"))
    marked.classified = True
    assert m.receive(skb, marked) == [result, NET_RX_SUCCESS]
    # A marked packet skips taps and classifier, once.
    assert m.heard() == [*heard, "ip 1"]
    assert (skb.freed, marked.freed, marked.classified) == (True, True, False)


def test_S4_37_diverter_and_bridge() -> None:
    m = Scene()
    port, diverted, plain = NetDevice("eth0"), NetDevice("eth1"), NetDevice("eth2")
    port.bridge_port = True
    m.receiver("ip", ETH_P_IP)
    m.receiver("arp", ETH_P_ARP)
    m.receiver("tap", ETH_P_ALL)

    async def bridge(cpu: Cpu, skb: SkBuff) -> bool:
        m.note("bridge")
        skb.consume()
        return True

    def diverter(skb: SkBuff) -> None:
        if skb.dev is diverted:
            skb.protocol = ETH_P_ARP

    m.net.bridge = bridge
    m.net.diverter = diverter
    assert m.receive(SkBuff(port), SkBuff(diverted), SkBuff(plain)) == [NET_RX_SUCCESS] * 3
    assert m.heard() == ["tap 2", "bridge", "tap 2", "arp 1", "tap 2", "ip 1"]


def test_S4_32_two_types_in_one_bucket_do_not_mix() -> None:
    m = Scene()
    eth0, eth1 = NetDevice("eth0"), NetDevice("eth1")
    same = ETH_P_IP + 0x10
    assert ETH_P_IP & 15 == same & 15 == 0
    assert ETH_P_ARP & 15 == 6
    m.receiver("ip", ETH_P_IP)
    m.receiver("other", same)
    m.receiver("ip of eth1", ETH_P_IP, eth1)
    m.receiver("arp", ETH_P_ARP)
    assert [len(bucket) for bucket in m.net.ptype_base] == [3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert m.receive(SkBuff(eth0), SkBuff(eth0, same), SkBuff(eth1), SkBuff(eth0, ETH_P_ARP)) == [NET_RX_SUCCESS] * 4
    assert m.heard() == ["ip 1", "other 1", "ip of eth1 2", "ip 1", "arp 1"]


def test_S4_38_nobody_wants_it() -> None:
    m = Scene()
    m.receiver("ip", ETH_P_IP)
    skb = SkBuff(NetDevice("eth0"), 0x86DD)
    assert m.receive(skb) == [NET_RX_DROP]
    assert (skb.freed, m.net.unwanted, m.heard()) == (True, 1, [])


def test_S4_34_unregistering_waits_for_a_delivery() -> None:
    m = Scene(2, tick=True)
    gone = False

    async def slow(cpu: Cpu, skb: SkBuff, receiver: PacketType) -> int:
        m.note("delivery")
        await cpu.spend(3_500_000)
        assert not gone
        m.note("delivered")
        return NET_RX_SUCCESS

    slow_ip = PacketType(ETH_P_IP, slow)
    m.net.dev_add_pack(slow_ip)

    async def arrive(cpu: Cpu) -> None:
        await m.rx.netif_rx(cpu, SkBuff(NetDevice("eth0")))

    async def remover(task: Task) -> None:
        nonlocal gone
        await task.spend(1_500_000)
        m.note("remove")
        await m.net.dev_remove_pack(task, slow_ip)
        gone = True
        m.note("removed")

    m.irq_at(MS, arrive, cpu=0)
    m.start(remover, "remover", cpu=1)
    m.play(20 * MS)
    # CPU0 is quiescent again only when its softirq is over; CPU1's next tick then ends the grace period.
    assert m.log == [(MS, "delivery"), (1_500_000, "remove"), (4_500_000, "delivered"), (5 * MS, "removed")]
    assert m.net.ptype_base[0] == []


def test_S4_34_unregistering_what_is_not_there() -> None:
    m = Scene()

    async def remover(task: Task) -> None:
        await m.net.dev_remove_pack(task, PacketType(ETH_P_IP, nobody))

    async def nobody(cpu: Cpu, skb: SkBuff, receiver: PacketType) -> int:
        return NET_RX_SUCCESS

    m.start(remover, "remover")
    with pytest.raises(UsageError, match=r"^dev_remove_pack: no such receiver of type 0x0800 \(-ENOENT\)$"):
        m.play(1000)


def test_netif_rx_drops_until_the_queue_has_run_empty() -> None:
    m = Scene()
    dev = NetDevice("eth0")
    m.rx.max_backlog = 4
    results: list[int] = []
    m.receiver("ip", ETH_P_IP)

    async def arrive(cpu: Cpu) -> None:
        for _ in range(8):
            results.append(await m.rx.netif_rx(cpu, SkBuff(dev)))

    m.irq_at(100, arrive)
    m.irq_at(200, arrive)
    m.play(1000)
    assert results == ([NET_RX_SUCCESS] * 5 + [NET_RX_DROP] * 3) * 2
    assert (m.rx.data[0].dropped, m.rx.data[0].total, len(m.log)) == (6, 16, 10)


def test_a_kernel_with_quotas_has_no_napi_instances() -> None:
    m = Scene()

    async def poll(cpu: Cpu, napi: Any, budget: int) -> int:
        return 0

    with pytest.raises(UsageError, match="^napi n: this kernel polls devices by their quota, it has no NAPI instances$"):
        m.napi.netif_napi_add(Napi(poll, 64, "n", "eth0"))
    m.play(10)
