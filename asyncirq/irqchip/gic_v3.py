"""Drive a GICv3: the root handler, and the set-up of each CPU.

The root handler reads the acknowledge register, which says which interrupt it is. With the split mode (a kernel booted at EL2)
it drops the priority at once, and the flow's EOI deactivates; without, the EOI does both. Pseudo-NMIs are interrupts of a higher
priority: with interrupts off the kernel raises the priority mask instead of masking exceptions.

Linux: drivers/irqchip/irq-gic-v3.c, include/linux/irqchip/arm-gic-v3-prio.h.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gic import regs
from asyncirq.hw.gic.distributor import Distributor, route_of_affinity
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.hw.gic.redistributor import affinity_of
from asyncirq.irq.core import KERN_ERR
from asyncirq.irq.manage import IrqCore
from asyncirq.irqchip.gic_driver import SPECIAL, GicDriver
from asyncirq.sched.preempt import HARDIRQ_OFFSET, NMI_OFFSET

PRIO_UNMASKED: Final = 0xE0
PRIO_IRQ: Final = 0xC0
PRIO_NMI: Final = 0x80
DEFAULT_PMR: Final = 0xF0
CHECK_RDIST: Final = "irqchip/arm/gicv3:checkrdist"
PRIVATE: Final = ("sgi", "ppi", "eppi")
STARTING: Final = "irqchip/arm/gicv3:starting"


class GicV3(GicDriver):
    """The driver of one GICv3. ``handle_irq`` is the root handler. ``split``: EOIR drops the priority alone. ``online`` and ``check``
    are what CPU hotplug calls for a CPU that comes; ``callbacks`` names them in order, as they were registered.
    Priorities are those that the distributor is given.
    """

    def __init__(
        self, core: IrqCore, distributor: Distributor, *, split: bool = False, pseudo_nmi: bool = False, group0: bool = False
    ) -> None:
        self.distributor = distributor
        super().__init__("GICv3", core, distributor.interfaces, regs.GROUP1_NS, split=split, pseudo_nmi=pseudo_nmi)
        shift = group0 and not distributor.gic.one_security_state
        self.prio_irq = PRIO_IRQ << 1 & 0xFF if shift else PRIO_IRQ
        self.prio_nmi = PRIO_NMI << 1 & 0xFF if shift else PRIO_NMI
        self.handle_irq: Callable[[Cpu], Coroutine[Any, Any, None]] = self._handle_masked if pseudo_nmi else self._handle
        self.callbacks: list[str] = []

    def private(self, intid: int) -> tuple[GicInterrupt, ...]:
        """Return every CPU's own silicon of a private interrupt."""
        return tuple(part.private[intid] for part in self.distributor.redistributors)

    def shared(self, intid: int) -> GicInterrupt | None:
        """Return the silicon of a shared interrupt."""
        return self.distributor.shared.get(intid)

    def read_register(self, cpu: Cpu, intid: int, offset: int) -> int:
        """Read a register of the frame that has an interrupt."""
        if regs.kind_of(intid) in PRIVATE:
            return self.distributor.redistributors[cpu.id].read(regs.SGI_FRAME + offset)
        return self.distributor.read(offset)

    def write_register(self, cpu: Cpu, intid: int, offset: int, value: int) -> None:
        """Write a register of the frame that has an interrupt."""
        if regs.kind_of(intid) in PRIVATE:
            self.distributor.redistributors[cpu.id].write(regs.SGI_FRAME + offset, value)
        else:
            self.distributor.write(offset, value)

    # --- boot

    def dist_init(self) -> None:
        """Set the distributor up: every SPI in group 1, disabled, inactive, of normal priority, routed to the boot CPU."""
        distributor = self.distributor
        distributor.write(regs.GICD_CTLR, 0)
        for intid in sorted(distributor.shared):
            interrupt = distributor.shared[intid]
            self._configure(interrupt)
            interrupt.edge = False
            self.route(intid, 0)
        distributor.write(regs.GICD_CTLR, regs.CTLR_ARE | regs.CTLR_ENABLE_G1 | regs.CTLR_ENABLE_G0)

    def _configure(self, interrupt: GicInterrupt) -> None:
        """Put an interrupt into group 1, off and of normal priority, as the registers of all do at once."""
        interrupt.set_group(True, False)
        privileged = self.distributor.gic.one_security_state
        interrupt.set_priority(self.prio_irq if privileged else self.prio_irq >> 1 | 0x80)
        interrupt.set_enabled(False)
        interrupt.set_active(False)

    def route(self, intid: int, cpu: int) -> None:
        """Write IROUTER."""
        affinity = route_of_affinity(self.distributor.redistributors[cpu].affinity)
        base = regs.IROUTER + 8 * intid if intid < regs.ESPI_BASE else regs.IROUTERE + 8 * (intid - regs.ESPI_BASE)
        self.distributor.write(base, affinity, 8)

    def cpu_init(self, cpu: Cpu) -> int:
        """Set up one CPU: find its redistributor, wake it, its SGIs and PPIs, the CPU interface. Returns 0 or a negative errno."""
        if self.check(cpu):
            return -19
        part = self.distributor.redistributors[cpu.id]
        part.write(regs.GICR_WAKER, 0)
        for interrupt in part.private.values():
            self._configure(interrupt)
        interface = part.interface
        interface.nmi_below = PRIO_IRQ if self.pseudo_nmi else 0
        interface.set_pmr(PRIO_UNMASKED if self.pseudo_nmi else DEFAULT_PMR)
        interface.set_bpr(regs.GROUP1_NS, 0)
        interface.set_control(self.split)
        interface.set_active_priorities(regs.GROUP1_NS, 0)
        self.distributor.enable_group(cpu.id, regs.GROUP1_NS)
        return 0

    def check(self, cpu: Cpu) -> int:
        """Look for a CPU's redistributor: the one of its affinity. Returns 0 or -ENODEV, with a message. Linux: gic_check_rdist()."""
        wanted = affinity_of(cpu.id)
        if not any(part.affinity == wanted for part in self.distributor.redistributors):
            self.core.printk(None, KERN_ERR, f"CPU{cpu.id}: mpidr {wanted:x} has no re-distributor!")
            return -19
        return 0

    def smp_init(self, set_ipi_range: Callable[[int, int], None]) -> None:
        """Register the hotplug callbacks and hand eight SGIs over as IPIs. Linux: gic_smp_init()."""
        self.callbacks += [CHECK_RDIST, STARTING]
        self.hand_over_sgis(set_ipi_range)

    # --- interrupts

    def send_sgi(self, cpu: Cpu, dest: int, sgi: int) -> None:
        """Send an SGI to a CPU, itself included; what it leads to is caused by what the CPU does now. Linux: gic_ipi_send_mask()."""
        self.distributor.pend_sgi(self.distributor.redistributors[dest], sgi, regs.GROUP1_NS, cpu.cause)

    async def _handle(self, cpu: Cpu) -> None:
        """Handle the interrupt that the acknowledge register names; a special number ends at once."""
        interface = self.interfaces[cpu.id]
        intid, cause = interface.acknowledge(regs.GROUP1_NS, cpu)
        if SPECIAL <= intid <= regs.NONE_PENDING:
            return
        await self.dispatch(cpu, intid, cause)

    async def _handle_masked(self, cpu: Cpu) -> None:
        """Handle an interrupt with pseudo-NMIs: which of the two it is, its running priority tells.

        From a place with interrupts off it can be an NMI only. Else normal ones are held back by the mask, and exceptions let in
        again, so that an NMI nests in what follows. Linux: __gic_handle_irq_from_irqson(), __gic_handle_irq_from_irqsoff().
        """
        irqs_off = cpu.pushed_irqs_off
        interface = self.interfaces[cpu.id]
        intid, cause = interface.acknowledge(regs.GROUP1_NS, cpu)
        special = SPECIAL <= intid <= regs.NONE_PENDING
        is_nmi = not special and interface.running == PRIO_NMI
        if irqs_off:
            if not special:
                await self.dispatch(cpu, intid, cause)
            return
        if is_nmi:
            cpu.preempt_count += NMI_OFFSET + HARDIRQ_OFFSET
            await self.dispatch(cpu, intid, cause)
            cpu.preempt_count -= NMI_OFFSET + HARDIRQ_OFFSET
        cpu.nmi_blocked = False
        cpu.recompute()
        if not special and not is_nmi:
            await self.dispatch(cpu, intid, cause)
