"""Receive packets of drivers without a poll function, and spread packets over CPUs: the backlog of each CPU.

``netif_rx`` queues a packet on a CPU's backlog, a NAPI instance of weight 64 that nobody completes: it ends itself when the queue is
empty. With receive packet steering the packet's hash chooses the CPU, which learns of it by a call-function interrupt that is sent
at the end of the local NET_RX round.

Linux: net/core/dev.c enqueue_to_backlog(), process_backlog(), net_rps_action_and_irq_enable(), get_rps_cpu(). Model: no flow
tables (RFS), no flow limit.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from asyncirq.bottom_half.napi import Napi, NapiCore
from asyncirq.bottom_half.net_core import NET_RX_DROP, NET_RX_SUCCESS, NetCore, SkBuff
from asyncirq.bottom_half.softirq import NET_RX_SOFTIRQ, NET_TX_SOFTIRQ
from asyncirq.bottom_half.softnet import SoftnetData
from asyncirq.hw.cpu import Cpu

NETDEV_MAX_BACKLOG: Final = 1000

CallFn = Callable[[Cpu, int, Callable[[Cpu], Coroutine[Any, Any, None]]], Coroutine[Any, Any, None]]


class Backlog:
    """The backlogs of one machine. The machine sets ``call(cpu, dest, function)``, which has another CPU run a function."""

    call: CallFn

    def __init__(self, napi: NapiCore, net: NetCore) -> None:
        self.napi = napi
        self.net = net
        self.softnet = napi.softnet
        self.softirq = napi.softirq
        self.max_backlog = NETDEV_MAX_BACKLOG
        weight = napi.softirq.config.napi_weight
        self.instances = [Napi(partial(self._process_backlog, data), weight, "backlog", "(no_device)") for data in self.softnet.data]
        for instance in self.instances:
            instance.scheduled = instance.npsvc = False
        self.softnet.rps_action = self._net_rps_action

    async def netif_rx(self, cpu: Cpu, skb: SkBuff) -> int:
        """Queue a packet, from a hard interrupt, a softirq, or a BH-disabled section; return whether it was dropped."""
        return await self.enqueue(cpu, skb, self.rps_cpu(skb, cpu.id))

    async def netif_receive_skb(self, cpu: Cpu, skb: SkBuff) -> int:
        """Receive a packet in softirq context: here, or on the CPU that steering chooses."""
        dest = self.rps_cpu(skb, -1)
        if dest < 0:
            return await self.net.netif_receive_skb(cpu, skb)
        return await self.enqueue(cpu, skb, dest)

    def rps_cpu(self, skb: SkBuff, default: int) -> int:
        """Return the CPU that a packet's hash chooses among its device's, ``default`` where packets are not spread."""
        cpus = skb.dev.rps_cpus
        if not cpus:
            return default
        chosen = cpus[skb.hash * len(cpus) >> 32]
        return chosen if self.softirq.sched.online >> chosen & 1 else default

    async def enqueue(self, cpu: Cpu, skb: SkBuff, dest: int) -> int:
        """Put a packet onto a CPU's backlog; drop it when more than ``max_backlog`` wait. Trace: softirq_raise."""
        was_off = cpu.irq_disable()
        data = self.softnet.data[dest]
        queue = data.input_pkt_queue
        if len(queue) > self.max_backlog or not skb.dev.running:
            data.dropped += 1
            skb.consume()
            await cpu.irq_restore(was_off)
            return NET_RX_DROP
        instance = self.instances[dest]
        first = not queue and not instance.scheduled
        queue.append(skb)
        if first:
            instance.scheduled = True
            await self._schedule(cpu, dest)
        await cpu.irq_restore(was_off)
        return NET_RX_SUCCESS

    async def _schedule(self, cpu: Cpu, dest: int) -> None:
        if dest == cpu.id:
            await self.napi.napi_schedule_claimed(cpu, self.instances[dest])
            return
        here = self.softnet.data[cpu.id]
        here.rps_ipi_list.insert(0, dest)
        if not here.in_net_rx_action:
            self.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)

    async def _net_rps_action(self, cpu: Cpu) -> None:
        data = self.softnet.data[cpu.id]
        dests, data.rps_ipi_list = data.rps_ipi_list, []
        for dest in dests:
            await self.call(cpu, dest, self._rps_trigger_softirq)

    async def _rps_trigger_softirq(self, cpu: Cpu) -> None:
        self.softnet.data[cpu.id].received_rps += 1
        await self.napi.napi_schedule_claimed(cpu, self.instances[cpu.id])

    async def _process_backlog(self, data: SoftnetData, cpu: Cpu, napi: Napi, budget: int) -> int:
        if data.rps_ipi_list:
            await self._net_rps_action(cpu)
        work = 0
        while True:
            while data.process_queue:
                await self.net.netif_receive_skb(cpu, data.process_queue.popleft())
                work += 1
                if work >= budget:
                    return work
            if not data.input_pkt_queue:
                napi.scheduled = napi.missed = False
                return work
            data.process_queue, data.input_pkt_queue = data.input_pkt_queue, data.process_queue

    async def takeover(self, cpu: Cpu, dead: int) -> None:
        """Take over what a dead CPU had left: what is to be freed, what is to be polled, what was queued, in process first.

        Linux: dev_cpu_dead(). Trace: softirq_raise.
        """
        data = self.softnet.data[dead]
        await self._take_lists(cpu, data, self.softnet.data[cpu.id])
        for queue in (data.process_queue, data.input_pkt_queue):
            while queue:
                await self.enqueue(cpu, queue.popleft(), cpu.id)

    async def _take_lists(self, cpu: Cpu, data: SoftnetData, here: SoftnetData) -> None:
        if data.completion_queue:
            here.completion_queue += data.completion_queue
            data.completion_queue = 0
            await self.softirq.raise_softirq(cpu, NET_TX_SOFTIRQ)
        own = self.instances[data.cpu_id]
        polled = [napi for napi in (*data.todo, *data.poll_list, *data.repeat) if napi is not own]
        for queue in (data.todo, data.poll_list, data.repeat):
            queue.clear()
        # Its backlog is polled where its packets go now.
        own.listed = own.scheduled = own.missed = False
        for napi in polled:
            napi.owner = cpu.id
            here.poll_list.append(napi)
        dests, data.rps_ipi_list = data.rps_ipi_list, []
        here.rps_ipi_list[:0] = dests
        if polled or dests:
            await self.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)
