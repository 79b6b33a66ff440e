"""Say what both sides of the benchmark simulate: the same arrivals, the same durations, the same budget.

One NIC queue for each CPU. Frames arrive at a fixed distance, a little different for every queue, so that the queues drift past
each other. Each frame is one edge interrupt through an interrupt controller; its handler asks for a poll, the softirq polls with a
budget and takes the frames off the ring.
"""

from __future__ import annotations

from typing import Final

import msgspec

GAP_NS: Final = 10_000
IRQ_ENTRY_NS: Final = 250
HANDLER_NS: Final = 300
IRQ_EXIT_NS: Final = 120
SOFTIRQ_ENTRY_NS: Final = 120
POLL_NS: Final = 200
PACKET_NS: Final = 1_200
SOFTIRQ_EXIT_NS: Final = 60
BUDGET: Final = 64
PACKET_BYTES: Final = 1_500
VECTOR: Final = 0x41
MSI_ADDRESS: Final = 0xFEE0_0000
NET_RX: Final = 3


def gap_ns(cpu: int) -> int:
    """Return the time between two frames of a CPU's queue."""
    return GAP_NS + 7 * cpu


class Result(msgspec.Struct, kw_only=True):
    """What one run of one side did, and what it cost.

    ``seconds`` is processor time of the run alone, without imports and boot; ``tenths`` is its share for each tenth of the
    interrupts and ``rss_kib`` the memory after each tenth, where they were asked for.
    """

    interrupts: int
    packets: int
    records: int
    seconds: float
    tenths: list[float] = []
    rss_kib: list[int] = []
    digest: str = ""

    @property
    def us(self) -> float:
        """Return the cost of one interrupt."""
        return self.seconds * 1e6 / self.interrupts

    @property
    def records_per_interrupt(self) -> float:
        """Return how many records an interrupt made."""
        return self.records / self.interrupts
