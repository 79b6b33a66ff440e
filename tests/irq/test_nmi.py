"""Hold the non-maskable and the per-CPU lines to what every other line has beside its handlers: /proc and power."""

from __future__ import annotations

import pytest

from asyncirq import UsageError
from asyncirq.irq.chip import IRQCHIP_SUPPORTS_NMI
from asyncirq.irq.desc import IRQF_NO_AUTOEN, IRQF_PERCPU, IrqDesc
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.flow import handle_fasteoi_nmi, handle_percpu_devid_irq
from asyncirq.irq.proc_dir import list_irq_dir
from asyncirq.irq.sim_chip import IrqSim
from tests.irq.harness import Rig, close_rigs  # noqa: F401

FLAGS = IRQF_PERCPU | IRQF_NO_AUTOEN


def nmi_line(rig: Rig) -> tuple[IrqDesc, IrqDomain, IrqSim]:
    desc, chip = rig.line(handle_fasteoi_nmi, IrqSim(flags=IRQCHIP_SUPPORTS_NMI, also=("nmi_setup",)))
    domain = IrqDomain(rig.core, "board")
    desc.data.domain = domain
    return desc, domain, chip


def directories(desc: IrqDesc) -> list[str]:
    return [entry.name for entry in list_irq_dir(desc) if entry.directory]


def test_nmi_keeps_its_controller_powered_and_has_its_directory() -> None:
    rig = Rig()
    desc, domain, _ = nmi_line(rig)
    assert (domain.pm_users, list_irq_dir(desc)) == (0, [])
    rig.core.request_nmi(desc.irq, rig.handler(), FLAGS, "pmu", "id")
    assert (domain.pm_users, directories(desc)) == (1, ["pmu"])
    assert rig.core.free_nmi(desc.irq, "id") == "pmu"
    assert (domain.pm_users, directories(desc)) == (0, [])
    assert "spurious" in [entry.name for entry in list_irq_dir(desc)]


def test_nmi_that_the_chip_refuses_gives_everything_back() -> None:
    """Two marks of the line stay, as in Linux: that it is per CPU, and not to be balanced."""
    rig = Rig()
    desc, domain, chip = nmi_line(rig)
    chip.nmi_error = -5
    with pytest.raises(UsageError, match="^irq 16 of pmu could not be made an NMI") as refused:
        rig.core.request_nmi(desc.irq, rig.handler(), FLAGS, "pmu", "id")
    assert (refused.value.errno, domain.pm_users, directories(desc)) == (22, 0, [])
    assert (desc.action, desc.nmi, desc.activated, desc.depth, desc.nr_actions) == (None, False, False, 1, 0)
    assert (desc.percpu, desc.nobalancing) == (True, True)


def test_nmi_freed_while_it_is_enabled_is_disabled_first() -> None:
    rig = Rig()
    desc, _, chip = nmi_line(rig)
    rig.core.request_nmi(desc.irq, rig.handler(), FLAGS, "pmu", "id")
    rig.core.enable_nmi(rig.cpus[0], desc.irq)
    chip.taken()
    assert rig.core.free_nmi(desc.irq, "id") == "pmu"
    assert rig.said() == ["NMI 16 is freed while it is enabled"]
    assert (chip.taken(), desc.disabled, desc.masked) == (["nmi_teardown", "mask"], True, True)


def test_percpu_handler_takes_its_directory_with_it() -> None:
    rig = Rig(cpus=2)
    desc, _ = rig.line(handle_percpu_devid_irq, IrqSim("ppi"))
    rig.core.set_percpu_devid(desc.irq)
    rig.core.request_percpu_irq(desc.irq, rig.handler(), "timer", ["a", "b"])
    assert directories(desc) == ["timer"]
    assert rig.core.free_percpu_irq(desc.irq, ["a", "b"]) == "timer"
    rig.core.request_percpu_irq(desc.irq, rig.handler(), "pmu", ["a", "b"])
    assert directories(desc) == ["pmu"]
