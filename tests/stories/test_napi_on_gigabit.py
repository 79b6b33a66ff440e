"""Show NAPI's change from interrupts to polling as packets get smaller and come faster.

A million packets into an e1000 at the rate that the link allows for their size, as R. Olsson measured it:

| size | packets a second | rx interrupts | polls that were done | polls that were not |
| --- | --- | --- | --- | --- |
| 60 | 890,000 | 17 | 7 | 6,823 |
| 128 | 758,150 | 21 | 10 | 7,738 |
| 256 | 445,632 | 42 | 21 | 12,906 |
| 512 | 232,666 | 241,292 | 241,192 | 1,062 |
| 1024 | 119,061 | 872,519 | 872,511 | 0 |
| 1440 | 85,193 | 946,576 | 946,569 | 0 |

Salim, Olsson, Kuznetsov, Beyond Softnet, Annual Linux Showcase 2001 (NAPI_HOWTO.txt). Here 50,000 packets each, evenly
spaced, on a CPU that needs 2.4 us for one.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

import pytest

from asyncirq import Machine
from asyncirq.bottom_half.napi import Napi
from asyncirq.costs import Costs
from asyncirq.hw.cpu import Cpu
from devices.arrivals import Periodic
from devices.e1000 import E1000Driver
from devices.e1000_hw import E1000

pytestmark = pytest.mark.usefixtures("every_controller")
SECOND: Final = 1_000_000_000
PACKETS: Final = 50_000
TABLE: Final = ((60, 890_000), (128, 758_150), (256, 445_632), (512, 232_666), (1024, 119_061), (1440, 85_193))


class Row(NamedTuple):
    """What one size gave: rates in packets a second, the rest in counts."""

    size: int
    input_pps: int
    throughput: int
    packets: int
    interrupts: int
    done: int
    not_done: int


class CountingDriver(E1000Driver):
    """The driver, which also counts polls that were done and those that were not."""

    done = 0
    not_done = 0

    async def _poll(self, cpu: Cpu, napi: Napi, budget: int) -> int:
        work = await super()._poll(cpu, napi, budget)
        if work < budget:
            self.done += 1
        else:
            self.not_done += 1
        return work


async def run(size: int, pps: int) -> Row:
    """Let packets of one size come at a rate, and count."""
    costs = Costs(rx_packet_ns=2_400, device_read_ns=400)
    async with Machine(1, "linux-6.12", seed=4, costs=costs, trace=False) as m:
        driver = CountingDriver(E1000("eth0", 16, dma_ns=500), itr_ns=0)
        await driver.bind(m)
        duration = PACKETS * (SECOND // pps)
        driver.device.start(Periodic(SECOND // pps, count=PACKETS), length=size)
        await m.run_for(duration)
        throughput = driver.rx_packets * SECOND // duration
        await m.run_for(SECOND // 500)  # what is left in the ring
        return Row(size, pps, throughput, driver.rx_packets, driver.interrupts, driver.done, driver.not_done)


def test_from_interrupts_to_polling() -> None:
    rows = [asyncio.run(run(size, pps)) for size, pps in TABLE]
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row._asdict().items()))
    fast, slow = rows[:3], rows[3:]
    for row in fast:
        # Above capacity: next to no interrupts, full polls, and the throughput does not fall with the load.
        assert row.interrupts <= 1e-4 * PACKETS
        assert row.not_done > 100 * row.done
        assert row.packets / (row.done + row.not_done) > 58
        assert row.throughput > 0.97 * max(other.throughput for other in fast)
    for row in slow:
        # Below it nothing is lost, and polls are done.
        assert row.packets == PACKETS
        assert row.done > 100 * row.not_done
        assert abs(row.throughput - row.input_pps) < 0.02 * row.input_pps
    # Between 233 and 446 thousand a second the ratio turns over; at half the capacity and below nearly each packet interrupts.
    assert fast[-1].interrupts < 0.01 * slow[0].interrupts
    assert slow[0].packets / slow[0].done < 8
    assert all(row.interrupts > 0.85 * PACKETS for row in slow[1:])
