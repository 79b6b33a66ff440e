"""Define what the kernel asks of the side that knows the interrupt controller."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from asyncirq.arch.smp_ops import SmpOps
from asyncirq.board import Msi
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.entry import Entry
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq import proc
from asyncirq.irq.ipi import Ipi
from asyncirq.irq.manage import IrqCore
from asyncirq.irqchip.msi import MsiTarget


class Arch(ABC):
    """The kernel's side of one board.

    ``entry`` are the entry points, whose hooks (``timer``, ``call_function``, ``irq_work``) the kernel sets; ``ipi`` sends interrupts
    to other CPUs. ``irq_work_interrupts`` tells whether a CPU can interrupt itself for its irq_work; if not the tick runs it.
    ``smp_ops`` lets CPUs go and come. ``idle_since[cpu]`` is kept where the kernel is configured with ``idle_stamp``.
    """

    entry: Entry
    ipi: Ipi
    irq_work_interrupts = True

    def __init__(self, irq: IrqCore, softirq: Softirq) -> None:
        self.irq = irq
        self.softirq = softirq
        self.sched = softirq.sched
        self.config = softirq.config
        self.costs = softirq.costs
        self.cpus = softirq.sched.cpus
        self.smp_ops = SmpOps(self)
        self.idle_since = [0] * len(self.cpus)

    # --- boot, in this order; no time passes

    @abstractmethod
    def setup_gates(self) -> None:
        """Let every CPU find its entry points. Linux: trap_init()."""

    @abstractmethod
    def init_irq(self) -> None:
        """Make the controller ready for requests; interrupts are off. Linux: init_IRQ()."""

    @abstractmethod
    def setup_timer(self, cpu: Cpu) -> None:
        """Make the event timer of a CPU interrupt it when it fires. Linux: time_init(), the secondary CPUs' clock set-up."""

    # --- numbers

    @abstractmethod
    def line_irq(self, gsi: int, *, level: bool, active_low: bool = False, irq: int = -1) -> int:
        """Return the irq of a wire, made at the first call; ``irq`` asks for a number.

        Raises ``UsageError`` when it is wired otherwise already.
        """

    def isa_gsi(self, number: int) -> tuple[int, bool, bool]:
        """Return gsi, trigger and polarity of an ISA interrupt. Raises ``UsageError`` on a machine without."""
        raise UsageError(f"this machine has no ISA interrupt {number}", 19)

    @abstractmethod
    def alloc_msi(self, name: str) -> Msi:
        """Return a new message of a device, with its irq; where there are no messages a wire of its own takes their place."""

    def map_msi(self, target: MsiTarget, irq: int = -1) -> int:
        """Return a new irq that is raised by messages of ``target``. Raises ``UsageError`` where there are no messages."""
        raise UsageError("this machine has no message-signalled interrupts", 19)

    def map_spread_msis(self, targets: Sequence[MsiTarget], pre: int = 0, post: int = 0) -> list[int]:
        """Return new irqs, one for each target: those between the first ``pre`` and last ``post`` spread over the CPUs for good.

        Raises ``UsageError`` where there are no messages. Linux: pci_alloc_irq_vectors_affinity().
        """
        raise UsageError("this machine has no message-signalled interrupts", 19)

    # --- from outside the model, and reports

    @abstractmethod
    def kick(self, cpu: Cpu) -> None:
        """Interrupt a CPU from outside the model, so that it looks at its need_resched."""

    @abstractmethod
    def proc_counts(self) -> dict[str, list[int]]:
        """Return the architecture's rows of /proc/interrupts by label, one count for each CPU. Linux: arch_show_interrupts()."""

    def proc_interrupts(self) -> str:
        """Return /proc/interrupts."""
        return proc.interrupts(self.irq, self.proc_counts(), {"ERR": self.irq.err_count}, self.expected_irqs())

    @abstractmethod
    def expected_irqs(self) -> int:
        """Return how many irqs the machine expects, which decides the width of /proc/interrupts. Linux: arch_probe_nr_irqs()."""
