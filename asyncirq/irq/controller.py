"""Define the operations that a controller had when one flow served all lines: startup, shutdown, enable, disable, ack, end.

Each kind of line makes them of its chip's operations:

| kind | ack | end | disable |
| --- | --- | --- | --- |
| level | mask and ack | unmask, unless disabled or in progress | mask |
| edge | ack, and mask what came twice while disabled | | |
| fasteoi | | eoi | mask |
| percpu | ack | eoi | mask |

Linux: include/linux/irq.h of 2.6.16, struct hw_interrupt_type. Every operation takes effect at once and returns the ns that
its register writes take.
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IrqDesc
from asyncirq.irq.state import mask_ack_irq, mask_irq, note, unmask_irq


class HwInterruptType:
    """The operations of "no controller" (``no_irq_type``): nothing to do, but an interrupt is a bad one."""

    typename = "none"
    has_startup = True
    has_set_affinity = False

    def startup(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Start a line up; without this operation the core enables it."""
        return 0

    def shutdown(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Shut a line down."""
        return 0

    def enable(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Let a line interrupt."""
        return 0

    def disable(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Keep a line from interrupting, now or by the next acknowledge."""
        return 0

    def ack(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Take an interrupt: a line without a controller reports a bad one. Linux: ack_bad_irq(). Trace: printk."""
        core = desc.core
        core.err_count += 1
        core.printk(cpu, 3, f"unexpected IRQ trap at vector {desc.irq:02x}")
        if core.ack_bad_irq is not None:
            core.ack_bad_irq(cpu, desc.irq)
        return 0

    def end(self, cpu: Cpu, desc: IrqDesc) -> int:
        """End an interrupt, the last thing that its flow does; the line may have been disabled meanwhile."""
        return 0

    def set_affinity(self, cpu: Cpu, desc: IrqDesc, mask: int) -> int:
        """Send a line to the CPUs of ``mask``: 0 or a negative errno."""
        return -38


class ChipController(HwInterruptType):
    """The operations that every chip has: what its kinds of lines share."""

    def __init__(self, typename: str, has_startup: bool, has_set_affinity: bool) -> None:
        self.typename = typename
        self.has_startup = has_startup
        self.has_set_affinity = has_set_affinity

    def startup(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Start a line up through the chip's own operation."""
        note(cpu, desc, "startup")
        desc.masked = False
        return desc.chip.irq_startup(cpu, desc.data)

    def shutdown(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Shut a line down through the chip's own operation, or mask it."""
        if not desc.chip.has_shutdown:
            return mask_irq(cpu, desc)
        note(cpu, desc, "shutdown")
        desc.masked = True
        return desc.chip.irq_shutdown(cpu, desc.data)

    def enable(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Unmask a line."""
        if not desc.chip.has_enable:
            return unmask_irq(cpu, desc)
        note(cpu, desc, "enable")
        desc.masked = False
        return desc.chip.irq_enable(cpu, desc.data)

    def disable(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Mask a line."""
        if not desc.chip.has_disable:
            return mask_irq(cpu, desc)
        note(cpu, desc, "disable")
        desc.masked = True
        return desc.chip.irq_disable(cpu, desc.data)

    def ack(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Acknowledge through the chip, if it has that operation."""
        if not desc.chip.has_ack:
            return 0
        note(cpu, desc, "ack")
        return desc.chip.irq_ack(cpu, desc.data)

    def end(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Write EOI through the chip, if it has that operation."""
        if not desc.chip.has_eoi:
            return 0
        note(cpu, desc, "eoi")
        return desc.chip.irq_eoi(cpu, desc.data)

    def set_affinity(self, cpu: Cpu, desc: IrqDesc, mask: int) -> int:
        """Let the chip move the line."""
        return min(desc.chip.irq_set_affinity(cpu, desc.data, mask, False), 0)


class LevelController(ChipController):
    """A level that the controller cannot hold back by itself: masked while its handlers run."""

    def ack(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Mask and acknowledge."""
        return mask_ack_irq(cpu, desc)

    def end(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Unmask, unless the line was disabled meanwhile or is handled on another CPU."""
        return 0 if desc.disabled or desc.inprogress else unmask_irq(cpu, desc)


class EdgeController(ChipController):
    """An edge, which would be lost while masked: disabled without a register write, and masked only if it comes twice."""

    def disable(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Do nothing: one edge may come and is remembered."""
        return 0

    def ack(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Mask what is pending and disabled already, and acknowledge."""
        cost = mask_irq(cpu, desc) if desc.pending and desc.disabled else 0
        return cost + super().ack(cpu, desc)

    def end(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Do nothing."""
        return 0


class FasteoiController(ChipController):
    """A level whose controller waits for the EOI before it looks at the line again."""

    def ack(self, cpu: Cpu, desc: IrqDesc) -> int:
        """Do nothing: the EOI comes at the end."""
        return 0
