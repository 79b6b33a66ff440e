from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.hw.apic_bus import ApicBus, arbitration_priority
from asyncirq.hw.apic_message import BROADCAST, LOWEST_PRIORITY, widen
from asyncirq.hw.lapic import Lapic
from asyncirq.hw.lapic_regs import DFR, ID, LDR, SPIV
from asyncirq.sim.engine import Engine
from tests.hw.apics import World, bits, message


def pending(world: World) -> list[int]:
    return [lapic.irr for lapic in world.lapics]


def quiet(cpus: int) -> World:
    world = World(cpus)
    for cpu in world.cpus:
        cpu.cli()
    return world


def test_only_eight_bit_destinations_are_widened() -> None:
    assert [widen(dest) for dest in (0, 0xFE, 0xFF, 0x100)] == [0, 0xFE, BROADCAST, 0x100]


def test_physical_destination_and_broadcast() -> None:
    world = quiet(3)
    assert world.bus.deliver(message(0x40, dest=1)) == 1
    assert world.bus.deliver(message(0x50, dest=BROADCAST)) == 3
    assert world.bus.deliver(message(0x60, dest=7)) == 0
    assert pending(world) == [bits(0x50), bits(0x40, 0x50), bits(0x50)]
    assert world.bus.undelivered == 1


def test_logical_flat_and_cluster() -> None:
    world = quiet(3)
    for cpu, lapic in enumerate(world.lapics):
        lapic.write(LDR, 1 << (24 + cpu))
    assert world.bus.deliver(message(0x40, dest=0b101, logical=True)) == 2
    for lapic, logical_id in zip(world.lapics, (0x11, 0x12, 0x21), strict=True):
        lapic.write(DFR, 0x0FFF_FFFF)
        lapic.write(LDR, logical_id << 24)
    assert world.bus.deliver(message(0x50, dest=0x13, logical=True)) == 2
    assert world.bus.deliver(message(0x60, dest=0x21, logical=True)) == 1
    assert pending(world) == [bits(0x40, 0x50), bits(0x50), bits(0x40, 0x60)]


def test_routes_follow_the_ids() -> None:
    world = quiet(2)
    assert world.bus.deliver(message(0x40, dest=1)) == 1
    world.lapics[1].write(ID, 9 << 24)
    assert world.bus.deliver(message(0x50, dest=1)) == 0
    assert world.bus.deliver(message(0x50, dest=9)) == 1
    assert pending(world) == [0, bits(0x40, 0x50)]


def test_routes_follow_the_logical_ids() -> None:
    world = quiet(2)
    world.lapics[0].write(LDR, 1 << 24)
    assert world.bus.deliver(message(0x40, dest=1, logical=True)) == 1
    world.lapics[0].write(LDR, 2 << 24)
    assert world.bus.deliver(message(0x50, dest=1, logical=True)) == 0


def test_arbitration_prefers_the_least_busy_and_skips_the_disabled() -> None:
    world = quiet(3)
    world.lapics[0].write(SPIV, 0xFF)
    world.lapics[1].tpr = 0x30
    assert world.bus.deliver(message(0x60, LOWEST_PRIORITY, dest=BROADCAST)) == 1
    assert world.bus.deliver(message(0x61, LOWEST_PRIORITY, dest=BROADCAST)) == 1
    assert pending(world) == [0, bits(0x61), bits(0x60)]
    assert [arbitration_priority(lapic) for lapic in world.lapics] == [0, 0x60, 0x60]


def test_arbitration_without_a_candidate() -> None:
    world = quiet(2)
    for lapic in world.lapics:
        lapic.write(SPIV, 0xFF)
    assert world.bus.deliver(message(0x60, LOWEST_PRIORITY, dest=BROADCAST)) == 0


@pytest.mark.parametrize(("balance", "winners"), [(False, [0, 0, 0, 0]), (True, [0, 1, 0, 1])])
def test_ties_go_to_the_first_or_are_balanced(balance: bool, winners: list[int]) -> None:
    engine = Engine()
    bus = ApicBus(balance=balance)
    lapics = [Lapic(engine, cpu_id, None, bus) for cpu_id in range(2)]
    won = []
    for lapic in lapics:
        lapic.write(SPIV, 0x1FF)
    for _ in winners:
        bus.deliver(message(0x60, LOWEST_PRIORITY, dest=BROADCAST))
        for lapic in lapics:
            if lapic.irr:
                won.append(lapic.cpu_id)
                lapic.inta()
                lapic.eoi()
    assert won == winners


@pytest.mark.parametrize(
    ("focus", "spiv", "winner"),
    [(True, 0x1FF, 1), (True, 0x3FF, 0), (False, 0x1FF, 0)],
    ids=["focus", "switched off by software", "an APIC that has none"],
)
@pytest.mark.parametrize("in_service", [False, True], ids=["pending", "in service"])
def test_the_focus_processor_keeps_its_vector(focus: bool, spiv: int, winner: int, in_service: bool) -> None:
    """CPU 1 has the vector and the higher priority: it wins as the focus processor alone."""
    engine = Engine()
    bus = ApicBus(focus=focus)
    lapics = [Lapic(engine, cpu_id, None, bus) for cpu_id in range(3)]
    for lapic in lapics:
        lapic.write(SPIV, spiv)
    lapics[1].accept(message(0x60))
    if in_service:
        assert lapics[1].inta()[0] == 0x60
    assert bus.deliver(message(0x60, LOWEST_PRIORITY, dest=BROADCAST)) == 1
    assert [lapic.irr | lapic.isr for lapic in lapics] == [bits(0x60) if n in (1, winner) else 0 for n in range(3)]
    assert lapics[1].coalesced_total == (winner == 1 and not in_service)
    # Another vector has no focus: the least busy CPU gets it.
    assert bus.deliver(message(0x70, LOWEST_PRIORITY, dest=BROADCAST)) == 1
    assert [bool(lapic.irr >> 0x70 & 1) for lapic in lapics] == [winner != 0, False, winner == 0]


def test_a_cpu_that_is_switched_off_is_no_focus() -> None:
    world = quiet(2)
    world.bus.focus = True
    world.lapics[1].accept(message(0x60))
    world.lapics[1].write(SPIV, 0xFF)
    assert world.bus.deliver(message(0x60, LOWEST_PRIORITY, dest=BROADCAST)) == 1
    assert pending(world) == [bits(0x60), bits(0x60)]


def test_a_cpu_has_one_apic() -> None:
    world = World()
    with pytest.raises(UsageError, match="CPU 0 has a local APIC on this bus already"):
        Lapic(world.engine, 0, None, world.bus)
    with pytest.raises(UsageError, match="CPU 0 has a local APIC"):
        ApicBus((world.lapics[0], world.lapics[0]))
