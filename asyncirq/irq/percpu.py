"""Request interrupts that every CPU has for itself: enabled, disabled and handled on each CPU separately.

Linux: kernel/irq/manage.c, the percpu_devid functions. Trace: printk for what is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.core import EINVAL, KERN_ERR, KERN_WARNING, IrqTable
from asyncirq.irq.desc import IRQF_NO_SUSPEND, IRQF_PERCPU, IRQF_TIMER, Handler, IrqAction, IrqDesc
from asyncirq.irq.flow import percpu_mask
from asyncirq.irq.pm import install_pm_action, remove_pm_action
from asyncirq.irq.proc_dir import register_handler_proc, register_irq_proc, unregister_handler_proc
from asyncirq.irq.state import irq_activate, set_trigger


class PercpuTable(IrqTable):
    """The per-CPU half of the core: lines whose handlers get the instance of the CPU that they run on."""

    def set_percpu_devid(self, irq: int) -> None:
        """Make a line one that every CPU has for itself, as its controller's driver does."""
        desc = self.desc(irq)
        desc.percpu_devid = desc.percpu = desc.noautoen = desc.noprobe = desc.nothread = desc.nobalancing = True

    def request_percpu_irq(
        self, irq: int, handler: Handler, name: str, instances: Sequence[object], affinity: int | None = None, flags: int = 0
    ) -> IrqAction:
        """Install a handler on a per-CPU line, on no CPU yet: ``enable_percpu_irq`` comes for each.

        ``instances`` holds what the handler gets as dev_id, one for each CPU; ``affinity`` is the mask of CPUs that this
        action is for. Raises ``UsageError`` EINVAL, also when the masks of two actions overlap.
        """
        desc = self.desc(irq)
        if desc.norequest or not desc.percpu_devid:
            raise UsageError(f"irq {irq} cannot be requested per CPU by {name}", EINVAL)
        if flags not in (0, IRQF_TIMER):
            raise UsageError(f"irq {irq}: {name} asks for flags {flags:08x}; a per-CPU line takes none but IRQF_TIMER", EINVAL)
        if len(instances) != len(self.cpus):
            raise UsageError(f"irq {irq}: {name} needs an instance for each of {len(self.cpus)} CPUs", EINVAL)
        if desc.chip is self.no_irq_chip:
            raise UsageError(f"irq {irq} has no controller", 38)
        action = IrqAction(irq, handler, None, flags | IRQF_PERCPU | IRQF_NO_SUSPEND, name, None)
        if desc.data.domain is not None:
            desc.data.domain.pm_get()
        try:
            return self._setup_percpu(desc, action, instances, affinity)
        except UsageError:
            if desc.data.domain is not None:
                desc.data.domain.pm_put()
            raise

    def _setup_percpu(self, desc: IrqDesc, action: IrqAction, instances: Sequence[object], affinity: int | None) -> IrqAction:
        irq, name = desc.irq, action.name
        action.percpu_dev_id = tuple(instances)
        action.affinity = self.sched.all_cpus if affinity is None else affinity
        last: IrqAction | None = None
        for other in desc.actions():
            if other.affinity & action.affinity:
                text = f"Overlapping affinities for {name} (irq {irq}) on irqchip {desc.chip.name}."
                self.printk(None, KERN_ERR, text)
                raise UsageError(text, EINVAL)
            last = other
        if last is None:
            error = irq_activate(self.cpus[0], desc)
            if error:
                raise UsageError(f"irq {irq} of {name} could not be activated", -error)
            desc.autodetect = desc.spurious_disabled = desc.waiting = False
            desc.depth = 1
            desc.action = action
        else:
            last.next = action
        install_pm_action(self, desc, action)
        register_irq_proc(self.cpus[0], desc)
        register_handler_proc(self.cpus[0], desc, action)
        return action

    def enable_percpu_irq(self, cpu: Cpu, irq: int, kind: int = 0) -> int:
        """Enable a per-CPU line on this CPU alone; return the ns that the register writes take."""
        desc = self.desc(irq, percpu=True)
        if kind and set_trigger(cpu, desc, kind):
            self.printk(cpu, KERN_WARNING, f"failed to set type for IRQ{irq}")
            return 0
        desc.percpu_enabled |= 1 << cpu.id
        chip = desc.chip
        return chip.irq_enable(cpu, desc.data) if chip.has_enable else chip.irq_unmask(cpu, desc.data)

    def disable_percpu_irq(self, cpu: Cpu, irq: int) -> int:
        """Disable a per-CPU line on this CPU alone; return the ns that the register writes take."""
        desc = self.desc(irq, percpu=True)
        desc.percpu_enabled &= ~(1 << cpu.id)
        return percpu_mask(cpu, desc)

    def free_percpu_irq(self, irq: int, instances: Sequence[object]) -> str | None:
        """Remove the handler with these instances; return its name, None with a warning if the line is enabled anywhere."""
        desc = self.desc(irq, percpu=True)
        wanted = tuple(instances)
        before: IrqAction | None = None
        action = desc.action
        while action is not None and action.percpu_dev_id != wanted:
            before, action = action, action.next
        if action is None:
            self.printk(None, KERN_WARNING, f"Trying to free already-free IRQ {irq}")
            return None
        enabled = desc.percpu_enabled & action.affinity
        if enabled:
            self.printk(None, KERN_WARNING, f"percpu IRQ {irq} still enabled on CPU{(enabled & -enabled).bit_length() - 1}!")
            return None
        if before is None:
            desc.action = action.next
        else:
            before.next = action.next
        remove_pm_action(desc, action)
        unregister_handler_proc(action)
        if desc.data.domain is not None:
            desc.data.domain.pm_put()
        return action.name
