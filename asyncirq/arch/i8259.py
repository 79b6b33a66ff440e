"""Run the kernel on the pair of 8259A alone: one CPU, sixteen lines with fixed vectors, the PIT as its clock event.

Linux: arch/x86/kernel/irqinit.c, i8259.c, i8253.c, time.c, with no APIC to be found.
"""

from __future__ import annotations

from typing import Final

from asyncirq.arch.x86 import X86, at_boot
from asyncirq.board.i8259 import PIRQ_LINES, TIMER_LINE, I8259Board, WiredMsi
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.errors import InternalError, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.core import EINVAL, ENOSPC, NR_LEGACY_IRQS
from asyncirq.irq.desc import IRQ_HANDLED, IRQF_IRQPOLL, IRQF_NOBALANCING, IRQF_TIMER, IrqDesc
from asyncirq.irq.ipi import Ipi
from asyncirq.irq.manage import IrqCore
from asyncirq.irqchip.i8259 import I8259Domain

MESSAGE_LINES: Final = (12, 14, 15, 3, 4, 6, 7, 8, 13, 1)
"""The lines that devices get in place of messages, in this order."""


class I8259Arch(X86):
    """The kernel's side of an ``I8259Board``; ``legacy`` is the domain of its sixteen lines."""

    irq_work_interrupts = False

    def __init__(self, board: I8259Board, irq: IrqCore, softirq: Softirq) -> None:
        super().__init__(irq, softirq)
        self.board = board
        self.ipi = Ipi(self.sched, _no_ipi)
        self.legacy = I8259Domain(irq, board.pic, self.config.vectors.first_legacy)
        vector_irq: list[list[IrqDesc | None]] = [[None] * 256]
        self.entry = self.make_entry(vector_irq)
        self.entry.local_apic = False
        irq.default_host = self.legacy
        self._triggers: dict[int, bool] = {}
        self._wired: dict[int, tuple[bool, bool]] = {}

    # --- boot

    def native_init_irq(self) -> None:
        """Initialise the chips, give the sixteen lines their vectors, and keep the line that joins the chips busy."""
        first = self.config.vectors.first_legacy
        self.platform.pre_vector_init()
        self.legacy.map_all()
        row = self.entry.vector_irq[0]
        for line in range(NR_LEGACY_IRQS):
            row[first + line] = self.irq.desc(line)
        self.init_gates()
        self.setup_cascade(acpi_ioapic=False, of_ioapic=False)
        self.init_irq_context()

    def setup_timer(self, cpu: Cpu) -> None:
        """Request the PIT's line for the clock event. Linux: hpet_time_init(), setup_default_timer_irq()."""
        flags = IRQF_NOBALANCING | IRQF_IRQPOLL | IRQF_TIMER
        at_boot(self.irq.request_irq(None, TIMER_LINE, self._timer_interrupt, flags, "timer"))

    async def _timer_interrupt(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        """Call the clock event's handler. Linux: arch/x86/kernel/time.c timer_interrupt()."""
        if self.entry.timer is not None:
            await self.entry.timer(cpu)
        return IRQ_HANDLED

    # --- numbers

    def line_irq(self, gsi: int, *, level: bool, active_low: bool = False, irq: int = -1) -> int:
        """Return the irq of a wire: the line it ends at, whose trigger is set at the first call.

        Raises ``UsageError`` for a line that is wired otherwise already, has that trigger for good, or cannot have that number.
        """
        line = self.board.pic_line(gsi)
        if irq not in (-1, line):
            raise UsageError(f"gsi {gsi} is line {line} of the 8259 and cannot be irq {irq}", EINVAL)
        if self._wired.setdefault(gsi, (level, active_low)) != (level, active_low) or self._triggers.setdefault(line, level) != level:
            raise UsageError(f"gsi {gsi} is wired otherwise already (irq {line})", EINVAL)
        self.legacy.chip.set_level(line, level)
        self.irq.desc(line).level = level
        return line

    def isa_gsi(self, number: int) -> tuple[int, bool, bool]:
        """Return the line of that number: an active-high edge."""
        if not 0 <= number < NR_LEGACY_IRQS:
            raise UsageError(f"there are ISA interrupts 0 to {NR_LEGACY_IRQS - 1}, not {number}", EINVAL)
        return number, False, False

    def alloc_msi(self, name: str) -> WiredMsi:
        """Return an edge of a free line. Raises ``UsageError`` when there is none left. Linux: pci_alloc_irq_vectors(), PCI_IRQ_INTX."""
        for line in MESSAGE_LINES:
            if line not in self._triggers and line not in self.board.lines:
                return WiredMsi(name, self.board.line(line), self.line_irq(line, level=False))
        raise UsageError(f"{name}: no line of the 8259 is free for it; PCI wires share {sorted(set(PIRQ_LINES))}", ENOSPC)

    # --- from outside the model, and reports

    def kick(self, cpu: Cpu) -> None:
        """Have the PIT interrupt at once: the kernel programs it anew after every interrupt of it."""
        self.board.program_timer(cpu, self.board.engine.now)

    def expected_irqs(self) -> int:
        """Return how many irqs the machine expects: the legacy ones."""
        return NR_LEGACY_IRQS


def _no_ipi(cpu: Cpu, dest: int, vector: int) -> None:
    raise InternalError(f"{cpu.name} sends vector {vector:#x} to CPU{dest} without an APIC")
