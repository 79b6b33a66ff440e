"""Take the interrupts of a CPU that goes offline away from its local APIC, on x86.

What has arrived there already, but is not taken, is sent again to where the interrupt has moved; should the CPU still take it, nobody
wonders. A level that has arrived keeps the remote IRR of its pin, which only an EOI of the old vector would clear: the pin is made an
edge and a level again.

Linux: arch/x86/kernel/irq.c fixup_irqs(); arch/x86/kernel/apic/vector.c lapic_can_unplug_cpu(), lapic_offline(),
irq_force_complete_move(); io_apic.c __eoi_ioapic_pin().
"""

from __future__ import annotations

from typing import Final

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.core import KERN_WARNING, IrqTable
from asyncirq.irq.cpuhotplug import migrate_all_off_this_cpu
from asyncirq.irq.desc import IrqData, IrqDesc
from asyncirq.irq.resend import retrigger
from asyncirq.irqchip.ioapic import IoApicChip
from asyncirq.irqchip.vector import VectorData, VectorDomain

SETTLE_NS: Final = 1_000_000
"""How long what is under way to the CPU is waited for."""
ENOSPC: Final = 28


class Leaving:
    """The way out of the vector domain for the CPUs of one machine."""

    def __init__(self, core: IrqTable, vectors: VectorDomain) -> None:
        self.core = core
        self.vectors = vectors
        self._again: list[IrqDesc] = []
        core.force_complete_move = self.force_complete_move

    def can_unplug(self, cpu: Cpu) -> int:
        """Tell whether the other CPUs have vectors for what this one has: 0 or -ENOSPC. Trace: printk."""
        maps = self.vectors.matrix.maps
        have = maps[cpu.id].allocated
        # The CPU itself is in the map still.
        free = sum(each.available for index, each in enumerate(maps) if each.online and index != cpu.id)
        if free < have:
            self.core.printk(cpu, KERN_WARNING, f"CPU {cpu.id} has {have} vectors, {free} available. Cannot disable CPU")
            return -ENOSPC
        reserved = self.vectors.matrix.global_reserved
        if free - have < reserved:
            self.core.printk(cpu, KERN_WARNING, f"Reserved vectors {reserved} > available {free - have}. IRQ request may fail")
        return 0

    async def fixup_irqs(self, cpu: Cpu) -> None:
        """Move every interrupt away, wait for what is under way, and send again what has come: interrupts off, machine stopped."""
        before = tuple(self.vectors.vector_irq[cpu.id])
        migrate_all_off_this_cpu(self.core, cpu)
        again, self._again = self._again, []
        for desc in again:
            retrigger(cpu, desc)
        await cpu.spend(SETTLE_NS)
        for vector, owner in enumerate(before):
            if owner is not None and owner.started and cpu.lapic.irr >> vector & 1:
                self._send_again(cpu, vector, owner)

    def _send_again(self, cpu: Cpu, vector: int, desc: IrqDesc) -> None:
        self.vectors.vector_irq[cpu.id][vector] = None
        self.vectors.expect_stray(cpu.id, vector)
        for data in desc.datas():
            if isinstance(data.chip, IoApicChip):
                data.chip.clear_remote_irr(data)
        retrigger(cpu, desc)

    def offline(self, cpu: Cpu) -> None:
        """Take the CPU's vectors out of what can be allocated, and drop what moves have left on it. Trace: irq_matrix_offline."""
        for desc in self.core.all_descs():
            data = _root(desc)
            vectors = data.chip_data
            if isinstance(vectors, VectorData) and vectors.prev_vector and vectors.prev_cpu == cpu.id:
                self.vectors.free_moved(cpu, data, vectors)
        self.vectors.matrix.offline(cpu.id)

    def force_complete_move(self, cpu: Cpu, desc: IrqDesc) -> None:
        """End a move that nothing has arrived after yet: the interrupt has to move again. What pends on the old vector is sent again."""
        data = _root(desc)
        vectors = data.chip_data
        if not isinstance(vectors, VectorData) or not (vectors.move_in_progress or vectors.cleanup):
            return
        old = self.core.cpus[vectors.prev_cpu]
        vector = vectors.prev_vector
        if old.lapic.irr >> vector & 1:
            self._again.append(desc)
        self.vectors.free_moved(old, data, vectors)
        self.vectors.expect_stray(old.id, vector)


def _root(desc: IrqDesc) -> IrqData:
    data = desc.data
    while data.parent is not None:
        data = data.parent
    return data
