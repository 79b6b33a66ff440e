"""Take redirection entries, messages and interrupt commands apart and put them together again, bit for bit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncirq.hw.apic_message import BROADCAST, FIXED, INIT, LOWEST_PRIORITY, ApicMessage
from asyncirq.hw.ioapic_regs import REG_REDIRECTION, WRITABLE_LOW, RedirectionEntry
from asyncirq.hw.lapic_regs import BASE_EN, BASE_EXTD, ICR, ICR2, MSR_APIC_BASE, MSR_X2APIC
from asyncirq.hw.msi import MsiMessage
from tests.hw.apics import World

FLAG = st.booleans()
BYTE = st.integers(0, 0xFF)
ENTRY = st.builds(
    RedirectionEntry,
    vector=BYTE,
    delivery_mode=st.integers(0, 7),
    logical=FLAG,
    delivery_status=FLAG,
    active_low=FLAG,
    remote_irr=FLAG,
    level=FLAG,
    masked=FLAG,
    dest=BYTE,
)
DEFINED = 0xFF << 56 | 0x1_FFFF


@given(ENTRY)
def test_an_entry_is_what_it_was(entry: RedirectionEntry) -> None:
    value = entry.encode()
    assert RedirectionEntry.decode(value) == entry
    assert value & ~DEFINED == 0
    fields = (value & 0xFF, value >> 8 & 7, value >> 11 & 1, value >> 12 & 1, value >> 13 & 1, value >> 14 & 1, value >> 15 & 1)
    assert fields == (
        entry.vector,
        entry.delivery_mode,
        entry.logical,
        entry.delivery_status,
        entry.active_low,
        entry.remote_irr,
        entry.level,
    )
    assert (value >> 16 & 1, value >> 56) == (entry.masked, entry.dest)


@given(st.integers(0, (1 << 64) - 1))
def test_any_64_bits_are_an_entry_without_the_reserved_ones(value: int) -> None:
    assert RedirectionEntry.decode(value).encode() == value & DEFINED


@given(st.integers(0, 23), st.integers(0, (1 << 64) - 1))
def test_the_chip_keeps_the_writable_bits(pin: int, value: int) -> None:
    world = World()
    world.write_register(REG_REDIRECTION + 2 * pin + 1, value >> 32)
    world.write_register(REG_REDIRECTION + 2 * pin, value & 0xFFFF_FFFF | 1 << 16)
    assert world.read_register(REG_REDIRECTION + 2 * pin + 1) == value >> 32 & 0xFF00_0000
    assert world.read_register(REG_REDIRECTION + 2 * pin) == (value | 1 << 16) & WRITABLE_LOW


@given(BYTE, st.data(), FLAG, FLAG, st.integers(0, 7), FLAG, FLAG, FLAG)
def test_a_message_is_what_it_was(
    vector: int, data: st.DataObject, logical: bool, hint: bool, mode: int, level: bool, asserted: bool, extended: bool
) -> None:
    dest = data.draw(st.integers(0, 0x7FFF if extended else 0xFF))
    made = MsiMessage.compose(
        vector, dest, logical=logical, redirection_hint=hint, delivery_mode=mode, level=level, asserted=asserted, extended=extended
    )
    read = MsiMessage(made.address, made.data, extended)
    assert read == made
    fields = (read.vector, read.dest, read.logical, read.redirection_hint, read.delivery_mode, read.level, read.asserted, read.valid)
    assert fields == (vector, dest, logical, hint, mode, level, asserted, True)
    assert (made.address >> 20, made.address >> 12 & 0xFF, made.address >> 5 & 0x7F) == (0xFEE, dest & 0xFF, dest >> 8)
    assert made.address & 0x1F == hint << 3 | logical << 2
    assert made.data == vector | mode << 8 | asserted << 14 | level << 15
    sent = read.to_apic(5)
    assert (sent.vector, sent.level, sent.logical, sent.cause) == (vector, level, logical, 5)
    assert sent.delivery_mode == (LOWEST_PRIORITY if hint and mode == FIXED else mode)
    assert sent.dest == (BROADCAST if dest == 0xFF and not extended else dest)


@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1))
def test_the_command_register_reads_back_and_sends_its_fields(low: int, high: int) -> None:
    world = World()
    lapic = world.lapics[0]
    sent: list[ApicMessage] = []
    world.bus.deliver = lambda message: sent.append(message) or 1  # type: ignore[method-assign,func-returns-value]
    low &= ~(3 << 18)  # no shorthand: it goes to the bus
    lapic.write(ICR2, high)
    lapic.write(ICR, low)
    assert (lapic.read(ICR2), lapic.read(ICR)) == (high & 0xFF00_0000, low & ~(1 << 12))
    check(sent, low, BROADCAST if high >> 24 == 0xFF else high >> 24)


@given(st.integers(0, (1 << 64) - 1))
def test_the_wide_command_register_too(value: int) -> None:
    world = World()
    lapic = world.lapics[0]
    lapic.regs.wrmsr(MSR_APIC_BASE, lapic.regs.rdmsr(MSR_APIC_BASE) | BASE_EN | BASE_EXTD)
    sent: list[ApicMessage] = []
    world.bus.deliver = lambda message: sent.append(message) or 1  # type: ignore[method-assign,func-returns-value]
    value &= ~(0xFFF3_2000 | 3 << 18)
    lapic.regs.wrmsr(MSR_X2APIC + (ICR >> 4), value)
    assert lapic.regs.rdmsr(MSR_X2APIC + (ICR >> 4)) == value
    check(sent, value & 0xFFFF_FFFF, value >> 32)


def check(sent: list[ApicMessage], low: int, dest: int) -> None:
    """Compare what was sent with the lower half of the register; an illegal vector is not sent."""
    mode = low >> 8 & 7
    if mode <= LOWEST_PRIORITY and low & 0xFF < 16:
        assert sent == []
        return
    (message,) = sent
    assert (message.vector, message.delivery_mode, message.logical, message.dest) == (low & 0xFF, mode, bool(low >> 11 & 1), dest)
    assert message.level is (mode == INIT and bool(low >> 15 & 1))
    assert message.asserted is bool(low >> 14 & 1)
