"""Name the instructions that a program of ``execute.py`` is made of.

An instruction has a length in bytes and an effect, which is called with the CPU and its registers: IP points to the next
instruction then. What the effect returns is what the instruction raises; a fault is raised with IP back at the instruction.

Linux names nothing here: these are Intel's mnemonics. Model: only what interrupts, exceptions and their tests need; everything
else is ``op``, any function of the user's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from asyncirq.hw.pt_regs import X86_FLAGS_IF, X86_FLAGS_OF, PtRegs
from asyncirq.hw.system_regs import DR_CONTROL, DR_COUNT, RW_READ_WRITE, RW_WRITE, Raised
from asyncirq.hw.trapnr import (
    PF_PROT,
    PF_USER,
    PF_WRITE,
    X86_TRAP_BP,
    X86_TRAP_DB,
    X86_TRAP_DE,
    X86_TRAP_GP,
    X86_TRAP_OF,
    X86_TRAP_PF,
    X86_TRAP_UD,
)

if TYPE_CHECKING:
    from asyncirq.hw.cpu import Cpu

Effect = Callable[["Cpu", PtRegs], Raised | None]
NO_SHADOW: Final = 0
STI_SHADOW: Final = 1
"""No interrupt is taken before the next instruction has been executed."""
SS_SHADOW: Final = 2
"""Neither is an NMI or a debug trap."""


class Insn(msgspec.Struct, frozen=True):
    """One instruction.

    ``shadow`` says what it holds back up to the end of the next one; ``halts`` that the CPU waits after it; ``cost_ns`` is its time.
    """

    name: str
    effect: Effect | None = None
    length: int = 1
    shadow: int = NO_SHADOW
    halts: bool = False
    cost_ns: int = 1


class Page(msgspec.Struct):
    """The rights to the memory that a load or store touches."""

    present: bool = True
    writable: bool = True
    user: bool = True


def nop() -> Insn:
    """Do nothing."""
    return Insn("nop")


def op(name: str, function: Callable[[PtRegs], None], length: int = 3, cost_ns: int = 1) -> Insn:
    """Do anything to the registers."""

    def effect(cpu: Cpu, regs: PtRegs) -> None:
        function(regs)

    return Insn(name, effect, length, cost_ns=cost_ns)


def sti() -> Insn:
    """Set IF; where it was clear, interrupts are taken from the end of the next instruction on. Privileged."""

    def effect(cpu: Cpu, regs: PtRegs) -> Raised | None:
        if regs.user_mode:
            return Raised(X86_TRAP_GP, 0)
        regs.flags |= X86_FLAGS_IF
        return None

    return Insn("sti", effect, shadow=STI_SHADOW)


def cli() -> Insn:
    """Clear IF. Privileged."""

    def effect(cpu: Cpu, regs: PtRegs) -> Raised | None:
        if regs.user_mode:
            return Raised(X86_TRAP_GP, 0)
        regs.flags &= ~X86_FLAGS_IF
        return None

    return Insn("cli", effect)


def hlt() -> Insn:
    """Wait for an interrupt. Privileged."""

    def effect(cpu: Cpu, regs: PtRegs) -> Raised | None:
        return Raised(X86_TRAP_GP, 0) if regs.user_mode else None

    return Insn("hlt", effect, halts=True)


def mov_ss(address: int | None = None) -> Insn:
    """Load SS, from memory at ``address`` if given: nothing is taken before the next instruction has been executed."""

    def effect(cpu: Cpu, regs: PtRegs) -> None:
        if address is not None:
            _watch(cpu, address, 2, (RW_READ_WRITE,))

    return Insn("mov ss", effect, 2, shadow=SS_SHADOW)


def int_n(vector: int) -> Insn:
    """Raise a software interrupt, two bytes; even INT 3 so written is one like any other."""
    return Insn(f"int {vector:#x}", lambda cpu, regs: Raised(vector, source="software"), 2)


def int3() -> Insn:
    """Raise #BP: the breakpoint of one byte."""
    return Insn("int3", lambda cpu, regs: Raised(X86_TRAP_BP, source="software"))


def icebp() -> Insn:
    """Raise #DB whatever its gate's DPL: the INT1 of one byte."""
    return Insn("icebp", lambda cpu, regs: Raised(X86_TRAP_DB, source="icebp"))


def into() -> Insn:
    """Raise #OF if the overflow flag is set."""
    return Insn("into", lambda cpu, regs: Raised(X86_TRAP_OF, source="software") if regs.flags & X86_FLAGS_OF else None)


def ud2() -> Insn:
    """Raise #UD."""
    return Insn("ud2", lambda cpu, regs: Raised(X86_TRAP_UD), 2)


def div() -> Insn:
    """Divide AX by CX into AX and DX; #DE if CX is 0."""

    def effect(cpu: Cpu, regs: PtRegs) -> Raised | None:
        if not regs.cx:
            return Raised(X86_TRAP_DE)
        regs.ax, regs.dx = divmod(regs.ax, regs.cx)
        return None

    return Insn("div", effect, 2)


def mov_cr4(value: int, reserved: int) -> Insn:
    """Write CR4: #GP for a reserved bit, and from user mode."""

    def effect(cpu: Cpu, regs: PtRegs) -> Raised | None:
        return Raised(X86_TRAP_GP, 0) if regs.user_mode or value & reserved else None

    return Insn("mov cr4", effect, 3)


def mov_dr(number: int, value: int) -> Insn:
    """Write a debug register. Privileged."""

    def effect(cpu: Cpu, regs: PtRegs) -> Raised | None:
        if regs.user_mode:
            return Raised(X86_TRAP_GP, 0)
        cpu.system.dr[number] = value
        return None

    return Insn(f"mov dr{number}", effect, 3)


def load(address: int, page: Page | None = None, size: int = 8) -> Insn:
    """Read memory: #PF without the right to, a debug trap at the end if it is watched."""
    return Insn("load", _access(address, page, size, write=False), 4)


def store(address: int, page: Page | None = None, size: int = 8) -> Insn:
    """Write memory: #PF without the right to, a debug trap at the end if it is watched."""
    return Insn("store", _access(address, page, size, write=True), 4)


def jump(target: int) -> Insn:
    """Go on at an address."""

    def effect(cpu: Cpu, regs: PtRegs) -> None:
        regs.ip = target

    return Insn("jmp", effect, 2)


def loop(target: int) -> Insn:
    """Count CX down and go on at an address unless it is 0 then."""

    def effect(cpu: Cpu, regs: PtRegs) -> None:
        regs.cx -= 1
        if regs.cx:
            regs.ip = target

    return Insn("loop", effect, 2)


def page_error(page: Page, user: bool, write: bool) -> int | None:
    """Return the error code of a #PF, or None where the access is allowed."""
    if page.present and (page.writable or not write) and (page.user or not user):
        return None
    return (PF_PROT if page.present else 0) | (PF_WRITE if write else 0) | (PF_USER if user else 0)


def _access(address: int, page: Page | None, size: int, write: bool) -> Effect:
    def effect(cpu: Cpu, regs: PtRegs) -> Raised | None:
        if page is not None:
            error_code = page_error(page, regs.user_mode, write)
            if error_code is not None:
                return Raised(X86_TRAP_PF, error_code, address=address)
        _watch(cpu, address, size, (RW_WRITE, RW_READ_WRITE) if write else (RW_READ_WRITE,))
        return None

    return effect


def _watch(cpu: Cpu, address: int, size: int, kinds: tuple[int, ...]) -> None:
    system = cpu.system
    if system.dr[DR_CONTROL] & (1 << 2 * DR_COUNT) - 1:
        system.pending_debug |= system.hits(address, size, kinds)
