"""Hold the model against closed forms of throughput under interrupt load.

With r = 1/T_ISR, mu = 1/T_proto and Poisson arrivals at rate lambda, where the interrupt preempts protocol processing:

| interrupt | throughput | livelock |
| --- | --- | --- |
| one for each packet | min(lambda, mu (1 - lambda/r)) | at lambda = r |
| absorbs what comes during it | min(lambda, mu r / (lambda + r)) | never |

Salah and El-Badawi, International Journal of Communication Systems 18(5), 2005. lambda is the rate that was offered in the run.
"""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.machine import DEFAULT_CONTROLLER
from tests.stories.receiver import SECOND, Rates, Scheme, measure

pytestmark = pytest.mark.usefixtures("every_controller")
GRID = [(isr, proto) for isr in (5_000, 10_000, 20_000) for proto in (10_000, 20_000, 40_000)]
CORNERS = [(5_000, 40_000), (20_000, 10_000)]
"""Of the grid, for the interrupt controllers that are not the default one: where protocol processing is longest and shortest."""
LOADS = (0.25, 0.55, 0.8, 1.3)
"""Offered rate by r."""
PACKETS = 6_000
"""Offered at each point: where the fewest are processed but not none, one packet is 0.5 %."""


def closed_form(scheme: Scheme, load: float, isr_ns: int, proto_ns: int) -> float:
    """Return packets a second."""
    r, mu = SECOND / isr_ns, SECOND / proto_ns
    if scheme == "pio":
        return min(load, max(0.0, mu * (1 - load / r)))
    return min(load, mu * r / (load + r))


def row(scheme: Scheme, isr_ns: int, proto_ns: int, rates: Rates) -> str:
    """Return a line for the reader."""
    expected = closed_form(scheme, rates.load, isr_ns, proto_ns)
    costs = f"{scheme} isr {isr_ns // 1000:3} us  proto {proto_ns // 1000:3} us"
    return f"{costs}  offered {rates.load:9.0f}  closed {expected:9.0f}  model {rates.per_second:9.0f}"


@pytest.mark.parametrize("scheme", ["pio", "dma"])
def test_throughput_is_the_closed_form_within_one_per_cent(scheme: Scheme, every_controller: str) -> None:
    async def rows() -> list[str]:
        wrong = []
        for isr_ns, proto_ns in GRID if every_controller == DEFAULT_CONTROLLER else CORNERS:
            for load in LOADS:
                rate = int(load * SECOND / isr_ns)
                rates = await measure(scheme, rate, PACKETS * SECOND // rate, isr_ns, proto_ns, warm_ns=2_000_000)
                text = row(scheme, isr_ns, proto_ns, rates)
                print(text)
                expected = closed_form(scheme, rates.load, isr_ns, proto_ns)
                if abs(rates.per_second - expected) > 0.01 * expected:
                    wrong.append(text)
                if scheme == "dma":
                    # What is left for other work is r / (lambda + r): the rest is interrupts.
                    left = 1 - rates.interrupts * isr_ns / rates.ns
                    assert left == pytest.approx(1 / (1 + rates.load * isr_ns / SECOND), rel=0.02)
        return wrong

    assert asyncio.run(rows()) == []


@pytest.mark.controllers("apic")
def test_the_published_points() -> None:
    # T_ISR 10 us, T_proto 20 us: what an independent simulation of the same closed forms gave, at the nominal rates.
    published: tuple[tuple[Scheme, dict[int, int]], ...] = (
        ("pio", {30: 29_865, 60: 20_090, 80: 9_984}),
        ("dma", {60: 31_172, 80: 27_823, 95: 25_653, 150: 20_001}),
    )

    async def check() -> None:
        for scheme, points in published:
            for thousands, expected in points.items():
                rates = await measure(scheme, 1000 * thousands, SECOND * 2 // 5, 10_000, 20_000)
                print(row(scheme, 10_000, 20_000, rates))
                assert rates.per_second == pytest.approx(expected, rel=0.03)

    asyncio.run(check())
