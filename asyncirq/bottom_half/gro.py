"""Hold received packets of one flow back and pass them up as one: generic receive offload of a NAPI instance.

A packet whose flow holds one is merged into it, one of a new flow is held. What is held goes up when the flow's packet says that it is
the last (``flush``), when it would grow too long, when its bucket is full, at the end of polling, and while an instance goes on polling
once it is a jiffy old. With a ``gro_flush_timeout_ns`` the end of polling keeps what came in this jiffy, and a timer polls
again. What goes up is first collected, up to ``GRO_NORMAL_BATCH`` packets.

Linux: net/core/gro.c dev_gro_receive(), napi_gro_flush(), include/net/gro.h gro_normal_one(). Model: a flow is a device, a protocol and a
hash; headers are not looked at, so whoever receives says with ``flush`` what they would say.
"""

from __future__ import annotations

from typing import Final

from asyncirq.bottom_half.net_core import NetCore, SkBuff
from asyncirq.hw.cpu import Cpu

GRO_MERGED: Final = 0
GRO_HELD: Final = 1
GRO_NORMAL: Final = 2
"""What became of a packet: merged into a held one, held, or on its way up by itself."""
GRO_HASH_BUCKETS: Final = 8
MAX_GRO_SKBS: Final = 8
"""Packets held in one bucket at most."""
GRO_NORMAL_BATCH: Final = 8
GRO_MAX_SIZE: Final = 65536
"""Bytes of a merged packet at most."""


class _Held:
    """A held packet, of how many it is made, and the jiffy in which it came."""

    __slots__ = ("jiffy", "segments", "skb")

    def __init__(self, skb: SkBuff, jiffy: int) -> None:
        self.skb = skb
        self.segments = 1
        self.jiffy = jiffy


class Gro:
    """What one NAPI instance holds back; the driver sets the instance's ``gro`` to it and calls ``receive`` from its poll function.

    ``merged`` and ``passed`` count packets merged away and packets passed up.
    """

    def __init__(self, net: NetCore, max_size: int = GRO_MAX_SIZE, batch: int = GRO_NORMAL_BATCH) -> None:
        config = net.softnet.softirq.config
        self.net = net
        self.max_size = max_size
        self.batch = batch
        self.merged = 0
        self.passed = 0
        self._jiffy_ns = config.jiffy_ns
        self._keeps_young = config.hz >= 1000
        self._buckets: list[list[_Held]] = [[] for _ in range(GRO_HASH_BUCKETS)]
        self._ready: list[SkBuff] = []
        self._segments = 0

    @property
    def held(self) -> int:
        """Return how many packets are held back."""
        return sum(map(len, self._buckets))

    async def receive(self, cpu: Cpu, skb: SkBuff, flush: bool = False) -> int:
        """Take a packet in softirq context and return what became of it; ``flush``: it ends its flow's burst. Linux: napi_gro_receive()."""
        bucket = self._buckets[skb.hash % GRO_HASH_BUCKETS]
        same = next((held for held in bucket if _same_flow(held.skb, skb)), None)
        if same is not None and same.skb.length + skb.length < self.max_size:
            same.skb.length += skb.length
            same.segments += 1
            self.merged += 1
            skb.consume()
            if flush:
                await self._complete(cpu, bucket, same)
            return GRO_MERGED
        if same is not None:
            await self._complete(cpu, bucket, same)
        if flush:
            await self._normal_one(cpu, skb, 1)
            return GRO_NORMAL
        if len(bucket) >= MAX_GRO_SKBS:
            await self._complete(cpu, bucket, bucket[0])
        bucket.append(_Held(skb, self._jiffy()))
        return GRO_HELD

    async def polled(self, cpu: Cpu) -> None:
        """Pass up what is too old to wait for the end of polling (all of it where a jiffy is long): the instance goes on polling."""
        await self.flush(cpu, old_only=self._keeps_young)

    async def flush(self, cpu: Cpu, old_only: bool) -> None:
        """Pass up what is held, or only what came in an earlier jiffy, the oldest of a bucket first. Linux: napi_gro_flush()."""
        now = self._jiffy()
        for bucket in self._buckets:
            for held in tuple(bucket):
                if not old_only or held.jiffy != now:
                    await self._complete(cpu, bucket, held)
        await self.pass_up(cpu)

    async def pass_up(self, cpu: Cpu) -> None:
        """Pass up what has been collected. Linux: gro_normal_list(). Trace: netif_receive_skb."""
        ready, self._ready = self._ready, []
        self._segments = 0
        for skb in ready:
            self.passed += 1
            await self.net.netif_receive_skb(cpu, skb)

    async def _complete(self, cpu: Cpu, bucket: list[_Held], held: _Held) -> None:
        bucket.remove(held)
        await self._normal_one(cpu, held.skb, held.segments)

    async def _normal_one(self, cpu: Cpu, skb: SkBuff, segments: int) -> None:
        self._ready.append(skb)
        self._segments += segments
        if self._segments >= self.batch:
            await self.pass_up(cpu)

    def _jiffy(self) -> int:
        return self.net.engine.now // self._jiffy_ns


def _same_flow(held: SkBuff, skb: SkBuff) -> bool:
    return held.hash == skb.hash and held.dev is skb.dev and held.protocol == skb.protocol
