from __future__ import annotations

import pytest

from asyncirq.hw.apic_message import EXTINT, NMI
from asyncirq.hw.lapic_front import from_pic
from asyncirq.hw.lapic_lvt import ACTIVE_LOW, CMCI, ERROR, LEVEL, LINT0, LINT1, MASKED, PERF, REMOTE_IRR, THERMAL, TIMER, WRITABLE
from asyncirq.hw.lapic_regs import ESR, MSR_APIC_BASE, SPIV
from tests.hw.apics import World, bits


def quiet(cpus: int = 1) -> World:
    world = World(cpus)
    for cpu in world.cpus:
        cpu.cli()
    return world


@pytest.mark.parametrize("source", [TIMER, THERMAL])
def test_S2_03_lapic_local_sources(source: int) -> None:
    world = quiet(2)
    for lapic in world.lapics:
        lapic.write(source, 0xFA)
    assert world.lapics[1].lvt.fire(source, 5)
    assert [lapic.irr for lapic in world.lapics] == [0, bits(0xFA)]
    assert world.lapics[1].irr_cause[0xFA] == 5


@pytest.mark.parametrize("source", sorted(WRITABLE))
def test_masked_source_is_lost(source: int) -> None:
    lapic = quiet().lapics[0]
    lapic.write(source, 0xFA | MASKED)
    assert not lapic.lvt.fire(source)
    lapic.write(source, 0xFA)
    assert (lapic.irr, lapic.nmi_pending) == (0, False)


@pytest.mark.parametrize(
    ("source", "readable"), [(TIMER, 0x700FF), (CMCI, 0x107FF), (PERF, 0x107FF), (ERROR, 0x100FF), (LINT0, 0x1A7FF), (LINT1, 0x1A7FF)]
)
def test_writable_bits(source: int, readable: int) -> None:
    lapic = quiet().lapics[0]
    lapic.write(source, 0xFFFF_FFFF)
    assert lapic.read(source) == readable


def test_performance_entry_masks_itself() -> None:
    lapic = quiet().lapics[0]
    lapic.write(PERF, NMI << 8)
    assert lapic.lvt.fire(PERF)
    assert lapic.nmi_pending
    assert lapic.read(PERF) == MASKED | NMI << 8
    assert not lapic.lvt.fire(PERF)


def test_error_entry_tells_of_an_error_once_until_it_was_read() -> None:
    lapic = quiet().lapics[0]
    lapic.write(ERROR, 0xFE)
    lapic.read(0x40)
    assert lapic.inta()[0] == 0xFE
    lapic.eoi()
    lapic.read(0x40)
    assert not lapic.intr
    lapic.write(ESR, 0)
    assert lapic.read(ESR) == 0x80
    lapic.read(0x40)
    assert lapic.intr
    lapic.write(ESR, 0)
    lapic.write(ESR, 0)
    assert lapic.read(ESR) == 0


def test_lint1_as_nmi_is_an_edge() -> None:
    lapic = quiet().lapics[0]
    lapic.write(LINT1, NMI << 8)
    lapic.lvt.set_pin(LINT1, True, 9)
    assert lapic.nmi_taken() == 9
    lapic.lvt.set_pin(LINT1, True)
    assert not lapic.nmi_pending
    lapic.lvt.set_pin(LINT1, False)
    lapic.lvt.set_pin(LINT1, True)
    assert lapic.nmi_pending


def test_lint0_as_virtual_wire_follows_the_pic() -> None:
    lapic = quiet().lapics[0]
    lapic.extint_source = lambda: (0x30, 4)
    lapic.write(LINT0, EXTINT << 8)
    lapic.lvt.set_pin(LINT0, True)
    assert lapic.inta() == (0x30, from_pic(4))
    assert lapic.intr
    lapic.lvt.set_pin(LINT0, False)
    assert not lapic.intr
    lapic.lvt.set_pin(LINT0, True)
    lapic.write(LINT0, MASKED | EXTINT << 8)
    assert not lapic.intr


def test_lint0_level_triggered_asks_again_after_eoi() -> None:
    lapic = quiet().lapics[0]
    lapic.write(LINT0, 0x45 | LEVEL | ACTIVE_LOW)
    assert lapic.inta()[0] == 0x45
    assert lapic.read(LINT0) & REMOTE_IRR
    lapic.eoi()
    assert lapic.inta()[0] == 0x45
    lapic.lvt.set_pin(LINT0, True)
    lapic.eoi()
    assert not lapic.intr
    assert not lapic.read(LINT0) & REMOTE_IRR


def test_without_an_apic_the_pins_are_intr_and_nmi() -> None:
    lapic = quiet().lapics[0]
    lapic.extint_source = lambda: (0x31, 0)
    lapic.regs.wrmsr(MSR_APIC_BASE, lapic.regs.apic_base & ~0x800)
    lapic.lvt.set_pin(LINT0, True)
    lapic.lvt.set_pin(LINT1, True)
    assert (lapic.intr, lapic.nmi_pending) == (True, True)
    assert lapic.inta() == (0x31, from_pic(0))


def test_disabling_by_software_masks_and_enabling_does_not_unmask() -> None:
    lapic = quiet().lapics[0]
    lapic.write(THERMAL, 0xFA)
    lapic.write(SPIV, 0xFF)
    lapic.write(SPIV, 0x1FF)
    assert lapic.read(THERMAL) == MASKED | 0xFA


def test_rewriting_a_level_entry_keeps_remote_irr_until_the_eoi() -> None:
    lapic = quiet().lapics[0]
    lapic.lvt.set_pin(LINT0, True)
    lapic.write(LINT0, 0x45 | LEVEL)
    assert lapic.inta()[0] == 0x45
    for value in (0x45 | LEVEL | MASKED, 0x45 | LEVEL):
        lapic.write(LINT0, value)
        assert lapic.read(LINT0) == value | REMOTE_IRR
    assert lapic.irr == 0
    lapic.eoi()
    assert lapic.irr == bits(0x45)
    lapic.write(LINT0, 0x45)
    assert lapic.read(LINT0) == 0x45
