"""Make an arm64 machine's interrupt stacks before anything can interrupt it.

Linux: arch/arm64/kernel/irq.c init_IRQ(). Trace: none, there is no CPU to record for yet. Model: made, but not accounted for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from asyncirq.hw.cpu import Cpu
from asyncirq.hw.stack import Stack

IRQ_STACK_SIZE: Final = 16384
SCS_SIZE: Final = 1024
VMALLOC: Final = 0xFFFF_8000_8000_0000
STRIDE: Final = 0x8000


class Arm64Stacks(NamedTuple):
    """A CPU's stack for interrupts, and its shadow stack, which holds return addresses alone; one of each for every CPU."""

    irq: list[Stack]
    shadow: list[Stack]


def arm64_init_irq(
    cpus: Sequence[Cpu], note: Callable[[str], None], irqchip_init: Callable[[Arm64Stacks], None], *, shadow_call_stacks: bool = False
) -> Arm64Stacks:
    """Make the stacks, then have ``irqchip_init(stacks)`` bring up the interrupt controllers; ``note(step)`` hears of each step."""
    made = Arm64Stacks([], [])
    note("irq stacks")
    made.irq.extend(Stack("IRQ", VMALLOC + cpu.id * STRIDE, IRQ_STACK_SIZE) for cpu in cpus)
    if shadow_call_stacks:
        note("shadow call stacks")
        base = VMALLOC + len(cpus) * STRIDE
        made.shadow.extend(Stack("SCS", base + cpu.id * STRIDE, SCS_SIZE) for cpu in cpus)
    irqchip_init(made)
    return made
