"""Lead an NMI in and out so that a second one inside it does no harm, though both begin at the same place of the same stack.

The CPU lets no NMI in until the next IRET, but a breakpoint or a page fault inside the handler returns by one. From the top of
the NMI stack down:

| words | what | written by |
| --- | --- | --- |
| 5 | the original frame: SS, RSP, RFLAGS, CS, RIP | the CPU, at each NMI, nested ones too |
| 1 | scratch (RDX) | each NMI |
| 1 | "NMI executing" | the first NMI |
| 5 | the copied frame, by which the first NMI returns | the first NMI, and a nested one, which makes it lead to ``repeat_nmi`` |
| 5 | the saved frame, which nobody changes | the first NMI |
| 16 | registers | the first NMI |

An NMI is nested when the variable is set, or when it interrupted code on this stack with the direction flag set, as between the
clearing of the variable and the IRET; a user's stack pointer may lie there too, just after a system call, but not with that flag.
A nested one only redirects the return and is gone. The return to ``repeat_nmi`` restores the copied frame from the saved one and
runs the handler once more. One that finds that in progress has nothing left to do: the run to come is its own.

From user mode nothing of this is needed: the handler runs on the task's stack.

Linux: arch/x86/entry/entry_64.S asm_exc_nmi. Trace: entry_step for each step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.entry.path import Entered
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu, Thread
from asyncirq.hw.idt import Gate
from asyncirq.hw.pt_regs import KERNEL_CS, KERNEL_DS, X86_FLAGS_DF, X86_FLAGS_FIXED, HardwareFrame
from asyncirq.hw.stack import Stack

if TYPE_CHECKING:
    from asyncirq.entry.idtentry import IdtEntry

REPEAT_NMI: Final = 0xFFFF_FFFF_8100_1C00
END_REPEAT_NMI: Final = 0xFFFF_FFFF_8100_1C40
"""The addresses of the fix-up: from where the copied frame is restored to where it is whole again."""
FRAME: Final = 40
RDX: Final = 48
EXECUTING: Final = 56
COPIED: Final = 96
SAVED: Final = 136
REGS: Final = 264
"""How far below the top of the NMI stack each part begins; a frame's lowest word is its RIP."""


class NmiLayout:
    """Read the parts of an NMI stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def frame(self, below: int) -> HardwareFrame:
        """Return the frame that begins so far below the top."""
        return HardwareFrame.decode(self.stack.read(self.stack.top - below, FRAME))

    @property
    def frames(self) -> tuple[HardwareFrame, HardwareFrame, HardwareFrame]:
        """Return the original, the copied and the saved frame."""
        return self.frame(FRAME), self.frame(COPIED), self.frame(SAVED)

    @property
    def executing(self) -> int:
        """Return the variable "NMI executing"."""
        return self.stack.peek(self.stack.top - EXECUTING)

    def copy(self, source: int, target: int) -> None:
        """Copy a frame."""
        self.stack.write(self.stack.top - target, self.stack.read(self.stack.top - source, FRAME))


class NmiEntry:
    """The entry and exit code of NMIs. ``nested``, ``ignored`` and ``repeats`` count what became of those that were not the first."""

    def __init__(self, code: IdtEntry) -> None:
        self.code = code
        self.path = code.path
        self.stacks = code.stacks
        cpus = len(code.path.cpus)
        self.nested = [0] * cpus
        self.ignored = [0] * cpus
        self.repeats = [0] * cpus

    async def enter(self, gate: Gate, cpu: Cpu, vector: int) -> None:
        """Lead one NMI through."""
        thread = cpu.current
        path = self.path
        entered = self.code.push(cpu, gate, thread.regs_user)
        # What the interrupted code was at is in the frame now.
        state = path.cpus[cpu.id]
        outer = (state.ip, state.direction, state.instrumentable)
        state.ip, state.direction, state.instrumentable = -1, False, False
        await path.step(cpu, "nmi")
        if entered.from_user:
            await self._from_user(gate, cpu, thread, entered, vector)
        elif entered.stack is not self.stacks.nmi(cpu) or not self.stacks.policy.nmi_safe:
            await self._plain(gate, cpu, thread, entered, vector)
        else:
            entered.stack.push(entered.regs.dx)
            where = self._where(entered)
            if where == "first":
                await self._first(gate, cpu, thread, entered, vector)
            else:
                await self._nested(cpu, thread, entered, where)
        state.ip, state.direction, state.instrumentable = outer

    async def _handler(self, gate: Gate, cpu: Cpu, vector: int) -> None:
        self.path.instrumentation(cpu, True)
        await gate.handler(cpu, vector)
        self.path.instrumentation(cpu, False)

    def _where(self, entered: Entered) -> str:
        """Tell the first NMI from a nested one, and from one that comes during the fix-up."""
        stack, hw = entered.stack, entered.hw
        if REPEAT_NMI <= hw.ip < END_REPEAT_NMI:
            return "repeating"
        if NmiLayout(stack).executing == 1:
            return "nested"
        on_stack = stack.base <= hw.sp <= stack.top
        return "nested" if on_stack and hw.flags & X86_FLAGS_DF else "first"

    async def _nested(self, cpu: Cpu, thread: Thread, entered: Entered, where: str) -> None:
        stack = entered.stack
        if where == "nested":
            self.nested[cpu.id] += 1
            stack.move(stack.top - EXECUTING)
            top = stack.top
            flags = X86_FLAGS_FIXED
            stack.push_bytes(HardwareFrame(REPEAT_NMI, KERNEL_CS, flags, top - SAVED, KERNEL_DS).encode())
            stack.move(top - RDX)
            await self.path.step(cpu, "nested_nmi")
        else:
            self.ignored[cpu.id] += 1
            await self.path.step(cpu, "nested_nmi_out")
        self.path.mark(cpu, "iret")
        self.code.pop(thread, entered)

    async def _first(self, gate: Gate, cpu: Cpu, thread: Thread, entered: Entered, vector: int) -> None:
        path = self.path
        state = path.cpus[cpu.id]
        stack = entered.stack
        layout = NmiLayout(stack)
        top = stack.top
        stack.push(0)
        stack.move(top - SAVED)
        layout.copy(FRAME, SAVED)
        await path.step(cpu, "first_nmi")
        while True:
            state.ip = REPEAT_NMI
            stack.poke(top - EXECUTING, 1)
            await path.step(cpu, "repeat_nmi")
            layout.copy(SAVED, COPIED)
            await path.step(cpu, "nmi_frame_copied")
            state.ip = -1
            stack.push(-1)
            stack.push_bytes(entered.regs.encode()[:120])
            was_user = await path.paranoid_entry(cpu)
            path.need_kernel_gs(cpu, gate.name)
            await self._handler(gate, cpu, vector)
            await path.paranoid_exit(cpu, was_user)
            stack.sp = top - COPIED
            state.direction = True
            stack.poke(top - EXECUTING, 0)
            await path.step(cpu, "nmi_restore")
            state.direction = False
            target = layout.frame(COPIED)
            path.mark(cpu, "iret")
            if target.ip != REPEAT_NMI:
                break
            self.repeats[cpu.id] += 1
            stack.sp = target.sp
            cpu.iret(True)
        if target != entered.hw:
            raise KernelBug(
                f"the copied frame on the NMI stack of {cpu.name} leads to {target.ip:x}, not to {entered.hw.ip:x}, at {cpu.engine.now} ns"
            )
        mine = self.stacks.cpus[cpu.id]
        mine.current = entered.left
        (entered.left or self.stacks.of(thread)).sp = entered.left_sp

    async def _plain(self, gate: Gate, cpu: Cpu, thread: Thread, entered: Entered, vector: int) -> None:
        """Trust that nothing nests: the frame stays where the CPU wrote it. Raises ``KernelBug`` at the IRET when it did not."""
        entered.stack.push(-1)
        entered.stack.push_bytes(entered.regs.encode()[:120] if self.stacks.bits == 64 else entered.regs.encode(32)[:44])
        was_user = await self.path.paranoid_entry(cpu)
        await self._handler(gate, cpu, vector)
        await self.path.paranoid_exit(cpu, was_user)
        self.path.mark(cpu, "iret")
        self.code.pop(thread, entered)

    async def _from_user(self, gate: Gate, cpu: Cpu, thread: Thread, entered: Entered, vector: int) -> None:
        """Go on on the task's stack, which is empty: nothing that comes later can reach this frame. No work on the way back."""
        path = self.path
        state = path.cpus[cpu.id]
        wide = self.stacks.bits == 64
        if wide:
            state.gs_user = state.user_cr3 = True
            await path.swapgs(cpu)
            await path.switch_cr3(cpu, False)
        own = self.stacks.of(thread)
        own.reset()
        own.push_bytes(entered.regs.encode(64 if wide else 32))
        self.stacks.cpus[cpu.id].current = None
        await path.step(cpu, "nmi_task_stack")
        await self._handler(gate, cpu, vector)
        if wide:
            await self.code.to_user(cpu, thread, entered)
        path.mark(cpu, "iret")
        self.stacks.cpus[cpu.id].current = None
        own.sp = entered.left_sp
