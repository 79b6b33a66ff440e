"""Count what nests: the layout of preempt_count and the predicates on it.

Linux: include/linux/preempt.h. Bits 0-7 count preemption, 8-15 softirq (0x100 while one is served, 0x200 for each
disabling of bottom halves), 16-19 hardirq, 20-23 NMI. need_resched is a flag of the CPU here, not bit 31.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from asyncirq.errors import UsageError

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


class PreemptLayout(NamedTuple):
    """Where a kernel keeps what it counts: the width of each field from bit 0 on; a flag's bit, -1 where it has none."""

    preempt: int
    softirq: int
    hardirq: int
    nmi: int
    active: int
    need_resched: int

    def word(self, cpu: Counted, *, need_resched: bool = False, active: bool = False) -> int:
        """Return this layout's word for the model's count. Raises ``UsageError`` for what it cannot hold: a depth, a flag."""
        count = cpu.preempt_count
        depths = (count & 0xFF, count >> 8 & 0xFF, count >> 16 & 0xF, count >> 20 & 0xF)
        value = shift = 0
        for name, width, depth in zip(self._fields, self[:4], depths, strict=False):
            if depth >> width:
                raise UsageError(f"a {name} depth of {depth} does not fit into {width} bits")
            value |= depth << shift
            shift += width
        for name, bit, wanted in (("need_resched", self.need_resched, need_resched), ("active", self.active, active)):
            if wanted and bit < 0:
                raise UsageError(f"this layout has no {name} bit")
            if wanted:
                value |= 1 << bit
        return value


LAYOUT_26: Final = PreemptLayout(8, 8, 12, 0, 28, -1)
"""The counter of 2.6: no NMI field."""
LAYOUT_MODERN: Final = PreemptLayout(8, 8, 4, 4, -1, 31)
"""The counter that the model uses; x86 folds need_resched into bit 31."""


class Counted(Protocol):
    """Whatever has a preempt count: a CPU, or a trace record."""

    preempt_count: int


class FoldedWord(NamedTuple):
    """Where a kernel keeps the inverse of need_resched beside the count, so that one compare with zero tells whether to reschedule."""

    bit: int

    def word(self, cpu: Flagged) -> int:
        """Return the word: 0 if and only if the count is 0 and a reschedule is wanted."""
        return cpu.preempt_count | (0 if cpu.need_resched else 1 << self.bit)

    def count(self, word: int) -> int:
        """Return the count in a word, without the flag. Linux: preempt_count()."""
        return word & ~(1 << self.bit)


class Flagged(Protocol):
    """Whatever has a preempt count and wants to be rescheduled: a CPU."""

    preempt_count: int
    need_resched: bool


X86_WORD: Final = FoldedWord(31)
"""One word of each CPU. Linux: arch/x86/include/asm/preempt.h."""
ARM64_WORD: Final = FoldedWord(32)
"""The count in the low, the flag in the high half of a task's word. Linux: arch/arm64/include/asm/preempt.h."""


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
