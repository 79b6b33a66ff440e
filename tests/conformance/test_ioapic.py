"""Show the IO-APIC cases of the catalogue that need the chips alone."""

from __future__ import annotations

import pytest

from asyncirq.hw.ioapic_regs import REG_REDIRECTION, RedirectionEntry
from asyncirq.hw.lapic_regs import LDR
from tests.hw.apics import Processor, World, bits


def level(vector: int, masked: bool = False, dest: int = 0) -> RedirectionEntry:
    return RedirectionEntry(vector=vector, level=True, masked=masked, dest=dest)


def test_IOAPIC_01_read_only_and_partly_writable_registers() -> None:
    world = World()
    version = world.read_register(1)
    assert version == 0x0017_0020
    world.write_register(1, version ^ 0xFFFF_FFFF)
    assert world.read_register(1) == version
    world.write_register(0, 0x1F3E_5D7C)
    assert world.read_register(0) == 0x0F00_0000
    assert world.read_register(2) == 0x0F00_0000
    world.write_register(2, 0x0500_0000)
    assert world.read_register(2) == 0x0F00_0000
    world.ioapic.write(0, 0x3B)
    assert world.ioapic.read(0) == 0x3B


def test_IOAPIC_03_level() -> None:
    world = World()
    line = world.wire(0xE, level(0x77))

    def handler(cpu: Processor) -> None:
        line.set(False)
        cpu.lapic.eoi(cpu)

    world.cpus[0].handlers[0x77] = handler
    line.set(True)
    world.settle()
    assert world.cpus[0].vectors == [0x77]


def test_IOAPIC_05_level_coalescing() -> None:
    world = World()
    line = world.wire(0xE, level(0x98))

    def handler(cpu: Processor) -> None:
        for wanted in (False, True, False):
            line.set(wanted)
        cpu.lapic.eoi(cpu)

    world.cpus[0].handlers[0x98] = handler
    line.set(True)
    world.settle()
    assert world.cpus[0].vectors == [0x98]


def test_IOAPIC_06_level_sequential() -> None:
    world = World()
    line = world.wire(0xE, level(0x99))

    def handler(cpu: Processor) -> None:
        line.set(False)
        cpu.lapic.eoi(cpu)

    world.cpus[0].handlers[0x99] = handler
    for _ in range(2):
        line.set(True)
        world.settle()
    assert world.cpus[0].vectors == [0x99, 0x99]


def test_IOAPIC_07_level_retrigger_on_eoi() -> None:
    world = World()
    line = world.wire(0xE, level(0x9A))
    cpu = world.cpus[0]

    def handler(cpu: Processor) -> None:
        if len(cpu.taken) == 2:
            line.set(False)
        cpu.lapic.eoi(cpu)

    cpu.handlers[0x9A] = handler
    cpu.cli()
    line.set(True)
    world.settle()
    assert cpu.vectors == []
    cpu.sti()
    world.settle()
    assert cpu.vectors == [0x9A, 0x9A]


def test_IOAPIC_09_masked_level_is_kept() -> None:
    world = World()
    line = world.wire(0xE, level(0x9B, masked=True))
    cpu = world.cpus[0]

    def handler(cpu: Processor) -> None:
        line.set(False)
        cpu.lapic.eoi(cpu)

    cpu.handlers[0x9B] = handler
    line.set(True)
    world.settle()
    assert cpu.vectors == []
    world.set_entry(0xE, level(0x9B))
    world.settle()
    assert cpu.taken == [(0, 0x9B)]


def test_IOAPIC_10_handler_masks_then_eoi_with_line_high_then_unmask() -> None:
    world = World()
    line = world.wire(0xE, level(0x9C))
    cpu = world.cpus[0]

    def handler(cpu: Processor) -> None:
        world.set_entry(0xE, level(0x9C, masked=True))
        cpu.lapic.eoi(cpu)

    cpu.handlers[0x9C] = handler
    line.set(True)
    world.settle()
    assert cpu.vectors == [0x9C]
    world.set_entry(0xE, level(0x9C))
    world.settle()
    assert cpu.vectors == [0x9C, 0x9C]


@pytest.mark.parametrize("toggling_cpu", [0, 1])
def test_IOAPIC_11_tmr_is_written_at_acceptance(toggling_cpu: int) -> None:
    world = World(cpus=2)
    line = world.wire(0xE, RedirectionEntry(vector=0x79))
    cpu = world.cpus[0]
    inside = []

    def handler(cpu: Processor) -> None:
        inside.append(cpu.lapic.tmr)
        line.set(False)
        cpu.lapic.eoi(cpu)

    def toggle(toggler: Processor) -> None:
        toggler.lapic.eoi(toggler)
        line.set(True)

    cpu.handlers[0x79] = handler
    world.cpus[toggling_cpu].handlers[0x40] = toggle
    before = []
    for is_level in (False, True, True, False):
        world.set_entry(0xE, RedirectionEntry(vector=0x79, level=is_level))
        before.append(cpu.lapic.tmr)
        cpu.lapic.send_ipi(toggling_cpu, 0x40)
        world.settle()
    assert before == [0, 0, bits(0x79), bits(0x79)]
    assert inside == [0, bits(0x79), bits(0x79), 0]


def test_IOAPIC_12_entry_rewritten_while_in_service() -> None:
    world = World(cpus=2)
    lines = {0xD: world.wire(0xD, level(0x64)), 0xE: world.wire(0xE, level(0x84))}
    seen: list[object] = []

    def first(cpu: Processor) -> None:
        lines[0xE].set(True)
        world.engine.timer(lambda: rest(cpu), "rest").arm(world.engine.now + 10)

    def rest(cpu: Processor) -> None:
        seen.append(cpu.lapic.irr)
        for pin in (0xE, 0xD):
            lines[pin].set(False)
            seen.append(world.get_entry(pin).remote_irr)
            world.write_register(REG_REDIRECTION + 2 * pin + 1, 1 << 24)
        cpu.lapic.eoi(cpu)
        cpu.sti()

    cpu = world.cpus[0]
    cpu.cli()
    lines[0xD].set(True)
    world.settle()
    assert cpu.lapic.inta()[0] == 0x64  # the handler below runs with IF clear until its last statement
    first(cpu)
    world.settle()
    assert seen == [bits(0x84), True, True]
    assert cpu.taken == [(10, 0x84)]
    assert world.cpus[1].taken == []
    assert [world.get_entry(pin).remote_irr for pin in (0xD, 0xE)] == [False, False]


def test_IOAPIC_14_logical_destination_to_several_cpus() -> None:
    world = World(cpus=4)
    for number, lapic in enumerate(world.lapics):
        lapic.write(LDR, 1 << (24 + number))
    line = world.wire(0xE, RedirectionEntry(vector=0x86, level=True, logical=True, dest=0xD))

    def handler(cpu: Processor) -> None:
        line.set(False)
        cpu.lapic.eoi(cpu)

    for cpu in world.cpus:
        cpu.handlers[0x86] = handler
    line.set(True)
    world.settle()
    assert [cpu.vectors for cpu in world.cpus] == [[0x86], [], [0x86], [0x86]]
    assert not world.get_entry(0xE).remote_irr


def test_IOAPIC_15_remote_irr_and_delivery_status_cannot_be_written() -> None:
    world = World()
    pin = world.ioapic.pins[5]
    world.set_entry(5, level(0x50))
    pin.remote_irr = True
    pin.delivery_status = True
    world.set_entry(5, level(0x50))
    assert (world.get_entry(5).remote_irr, world.get_entry(5).delivery_status) == (True, True)
    pin.remote_irr = False
    pin.delivery_status = False
    world.set_entry(5, RedirectionEntry(vector=0x50, level=True, remote_irr=True, delivery_status=True))
    assert (world.get_entry(5).remote_irr, world.get_entry(5).delivery_status) == (False, False)


def test_IOAPIC_17_implicit_eoi() -> None:
    world = World()
    line = world.wire(5, level(0x50))
    cpu = world.cpus[0]
    cpu.handlers[0x50] = lambda _: None
    line.set(True)
    world.settle()
    line.set(False)
    world.settle()
    line.set(True)
    world.settle()
    assert (cpu.vectors, world.lapics[0].irr) == ([0x50], 0)  # remote IRR holds the second one back
    line.set(False)
    world.settle()
    world.set_entry(5, RedirectionEntry(vector=0x50))
    world.set_entry(5, level(0x50))
    line.set(True)
    world.settle()
    assert world.lapics[0].irr == bits(0x50)


def test_IOAPIC_18_reconfiguration_race() -> None:
    world = World()
    cpu = world.cpus[0]
    cpu.cli()
    line = world.wire(5, level(0x50))
    line.set(True)
    world.settle()
    assert cpu.lapic.inta()[0] == 0x50
    stale = world.get_entry(5)
    assert stale.remote_irr
    line.set(False)
    cpu.lapic.eoi(cpu)
    world.settle()
    world.set_entry(5, RedirectionEntry(vector=stale.vector, remote_irr=stale.remote_irr))
    assert not world.get_entry(5).remote_irr
    cpu.sti()
    line.pulse()
    world.settle()
    assert cpu.vectors == [0x50]


def test_IOAPIC_21_coalesced_level_is_raised_again_by_eoi() -> None:
    world = World()
    cpu = world.cpus[0]
    cpu.cli()
    line = world.wire(5, level(0x50))
    for wanted in (True, False, True):
        line.set(wanted)
        world.settle()
    assert cpu.lapic.inta()[0] == 0x50
    assert not cpu.lapic.intr
    cpu.lapic.eoi(cpu)
    world.settle()
    assert cpu.lapic.inta()[0] == 0x50


def test_IOAPIC_22_active_low() -> None:
    world = World()
    cpu = world.cpus[0]
    cpu.cli()
    line = world.wire(5, RedirectionEntry(vector=0x50, level=True, active_low=True), idle=True)
    world.settle()
    assert cpu.lapic.irr == 0
    line.set(False)
    world.settle()
    assert cpu.lapic.irr == bits(0x50)


def test_IOAPIC_23_entry_layout() -> None:
    layout = [
        (RedirectionEntry(vector=0xA5), 0xA5),
        (RedirectionEntry(delivery_mode=5), 5 << 8),
        (RedirectionEntry(logical=True), 1 << 11),
        (RedirectionEntry(delivery_status=True), 1 << 12),
        (RedirectionEntry(active_low=True), 1 << 13),
        (RedirectionEntry(remote_irr=True), 1 << 14),
        (RedirectionEntry(level=True), 1 << 15),
        (RedirectionEntry(masked=True), 1 << 16),
        (RedirectionEntry(dest=0xC3), 0xC3 << 56),
    ]
    for entry, register in layout:
        assert entry.encode() == register
        assert RedirectionEntry.decode(register) == entry
    assert RedirectionEntry.decode(0x00FF_FFFF_FFFE_0000).encode() == 0
    world = World()
    world.write_register(REG_REDIRECTION, 0xFFFF_FFFF)
    world.write_register(REG_REDIRECTION + 1, 0xFFFF_FFFF)
    assert world.read_register(REG_REDIRECTION) == 0x0001_AFFF
    assert world.read_register(REG_REDIRECTION + 1) == 0xFF00_0000


def test_IOAPIC_24_service_condition() -> None:
    world = World()
    cpu = world.cpus[0]
    cpu.cli()
    line = world.wire(5, level(0x50, masked=True))
    line.set(True)
    world.settle()
    assert (cpu.lapic.irr, world.get_entry(5).remote_irr) == (0, False)
    world.set_entry(5, level(0x50))
    world.settle()
    assert (cpu.lapic.inta()[0], world.get_entry(5).remote_irr) == (0x50, True)
    world.set_entry(5, level(0x50))
    world.settle()
    assert cpu.lapic.irr == 0
    cpu.lapic.eoi(cpu)
    assert not world.get_entry(5).remote_irr
    world.settle()
    assert (cpu.lapic.irr, world.get_entry(5).remote_irr) == (bits(0x50), True)
    edge = world.wire(6, RedirectionEntry(vector=0x52))
    edge.pulse()
    world.settle()
    assert (cpu.lapic.irr, world.get_entry(6).remote_irr) == (bits(0x50, 0x52), False)


@pytest.mark.parametrize("brake", [False, True])
def test_IOAPIC_25_interrupt_storm_brake(brake: bool) -> None:
    world = World(latency_ns=1, storm_brake=brake)
    line = world.wire(5, level(0x50))
    cpu = world.cpus[0]

    def handler(cpu: Processor) -> None:
        if len(cpu.taken) == 10_003:
            line.set(False)
        cpu.lapic.eoi(cpu)

    cpu.handlers[0x50] = handler
    line.set(True)
    world.settle()
    times = [time for time, _ in cpu.taken]
    gap = 10_000_002 if brake else 1
    assert times == [*range(1, 10_002), 10_001 + gap, 10_002 + gap]
    assert world.ioapic.pins[5].eoi_streak == 0
