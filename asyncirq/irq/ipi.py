"""Call functions on other CPUs, and ask them to reschedule: interrupts from CPU to CPU.

A call is queued on its target; only the first one of an empty queue sends an interrupt. ``send(cpu, dest, vector)`` is
the hardware's part.

Linux: kernel/smp.c, kernel/irq_work.c. Trace: csd_queue_cpu, ipi_send_cpu, ipi_send_cpumask, csd_function_entry/exit.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.spurious import function_name
from asyncirq.sched.core import Sched
from asyncirq.sim.word import Flag

SmpCall = Callable[[Cpu], Coroutine[Any, Any, None]]
"""A function that another CPU runs, in hard interrupt context with interrupts off: ``await function(cpu)``."""


class CallSingleData:
    """One queued call; ``done`` is set once the target has run it."""

    __slots__ = ("cause", "done", "function", "name")

    def __init__(self, function: SmpCall, name: str, cause: int) -> None:
        self.function = function
        self.name = name
        self.cause = cause
        self.done = Flag(f"call of {function_name(function)}")


class Ipi:
    """The inter-processor calls of one machine. The vectors are those of x86 unless told otherwise."""

    def __init__(
        self,
        sched: Sched,
        send: Callable[[Cpu, int, int], None],
        *,
        reschedule: int = 0xFD,
        call_function: int = 0xFC,
        call_function_single: int = 0xFB,
        irq_work: int = 0xF6,
    ) -> None:
        self.sched = sched
        self.send = send
        self.reschedule = reschedule
        self.call_function = call_function
        self.call_function_single = call_function_single
        self.irq_work = irq_work
        self._trace = sched.trace
        self._queues: list[list[CallSingleData]] = [[] for _ in sched.cpus]
        self._calls = 0

    # --- sending; the caller has charged the time of the register write

    def send_reschedule(self, cpu: Cpu, dest: int) -> None:
        """Make another CPU look at its need_resched: what ``Sched.send_reschedule`` is set to."""
        self._send_one(cpu, dest, self.reschedule, "scheduler_ipi")

    def send_wakeup(self, cpu: Cpu, dest: int) -> None:
        """Make another CPU enqueue the tasks on its wake list: what ``Sched.send_wakeup`` is set to."""
        self._send_one(cpu, dest, self.call_function_single, "sched_ttwu_pending")

    def irq_work_raise(self, cpu: Cpu) -> None:
        """Interrupt this very CPU to run its irq_work."""
        self.send(cpu, cpu.id, self.irq_work)

    def _send_one(self, cpu: Cpu, dest: int, vector: int, callback: str) -> None:
        cause = cpu.cause
        if self._trace is not None:
            cpu.cause = self._trace.ipi_send_cpu(cpu, dest, "smp_send", callback)
        self.send(cpu, dest, vector)
        cpu.cause = cause

    # --- calls

    async def smp_call_function_single(self, cpu: Cpu, dest: int, function: SmpCall, wait: bool) -> None:
        """Run a function on one CPU, this one included; with ``wait`` return when it has.

        Raises ``KernelBug`` with interrupts off: two CPUs that call each other would wait for ever.
        """
        await self.smp_call_function_many(cpu, 1 << dest, function, wait)

    async def smp_call_function_many(self, cpu: Cpu, mask: int, function: SmpCall, wait: bool) -> None:
        """Run a function on every online CPU of ``mask``, this one included and last; with ``wait`` return when all have."""
        others = mask & self.sched.online & ~(1 << cpu.id)
        if others and cpu.irqs_off:
            raise KernelBug(f"smp_call_function with interrupts off on {cpu.name} at {cpu.engine.now} ns")
        cpu.preempt_count += 1
        queued = []
        targets = 0
        for dest in range(len(self._queues)):
            if others >> dest & 1:
                csd, first = self._queue(cpu, dest, function)
                queued.append(csd)
                if first:
                    targets |= 1 << dest
        await self._interrupt(cpu, targets, function)
        if mask >> cpu.id & 1:
            was_off = cpu.irq_disable()
            await function(cpu)
            await cpu.irq_restore(was_off)
        if wait:
            for csd in queued:
                await cpu.stall(csd.done)
        cpu.preempt_count -= 1

    async def smp_call_function_single_async(self, cpu: Cpu, dest: int, function: SmpCall) -> None:
        """Run a function on another CPU without waiting; also with interrupts off."""
        _, first = self._queue(cpu, dest, function)
        await self._interrupt(cpu, 1 << dest if first else 0, function)

    def _queue(self, cpu: Cpu, dest: int, function: SmpCall) -> tuple[CallSingleData, bool]:
        self._calls += 1
        csd = CallSingleData(function, f"csd{self._calls}", cpu.cause)
        if self._trace is not None:
            csd.cause = self._trace.csd_queue_cpu(cpu, dest, "smp_call_function", function_name(function), csd.name)
        queue = self._queues[dest]
        queue.append(csd)
        return csd, len(queue) == 1

    async def _interrupt(self, cpu: Cpu, targets: int, function: SmpCall) -> None:
        if not targets:
            return
        cost = self.sched.costs.ipi_send_ns
        if cost:
            await cpu.spend(cost)
        if targets & (targets - 1) == 0:
            self._send_one(cpu, targets.bit_length() - 1, self.call_function_single, "generic_smp_call_function_single_interrupt")
            return
        cause = cpu.cause
        if self._trace is not None:
            cpu.cause = self._trace.ipi_send_cpumask(cpu, f"{targets:x}", "smp_call_function_many", function_name(function))
        for dest in range(len(self._queues)):
            if targets >> dest & 1:
                self.send(cpu, dest, self.call_function)
        cpu.cause = cause

    async def flush_queue(self, cpu: Cpu) -> None:
        """Run what other CPUs queued here, in order: the body of both call-function interrupts.

        Linux: __flush_smp_call_function_queue().
        """
        queue, self._queues[cpu.id] = self._queues[cpu.id], []
        trace = self._trace
        cause = cpu.cause
        for csd in queue:
            if trace is not None:
                cpu.cause = csd.cause
                cpu.cause = trace.csd_function_entry(cpu, function_name(csd.function), csd.name)
            await csd.function(cpu)
            if trace is not None:
                trace.csd_function_exit(cpu, function_name(csd.function), csd.name)
            cpu.cause = cause
            csd.done.set()
