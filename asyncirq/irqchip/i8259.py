"""Drive the pair of 8259A: sixteen interrupts with fixed vectors, masked and ended as soon as they arrive.

Every line takes the level flow, whatever its trigger: mask and EOI first, then the handlers, then unmask.

Linux: arch/x86/kernel/i8259.c.
"""

from __future__ import annotations

from typing import Any, Final

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.i8259 import ICW1, ICW1_ICW4, ICW4_AUTO_EOI
from asyncirq.hw.i8259_pair import CASCADE, ELCR_WRITABLE, LINES, I8259Pair
from asyncirq.irq.chip import IrqChip
from asyncirq.irq.core import EINVAL, NR_LEGACY_IRQS, IrqTable
from asyncirq.irq.desc import IrqData
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.flow import handle_level_irq

KERN_DEBUG: Final = 7
MASTER: Final = 0x20
SLAVE: Final = 0xA0
ELCR: Final = 0x4D0
SPECIFIC_EOI: Final = 0x60
READ_ISR: Final = 0x0B
READ_IRR: Final = 0x0A
ICW4_8086: Final = 0x01
ALL: Final = 0xFFFF


class I8259Ports:
    """The controllers as a whole. ``cached_mask`` holds the masks of both, the second one's in the upper byte.

    Every access of a port takes ``pio_ns``.
    """

    def __init__(self, pair: I8259Pair, first_vector: int, pio_ns: int) -> None:
        self.pair = pair
        self.first_vector = first_vector
        self.cached_mask = ALL
        self.auto_eoi = False
        self.trigger = (0, 0)
        self.ports = 0
        self._pio_ns = pio_ns

    # --- ports

    def outb(self, value: int, port: int) -> None:
        """Write a port."""
        self.ports += 1
        self.pair.write(port, value & 0xFF)

    def inb(self, port: int) -> int:
        """Read a port."""
        self.ports += 1
        return self.pair.read(port)

    def charge(self) -> int:
        """Return the ns of the accesses since the last call."""
        cost, self.ports = self.ports * self._pio_ns, 0
        return cost

    # --- the controller as a whole

    def probe(self) -> bool:
        """Tell whether there is a controller: a mask that is written reads back. Linux: probe_8259A()."""
        self.outb(0xFF, SLAVE + 1)
        probe = ~(1 << CASCADE) & 0xFF
        self.outb(probe, MASTER + 1)
        return self.inb(MASTER + 1) == probe

    def init(self, auto_eoi: bool = False) -> None:
        """Initialise both chips, everything masked meanwhile. Linux: init_8259A()."""
        self.auto_eoi = auto_eoi
        self.outb(0xFF, MASTER + 1)
        for port, first, icw3 in ((MASTER, self.first_vector, 1 << CASCADE), (SLAVE, self.first_vector + 8, CASCADE)):
            self.outb(ICW1 | ICW1_ICW4, port)
            self.outb(first, port + 1)
            self.outb(icw3, port + 1)
            # Linux never lets the second chip end its interrupts by itself.
            self.outb(ICW4_8086 | (ICW4_AUTO_EOI if auto_eoi and port == MASTER else 0), port + 1)
        self.restore_mask()
        self.charge()

    def mask_all(self) -> None:
        """Mask both chips without forgetting which lines are unmasked. Linux: mask_8259A(), i8259A_shutdown()."""
        self.outb(0xFF, MASTER + 1)
        self.outb(0xFF, SLAVE + 1)
        self.charge()

    def restore_mask(self) -> None:
        """Write the masks that are remembered. Linux: unmask_8259A()."""
        self.outb(self.cached_mask, MASTER + 1)
        self.outb(self.cached_mask >> 8, SLAVE + 1)

    def suspend(self) -> None:
        """Save which lines are level-triggered. Linux: i8259A_suspend()."""
        self.trigger = (self.inb(ELCR) & ELCR_WRITABLE[0], self.inb(ELCR + 1) & ELCR_WRITABLE[1])
        self.charge()

    def resume(self) -> None:
        """Initialise anew what lost its state, and restore the triggers. Linux: i8259A_resume()."""
        self.init(self.auto_eoi)
        for number, value in enumerate(self.trigger):
            self.outb(value, ELCR + number)
        self.charge()

    def set_level(self, line: int, level: bool) -> None:
        """Choose edge or level for a line. Raises ``UsageError`` for one that is an edge for good. Linux: elcr_set_level_irq()."""
        port, bit = ELCR + (line >> 3), 1 << (line & 7)
        if level and not ELCR_WRITABLE[line >> 3] & bit:
            raise UsageError(f"line {line} of the 8259 is edge-triggered for good", EINVAL)
        value = self.inb(port)
        self.outb(value | bit if level else value & ~bit, port)
        self.charge()


class I8259Chip(IrqChip, I8259Ports):
    """The chip of legacy lines. ``spurious_lines`` are those that were once found not to be in service."""

    name = "XT-PIC"

    def __init__(self, core: IrqTable, pair: I8259Pair, first_vector: int) -> None:
        super().__init__(pair, first_vector, core.costs.pio_ns)
        self.core = core
        self.spurious_lines = 0

    def is_pending(self, line: int) -> bool:
        """Tell whether a line requests. Linux: i8259A_irq_pending()."""
        return bool(self.inb(SLAVE if line & 8 else MASTER) >> (line & 7) & 1)

    def _is_real(self, line: int) -> bool:
        """Ask the chip whether a line is in service, and leave it reading IRR again. Linux: i8259A_irq_real()."""
        port = SLAVE if line & 8 else MASTER
        self.outb(READ_ISR, port)
        value = self.inb(port)
        self.outb(READ_IRR, port)
        return bool(value >> (line & 7) & 1)

    def _write_mask(self, line: int) -> None:
        if line & 8:
            self.outb(self.cached_mask >> 8, SLAVE + 1)
        else:
            self.outb(self.cached_mask, MASTER + 1)

    def mask_line(self, line: int) -> int:
        """Mask a line; return the cost in ns. Linux: disable_8259A_irq()."""
        self.cached_mask |= 1 << line
        self._write_mask(line)
        return self.charge()

    def irq_mask(self, cpu: Cpu, data: IrqData) -> int:
        """Mask a line."""
        return self.mask_line(data.hwirq)

    def irq_unmask(self, cpu: Cpu, data: IrqData) -> int:
        """Unmask a line. Linux: enable_8259A_irq()."""
        self.cached_mask &= ~(1 << data.hwirq)
        self._write_mask(data.hwirq)
        return self.charge()

    def irq_disable(self, cpu: Cpu, data: IrqData) -> int:
        """Mask at once: the lazy way would take one more interrupt."""
        return self.irq_mask(cpu, data)

    def irq_mask_ack(self, cpu: Cpu, data: IrqData) -> int:
        """Mask a line and end it; one that was masked already is asked whether it is real. Linux: mask_and_ack_8259A().

        A line that is not in service is counted as an error, reported once, and ended like any other: no harm is done by that.
        """
        line = data.hwirq
        if self.auto_eoi:
            return self.irq_mask(cpu, data)
        bit = 1 << line
        if self.cached_mask & bit and not self._is_real(line):
            if not self.spurious_lines & bit:
                self.core.printk(cpu, KERN_DEBUG, f"spurious 8259A interrupt: IRQ{line}.")
                self.spurious_lines |= bit
            self.core.err_count += 1
        self.cached_mask |= bit
        # The mask is read first: a delay for the chip, in Linux's words a dummy read.
        self.inb((SLAVE if line & 8 else MASTER) + 1)
        self._write_mask(line)
        if line & 8:
            self.outb(SPECIFIC_EOI | line & 7, SLAVE)
            self.outb(SPECIFIC_EOI | CASCADE, MASTER)
        else:
            self.outb(SPECIFIC_EOI | line, MASTER)
        return self.charge()


class I8259Domain(IrqDomain):
    """The sixteen legacy interrupts: irq and line are the same number. ``vector_irq`` is the boot CPU's row, which it fills.

    Linux: init_ISA_irqs(), make_8259A_irq(); elsewhere than on x86 drivers/irqchip/irq-i8259.c has such a domain.
    """

    def __init__(self, core: IrqTable, pair: I8259Pair, first_vector: int) -> None:
        super().__init__(core, "i8259", NR_LEGACY_IRQS)
        self.chip = I8259Chip(core, pair, first_vector)

    def alloc(self, data: IrqData, arg: Any) -> None:
        """Wire one line to the level flow; ``arg`` says whether it is level-triggered, None leaves that as it is."""
        data.chip = self.chip
        if arg is not None:
            self.chip.set_level(data.hwirq, bool(arg))
        data.desc.level = bool(arg)
        self.core.set_handler(data.desc, handle_level_irq)

    def map_all(self) -> None:
        """Make the sixteen interrupts that are not there yet."""
        for line in range(LINES):
            self.create_mapping(line, irq=line)
