"""Lead every exception of an arm64 CPU from the vector table to its return.

The table has four entries (synchronous, IRQ, FIQ, SError) for each place that an exception comes from; the kernel runs on SP_EL1, so
those from EL1 and from EL0 are used. IRQ and FIQ have one root handler each, which the driver of the interrupt controller sets.

With pseudo-NMIs an IRQ is taken though interrupts are off: ``el1_unmasked`` tells which of the two it is, by the state that was
interrupted.

Linux: arch/arm64/kernel/entry-common.c, irq.c, traps.c. Model: synchronous exceptions are a named cost of their callers.
Trace: irq_flow at the switch of stacks, while the debug switch is on.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from asyncirq.bottom_half.softirq import Softirq
from asyncirq.entry.common import Entry
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gic import pe
from asyncirq.hw.gic.pe import Pe
from asyncirq.hw.idt import Gate, Idt
from asyncirq.sched.preempt import HARDIRQ_MASK, HARDIRQ_OFFSET, NMI_MASK, NMI_OFFSET, SOFTIRQ_MASK

EBUSY: Final = 16
SOFTIRQ_SERVING: Final = SOFTIRQ_MASK & -SOFTIRQ_MASK
SERROR_CORRECTED: Final = 1 << 24
"""Model: the bit of a syndrome that says that the error was corrected."""

RootHandler = Callable[[Cpu], Coroutine[Any, Any, None]]


class Arm64Entry(Entry):
    """The entry points of an arm64 machine.

    ``pes[n]`` are the inputs of CPU n. ``stack_switches[n]`` counts the exceptions that moved to the interrupt stack of CPU n, ``serrors``
    those that were survived.
    """

    def __init__(self, softirq: Softirq, pes: Sequence[Pe], *, pseudo_nmi: bool = False, debug: bool = False) -> None:
        super().__init__(softirq, [])
        self.pes = pes
        self.stack_switches = [0] * len(pes)
        self.serrors = 0
        self._handle_irq: RootHandler = self._default_irq
        self._handle_fiq: RootHandler = self._default_fiq
        self._irq_set = self._fiq_set = False
        self._pseudo_nmi = pseudo_nmi
        self._flow_trace = self.trace if debug else None

    def install(self, idt: Idt) -> None:
        """Fill the vector table."""
        for slot, handler, name in (
            (pe.EL1H_IRQ, self.el1_irq, "el1h_64_irq"),
            (pe.EL1H_FIQ, self.el1_fiq, "el1h_64_fiq"),
            (pe.EL1H_ERROR, self.el1_error, "el1h_64_error"),
            (pe.EL0_IRQ, self.el1_irq, "el0t_64_irq"),
            (pe.EL0_FIQ, self.el1_fiq, "el0t_64_fiq"),
            (pe.EL0_ERROR, self.el1_error, "el0t_64_error"),
            (pe.UNMASKED, self.el1_unmasked, "el1h_64_irq (pseudo-NMI), el1h_64_error"),
        ):
            idt.set_gate(slot, Gate(handler, name))

    # --- root handlers

    @property
    def has_root_handler(self) -> bool:
        """Tell whether a controller's driver has set the root handler of IRQs."""
        return self._irq_set

    def set_handle_irq(self, handler: RootHandler) -> int:
        """Set the root handler of IRQs; the first one stays, another gets -EBUSY. Linux: set_handle_irq()."""
        if self._irq_set:
            return -EBUSY
        self._irq_set = True
        self._handle_irq = handler
        return 0

    def set_handle_fiq(self, handler: RootHandler) -> int:
        """Set the root handler of FIQs; the first one stays, another gets -EBUSY. Linux: set_handle_fiq()."""
        if self._fiq_set:
            return -EBUSY
        self._fiq_set = True
        self._handle_fiq = handler
        return 0

    async def _default_irq(self, cpu: Cpu) -> None:
        raise KernelBug(f"Kernel panic: IRQ taken without a root IRQ handler on {cpu.name} at {cpu.engine.now} ns")

    async def _default_fiq(self, cpu: Cpu) -> None:
        raise KernelBug(f"Kernel panic: FIQ taken without a root FIQ handler on {cpu.name} at {cpu.engine.now} ns")

    # --- exceptions

    async def el1_irq(self, cpu: Cpu, vector: int) -> None:
        """Take an IRQ, from the kernel or from user mode: the root handler on the interrupt stack, then what irq_exit does."""
        if self._pseudo_nmi:
            cpu.nmi_blocked = True
        if self._flow_trace is not None:
            self._note_stack(cpu)
        self.irq_enter(cpu)
        await cpu.spend(self.costs.irq_entry_ns)
        await self._handle_irq(cpu)
        cost = self.costs.irq_exit_ns
        if cost:
            await cpu.spend(cost)
        await self.irq_exit(cpu)

    async def el1_fiq(self, cpu: Cpu, vector: int) -> None:
        """Take a FIQ, as ``el1_irq`` with the other root handler."""
        if self._flow_trace is not None:
            self._note_stack(cpu)
        self.irq_enter(cpu)
        await cpu.spend(self.costs.irq_entry_ns)
        await self._handle_fiq(cpu)
        if self.costs.irq_exit_ns:
            await cpu.spend(self.costs.irq_exit_ns)
        await self.irq_exit(cpu)

    async def el1_unmasked(self, cpu: Cpu, vector: int) -> None:
        """Take what interrupts-off does not hold back: an SError; a pseudo-NMI, inside nmi_enter where interrupts were off.

        Linux: el1_interrupt(), __el1_pnmi().
        """
        if self.pes[cpu.id].taken == pe.SERROR:
            await self.el1_error(cpu, vector)
            return
        if not cpu.pushed_irqs_off:
            await self.el1_irq(cpu, vector)
            return
        self._nmi_enter(cpu)
        await cpu.spend(self.costs.irq_entry_ns)
        await self._handle_irq(cpu)
        if self.costs.irq_exit_ns:
            await cpu.spend(self.costs.irq_exit_ns)
        cpu.preempt_count -= NMI_OFFSET + HARDIRQ_OFFSET

    async def el1_error(self, cpu: Cpu, vector: int) -> None:
        """Take an SError: one that was corrected is counted, any other is the end. Linux: do_serror(), arm64_is_fatal_ras_serror()."""
        self._nmi_enter(cpu)
        await cpu.spend(self.costs.irq_entry_ns)
        syndrome = self.pes[cpu.id].syndrome
        if not syndrome & SERROR_CORRECTED:
            raise KernelBug(f"SError Interrupt on {cpu.name} at {cpu.engine.now} ns, code {syndrome:#018x} -- SError")
        self.serrors += 1
        cpu.preempt_count -= NMI_OFFSET + HARDIRQ_OFFSET

    def _nmi_enter(self, cpu: Cpu) -> None:
        if cpu.preempt_count & HARDIRQ_MASK >= self._depth:
            self._too_deep(cpu)
        cpu.preempt_count += NMI_OFFSET + HARDIRQ_OFFSET

    def _note_stack(self, cpu: Cpu) -> None:
        """Count the switch to the interrupt stack: from a thread's own alone. Linux: do_interrupt_handler(), on_thread_stack()."""
        if not cpu.preempt_count & (HARDIRQ_MASK | NMI_MASK | SOFTIRQ_SERVING):
            self.stack_switches[cpu.id] += 1
            assert self._flow_trace is not None
            self._flow_trace.irq_flow(cpu, 0, "do_interrupt_handler", "call_on_irq_stack")
