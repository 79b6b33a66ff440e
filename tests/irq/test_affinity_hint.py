"""Let a driver say where its line should go."""

from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.irq.flow import handle_edge_irq, handle_percpu_devid_irq
from asyncirq.irq.proc import read_irq_file
from asyncirq.irq.sim_chip import IrqSim
from tests.irq.harness import Rig, boot, close_rigs  # noqa: F401


def test_a_hint_is_shown_and_moves_the_line_only_if_asked() -> None:
    rig = Rig(cpus=4)
    desc, _ = rig.line(handle_edge_irq, IrqSim(also=("set_affinity",)))
    rig.request(desc, rig.handler())
    boot(rig.core.irq_set_affinity_and_hint(None, desc.irq, 0b0110, move=False))
    assert (read_irq_file(rig.core, desc.irq, "affinity_hint"), desc.affinity) == ("6\n", 0b1111)
    boot(rig.core.irq_set_affinity_and_hint(None, desc.irq, 0b1000))
    assert (read_irq_file(rig.core, desc.irq, "affinity_hint"), desc.affinity, desc.effective_affinity) == ("8\n", 0b1000, 0b1000)
    boot(rig.core.irq_set_affinity_and_hint(None, desc.irq, 0))
    assert (read_irq_file(rig.core, desc.irq, "affinity_hint"), desc.affinity) == ("0\n", 0b1000)


def test_a_line_that_cannot_move_keeps_its_hint() -> None:
    rig = Rig(cpus=2)
    desc, _ = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler())
    boot(rig.core.irq_set_affinity_and_hint(None, desc.irq, 0b10))
    assert (desc.affinity_hint, desc.affinity) == (0b10, 0b11)
    boot(rig.core.free_irq(None, desc.irq))
    assert desc.affinity_hint == 0


def test_there_is_no_hint_for_every_cpus_own_line_nor_for_none() -> None:
    rig = Rig(cpus=2)
    desc, _ = rig.line(handle_percpu_devid_irq)
    rig.core.set_percpu_devid(desc.irq)
    for irq in (desc.irq, 99):
        with pytest.raises(UsageError) as refused:
            boot(rig.core.irq_set_affinity_and_hint(None, irq, 1))
        assert refused.value.errno == 22
