"""Drive a GICv3: its domain, the operations of its interrupts, the root handler, and the set-up of each CPU.

The root handler reads the acknowledge register, which says which interrupt it is. With the split mode (a kernel booted at EL2)
it drops the priority at once, and the flow's EOI deactivates; without, the EOI does both. Pseudo-NMIs are interrupts of a higher
priority: with interrupts off the kernel raises the priority mask instead of masking exceptions.

Linux: drivers/irqchip/irq-gic-v3.c, include/linux/irqchip/arm-gic-v3-prio.h.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gic import regs
from asyncirq.hw.gic.distributor import Distributor, route_of_affinity
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.hw.gic.redistributor import affinity_of
from asyncirq.irq.core import KERN_ERR, KERN_WARNING
from asyncirq.irq.desc import IrqData
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.flow import handle_fasteoi_irq, handle_percpu_devid_irq
from asyncirq.irq.manage import IrqCore
from asyncirq.irqchip.gic_common import translate
from asyncirq.irqchip.gic_v3_chip import GicV3Chip, GicV3SplitChip
from asyncirq.sched.preempt import HARDIRQ_OFFSET, NMI_OFFSET

PRIO_UNMASKED: Final = 0xE0
PRIO_IRQ: Final = 0xC0
PRIO_NMI: Final = 0x80
DEFAULT_PMR: Final = 0xF0
NR_SGIS: Final = 8
SPECIAL: Final = regs.SPECIAL_SECURE
CHECK_RDIST: Final = "irqchip/arm/gicv3:checkrdist"
STARTING: Final = "irqchip/arm/gicv3:starting"


class GicV3Domain(IrqDomain):
    """The interrupts of one GICv3 by INTID: ``map_specifier(cells)`` with firmware's specifier; a domain in front of it sets an LPI's."""

    def __init__(self, core: IrqCore, gic: GicV3) -> None:
        super().__init__(core, "GICv3")
        self.irqs = core
        self.gic = gic

    def map_specifier(self, cells: Sequence[int], irq: int = -1) -> int:
        """Return the irq of a specifier. Raises ``UsageError`` for one that the controller does not understand."""
        intid, kind = translate(cells)
        return self.create_mapping(intid, kind, irq=irq)

    def alloc(self, data: IrqData, arg: Any) -> None:
        """Wire an interrupt to its flow: per CPU for private ones, fasteoi for all others.

        Raises ``UsageError`` EINVAL for a number that the controller does not have.
        """
        intid = data.hwirq
        what = regs.kind_of(intid)
        data.chip = self.gic.chip
        desc = data.desc
        desc.enforce_irqctx = True
        if what in ("sgi", "ppi", "eppi"):
            self.irqs.set_percpu_devid(desc.irq)
            self.core.set_handler(desc, handle_percpu_devid_irq, "percpu_devid")
            data.chip_data = tuple(part.private[intid] for part in self.gic.distributor.redistributors)
            return
        if what == "lpi":
            desc.needs_resend = True
        elif intid not in self.gic.distributor.shared:
            raise UsageError(f"INTID {intid} is not on {self.name}", 22)
        else:
            data.chip_data = self.gic.distributor.shared[intid]
        desc.single_target = True
        self.core.set_handler(desc, handle_fasteoi_irq, "fasteoi")


class GicV3:
    """The driver of one GICv3. ``handle_irq`` is the root handler. ``split``: EOIR drops the priority alone. ``online`` and ``check``
    are what CPU hotplug calls for a CPU that comes; ``callbacks`` names them in order, as they were registered.

    ``warned`` says that an interrupt without a mapping was reported. Priorities are those that the distributor is given.
    """

    def __init__(
        self, core: IrqCore, distributor: Distributor, *, split: bool = False, pseudo_nmi: bool = False, group0: bool = False
    ) -> None:
        self.core = core
        self.distributor = distributor
        self.interfaces = distributor.interfaces
        self.split = split
        self.pseudo_nmi = pseudo_nmi
        shift = group0 and not distributor.gic.one_security_state
        self.prio_irq = PRIO_IRQ << 1 & 0xFF if shift else PRIO_IRQ
        self.prio_nmi = PRIO_NMI << 1 & 0xFF if shift else PRIO_NMI
        self.chip = GicV3SplitChip(self) if split else GicV3Chip(self)
        self.domain = GicV3Domain(core, self)
        self.handle_irq: Callable[[Cpu], Coroutine[Any, Any, None]] = self._handle_masked if pseudo_nmi else self._handle
        self.callbacks: list[str] = []
        self.warned = False

    def interrupt(self, cpu: Cpu, data: IrqData) -> GicInterrupt:
        """Return the silicon of an interrupt: the CPU's own for a private one."""
        found = data.chip_data
        interrupt: GicInterrupt = found[cpu.id] if isinstance(found, tuple) else found
        return interrupt

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
        base = 0
        for sgi in range(NR_SGIS):
            irq = self.domain.map_specifier((sgi,))
            base = base or irq
        if base <= 0:
            self.core.printk(None, KERN_WARNING, "GICv3: no interrupts for SGIs")
            return
        set_ipi_range(base, NR_SGIS)

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
        await self._dispatch(cpu, intid, cause)

    async def _dispatch(self, cpu: Cpu, intid: int, cause: int) -> None:
        cpu.cause = cause
        if self.split:
            self.interfaces[cpu.id].end(intid, cpu=cpu)
        irq = self.domain.find_mapping(intid)
        if irq:
            desc = self.core.descs[irq]
            await desc.handle_irq(cpu, desc)
        else:
            self._unexpected(cpu, intid)

    def _unexpected(self, cpu: Cpu, intid: int) -> None:
        """Say once that an interrupt has no mapping, and end it all the same. Linux: gic_deactivate_unhandled()."""
        if not self.warned:
            self.warned = True
            self.core.printk(cpu, KERN_WARNING, f"Unexpected interrupt (irqnr {intid})")
        if not self.split:
            self.interfaces[cpu.id].end(intid, cpu=cpu)
        elif intid < regs.LPI_BASE:
            self.interfaces[cpu.id].deactivate(intid, cpu)

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
                await self._dispatch(cpu, intid, cause)
            return
        if is_nmi:
            cpu.preempt_count += NMI_OFFSET + HARDIRQ_OFFSET
            await self._dispatch(cpu, intid, cause)
            cpu.preempt_count -= NMI_OFFSET + HARDIRQ_OFFSET
        cpu.nmi_blocked = False
        cpu.recompute()
        if not special and not is_nmi:
            await self._dispatch(cpu, intid, cause)
