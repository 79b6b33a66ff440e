"""Test how a chip says which operations it has."""

from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import IRQCHIP_SET_TYPE_MASKED, IRQCHIP_SKIP_SET_WAKE, DummyIrqChip, IrqChip
from asyncirq.irq.desc import IRQF_SHARED, IRQF_TRIGGER_LOW, IRQF_TRIGGER_RISING, IrqData
from asyncirq.irq.flow import handle_edge_irq
from asyncirq.irq.sim_chip import IrqSim
from asyncirq.irq.state import set_trigger
from tests.irq.harness import Rig, boot, close_rigs  # noqa: F401


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


@pytest.mark.parametrize(
    ("flags", "error", "calls"),
    [
        (0, 0, ["set_type"]),
        (IRQCHIP_SET_TYPE_MASKED, 0, ["mask", "set_type", "unmask"]),
        (IRQCHIP_SET_TYPE_MASKED, -22, ["mask", "set_type", "unmask"]),
    ],
)
def test_a_trigger_is_set_while_the_line_is_masked_where_the_chip_wants_that(flags: int, error: int, calls: list[str]) -> None:
    rig = Rig()
    desc, chip = rig.line(handle_edge_irq, IrqSim(flags=flags, also=("set_type",)))
    rig.request(desc, rig.handler(), flags=IRQF_SHARED | IRQF_TRIGGER_RISING, dev_id="a")
    chip.type_error = error
    assert set_trigger(rig.cpus[0], desc, IRQF_TRIGGER_LOW) == error
    assert (chip.taken(), desc.masked, desc.trigger) == (calls, False, IRQF_TRIGGER_RISING if error else IRQF_TRIGGER_LOW)
    # A line that is disabled stays masked.
    boot(rig.core.disable_irq(None, desc.irq))
    set_trigger(rig.cpus[0], desc, IRQF_TRIGGER_RISING)
    assert (chip.taken(), desc.masked) == ((["mask", "set_type"], True) if flags else (["set_type"], False))


@pytest.mark.parametrize(("flags", "calls"), [(0, ["set_wake 1", "set_wake 0"]), (IRQCHIP_SKIP_SET_WAKE, [])])
def test_a_chip_that_always_wakes_is_not_asked_to(flags: int, calls: list[str]) -> None:
    rig = Rig()
    desc, chip = rig.line(handle_edge_irq, IrqSim(flags=flags, also=("set_wake",)))
    rig.request(desc, rig.handler())
    for on in (True, True, False):
        boot(rig.core.irq_set_irq_wake(None, desc.irq, on))
    assert desc.wake_depth == 1
    boot(rig.core.irq_set_irq_wake(None, desc.irq, False))
    assert (desc.wake_depth, chip.taken()) == (0, calls)
    chip.wake_error = -5
    if not flags:
        with pytest.raises(UsageError) as refused:
            boot(rig.core.irq_set_irq_wake(None, desc.irq, True))
        assert (refused.value.errno, desc.wake_depth) == (5, 0)
