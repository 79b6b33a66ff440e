"""Let interrupts come at any time into any program: they are taken at boundaries only, and change nothing of what it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from asyncirq.hw.insn import Insn, cli, div, hlt, icebp, int3, int_n, mov_ss, nop, op, sti
from asyncirq.hw.pt_regs import X86_FLAGS_FIXED, X86_FLAGS_IF, PtRegs
from asyncirq.hw.trapnr import X86_TRAP_BP, X86_TRAP_DB, X86_TRAP_DE
from tests.hw.bare import HANDLER, Bare


def add(regs: PtRegs) -> None:
    """Count in BX."""
    regs.bx += 1


KINDS: Final[dict[str, Callable[[], Insn]]] = {
    "nop": nop,
    "add": lambda: op("add", add),
    "sti": sti,
    "cli": cli,
    "mov ss": mov_ss,
    "int3": int3,
    "icebp": icebp,
    "int 0x30": lambda: int_n(0x30),
    "div": div,
}
BASE: Final = 0x1000


def outcome(names: list[str], arrivals: list[tuple[int, int]], enabled: bool) -> tuple[Bare, PtRegs, dict[int, int]]:
    """Run a program with device vectors at the given times; return the CPU, the registers, and the index of each address."""
    m = Bare()

    async def skip(cpu: object, frame: PtRegs) -> None:
        frame.ip += 2
        frame.dx += 1

    for vector in (X86_TRAP_BP, X86_TRAP_DB, 0x30):
        m.gate(vector)
    m.gate(X86_TRAP_DE, skip)
    for when, vector in arrivals:
        m.gate(vector)
        m.raise_at(when, vector)
    insns = [KINDS[name]() for name in names]
    index, address = {}, BASE
    for number, insn in enumerate(insns):
        index[address] = number
        address += insn.length
    index[address] = len(insns)
    regs = m.run(insns, X86_FLAGS_FIXED | (X86_FLAGS_IF if enabled else 0))
    return m, regs, index


PROGRAMS = st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=20)
ARRIVALS = st.lists(st.tuples(st.integers(0, 120), st.integers(0x40, 0xEF)), max_size=6, unique_by=lambda arrival: arrival[1])


@given(names=PROGRAMS, arrivals=ARRIVALS, enabled=st.booleans())
def test_interrupts_are_taken_at_boundaries_and_change_nothing(names: list[str], arrivals: list[tuple[int, int]], enabled: bool) -> None:
    _, alone, _ = outcome(names, [], enabled)
    m, regs, index = outcome(names, arrivals, enabled)
    assert (regs.bx, regs.dx, regs.ip, regs.irqs_off) == (alone.bx, alone.dx, alone.ip, alone.irqs_off)
    assert regs.bx == names.count("add") and regs.dx == names.count("div")
    flags = [enabled]
    for name in names:
        flags.append(True if name == "sti" else False if name == "cli" else flags[-1])
    for vector, ip in m.entered:
        if vector < 0x40:
            continue
        assert ip != HANDLER and flags[index[ip]]
        before = names[index[ip] - 1] if index[ip] else ""
        # Not behind a MOV SS, unless that stands in the shadow of another one; not behind the STI that set IF.
        if before == "mov ss":
            assert index[ip] >= 2 and names[index[ip] - 2] in ("mov ss", "sti")
        if before == "sti":
            assert flags[index[ip] - 1]
    raised = {vector for _, vector in arrivals}
    left = m.cpu.lapic.irr
    assert {vector for vector, _ in m.entered if vector >= 0x40} | {n for n in range(256) if left >> n & 1} == raised


@given(gap=st.integers(0, 40))
def test_a_halt_ends_with_the_interrupt(gap: int) -> None:
    m = Bare()
    m.gate(0x41)
    m.raise_at(gap, 0x41)
    m.run([sti(), hlt(), cli(), nop()], X86_FLAGS_FIXED)
    # STI takes 1 ns, HLT another one; the interrupt comes behind the HLT however early it was raised.
    assert m.log == [(max(gap, 2), 0x41, BASE + 2)]
