"""Lead from a gate into C code and back, step by step, as kernels since 5.8 do on 64 bits.

| in | out |
| --- | --- |
| the CPU pushes its frame, on the stack that the gate asks for | IRET pops it |
| CLAC, CLD; -1 or the vector where the CPU pushed no error code | |
| ``error_entry``: the other registers; from user mode SWAPGS and the kernel's page tables | from user mode: the frame to the entry stack, the user's page tables, SWAPGS |
| from user mode ``sync_regs``: all of it moves to the top of the task's stack | |
| ``irqentry_enter``: context tracking or RCU are told | ``irqentry_exit``: work for user mode, or RCU, or preemption |
| a device's: flush request, interrupt stack | back to the stack before |

Linux: arch/x86/entry/entry_64.S, arch/x86/include/asm/idtentry.h, kernel/entry/common.c.
Trace: entry_step for each step.
"""  # noqa: E501  # a row of a table is one line

from __future__ import annotations

from typing import Final, Literal

import msgspec

from asyncirq.entry.irq_stack import IrqStack
from asyncirq.entry.nmi_entry import NmiEntry
from asyncirq.entry.path import USER_STACK, Entered, Path, frame_image
from asyncirq.entry.stacks import Stacks
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu, Thread
from asyncirq.hw.gate import ist_field
from asyncirq.hw.idt import Gate
from asyncirq.hw.pt_regs import NO_SYSCALL, HardwareFrame, PtRegs
from asyncirq.hw.stack import WORD, Stack
from asyncirq.hw.system_regs import Raised
from asyncirq.hw.tss import IST_INDEX_DB
from asyncirq.sched.task import Task

Kind = Literal["irq", "simple", "exception", "paranoid", "nmi"]
"""``irq``: on the interrupt stack; ``simple``: system vectors that only reschedule; ``paranoid``: exceptions with an IST stack."""
LDT_BIT: Final = 4
ESPFIX_STACK_WORDS: Final = 8
ESPFIX_ALIASES: Final = 1 << 16
ESPFIX_BASE: Final = 0xFFFF_FF00_0000_0000


class IdtEntry:
    """The entry and exit code of one machine. ``xenpv``: the hypervisor has switched stacks and GS already."""

    def __init__(self, path: Path, irq_stack: IrqStack) -> None:
        self.path = path
        self.stacks: Stacks = path.stacks
        self.irq_stack = irq_stack
        self.xenpv = False
        self.nmi = NmiEntry(self)

    # --- what the CPU does

    def push_exception(self, thread: Thread, gate: Gate, frame: HardwareFrame, from_user: bool) -> Raised | None:
        """Push the frame of an exception, whose delivery has made it; what is at the gate finds it pushed."""
        cpu = thread.cpu
        if not frame.sp:
            frame = msgspec.structs.replace(frame, sp=USER_STACK if from_user else self.stacks.current(cpu).sp)
        self.path.cpus[cpu.id].pushed = self.push(cpu, gate, from_user, frame)
        return None

    def push(self, cpu: Cpu, gate: Gate, from_user: bool, hw: HardwareFrame | None = None) -> Entered:
        """Choose the stack and push the frame, as the CPU does. Trace: entry_step."""
        stacks = self.stacks
        mine = stacks.cpus[cpu.id]
        thread = cpu.current
        if hw is None:
            hw = self.path.frame(cpu, from_user)
        left, current = mine.current, stacks.current(cpu)
        left_sp = current.sp
        own = stacks.of(thread)
        if mine.tss.sp0 is None or not stacks.policy.trampoline:
            mine.tss.sp0 = own
        stack = mine.tss.select(gate.ist if stacks.policy.ist else 0, from_user, current)
        if stacks.bits == 64:
            stack.align()
        image = frame_image(hw, stacks.bits, from_user)
        stack.push_bytes(image)
        mine.current = None if stack is own else stack
        entered = Entered(stack, left, left_sp, hw, image, from_user)
        self.path.mark(cpu, "push_frame")
        return entered

    def pop(self, thread: Thread, entered: Entered) -> None:
        """Pop the frame, as IRET does: back on the stack that was left. Raises ``KernelBug`` when the frame is not what was pushed."""
        cpu = thread.cpu
        stack = entered.stack
        if stack.read(entered.address, len(entered.image)) != entered.image:
            found = stack.peek(entered.address + (0 if entered.hw.error_code is None else stack.word))
            raise KernelBug(
                f"the frame at {entered.address:x} on the {stack.name} stack of {cpu.name} was overwritten while it was in use: IRET would "
                f"go to {found:x} instead of {entered.hw.ip:x}, at {cpu.engine.now} ns"
            )
        mine = self.stacks.cpus[cpu.id]
        mine.current = entered.left
        (entered.left or self.stacks.of(thread)).sp = entered.left_sp

    # --- assembly

    async def enter(self, gate: Gate, kind: Kind, cpu: Cpu, vector: int) -> None:
        """Lead one event through: in, its handler, out."""
        if kind == "nmi":
            await self.nmi.enter(gate, cpu, vector)
            return
        thread = cpu.current
        pushed = self.path.cpus[cpu.id].pushed
        entered = pushed if pushed is not None else self.push(cpu, gate, thread.regs_user)
        state = self.path.cpus[cpu.id]
        state.pushed = None
        outer_instrumentable, state.instrumentable = state.instrumentable, False
        if entered.from_user:
            # A hypervisor that has switched stacks has exchanged these as well.
            state.gs_user = state.user_cr3 = not self.xenpv
        if kind == "paranoid" and not entered.from_user:
            await self._paranoid(gate, cpu, thread, entered, vector)
        else:
            await self._ordinary(gate, kind, cpu, entered, vector)
        self.path.cpus[thread.cpu.id].instrumentable = outer_instrumentable

    async def _ordinary(self, gate: Gate, kind: Kind, cpu: Cpu, entered: Entered, vector: int) -> None:
        """Lead an event through that comes where GS is what CS says."""
        thread = cpu.current
        await self._stub(cpu, entered, vector if kind in ("irq", "simple") else None)
        await self._error_entry(cpu, thread, entered)
        self.path.need_kernel_gs(cpu, gate.name)
        await self.irqentry_enter(cpu, entered)
        outer = self.path.cpus[cpu.id].irq_regs
        if kind in ("irq", "simple"):
            self._hand_over(thread, entered)
            self.path.cpus[cpu.id].irq_regs = entered.regs
            self.path.cpus[cpu.id].flush_l1d = True
            await self.path.step(cpu, "l1d_flush_request")
        if kind == "irq":
            await self.irq_stack.enter(cpu, entered.from_user)
        await gate.handler(cpu, vector)
        cpu = thread.cpu
        self.path.cpus[cpu.id].irq_regs = outer
        if not cpu.irqs_off:
            raise KernelBug(f"WARNING: interrupts are on at the exit of {gate.name} on {cpu.name} at {cpu.engine.now} ns")
        await self.irqentry_exit(cpu, entered)
        await self._error_return(thread, entered)

    async def _stub(self, cpu: Cpu, entered: Entered, vector: int | None) -> None:
        """Make all frames alike: a device's vector, or -1, where the CPU pushed no error code. The C side sets it to -1."""
        await self.path.step(cpu, "clac")
        await self.path.step(cpu, "cld")
        if entered.hw.error_code is None:
            code = -1 if vector is None else vector - 256 if vector > 127 else vector
            entered.regs.orig_ax = code
            entered.stack.push(code)
            await self.path.step(cpu, "push_code")

    def _hand_over(self, thread: Thread, entered: Entered) -> None:
        """Take the vector out of its slot, which holds -1 from now on: nothing to restart."""
        own = self.stacks.of(thread)
        moved = entered.from_user and not self.xenpv
        stack, address = (own, own.top - 48) if moved else (entered.stack, entered.address - WORD)
        stack.poke(address, NO_SYSCALL)
        entered.regs.orig_ax = NO_SYSCALL

    async def _error_entry(self, cpu: Cpu, thread: Thread, entered: Entered) -> None:
        """Save the other registers; from user mode get GS, page tables and stack of the kernel."""
        regs = entered.regs
        stack = entered.stack
        stack.push_bytes(regs.encode()[:120])
        await self.path.step(cpu, "error_entry")
        if entered.from_user and not self.xenpv:
            await self.path.swapgs(cpu)
            await self.path.switch_cr3(cpu, False)
            if stack is not self.stacks.of(thread):
                await self._sync_regs(cpu, thread, entered)

    async def _sync_regs(self, cpu: Cpu, thread: Thread, entered: Entered) -> None:
        """Move the registers to the top of the task's stack, and go on there."""
        own = self.stacks.of(thread)
        own.reset()
        own.push_bytes(entered.regs.encode())
        self.stacks.cpus[cpu.id].current = None
        await self.path.step(cpu, "sync_regs")

    async def _error_return(self, thread: Thread, entered: Entered) -> None:
        """Restore the registers and return: by the entry stack to user mode, straight to the kernel."""
        cpu = thread.cpu
        if entered.from_user and not self.xenpv:
            await self.to_user(cpu, thread, entered)
        else:
            await self.path.step(cpu, "pop_regs")
        self.path.mark(cpu, "iret")
        self._unwind_to(thread, entered)

    def _unwind_to(self, thread: Thread, entered: Entered) -> None:
        cpu = thread.cpu
        if not entered.from_user or self.xenpv:
            self.pop(thread, entered)
            self.path.cpus[cpu.id].gs_user = self.path.cpus[cpu.id].user_cr3 = entered.from_user
            return
        self.stacks.cpus[cpu.id].current = None
        self.stacks.of(thread).sp = entered.left_sp

    async def to_user(self, cpu: Cpu, thread: Thread, entered: Entered) -> None:
        """Leave through the entry stack: the user's page tables do not map the task's one."""
        await self.path.step(cpu, "pop_regs")
        mine = self.stacks.cpus[cpu.id]
        if mine.entry is not None:
            mine.entry.reset()
            mine.entry.push_bytes(entered.hw.encode()[-40:])
            mine.entry.push(entered.regs.di)
            mine.current = mine.entry
            await self.path.step(cpu, "trampoline_stack")
            await self.path.step(cpu, "stackleak_erase")
        await self.path.switch_cr3(cpu, True)
        await self.path.swapgs(cpu)
        if entered.regs.ss & LDT_BIT:
            await self._espfix(cpu, entered)

    async def _espfix(self, cpu: Cpu, entered: Entered) -> None:
        """Return to a stack segment of the LDT: IRET would leave the upper half of RSP, so it runs from an alias that hides it.

        The frame is written through the one writable mapping of a tiny stack, and popped through that of 65,536 read-only ones whose
        address has the user's bits 31 to 16.
        """
        base = ESPFIX_BASE + (cpu.id << 32)
        alias = Stack("ESPFIX", base | entered.regs.sp & 0xFFFF_0000, 8 * ESPFIX_STACK_WORDS)
        alias.push_bytes(entered.hw.encode()[-40:])
        alias.read_only = True
        self.stacks.cpus[cpu.id].current = alias
        await self.path.step(cpu, "espfix64")

    async def _paranoid(self, gate: Gate, cpu: Cpu, thread: Thread, entered: Entered, vector: int) -> None:
        """Lead an event through that may come anywhere in the kernel, entry code included: CS is not asked."""
        await self.path.step(cpu, "clac")
        if entered.hw.error_code is None:
            entered.stack.push(-1)
        entered.stack.push_bytes(entered.regs.encode()[:120])
        entered.was_user_gs = await self.path.paranoid_entry(cpu)
        self.path.need_kernel_gs(cpu, gate.name)
        self.shift(cpu, gate, 1)
        self.path.instrumentation(cpu, True)
        await gate.handler(cpu, vector)
        self.path.instrumentation(cpu, False)
        self.shift(cpu, gate, -1)
        await self.path.paranoid_exit(cpu, entered.was_user_gs)
        self.path.mark(cpu, "iret")
        self.pop(thread, entered)

    def shift(self, cpu: Cpu, gate: Gate, sign: int) -> None:
        """Move the IST pointer of #DB down (1) while it is handled and back (-1), where the kernel does that."""
        if self.stacks.policy.db_shift and gate.ist == ist_field(IST_INDEX_DB):
            self.stacks.cpus[cpu.id].tss.shift(IST_INDEX_DB, sign * self.stacks.sizes.exception)

    # --- the generic entry code

    async def irqentry_enter(self, cpu: Cpu, entered: Entered) -> None:
        """Tell whoever has to know that the kernel runs: context tracking from user mode, RCU from idle, else only the tick."""
        path = self.path
        state = path.cpus[cpu.id]
        path.flags.hardirqs_off(cpu)
        if entered.from_user:
            path.user_exit(cpu)
            await path.step(cpu, "enter_from_user_mode")
        elif isinstance(cpu.current, Task) and cpu.current.is_idle and not state.watching:
            state.watching = entered.exit_rcu = True
            await path.step(cpu, "ct_irq_enter")
        else:
            await path.step(cpu, "rcu_irq_enter_check_tick")
        path.instrumentation(cpu, True)
        await path.step(cpu, "trace_hardirqs_off_finish")

    async def irqentry_exit(self, cpu: Cpu, entered: Entered) -> None:
        """Do what is due before the interrupted context goes on, by where that was.

        To user mode: all work. To the kernel with interrupts on: RCU off again if the entry turned it on, and no more; else
        preemption. To the kernel with interrupts off: RCU off at most.
        """
        path = self.path
        state = path.cpus[cpu.id]
        if entered.from_user:
            await self._exit_to_user_mode(cpu)
        elif entered.hw.flags & 0x200:
            if entered.exit_rcu:
                state.watching = False
                await path.step(cpu, "ct_irq_exit")
            else:
                await self._cond_resched(cpu)
                cpu = cpu.current.cpu
            path.flags.hardirqs_on(cpu)
        elif entered.exit_rcu:
            state.watching = False
            await path.step(cpu, "ct_irq_exit")
        path.instrumentation(cpu.current.cpu, False)

    async def _cond_resched(self, cpu: Cpu) -> None:
        sched = self.path.sched
        if not sched.preemptible_kernel:
            return
        await self.path.step(cpu, "irqentry_exit_cond_resched")
        if cpu.need_resched and not cpu.preempt_count & sched.count_mask:
            if not self.stacks.on_thread_stack(cpu):
                raise KernelBug(f"WARNING: preemption on the {self.stacks.current(cpu).name} stack of {cpu.name} at {cpu.engine.now} ns")
            await sched.preempt_schedule_irq(cpu)

    async def _exit_to_user_mode(self, cpu: Cpu) -> None:
        path = self.path
        task = cpu.current
        assert isinstance(task, Task)
        await path.step(cpu, "exit_to_user_mode_prepare")
        assert path.sched.user_work is not None
        await path.sched.user_work(task)
        cpu = task.cpu
        path.flags.hardirqs_on(cpu)
        await path.step(cpu, "trace_hardirqs_on_prepare")
        path.instrumentation(cpu, False)
        path.user_enter(cpu)
        await path.step(cpu, "user_enter_irqoff")
        await path.step(cpu, "arch_exit_to_user_mode")
        await path.step(cpu, "lockdep_hardirqs_on")


def get_irq_regs(path: Path, cpu: Cpu) -> PtRegs | None:
    """Return the registers that the innermost interrupt on a CPU saved, None when there is none."""
    return path.cpus[cpu.id].irq_regs


def top_regs(stacks: Stacks, thread: Thread) -> PtRegs:
    """Read the registers at the top of a task's stack: those of its entry from user mode."""
    stack = stacks.of(thread)
    size = stacks.regs_size
    return PtRegs.decode(stack.read(stack.top - size, size), 64 if stacks.bits == 64 else 32)
