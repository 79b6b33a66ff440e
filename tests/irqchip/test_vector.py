"""Test the vector domain and the local APIC's driver."""

from __future__ import annotations

from tests.irq.harness import boot, close_rigs  # noqa: F401
from tests.irqchip.chips import Chips


def test_vectors_spread_over_the_cpus() -> None:
    rig = Chips(cpus=2)
    places = []
    for index in range(4):
        irq, _ = rig.device(index)
        boot(rig.core.request_irq(None, irq, rig.handler()))
        places.append((rig.vector_of(irq).cpu, rig.vector_of(irq).vector))
    assert places == [(0, 0x20), (1, 0x20), (0, 0x21), (1, 0x21)]


def test_a_vector_comes_with_activation() -> None:
    rig = Chips()
    irq, device = rig.device()
    vectors = rig.vector_of(irq)
    assert (vectors.vector, vectors.has_reserved, device.written) == (0, True, [])
    boot(rig.core.request_irq(None, irq, rig.handler()))
    assert (vectors.vector, vectors.has_reserved) == (0x20, False)
    assert [event[3:] for event in rig.events("vector_setup", "vector_reserve", "vector_activate", "vector_alloc", "vector_config")] == [
        (irq, 0),
        (irq, False, 0),
        (irq, False, True, False),
        (irq, 0x20, True, 0),
        (irq, 0x20, 0, 0),
    ]


def test_stray_of_a_freed_vector_is_silent_once() -> None:
    rig = Chips()
    irq, _ = rig.device()
    boot(rig.core.request_irq(None, irq, rig.handler()))
    boot(rig.core.free_irq(None, irq))
    rig.vectors.handle_unused(rig.cpus[0], 0x20)
    assert rig.said() == []
    rig.vectors.handle_unused(rig.cpus[0], 0x20)
    assert rig.said() == ["common_interrupt: 0.32 No irq handler for vector"]


def test_affinity_is_broken_rather_than_the_request() -> None:
    rig = Chips(cpus=2)
    rig.vectors.matrix.maps[0].available = 0
    irq, _ = rig.device()
    rig.core.desc(irq).affinity, rig.core.desc(irq).affinity_set = 0b01, True
    rig.core.desc(irq).nobalancing = True
    boot(rig.core.request_irq(None, irq, rig.handler()))
    assert rig.vector_of(irq).cpu == 1
    assert rig.said() == [f"irq {irq}: Affinity broken due to vector space exhaustion."]


def test_ipis_go_to_the_apic_id() -> None:
    rig = Chips(cpus=2)
    rig.apics.send_ipi(rig.cpus[0], 1, 0xFD)
    assert rig.cpus[1].lapic.irr == 1 << 0xFD
    rig.apics.send_nmi(rig.cpus[0], 1)
    assert rig.cpus[1].lapic.nmi_pending
