"""Let a platform or a hypervisor have its own way in a few steps of set-up: a table of operations, each of which may be replaced before
the boot.

Linux: arch/x86/include/asm/x86_init.h (x86_init.irqs), paravirt_types.h (the IDT calls of struct pv_cpu_ops).
"""

from __future__ import annotations

from collections.abc import Callable

from asyncirq.hw.idt import Gate, Idt


class PlatformOps:
    """The operations of one machine; at first each is the native one.

    ``intr_init()`` is the whole of init_IRQ, whose first step is ``pre_vector_init()``; ``trap_init()`` is called at the end of the
    kernel's trap_init, where that has a hook (``two-pass``). ``write_idt_entry(table, vector, gate)`` and ``load_idt(table, base)``
    are how gates and tables take effect.
    """

    def __init__(self, pre_vector_init: Callable[[], None] | None = None, intr_init: Callable[[], None] | None = None) -> None:
        self.trap_init: Callable[[], None] = noop
        self.pre_vector_init: Callable[[], None] = pre_vector_init if pre_vector_init is not None else noop
        self.intr_init: Callable[[], None] = intr_init if intr_init is not None else noop
        self.write_idt_entry: Callable[[Idt, int, Gate], None] = native_write_idt_entry
        self.load_idt: Callable[[Idt, int], None] = native_load_idt


def noop() -> None:
    """Do nothing: the native way of a hook. Linux: x86_init_noop()."""


def native_write_idt_entry(table: Idt, vector: int, gate: Gate) -> None:
    """Write a gate into its table."""
    table.set_gate(vector, gate)


def native_load_idt(table: Idt, base: int) -> None:
    """Load the register with a table's address and limit."""
    table.load(base)
