"""Show the receive livelock, and that polling with a budget has none.

A packet costs 60 us in the hard interrupt, 75 us in the network stack, and 75 us in the program that wants it unless the machine is a
router. Where every packet interrupts, and what an interrupt starts goes before every program, throughput rises to a peak and then falls
to nothing. With NAPI an overloaded device stays masked: packets are lost before they cost anything.

Mogul and Ramakrishnan, Eliminating Receive Livelock in an Interrupt-driven Kernel, USENIX 1996: a peak near 4,700 packets a second, nothing
at about 6,000.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from asyncirq import preset
from tests.stories.receiver import SECOND, Rates, Scheme, measure

pytestmark = pytest.mark.usefixtures("every_controller")
ISR, PROTO, USER = 60_000, 75_000, 75_000
RATES = (1000, 2000, 3000, 4000, 4700, 5500, 6500, 7500, 9000, 11_000, 14_000, 17_000, 22_000, 40_000)
CLASSIC = preset("linux-2.6", hz=100, softirq_max_restart=1_000_000)
"""A kernel that leaves nothing to a thread: what is pending goes before every task."""
NAPI = preset("linux-6.1", nohz_idle=False)


async def curve(scheme: Scheme, user_ns: int) -> tuple[dict[int, Rates], dict[int, float]]:
    """Return what comes of each offered rate, and the packets a second of it that were delivered."""
    found = {}
    kernel = NAPI if scheme == "napi" else CLASSIC
    for rate in RATES:
        rates = found[rate] = await measure(scheme, rate, SECOND // 2, ISR, PROTO, user_ns=user_ns, kernel=kernel, warm_ns=SECOND // 10)
        print(f"{scheme:10} offered {rates.load:7.0f}  delivered {rates.per_second:7.0f}  interrupts {rates.interrupts}")
    return found, {rate: rates.per_second for rate, rates in found.items()}


def test_a_program_behind_every_packet_interrupts_livelocks() -> None:
    found, done = asyncio.run(curve("interrupts", USER))
    best = max(done, key=lambda rate: done[rate])
    # The peak is near 1 / (ISR + PROTO + USER) = 4,762, the end at 1 / (ISR + PROTO) = 7,407.
    assert best == 4700
    assert 4400 <= done[best] <= 4762
    for rate in RATES:
        if rate <= 4000:
            assert done[rate] >= 0.99 * found[rate].load
        if rate >= 7500:
            assert done[rate] == 0
    falling = [done[rate] for rate in RATES if rate >= best]
    assert all(a >= b for a, b in pairwise(falling))


def test_a_router_with_every_packet_interrupting_livelocks() -> None:
    found, done = asyncio.run(curve("interrupts", 0))
    best = max(done, key=lambda rate: done[rate])
    assert best == 7500
    # Up to 1 / (ISR + PROTO) what is offered, then what the interrupts leave, then nothing from 1 / ISR = 16,667 on.
    for rate in RATES:
        left = max(0.0, (1 - found[rate].load * ISR / SECOND) / PROTO * SECOND)
        assert done[rate] == pytest.approx(min(found[rate].load, left), rel=0.01, abs=2)
    assert all(done[rate] == 0 for rate in RATES if rate >= 17_000)


def test_a_router_with_napi_stays_flat() -> None:
    found, done = asyncio.run(curve("napi", 0))
    best = max(done.values())
    assert best == pytest.approx(SECOND / PROTO, rel=0.01)  # nothing is spent on packets that are lost
    for rate in RATES:
        if rate <= 6500:
            assert done[rate] >= 0.99 * found[rate].load
        if rate >= 14_000:
            assert done[rate] >= 0.99 * best
    assert found[40_000].interrupts <= 1e-4 * found[40_000].offered
    assert [rate for rate in RATES if done[rate] < 0.95 * min(found[rate].load, best)] == []


def test_a_program_behind_napi_gets_its_share() -> None:
    found, done = asyncio.run(curve("napi", USER))
    # Softirqs still go before the program while the device keeps up; masked for good it shares the CPU with ksoftirqd.
    assert all(done[rate] >= 0.99 * found[rate].load for rate in RATES if rate <= 4000)
    assert min(done[rate] for rate in RATES if rate > 4000) > 1000
    assert all(done[rate] == pytest.approx(SECOND / (PROTO + USER), rel=0.01) for rate in RATES if rate >= 14_000)
