"""Share what the boards with gates and vectors have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar

from asyncirq.arch.base import Arch
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.entry import (
    CALL_FUNCTION_SINGLE_VECTOR,
    CALL_FUNCTION_VECTOR,
    IRQ_WORK_VECTOR,
    NMI_VECTOR,
    RESCHEDULE_VECTOR,
    SPURIOUS_APIC_VECTOR,
    Entry,
    Entry32,
)
from asyncirq.entry.detailed import Detailed, Detailed32
from asyncirq.entry.idt_setup import IdtSetup
from asyncirq.entry.levels import Levels
from asyncirq.entry.nmi import NmiHandlers
from asyncirq.entry.platform_ops import PlatformOps
from asyncirq.entry.special_traps import SpecialTraps
from asyncirq.errors import InternalError, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.exception import refused
from asyncirq.hw.i8259_pair import CASCADE
from asyncirq.hw.idt import Idt
from asyncirq.hw.port61 import Port61
from asyncirq.hw.segment import Gdt
from asyncirq.irq.desc import IRQ_NONE, IRQF_NO_THREAD, IrqDesc
from asyncirq.irq.manage import IrqCore
from asyncirq.irqchip.i8259 import I8259Domain

T = TypeVar("T")


class IrqCpuStat(NamedTuple):
    """The statistics of one CPU: softirqs pending, when its idle loop last halted (ns), NMIs and local timer interrupts taken."""

    softirq_pending: int
    idle_timestamp: int
    nmi_count: int
    apic_timer_irqs: int


class X86(Arch):
    """The kernel's side of an x86 board. ``nmi`` are its NMI handlers, ``port61`` the port that tells why an NMI came.

    ``platform`` holds the steps of set-up that may be replaced before the boot.
    """

    idt: IdtSetup
    traps: SpecialTraps
    legacy: I8259Domain

    def __init__(self, irq: IrqCore, softirq: Softirq) -> None:
        super().__init__(irq, softirq)
        self.setups: list[IdtSetup] = []
        self.platform = PlatformOps(self._native_pre_vector_init, self.native_init_irq)

    def init_irq(self) -> None:
        """Make the controller ready, as the platform has it: ``native_init_irq`` unless that was replaced."""
        self.platform.intr_init()

    @abstractmethod
    def native_init_irq(self) -> None:
        """Make the controller ready for requests; interrupts are off. Linux: native_init_IRQ()."""

    def _native_pre_vector_init(self) -> None:
        self.init_legacy(self.legacy)

    def make_entry(self, vector_irq: list[list[IrqDesc | None]]) -> Entry:
        """Return the entry points of this kernel, which look device vectors up in ``vector_irq[cpu][vector]``."""
        entry: Entry
        if self.config.nesting == "levels":
            if self.config.irq_flow != "do_irq":
                raise UsageError("kernel: nesting by levels needs handlers that run with interrupts on: irq_flow do_irq", 22)
            entry = Levels(self.softirq, vector_irq)
        elif self.config.entry_detail:
            entry = (Detailed if self.config.bits == 64 else Detailed32)(self.softirq, vector_irq)
        else:
            entry = (Entry if self.config.bits == 64 else Entry32)(self.softirq, vector_irq)
        self.traps = SpecialTraps(entry)
        self.port61 = Port61(self._system_error)
        self.nmi = NmiHandlers(entry, self.port61)
        return entry

    def _system_error(self) -> None:
        """Pass an error of the board on to the boot CPU, whose LINT1 it is wired to."""
        lapic = getattr(self.cpus[0], "lapic", None)
        if lapic is not None:
            lapic.latch_nmi()

    def setup_gates(self) -> None:
        """Fill the gates of exceptions: of one table that every CPU loads, or of one for each CPU.

        Linux: head64.c, setup_arch(), trap_init().
        """
        self.irq.boot_note("x86: trap_init")
        for cpu in self.cpus:
            cpu.refused = refused
            cpu.system.gdt = Gdt(self.config.bits)
            if cpu.id and not self.config.idt_per_cpu:
                cpu.idt = self.cpus[0].idt
                continue
            cpu.idt = Idt(self.config.bits)
            lead = self.entry.lead if isinstance(self.entry, Detailed) else None
            setup = IdtSetup(cpu.idt, self.entry, self.traps.handlers, self.config.idt, self.config.vectors, lead, self.platform)
            self.setups.append(setup)
            setup.trap_gates()

    # --- native_init_IRQ(), step by step

    def init_legacy(self, legacy: I8259Domain) -> None:
        """Initialise the 8259, everything masked. Linux: init_ISA_irqs(), the pre-vector quirk of x86_init."""
        self.irq.boot_note("x86: init_ISA_irqs")
        legacy.chip.init()

    def setup_cascade(self, *, acpi_ioapic: bool, of_ioapic: bool, legacy_irqs: int = 16) -> bool:
        """Keep line 2 of the 8259 for its second chip, where no IO-APIC took its place; return whether."""
        if acpi_ioapic or of_ioapic or not legacy_irqs:
            return False
        self.irq.boot_note("x86: cascade on irq 2")
        at_boot(self.irq.request_irq(None, CASCADE, no_action, IRQF_NO_THREAD, "cascade"))
        return True

    def init_irq_context(self) -> None:
        """Give the boot CPU its interrupt stack. Linux: irq_init_percpu_irqstack(), irq_ctx_init()."""
        self.irq.boot_note("x86: interrupt stack of CPU0")

    def init_gates(self) -> None:
        """Fill the gates of interrupts, and make the tables read-only. Linux: idt_setup_apic_and_irq_gates()."""
        self.irq.boot_note("x86: idt_setup_apic_and_irq_gates")
        for setup in self.setups:
            setup.irq_init(self.entry.local_apic)
        for cpu in self.cpus:
            cpu.idt.freeze()

    def irq_stat(self, cpu: Cpu) -> IrqCpuStat:
        """Return what 2.6 keeps for each CPU. Linux: irq_cpustat_t."""
        timer = self.entry.counts[self.config.vectors.local_timer][cpu.id]
        return IrqCpuStat(self.softirq.pending[cpu.id], self.idle_since[cpu.id], self.entry.counts[NMI_VECTOR][cpu.id], timer)

    def proc_counts(self) -> dict[str, list[int]]:
        """Return the architecture's rows of /proc/interrupts. Linux: arch/x86/kernel/irq.c arch_show_interrupts()."""
        counts = self.entry.counts
        calls = [sum(pair) for pair in zip(counts[CALL_FUNCTION_VECTOR], counts[CALL_FUNCTION_SINGLE_VECTOR], strict=True)]
        return {
            "NMI": counts[NMI_VECTOR],
            "LOC": counts[self.config.vectors.local_timer],
            "SPU": counts[SPURIOUS_APIC_VECTOR],
            "IWI": counts[IRQ_WORK_VECTOR],
            "RES": counts[RESCHEDULE_VECTOR],
            "CAL": calls,
        }


async def no_action(cpu: Cpu, irq: int, dev_id: object) -> int:
    """Do nothing: the handler of a line that only has to stay busy. Linux: kernel/irq/handle.c."""
    return IRQ_NONE


def at_boot(coro: Coroutine[Any, Any, T]) -> T:
    """Run to its end what takes no time at boot, and return its result."""
    try:
        coro.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise InternalError("time passed at boot")
