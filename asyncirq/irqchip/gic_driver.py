"""Hold what the drivers of GICv3 and GICv2 share: the domain, and the way from an INTID to its flow handler.

Linux: drivers/irqchip/irq-gic-v3.c, irq-gic.c.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gic import regs
from asyncirq.hw.gic.cpu_interface import CpuInterface
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.irq.core import KERN_WARNING
from asyncirq.irq.desc import IrqData
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.flow import handle_fasteoi_irq, handle_percpu_devid_irq
from asyncirq.irq.manage import IrqCore
from asyncirq.irqchip.gic_chip import GicChip, GicSplitChip
from asyncirq.irqchip.gic_common import translate

NR_SGIS: Final = 8
SPECIAL: Final = regs.SPECIAL_SECURE


class GicDomain(IrqDomain):
    """The interrupts of one GIC by INTID: ``map_specifier(cells)`` with firmware's specifier; a domain in front of it sets an LPI's."""

    def __init__(self, gic: GicDriver) -> None:
        super().__init__(gic.core, gic.name)
        self.irqs = gic.core
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
            data.chip_data = self.gic.private(intid)
            return
        if what == "lpi":
            desc.needs_resend = True
        else:
            data.chip_data = self.gic.shared(intid)
            if data.chip_data is None:
                raise UsageError(f"INTID {intid} is not on {self.name}", 22)
        desc.single_target = True
        self.core.set_handler(desc, handle_fasteoi_irq, "fasteoi")


class GicDriver(ABC):
    """The driver of one GIC. ``interfaces[n]`` belong to CPU n, ``group`` is what devices' interrupts are in.

    ``split``: EOIR drops the priority alone. ``warned`` says that an interrupt without a mapping was reported.
    """

    prio_irq = regs.DEFAULT_PRIORITY
    prio_nmi = regs.DEFAULT_PRIORITY

    def __init__(
        self, name: str, core: IrqCore, interfaces: Sequence[CpuInterface], group: int, *, split: bool, pseudo_nmi: bool = False
    ) -> None:
        self.name = name
        self.core = core
        self.interfaces = interfaces
        self.group = group
        self.split = split
        self.pseudo_nmi = pseudo_nmi
        self.warned = False
        self.chip = GicSplitChip(self) if split else GicChip(self)
        self.domain = GicDomain(self)

    @abstractmethod
    def private(self, intid: int) -> tuple[GicInterrupt, ...]:
        """Return every CPU's own silicon of a private interrupt."""

    @abstractmethod
    def shared(self, intid: int) -> GicInterrupt | None:
        """Return the silicon of a shared interrupt."""

    @abstractmethod
    def read_register(self, cpu: Cpu, intid: int, offset: int) -> int:
        """Read a register of the frame that has an interrupt."""

    @abstractmethod
    def write_register(self, cpu: Cpu, intid: int, offset: int, value: int) -> None:
        """Write a register of the frame that has an interrupt."""

    @abstractmethod
    def route(self, intid: int, cpu: int) -> None:
        """Send a shared interrupt to one CPU from now on."""

    @abstractmethod
    def send_sgi(self, cpu: Cpu, dest: int, sgi: int) -> None:
        """Send an SGI to a CPU, itself included; what it leads to is caused by what the CPU does now."""

    def interrupt(self, cpu: Cpu, data: IrqData) -> GicInterrupt:
        """Return the silicon of an interrupt: the CPU's own for a private one."""
        found = data.chip_data
        interrupt: GicInterrupt = found[cpu.id] if isinstance(found, tuple) else found
        return interrupt

    def hand_over_sgis(self, set_ipi_range: Callable[[int, int], None]) -> None:
        """Map eight SGIs and hand them over as IPIs; without numbers for them say so and do not."""
        base = 0
        for sgi in range(NR_SGIS):
            irq = self.domain.map_specifier((sgi,))
            base = base or irq
        if base <= 0:
            self.core.printk(None, KERN_WARNING, f"{self.name}: no interrupts for SGIs")
            return
        set_ipi_range(base, NR_SGIS)

    async def dispatch(self, cpu: Cpu, intid: int, cause: int) -> None:
        """Run the flow handler of an acknowledged interrupt, its priority dropped before in the split mode."""
        cpu.cause = cause
        if self.split:
            self.interfaces[cpu.id].end(intid, self.group, cpu)
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
            self.interfaces[cpu.id].end(intid, self.group, cpu)
        elif intid < regs.LPI_BASE:
            self.interfaces[cpu.id].deactivate(intid, cpu)
