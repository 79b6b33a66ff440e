"""Execute a program instruction by instruction, and take interrupts and exceptions where a CPU does: at the boundaries.

At the boundary before an instruction, in this order:

1. a debug trap of the instruction before, unless MOV SS holds it back;
2. NMIs and interrupts, unless STI or MOV SS holds them back;
3. a breakpoint on the instruction itself, unless RF is set.

Then the instruction executes. A fault leaves IP at it, everything else behind it.

Model: most experiments need no instructions, only the time that they take (``cpu.spend``); this is for those where it matters between
which two of them an interrupt comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Thread, interrupt_window
from asyncirq.hw.exception import deliver
from asyncirq.hw.insn import NO_SHADOW, SS_SHADOW, STI_SHADOW, Insn
from asyncirq.hw.pt_regs import X86_FLAGS_RF, X86_FLAGS_TF, PtRegs
from asyncirq.hw.system_regs import DR_STEP, RW_EXECUTE, Raised
from asyncirq.hw.trapnr import TRAPS, X86_TRAP_DB

DEFAULT_BASE: Final = 0x40_0000


class Program:
    """Instructions at consecutive addresses from ``base`` on; ``address[n]`` is that of the nth, ``end`` is behind the last."""

    def __init__(self, insns: Iterable[Insn], base: int = DEFAULT_BASE) -> None:
        self.base = base
        self.address: list[int] = []
        self.insns: dict[int, Insn] = {}
        self.end = base
        for insn in insns:
            self.address.append(self.end)
            self.insns[self.end] = insn
            self.end += insn.length


async def execute(thread: Thread, program: Program, regs: PtRegs) -> None:
    """Execute from ``regs.ip`` on until IP is the program's end; ``regs`` hold the state all the while.

    The mode is that of ``regs.cs``; IF is that of the CPU, into which ``regs`` is brought first. Raises ``UsageError`` when IP is at
    no instruction.
    """
    thread.cpu.irqs_off = regs.irqs_off
    thread.cpu.recompute()
    outer = (thread.user_mode, thread.own_irqs_off, thread.frame)
    thread.user_mode = regs.user_mode
    thread.frame = regs
    shadow = NO_SHADOW
    while True:
        await _boundary(thread, regs, shadow)
        if regs.ip == program.end:
            break
        insn = program.insns.get(regs.ip)
        if insn is None:
            raise UsageError(f"{thread.sim.name} jumps to {regs.ip:#x}, where no instruction of its program begins")
        if not regs.flags & X86_FLAGS_RF:
            hit = thread.cpu.system.hits(regs.ip, 1, (RW_EXECUTE,))
            if hit:
                await deliver(thread, Raised(X86_TRAP_DB, dr6=hit), _with_rf(regs))
        shadow = await _step(thread, insn, regs, shadow)
    thread.user_mode, thread.own_irqs_off, thread.frame = outer


async def _boundary(thread: Thread, regs: PtRegs, shadow: int) -> None:
    if shadow == SS_SHADOW:
        return
    system = thread.cpu.system
    if system.pending_debug:
        await deliver(thread, Raised(X86_TRAP_DB), regs)
    if shadow == NO_SHADOW and thread.cpu.attention:
        await interrupt_window(thread)
    elif shadow == STI_SHADOW and system.nmi_in_sti_shadow and thread.cpu.attention:
        await _take_nmi(thread)


async def _take_nmi(thread: Thread) -> None:
    """Take an NMI, if any, while interrupts are held back."""
    cpu = thread.cpu
    irqs_off, cpu.irqs_off = cpu.irqs_off, True
    cpu.recompute()
    if cpu.attention:
        await interrupt_window(thread)
    cpu.irqs_off = irqs_off
    cpu.recompute()


async def _step(thread: Thread, insn: Insn, regs: PtRegs, shadow: int) -> int:
    """Execute one instruction; return the shadow that it casts."""
    start = regs.ip
    stepping = regs.flags & X86_FLAGS_TF
    was_off = regs.irqs_off
    await _elapse(thread, insn.cost_ns)
    regs.ip = start + insn.length
    raised = None if insn.effect is None else insn.effect(thread.cpu, regs)
    if raised is not None:
        if raised.source == "exception" and TRAPS[raised.vector].kind == "fault":
            regs.ip = start
        else:
            regs.flags &= ~X86_FLAGS_RF
            raised = raised._replace(length=insn.length)
        await deliver(thread, raised, regs)
        return NO_SHADOW
    regs.flags &= ~X86_FLAGS_RF
    if regs.irqs_off != was_off:
        cpu = thread.cpu
        cpu.irqs_off = thread.own_irqs_off = regs.irqs_off
        cpu.recompute()
    if stepping:
        thread.cpu.system.pending_debug |= DR_STEP
    if insn.halts:
        await _halt(thread)
    if insn.shadow == STI_SHADOW and not was_off:
        return NO_SHADOW
    return NO_SHADOW if insn.shadow == shadow == SS_SHADOW else insn.shadow


async def _elapse(thread: Thread, ns: int) -> None:
    """Let the time of an instruction pass: nothing is taken in the middle of it."""
    engine = thread.cpu.engine
    left = ns
    while not engine.advance(left):
        left -= await engine.elapse(left)
        if left <= 0:
            return


async def _halt(thread: Thread) -> None:
    while not thread.cpu.attention:
        await thread.cpu.engine.park()


def _with_rf(regs: PtRegs) -> PtRegs:
    regs.flags |= X86_FLAGS_RF
    return regs
