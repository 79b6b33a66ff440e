"""Lead from a gate into C code and back as kernels before 5.8 did, on 64 bits and on 32.

| 64 bits | 32 bits (2.6) |
| --- | --- |
| the stub pushes the vector, inverted | the stub pushes the number, minus 256 |
| registers; from user mode SWAPGS | SAVE_ALL |
| interrupts are marked off; from user mode context tracking is told | |
| the count of nested ones rises; at 0 the stack is changed; interrupts are marked off once more | |
| ``do_IRQ`` with the stack pointer as argument: registers exchanged, ``irq_enter``, descriptor, flow, ``irq_exit``, registers back | the same |
| ``ret_from_intr``: to user mode its work, to the kernel preemption, asked again until it is not wanted | the same |
| interrupts are marked on, SWAPGS, registers, IRET | registers, IRET |

An exception's entry has three options: whether the CPU pushed an error code, whether GS may be anybody's (``paranoid``), and
whether its IST pointer moves while it runs (``shift_ist``), which needs the second: nothing else returns on the same stack.

Linux: arch/x86/entry/entry_64.S of 4.x, arch/i386/kernel/entry.S and irq.c of 2.6. Trace: entry_step for each step.
"""  # noqa: E501  # a row of a table is one line

from __future__ import annotations

from typing import Final

import msgspec

from asyncirq.entry.idtentry import IdtEntry, Kind
from asyncirq.entry.path import Entered
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu, Thread
from asyncirq.hw.idt import Gate
from asyncirq.hw.pt_regs import X86_FLAGS_IF
from asyncirq.sched.task import Task

KERN_WARNING: Final = 4


class IdtentryOptions(msgspec.Struct, frozen=True):
    """The options of one exception's entry, as the macro of that time took them. Raises ``UsageError`` for a shift without paranoid."""

    name: str
    has_error_code: bool = False
    paranoid: int = 0
    shift_ist: int = -1

    def __post_init__(self) -> None:
        if self.shift_ist != -1 and not self.paranoid:
            raise UsageError(f"idtentry {self.name}: using shift_ist requires paranoid=1")


DEBUG_STACK: Final = 2
OPTIONS: Final = (
    IdtentryOptions("divide_error"),
    IdtentryOptions("debug", paranoid=1, shift_ist=DEBUG_STACK),
    IdtentryOptions("int3", paranoid=1, shift_ist=DEBUG_STACK),
    IdtentryOptions("double_fault", has_error_code=True, paranoid=2),
    IdtentryOptions("general_protection", has_error_code=True),
    IdtentryOptions("page_fault", has_error_code=True),
    IdtentryOptions("machine_check", paranoid=1),
)
"""Entries of 4.x by which the options are told apart."""


class DoIrqEntry(IdtEntry):
    """The entry and exit code of kernels before 5.8."""

    async def enter(self, gate: Gate, kind: Kind, cpu: Cpu, vector: int) -> None:
        """Lead one event through: in, its handler, out."""
        if kind not in ("irq", "simple"):
            await super().enter(gate, kind, cpu, vector)
            return
        thread = cpu.current
        entered = self.push(cpu, gate, thread.regs_user)
        state = self.path.cpus[cpu.id]
        if entered.from_user:
            state.gs_user = self.stacks.bits == 64
        low = self.stacks.low_on_stack(cpu, entered.left_sp)
        await self._save(cpu, entered, vector)
        if low is not None and cpu.trace is not None:
            cpu.trace.printk(cpu, KERN_WARNING, low)
        outer, state.irq_regs = state.irq_regs, entered.regs
        await self.path.step(cpu, "set_irq_regs")
        await gate.handler(cpu, vector)
        cpu = thread.cpu
        self.path.cpus[cpu.id].irq_regs = outer
        await self.path.step(cpu, "restore_irq_regs")
        if self.stacks.bits == 64:
            await self.irq_stack.leave(cpu)
        if not cpu.irqs_off:
            raise KernelBug(f"WARNING: interrupts are on at the exit of {gate.name} on {cpu.name} at {cpu.engine.now} ns")
        await self._ret_from_intr(thread, entered)

    async def _save(self, cpu: Cpu, entered: Entered, vector: int) -> None:
        path = self.path
        wide = self.stacks.bits == 64
        regs = entered.regs
        regs.orig_ax = ~vector if wide else vector - 256
        entered.stack.push(regs.orig_ax)
        await path.step(cpu, "push_vector")
        size = 120 if wide else 44
        entered.stack.push_bytes(regs.encode(64 if wide else 32)[:size])
        await path.step(cpu, "save_regs" if wide else "SAVE_ALL")
        if wide:
            if entered.from_user:
                await path.swapgs(cpu)
            path.flags.hardirqs_off(cpu)
            await path.step(cpu, "trace_hardirqs_off")
            if entered.from_user:
                path.user_exit(cpu)
                await path.step(cpu, "enter_from_user_mode")
            path.need_kernel_gs(cpu, "do_IRQ")
            await self.irq_stack.enter(cpu, entered.from_user)
            path.flags.hardirqs_off(cpu)
            await path.step(cpu, "trace_hardirqs_off")
        await path.step(cpu, "do_IRQ")

    async def _ret_from_intr(self, thread: Thread, entered: Entered) -> None:
        path = self.path
        cpu = thread.cpu
        wide = self.stacks.bits == 64
        await path.step(cpu, "ret_from_intr")
        if entered.from_user:
            await path.step(cpu, "prepare_exit_to_usermode" if wide else "resume_userspace")
            task = cpu.current
            assert isinstance(task, Task)
            assert path.sched.user_work is not None
            await path.sched.user_work(task)
        else:
            if not wide:
                await path.step(cpu, "resume_kernel")
            await self._preempt(thread, entered)
        cpu = thread.cpu
        path.flags.hardirqs_on(cpu)
        if wide:
            await path.step(cpu, "trace_hardirqs_iretq")
            if entered.from_user:
                path.user_enter(cpu)
                await path.swapgs(cpu)
        await path.step(cpu, "pop_regs" if wide else "restore_all")
        path.mark(cpu, "iret")
        self.pop(thread, entered)

    async def _preempt(self, thread: Thread, entered: Entered) -> None:
        """Preempt the kernel where IF was set, and look again, until nobody asks for the CPU."""
        sched = self.path.sched
        if not sched.preemptible_kernel or not entered.hw.flags & X86_FLAGS_IF:
            return
        while thread.cpu.need_resched and not thread.cpu.preempt_count & sched.count_mask:
            await self.path.step(thread.cpu, "preempt_schedule_irq")
            await sched.preempt_schedule_irq(thread.cpu)
