"""Run the kernel on arm64: the vector table, IPIs as SGIs, the generic timer as a per-CPU interrupt.

Linux: arch/arm64/kernel/irq.c, smp.c, drivers/clocksource/arm_arch_timer.c.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Final

from asyncirq.arch.arm64_smp import IPI_CALL_FUNC, IPI_IRQ_WORK, IPI_NAMES, IPI_RESCHEDULE, SmpIpis
from asyncirq.arch.base import Arch
from asyncirq.board.arm64 import Arm64Board
from asyncirq.board.base import BusMsi
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.entry.arm64 import Arm64Entry
from asyncirq.entry.arm64_stacks import Arm64Stacks, arm64_init_irq
from asyncirq.errors import KernelBug, UsageError
from asyncirq.firmware.irqchip import IrqchipTable
from asyncirq.hw.arch_timer import ENABLE, IMASK, ISTATUS
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gic.regs import PPI_LIMIT
from asyncirq.irq import proc
from asyncirq.irq.core import KERN_WARNING
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_NONE, IRQ_TYPE_EDGE_RISING, IRQ_TYPE_LEVEL_HIGH, IRQF_TIMER, IrqReturn
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.ipi import Ipi
from asyncirq.irq.manage import IrqCore
from asyncirq.irq.spread import AffinityDesc, create_affinity_masks
from asyncirq.irqchip.gic_common import GIC_SPI
from asyncirq.irqchip.gic_driver import GicDriver
from asyncirq.irqchip.msi import MsiTarget

VIRTUAL_TIMER: Final = 2
"""Which of the timer's interrupts a kernel at EL1 uses, in the order of the device tree's binding."""


class Arm64(Arch):
    """The kernel's side of an arm64 board, whatever its GIC.

    ``gic`` drives the root controller, ``messages`` is the domain of devices' messages; both are there after ``init_irq``. ``smp`` are the
    IPIs, ``timer_irq`` is the timer's irq on every CPU.
    """

    gic: GicDriver
    messages: IrqDomain
    entry: Arm64Entry

    def __init__(self, board: Arm64Board, irq: IrqCore, softirq: Softirq) -> None:
        super().__init__(irq, softirq)
        irq.first_irq = 1
        self.board = board
        debug = irq.flow_trace is not None
        self.entry = Arm64Entry(softirq, board.pes, pseudo_nmi=self.config.pseudo_nmi, debug=debug)
        self.smp = SmpIpis(irq, self.entry, self._raise_sgi)
        self.ipi = Ipi(
            self.sched,
            self.smp.send,
            reschedule=IPI_RESCHEDULE,
            call_function=IPI_CALL_FUNC,
            call_function_single=IPI_CALL_FUNC,
            irq_work=IPI_IRQ_WORK,
        )
        self.timer_irq = 0
        self._devices = 0
        self._active_low: dict[int, bool] = {}

    def _raise_sgi(self, cpu: Cpu, dest: int, number: int) -> None:
        self.gic.send_sgi(cpu, dest, number)

    @abstractmethod
    def drivers(self) -> IrqchipTable:
        """Return the table of the controllers that this kernel has drivers for."""

    # --- boot

    def setup_gates(self) -> None:
        """Fill the vector table, which every CPU's VBAR points to."""
        self.entry.install(self.cpus[0].idt)
        for cpu in self.cpus[1:]:
            cpu.idt = self.cpus[0].idt

    def init_irq(self) -> None:
        """Make the stacks, the controllers, and with pseudo-NMIs a mask that agrees with the CPU's state. Linux: init_IRQ()."""
        self.stacks = arm64_init_irq(self.cpus, self._boot_step, self._irqchip_init, shadow_call_stacks=True)
        if self.config.pseudo_nmi:
            check_priority_mask(self)

    def _boot_step(self, step: str) -> None:
        self.irq.boot_note(f"init_irq: {step}")

    def _irqchip_init(self, stacks: Arm64Stacks) -> None:
        self._boot_step("irqchip")
        self.drivers().irqchip_init(self.board.devicetree, (), partial(self.irq.printk, None))
        if not self.entry.has_root_handler:
            raise KernelBug("Kernel panic - not syncing: No interrupt controller found.")

    def setup_timer(self, cpu: Cpu) -> None:
        """Request the timer once for all CPUs, and enable it on this one. Linux: arch_timer_register(), arch_timer_starting_cpu()."""
        if not self.timer_irq:
            tree = self.board.devicetree
            node = tree.compatible("arm,armv8-timer")[0]
            self.timer_irq = self.gic.domain.map_specifier(tree.interrupts(node)[VIRTUAL_TIMER])
            self.irq.request_percpu_irq(self.timer_irq, self._timer, "arch_timer", self.board.timers, flags=IRQF_TIMER)
        self.irq.enable_percpu_irq(cpu, self.timer_irq, IRQ_TYPE_LEVEL_HIGH)

    async def _timer(self, cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
        """Mask the timer, which lets go of its wire, and run what is due. Linux: timer_handler()."""
        timer = self.board.timers[cpu.id]
        if not timer.control & ISTATUS:
            return IRQ_NONE
        timer.control = ENABLE | IMASK
        if self.entry.timer is not None:
            await self.entry.timer(cpu)
        return IRQ_HANDLED

    # --- numbers

    def line_irq(self, gsi: int, *, level: bool, active_low: bool = False, irq: int = -1) -> int:
        """Return the irq of an SPI, made at the first call. Raises ``UsageError`` when it is wired otherwise already."""
        kind = IRQ_TYPE_LEVEL_HIGH if level else IRQ_TYPE_EDGE_RISING
        found = self.gic.domain.find_mapping(PPI_LIMIT + gsi)
        if found and (self.irq.desc(found).trigger != kind or self._active_low.get(gsi, False) != active_low):
            raise UsageError(f"gsi {gsi} is wired otherwise already (irq {found})", 22)
        self._active_low[gsi] = active_low
        return found or self.gic.domain.map_specifier((GIC_SPI, gsi, kind), irq)

    def alloc_msi(self, name: str) -> BusMsi:
        """Return a new message of a device, with its irq."""
        msi = BusMsi(name, self.board.send_msi)
        msi.irq = self.map_msi(msi)
        return msi

    def map_msi(self, target: MsiTarget, irq: int = -1) -> int:
        """Return a new irq that is raised by messages of ``target``."""
        return self._map(target, irq, None)

    def map_spread_msis(self, targets: Sequence[MsiTarget], pre: int = 0, post: int = 0) -> list[int]:
        """Return new irqs, one for each target, spread over the CPUs. Linux: pci_alloc_irq_vectors_affinity()."""
        masks = create_affinity_masks(len(targets), len(self.cpus), self.irq.default_affinity, pre, post)
        return [self._map(target, -1, affinity) for target, affinity in zip(targets, masks, strict=True)]

    def _map(self, target: MsiTarget, irq: int, affinity: AffinityDesc | None) -> int:
        self._devices += 1
        return self.messages.create_mapping(self._devices, IRQ_TYPE_EDGE_RISING, arg=target, irq=irq, affinity=affinity)

    # --- from outside the model, and reports

    def kick(self, cpu: Cpu) -> None:
        """Send the rescheduling SGI, as another CPU would."""
        cause = cpu.cause
        cpu.cause = 0
        self._raise_sgi(cpu, cpu.id, IPI_RESCHEDULE)
        cpu.cause = cause

    def proc_interrupts(self) -> str:
        """Return /proc/interrupts: lines with their trigger, and each IPI. Linux: arch/arm64/kernel/smp.c arch_show_interrupts()."""
        descs = [self.irq.desc(self.smp.base + number) for number in range(self.smp.count)]
        rows = [(f"IPI{number}", desc.kstat_irqs, IPI_NAMES[number]) for number, desc in enumerate(descs)]
        return proc.interrupts_with_levels(self.irq, rows, self.irq.err_count)

    def proc_counts(self) -> dict[str, list[int]]:
        """Return the rows that have a label of x86: none."""
        return {}

    def expected_irqs(self) -> int:
        """Return how many irqs the machine expects: as many as it has. Linux: arch_probe_nr_irqs()."""
        return 0


def check_priority_mask(arch: Arm64) -> None:
    """Warn if SErrors are masked on the boot CPU, and mask normal interrupts by priority alone: exceptions are let in.

    Linux: init_IRQ(), local_daif_restore(DAIF_PROCCTX_NOIRQ).
    """
    pe = arch.board.pes[0]
    if "A" in pe.daif():
        arch.irq.printk(None, KERN_WARNING, "SError masked while interrupts are set up")
    cpu = arch.cpus[0]
    cpu.irqs_off = True
    cpu.nmi_blocked = False
    arch.irq.boot_note(f"init_irq: PMR {pe.pmr():#x}, DAIF {pe.daif() or 'clear'}")
