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


@pytest.mark.parametrize(("first", "second"), [(0x000, 0xC00), (0xC00, 0x800), (0x800, 0x400), (0x000, 0x400)])
def test_illegal_changes_of_mode(first: int, second: int) -> None:
    regs = quiet().lapics[0].regs
    base = regs.apic_base & ~0xC00
    regs.wrmsr(MSR_APIC_BASE, base | first)
    with pytest.raises(GeneralProtection, match="is no legal change"):
        regs.wrmsr(MSR_APIC_BASE, base | second)
    assert regs.rdmsr(MSR_APIC_BASE) == base | first


def test_deadline_register_is_there_in_every_mode() -> None:
    lapic = quiet().lapics[0]
    lapic.write(0x320, 2 << 17 | 0xEC)
    lapic.regs.wrmsr(MSR_TSC_DEADLINE, 500)
    assert lapic.regs.rdmsr(MSR_TSC_DEADLINE) == 500
