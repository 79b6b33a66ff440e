"""Receive as 2.6 did before NAPI instances: devices with a weight and a quota, polled in turn by NET_RX.

A round takes the first device of the CPU's list. One that has more to do goes to the tail with its quota refilled: a negative
quota is a debt and gets the weight added, another one is set to it. One that is done has taken itself off. The round ends with
``netdev_budget`` packets or when more than one tick has passed, counts a squeeze, and raises NET_RX again.

Drivers without a poll function hand packets to ``netif_rx``; the backlog pseudo-device of each CPU polls them.

Linux: net/core/dev.c net_rx_action(), process_backlog(), netif_rx() of 2.6.12. Model: the packets' CPU time is their receivers'.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.bottom_half.net_core import NET_RX_DROP, NET_RX_SUCCESS, NetCore, NetDevice, SkBuff
from asyncirq.bottom_half.softirq import NET_RX_SOFTIRQ
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu

WEIGHT_P: Final = 64
NETDEV_MAX_BACKLOG: Final = 300


class Budget:
    """What is left of a round's packets; poll functions subtract from it."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


PollFn = Callable[[Cpu, "PollDevice", Budget], Coroutine[Any, Any, int]]


class PollDevice(NetDevice):
    """A device with ``async def poll(cpu, dev, budget) -> int``: 0 when it is done and has completed itself, else not 0.

    The function takes at most ``min(dev.quota, budget.left)`` packets and subtracts them from both.
    """

    def __init__(self, name: str, poll: PollFn, weight: int = WEIGHT_P) -> None:
        super().__init__(name)
        self.poll = poll
        self.weight = weight
        self.quota = 0
        self.rx_sched = False


class PollData:
    """The receive side of one CPU: ``input_pkt_queue``, ``poll_list``, the backlog pseudo-device, and counters."""

    __slots__ = ("backlog_dev", "dropped", "input_pkt_queue", "poll_list", "throttled", "time_squeeze", "total")

    def __init__(self, backlog_dev: PollDevice) -> None:
        self.backlog_dev = backlog_dev
        self.input_pkt_queue: deque[SkBuff] = deque()
        self.poll_list: deque[PollDevice] = deque()
        self.throttled = False
        self.total = 0
        self.dropped = 0
        self.time_squeeze = 0


class DevPoll:
    """NET_RX of 2.6; ``data[cpu]`` is the receive side of one CPU. ``weight_p`` is the tunable weight of the backlog."""

    def __init__(self, net: NetCore) -> None:
        self.net = net
        self.softnet = net.softnet
        self.softirq = softirq = net.softnet.softirq
        self.engine = softirq.engine
        self.weight_p = WEIGHT_P
        self.max_backlog = NETDEV_MAX_BACKLOG
        self._jiffy_ns = softirq.config.jiffy_ns
        self._budget = softirq.config.netdev_budget
        self.data = [PollData(PollDevice("backlog", self.process_backlog)) for _ in softirq.sched.cpus]
        softirq.open_softirq(NET_RX_SOFTIRQ, self._net_rx_action)

    # --- what drivers call

    def netif_rx_schedule_prep(self, dev: PollDevice) -> bool:
        """Claim a device for polling; False if it is down or claimed already."""
        if not dev.running or dev.rx_sched:
            return False
        dev.rx_sched = True
        return True

    async def netif_rx_schedule_claimed(self, cpu: Cpu, dev: PollDevice) -> None:
        """Put a claimed device onto this CPU's list. Linux: __netif_rx_schedule(). Trace: softirq_raise."""
        was_off = cpu.irq_disable()
        dev.refcnt += 1
        self.data[cpu.id].poll_list.append(dev)
        _refill(dev)
        self.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        await cpu.irq_restore(was_off)

    async def netif_rx_schedule(self, cpu: Cpu, dev: PollDevice) -> bool:
        """Schedule a device unless it is claimed already; return whether this did."""
        if not self.netif_rx_schedule_prep(dev):
            return False
        await self.netif_rx_schedule_claimed(cpu, dev)
        return True

    async def netif_rx_complete(self, cpu: Cpu, dev: PollDevice) -> None:
        """End the polling of a device; its poll function then returns 0. Raises ``KernelBug`` when it is not scheduled."""
        was_off = cpu.irq_disable()
        self._complete(cpu, dev)
        await cpu.irq_restore(was_off)

    def _complete(self, cpu: Cpu, dev: PollDevice) -> None:
        if not dev.rx_sched:
            raise KernelBug(f"kernel BUG: netif_rx_complete: {dev.name} is not scheduled, on {cpu.name} at {self.engine.now} ns")
        self.data[cpu.id].poll_list.remove(dev)
        dev.rx_sched = False

    async def netif_rx(self, cpu: Cpu, skb: SkBuff) -> int:
        """Queue a packet for this CPU's backlog; drop it when more than ``max_backlog`` wait, until the queue has run empty."""
        if self.net.netpoll_rx is not None and self.net.netpoll_rx(skb):
            skb.consume()
            return NET_RX_DROP
        if not skb.stamp:
            skb.stamp = self.engine.now
        was_off = cpu.irq_disable()
        data = self.data[cpu.id]
        data.total += 1
        queue = data.input_pkt_queue
        result = NET_RX_DROP
        if not queue:
            data.throttled = False
            await self.netif_rx_schedule(cpu, data.backlog_dev)
        if len(queue) > self.max_backlog:
            data.throttled = True
        if data.throttled:
            data.dropped += 1
            skb.consume()
        else:
            skb.dev.refcnt += 1
            queue.append(skb)
            result = NET_RX_SUCCESS
        await cpu.irq_restore(was_off)
        return result

    async def takeover(self, cpu: Cpu, dead: int) -> None:
        """Receive on this CPU what a dead one had queued. Linux: dev_cpu_callback()."""
        queue = self.data[dead].input_pkt_queue
        while queue:
            skb = queue.popleft()
            skb.dev.refcnt -= 1
            await self.netif_rx(cpu, skb)

    # --- NET_RX

    async def _net_rx_action(self, cpu: Cpu) -> None:
        data = self.data[cpu.id]
        start = self.engine.now // self._jiffy_ns
        budget = Budget(self._budget)
        poll_list = data.poll_list
        cpu.irq_disable()
        while poll_list:
            if budget.left <= 0 or self.engine.now // self._jiffy_ns - start > 1:
                data.time_squeeze += 1
                self.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
                break
            await cpu.irq_enable()
            dev = poll_list[0]
            again = dev.quota <= 0 or await dev.poll(cpu, dev, budget) != 0
            cpu.irq_disable()
            if again:
                poll_list.remove(dev)
                poll_list.append(dev)
                _refill(dev)
            else:
                dev.refcnt -= 1
        await cpu.irq_enable()

    async def process_backlog(self, cpu: Cpu, dev: PollDevice, budget: Budget) -> int:
        """Receive what is queued: up to the quota, or for more than one tick; 0 when nothing is left, else -1."""
        data = self.data[cpu.id]
        queue = data.input_pkt_queue
        start = self.engine.now // self._jiffy_ns
        quota = min(dev.quota, budget.left)
        dev.weight = self.weight_p
        work = 0
        while True:
            cpu.irq_disable()
            if not queue:
                dev.quota -= work
                budget.left -= work
                self._complete(cpu, dev)
                await cpu.irq_enable()
                return 0
            skb = queue.popleft()
            await cpu.irq_enable()
            source = skb.dev
            await self.net.netif_receive_skb(cpu, skb)
            source.refcnt -= 1
            work += 1
            if work >= quota or self.engine.now // self._jiffy_ns - start > 1:
                break
        dev.quota -= work
        budget.left -= work
        return -1


def _refill(dev: PollDevice) -> None:
    if dev.quota < 0:
        dev.quota += dev.weight
    else:
        dev.quota = dev.weight
