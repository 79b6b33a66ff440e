"""A controller without hardware, which only records what it is asked: for tests and demonstrations.

Whoever uses it runs the flow handlers itself, through ``generic_handle_irq``.
"""

from __future__ import annotations

from typing import Final

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import SET_MASK_OK, IrqChip
from asyncirq.irq.desc import IrqData
from asyncirq.sched.task import Task

OPTIONAL: Final = (
    "startup",
    "shutdown",
    "enable",
    "disable",
    "mask_ack",
    "retrigger",
    "active",
    "set_affinity",
    "set_type",
    "get_state",
    "set_state",
    "set_wake",
    "nmi_setup",
    "bus_lock",
)


class IrqSimControl(IrqChip):
    """What ``IrqSim`` records outside interrupts."""

    def __init__(self, name: str = "sim", *, flags: int = 0, ns: int = 0, also: tuple[str, ...] = ()) -> None:
        self.name = name
        self.flags = flags
        self.ns = ns
        self.calls: list[tuple[str, int]] = []
        self.retriggered: list[int] = []
        self.active: set[int] = set()
        self.states: dict[tuple[int, int], bool] = {}
        self.affinity_error = 0
        self.type_error = 0
        self.wake_error = 0
        self.nmi_error = 0
        for operation in OPTIONAL:
            setattr(self, f"has_{operation}", operation in also)
        for operation in also:
            if operation not in OPTIONAL:
                raise UsageError(f"IrqSim has no optional operation {operation!r}")

    def _call(self, operation: str, data: IrqData) -> int:
        self.calls.append((operation, data.irq))
        return self.ns

    def irq_startup(self, cpu: Cpu, data: IrqData) -> int:
        return self._call("startup", data)

    def irq_shutdown(self, cpu: Cpu, data: IrqData) -> int:
        return self._call("shutdown", data)

    def irq_enable(self, cpu: Cpu, data: IrqData) -> int:
        return self._call("enable", data)

    def irq_disable(self, cpu: Cpu, data: IrqData) -> int:
        return self._call("disable", data)

    def irq_set_affinity(self, cpu: Cpu, data: IrqData, mask: int, force: bool) -> int:
        self._call("set_affinity", data)
        if self.affinity_error:
            return self.affinity_error
        data.desc.effective_affinity = mask & -mask if data.desc.single_target else mask
        return SET_MASK_OK

    def irq_set_type(self, cpu: Cpu, data: IrqData, kind: int) -> int:
        self._call("set_type", data)
        return self.type_error

    def irq_retrigger(self, cpu: Cpu, data: IrqData) -> bool:
        self._call("retrigger", data)
        self.retriggered.append(data.irq)
        return True

    def irq_get_active(self, cpu: Cpu, data: IrqData) -> bool:
        return data.irq in self.active

    def irq_get_irqchip_state(self, cpu: Cpu, data: IrqData, which: int) -> bool:
        return self.states.get((data.irq, which), False)

    def irq_set_irqchip_state(self, cpu: Cpu, data: IrqData, which: int, value: bool) -> int:
        self.states[data.irq, which] = value
        return 0

    def irq_set_wake(self, data: IrqData, on: bool) -> int:
        self._call(f"set_wake {int(on)}", data)
        return self.wake_error

    def irq_nmi_setup(self, data: IrqData) -> int:
        self._call("nmi_setup", data)
        return self.nmi_error


class IrqSim(IrqSimControl):
    """A chip that records its calls as ``(operation, irq)`` in ``calls``; they take ``ns`` each.

    It has ack, mask, unmask and eoi; ``also`` names further operations. ``retriggered`` holds the irqs that were to be
    sent again, ``active`` those that the hardware still has in service, ``states`` what was written as ``(irq, which)``; the
    ``*_error`` are what the setters return when they are to fail.
    """

    def taken(self) -> list[str]:
        """Return the operations recorded since the last call, without their irqs."""
        names = [operation for operation, _ in self.calls]
        self.calls.clear()
        return names

    def irq_ack(self, cpu: Cpu, data: IrqData) -> int:
        return self._call("ack", data)

    def irq_mask(self, cpu: Cpu, data: IrqData) -> int:
        return self._call("mask", data)

    def irq_mask_ack(self, cpu: Cpu, data: IrqData) -> int:
        return self._call("mask_ack", data)

    def irq_unmask(self, cpu: Cpu, data: IrqData) -> int:
        return self._call("unmask", data)

    def irq_eoi(self, cpu: Cpu, data: IrqData) -> int:
        return self._call("eoi", data)

    def irq_nmi_teardown(self, data: IrqData) -> None:
        self._call("nmi_teardown", data)

    async def irq_bus_lock(self, task: Task, data: IrqData) -> None:
        self._call("bus_lock", data)

    async def irq_bus_sync_unlock(self, task: Task, data: IrqData) -> None:
        self._call("bus_sync_unlock", data)
