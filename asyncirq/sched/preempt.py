"""Count what nests: the layout of preempt_count and the predicates on it.

Linux: include/linux/preempt.h. Bits 0-7 count preemption, 8-15 softirq (0x100 while one is served, 0x200 for each
disabling of bottom halves), 16-19 hardirq, 20-23 NMI. need_resched is a flag of the CPU here, not bit 31.
"""

from __future__ import annotations

from typing import Final, Protocol

PREEMPT_OFFSET: Final = 0x1
SOFTIRQ_OFFSET: Final = 0x100
SOFTIRQ_DISABLE_OFFSET: Final = 0x200
HARDIRQ_OFFSET: Final = 0x10000
NMI_OFFSET: Final = 0x100000
PREEMPT_MASK: Final = 0xFF
SOFTIRQ_MASK: Final = 0xFF00
HARDIRQ_MASK: Final = 0xF0000
NMI_MASK: Final = 0xF00000
INTERRUPT_MASK: Final = SOFTIRQ_MASK | HARDIRQ_MASK | NMI_MASK


class Counted(Protocol):
    """Whatever has a preempt count: a CPU, or a trace record."""

    preempt_count: int


def in_nmi(cpu: Counted) -> bool:
    """Tell whether an NMI handler runs."""
    return cpu.preempt_count & NMI_MASK != 0


def in_hardirq(cpu: Counted) -> bool:
    """Tell whether a hard interrupt handler runs."""
    return cpu.preempt_count & HARDIRQ_MASK != 0


def in_softirq(cpu: Counted) -> bool:
    """Tell whether a softirq runs or bottom halves are disabled."""
    return cpu.preempt_count & SOFTIRQ_MASK != 0


def in_serving_softirq(cpu: Counted) -> bool:
    """Tell whether a softirq runs."""
    return cpu.preempt_count & SOFTIRQ_OFFSET != 0


def in_interrupt(cpu: Counted) -> bool:
    """Tell whether an NMI or hard interrupt handler or a softirq runs, or bottom halves are disabled."""
    return cpu.preempt_count & INTERRUPT_MASK != 0


def in_task(cpu: Counted) -> bool:
    """Tell whether neither an NMI nor a hard interrupt handler nor a softirq runs."""
    return cpu.preempt_count & (NMI_MASK | HARDIRQ_MASK | SOFTIRQ_OFFSET) == 0


def interrupt_context_level(cpu: Counted) -> int:
    """Return 0 in a task, 1 in a softirq, 2 in a hard interrupt, 3 in an NMI."""
    count = cpu.preempt_count
    return (count & NMI_MASK != 0) + (count & (NMI_MASK | HARDIRQ_MASK) != 0) + (count & (NMI_MASK | HARDIRQ_MASK | SOFTIRQ_OFFSET) != 0)
