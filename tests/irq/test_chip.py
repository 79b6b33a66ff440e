"""Test how a chip says which operations it has."""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import DummyIrqChip, IrqChip
from asyncirq.irq.desc import IrqData
from asyncirq.irq.sim_chip import IrqSim


class Acks(IrqChip):
    """A chip with an ack."""

    def irq_ack(self, cpu: Cpu, data: IrqData) -> int:
        return 1


class AcksAndRetriggers(Acks):
    """A chip with an ack and a retrigger."""

    def irq_retrigger(self, cpu: Cpu, data: IrqData) -> bool:
        return True


def has(chip: IrqChip) -> list[str]:
    return [name for name in dir(chip) if name.startswith("has_") and getattr(chip, name)]


def test_operations_are_there_once_overridden() -> None:
    assert has(IrqChip()) == has(DummyIrqChip()) == []
    assert has(Acks()) == ["has_ack"]
    assert has(AcksAndRetriggers()) == ["has_ack", "has_retrigger"]


def test_recording_chip_has_what_it_is_told() -> None:
    assert has(IrqSim()) == ["has_ack", "has_eoi"]
    assert has(IrqSim(also=("startup", "active"))) == ["has_ack", "has_active", "has_eoi", "has_startup"]
