"""Hold what entry code works on: the state of each CPU on its way in and out, and the single steps.

A step is a record, perhaps a tracer's call, and ``entry_step_ns`` of CPU time in which an NMI may come: between any two steps.

``gs_user``: the GS base is the user's, so nothing of the CPU's own data can be reached. Exactly one SWAPGS on the way in from user
mode makes it the kernel's, one on the way back the user's. What comes in between, from a place whose CS says kernel, has to
look at the base itself: that is what a paranoid entry does.

Linux: arch/x86/entry/entry_64.S, arch/x86/entry/calling.h, kernel/entry/common.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn

from asyncirq.bottom_half.softirq import Softirq
from asyncirq.entry.irqflags import IrqFlagsTracer
from asyncirq.entry.stacks import TEXT, Stacks
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu, Thread
from asyncirq.hw.pt_regs import (
    KERNEL32_CS,
    KERNEL32_DS,
    KERNEL_CS,
    KERNEL_DS,
    USER_CS,
    USER_CS_32BIT,
    USER_DS,
    USER_DS_32BIT,
    X86_FLAGS_DF,
    X86_FLAGS_FIXED,
    X86_FLAGS_IF,
    HardwareFrame,
    PtRegs,
    encode_word,
    frame_words_32,
)
from asyncirq.hw.stack import Stack

USER_TEXT: Final = 0x40_0000
USER_STACK: Final = 0x7FFF_FFFF_E000
USER_STACK_32: Final = 0xBFFF_F000
TEXT_32: Final = 0xC010_0000
TEXT_MASK: Final = (1 << 28) - 1
TraceHook = Callable[[Cpu, str], None]


class Entered:
    """What an entry keeps for its way out: where the frame lies, which stack was left and where its pointer was."""

    __slots__ = ("address", "exit_rcu", "from_user", "hw", "image", "left", "left_sp", "regs", "stack", "was_user_gs")

    def __init__(self, stack: Stack, left: Stack | None, left_sp: int, hw: HardwareFrame, image: bytes, from_user: bool) -> None:
        self.stack = stack
        self.left = left
        self.left_sp = left_sp
        self.hw = hw
        self.address = stack.sp
        self.image = image
        self.from_user = from_user
        self.regs = hw.regs()
        self.exit_rcu = False
        self.was_user_gs = False


class CpuPath:
    """Where one CPU is on its way in or out.

    ``gs_user`` and ``user_cr3`` say that the user's GS base and page tables are loaded; ``in_user`` that context tracking takes the
    CPU to be in user mode; ``watching`` that RCU watches it. ``instrumentable`` says that tracing is allowed here. ``ip`` is the
    instruction pointer inside entry code whose place matters, -1 elsewhere; ``direction`` is the flag DF. ``pushed`` is the frame
    that the delivery of an exception has pushed already. ``irq_regs`` are the registers that the interrupt being handled saved;
    ``flush_l1d`` asks for a flush of the first-level cache before a guest is entered again. ``switched`` has an entry for each
    interrupt in progress: the stack that it left for the interrupt stack, or None.
    """

    __slots__ = (
        "direction",
        "flush_l1d",
        "gs_user",
        "in_user",
        "instrumentable",
        "ip",
        "irq_regs",
        "pushed",
        "switched",
        "user_cr3",
        "user_since",
        "watching",
    )

    def __init__(self) -> None:
        self.gs_user = False
        self.user_cr3 = False
        self.in_user = False
        self.user_since = 0
        self.watching = True
        self.instrumentable = True
        self.ip = -1
        self.direction = False
        self.flush_l1d = False
        self.irq_regs: PtRegs | None = None
        self.pushed: Entered | None = None
        self.switched: list[Stack | None] = []


class Path:
    """The steps of one machine's entry code.

    ``hooks[step]`` is a tracer of a step; ``strict`` refuses one where no tracing is allowed. ``user_ns[cpu]`` is the time that
    context tracking counts as the user's.
    """

    def __init__(self, softirq: Softirq, stacks: Stacks) -> None:
        self.softirq = softirq
        self.sched = softirq.sched
        self.config = softirq.config
        self.trace = softirq.trace
        self.engine = softirq.engine
        self.stacks = stacks
        self.cpus = [CpuPath() for _ in self.sched.cpus]
        self.flags = IrqFlagsTracer(self.sched.cpus)
        self.hooks: dict[str, TraceHook] = {}
        self.strict = True
        self.nmi_ns = [0] * len(self.cpus)
        self.user_ns = [0] * len(self.cpus)
        self.sched.user_hook = self._system_call
        self._step_ns = softirq.costs.entry_step_ns

    # --- steps

    async def step(self, cpu: Cpu, name: str) -> None:
        """Take one step of entry code. Trace: entry_step."""
        self.mark(cpu, name)
        if self._step_ns:
            # The interrupt is in service, but not counted yet: no violation here.
            check, cpu.check = cpu.check, None
            await cpu.spend(self._step_ns)
            cpu.check = check

    def mark(self, cpu: Cpu, name: str) -> None:
        """Record a step that takes no time. Raises ``KernelBug`` for a tracer outside of the brackets, with ``strict``."""
        stack = self.stacks.current(cpu)
        if self.trace is not None:
            self.trace.entry_step(cpu, name, stack.name, stack.sp)
        hook = self.hooks.get(name)
        if hook is not None:
            if self.strict and not self.cpus[cpu.id].instrumentable:
                self._refuse(cpu, f"a tracer is called in {name}, which is noinstr code")
            hook(cpu, name)

    def _refuse(self, cpu: Cpu, text: str) -> NoReturn:
        raise KernelBug(f"WARNING: {text}, on {cpu.name} at {self.engine.now} ns")

    # --- context tracking

    def user_enter(self, cpu: Cpu) -> None:
        """Tell context tracking that the CPU goes to user mode: its time is the user's from now on."""
        state = self.cpus[cpu.id]
        state.in_user = True
        state.user_since = self.engine.now

    def user_exit(self, cpu: Cpu) -> None:
        """Tell context tracking that the CPU has come from user mode: its time is the kernel's from now on."""
        state = self.cpus[cpu.id]
        if state.in_user:
            state.in_user = False
            self.user_ns[cpu.id] += self.engine.now - state.user_since

    def _system_call(self, task: Thread, entering: bool) -> None:
        """Change sides as a system call does. Model: its entry code takes no steps."""
        cpu = task.cpu
        state = self.cpus[cpu.id]
        state.gs_user = state.user_cr3 = entering and self.stacks.bits == 64
        if entering:
            self.user_enter(cpu)
        else:
            self.user_exit(cpu)

    # --- GS and page tables

    async def swapgs(self, cpu: Cpu) -> None:
        """Exchange the two GS bases."""
        state = self.cpus[cpu.id]
        state.gs_user = not state.gs_user
        await self.step(cpu, "swapgs")

    def need_kernel_gs(self, cpu: Cpu, who: str) -> None:
        """Make sure that the CPU's own data can be reached; raises ``KernelBug`` when the GS base is the user's."""
        if self.cpus[cpu.id].gs_user:
            self._refuse(cpu, f"{who} reads per-CPU data with the user's GS base: an unbalanced swapgs")

    async def switch_cr3(self, cpu: Cpu, user: bool) -> None:
        """Load the kernel's page tables, or the user's, which have next to nothing of the kernel."""
        self.cpus[cpu.id].user_cr3 = user
        await self.step(cpu, "cr3_user" if user else "cr3_kernel")

    async def paranoid_entry(self, cpu: Cpu) -> bool:
        """Make the GS base the kernel's whatever CS says; return whether it was the user's, which the way out needs."""
        await self.step(cpu, "paranoid_entry")
        state = self.cpus[cpu.id]
        was_user, was_cr3 = state.gs_user, state.user_cr3
        if was_cr3:
            await self.switch_cr3(cpu, False)
        if was_user:
            await self.swapgs(cpu)
        return was_user

    async def paranoid_exit(self, cpu: Cpu, was_user: bool) -> None:
        """Give the GS base back as it was found."""
        if was_user:
            await self.switch_cr3(cpu, True)
            await self.swapgs(cpu)
        await self.step(cpu, "paranoid_exit")

    # --- brackets round what may be traced

    def instrumentation(self, cpu: Cpu, begin: bool) -> None:
        """Begin or end a stretch of entry code in which tracing is allowed."""
        self.cpus[cpu.id].instrumentable = begin

    # --- frames

    def _where(self, thread: Thread, from_user: bool) -> int:
        """Return the instruction pointer of what is interrupted.

        Model: Python code has none; how much time the CPU has spent outside of NMIs stands for it, so two NMIs with nothing
        between them find the same one.
        """
        cpu = thread.cpu
        state = self.cpus[cpu.id]
        if state.ip >= 0:
            return state.ip
        progress = self.engine.now - self.nmi_ns[cpu.id] & TEXT_MASK
        return (USER_TEXT if from_user else TEXT if self.stacks.bits == 64 else TEXT_32) + progress

    def frame(self, cpu: Cpu, from_user: bool, error_code: int | None = None) -> HardwareFrame:
        """Return what the CPU pushes when it interrupts what it does now."""
        thread = cpu.current
        flags = X86_FLAGS_FIXED | (0 if cpu.pushed_irqs_off else X86_FLAGS_IF)
        if self.cpus[cpu.id].direction:
            flags |= X86_FLAGS_DF
        # In user mode the registers at hand are those of the program that is executed, if any.
        given = thread.frame if from_user else None
        ip = self._where(thread, from_user) if given is None else given.ip
        if self.stacks.bits == 32:
            if from_user:
                return HardwareFrame(ip, USER_CS_32BIT, flags, USER_STACK_32, USER_DS_32BIT, error_code)
            return HardwareFrame(ip, KERNEL32_CS, flags, self.stacks.current(cpu).sp, KERNEL32_DS, error_code)
        if given is not None:
            return HardwareFrame(ip, given.cs, flags, given.sp, given.ss, error_code)
        if from_user:
            return HardwareFrame(ip, USER_CS, flags, USER_STACK, USER_DS, error_code)
        return HardwareFrame(ip, KERNEL_CS, flags, self.stacks.current(cpu).sp, KERNEL_DS, error_code)


def frame_image(hw: HardwareFrame, bits: int, from_user: bool) -> bytes:
    """Return a frame as the CPU writes it: on 32 bits without SS and ESP unless it comes from user mode."""
    if bits == 64:
        return hw.encode()
    names = frame_words_32(from_user, hw.error_code is not None)
    return b"".join(encode_word(name, getattr(hw, name), 4) for name in names)
