"""Run the kernel on a GICv3 with an ITS."""

from __future__ import annotations

from asyncirq.arch.arm64 import Arm64
from asyncirq.arch.smp_ops import GicV3SmpOps
from asyncirq.board.gic import GicV3Board
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.firmware.acpi import GIC_DISTRIBUTOR, AcpiProbe, Subtable
from asyncirq.firmware.devicetree import Node
from asyncirq.firmware.irqchip import IrqchipTable
from asyncirq.irq.manage import IrqCore
from asyncirq.irqchip.gic_v3 import GicV3
from asyncirq.irqchip.its import ItsDriver


class GicV3Arch(Arm64):
    """The kernel's side of a ``GicV3Board``: ``gic`` and ``its`` are the drivers."""

    board: GicV3Board
    gic: GicV3

    def __init__(self, board: GicV3Board, irq: IrqCore, softirq: Softirq) -> None:
        super().__init__(board, irq, softirq)
        self.gic = GicV3(irq, board.distributor, split=self.config.boot_el == 2, pseudo_nmi=self.config.pseudo_nmi)
        self.its = ItsDriver(self.gic, board.its)
        self.messages = self.its.msi
        self.smp_ops = GicV3SmpOps(self)

    def drivers(self) -> IrqchipTable:
        """Return the table of the controllers that this kernel has drivers for."""
        table = IrqchipTable()
        table.declare("arm,gic-v3", self._of_init)
        table.acpi_declare(AcpiProbe("gic_v3", GIC_DISTRIBUTOR, 3, self._acpi_init))
        return table

    def _of_init(self, node: Node, parent: Node | None) -> int:
        """Start the GIC that a device tree tells of, and the ITS under it. Linux: gic_of_init(), its_of_probe()."""
        its = any("arm,gic-v3-its" in child.strings("compatible") and child.available for child in node.children)
        return self._init_bases(its)

    def _acpi_init(self, entry: Subtable) -> int:
        """Start the GIC that ACPI's table tells of. Linux: gic_acpi_init()."""
        return self._init_bases(its=True)

    def _init_bases(self, its: bool) -> int:
        """Set up distributor, ITS and IPIs, then what every CPU has for itself, as it does when it comes. Linux: gic_init_bases()."""
        gic = self.gic
        error = self.entry.set_handle_irq(gic.handle_irq)
        if error:
            return error
        gic.dist_init()
        gic.cpu_init(self.cpus[0])
        if its:
            self.its.start()
            self.its.cpu_init(self.cpus[0])
        gic.smp_init(self.smp.set_range)
        for cpu in self.cpus[1:]:
            if not gic.check(cpu):
                gic.cpu_init(cpu)
                if its:
                    self.its.cpu_init(cpu)
                self.smp.setup(cpu)
        return 0
