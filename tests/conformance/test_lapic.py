"""Show the local APIC cases of the catalogue that need the chips alone."""

from __future__ import annotations

import pytest

from asyncirq.hw.apic_message import BROADCAST, FIXED, INIT, LOWEST_PRIORITY, NMI, STARTUP, ApicMessage
from asyncirq.hw.ioapic_regs import RedirectionEntry
from asyncirq.hw.lapic_lvt import MASKED, THERMAL, TIMER, WRITABLE
from asyncirq.hw.lapic_regs import (
    DFR,
    EOI,
    ICR,
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
    TDCR,
    TMCCT,
    TMICT,
    TMR,
    TPR,
    VERSION,
    GeneralProtection,
)
from asyncirq.hw.lapic_timer import DIVISORS
from tests.hw.apics import Processor, World, bits, message

SELF, ALL, OTHERS = 0x40000, 0x80000, 0xC0000
LOGICAL = 0x800
ONES = 0xFFFF_FFFF
BSP, EXTD, EN = 1 << 8, 1 << 10, 1 << 11


def quiet(cpus: int = 1) -> World:
    world = World(cpus)
    for cpu in world.cpus:
        cpu.cli()
    return world


def enable_x2apic(world: World, cpu: int = 0) -> None:
    regs = world.lapics[cpu].regs
    regs.wrmsr(MSR_APIC_BASE, regs.rdmsr(MSR_APIC_BASE) | EXTD)


def send(world: World, cpu: int, low: int, dest: int = 0) -> None:
    """Write the ICR of a CPU, with an 8-bit destination."""
    world.lapics[cpu].write(ICR2, dest << 24)
    world.lapics[cpu].write(ICR, low, world.cpus[cpu])


def test_LAPIC_01_version_register() -> None:
    version = World().lapics[0].read(0x30)
    assert 0x10 <= version & 0xFF <= 0x15
    assert version & 0xFF == 0x14
    assert version >> 16 & 0xFF == len(WRITABLE) - 1


def test_LAPIC_02_tsc_deadline_fires_at_once_for_now() -> None:
    world = World()
    lapic = world.lapics[0]
    world.advance(1234)
    lapic.write(TIMER, 2 << 17 | 0xEF)
    lapic.regs.wrmsr(MSR_TSC_DEADLINE, lapic.timer.tsc)
    world.settle()
    assert world.cpus[0].taken == [(1234, 0xEF)]
    assert lapic.regs.rdmsr(MSR_TSC_DEADLINE) == 0


def test_LAPIC_04_apicbase_reserved_bits_and_relocation() -> None:
    regs = World().lapics[0].regs
    old = regs.mmio_read(regs.mmio_offset(0xFEE0_0030))
    regs.wrmsr(MSR_APIC_BASE, regs.rdmsr(MSR_APIC_BASE) & ~EN)
    regs.wrmsr(MSR_APIC_BASE, 0xFED4_0000 | BSP | EN)
    assert regs.mmio_read(regs.mmio_offset(0xFED4_0030)) == old
    assert regs.mmio_offset(0xFEE0_0030) == -1
    for bit in (46, 0):
        with pytest.raises(GeneralProtection, match="reserved bits"):
            regs.wrmsr(MSR_APIC_BASE, regs.rdmsr(MSR_APIC_BASE) | 1 << bit)


def check_dead_page(world: World) -> None:
    """Observe that the memory page neither answers nor obeys while CR8 works."""
    lapic = world.lapics[0]
    lapic.tpr = 0x30
    assert (lapic.read(VERSION), lapic.read(TPR)) == (ONES, ONES)
    for offset in range(0, 0x1000, 16):
        lapic.write(offset, ONES)
    assert lapic.tpr >> 4 == 3
    assert (lapic.isr, lapic.irr, lapic.timer.when, lapic.regs.esr, lapic.icr.low) == (0, 0, -1, 0, 0)


def test_LAPIC_05_hardware_disabled_apic() -> None:
    world = quiet()
    lapic = world.lapics[0]
    old = lapic.read(VERSION)
    base = lapic.regs.rdmsr(MSR_APIC_BASE)
    lapic.regs.wrmsr(MSR_APIC_BASE, base & ~EN)
    assert not lapic.regs.hw_enabled  # what CPUID.1:EDX bit 9 reports
    check_dead_page(world)
    assert not lapic.accept(message(0x40))
    lapic.regs.wrmsr(MSR_APIC_BASE, base)
    assert lapic.regs.hw_enabled
    assert lapic.read(VERSION) == old
    lapic.tpr = 5 << 4
    assert lapic.read(TPR) == 0x50


def test_LAPIC_06_mmio_page_is_dead_in_x2apic_mode() -> None:
    world = quiet()
    enable_x2apic(world)
    assert world.lapics[0].regs.hw_enabled
    check_dead_page(world)


def test_LAPIC_07_apic_id_rules() -> None:
    world = World(3)
    lapic = world.lapics[2]
    regs = lapic.regs
    base = regs.rdmsr(MSR_APIC_BASE)
    assert lapic.read(ID) == regs.initial_id << 24 == 2 << 24
    lapic.write(ID, 3 << 24)
    assert lapic.read(ID) == 3 << 24
    regs.wrmsr(MSR_APIC_BASE, base & ~EN)
    regs.wrmsr(MSR_APIC_BASE, base)
    assert lapic.read(ID) == 2 << 24
    enable_x2apic(world, 2)
    assert regs.rdmsr(MSR_X2APIC + 2) == 2
    with pytest.raises(GeneralProtection):
        regs.wrmsr(MSR_X2APIC + 2, 3)


@pytest.mark.parametrize("x2apic", [False, True])
def test_LAPIC_08_self_ipi_by_shorthand(x2apic: bool) -> None:
    world = World()
    if x2apic:
        enable_x2apic(world)
        world.lapics[0].regs.wrmsr(MSR_X2APIC + 0x30, SELF | 0xF1)
    else:
        world.lapics[0].write(ICR, SELF | 0xF1)
    world.settle()
    assert world.cpus[0].vectors == [0xF1]


def test_LAPIC_10_logical_flat_mode_one_target() -> None:
    world = World(2)
    world.lapics[0].write(LDR, 0)
    expected = 0
    for bit in range(8):
        world.lapics[1].write(LDR, 1 << (24 + bit))
        for others in range(256):
            dest = others | 1 << bit
            if others & 1 << bit or dest == 0xFF:
                continue
            send(world, 0, LOGICAL | 0xF1, dest)
            world.settle()
            expected += 1
            assert len(world.cpus[1].taken) == expected
    assert (expected, world.cpus[0].taken) == (8 * 127, [])


def test_LAPIC_12_two_cpus_with_the_same_physical_id() -> None:
    world = World(2)
    world.lapics[1].write(ID, world.lapics[0].read(ID))
    send(world, 0, 0xF1, 0)
    world.settle()
    assert [cpu.vectors for cpu in world.cpus] == [[0xF1], [0xF1]]


def test_LAPIC_13_one_shot_timer() -> None:
    world = World()
    lapic = world.lapics[0]
    lapic.write(TIMER, 0xEE)
    lapic.write(TDCR, 0xB)
    lapic.write(TMICT, 0x10000)
    world.advance(0x10000 - 1)
    assert world.cpus[0].taken == []
    world.advance(0x50000)
    assert world.cpus[0].taken == [(0x10000, 0xEE)]


def test_LAPIC_14_timer_mode_changes_do_not_restart_the_counter() -> None:
    world = World()
    lapic = world.lapics[0]
    initial, half = 0x999999, 0x999999 >> 1
    lapic.write(TDCR, 0xB)
    lapic.write(TMICT, initial)
    lapic.write(TIMER, 0xEE)
    assert (lapic.read(TMICT), lapic.read(TMCCT)) == (initial, initial)  # (1), (2)
    world.advance(initial)
    assert lapic.read(TMCCT) == 0
    world.advance(2 * initial)
    assert lapic.read(TMCCT) == 0
    start = world.engine.now
    lapic.write(TMICT, initial)  # (3)
    world.advance(start + half + 10)
    left = initial - half - 10
    assert lapic.read(TMCCT) == left < half
    lapic.write(TIMER, 1 << 17 | 0xEE)
    assert lapic.read(TMCCT) == left
    world.advance(start + initial + 5)
    assert lapic.read(TMCCT) == initial - 5 > half
    world.advance(start + initial + half + 10)
    lapic.write(TIMER, 0xEE)  # (4)
    assert lapic.read(TMCCT) == left
    world.advance(start + 2 * initial)
    assert lapic.read(TMCCT) == 0
    lapic.write(TIMER, 1 << 17 | 0xEE)  # (5)
    world.advance(start + 3 * initial)
    assert (lapic.read(TMCCT), lapic.read(TMICT)) == (0, initial)
    assert [time for time, _ in world.cpus[0].taken] == [initial, start + initial, start + 2 * initial]


@pytest.mark.parametrize(("value", "divisor"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)])
def test_LAPIC_15_divide_configuration(value: int, divisor: int) -> None:
    world = World()
    lapic = world.lapics[0]
    assert DIVISORS[value] == divisor
    lapic.write(TDCR, value)
    assert lapic.read(TDCR) == value
    lapic.write(TMICT, ONES)
    world.advance(100_000)
    assert ONES - lapic.read(TMCCT) == 100_000 // divisor
    lapic.write(TMICT, 0)
    assert (lapic.read(TMCCT), lapic.timer.when) == (0, -1)


def test_LAPIC_18_pending_vector_is_held_by_tpr_then_released() -> None:
    world = World()
    lapic, cpu = world.lapics[0], world.cpus[0]
    lapic.write(TPR, 0xF0)
    send(world, 0, SELF | 32)
    send(world, 0, SELF | 62)
    world.settle()
    assert cpu.vectors == []
    lapic.write(TPR, 0x20)
    world.settle()
    assert cpu.vectors == [62]
    lapic.write(TPR, 0)
    world.settle()
    assert cpu.vectors == [62, 32]


def test_LAPIC_19_tpr_ppr_cr8_coherence() -> None:
    world = World()
    lapic, cpu = world.lapics[0], world.cpus[0]
    assert lapic.read(TPR) == 0
    for tpr in (0x10, 0x2F, 0xF0, 0):
        lapic.write(TPR, tpr)
        assert (lapic.read(TPR), lapic.read(PPR), lapic.tpr >> 4) == (tpr, tpr, tpr >> 4)
    cpu.cli()
    send(world, 0, SELF | 0x20)
    world.settle()
    assert (cpu.vectors, lapic.read(IRR + 0x10)) == ([], 1)
    lapic.write(TPR, 0x20)
    cpu.sti()
    world.settle()
    assert (cpu.vectors, lapic.read(IRR + 0x10)) == ([], 1)
    lapic.write(TPR, 0x10)
    world.settle()
    assert (cpu.vectors, lapic.read(IRR + 0x10)) == ([0x20], 0)


def test_LAPIC_20_processor_priority() -> None:
    lapic = quiet().lapics[0]

    def ppr(isr: int, tpr: int) -> int:
        lapic.isr = isr
        lapic.write(TPR, tpr)
        return lapic.read(PPR)

    assert ppr(0, 0x10) == 0x10
    assert ppr(bits(0x0F), 0) == 0
    assert ppr(bits(0x11), 0) == 0x10
    assert ppr(bits(0x25, 0x11), 0x31) == 0x31
    assert ppr(bits(0x25, 0x11), 0x19) == 0x20
    lapic.eoi()
    assert lapic.read(PPR) == 0x19


def test_LAPIC_21_same_class_is_deferred_higher_class_preempts() -> None:
    lapic = quiet().lapics[0]
    lapic.accept(message(0x10))
    assert lapic.inta()[0] == 0x10
    lapic.accept(message(0x15))
    assert (lapic.irr, lapic.intr) == (bits(0x15), False)
    lapic.eoi()
    assert lapic.inta()[0] == 0x15
    lapic.eoi()
    lapic.accept(message(0x10))
    lapic.inta()
    lapic.accept(message(0x20))
    assert lapic.intr
    assert lapic.inta()[0] == 0x20
    assert lapic.isr == bits(0x10, 0x20)


def test_LAPIC_22_irr_moves_to_isr_at_acceptance_by_the_cpu() -> None:
    world = quiet()
    lapic, cpu = world.lapics[0], world.cpus[0]
    during = []
    cpu.handlers[0x10] = lambda _: during.append((lapic.irr, lapic.isr))
    lapic.accept(message(0x10))
    world.settle()
    assert (lapic.irr, lapic.isr) == (bits(0x10), 0)
    cpu.sti()
    world.settle()
    assert during == [(0, bits(0x10))]


def test_LAPIC_23_eoi_clears_the_highest_isr_bit() -> None:
    lapic = quiet().lapics[0]

    def end(value: int) -> int:
        before = lapic.isr
        lapic.write(EOI, value)
        return (before ^ lapic.isr).bit_length() - 1

    def serve(vector: int) -> None:
        lapic.accept(message(vector))
        lapic.inta()

    assert end(0) == -1
    serve(39)
    serve(255)
    assert end(77) == 255
    serve(48)
    assert [end(0), end(ONES), end(77)] == [48, 39, -1]


def test_LAPIC_24_irr_coalesces_and_tmr_reflects_the_trigger_mode() -> None:
    lapic = quiet().lapics[0]
    for _ in range(2):
        lapic.accept(message(20, FIXED, level=True))
    lapic.accept(message(21, FIXED))
    lapic.accept(message(255, LOWEST_PRIORITY, level=True))
    assert (lapic.irr, lapic.tmr, lapic.isr) == (bits(20, 21, 255), bits(20, 255), 0)
    assert lapic.read(TMR) == bits(20)
    assert lapic.coalesced[20] == 1


def test_LAPIC_25_init_sipi_and_nmi_bypass_the_interrupt_window() -> None:
    world = quiet(2)
    lapic = world.lapics[1]
    lapic.accept(message(0, INIT))
    lapic.accept(message(7, STARTUP))
    lapic.accept(message(8, STARTUP))
    lapic.accept(message(0, NMI))
    lapic.accept(message(0, NMI))
    assert (lapic.startup.pending, lapic.nmi_pending, lapic.intr) == (True, True, False)
    assert lapic.startup.take() == (True, 8)
    lapic.nmi_taken()
    assert (lapic.startup.pending, lapic.nmi_pending) == (False, False)


def test_LAPIC_26_destination_matching() -> None:
    world = quiet()
    lapic = world.lapics[0]
    lapic.write(ID, 254 << 24)
    lapic.write(LDR, 0xC9 << 24)
    lapic.write(DFR, ONES)
    matches = lapic.regs.matches
    assert [matches(254, False), matches(0xFF, False), matches(BROADCAST, False), matches(0x48, True)] == [True] * 4
    assert [matches(77, False), matches(0x12, True)] == [False, False]


@pytest.mark.parametrize(
    ("low", "expected"), [(SELF, [True, False]), (ALL, [True, True]), (OTHERS, [False, True])], ids=["self", "all", "others"]
)
def test_LAPIC_26_shorthands(low: int, expected: list[bool]) -> None:
    world = quiet(2)
    send(world, 0, low | 0x40)
    assert [lapic.intr for lapic in world.lapics] == expected


def test_LAPIC_28_icr_readback() -> None:
    world = quiet(2)
    lapic = world.lapics[0]
    lapic.write(ICR2, 0x1234_5678)
    assert lapic.read(ICR2) == 0x1200_0000
    lapic.write(ICR, 0x50F1)
    assert lapic.read(ICR) == 0x40F1
    enable_x2apic(world)
    regs = lapic.regs
    for bit in [*range(20, 32), 17, 16, 13]:
        with pytest.raises(GeneralProtection):
            regs.wrmsr(MSR_X2APIC + 0x30, 1 << bit | 0xF1)
    regs.wrmsr(MSR_X2APIC + 0x30, 0x1234_5678_0000_40F1)
    assert regs.rdmsr(MSR_X2APIC + 0x30) == 0x1234_5678_0000_40F1


def test_LAPIC_29_lowest_priority_arbitration() -> None:
    world = World(2)
    world.lapics[0].tpr = 0x10
    world.bus.deliver(message(111, LOWEST_PRIORITY, dest=BROADCAST))
    world.settle()
    assert [cpu.vectors for cpu in world.cpus] == [[], [111]]
    world.lapics[1].tpr = 0x20
    world.bus.deliver(message(222, LOWEST_PRIORITY, dest=BROADCAST))
    world.settle()
    assert [cpu.vectors for cpu in world.cpus] == [[222], [111]]


def test_LAPIC_31_malformed_mmio() -> None:
    lapic = quiet().lapics[0]
    lapic.write(TPR, 0x30)
    for offset, width in ((TPR + 4, 4), (TPR + 1, 4), (TPR, 1), (TPR, 2), (TPR, 8)):
        assert lapic.read(offset, width) == 0
        lapic.write(offset, 0xFF, None, width)
    assert (lapic.read(TPR), lapic.regs.esr) == (0x30, 0)
    lapic.write(0x280, 0)
    assert lapic.read(0x280) == 0


def test_LAPIC_32_software_disabled_apic() -> None:
    world = quiet(2)
    lapic = world.lapics[1]
    for offset in WRITABLE:
        lapic.write(offset, 0x40)
    lapic.write(SPIV, 0xFF)
    assert not lapic.accept(message(0x40, FIXED))
    assert not lapic.accept(message(0x40, LOWEST_PRIORITY))
    assert lapic.irr == 0
    assert [lapic.read(offset) & MASKED for offset in WRITABLE] == [MASKED] * 7
    for offset in WRITABLE:
        lapic.write(offset, 0x40)
    assert [lapic.read(offset) & MASKED for offset in WRITABLE] == [MASKED] * 7
    assert [lapic.accept(message(9, mode)) for mode in (NMI, INIT, STARTUP)] == [True] * 3
    lapic.write(SPIV, 0x1FF)
    assert [lapic.read(offset) & MASKED for offset in WRITABLE] == [MASKED] * 7
    lapic.write(THERMAL, 0x40)
    assert lapic.read(THERMAL) == 0x40


def test_LAPIC_33_init_and_sipi() -> None:
    world = quiet(2)
    ap = world.lapics[1]
    send(world, 0, 0x600 | 0x9, 1)
    assert ap.startup.take() == (False, 9)
    assert not ap.startup.waits_for_sipi
    send(world, 0, 0x600 | 0xA, 1)
    assert ap.startup.take() == (False, -1)
    send(world, 0, 0x8500, 1)
    assert (ap.startup.pending, ap.startup.waits_for_sipi) == (False, False)
    send(world, 0, 0xC500, 1)
    assert ap.startup.take() == (True, -1)
    assert ap.startup.waits_for_sipi
    boot = world.lapics[0]
    boot.accept(message(0, INIT))
    assert not boot.accept(message(9, STARTUP))
    assert boot.startup.take() == (True, -1)
    assert ApicMessage(0, INIT).asserted


def test_LAPIC_34_reset_state() -> None:
    world = quiet(2)
    for number, lapic in enumerate(world.lapics):
        lapic.tpr = 0x50
        lapic.accept(message(0x41, level=True))
        lapic.accept(message(0x71, level=True))
        lapic.inta()
        lapic.write(DFR, 0x0FFF_FFFF)
        lapic.write(LDR, 0xFF00_0000)
        lapic.write(TMICT, 77)
        lapic.write(THERMAL, 0x40)
        lapic.reset()
        assert (lapic.read(DFR), lapic.read(SPIV), lapic.read(TPR), lapic.read(LDR), lapic.read(TMICT)) == (ONES, 0xFF, 0, 0, 0)
        assert [lapic.read(offset) for offset in WRITABLE] == [0x10000] * 7
        assert [lapic.read(base + 0x10 * word) for base in (IRR, ISR, TMR) for word in range(8)] == [0] * 24
        assert lapic.regs.rdmsr(MSR_APIC_BASE) & (EN | EXTD | BSP) == EN | (0 if number else BSP)
        lapic.write(DFR, 0)
        assert lapic.read(DFR) == 0x0FFF_FFFF


def test_LAPIC_37_eoi_broadcast() -> None:
    world = World()
    line = world.wire(4, RedirectionEntry(vector=123, level=True))
    edge = world.wire(5, RedirectionEntry(vector=140))
    told: list[int] = []
    broadcast = world.bus.broadcast_eoi

    def listen(vector: int, cause: int = 0) -> None:
        told.append(vector)
        broadcast(vector, cause)

    world.bus.broadcast_eoi = listen  # type: ignore[method-assign]
    remote_irr = []

    def handler(cpu: Processor) -> None:
        remote_irr.append(world.get_entry(4).remote_irr)
        if len(cpu.taken) == 3:
            line.set(False)
        cpu.lapic.eoi(cpu)
        remote_irr.append(world.get_entry(4).remote_irr)

    world.cpus[0].handlers[123] = handler
    edge.pulse()
    world.settle()
    assert (world.cpus[0].vectors, told) == ([140], [])
    line.set(True)
    world.settle()
    assert (world.cpus[0].vectors, told) == ([140, 123, 123], [123, 123])
    assert remote_irr == [True, False, True, False]
