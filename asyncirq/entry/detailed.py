"""Show the entry code of a machine in every detail: the spine with its gates led through stacks, frames, GS and brackets.

``Machine(detail=True)`` has it. Nothing of it is on the way of an ordinary machine's interrupts: the gates are exchanged when they
are filled, and what differs is overridden here. The traces are the same, with ``entry_step`` records in between; the times too,
unless ``entry_step_ns`` is given.

What a handler needs of its stack is told by ``stacks.call`` and ``ret``; the entry's own C functions need what ``FRAMES`` says.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import Final

import msgspec

from asyncirq.bottom_half.softirq import Softirq
from asyncirq.bottom_half.softirq_stack import run_on
from asyncirq.entry.common import NMI_VECTOR, RESCHEDULE_VECTOR, Entry, Entry32
from asyncirq.entry.do_irq_entry import DoIrqEntry
from asyncirq.entry.idtentry import IdtEntry, Kind
from asyncirq.entry.irq_stack import IrqStack
from asyncirq.entry.path import Path
from asyncirq.entry.stacks import Call, Stacks, call, ret
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gate import ist_field
from asyncirq.hw.idt import Gate, Idt
from asyncirq.hw.tss import IST_INDEX_NMI
from asyncirq.irq.desc import IrqDesc
from asyncirq.sched.idle import Idle
from asyncirq.sched.preempt import HARDIRQ_MASK, HARDIRQ_OFFSET, NMI_MASK
from asyncirq.sched.rq import RunQueue
from asyncirq.sched.task import Task

FIRST_EXTERNAL: Final = 32
FRAMES: Final = MappingProxyType({"common_interrupt": 80, "handle_softirqs": 112})
"""Bytes of stack that the entry's C functions need, with what they call up to the handler, in round figures."""


class Detailed(Entry):
    """The entry points of a machine that shows its entry code. The parts: ``stacks``, ``path``, ``irq_stack``, ``code``."""

    def __init__(self, softirq: Softirq, vector_irq: list[list[IrqDesc | None]]) -> None:
        super().__init__(softirq, vector_irq)
        # A kernel that preempts lazily has exchanged it for its own, which this class's one covers.
        self.__dict__.pop("irq_exit", None)
        config = softirq.config
        self.stacks = Stacks(self.sched.cpus, config.stacks, config.bits)
        self.path = Path(softirq, self.stacks)
        self.irq_stack = IrqStack(self.path)
        self.code = (IdtEntry if config.entry_code == "idtentry" else DoIrqEntry)(self.path, self.irq_stack)
        self._old = config.entry_code == "do_irq"
        self._woken = [False] * len(self.sched.cpus)
        self._simple = [False] * len(self.sched.cpus)
        self._calls: list[list[Call]] = [[] for _ in self.sched.cpus]
        self.path.nmi_ns = self.nmi_ns
        run_on(softirq, self.irq_stack)
        self.exit_work.note = self.path.mark
        for cpu in self.sched.cpus:
            cpu.system.push = self.code.push_exception
        self._take_next = self.sched._take_next
        if config.stacks.end_check:
            self.sched._take_next = self._schedule_debug  # type: ignore[method-assign]  # at set-up: others pay nothing

    def install(self, idt: Idt) -> None:
        """Fill the gates, and lead each of them through the entry code."""
        super().install(idt)
        for vector, gate in enumerate(idt.gates):
            if gate is not None:
                idt.gates[vector] = self.lead(vector, gate)

    def lead(self, vector: int, gate: Gate) -> Gate:
        """Return a gate that leads through the entry code to another one's handler."""
        if vector == NMI_VECTOR and self.stacks.bits == 64:
            gate = msgspec.structs.replace(gate, ist=ist_field(IST_INDEX_NMI))
        return msgspec.structs.replace(gate, handler=partial(self.code.enter, gate, self._kind(vector, gate)))

    def _schedule_debug(self, rq: RunQueue, task: Task, preempt: bool) -> Task:
        """Look at the end of the stack of whoever gives up the CPU, then pick the next. Linux: schedule_debug()."""
        self.stacks.check_end(rq.cpu)
        return self._take_next(rq, task, preempt)

    def _kind(self, vector: int, gate: Gate) -> Kind:
        if vector == NMI_VECTOR:
            return "nmi"
        if vector >= FIRST_EXTERNAL and gate.dpl == 0:
            return "simple" if vector == RESCHEDULE_VECTOR else "irq"
        return "paranoid" if gate.ist else "exception"

    def watch_idle(self, idle: Idle) -> None:
        """Have RCU not watch the CPUs whose idle task halts, as context tracking does. Trace: entry_step."""
        outer_enter, outer_leave = idle.enter, idle.leave

        def enter(cpu: Cpu) -> None:
            if outer_enter is not None:
                outer_enter(cpu)
            self.path.cpus[cpu.id].watching = False

        def leave(cpu: Cpu) -> None:
            self.path.cpus[cpu.id].watching = True
            if outer_leave is not None:
                outer_leave(cpu)

        idle.enter, idle.leave = enter, leave

    # --- the brackets

    def irq_enter(self, cpu: Cpu) -> None:
        """Count one more hard interrupt, and the stack that its C code needs.

        Raises ``KernelBug`` where RCU does not watch the CPU: the entry code should have woken it, its handlers may read under it.
        """
        super().irq_enter(cpu)
        state = self.path.cpus[cpu.id]
        if not state.watching and self._old:
            # Before 5.8 irq_enter() itself woke it.
            state.watching = self._woken[cpu.id] = True
            self.path.mark(cpu, "rcu_irq_enter")
        if not state.watching:
            raise KernelBug(f"WARNING: suspicious RCU usage: IRQ failed to wake up RCU, on {cpu.name} at {cpu.engine.now} ns")
        self.path.mark(cpu, "irq_enter")
        if self._old:
            self.path.mark(cpu, "rcu_lockdep_check")
        if self._simple[cpu.id]:
            self._simple[cpu.id] = False
            return
        if self.stacks.bits == 32:
            self.irq_stack.call_on_stack(cpu)
        self._calls[cpu.id].append(call(self.stacks, cpu, "common_interrupt", FRAMES["common_interrupt"]))

    async def irq_exit(self, cpu: Cpu) -> None:
        """End one hard interrupt: softirqs at the outermost one, then back to the stack before. The rest is done at the way out."""
        index = cpu.id
        ret(self.stacks, cpu, self._calls[index].pop())
        if self.stacks.bits == 32:
            self.irq_stack.return_from_stack(cpu)
        self.path.mark(cpu, "irq_exit")
        count = cpu.preempt_count - HARDIRQ_OFFSET
        cpu.preempt_count = count
        softirq = self.softirq
        if (softirq.pending[index] or softirq.pending_timers[index]) and not count & (HARDIRQ_MASK | NMI_MASK):
            outer, self.irq_stack.exiting[index] = self.irq_stack.exiting[index], True
            await softirq.irq_exit(cpu)
            self.irq_stack.exiting[index] = outer
        if self.sched.lazy and cpu.current.regs_user and not count & HARDIRQ_MASK:
            self.sched.promote_lazy(cpu)
        self._rcu_irq_exit(cpu)
        if not self._old:
            await self.irq_stack.leave(cpu)

    def _rcu_irq_exit(self, cpu: Cpu) -> None:
        if self._woken[cpu.id] and not cpu.preempt_count & HARDIRQ_MASK:
            self._woken[cpu.id] = self.path.cpus[cpu.id].watching = False
            self.path.mark(cpu, "rcu_irq_exit")

    async def sysvec_reschedule_ipi(self, cpu: Cpu, vector: int) -> None:
        """Do nothing but return, on whatever stack it comes."""
        self._simple[cpu.id] = True
        await super().sysvec_reschedule_ipi(cpu, vector)
        self._rcu_irq_exit(cpu)

    async def _reschedule(self, cpu: Cpu) -> None:
        """Leave it to the way out, which is entry code."""


class Detailed32(Detailed, Entry32):
    """The entry points of a 32-bit machine that shows its entry code."""
