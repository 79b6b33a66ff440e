"""Run the kernel on a GICv3 with an ITS."""

from __future__ import annotations

from collections.abc import Sequence

from asyncirq.arch.arm64 import Arm64
from asyncirq.board.arm64 import BoardMsi
from asyncirq.board.gic import GicV3Board
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.errors import UsageError
from asyncirq.firmware.acpi import GIC_DISTRIBUTOR, AcpiProbe, Subtable
from asyncirq.firmware.devicetree import Node
from asyncirq.firmware.irqchip import IrqchipTable
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_TYPE_EDGE_RISING, IRQ_TYPE_LEVEL_HIGH
from asyncirq.irq.manage import IrqCore
from asyncirq.irq.spread import create_affinity_masks
from asyncirq.irqchip.gic_common import GIC_SPI
from asyncirq.irqchip.gic_v3 import GicV3
from asyncirq.irqchip.its import ItsDriver
from asyncirq.irqchip.msi import MsiTarget


class GicV3Arch(Arm64):
    """The kernel's side of a ``GicV3Board``: ``gic`` and ``its`` are the drivers."""

    board: GicV3Board

    def __init__(self, board: GicV3Board, irq: IrqCore, softirq: Softirq) -> None:
        super().__init__(board, irq, softirq)
        self.gic = GicV3(irq, board.distributor, split=self.config.boot_el == 2, pseudo_nmi=self.config.pseudo_nmi)
        self.its = ItsDriver(self.gic, board.its)
        self._messages = 0
        self._active_low: dict[int, bool] = {}

    def raise_sgi(self, cpu: Cpu, dest: int, number: int) -> None:
        """Send an SGI from a CPU to one, itself included."""
        self.gic.send_sgi(cpu, dest, number)

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

    def map_private(self, cells: Sequence[int]) -> int:
        """Return the irq of a specifier."""
        return self.gic.domain.map_specifier(cells)

    # --- numbers

    def line_irq(self, gsi: int, *, level: bool, active_low: bool = False, irq: int = -1) -> int:
        """Return the irq of an SPI, made at the first call. Raises ``UsageError`` when it is wired otherwise already."""
        kind = IRQ_TYPE_LEVEL_HIGH if level else IRQ_TYPE_EDGE_RISING
        found = self.gic.domain.find_mapping(32 + gsi)
        if found and (self.irq.desc(found).trigger != kind or self._active_low[gsi] != active_low):
            raise UsageError(f"gsi {gsi} is wired otherwise already (irq {found})", 22)
        self._active_low[gsi] = active_low
        return found or self.gic.domain.map_specifier((GIC_SPI, gsi, kind), irq)

    def alloc_msi(self, name: str) -> BoardMsi:
        """Return a new message of a device, with its irq."""
        msi = BoardMsi(name, self.board)
        msi.irq = self.map_msi(msi)
        return msi

    def map_msi(self, target: MsiTarget, irq: int = -1) -> int:
        """Return a new irq that is raised by messages of ``target``."""
        self._messages += 1
        return self.its.msi.create_mapping(self._messages, IRQ_TYPE_EDGE_RISING, arg=target, irq=irq)

    def map_spread_msis(self, targets: Sequence[MsiTarget], pre: int = 0, post: int = 0) -> list[int]:
        """Return new irqs, one for each target, spread over the CPUs. Linux: pci_alloc_irq_vectors_affinity()."""
        masks = create_affinity_masks(len(targets), len(self.cpus), self.irq.default_affinity, pre, post)
        irqs = []
        for target, affinity in zip(targets, masks, strict=True):
            self._messages += 1
            irqs.append(self.its.msi.create_mapping(self._messages, IRQ_TYPE_EDGE_RISING, arg=target, affinity=affinity))
        return irqs
