"""Test interrupts by wires, from the pin to the handler."""

from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.ioapic_regs import MASKED, REMOTE_IRR
from asyncirq.irq.desc import IRQ_HANDLED, IRQF_ONESHOT
from asyncirq.irq.flow import handle_edge_irq, handle_fasteoi_irq
from tests.irq.harness import boot, close_rigs  # noqa: F401
from tests.irqchip.chips import Chips


def level_device(rig: Chips, number: int = 10) -> tuple[int, object]:
    """Request a level pin whose handler lowers the wire."""
    irq, line = rig.pin(number, level=True)

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        rig.note(f"handler on {cpu.id}")
        await cpu.spend(200)
        line.set(False)
        return IRQ_HANDLED

    boot(rig.core.request_irq(None, irq, handler))
    return irq, line


def test_level_takes_the_fasteoi_flow() -> None:
    rig = Chips()
    irq, line = rig.pin(10, level=True)
    assert (rig.core.desc(irq).handle_irq, rig.core.desc(irq).name, rig.core.desc(irq).level) == (handle_fasteoi_irq, "fasteoi", True)

    async def handler(cpu: Cpu, number: int, dev_id: object) -> int:
        rig.note(f"remote IRR {bool(rig.pins.chip.read_low(10) & REMOTE_IRR)}")
        if len(rig.log) == 2:
            line.set(False)
        await cpu.spend(200)
        return IRQ_HANDLED

    boot(rig.core.request_irq(None, irq, handler))
    rig.at(1000, lambda: line.set(True))
    rig.play(5000)
    # 50 ns to the bus each time; the wire that is still up at the EOI interrupts again.
    assert rig.log == [(1050, "remote IRR True"), (1300, "remote IRR True")]
    assert rig.pins.chip.read_low(10) & REMOTE_IRR == 0


def test_edge_takes_the_edge_flow() -> None:
    rig = Chips()
    irq, line = rig.pin(4, level=False)
    assert (rig.core.desc(irq).handle_irq, rig.core.desc(irq).name) == (handle_edge_irq, "edge")
    boot(rig.core.request_irq(None, irq, rig.handler()))
    rig.at(1000, lambda: line.set(True))
    rig.at(1500, lambda: line.set(False))
    rig.play(5000)
    assert rig.log == [(1050, "handler on 0")]


def test_one_shot_level_is_masked_until_its_thread_is_done() -> None:
    rig = Chips()
    irq, line = rig.pin(10, level=True)
    boot(rig.core.request_threaded_irq(None, irq, None, rig.thread_fn(ns=500), IRQF_ONESHOT, "lab"))
    rig.at(1000, lambda: line.set(True))
    rig.at(1700, lambda: line.set(False))
    rig.play(1400)
    assert rig.pins.chip.read_low(10) & MASKED
    rig.play(5000)
    # Unmasked at 1550 with the wire still up: it fires once more.
    assert rig.log == [(1050, "thread on 0"), (1550, "thread ends"), (1600, "thread on 0"), (2100, "thread ends")]
    assert not rig.pins.chip.read_low(10) & MASKED


def test_free_masks_the_pin() -> None:
    rig = Chips()
    irq, _ = rig.pin(10, level=True)
    assert rig.pins.chip.read_low(10) & MASKED
    boot(rig.core.request_irq(None, irq, rig.handler()))
    assert not rig.pins.chip.read_low(10) & MASKED
    boot(rig.core.free_irq(None, irq))
    assert rig.pins.chip.read_low(10) == MASKED


@pytest.mark.covers("IOAPIC-27")
def test_IOAPIC_27_affinity_move_of_a_level_pin() -> None:
    rig = Chips(cpus=2)
    irq, line = level_device(rig)
    desc = rig.core.desc(irq)
    start = rig.vector_of(irq).cpu
    boot(rig.core.irq_set_affinity(None, irq, 0b01 if start else 0b10))
    assert desc.setaffinity_pending
    rig.at(1000, lambda: line.set(True))  # type: ignore[attr-defined]
    rig.play(2000)
    assert (desc.setaffinity_pending, rig.vector_of(irq).cpu, desc.masked) == (False, 1 - start, False)
    assert not rig.pins.chip.read_low(10) & MASKED
    assert rig.ioapic.pins[10].dest == 1 - start
    rig.at(3000, lambda: line.set(True))  # type: ignore[attr-defined]
    rig.play(4000)
    assert rig.log == [(1050, f"handler on {start}"), (3050, f"handler on {1 - start}")]


def test_IOAPIC_27_remote_irr_keeps_the_move_pending() -> None:
    rig = Chips(cpus=2)
    irq, line = level_device(rig)
    desc = rig.core.desc(irq)
    start = rig.vector_of(irq).cpu
    boot(rig.core.irq_set_affinity(None, irq, 0b01 if start else 0b10))

    class Stuck(type(rig.pins.chip)):  # type: ignore[misc]
        def read_low(self, pin: int) -> int:
            return int(super().read_low(pin)) | REMOTE_IRR

    rig.pins.chip.__class__ = Stuck
    rig.at(1000, lambda: line.set(True))  # type: ignore[attr-defined]
    rig.play(2000)
    assert (desc.setaffinity_pending, rig.vector_of(irq).cpu, rig.ioapic.pins[10].masked) == (True, start, False)


def test_synchronize_sees_what_the_hardware_has_in_service() -> None:
    rig = Chips()
    irq, line = level_device(rig)
    desc = rig.core.desc(irq)
    assert not desc.chip.irq_get_active(rig.cpus[0], desc.data)
    rig.at(1000, lambda: line.set(True))  # type: ignore[attr-defined]
    seen: list[bool] = []
    rig.at(1100, lambda: seen.append(desc.chip.irq_get_active(rig.cpus[0], desc.data)))
    rig.play(2000)
    assert (seen, desc.chip.irq_get_active(rig.cpus[0], desc.data)) == ([True], False)


def test_wrong_configuration_is_refused() -> None:
    rig = Chips()
    with pytest.raises(UsageError, match="pin 3 of IO-APIC-0 needs a PinConfig, not 'level'"):
        rig.pins.create_mapping(3, arg="level")
    with pytest.raises(UsageError, match="hwirq 24 is not in domain IO-APIC-0"):
        rig.pins.create_mapping(24)
