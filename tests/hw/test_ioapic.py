from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncirq.errors import UsageError
from asyncirq.hw.apic_message import EXTINT, LOWEST_PRIORITY, NMI
from asyncirq.hw.ioapic import IoApic, find_gsi
from asyncirq.hw.ioapic_regs import EOI_REGISTER, PIN_ASSERT, RedirectionEntry
from asyncirq.hw.lapic_lvt import LINT0
from asyncirq.hw.lapic_regs import LDR, MSR_APIC_BASE, SPIV
from asyncirq.hw.line import Line
from asyncirq.trace.events_hw import IoapicDeliver, IoapicEoi, LapicEoi, LapicIrr, LineLevel
from tests.hw.apics import Processor, World, bits

EDGE = RedirectionEntry(vector=0x51)
LEVEL = RedirectionEntry(vector=0x61, level=True)


def quiet(**options: int) -> World:
    world = World(**options)  # type: ignore[arg-type]
    for cpu in world.cpus:
        cpu.cli()
    return world


def test_every_change_arrives_one_latency_later_and_in_order() -> None:
    world = World(latency_ns=100)
    first, second = world.wire(1, EDGE), world.wire(2, RedirectionEntry(vector=0x71))
    world.engine.timer(first.pulse, "a").arm(10)
    world.engine.timer(second.pulse, "b").arm(40)
    world.settle()
    assert world.cpus[0].taken == [(110, 0x51), (140, 0x71)]


def test_records_of_a_level_interrupt_are_linked() -> None:
    world = World(traced=True, latency_ns=50)
    line = world.wire(3, LEVEL)

    def handler(cpu: Processor) -> None:
        line.set(False)
        cpu.lapic.eoi(cpu)

    world.cpus[0].handlers[0x61] = handler
    line.set(True)
    world.settle()
    assert world.records() == [
        LineLevel(1, 0, 0, -1, -1, 0, 0, "pin3", True),
        IoapicDeliver(2, 1, 50, -1, -1, 0, 0, 0, 3, 0x61, 0, "physical", "fixed", "level"),
        LapicIrr(3, 2, 50, 0, -1, 0, 0, 0x61, "level", 0),
        LineLevel(4, 0, 50, -1, -1, 0, 0, "pin3", False),
        LapicEoi(5, 0, 50, 0, 0, 0, 1, 0x61),
        IoapicEoi(6, 5, 50, -1, -1, 0, 0, 0, 3, 0x61),
    ]
    assert world.cpus[0].causes == [3]


def test_a_line_lowered_before_eoi_does_not_interrupt_again_while_under_way() -> None:
    world = World(latency_ns=500)
    line = world.wire(3, LEVEL)

    def handler(cpu: Processor) -> None:
        line.set(False)
        cpu.lapic.eoi(cpu)
        assert not world.get_entry(3).remote_irr

    world.cpus[0].handlers[0x61] = handler
    line.set(True)
    world.settle()
    assert world.cpus[0].taken == [(500, 0x61)]


def test_redelivery_takes_the_latency_again() -> None:
    world = World(latency_ns=500)
    line = world.wire(3, LEVEL)

    def handler(cpu: Processor) -> None:
        cpu.lapic.eoi(cpu)
        if len(cpu.taken) == 2:
            line.set(False)

    world.cpus[0].handlers[0x61] = handler
    line.set(True)
    world.settle()
    # The EOI of the second round overtakes the falling wire, so the chip looks while the level is still there.
    assert world.cpus[0].taken == [(500, 0x61), (1000, 0x61), (1500, 0x61)]


def test_redelivery_on_a_shared_wire_carries_the_cause_of_the_request_that_is_left() -> None:
    world = quiet()
    line = world.wire(3, LEVEL)
    other = line.add_driver()
    line.set(True, 11)
    line.set(True, 22, other)
    world.settle()
    lapic = world.lapics[0]
    assert lapic.inta() == (0x61, 11)
    line.set(False, 33)
    lapic.eoi()
    world.settle()
    assert lapic.inta() == (0x61, 22)


def test_masked_edges_are_lost_and_counted() -> None:
    world = quiet()
    line = world.wire(3, RedirectionEntry(vector=0x51, masked=True))
    line.pulse()
    line.pulse()
    world.settle()
    world.set_entry(3, EDGE)
    world.settle()
    assert (world.lapics[0].irr, world.ioapic.pins[3].lost_edges) == (0, 2)
    line.pulse()
    world.settle()
    assert world.lapics[0].irr == bits(0x51)


def test_programming_the_polarity_of_a_wire_with_a_pull_up_is_no_edge() -> None:
    world = quiet()
    line = world.wire(3, RedirectionEntry(vector=0x51, active_low=True), idle=True)
    world.settle()
    assert world.lapics[0].irr == 0
    line.pulse()
    world.settle()
    assert (world.lapics[0].irr, world.lapics[0].coalesced_total) == (bits(0x51), 0)


def test_level_stays_pending_until_somebody_accepts_it() -> None:
    world = quiet()
    world.lapics[0].write(SPIV, 0xFF)
    line = world.wire(3, LEVEL)
    line.set(True)
    world.settle()
    assert (world.get_entry(3).remote_irr, world.get_entry(3).delivery_status, world.ioapic.undelivered) == (False, True, 1)
    world.lapics[0].write(SPIV, 0x1FF)
    world.set_entry(3, LEVEL)
    world.settle()
    assert (world.get_entry(3).remote_irr, world.get_entry(3).delivery_status) == (True, False)
    assert world.lapics[0].irr == bits(0x61)


def test_delivery_status_falls_with_the_line() -> None:
    world = quiet()
    line = world.wire(3, RedirectionEntry(vector=0x61, level=True, dest=9))
    line.set(True)
    world.settle()
    assert world.get_entry(3).delivery_status
    line.set(False)
    world.settle()
    assert not world.get_entry(3).delivery_status


def test_nmi_and_extint_pass_through_as_edges() -> None:
    world = quiet()
    lapic = world.lapics[0]
    lapic.extint_source = lambda: (0x30, 0)
    lapic.write(LINT0, 0x10000)
    nmi = world.wire(1, RedirectionEntry(delivery_mode=NMI, level=True))
    pic = world.wire(2, RedirectionEntry(delivery_mode=EXTINT))
    nmi.set(True)
    pic.set(True)
    world.settle()
    assert (lapic.nmi_pending, lapic.intr, world.get_entry(1).remote_irr) == (True, True, False)
    assert lapic.inta()[0] == 0x30


def test_lowest_priority_and_logical_destination() -> None:
    world = quiet(cpus=3)
    for cpu, lapic in enumerate(world.lapics):
        lapic.write(LDR, 1 << (24 + cpu))
    world.lapics[1].tpr = 0x20
    line = world.wire(3, RedirectionEntry(vector=0x51, delivery_mode=LOWEST_PRIORITY, logical=True, dest=0b110))
    line.pulse()
    world.settle()
    assert [lapic.irr for lapic in world.lapics] == [0, 0, bits(0x51)]


def test_destination_0xff_is_a_broadcast_to_x2apics_too() -> None:
    world = quiet(cpus=2)
    for lapic in world.lapics:
        lapic.regs.wrmsr(MSR_APIC_BASE, lapic.regs.apic_base | 0x400)
    line = world.wire(3, RedirectionEntry(vector=0x51, dest=0xFF))
    line.pulse()
    world.settle()
    assert [lapic.irr for lapic in world.lapics] == [bits(0x51), bits(0x51)]


def test_S2_04_ioapic_distribution() -> None:
    world = World(cpus=2)
    line = world.wire(3, EDGE)
    for dest in (0, 1, 0):
        world.set_entry(3, RedirectionEntry(vector=0x51, dest=dest))
        line.pulse()
        world.settle()
    assert [cpu.vectors for cpu in world.cpus] == [[0x51, 0x51], [0x51]]


def test_two_entries_with_one_vector_end_together() -> None:
    world = quiet()
    lines = [world.wire(pin, LEVEL) for pin in (3, 4, 5)]
    world.set_entry(5, RedirectionEntry(vector=0x62, level=True))
    for line in lines:
        line.set(True)
        world.settle()
        line.set(False)
    world.settle()
    world.ioapic.eoi(0x61)
    assert [world.get_entry(pin).remote_irr for pin in (3, 4, 5)] == [False, False, True]


@pytest.mark.parametrize(("version", "ended"), [(0x20, True), (0x11, False)])
def test_eoi_register_exists_from_version_0x20_on(version: int, ended: bool) -> None:
    world = quiet(version=version)
    line = world.wire(3, LEVEL)
    line.set(True)
    world.settle()
    line.set(False)
    world.settle()
    world.ioapic.write(EOI_REGISTER, 0x61)
    assert world.get_entry(3).remote_irr is not ended


def test_pin_assertion_register_is_an_edge() -> None:
    world = World(latency_ns=30)
    world.wire(3, EDGE)
    world.wire(4, LEVEL)
    for pin in (3, 4, 24):
        world.ioapic.write(PIN_ASSERT, pin, 7)
    world.settle()
    assert world.cpus[0].taken == [(30, 0x51)]
    assert world.cpus[0].causes == [7]


def test_unselected_and_missing_registers_read_zero() -> None:
    world = quiet()
    assert [world.read_register(number) for number in (3, 0x0F, 0x40, 0xFF)] == [0, 0, 0, 0]
    world.write_register(0x40, 0xFFFF)
    assert world.ioapic.read(0x30) == 0


def test_the_inbox_takes_no_heap_entry_while_empty() -> None:
    world = World(latency_ns=10)
    line = world.wire(3, EDGE)
    for _ in range(500):
        line.pulse()
        world.settle()
    assert world.engine.heap_length() == 0


def test_gsis_of_several_chips() -> None:
    world = World()
    second = IoApic(world.engine, None, world.bus, 8, 24, index=1)
    chips = (world.ioapic, second)
    assert find_gsi(chips, 23) == (world.ioapic, 23)
    assert find_gsi(chips, 24) == (second, 0)
    assert find_gsi(chips, 31) == (second, 7)
    with pytest.raises(UsageError, match="no IO-APIC has GSI 32"):
        find_gsi(chips, 32)
    second.write(0, 1)
    assert second.read(0x10) == 0x0007_0020


def test_wrong_wiring_is_refused() -> None:
    world = World()
    line = world.wire(3, EDGE)
    with pytest.raises(UsageError, match="IO-APIC 0 pin 3 is wired to pin3 already"):
        world.ioapic.connect(3, line)
    with pytest.raises(UsageError, match="IO-APIC 0 has pins 0 to 23, not 24"):
        world.ioapic.connect(24, Line("x"))
    with pytest.raises(UsageError, match="an IO-APIC has 1 to 120 pins, not 0"):
        IoApic(world.engine, None, world.bus, 0)
    with pytest.raises(UsageError, match="the latency cannot be -1 ns"):
        IoApic(world.engine, None, world.bus, latency_ns=-1)


@given(
    st.lists(
        st.tuples(st.sampled_from(["high", "low", "eoi", "mask", "unmask", "run"]), st.integers(0, 1)),
        max_size=50,
    )
)
def test_a_level_is_never_lost_and_never_sent_twice(steps: list[tuple[str, int]]) -> None:
    world = quiet()
    lapic = world.lapics[0]
    lines = [world.wire(pin, RedirectionEntry(vector=0x51 + 0x10 * pin, level=True)) for pin in (0, 1)]
    for what, pin in steps:
        if what == "run":
            world.settle()
        elif what in ("high", "low"):
            lines[pin].set(what == "high")
        elif what == "eoi" and lapic.intr:
            lapic.inta()
            lapic.eoi()
        elif what in ("mask", "unmask"):
            world.set_entry(pin, RedirectionEntry(vector=0x51 + 0x10 * pin, level=True, masked=what == "mask"))
        for number in (0, 1):
            assert world.get_entry(number).remote_irr == bool((lapic.irr | lapic.isr) >> (0x51 + 0x10 * number) & 1)
    world.settle()
    for number in (0, 1):
        entry = world.get_entry(number)
        assert entry.remote_irr or entry.masked or not lines[number].level
    assert lapic.coalesced_total == 0


def test_an_entry_that_was_made_an_edge_has_no_eoi_to_wait_for() -> None:
    """The write has ended the level already: the EOI of its vector finds nothing to end at the pin."""
    world = World(traced=True)
    world.cpus[0].cli()
    line = world.wire(4, RedirectionEntry(vector=0x45, level=True))
    line.set(True)
    world.settle()
    world.lapics[0].inta()
    assert world.get_entry(4).remote_irr
    line.set(False)
    world.settle()
    world.set_entry(4, RedirectionEntry(vector=0x45))
    assert not world.get_entry(4).remote_irr
    world.lapics[0].eoi(world.cpus[0])
    world.settle()
    assert [record for record in world.records() if isinstance(record, IoapicEoi)] == []
    line.set(True)
    world.settle()
    assert world.lapics[0].irr == 1 << 0x45
