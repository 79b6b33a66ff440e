"""Share what the boards with gates and vectors have in common."""

from __future__ import annotations

from asyncirq.arch.base import Arch
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
from asyncirq.irq.desc import IrqDesc


class X86(Arch):
    """The kernel's side of an x86 board."""

    def make_entry(self, vector_irq: list[list[IrqDesc | None]]) -> Entry:
        """Return the entry points of this kernel, which look device vectors up in ``vector_irq[cpu][vector]``."""
        if self.config.entry_detail:
            return (Detailed if self.config.bits == 64 else Detailed32)(self.softirq, vector_irq)
        return (Entry if self.config.bits == 64 else Entry32)(self.softirq, vector_irq)

    def setup_gates(self) -> None:
        """Fill the gates: of one table that every CPU loads, or of one for each CPU."""
        for cpu in self.cpus:
            if cpu.id == 0 or self.config.idt_per_cpu:
                self.entry.install(cpu.idt)
            else:
                cpu.idt = self.cpus[0].idt

    def freeze_gates(self) -> None:
        """Make the tables read-only. Linux: the end of idt_setup_apic_and_irq_gates()."""
        for cpu in self.cpus:
            cpu.idt.freeze()

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
