"""Drive a GICv2, as the root of all interrupts or behind another GIC.

The root handler acknowledges until nothing is left. A second GIC's output is an interrupt of the first, whose chained handler
looks into the second. Linux: drivers/irqchip/irq-gic.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gic import gicv2, regs
from asyncirq.hw.gic.gicv2 import CpuInterfaceWindow, DistributorV2
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.irq.desc import IrqDesc
from asyncirq.irq.flow import handle_bad_irq
from asyncirq.irq.manage import IrqCore
from asyncirq.irqchip.gic_driver import SPECIAL, GicDriver

STARTING: Final = "irqchip/arm/gic:starting"
CPU_MAP_UNKNOWN: Final = 0xFF


class GicV2(GicDriver):
    """The driver of one GICv2; ``number`` 0 is the first, the root. ``cpu_map[n]`` is the target bit of CPU n once that is known."""

    def __init__(self, core: IrqCore, distributor: DistributorV2, number: int = 0, *, split: bool = False) -> None:
        super().__init__(f"GIC-{number}", core, distributor.interfaces, regs.GROUP0, split=split)
        self.distributor = distributor
        self.windows = [CpuInterfaceWindow(interface) for interface in distributor.interfaces]
        self.cpu_map = [CPU_MAP_UNKNOWN] * gicv2.MAX_CPUS
        self.callbacks: list[str] = []

    def private(self, intid: int) -> tuple[GicInterrupt, ...]:
        """Return every CPU's own silicon of a private interrupt."""
        return tuple(bank[intid] for bank in self.distributor.private)

    def shared(self, intid: int) -> GicInterrupt | None:
        """Return the silicon of a shared interrupt."""
        return self.distributor.shared.get(intid)

    def read_register(self, cpu: Cpu, intid: int, offset: int) -> int:
        """Read a register of the distributor."""
        return self.distributor.read(offset, cpu=cpu.id)

    def write_register(self, cpu: Cpu, intid: int, offset: int, value: int) -> None:
        """Write a register of the distributor."""
        self.distributor.write(offset, value, cpu=cpu.id)

    def route(self, intid: int, cpu: int) -> None:
        """Write ITARGETSR."""
        self.distributor.write(regs.ITARGETSR + intid, self.cpu_map[cpu], 1)

    # --- boot

    def dist_init(self) -> None:
        """Set the distributor up: every SPI off, inactive, of normal priority, to the boot CPU."""
        distributor = self.distributor
        distributor.write(regs.GICD_CTLR, 0)
        self.cpu_map[0] = distributor.read(regs.ITARGETSR, 1)
        for intid in sorted(distributor.shared):
            interrupt = distributor.shared[intid]
            interrupt.edge = False
            interrupt.set_priority(self.prio_irq)
            interrupt.set_enabled(False)
            interrupt.set_active(False)
            self.route(intid, 0)
        distributor.write(regs.GICD_CTLR, 1)

    def cpu_init(self, cpu: Cpu) -> None:
        """Set up one CPU: its target bit, its SGIs and PPIs, its interface."""
        self.cpu_map[cpu.id] = self.distributor.read(regs.ITARGETSR, 1, cpu.id)
        for interrupt in self.distributor.private[cpu.id].values():
            interrupt.set_priority(self.prio_irq)
            interrupt.set_enabled(False)
            interrupt.set_active(False)
        window = self.windows[cpu.id]
        window.write(gicv2.GICC_PMR, 0xF0)
        window.write(gicv2.GICC_APR, 0)
        window.write(gicv2.GICC_CTLR, gicv2.GICC_ENABLE | self.split * gicv2.GICC_EOIMODE)

    def smp_init(self, set_ipi_range: Callable[[int, int], None]) -> None:
        """Register the hotplug callback and hand eight SGIs over as IPIs. Linux: gic_smp_init()."""
        self.callbacks.append(STARTING)
        self.hand_over_sgis(set_ipi_range)

    # --- interrupts

    def send_sgi(self, cpu: Cpu, dest: int, sgi: int) -> None:
        """Send an SGI to a CPU, itself included. Linux: gic_ipi_send_mask()."""
        self.distributor.send_sgi(cpu.id, self.cpu_map[dest] << 16 | sgi, cpu.cause)

    async def handle_irq(self, cpu: Cpu) -> None:
        """Handle interrupts until the acknowledge register has a special number. Linux: gic_handle_irq()."""
        interface = self.interfaces[cpu.id]
        while True:
            intid, cause = interface.acknowledge(regs.GROUP0, cpu)
            if intid >= SPECIAL:
                return
            await self.dispatch(cpu, intid, cause)

    # --- cascade

    def cascade(self, irq: int) -> None:
        """Make this GIC's output an interrupt of another controller, on the first CPU. Linux: gic_cascade_irq()."""
        self.core.irq_set_chained_handler(irq, self._handle_cascade, self)

    async def _handle_cascade(self, cpu: Cpu, desc: IrqDesc) -> None:
        """Handle one interrupt of this GIC, then end that of the parent. Linux: gic_handle_cascade_irq()."""
        interface = self.interfaces[0]
        intid, cause = interface.acknowledge(regs.GROUP0, cpu)
        if intid < SPECIAL:
            irq = self.domain.find_mapping(intid)
            child = self.core.descs.get(irq)
            if child is None:
                await handle_bad_irq(cpu, desc)
            else:
                before, cpu.cause = cpu.cause, cause
                await child.handle_irq(cpu, child)
                cpu.cause = before
        cost = desc.chip.irq_eoi(cpu, desc.data)
        if cost:
            await cpu.spend(cost)
