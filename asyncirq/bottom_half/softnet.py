"""Keep what each CPU knows of received packets: the poll list, the counters, the freed transmit buffers.

Linux: struct softnet_data, net/core/dev.c; /proc/net/softnet_stat, net/core/net-procfs.c. Model: no flow limit: its
column is 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from asyncirq.bottom_half.softirq import NET_TX_SOFTIRQ, Softirq
from asyncirq.hw.cpu import Cpu

if TYPE_CHECKING:
    from asyncirq.bottom_half.napi import Napi
    from asyncirq.bottom_half.net_core import SkBuff


class SoftnetData:
    """The receive side of one CPU. ``todo`` and ``repeat`` are the lists of the NET_RX round that runs now.

    ``input_pkt_queue`` and ``process_queue`` are its backlog's, ``rps_ipi_list`` the CPUs that are to be told of theirs.
    """

    __slots__ = (
        "completion_queue",
        "cpu_id",
        "dropped",
        "in_net_rx_action",
        "input_pkt_queue",
        "poll_list",
        "process_queue",
        "processed",
        "received_rps",
        "repeat",
        "rps_ipi_list",
        "time_squeeze",
        "todo",
    )

    def __init__(self, cpu_id: int) -> None:
        self.cpu_id = cpu_id
        self.poll_list: deque[Napi] = deque()
        self.todo: deque[Napi] = deque()
        self.repeat: deque[Napi] = deque()
        self.input_pkt_queue: deque[SkBuff] = deque()
        self.process_queue: deque[SkBuff] = deque()
        self.rps_ipi_list: list[int] = []
        self.received_rps = 0
        self.in_net_rx_action = False
        self.processed = 0
        self.dropped = 0
        self.time_squeeze = 0
        self.completion_queue = 0

    def drop(self, napi: Napi) -> None:
        """Take an instance off whichever list it is on."""
        for queue in (self.poll_list, self.todo, self.repeat):
            if napi in queue:
                queue.remove(napi)
        napi.listed = False


class Softnet:
    """The per-CPU network data of one machine; ``data[cpu]`` is that of one CPU.

    ``rps_action(cpu)`` tells the CPUs of ``rps_ipi_list`` of their backlogs at the end of a NET_RX round; whoever fills the list sets it.
    """

    rps_action: Callable[[Cpu], Coroutine[Any, Any, None]]

    def __init__(self, softirq: Softirq) -> None:
        self.softirq = softirq
        self.trace = softirq.trace
        self.costs = softirq.costs
        self.data = [SoftnetData(cpu.id) for cpu in softirq.sched.cpus]
        softirq.open_softirq(NET_TX_SOFTIRQ, self._net_tx_action)

    def netif_receive_skb(self, cpu: Cpu, dev_name: str, length: int) -> None:
        """Count and record one packet that a driver passes up; its CPU time is the caller's. Trace: netif_receive_skb."""
        if self.trace is not None:
            self.trace.netif_receive_skb(cpu, dev_name, length)
        self.data[cpu.id].processed += 1

    def drop_packet(self, cpu: Cpu, packets: int = 1) -> None:
        """Count packets that were dropped before they could be passed up."""
        self.data[cpu.id].dropped += packets

    async def dev_kfree_skb_irq(self, cpu: Cpu, packets: int = 1) -> None:
        """Leave transmitted packets, to be freed by NET_TX: what a driver does in a hard interrupt. Trace: softirq_raise."""
        self.data[cpu.id].completion_queue += packets
        await self.softirq.raise_softirq(cpu, NET_TX_SOFTIRQ)

    async def _net_tx_action(self, cpu: Cpu) -> None:
        data = self.data[cpu.id]
        packets, data.completion_queue = data.completion_queue, 0
        cost = packets * self.costs.tx_clean_ns
        if cost:
            await cpu.spend(cost)

    def softnet_stat(self) -> str:
        """Return the text of /proc/net/softnet_stat: one line of hexadecimal numbers for each CPU."""
        lines = []
        for data in self.data:
            queued, processing = len(data.input_pkt_queue), len(data.process_queue)
            columns = [data.processed, data.dropped, data.time_squeeze, *[0] * 6, data.received_rps, 0, queued + processing]
            columns += [data.cpu_id, queued, processing]
            lines.append(" ".join(f"{value:08x}" for value in columns) + "\n")
        return "".join(lines)
