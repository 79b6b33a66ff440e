"""Bracket every interrupt and exception: what is counted at the entry, and what is done at the exit.

The reschedule is the last statement of an exit: the task may wake up on another CPU, so nothing may follow it.

Linux: kernel/softirq.c irq_enter(), irq_exit(); kernel/entry/common.c irqentry_exit().
"""

from __future__ import annotations

from asyncirq.bottom_half.softirq import Softirq
from asyncirq.entry.exit_work import ExitWork
from asyncirq.entry.signal import SignalDelivery
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import HARDIRQ_MASK, HARDIRQ_OFFSET, NMI_MASK
from asyncirq.sched.task import Task


class Brackets:
    """The entry and the exit of interrupts on one machine; ``counts[vector][cpu]`` counts system vectors."""

    def __init__(self, softirq: Softirq) -> None:
        self.softirq = softirq
        self.sched = softirq.sched
        self.costs = softirq.costs
        self.trace = softirq.trace
        self.counts: dict[int, list[int]] = {}
        self._depth = self.sched.config.hardirq_depth * HARDIRQ_OFFSET
        self._mask = self.sched.count_mask
        if self.sched.lazy:
            self.irq_exit = self._irq_exit_lazily  # type: ignore[method-assign]  # at set-up: others pay nothing
        self.exit_work = ExitWork(self.sched)
        self.signals = SignalDelivery(self.exit_work)

    def irq_enter(self, cpu: Cpu) -> None:
        """Count one more hard interrupt. Raises ``KernelBug`` past the depth that priority classes allow."""
        count = cpu.preempt_count
        if count & HARDIRQ_MASK >= self._depth:
            self._too_deep(cpu)
        cpu.preempt_count = count + HARDIRQ_OFFSET

    def _too_deep(self, cpu: Cpu) -> None:
        raise KernelBug(f"hard interrupts nest deeper than {self._depth // HARDIRQ_OFFSET} on {cpu.name} at {cpu.engine.now} ns")

    async def irq_exit(self, cpu: Cpu) -> None:
        """End one hard interrupt: softirqs at the outermost one, then the reschedule, which must stay the last statement."""
        count = cpu.preempt_count - HARDIRQ_OFFSET
        cpu.preempt_count = count
        softirq = self.softirq
        index = cpu.id
        if (softirq.pending[index] or softirq.pending_timers[index]) and not count & (HARDIRQ_MASK | NMI_MASK):
            await softirq.irq_exit(cpu)
        if cpu.need_resched:
            await self._reschedule(cpu)

    async def _irq_exit_lazily(self, cpu: Cpu) -> None:
        """End one hard interrupt on a kernel whose fair tasks preempt lazily: on the way back to user mode at once."""
        if cpu.current.regs_user and cpu.preempt_count & HARDIRQ_MASK == HARDIRQ_OFFSET:
            cpu.preempt_count -= HARDIRQ_OFFSET
            if self.softirq.pending[cpu.id] or self.softirq.pending_timers[cpu.id]:
                await self.softirq.irq_exit(cpu)
            self.sched.promote_lazy(cpu)
            if cpu.need_resched:
                await self._reschedule(cpu)
        else:
            await Brackets.irq_exit(self, cpu)

    async def irqentry_exit(self, cpu: Cpu, irqs_off: bool) -> None:
        """Leave an exception, which counted no hard interrupt; never reschedule where interrupts were off. Linux: irqentry_exit()."""
        if self.sched.lazy and cpu.current.regs_user:
            self.sched.promote_lazy(cpu)
        if cpu.need_resched and not irqs_off:
            await self._reschedule(cpu)

    async def _reschedule(self, cpu: Cpu) -> None:
        """Reschedule on the way back to user mode, and on a preemptible kernel to a preemptible place. Linux: irqentry_exit()."""
        if cpu.current.regs_user:
            await self._exit_to_user(cpu)
        elif self.sched.preemptible_kernel and not cpu.preempt_count & self._mask:
            await self.sched.preempt_schedule_irq(cpu)

    async def _exit_to_user(self, cpu: Cpu) -> None:
        task = cpu.current
        assert isinstance(task, Task)
        await self.exit_work.prepare(task)

    async def enter_system(self, cpu: Cpu, vector: int) -> None:
        """Begin a system vector: count it, write EOI."""
        self.counts[vector][cpu.id] += 1
        self.irq_enter(cpu)
        cpu.lapic.eoi(cpu)
        await cpu.spend(self.costs.sysvec_entry_ns)

    async def leave_system(self, cpu: Cpu) -> None:
        """End a system vector: softirqs and the reschedule, the last statement."""
        if self.costs.sysvec_exit_ns:
            await cpu.spend(self.costs.sysvec_exit_ns)
        await self.irq_exit(cpu)
