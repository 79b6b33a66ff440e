"""Test how interrupts leave a CPU and come back to it."""

from __future__ import annotations

import pytest

from asyncirq.irq.cpuhotplug import affinity_online_cpu, migrate_all_off_this_cpu
from asyncirq.irq.desc import IrqDesc
from asyncirq.irq.flow import handle_edge_irq
from asyncirq.irq.sim_chip import IrqSim
from tests.irq.harness import Rig, close_rigs  # noqa: F401


def line(rig: Rig, affinity: int, *, managed: bool = False) -> tuple[IrqDesc, IrqSim]:
    desc, chip = rig.line(handle_edge_irq, IrqSim(also=("set_affinity",)))
    desc.affinity, desc.managed, desc.affinity_set, desc.single_target = affinity, managed, True, True
    rig.request(desc, rig.handler())
    return desc, chip


def test_HP_08_choice_of_the_new_target() -> None:
    rig = Rig(cpus=4)
    lines = [line(rig, mask)[0] for mask in (0b0010, 0b0110, 0b0010)]
    lines[2].setaffinity_pending, lines[2].pending_mask = True, 0b1000
    elsewhere, untouched = line(rig, 0b0001)
    rig.core.online_mask = 0b1101
    migrate_all_off_this_cpu(rig.core, rig.cpus[1])
    assert [desc.effective_affinity for desc in lines] == [0b0001, 0b0100, 0b1000]
    assert (elsewhere.effective_affinity, untouched.taken()) == (0b0001, [])
    assert rig.said() == [f"IRQ{lines[0].irq}: no longer affine to CPU1"]


def test_HP_08_no_vector_left_is_tried_everywhere() -> None:
    rig = Rig(cpus=4)
    desc, chip = line(rig, 0b0110)
    chip.affinity_error = -28
    rig.core.online_mask = 0b1101
    migrate_all_off_this_cpu(rig.core, rig.cpus[1])
    assert chip.taken() == ["set_affinity", "set_affinity"]
    assert rig.said() == [f"IRQ{desc.irq}: set affinity failed(-28)."]


@pytest.mark.parametrize("single", [True, False])
def test_HP_10_managed_restart(single: bool) -> None:
    rig = Rig(cpus=2)
    desc, chip = line(rig, 0b10, managed=True)
    both, both_chip = line(rig, 0b11, managed=True)
    both.single_target = single
    rig.core.online_mask = 0b01
    migrate_all_off_this_cpu(rig.core, rig.cpus[1])
    assert (desc.started, desc.depth, chip.taken()) == (False, 1, ["mask"])
    rig.core.online_mask = 0b11
    affinity_online_cpu(rig.core, rig.cpus[1])
    assert (desc.started, desc.depth, desc.effective_affinity, chip.taken()) == (True, 0, 0b10, ["set_affinity", "unmask"])
    assert both_chip.taken() == ([] if single else ["set_affinity"])


def test_HP_11_affinity_is_not_restored_for_ordinary_lines() -> None:
    rig = Rig(cpus=2)
    desc, chip = line(rig, 0b10)
    rig.core.online_mask = 0b01
    migrate_all_off_this_cpu(rig.core, rig.cpus[1])
    rig.core.online_mask = 0b11
    chip.calls.clear()
    affinity_online_cpu(rig.core, rig.cpus[1])
    assert (desc.effective_affinity, desc.affinity, chip.taken()) == (0b01, 0b01, [])
