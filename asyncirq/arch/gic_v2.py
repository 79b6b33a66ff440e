"""Run the kernel on a GICv2 with a frame for messages; further GICs of the device tree are cascaded."""

from __future__ import annotations

from asyncirq.arch.arm64 import Arm64
from asyncirq.arch.smp_ops import GicV2SmpOps
from asyncirq.board.gic_v2 import GicV2Board
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.firmware.acpi import GIC_DISTRIBUTOR, AcpiProbe, Subtable
from asyncirq.firmware.devicetree import Node
from asyncirq.firmware.irqchip import IrqchipTable
from asyncirq.hw.gic.gicv2 import DistributorV2
from asyncirq.irq.manage import IrqCore
from asyncirq.irqchip.gic import GicV2
from asyncirq.irqchip.gic_v2m import V2mDomain

COMPATIBLE = (
    "arm,gic-400",
    "arm,arm11mp-gic",
    "arm,eb11mp-gic",
    "arm,cortex-a15-gic",
    "arm,cortex-a9-gic",
    "arm,cortex-a7-gic",
    "qcom,msm-8660-qgic",
    "qcom,msm-qgic2",
    "arm,pl390",
)
"""What a GICv2 and its ancestors call themselves."""


class GicV2Arch(Arm64):
    """The kernel's side of a ``GicV2Board``. ``gic`` drives the root, ``gics`` all in the order of their start.

    ``silicon`` says what a node of the device tree stands for, by path; a board with a second GIC enters it before the boot.
    """

    board: GicV2Board
    gic: GicV2

    def __init__(self, board: GicV2Board, irq: IrqCore, softirq: Softirq) -> None:
        super().__init__(board, irq, softirq)
        self.silicon: dict[str, DistributorV2] = {"/intc@8000000": board.distributor}
        self.gics: list[GicV2] = []
        self.smp_ops = GicV2SmpOps(self)

    def drivers(self) -> IrqchipTable:
        """Return the table of the controllers that this kernel has drivers for."""
        table = IrqchipTable()
        for name in COMPATIBLE:
            table.declare(name, self.of_init)
        table.acpi_declare(AcpiProbe("gic_v2", GIC_DISTRIBUTOR, 2, self._acpi_init))
        return table

    def of_init(self, node: Node, parent: Node | None) -> int:
        """Start the GIC of a node: the first as the root, any other behind its parent. Linux: gic_of_init()."""
        distributor = self.silicon.get(node.path)
        if distributor is None:
            return -6
        first = not self.gics
        gic = GicV2(self.irq, distributor, len(self.gics), split=first and self.config.boot_el == 2)
        if first:
            error = self.entry.set_handle_irq(gic.handle_irq)
            if error:
                return error
            self.gic = gic
        gic.dist_init()
        gic.cpu_init(self.cpus[0])
        if first:
            gic.smp_init(self.smp.set_range)
            for cpu in self.cpus[1:]:
                gic.cpu_init(cpu)
                self.smp.setup(cpu)
        if parent is not None:
            cells = self.board.devicetree.interrupts(node)[0]
            gic.cascade(self.gics[0].domain.map_specifier(cells))
        for child in node.children:
            if "arm,gic-v2m-frame" in child.strings("compatible") and child.available:
                self.messages = V2mDomain(gic, child.cells("arm,msi-base-spi")[0], child.cells("arm,msi-num-spis")[0])
        self.gics.append(gic)
        return 0

    def _acpi_init(self, entry: Subtable) -> int:
        """Start the GIC that ACPI's table tells of: the root, with the frame that the board has. Linux: gic_v2_acpi_init()."""
        node = self.board.devicetree.find("/intc@8000000")
        return -6 if node is None else self.of_init(node, None)
