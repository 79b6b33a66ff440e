from __future__ import annotations

import pytest

from asyncirq.hw.lapic_regs import (
    APR,
    DFR,
    EOI,
    ESR,
    ICR2,
    ID,
    IRR,
    ISR,
    LDR,
    MSR_APIC_BASE,
    MSR_TSC_DEADLINE,
    MSR_X2APIC,
    PPR,
    SPIV,
    TMR,
    TPR,
    VERSION,
    VERSION_VALUE,
    GeneralProtection,
)
from tests.hw.apics import World, message

X2APIC = 0xC00


def quiet() -> World:
    world = World()
    world.cpus[0].cli()
    return world


def test_the_sets_are_read_as_eight_words_each() -> None:
    lapic = quiet().lapics[0]
    lapic.accept(message(0xF1, level=True))
    lapic.inta()
    lapic.accept(message(0x21))
    assert [lapic.read(ISR + 0x10 * word) for word in range(8)] == [0] * 7 + [1 << 17]
    assert [lapic.read(TMR + 0x10 * word) for word in range(8)] == [0] * 7 + [1 << 17]
    assert [lapic.read(IRR + 0x10 * word) for word in range(8)] == [0, 2, 0, 0, 0, 0, 0, 0]


def test_read_only_registers_ignore_writes() -> None:
    lapic = quiet().lapics[0]
    for offset in (VERSION, PPR, APR, ISR, IRR, TMR):
        before = lapic.read(offset)
        lapic.write(offset, before ^ 0xFFFF_FFFF)
        assert lapic.read(offset) == before
    lapic.write(ESR, 0)
    assert lapic.read(ESR) == 0


def test_reserved_register_is_an_error() -> None:
    lapic = quiet().lapics[0]
    assert lapic.read(0x40) == 0
    lapic.write(0x50, 1)
    lapic.write(ESR, 0)
    assert lapic.read(ESR) == 0x80


def test_suppressed_eoi_broadcast_leaves_the_ioapic_alone() -> None:
    lapic = quiet().lapics[0]
    told: list[int] = []
    lapic.bus.broadcast_eoi = lambda vector, cause=0: told.append(vector)  # type: ignore[method-assign]
    for spiv in (0x1FF, 0x11FF):
        lapic.write(SPIV, spiv)
        lapic.accept(message(0x41, level=True))
        lapic.inta()
        lapic.write(EOI, 0)
    assert told == [0x41]


def test_x2apic_identity() -> None:
    world = World(3)
    regs = world.lapics[2].regs
    world.lapics[2].write(ID, 9 << 24)
    regs.wrmsr(MSR_APIC_BASE, regs.apic_base | X2APIC)
    assert regs.rdmsr(MSR_X2APIC + 2) == 2
    assert regs.rdmsr(MSR_X2APIC + 0xD) == 1 << 2
    regs.reset()
    assert regs.rdmsr(MSR_X2APIC + 0xD) == 1 << 2


@pytest.mark.parametrize("register", [ID, LDR, DFR, ICR2, VERSION, PPR, ISR, 0x40])
def test_x2apic_registers_that_cannot_be_written(register: int) -> None:
    regs = quiet().lapics[0].regs
    regs.wrmsr(MSR_APIC_BASE, regs.apic_base | X2APIC)
    msr = MSR_X2APIC + (register >> 4)
    with pytest.raises(GeneralProtection, match=f"CPU 0: wrmsr {msr:#x}"):
        regs.wrmsr(msr, 0)


@pytest.mark.parametrize("register", [DFR, ICR2, EOI, APR, 0x3F0, 0x40])
def test_x2apic_registers_that_cannot_be_read(register: int) -> None:
    regs = quiet().lapics[0].regs
    regs.wrmsr(MSR_APIC_BASE, regs.apic_base | X2APIC)
    with pytest.raises(GeneralProtection, match="CPU 0: rdmsr"):
        regs.rdmsr(MSR_X2APIC + (register >> 4))


def test_x2apic_values_that_cannot_be_written() -> None:
    regs = quiet().lapics[0].regs
    regs.wrmsr(MSR_APIC_BASE, regs.apic_base | X2APIC)
    for register, value in ((EOI, 1), (ESR, 1), (TPR, 1 << 32), (0x3F0, 0x100)):
        with pytest.raises(GeneralProtection):
            regs.wrmsr(MSR_X2APIC + (register >> 4), value)


def test_x2apic_registers_need_x2apic_mode() -> None:
    regs = quiet().lapics[0].regs
    with pytest.raises(GeneralProtection, match="no MSR 0x808 outside x2APIC mode"):
        regs.rdmsr(0x808)


OFF, XAPIC, INVALID = 0x000, 0x800, 0x400
LEGAL = {(OFF, OFF), (OFF, XAPIC), (XAPIC, XAPIC), (XAPIC, OFF), (XAPIC, X2APIC), (X2APIC, X2APIC), (X2APIC, OFF)}


@pytest.mark.parametrize("first", [OFF, XAPIC, X2APIC])
@pytest.mark.parametrize("second", [OFF, XAPIC, X2APIC, INVALID])
def test_changes_of_mode(first: int, second: int) -> None:
    """Every pair of modes: what is legal switches the windows, what is not is #GP and changes nothing."""
    regs = quiet().lapics[0].regs
    base = regs.apic_base & ~0xC00
    regs.wrmsr(MSR_APIC_BASE, base | first)
    mode = first
    if (first, second) in LEGAL:
        regs.wrmsr(MSR_APIC_BASE, base | second)
        mode = second
    else:
        with pytest.raises(GeneralProtection, match="is no legal change"):
            regs.wrmsr(MSR_APIC_BASE, base | second)
    assert regs.rdmsr(MSR_APIC_BASE) == base | mode
    assert (regs.hw_enabled, regs.x2apic) == (mode != OFF, mode == X2APIC)
    assert regs.mmio_read(VERSION) == (VERSION_VALUE if mode == XAPIC else 0xFFFF_FFFF)


LVT_PINS = {0x350: 0x1A7FF, 0x360: 0x1A7FF}
LVT_SOURCES = {0x2F0: 0x107FF, 0x320: 0x700FF, 0x330: 0x107FF, 0x340: 0x107FF, 0x370: 0x100FF}
SETS = dict.fromkeys(range(0x100, 0x280, 0x10), 0)
"""What every register of the page reads as once the APIC is enabled, and after all ones were written to it."""
ENABLED = (
    {0x20: 0, 0x30: VERSION_VALUE, 0x80: 0, 0x90: 0, 0xA0: 0, 0xD0: 0, 0xE0: 0xFFFF_FFFF, 0xF0: 0x1FF, 0x280: 0, 0x300: 0, 0x310: 0}
    | {0x380: 0, 0x390: 0, 0x3E0: 0}
    | SETS
    | dict.fromkeys(LVT_PINS | LVT_SOURCES, 0x1_0000)
)
WRITTEN = (
    {0x20: 0xFF00_0000, 0x80: 0xFF, 0xD0: 0xFF00_0000, 0xE0: 0xFFFF_FFFF, 0xF0: 0x13FF, 0x300: 0xFFFF_EFFF, 0x310: 0xFF00_0000}
    | {0x380: 0xFFFF_FFFF, 0x3E0: 0xB}
    | LVT_PINS
    | LVT_SOURCES
)


@pytest.mark.parametrize("offset", range(0, 0x400, 0x10))
def test_every_offset_of_the_page(offset: int) -> None:
    lapic = quiet().lapics[0]
    lapic.write(ESR, 0)
    assert lapic.read(offset) == ENABLED.get(offset, 0)
    lapic.write(offset, 0xFFFF_FFFF)
    if offset != ESR:
        assert lapic.read(offset) == WRITTEN.get(offset, ENABLED.get(offset, 0))
    lapic.write(ESR, 0)
    assert lapic.read(ESR) & 0x80 == (0 if offset in ENABLED else 0x80)


X2APIC_READABLE = {0x02, 0x03, 0x08, 0x0A, 0x0D, 0x0F, *range(0x10, 0x29), 0x2F, 0x30, *range(0x32, 0x3A), 0x3E}
X2APIC_WRITABLE = {0x08, 0x0B, 0x0F, 0x28, 0x2F, 0x30, *range(0x32, 0x39), 0x3E, 0x3F}


@pytest.mark.parametrize("number", range(0x100))
def test_every_register_of_x2apic_mode(number: int) -> None:
    regs = quiet().lapics[0].regs
    regs.wrmsr(MSR_APIC_BASE, regs.apic_base | X2APIC)
    for call, allowed in ((lambda: regs.rdmsr(0x800 + number), X2APIC_READABLE), (lambda: regs.wrmsr(0x800 + number, 0), X2APIC_WRITABLE)):
        try:
            call()
        except GeneralProtection:
            assert number not in allowed
        else:
            assert number in allowed


def test_deadline_register_is_there_in_every_mode() -> None:
    lapic = quiet().lapics[0]
    lapic.write(0x320, 2 << 17 | 0xEC)
    lapic.regs.wrmsr(MSR_TSC_DEADLINE, 500)
    assert lapic.regs.rdmsr(MSR_TSC_DEADLINE) == 500
