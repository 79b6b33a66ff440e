"""Run the kernel on APICs: the vector domain, with IO-APIC pins and messages in front of it, and the local timers.

Linux: arch/x86/kernel/apic/, arch/x86/kernel/irqinit.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from asyncirq.arch.smp_ops import ApicSmpOps
from asyncirq.arch.x86 import X86
from asyncirq.board.apic import ApicBoard
from asyncirq.board.base import BusMsi
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.bottom_half.watchdog import Watchdog
from asyncirq.entry import RESCHEDULE_VECTOR
from asyncirq.entry.nmi_watchdog import NmiWatchdog
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.apic_message import EXTINT, INIT, STARTUP, ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.lapic_lvt import LINT0, LINT1, MODE_SHIFT
from asyncirq.hw.msi import send
from asyncirq.irq.ipi import Ipi
from asyncirq.irq.manage import IrqCore
from asyncirq.irq.spread import create_affinity_masks
from asyncirq.irqchip.i8259 import I8259Domain
from asyncirq.irqchip.ioapic import IoApicDomain, PinConfig
from asyncirq.irqchip.lapic import LocalApics
from asyncirq.irqchip.msi import MsiDomain, MsiTarget
from asyncirq.irqchip.vector import VectorDomain, expected_irqs
from asyncirq.sched.idle import Idle

START_PAGE: Final = 0x9A
"""Where a secondary CPU begins in real mode, in pages."""


class ApicArch(X86):
    """The kernel's side of an ``ApicBoard``; its domains are ``vectors``, ``ioapics``, ``msi``, and ``legacy`` for what the 8259 serves."""

    def __init__(self, board: ApicBoard, irq: IrqCore, softirq: Softirq) -> None:
        super().__init__(irq, softirq)
        self.board = board
        self.apics = LocalApics(board.cpus)
        self.ipi = Ipi(self.sched, self.apics.send_ipi)
        self.vectors = VectorDomain(irq, system=False)
        self.legacy = I8259Domain(irq, board.pic, self.config.vectors.first_legacy)
        self.ioapics = [IoApicDomain(irq, self.vectors, ioapic) for ioapic in board.ioapics]
        for domain in self.ioapics:
            domain.chip.legacy = self.legacy.chip
            domain.chip.isa_of = self.board.gsi_to_isa
        self.msi = MsiDomain(irq, self.vectors)
        self.entry = self.make_entry(self.vectors.vector_irq)
        self.entry.unused = self.vectors.handle_unused
        self.entry.move_cleanup = self.vectors.move_cleanup
        irq.ack_bad_irq = self.apics.eoi
        self.nmi_watchdog: NmiWatchdog | None = None
        self.smp_ops = ApicSmpOps(self)
        self._messages = 0

    # --- boot

    def native_init_irq(self) -> None:
        """Initialise the 8259, masked; take what is not the devices' out of the vectors, once their gates are made.

        Linux: native_init_IRQ().
        """
        self.platform.pre_vector_init()
        self.init_gates()
        self.irq.boot_note("x86: lapic_assign_system_vectors")
        self.vectors.assign_system_vectors()
        self.setup_cascade(acpi_ioapic=True, of_ioapic=False)
        self.init_irq_context()
        self.apics.setup(self.cpus[0])
        for cpu in self.cpus[1:]:
            self.wake_secondary(cpu)

    def wake_secondary(self, cpu: Cpu) -> None:
        """Have a CPU begin: INIT, which resets it, then two SIPIs with the page of its first code, of which it takes one.

        The CPU then switches its own local APIC on. Raises ``KernelBug`` for one that does not answer.

        Linux: wakeup_secondary_cpu_via_init(), start_secondary(), setup_local_APIC(). Model: boot takes no time, so neither do
        the delays between them.
        """
        dest = cpu.lapic.regs.id
        bus = self.board.bus
        for asserted in (True, False):
            bus.deliver(ApicMessage(0, INIT, True, dest, False, 0, asserted))
        for _ in range(2):
            bus.deliver(ApicMessage(START_PAGE, STARTUP, False, dest, False, 0))
        if cpu.lapic.startup.take() != (True, START_PAGE):
            raise KernelBug(f"smpboot: do_boot_cpu failed(-1) to wakeup {cpu.name}")
        self.board.enable(cpu.lapic)
        self.apics.setup(cpu)

    def _system_error(self) -> None:
        lvt = self.board.lapics[0].lvt
        lvt.set_pin(LINT1, True)
        lvt.set_pin(LINT1, False)

    def setup_timer(self, cpu: Cpu) -> None:
        """Let the local timer of a CPU interrupt it."""
        self.board.setup_timer(cpu, self.config.vectors.local_timer)

    def start_nmi_watchdog(self, watchdog: Watchdog, idle: Idle) -> None:
        """Start the cycle counter of each CPU. Linux: lockup_detector_init()."""
        self.nmi_watchdog = NmiWatchdog(self.nmi, watchdog, idle)
        for cpu in self.cpus:
            self.nmi_watchdog.start(cpu)

    # --- numbers

    def line_irq(self, gsi: int, *, level: bool, active_low: bool = False, irq: int = -1) -> int:
        """Return the irq of an IO-APIC pin, made at the first call. Raises ``UsageError`` when the pin is wired otherwise already."""
        config = PinConfig(level=level, active_low=active_low)
        domain = self.ioapics[self.board.ioapic_of(gsi).index]
        pin = gsi - domain.ioapic.gsi_base
        found = domain.find_mapping(pin)
        if not found:
            isa = self.board.gsi_to_isa(gsi)
            return domain.create_mapping(pin, arg=config, irq=isa if irq < 0 <= isa < self.config.vectors.legacy else irq)
        if self.irq.desc(found).data.chip_data != config:
            raise UsageError(f"gsi {gsi} is wired otherwise already (irq {found})", 22)
        return found

    def isa_gsi(self, number: int) -> tuple[int, bool, bool]:
        """Return gsi, trigger and polarity of an ISA interrupt. Linux: acpi_isa_irq_to_gsi()."""
        override = self.board.isa_to_gsi(number)
        return override.gsi, override.level, override.active_low

    def make_8259a_irq(self, line: int) -> int:
        """Have a line of the 8259 interrupt the boot CPU through LINT0, past the IO-APIC; return its irq.

        Linux: make_8259A_irq() and the virtual wire mode of check_timer().
        """
        irq = self.legacy.create_mapping(line, irq=line)
        self.vectors.assign_legacy(line, self.irq.desc(irq))
        self.board.lapics[0].regs.put(LINT0, EXTINT << MODE_SHIFT)
        return irq

    def alloc_msi(self, name: str) -> BusMsi:
        """Return a new message of a device, with its irq."""
        msi = BusMsi(name, partial(send, self.board.bus))
        msi.irq = self.map_msi(msi)
        return msi

    def map_msi(self, target: MsiTarget, irq: int = -1) -> int:
        """Return a new irq that is raised by messages of ``target``."""
        self._messages += 1
        return self.msi.create_mapping(self._messages, arg=target, irq=irq)

    def map_spread_msis(self, targets: Sequence[MsiTarget], pre: int = 0, post: int = 0) -> list[int]:
        """Return new irqs, one for each target, spread over the CPUs. Linux: pci_alloc_irq_vectors_affinity()."""
        irqs = []
        for target, affinity in zip(
            targets, create_affinity_masks(len(targets), len(self.cpus), self.irq.default_affinity, pre, post), strict=True
        ):
            self._messages += 1
            irqs.append(self.msi.create_mapping(self._messages, arg=target, affinity=affinity))
        return irqs

    # --- from outside the model, and reports

    def kick(self, cpu: Cpu) -> None:
        """Send a CPU the reschedule vector."""
        self.board.bus.deliver(self.board.fixed_message(cpu, RESCHEDULE_VECTOR))

    def expected_irqs(self) -> int:
        """Return how many irqs the machine expects. Linux: arch_probe_nr_irqs()."""
        return expected_irqs(sum(len(ioapic.pins) for ioapic in self.board.ioapics), len(self.cpus))
