"""Hold a machine with one packet source and a chosen receive path: what the overload experiments under this folder share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from asyncirq import IRQ_HANDLED, SCHED_FIFO, Cpu, KernelConfig, Machine, Task, preset
from asyncirq.bottom_half.napi import Napi
from asyncirq.bottom_half.net_core import ETH_P_IP, NET_RX_SUCCESS, NetDevice, PacketType, SkBuff
from asyncirq.costs import Costs, cost_names

Scheme = Literal["pio", "dma", "interrupts", "napi"]

SECOND = 1_000_000_000
QUIET = preset("linux-6.12", hz=100, nohz_idle=False)
"""A kernel whose tick disturbs as little as possible."""


class Rates(NamedTuple):
    """What a run measured, in packets: ``offered`` arrived, ``done`` were processed, ``interrupts`` were handled."""

    offered: int
    done: int
    interrupts: int
    ns: int

    @property
    def per_second(self) -> float:
        """Return the throughput."""
        return self.done * SECOND / self.ns

    @property
    def load(self) -> float:
        """Return the offered rate."""
        return self.offered * SECOND / self.ns


class Receiver:
    """A device whose packets arrive at random and take ``isr_ns`` in the hard interrupt and ``proto_ns`` in protocol processing.

    | scheme | the hard interrupt | protocol processing |
    | --- | --- | --- |
    | ``pio`` | one for each packet, none absorbs another | a real-time thread |
    | ``dma`` | takes all that came until its end | a real-time thread |
    | ``interrupts`` | one for each packet, ``netif_rx`` into the backlog | NET_RX |
    | ``napi`` | masks the device and schedules its instance | NET_RX |

    Behind NET_RX a user thread takes ``user_ns`` for each packet that its socket could hold; with 0 the packet is done.
    """

    def __init__(self, m: Machine, scheme: Scheme, isr_ns: int, proto_ns: int, *, user_ns: int = 0, socket: int = 64) -> None:
        self.m = m
        self.scheme = scheme
        self.isr_ns = isr_ns
        self.proto_ns = proto_ns
        self.user_ns = user_ns
        self.socket = socket
        self.arrived = self.done = self.interrupts = 0
        self.ring = 0
        self.queue = 0
        self.masked = False
        self.sockets: deque[int] = deque()
        self.msi = m.msi("nic")
        self.dev = NetDevice("nic")
        self.napi = Napi(self.poll, 64, "nic", "nic")
        self.gaps = m.engine.stream("arrivals")
        self.worker: Task | None = None

    async def start(self, mean_ns: int) -> None:
        """Bind the driver and let packets come, ``mean_ns`` apart on average."""
        m = self.m
        await m.irq.request_irq(None, self.msi.irq, self.interrupt, 0, "nic", self)
        if self.scheme in ("pio", "dma"):
            self.worker = m.start_thread(self.protocol, "proto", cpu=0, policy=SCHED_FIFO, rt_priority=1)
        else:
            self.worker = m.start_thread(self.user, "user", cpu=0)
            m.kernel.net.dev_add_pack(PacketType(ETH_P_IP, self.ip_rcv))
            m.napi.netif_napi_add(self.napi)
            m.napi.napi_enable(self.napi)
        m.spawn(self.arrivals(mean_ns), "wire")

    async def arrivals(self, mean_ns: int) -> None:
        sleep = self.m.engine.sleep
        gap = self.gaps.exponential_ns
        while True:
            await sleep(gap(mean_ns))
            self.arrived += 1
            self.ring += 1
            if not self.masked:
                self.masked = True
                self.msi.send()

    async def interrupt(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        self.interrupts += 1
        await cpu.spend(self.isr_ns)
        if self.scheme == "napi":
            await self.m.napi.napi_schedule(cpu, self.napi)
            return IRQ_HANDLED
        taken = self.ring if self.scheme == "dma" else 1
        self.ring -= taken
        if self.scheme == "interrupts":
            await self.m.kernel.backlog.netif_rx(cpu, SkBuff(self.dev))
        else:
            self.queue += taken
            assert self.worker is not None
            await self.m.sched.wake_up_process(cpu, self.worker)
        # The next packet that waits, or the next to come, raises the interrupt again.
        self.masked = self.ring > 0
        if self.masked:
            self.msi.send()
        return IRQ_HANDLED

    async def protocol(self, task: Task) -> None:
        while True:
            task.set_current_state(1)
            if not self.queue:
                await task.schedule()
                continue
            task.set_current_state(0)
            self.queue -= 1
            await task.spend(self.proto_ns)
            self.done += 1

    async def poll(self, cpu: Cpu, napi: Napi, budget: int) -> int:
        work = 0
        while work < budget and self.ring:
            self.ring -= 1
            work += 1
            await self.m.kernel.net.netif_receive_skb(cpu, SkBuff(self.dev))
        self.ring = min(self.ring, 256)  # what the ring cannot hold is lost on the wire
        if work < budget and await self.m.napi.napi_complete_done(cpu, napi, work):
            self.masked = False
            if self.ring:
                self.masked = True
                self.msi.send()
        return work

    async def ip_rcv(self, cpu: Cpu, skb: SkBuff, receiver: PacketType) -> int:
        await cpu.spend(self.proto_ns)
        skb.consume()
        if not self.user_ns:
            self.done += 1
        elif len(self.sockets) < self.socket:
            self.sockets.append(skb.length)
            assert self.worker is not None
            await self.m.sched.wake_up_process(cpu, self.worker)
        return NET_RX_SUCCESS

    async def user(self, task: Task) -> None:
        while True:
            task.set_current_state(1)
            if not self.sockets:
                await task.schedule()
                continue
            task.set_current_state(0)
            self.sockets.popleft()
            await task.user(self.user_ns)
            self.done += 1


async def measure(
    scheme: Scheme,
    rate: int,
    ns: int,
    isr_ns: int,
    proto_ns: int,
    *,
    user_ns: int = 0,
    kernel: KernelConfig = QUIET,
    seed: int = 1,
    warm_ns: int = 0,
    tune: Callable[[Receiver], None] | None = None,
) -> Rates:
    """Run a receiver at ``rate`` packets a second for ``ns``, behind ``warm_ns``; all other costs are zero, nothing is traced."""
    costs = Costs(**dict.fromkeys(cost_names(), 0))
    async with Machine(1, kernel, seed=seed, costs=costs, trace=False) as m:
        receiver = Receiver(m, scheme, isr_ns, proto_ns, user_ns=user_ns)
        if tune is not None:
            tune(receiver)
        await receiver.start(SECOND // rate)
        await m.run_for(warm_ns)
        before = (receiver.arrived, receiver.done, receiver.interrupts)
        await m.run_for(ns)
        after = (receiver.arrived, receiver.done, receiver.interrupts)
        offered, done, interrupts = (b - a for a, b in zip(before, after, strict=True))
        return Rates(offered, done, interrupts, ns)
