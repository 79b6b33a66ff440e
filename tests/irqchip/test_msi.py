"""Test interrupts by messages, from the device's write to the handler, and their moves between CPUs."""

from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED
from asyncirq.irq.flow import handle_edge_irq
from tests.irq.harness import boot, close_rigs  # noqa: F401
from tests.irqchip.chips import Chips

JIFFY = 4_000_000


def test_a_message_on_its_way() -> None:
    rig = Chips(irq_entry_ns=250, apic_eoi_ns=30, irq_return_ns=60, irq_exit_ns=120)
    irq, device = rig.device()
    boot(rig.core.request_irq(None, irq, rig.handler(ns=1000), 0, "nic", rig))
    assert device.written == [(0x20, 0), (0x20, 0)]
    rig.at(5000, device.fire)
    rig.play(10_000)
    kinds = (
        "device_raise", "msi_write", "lapic_irr", "lapic_inta", "vector_entry", "lapic_eoi",
        "irq_handler_entry", "irq_handler_exit", "vector_exit",
    )  # fmt: skip
    assert [(event[0], event[2], *event[3:]) for event in rig.events(*kinds)] == [
        (5000, "device_raise", "device", "test"),
        (5000, "msi_write", 0xFEE00000, 0x20),
        (5000, "lapic_irr", 0x20, "edge", 0),
        (5000, "lapic_inta", 0x20),
        (5250, "vector_entry", 0x20),
        (5250, "lapic_eoi", 0x20),
        (5280, "irq_handler_entry", irq, "nic"),
        (6280, "irq_handler_exit", irq, 1),
        (6340, "vector_exit", 0x20),
    ]


@pytest.mark.parametrize("can_mask", [True, False])
def test_MSI_03_affinity_change(can_mask: bool) -> None:
    rig = Chips(cpus=2)
    irq, device = rig.device(can_mask=can_mask)
    other, _ = rig.device(1)
    rig.core.desc(irq).affinity = 0b01
    rig.core.desc(irq).affinity_set = True
    rig.core.desc(other).affinity = 0b10
    rig.core.desc(other).affinity_set = True
    boot(rig.core.request_irq(None, other, rig.handler("other")))
    boot(rig.core.request_irq(None, irq, rig.handler()))
    assert (rig.vector_of(irq).cpu, rig.vector_of(irq).vector, rig.vector_of(other).vector) == (0, 0x20, 0x20)
    device.written.clear()
    boot(rig.core.irq_set_affinity(None, irq, 0b10))
    assert device.written == []
    rig.at(1000, device.fire)
    rig.play(2000)
    # The interrupt that does the move is handled where it arrived.
    assert device.written == ([(0x21, 1)] if can_mask else [(0x21, 0), (0x21, 1)])
    assert rig.log == [(1000, "handler on 0")]
    assert (rig.core.desc(irq).effective_affinity, rig.core.desc(irq).affinity) == (0b10, 0b10)
    rig.at(3000, device.fire)
    rig.play(4000)
    assert rig.log[1:] == [(3000, "handler on 1")]


def test_MSI_03_interrupt_between_the_half_writes() -> None:
    rig = Chips(cpus=2)
    irq, device = rig.device(can_mask=False)
    rig.core.desc(irq).affinity, rig.core.desc(irq).affinity_set = 0b01, True
    boot(rig.core.request_irq(None, irq, rig.handler()))
    # CPU1 has vector 0x20 taken, so that the new vector differs.
    other, _ = rig.device(1)
    rig.core.desc(other).affinity, rig.core.desc(other).affinity_set = 0b10, True
    boot(rig.core.request_irq(None, other, rig.handler("other")))
    boot(rig.core.irq_set_affinity(None, irq, 0b10))

    def fire() -> None:
        device.raise_after_writes = 1
        device.fire()

    rig.at(1000, fire)
    rig.play(2000)
    # Once on CPU0 for the interrupt itself, once on CPU1 for the one that hit CPU0's unused slot and was sent on.
    assert rig.log == [(1000, "handler on 0"), (1000, "handler on 1")]
    assert (rig.said(), rig.entry.unhandled) == ([], [1, 0])


def test_MSI_04_old_vector_cleanup() -> None:
    rig = Chips(cpus=2)
    irq, device = rig.device()
    rig.core.desc(irq).affinity, rig.core.desc(irq).affinity_set = 0b01, True
    boot(rig.core.request_irq(None, irq, rig.handler()))
    desc, vectors, table = rig.core.desc(irq), rig.vector_of(irq), rig.vectors.vector_irq
    boot(rig.core.irq_set_affinity(None, irq, 0b10))
    rig.at(1000, device.fire)
    rig.play(2000)
    # Moved, but nothing has arrived on CPU1 yet: both slots are in use, and a further move has to wait.
    assert (vectors.cpu, vectors.move_in_progress, table[0][0x20], table[1][0x20]) == (1, True, desc, desc)
    assert rig.vectors.assign(rig.cpus[0], desc.datas()[-1], 0b01) == -16
    rig.at(3000, device.fire)
    rig.play(4000)
    assert (vectors.move_in_progress, vectors.cleanup, table[0][0x20]) == (False, True, desc)
    # Still pending on CPU0 at the tick: one tick more.
    rig.cpus[0].lapic.irr |= 1 << 0x20
    rig.play(JIFFY)
    assert (vectors.cleanup, rig.said()) == (True, ["Moved interrupt pending in old target APIC 0"])
    rig.cpus[0].lapic.irr = 0
    rig.play(2 * JIFFY)
    assert (vectors.cleanup, vectors.prev_vector, table[0][0x20], table[1][0x20]) == (False, 0, None, desc)
    assert [event[0] for event in rig.events("vector_free_moved")] == [2 * JIFFY]
    assert rig.vectors.matrix.maps[0].allocated == 0


def test_MSI_04_ack_elsewhere_completes_nothing_and_an_offline_cpu_is_freed_at_once() -> None:
    rig = Chips(cpus=3)
    irq, device = rig.device()
    rig.core.desc(irq).affinity, rig.core.desc(irq).affinity_set = 0b001, True
    boot(rig.core.request_irq(None, irq, rig.handler()))
    data, vectors = rig.core.desc(irq).datas()[-1], rig.vector_of(irq)
    assert rig.vectors.assign(rig.cpus[0], data, 0b010) == 0
    rig.vectors.complete_move(rig.cpus[2], data, vectors)
    assert vectors.move_in_progress
    rig.core.online_mask = 0b110
    rig.vectors.complete_move(rig.cpus[1], data, vectors)
    assert (vectors.move_in_progress, vectors.cleanup, vectors.prev_vector, rig.vectors.vector_irq[0][0x20]) == (False, False, 0, None)
    assert device.written


def test_MSI_05_msi_flow_and_one_shot() -> None:
    rig = Chips()
    irq, device = rig.device()
    desc = rig.core.desc(irq)
    assert (desc.handle_irq, desc.name, desc.chip.name) == (handle_edge_irq, "edge", "PCI-MSI")
    boot(rig.core.request_threaded_irq(None, irq, None, rig.thread_fn(), 0, "nic"))
    rig.at(1000, device.fire)
    rig.play(2000)
    assert (rig.log, device.masked) == ([(1000, "thread on 0")], False)


def test_MSI_06_vector_exhaustion() -> None:
    rig = Chips(cpus=2)
    usable = 0xEB - 0x20 - 1
    for index in range(usable):
        irq, _ = rig.device(index)
        rig.core.desc(irq).affinity, rig.core.desc(irq).affinity_set = 0b01, True
        boot(rig.core.request_irq(None, irq, rig.handler()))
    maps = rig.vectors.matrix.maps
    assert (maps[0].available, maps[0].allocated, maps[1].allocated) == (0, usable, 0)
    assert {irq is not None for vector, irq in enumerate(rig.vectors.vector_irq[0]) if 0x20 <= vector < 0xEB and vector != 0x80} == {True}
    irq, _ = rig.device(1000)
    boot(rig.core.request_irq(None, irq, rig.handler()))
    desc = rig.core.desc(irq)
    desc.started = False
    with pytest.raises(UsageError) as refused:
        boot(rig.core.irq_set_affinity(None, irq, 0b01))
    assert refused.value.errno == 28
    # A reservation costs nothing; the request fails once no CPU has a vector left.
    for index in range(2000, 2000 + usable):
        last, _ = rig.device(index)
        if index < 2000 + usable - 1:
            boot(rig.core.request_irq(None, last, rig.handler()))
    assert rig.vectors.matrix.global_available == 0
    assert rig.vectors.matrix.global_reserved == 1
    with pytest.raises(UsageError) as refused:
        boot(rig.core.request_irq(None, last, rig.handler()))
    assert (refused.value.errno, rig.core.desc(last).action) == (28, None)


def test_freed_message_gives_its_vector_back() -> None:
    rig = Chips()
    irq, device = rig.device()
    for _ in range(2):
        boot(rig.core.request_irq(None, irq, rig.handler()))
        assert (rig.vectors.matrix.total_allocated, rig.vectors.matrix.global_reserved) == (1, 0)
        boot(rig.core.free_irq(None, irq))
        assert (rig.vectors.matrix.total_allocated, rig.vectors.matrix.global_reserved) == (0, 1)
        assert device.written[-1] == (0, 0)
    rig.msi.dispose_mapping(irq)
    assert (rig.vectors.matrix.global_reserved, irq in rig.core.descs) == (0, False)


def test_disabled_edge_is_sent_again_by_the_hardware() -> None:
    rig = Chips()
    irq, device = rig.device()
    boot(rig.core.request_irq(None, irq, rig.handler()))
    boot(rig.core.disable_irq(None, irq))
    rig.at(1000, device.fire)
    rig.play(2000)
    assert (rig.log, device.masked) == ([], True)
    boot(rig.core.enable_irq(None, irq))
    rig.play(3000)
    assert (rig.log, device.masked) == ([(2000, "handler on 0")], False)


def test_edge_that_comes_during_the_handler_runs_it_again() -> None:
    rig = Chips()
    irq, device = rig.device()

    async def handler(cpu: Cpu, number: int, dev_id: object) -> int:
        rig.note("handler")
        if len(rig.log) == 1:
            device.fire()
        await cpu.spend(500)
        return IRQ_HANDLED

    boot(rig.core.request_irq(None, irq, handler))
    rig.at(1000, device.fire)
    rig.play(5000)
    # Its EOI came before the handler: the second waits in the IRR until interrupts are on.
    assert rig.log == [(1000, "handler"), (1500, "handler")]
