"""Lead a received packet to whoever registered for it: taps, classifier, bridge, protocols.

A tap gets every packet (of all devices or of one), a protocol those of its type. Delivery lags one step behind the search, so
each receiver but the last gets a clone and the last one the packet itself. All of it is one RCU reader: whoever takes a receiver
away waits until no delivery can still see it.

Linux: net/core/dev.c net_dev_init(), netif_receive_skb(), dev_add_pack(), dev_remove_pack(). Model: of a packet there is what
decides its way; protocols, classifier and bridge are functions of the user; no netpoll, diverter or bonding beyond their hooks here.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.bottom_half.rcu import Rcu
from asyncirq.bottom_half.softnet import Softnet
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task

ETH_P_ALL: Final = 0x0003
ETH_P_IP: Final = 0x0800
ETH_P_ARP: Final = 0x0806
PTYPE_BUCKETS: Final = 16
HASH_BUCKETS: Final = 256
NET_RX_SUCCESS: Final = 0
NET_RX_DROP: Final = 1
TC_ACT_OK: Final = 0
TC_ACT_SHOT: Final = 2
TC_ACT_STOLEN: Final = 4


class NetDevice:
    """A network device as the receive path sees it.

    ``refcnt`` counts who holds it, ``running`` says that it is up. Packets of a bonding slave come from ``master``. ``bridge_port``
    lends its packets to the bridge. ``rps_cpus`` are the CPUs that its packets are spread over by their hash, none: not spread.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.ifindex = 0
        self.refcnt = 1
        self.running = True
        self.master: NetDevice | None = None
        self.bridge_port = False
        self.rps_cpus: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"<NetDevice {self.name}>"


class SkBuff:
    """A packet: ``protocol`` in host order, ``length``, the ``hash`` of its flow (32 bits).

    ``users`` counts who has it: each delivery but the last adds one. ``stamp`` is 0 until it is received, ``input_dev`` the device
    that it came in by, ``classified`` marks one that the classifier has seen before. ``header`` tells where its headers begin.
    """

    __slots__ = ("classified", "dev", "freed", "hash", "header", "input_dev", "length", "protocol", "stamp", "users")

    def __init__(self, dev: NetDevice, protocol: int = ETH_P_IP, length: int = 64, flow_hash: int = 0) -> None:
        self.dev = dev
        self.protocol = protocol
        self.length = length
        self.hash = flow_hash
        self.stamp = 0
        self.users = 1
        self.input_dev: NetDevice | None = None
        self.classified = False
        self.header: int | None = None
        self.freed = False

    def consume(self) -> None:
        """Give up one's hold; the last one frees the packet."""
        self.users -= 1
        self.freed = self.users == 0


ReceiveFn = Callable[[Cpu, SkBuff, "PacketType"], Coroutine[Any, Any, int]]


class PacketType:
    """A receiver: ``async def func(cpu, skb, packet_type) -> int`` gets the packets of a type and device.

    Type ``ETH_P_ALL`` is every type, device None every device.
    """

    def __init__(self, protocol: int, func: ReceiveFn, dev: NetDevice | None = None) -> None:
        self.protocol = protocol
        self.func = func
        self.dev = dev


class NetCore:
    """Devices and receivers of one machine.

    Hooks of the user, each None where the kernel was built without: ``netpoll_rx(skb)`` True takes a packet away;
    ``ing_filter(cpu, skb)`` answers with a ``TC_ACT_*``; ``diverter(skb)`` may change where it is for; ``bridge(cpu, skb)`` True
    takes it. ``may_init(step)`` False lets ``net_dev_init`` fail.
    """

    def __init__(self, softnet: Softnet, rcu: Rcu) -> None:
        self.softnet = softnet
        self.rcu = rcu
        self.engine = softnet.softirq.engine
        self.trace = softnet.trace
        self.ptype_all: list[PacketType] = []
        self.ptype_base: list[list[PacketType]] = []
        self.name_head: list[list[NetDevice]] = []
        self.index_head: list[list[NetDevice]] = []
        self.total = 0
        self.unwanted = 0
        self.netpoll_rx: Callable[[SkBuff], bool] | None = None
        self.ing_filter: Callable[[Cpu, SkBuff], Coroutine[Any, Any, int]] | None = None
        self.diverter: Callable[[SkBuff], None] | None = None
        self.bridge: Callable[[Cpu, SkBuff], Coroutine[Any, Any, bool]] | None = None
        self.may_init: Callable[[str], bool] = lambda step: True
        self._booted = False

    def net_dev_init(self) -> int:
        """Make the tables: 0, or -ENOMEM. Raises ``KernelBug`` the second time."""
        if self._booted:
            raise KernelBug(f"kernel BUG: net_dev_init runs twice, at {self.engine.now} ns")
        for step in ("proc", "sysfs"):
            if not self.may_init(step):
                return -12
        self.ptype_base = [[] for _ in range(PTYPE_BUCKETS)]
        self.name_head = [[] for _ in range(HASH_BUCKETS)]
        self.index_head = [[] for _ in range(HASH_BUCKETS)]
        self._booted = True
        return 0

    # --- devices

    def register_netdev(self, dev: NetDevice) -> None:
        """Give a device a number and put it into both tables. Raises ``UsageError`` EEXIST when its name is taken."""
        if any(other.name == dev.name for other in self.name_head[_name_hash(dev.name)]):
            raise UsageError(f"there is a device {dev.name} already", 17)
        dev.ifindex = 1 + sum(len(bucket) for bucket in self.index_head)
        self.name_head[_name_hash(dev.name)].append(dev)
        self.index_head[dev.ifindex % HASH_BUCKETS].append(dev)

    def dev_get_by_name(self, name: str) -> NetDevice | None:
        """Return a registered device, held, or None."""
        for dev in self.name_head[_name_hash(name)]:
            if dev.name == name:
                dev.refcnt += 1
                return dev
        return None

    # --- receivers

    def dev_add_pack(self, receiver: PacketType) -> None:
        """Register a receiver, ahead of those that are there."""
        self._list(receiver).insert(0, receiver)

    async def dev_remove_pack(self, task: Task, receiver: PacketType) -> None:
        """Take a receiver away and sleep until no delivery can see it any more. Raises ``UsageError`` ENOENT when it is not there."""
        receivers = self._list(receiver)
        if receiver not in receivers:
            raise UsageError(f"dev_remove_pack: no such receiver of type {receiver.protocol:#06x}", 2)
        receivers.remove(receiver)
        await self.rcu.synchronize_rcu(task)

    def _list(self, receiver: PacketType) -> list[PacketType]:
        if receiver.protocol == ETH_P_ALL:
            return self.ptype_all
        return self.ptype_base[receiver.protocol & PTYPE_BUCKETS - 1]

    # --- receiving

    async def netif_receive_skb(self, cpu: Cpu, skb: SkBuff) -> int:
        """Lead a packet to its receivers, in softirq context; return what the last one did, ``NET_RX_DROP`` if there was none.

        Trace: netif_receive_skb.
        """
        if self.netpoll_rx is not None and self.netpoll_rx(skb):
            skb.consume()
            return NET_RX_DROP
        if not skb.stamp:
            skb.stamp = self.engine.now
        if skb.input_dev is None:
            skb.input_dev = skb.dev
        if skb.dev.master is not None:
            skb.dev = skb.dev.master
        self.total += 1
        self.softnet.netif_receive_skb(cpu, skb.dev.name, skb.length)
        skb.header = 0
        reader = self.rcu.rcu_read_lock(cpu)
        result = await self._deliver(cpu, skb)
        self.rcu.rcu_read_unlock(reader)
        return result

    async def _deliver(self, cpu: Cpu, skb: SkBuff) -> int:
        result = NET_RX_DROP
        last: PacketType | None = None
        if skb.classified:
            skb.classified = False
        else:
            for receiver in tuple(self.ptype_all):
                if receiver.dev is None or receiver.dev is skb.dev:
                    if last is not None:
                        result = await self._clone(cpu, skb, last)
                    last = receiver
            if self.ing_filter is not None:
                if last is not None:
                    result = await self._clone(cpu, skb, last)
                    last = None
                if await self.ing_filter(cpu, skb) in (TC_ACT_SHOT, TC_ACT_STOLEN):
                    skb.consume()
                    return NET_RX_DROP
        if self.diverter is not None:
            self.diverter(skb)
        if self.bridge is not None and skb.dev.bridge_port:
            if last is not None:
                result = await self._clone(cpu, skb, last)
                last = None
            if await self.bridge(cpu, skb):
                return NET_RX_SUCCESS
        for receiver in tuple(self.ptype_base[skb.protocol & PTYPE_BUCKETS - 1]):
            if receiver.protocol == skb.protocol and (receiver.dev is None or receiver.dev is skb.dev):
                if last is not None:
                    result = await self._clone(cpu, skb, last)
                last = receiver
        if last is None:
            skb.consume()
            self.unwanted += 1
            return NET_RX_DROP
        result = await last.func(cpu, skb, last)
        return result

    async def _clone(self, cpu: Cpu, skb: SkBuff, receiver: PacketType) -> int:
        skb.users += 1
        return await receiver.func(cpu, skb, receiver)


def _name_hash(name: str) -> int:
    value = 0
    for char in name:
        value = value * 31 + ord(char)
    return value % HASH_BUCKETS
