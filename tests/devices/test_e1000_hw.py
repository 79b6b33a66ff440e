from __future__ import annotations

import pytest

from asyncirq import Machine, UsageError
from devices import E1000
from devices import e1000_regs as regs
from devices.e1000_regs import Descriptor
from tests.devices.harness import US, make, play, times


def chip(*, dma_ns: int = 0) -> tuple[E1000, list[Descriptor]]:
    """Return a chip and its receive ring, which ``power`` gives to it."""
    return E1000("eth0", 16, dma_ns=dma_ns), [Descriptor() for _ in range(8)]


def power(m: Machine, nic: E1000, ring: list[Descriptor], itr: int = 0) -> None:
    nic.connect(m)
    poke = nic.regs.poke
    poke(regs.RDBAL, nic.dma.map(ring))
    poke(regs.RDLEN, len(ring) * 16)
    poke(regs.RDT, len(ring) - 1)
    poke(regs.ITR, itr)
    poke(regs.RCTL, regs.RCTL_EN)
    poke(regs.IMS, regs.INT_RXT0)


def test_level_stays_until_icr_is_read() -> None:
    nic, ring = chip()

    async def body(m: Machine) -> None:
        power(m, nic, ring)
        line, _ = m.line(16)
        nic.receive([60])
        await m.run_for(50 * US)
        assert (line.level, nic.asserted) == (True, True)
        nic.receive([61])
        await m.run_for(50 * US)
        assert line.level
        assert nic.regs.peek(regs.ICR) == regs.INT_RXT0
        assert (line.level, nic.asserted) == (False, False)
        assert nic.regs.peek(regs.ICR) == 0
        assert [descriptor.length for descriptor in ring[:3]] == [60, 61, 0]
        assert [descriptor.done for descriptor in ring[:3]] == [True, True, False]
        assert nic.regs.peek(regs.RDH) == 2

    m = play(make(), body)
    assert len(times(m, "device_raise")) == 1
    assert len(times(m, "line_level")) == 2


def test_mask_lets_go_of_the_line_and_keeps_the_cause() -> None:
    nic, ring = chip()

    async def body(m: Machine) -> None:
        power(m, nic, ring)
        nic.receive([60])
        await m.run_for(1)
        nic.regs.poke(regs.IMC, regs.INT_ALL)
        assert not nic.asserted
        nic.regs.poke(regs.IMS, regs.INT_RXT0)
        assert nic.asserted
        nic.regs.poke(regs.IMC, regs.INT_ALL)
        nic.regs.poke(regs.IMS, regs.INT_TXDW)
        assert not nic.asserted

    play(make(), body)


def test_packet_is_there_after_the_dma() -> None:
    nic, ring = chip(dma_ns=2 * US)

    async def body(m: Machine) -> None:
        power(m, nic, ring)
        await m.run_for(US)
        nic.receive([60, 60])
        await m.run_for(US)
        nic.receive([60])
        await m.run_for(10 * US)

    m = play(make(), body)
    assert times(m, "device_raise") == [3 * US]
    assert nic.received == 3


def test_ring_without_descriptors_loses_packets() -> None:
    nic, ring = chip()

    async def body(m: Machine) -> None:
        power(m, nic, ring)
        nic.receive([60] * 9)
        await m.run_for(1)
        assert (nic.received, nic.missed) == (7, 2)
        assert nic.regs.peek(regs.ICR) == regs.INT_RXT0 | regs.INT_RXO
        assert (nic.regs.peek(regs.MPC), nic.regs.peek(regs.MPC)) == (2, 0)
        assert (nic.regs.peek(regs.GPRC), nic.regs.peek(regs.GPRC)) == (7, 0)
        assert nic.regs.peek(regs.RDH) == nic.regs.peek(regs.RDT) == 7
        nic.regs.poke(regs.RDT, 2)
        nic.receive([60] * 9)
        await m.run_for(1)
        assert (nic.received, nic.missed) == (10, 8)
        assert nic.regs.peek(regs.RDH) == 2

    play(make(), body)


def test_throttle_counts_from_the_last_interrupt() -> None:
    nic, ring = chip()

    async def body(m: Machine) -> None:
        power(m, nic, ring, itr=100)
        nic.receive([60])
        await m.run_for(US)
        nic.regs.peek(regs.ICR)
        nic.receive([60])
        await m.run_for(US)
        assert (nic.pending, nic.asserted) == (regs.INT_RXT0, False)
        await m.run_for(100 * US)
        assert nic.asserted
        nic.regs.peek(regs.ICR)
        nic.receive([60])
        await m.run_for(US)

    m = play(make(), body)
    assert times(m, "device_raise") == [0, 25_600, 102 * US]


def test_throttled_cause_that_is_read_in_time_raises_nothing() -> None:
    nic, ring = chip()

    async def body(m: Machine) -> None:
        power(m, nic, ring, itr=100)
        nic.receive([60])
        await m.run_for(US)
        nic.regs.peek(regs.ICR)
        nic.receive([60])
        await m.run_for(US)
        nic.regs.peek(regs.ICR)
        await m.run_for(100 * US)

    m = play(make(), body)
    assert times(m, "device_raise") == [0]


def test_software_sets_a_cause() -> None:
    nic, ring = chip()

    async def body(m: Machine) -> None:
        power(m, nic, ring)
        nic.regs.poke(regs.ICS, regs.INT_RXT0, cause=7)
        await m.run_for(1)

    m = play(make(), body)
    [raised] = [record for record in m.records if type(record).__name__ == "DeviceRaise"]
    assert raised.cause == 7


def test_reset_forgets_everything_but_the_link() -> None:
    nic, ring = chip(dma_ns=US)

    async def body(m: Machine) -> None:
        power(m, nic, ring)
        nic.set_link(False)
        nic.set_link(True)
        nic.receive([60])
        nic.regs.poke(regs.CTRL, regs.CTRL_RST)
        await m.run_for(10 * US)
        assert [nic.regs.peek(offset) for offset in (regs.ICR, regs.IMS, regs.ITR, regs.RCTL, regs.RDBAL, regs.RDT)] == [0] * 6
        assert nic.regs.peek(regs.STATUS) == regs.STATUS_FD | regs.STATUS_LU
        assert (nic.received, nic.asserted) == (0, False)

    play(make(), body)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (regs.RDLEN, 100, "eth0: a ring of 100 bytes"),
        (regs.TDLEN, 128 * 1024, "eth0: a ring of 131072 bytes"),
        (regs.RDT, 8, "eth0: descriptor 8 of a ring of 8"),
        (regs.STATUS, 1, "eth0: register STATUS cannot be written"),
        (regs.TDT, 1, "eth0: descriptor 1 of a ring of 0"),
    ],
)
def test_wrong_writes_are_refused(offset: int, value: int, message: str) -> None:
    nic, ring = chip()

    async def body(m: Machine) -> None:
        power(m, nic, ring)
        with pytest.raises(UsageError, match=message):
            nic.regs.poke(offset, value)

    play(make(), body)


def test_dma_to_nowhere_is_refused() -> None:
    nic, ring = chip()

    async def body(m: Machine) -> None:
        power(m, nic, ring)
        nic.regs.poke(regs.RDBAL, 0x666000)
        nic.receive([60])
        with pytest.raises(UsageError, match="eth0: DMA to 0x666000, where nothing is mapped"):
            await m.run_for(1)

    play(make(), body)


def test_bad_chips_are_refused() -> None:
    with pytest.raises(UsageError, match="eth0: DMA cannot take -1 ns"):
        E1000("eth0", dma_ns=-1)
    with pytest.raises(UsageError, match="eth0: a link of 0 Mbit/s carries nothing"):
        E1000("eth0", mbps=0)
    with pytest.raises(UsageError, match="a device needs a name"):
        E1000("")
