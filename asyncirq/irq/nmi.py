"""Deliver lines as non-maskable interrupts: one handler each, no sharing, no threads, no statistics beyond a count.

Linux: kernel/irq/manage.c request_nmi(), kernel/irq/chip.c handle_fasteoi_nmi(). Trace: irq_handler_entry and exit.
"""

from __future__ import annotations

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import IRQCHIP_SUPPORTS_NMI
from asyncirq.irq.core import EINVAL
from asyncirq.irq.desc import (
    IRQ_TYPE_SENSE_MASK,
    IRQF_COND_SUSPEND,
    IRQF_IRQPOLL,
    IRQF_NO_AUTOEN,
    IRQF_NO_THREAD,
    IRQF_NOBALANCING,
    IRQF_PERCPU,
    IRQF_SHARED,
    IRQF_TRIGGER_MASK,
    Handler,
    IrqAction,
    IrqDesc,
)
from asyncirq.irq.lines import LineTable
from asyncirq.irq.pm import install_pm_action, remove_pm_action
from asyncirq.irq.proc_dir import register_handler_proc, register_irq_proc, unregister_handler_proc
from asyncirq.irq.setup import connected_desc, install_action
from asyncirq.irq.state import disable_depth, enable_depth, irq_deactivate, irq_shutdown


class NmiTable(LineTable):
    """The non-maskable lines of a machine."""

    def request_nmi(self, irq: int, handler: Handler, flags: int, name: str, dev_id: object = None) -> IrqAction:
        """Install the one handler of a line and make it non-maskable; ``enable_nmi`` comes separately, after NO_AUTOEN.

        Raises ``UsageError`` EINVAL for a flag that an NMI cannot have, without PERCPU, without NO_AUTOEN on a line that
        starts by itself, or on a controller that has no NMIs; EBUSY for a line that is held; ENOTCONN for ``IRQ_NOTCONNECTED``.
        """
        desc = connected_desc(self, irq, name)
        if flags & (IRQF_SHARED | IRQF_COND_SUSPEND | IRQF_IRQPOLL) or not flags & IRQF_PERCPU:
            raise UsageError(f"irq {irq}: {name} asks for flags {flags:08x}, which an NMI cannot have", EINVAL)
        if (not desc.noautoen and not flags & IRQF_NO_AUTOEN) or desc.norequest or desc.percpu_devid or not _supports_nmi(desc):
            raise UsageError(f"irq {irq} cannot be an NMI of {name}", EINVAL)
        trigger = flags & IRQF_TRIGGER_MASK or desc.trigger & IRQ_TYPE_SENSE_MASK
        action = IrqAction(irq, handler, None, flags | trigger | IRQF_NO_THREAD | IRQF_NOBALANCING, name, dev_id)
        cpu = self.cpus[0]
        install_action(self, cpu, desc, action)
        install_pm_action(self, desc, action)
        if desc.data.domain is not None:
            desc.data.domain.pm_get()
        register_irq_proc(cpu, desc)
        register_handler_proc(cpu, desc, action)
        desc.nmi = True
        error = desc.chip.irq_nmi_setup(desc.data) if desc.chip.has_nmi_setup else -EINVAL
        if error:
            self._cleanup_nmi(desc)
            raise UsageError(f"irq {irq} of {name} could not be made an NMI", EINVAL)
        return action

    def enable_nmi(self, cpu: Cpu, irq: int) -> int:
        """Enable a non-maskable line; return the ns of the register writes."""
        return enable_depth(cpu, self.desc(irq))

    def disable_nmi_nosync(self, cpu: Cpu, irq: int) -> int:
        """Disable a non-maskable line without waiting for its handler; return the ns of the register writes."""
        return disable_depth(cpu, self.desc(irq))

    def free_nmi(self, irq: int, dev_id: object = None) -> str | None:
        """Remove a non-maskable line's handler and return its name; None for a line that is none, or is still enabled."""
        desc = self.desc(irq)
        if not desc.nmi or desc.action is None:
            return None
        if desc.depth == 0:
            self.printk(None, 4, f"NMI {irq} is freed while it is enabled")
            disable_depth(self.cpus[0], desc)
        name = desc.action.name
        desc.chip.irq_nmi_teardown(desc.data)
        self._cleanup_nmi(desc)
        return name

    def _cleanup_nmi(self, desc: IrqDesc) -> None:
        assert desc.action is not None
        desc.nmi = False
        remove_pm_action(desc, desc.action)
        unregister_handler_proc(desc.action)
        desc.action = None
        irq_shutdown(self.cpus[0], desc)
        irq_deactivate(self.cpus[0], desc)
        desc.chip.irq_release_resources(desc.data)
        if desc.data.domain is not None:
            desc.data.domain.pm_put()


def _supports_nmi(desc: IrqDesc) -> bool:
    """Tell whether a line can be an NMI: its controller is the CPU's own, not behind a slow bus, and says so."""
    return desc.data.parent is None and not desc.chip.has_bus_lock and bool(desc.chip.flags & IRQCHIP_SUPPORTS_NMI)
