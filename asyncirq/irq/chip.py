"""Define what a flow handler asks of an interrupt controller: the ``IrqChip``.

Which register an operation writes is the chip's knowledge, when it is called the flow handler's. Every operation is a
plain function that takes effect at once and returns the ns that the write takes; the caller lets them pass. A chip
says which operations it has by overriding them: the core asks for ``has_*`` where Linux tests a pointer for NULL.

Linux: include/linux/irq.h, struct irq_chip.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from asyncirq.errors import UsageError

if TYPE_CHECKING:
    from asyncirq.hw.cpu import Cpu
    from asyncirq.irq.desc import IrqData
    from asyncirq.sched.task import Task

IRQCHIP_SET_TYPE_MASKED: Final = 1 << 0
"""The line is masked while ``irq_set_type`` writes."""
IRQCHIP_EOI_IF_HANDLED: Final = 1 << 1
"""No EOI for an interrupt that no handler saw."""
IRQCHIP_MASK_ON_SUSPEND: Final = 1 << 2
"""A suspended line is masked at once, which the hardware needs to stay asleep."""
IRQCHIP_SKIP_SET_WAKE: Final = 1 << 4
"""Every line can wake the machine without ``irq_set_wake``."""
IRQCHIP_ONESHOT_SAFE: Final = 1 << 5
"""The interrupt cannot fire again before its source was served: no masking for a thread."""
IRQCHIP_EOI_THREADED: Final = 1 << 6
"""The EOI of a one-shot interrupt waits for its thread."""
IRQCHIP_SUPPORTS_NMI: Final = 1 << 8
"""Lines can be delivered as non-maskable interrupts (``irq_nmi_setup``)."""
IRQCHIP_ENABLE_WAKEUP_ON_SUSPEND: Final = 1 << 9
"""A disabled line that is to wake the machine is enabled while it sleeps."""
IRQCHIP_AFFINITY_PRE_STARTUP: Final = 1 << 10
"""The affinity is set before the interrupt is started."""
IRQCHIP_MOVE_DEFERRED: Final = 1 << 12
"""The affinity can be changed in the interrupt alone."""

SET_MASK_OK: Final = 0
"""``irq_set_affinity`` did it; the core copies the requested mask."""
SET_MASK_OK_NOCOPY: Final = 1
"""``irq_set_affinity`` or ``irq_set_type`` did it and recorded the result itself."""

IRQCHIP_STATE_PENDING: Final = 0
IRQCHIP_STATE_ACTIVE: Final = 1
IRQCHIP_STATE_MASKED: Final = 2
IRQCHIP_STATE_LINE_LEVEL: Final = 3


_OPTIONAL: Final = MappingProxyType(
    {
        "irq_startup": "has_startup",
        "irq_shutdown": "has_shutdown",
        "irq_enable": "has_enable",
        "irq_disable": "has_disable",
        "irq_ack": "has_ack",
        "irq_mask_ack": "has_mask_ack",
        "irq_eoi": "has_eoi",
        "irq_set_affinity": "has_set_affinity",
        "irq_set_type": "has_set_type",
        "irq_retrigger": "has_retrigger",
        "irq_get_active": "has_active",
        "irq_get_irqchip_state": "has_get_state",
        "irq_set_irqchip_state": "has_set_state",
        "irq_set_wake": "has_set_wake",
        "irq_nmi_setup": "has_nmi_setup",
        "irq_bus_lock": "has_bus_lock",
    }
)


class IrqChipSetup:
    """What a chip is asked by those who set a line up, put it to sleep or look at it."""

    name: str = "-"

    def irq_get_irqchip_state(self, cpu: Cpu, data: IrqData, which: int) -> bool:
        """Tell an ``IRQCHIP_STATE_*`` of the interrupt. Raises ``UsageError`` for one that the chip does not know."""
        raise UsageError(f"chip {self.name} has no state {which}", 22)

    def irq_set_irqchip_state(self, cpu: Cpu, data: IrqData, which: int, value: bool) -> int:
        """Set an ``IRQCHIP_STATE_*`` of the interrupt: 0 or a negative errno."""
        return -22

    def irq_set_wake(self, data: IrqData, on: bool) -> int:
        """Let the interrupt wake the sleeping machine, or no more: 0 or a negative errno."""
        return 0

    def irq_nmi_setup(self, data: IrqData) -> int:
        """Deliver the interrupt as a non-maskable one: 0 or a negative errno."""
        return -22

    def irq_nmi_teardown(self, data: IrqData) -> None:
        """Undo ``irq_nmi_setup``."""

    async def irq_bus_lock(self, task: Task, data: IrqData) -> None:
        """Begin a change of a chip behind a slow bus: may sleep, and what follows is only noted until the sync."""

    async def irq_bus_sync_unlock(self, task: Task, data: IrqData) -> None:
        """Write to a chip behind a slow bus what was noted since ``irq_bus_lock``: may sleep."""

    def irq_request_resources(self, data: IrqData) -> int:
        """Prepare for the first action of a line: 0 or a negative errno."""
        return 0

    def irq_release_resources(self, data: IrqData) -> None:
        """Undo ``irq_request_resources`` after the last action is gone."""


class IrqChipControl(IrqChipSetup):
    """What a chip is asked outside its interrupts, and the flags that say what it can do.

    ``flags`` are ``IRQCHIP_*`` bits. ``irq_set_affinity`` returns ``SET_MASK_*`` or a negative errno, ``irq_set_type``
    0 or a negative errno, ``irq_retrigger`` whether the hardware sends the interrupt again.
    """

    flags: int = 0

    has_startup: bool = False
    has_shutdown: bool = False
    has_enable: bool = False
    has_disable: bool = False
    has_ack: bool = False
    has_mask_ack: bool = False
    has_eoi: bool = False
    has_set_affinity: bool = False
    has_set_type: bool = False
    has_retrigger: bool = False
    has_active: bool = False
    has_get_state: bool = False
    has_set_state: bool = False
    has_set_wake: bool = False
    has_nmi_setup: bool = False
    has_bus_lock: bool = False

    def irq_startup(self, cpu: Cpu, data: IrqData) -> int:
        """Start an interrupt up, in place of enable."""
        return 0

    def irq_was_pending(self, data: IrqData) -> bool:
        """Tell whether the line was requesting when it was last started up; only autoprobing wants to know."""
        return False

    def irq_shutdown(self, cpu: Cpu, data: IrqData) -> int:
        """Shut an interrupt down, in place of disable."""
        return 0

    def irq_enable(self, cpu: Cpu, data: IrqData) -> int:
        """Enable an interrupt, in place of unmask."""
        return 0

    def irq_disable(self, cpu: Cpu, data: IrqData) -> int:
        """Disable an interrupt at once, in place of the lazy way."""
        return 0

    def irq_set_affinity(self, cpu: Cpu, data: IrqData, mask: int, force: bool) -> int:
        """Send the interrupt to a CPU of ``mask``; the chip writes ``data.desc.effective_affinity``."""
        return -22

    def irq_set_type(self, cpu: Cpu, data: IrqData, kind: int) -> int:
        """Set the trigger to ``IRQ_TYPE_*``."""
        return 0

    def irq_retrigger(self, cpu: Cpu, data: IrqData) -> bool:
        """Send the interrupt to its CPU again."""
        return False

    def irq_get_active(self, cpu: Cpu, data: IrqData) -> bool:
        """Tell whether the hardware still has the interrupt in service (``irq_get_irqchip_state`` ACTIVE)."""
        return False


class IrqChip(IrqChipControl):
    """Base of all chips: no operation does anything, and none is there until a subclass overrides it."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for operation, flag in _OPTIONAL.items():
            if operation in cls.__dict__:
                setattr(cls, flag, True)

    def irq_ack(self, cpu: Cpu, data: IrqData) -> int:
        """Acknowledge the start of an interrupt."""
        return 0

    def irq_mask(self, cpu: Cpu, data: IrqData) -> int:
        """Mask the source."""
        return 0

    def irq_mask_ack(self, cpu: Cpu, data: IrqData) -> int:
        """Mask the source and acknowledge the interrupt in one step."""
        return 0

    def irq_unmask(self, cpu: Cpu, data: IrqData) -> int:
        """Unmask the source."""
        return 0

    def irq_eoi(self, cpu: Cpu, data: IrqData) -> int:
        """Tell the controller that the interrupt was served."""
        return 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class NoIrqChip(IrqChip):
    """Stand for "no controller": a line with this chip cannot be requested."""

    name = "none"


class DummyIrqChip(IrqChip):
    """Stand for a controller that needs no register: a line that others drive through ``generic_handle_irq``."""

    name = "dummy"
