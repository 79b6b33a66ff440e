"""Show the cases of the catalogue on gates, exceptions and interrupt shadows, on a CPU that executes instructions."""

from __future__ import annotations

import pytest

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu, Thread
from asyncirq.hw.gate import TRAP_GATE
from asyncirq.hw.idt import Gate
from asyncirq.hw.insn import Insn, Page, cli, div, hlt, icebp, int3, int_n, into, load, mov_cr4, mov_ss, nop, page_error, sti, ud2
from asyncirq.hw.pt_regs import X86_FLAGS_FIXED, X86_FLAGS_OF, X86_FLAGS_RF, HardwareFrame, PtRegs
from asyncirq.hw.system_regs import RW_READ_WRITE, Raised
from asyncirq.hw.trapnr import (
    X86_TRAP_BP,
    X86_TRAP_DB,
    X86_TRAP_DE,
    X86_TRAP_DF,
    X86_TRAP_GP,
    X86_TRAP_NP,
    X86_TRAP_OF,
    X86_TRAP_PF,
    X86_TRAP_UD,
)
from tests.hw.bare import HANDLER, IF, Bare


def test_IDT_01_fault_saves_rf() -> None:
    m = Bare()
    saved: list[tuple[int, int, bool]] = []

    async def skip(cpu: Cpu, frame: PtRegs) -> None:
        saved.append((m.log[-1][1], frame.ip, bool(frame.flags & X86_FLAGS_RF)))
        if m.log[-1][1] in (X86_TRAP_GP, X86_TRAP_UD):
            frame.ip += 3 if m.log[-1][1] == X86_TRAP_GP else 2

    for vector in (X86_TRAP_GP, X86_TRAP_UD, X86_TRAP_BP, X86_TRAP_OF):
        m.gate(vector, skip)
    m.run([mov_cr4(1 << 11, reserved=1 << 11), ud2(), int3(), into(), nop()], IF | X86_FLAGS_OF)
    assert saved == [(X86_TRAP_GP, 0x1000, True), (X86_TRAP_UD, 0x1003, True), (X86_TRAP_BP, 0x1006, False), (X86_TRAP_OF, 0x1007, False)]


def test_IDT_02_divide_error_is_restartable() -> None:
    m = Bare()

    async def mend(cpu: Cpu, frame: PtRegs) -> None:
        frame.cx = 10

    m.gate(X86_TRAP_DE, mend)
    assert m.run([div(), nop()], ax=1500, cx=0).ax == 150
    assert m.entered == [(X86_TRAP_DE, 0x1000)]


def test_IDT_04_software_interrupt_to_a_gate_that_is_not_present() -> None:
    m = Bare()
    codes: list[int] = []

    async def repair(cpu: Cpu, frame: PtRegs) -> None:
        codes.append(frame.orig_ax)
        m.gate(33)

    m.gate(X86_TRAP_NP, repair)
    m.gate(33, present=False)
    regs = m.run([int_n(33), nop()])
    # The fault is at the INT, the interrupt behind it.
    assert (m.entered, codes) == ([(X86_TRAP_NP, 0x1000), (33, 0x1002)], [33 << 3 | 2])
    assert regs.ip == 0x1003


@pytest.mark.parametrize("vector", [X86_TRAP_DE, X86_TRAP_NP])
def test_IDT_05_serial_exceptions_are_no_double_fault(vector: int) -> None:
    m = Bare()
    page = Page(writable=False)

    def push(thread: Thread, gate: Gate, frame: HardwareFrame, from_user: bool) -> Raised | None:
        # The page fault's frame goes to a stack of its own.
        error_code = None if gate.ist else page_error(page, user=False, write=True)
        return None if error_code is None else Raised(X86_TRAP_PF, error_code, address=0xDEAD_0FF8)

    async def mend(cpu: Cpu, frame: PtRegs) -> None:
        if vector == X86_TRAP_DE:
            frame.cx = 1
        else:
            m.gate(33)

    async def make_writable(cpu: Cpu, frame: PtRegs) -> None:
        assert (cpu.system.cr2, frame.orig_ax) == (0xDEAD_0FF8, 0b011)
        page.writable = True

    m.cpu.system.push = push
    m.gate(vector, mend)
    m.gate(X86_TRAP_DF)
    m.gate(33, present=False)
    m.gate(X86_TRAP_PF, make_writable, ist=1)
    m.run([div() if vector == X86_TRAP_DE else int_n(33), nop()])
    last = [] if vector == X86_TRAP_DE else [(33, 0x1002)]
    assert m.entered == [(X86_TRAP_PF, 0x1000), (vector, 0x1000), *last]


def test_IDT_05_two_page_faults_are_a_double_fault_and_three_the_end() -> None:
    m = Bare()
    fixed: list[int] = []

    def push(thread: Thread, gate: Gate, frame: HardwareFrame, from_user: bool) -> Raised | None:
        return None if gate.ist and fixed else Raised(X86_TRAP_PF, 0b010, address=0xDEAD_0FF8)

    async def leave(cpu: Cpu, frame: PtRegs) -> None:
        frame.ip += 4

    m.cpu.system.push = push
    m.gate(X86_TRAP_PF)
    m.gate(X86_TRAP_DF, leave, ist=1)
    with pytest.raises(KernelBug, match=r"^triple fault: #PF \(0x2\) while #DF was delivered on CPU0 at 1 ns: the processor shuts down$"):
        m.run([load(0x5000, Page(present=False)), nop()])
    m = Bare()
    fixed.append(1)
    m.cpu.system.push = push
    m.gate(X86_TRAP_PF)
    m.gate(X86_TRAP_DF, leave, ist=1)
    m.run([load(0x5000, Page(present=False)), nop()])
    assert m.entered == [(X86_TRAP_DF, 0x1000)]


@pytest.mark.parametrize("shadow", ["sti", "mov ss"])
def test_IDT_11_an_existing_shadow_ends_after_one_instruction(shadow: str) -> None:
    m = Bare()
    m.gate(0x41)
    m.raise_at(0, 0x41)
    if shadow == "sti":
        m.run([nop(), sti(), nop(), nop(), nop()], X86_FLAGS_FIXED)
        # Pending at the STI: held back over the NOP at 0x1002, taken at 0x1003.
        assert m.entered == [(0x41, 0x1003)]
    else:
        m = Bare()
        m.gate(0x41)
        # Raised while the MOV SS executes: held back over the NOP at 0x1003.
        m.raise_at(2, 0x41)
        m.run([nop(), mov_ss(), nop(), nop(), nop()])
        assert m.entered == [(0x41, 0x1004)]


def test_IDT_11_a_second_mov_ss_does_not_lengthen_the_shadow() -> None:
    m = Bare()
    m.gate(0x41)
    m.raise_at(1, 0x41)
    m.run([mov_ss(), mov_ss(), nop(), nop()])
    assert m.entered == [(0x41, 0x1004)]


def test_IDT_12_no_blocking() -> None:
    m = Bare()
    m.gate(0x41)
    m.raise_at(1, 0x41)
    m.run([nop(), nop(), nop()])
    assert m.log == [(1, 0x41, 0x1001)]


@pytest.mark.parametrize(("kind", "order"), [(TRAP_GATE, [0x41, X86_TRAP_DB]), (14, [X86_TRAP_DB, 0x41])])
def test_IDT_12_behind_a_trap_gate_the_window_stays_open(kind: int, order: list[int]) -> None:
    m = Bare()
    ends: list[int] = []

    async def debug(cpu: Cpu, frame: PtRegs) -> None:
        ends.append(X86_TRAP_DB)

    async def device(cpu: Cpu, frame: PtRegs) -> None:
        ends.append(0x41)

    m.gate(X86_TRAP_DB, debug, kind=kind)
    m.gate(0x41, device)
    m.raise_at(1, 0x41)
    m.run([icebp(), nop()])
    assert ends == order


def test_IDT_13_sti_hlt_loses_no_wake_up() -> None:
    m = Bare()
    m.gate(0x41)
    m.raise_at(0, 0x41)
    m.run([nop(), sti(), hlt(), cli()], X86_FLAGS_FIXED)
    assert m.entered == [(0x41, 0x1003)]


@pytest.mark.parametrize(
    ("following", "expected"),
    [
        (icebp(), [(X86_TRAP_DB, 0x1003)]),
        # The held trap is taken where the software interrupt has led, ahead of its handler's first instruction.
        (int_n(1), [(X86_TRAP_DB, HANDLER), (X86_TRAP_DB, 0x1004)]),
        (int3(), [(X86_TRAP_DB, HANDLER), (X86_TRAP_BP, 0x1003)]),
    ],
    ids=["icebp", "int 1", "int3"],
)
def test_IDT_14_mov_ss_defers_a_data_breakpoint(following: Insn, expected: list[tuple[int, int]]) -> None:
    m = Bare()
    m.gate(X86_TRAP_DB)
    m.gate(X86_TRAP_BP)
    m.cpu.system.set_breakpoint(0, 0x7000, RW_READ_WRITE)
    m.run([mov_ss(0x7000), following, nop()])
    assert m.entered == expected
