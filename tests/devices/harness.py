"""Run a device on a machine whose costs are all zero unless given, and tell what was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from asyncirq import Costs, KernelConfig, Machine, cost_names
from asyncirq.trace import event_text, tag_of

US = 1_000
MS = 1_000_000
BOOT = MS
"""When a test begins: the kernel threads have gone to sleep by then."""
TICK = frozenset({"timer_base_idle", "tick_stop", "hrtimer_start", "hrtimer_cancel"})
NIC_COSTS = {"ioapic_latency_ns": 500, "irq_entry_ns": 200, "device_read_ns": 800, "device_write_ns": 30, "rx_packet_ns": 1_000}
Body = Callable[[Machine], Awaitable[None]]


def make(costs: Mapping[str, int] = MappingProxyType({}), *, kernel: KernelConfig | str = "linux-6.12") -> Machine:
    """Return a machine with one CPU that checks its invariants."""
    table = {name: 0 for name in cost_names()} | dict(costs)
    return Machine(1, kernel, costs=Costs(**table), check=True)


def play(m: Machine, body: Body) -> Machine:
    """Run ``await body(m)`` inside the machine, close it and return it."""

    async def run() -> None:
        async with m:
            await body(m)

    asyncio.run(run())
    return m


def texts(m: Machine, *, since: int = BOOT, without: frozenset[str] = TICK) -> list[str]:
    """Return ``time event: text`` of the records from an instant on; the idle loop's tick is left out."""
    found = [record for record in m.records if record.ts >= since and tag_of(type(record)) not in without]
    return [f"{record.ts - since} {tag_of(type(record))}: {event_text(record)}".rstrip() for record in found]


def times(m: Machine, event: str, **fields: Any) -> list[int]:
    """Return when an event was recorded, of the records with these fields."""
    return [
        record.ts
        for record in m.records
        if tag_of(type(record)) == event and all(getattr(record, name) == value for name, value in fields.items())
    ]
