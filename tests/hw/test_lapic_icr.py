from __future__ import annotations

import pytest

from asyncirq.hw.apic_message import BROADCAST
from asyncirq.hw.lapic_regs import ICR, ICR2, MSR_APIC_BASE, MSR_X2APIC
from tests.hw.apics import World, bits

SELF, ALL, OTHERS = 0x40000, 0x80000, 0xC0000


def quiet(cpus: int) -> World:
    world = World(cpus)
    for cpu in world.cpus:
        cpu.cli()
    return world


def pending(world: World) -> list[int]:
    return [lapic.irr for lapic in world.lapics]


@pytest.mark.parametrize(
    ("high", "low", "expected"),
    [
        (2 << 24, 0x41, [0, 0, 1]),
        (0xFF << 24, 0x41, [1, 1, 1]),
        (0, 0x41 | SELF, [0, 1, 0]),
        (0, 0x41 | ALL, [1, 1, 1]),
        (0, 0x41 | OTHERS, [1, 0, 1]),
        (0, 0x141 | OTHERS, [1, 0, 0]),
    ],
)
def test_destinations(high: int, low: int, expected: list[int]) -> None:
    world = quiet(3)
    world.lapics[1].write(ICR2, high)
    world.lapics[1].write(ICR, low)
    assert pending(world) == [bits(0x41) * there for there in expected]


def test_level_bit_of_a_fixed_ipi_is_ignored() -> None:
    world = quiet(1)
    world.lapics[0].write(ICR, 0xC041 | SELF)
    assert (world.lapics[0].irr, world.lapics[0].tmr) == (bits(0x41), 0)


def test_cause_is_what_the_writer_does() -> None:
    world = quiet(2)
    world.cpus[0].cause = 42
    world.lapics[0].write(ICR2, 1 << 24)
    world.lapics[0].write(ICR, 0x41, world.cpus[0])
    assert world.lapics[1].irr_cause[0x41] == 42
    assert world.lapics[0].send_ipi(1, 0x51, cause=43) == 1
    assert world.lapics[1].irr_cause[0x51] == 43


def test_x2apic_destinations() -> None:
    world = quiet(3)
    for lapic in world.lapics:
        lapic.regs.wrmsr(MSR_APIC_BASE, lapic.regs.apic_base | 0x400)
        lapic.regs.wrmsr(MSR_X2APIC + 0x0F, 0x1FF)
    regs = world.lapics[0].regs
    regs.wrmsr(MSR_X2APIC + 0x30, 1 << 32 | 0x41)
    regs.wrmsr(MSR_X2APIC + 0x30, 0b110 << 32 | 0x852)
    regs.wrmsr(MSR_X2APIC + 0x30, BROADCAST << 32 | 0x63)
    regs.wrmsr(MSR_X2APIC + 0x30, 0xFF << 32 | 0x74)
    regs.wrmsr(MSR_X2APIC + 0x3F, 0x85)
    assert pending(world) == [bits(0x63, 0x85), bits(0x41, 0x52, 0x63), bits(0x52, 0x63)]
