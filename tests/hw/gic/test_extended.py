"""Check the extended ranges, PPIs from 1056 and SPIs from 4096, through the registers that a kernel writes."""

from __future__ import annotations

from asyncirq.hw.gic import regs
from asyncirq.hw.gic.distributor import route_of_affinity
from tests.hw.gic.gics import NONE, World

ESPI = 4096 + 33
EPPI = 1056 + 5
ISENABLER_E, ISPENDR_E, ICACTIVER_E, IPRIORITYR_E, ICFGR_E = 0x1200, 0x1600, 0x1C00, 0x2000, 0x3000


def test_extended_spi_is_configured_routed_and_taken() -> None:
    world = World(extended=64)
    distributor, number = world.distributor, ESPI - regs.ESPI_BASE
    assert distributor.read(regs.GICD_TYPER) >> 27 == 1
    assert distributor.read(regs.GICD_TYPER) & regs.TYPER_ESPI
    distributor.write(IPRIORITYR_E + number, 0x40, 1)
    distributor.write(ICFGR_E + number // 16 * 4, 2 << number % 16 * 2)
    distributor.write(regs.IROUTERE + 8 * number, route_of_affinity(world.parts[2].affinity), 8)
    distributor.write(ISENABLER_E + number // 32 * 4, 1 << number % 32)
    pe = world.pes[2].mask()
    distributor.set_line(ESPI, True)
    assert distributor.read(ISPENDR_E + 4) == 1 << number % 32
    assert [interface.irq for interface in world.interfaces] == [False, False, True, False]
    assert (pe.ack(), pe.interface.running, world.states(ESPI)) == (ESPI, 0x40, ["active"])
    distributor.write(ICACTIVER_E + 4, 1 << number % 32)
    assert world.states(ESPI) == ["inactive"]
    assert world.states(33) == ["inactive"]
    assert pe.ack() == NONE


def test_extended_ppi_is_its_own_pe_s() -> None:
    world = World(extended=64)
    assert world.parts[1].read(regs.GICR_TYPER) >> 27 == 2
    part, index = world.parts[1], 32 + EPPI - regs.EPPI_BASE
    part.write(regs.SGI_FRAME + regs.IPRIORITYR + index, 0x60, 1)
    part.write(regs.SGI_FRAME + regs.ISENABLER + index // 32 * 4, 1 << index % 32)
    for pe in world.pes:
        pe.mask()
    for each in world.parts:
        each.set_ppi(EPPI, True)
    assert [interface.irq for interface in world.interfaces] == [False, True, False, False]
    assert (world.pes[1].ack(), world.interfaces[1].running) == (EPPI, 0x60)
    assert part.private[EPPI].state == "active and pending"
    assert (part.private[EPPI - regs.EPPI_BASE].state, world.parts[0].private[EPPI].state) == ("inactive", "pending")
    world.interfaces[1].end(EPPI)
    assert part.private[EPPI].state == "pending"


def test_numbers_between_the_ranges_are_nobody_s() -> None:
    world = World(extended=64)
    for offset in (ISENABLER_E, ISPENDR_E):
        world.distributor.write(offset + 8, 0xFFFF_FFFF)
        assert world.distributor.read(offset + 8) == 0
    assert [world.distributor.find(intid) for intid in (1024, 1056 + 64, 4096 + 64, 5120)] == [None] * 4
