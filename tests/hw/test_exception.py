"""Show how the CPU delivers exceptions: the steps, the checks, what two at once become, and IRET."""

from __future__ import annotations

import msgspec
import pytest

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.exception import IRET_IP, deliver, raise_exception, registers
from asyncirq.hw.gate import TASK_GATE, TRAP_GATE
from asyncirq.hw.idt import Gate, Idt
from asyncirq.hw.insn import Insn, Page, icebp, int3, int_n, jump, load, loop, mov_dr, nop, op, store
from asyncirq.hw.pt_regs import USER_CS, X86_FLAGS_FIXED, X86_FLAGS_IF, X86_FLAGS_RF, X86_FLAGS_TF, PtRegs
from asyncirq.hw.segment import Gdt, Segment
from asyncirq.hw.system_regs import DR_STATUS, RW_EXECUTE, Raised, SystemRegs
from asyncirq.hw.trapnr import (
    TRAPS,
    X86_TRAP_BP,
    X86_TRAP_DB,
    X86_TRAP_DE,
    X86_TRAP_DF,
    X86_TRAP_GP,
    X86_TRAP_IRET,
    X86_TRAP_NP,
    X86_TRAP_PF,
    X86_TRAP_SS,
    combine,
    group_of,
)
from tests.hw.bare import IF, Bare


def test_S0_15_exception_number_table() -> None:
    numbers = {number: trap.mnemonic for number, trap in TRAPS.items()}
    assert numbers == {
        0: "#DE", 1: "#DB", 2: "NMI", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 9: "#OLD_MF", 10: "#TS", 11: "#NP",
        12: "#SS", 13: "#GP", 14: "#PF", 15: "#15", 16: "#MF", 17: "#AC", 18: "#MC", 19: "#XF", 20: "#VE", 21: "#CP", 29: "#VC", 30: "#SX",
    }  # fmt: skip
    assert [number for number, trap in TRAPS.items() if trap.error_code] == [8, 10, 11, 12, 13, 14, 17, 21, 29, 30]
    m = Bare()
    m.gate(X86_TRAP_IRET)
    with pytest.raises(UsageError, match="^32 is no exception of the CPU's"):
        m.thread.sim = m.engine.spawn(raise_exception(m.thread, Raised(X86_TRAP_IRET), registers(m.thread)), "raise")
        m.world.settle()


def test_S2_05_fault_trap_abort() -> None:
    m = Bare()
    page = Page(present=False)
    executed: list[str] = []

    async def map_page(cpu: Cpu, frame: PtRegs) -> None:
        page.present = True

    def note(name: str) -> Insn:
        return op(name, lambda regs: executed.append(name))

    m.gate(X86_TRAP_PF, map_page)
    m.gate(X86_TRAP_BP)
    regs = m.run([load(0x5000, page), note("behind the fault"), int3(), note("behind the trap")])
    # The faulting instruction is executed again and took its time twice; the trap's is not.
    assert m.log == [(1, X86_TRAP_PF, 0x1000), (14, X86_TRAP_BP, 0x1008)]
    assert (executed, regs.ip) == (["behind the fault", "behind the trap"], 0x100B)


def test_S3_08_hardware_delivery_steps() -> None:
    m = Bare()
    m.gate(X86_TRAP_DE)
    m.gate(X86_TRAP_GP)
    m.gate(X86_TRAP_DF, ist=1)
    m.cpu.system.steps = steps = list[str]()
    m.thread.sim = m.engine.spawn(raise_exception(m.thread, Raised(X86_TRAP_DE), registers(m.thread, 0x1234, user=True)), "user")
    m.world.settle()
    assert steps == [
        "instruction boundary",
        "vector 0",
        "IDT slot 0",
        "segment 0x10",
        "privilege 3 to 0",
        "stack switch, SS:SP saved",
        "return to 0x1234",
        "push flags, CS, IP",
        "load gate 0",
    ]
    steps.clear()
    m.thread.sim = m.engine.spawn(raise_exception(m.thread, Raised(X86_TRAP_DF, 0), registers(m.thread, 0x1234)), "kernel")
    m.world.settle()
    assert steps[4:] == [
        "privilege 0 to 0",
        "stack switch to IST 1, SS:SP saved",
        "return to 0x1234",
        "push flags, CS, IP",
        "push error code 0x0",
        "load gate 8",
    ]
    # Without a change of level a 32-bit CPU saves no SS:SP.
    steps.clear()
    m.cpu.idt, m.cpu.system.gdt = Idt(32), Gdt(32)
    m.gate(X86_TRAP_DE)
    m.cpu.idt.set_gate(0, msgspec.structs.replace(m.cpu.idt.slots[0] or Gate(refuse, ""), selector=0x60))
    m.thread.sim = m.engine.spawn(raise_exception(m.thread, Raised(X86_TRAP_DE), registers(m.thread, 0x1234)), "kernel")
    m.world.settle()
    assert steps[3:] == ["segment 0x60", "privilege 0 to 0", "return to 0x1234", "push flags, CS, IP", "load gate 0"]


async def refuse(cpu: Cpu, vector: int) -> None:
    """Stand for a handler that must not be reached."""
    raise AssertionError(vector)


def test_S3_10_handler_segment_privilege_check() -> None:
    m = Bare()
    codes: list[int] = []

    async def skip(cpu: Cpu, frame: PtRegs) -> None:
        codes.append(frame.orig_ax)
        frame.ip += 2

    m.gate(X86_TRAP_GP, skip)
    m.cpu.idt.set_gate(0x40, Gate(refuse, "user handler", selector=USER_CS))
    m.run([int_n(0x40), nop()])
    assert (m.entered, codes) == ([(X86_TRAP_GP, 0x1000)], [USER_CS & ~7])
    # A segment that is not there, and one that is but not present.
    m.cpu.idt.set_gate(0x40, Gate(refuse, "nowhere", selector=0x80))
    m.run([int_n(0x40), nop()])
    m.gate(X86_TRAP_NP, skip)
    m.cpu.system.gdt.segments[0x80] = Segment("absent", present=False)
    m.run([int_n(0x40), nop()])
    assert (m.entered[1:], codes[1:]) == ([(X86_TRAP_GP, 0x1000), (X86_TRAP_NP, 0x1000)], [0x80, 0x80])


def test_S3_11_gate_privilege_check_for_software_raises() -> None:
    m = Bare()
    codes: list[int] = []

    async def skip(cpu: Cpu, frame: PtRegs) -> None:
        codes.append(frame.orig_ax)
        frame.ip += 2

    m.gate(X86_TRAP_GP, skip)
    m.gate(X86_TRAP_BP, dpl=3)
    m.gate(X86_TRAP_PF)
    m.gate(X86_TRAP_DB)
    m.gate(0x41)
    m.raise_at(13, 0x41)
    m.run([int_n(X86_TRAP_BP), int_n(X86_TRAP_PF), icebp(), nop()], user=True)
    # Neither INT1 nor a device asks for the gate's DPL.
    assert m.entered == [(X86_TRAP_BP, 0x1002), (X86_TRAP_GP, 0x1002), (0x41, 0x1004), (X86_TRAP_DB, 0x1005)]
    assert codes == [X86_TRAP_PF << 3 | 2]


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (X86_TRAP_DB, X86_TRAP_PF, "serial"),
        (X86_TRAP_DE, X86_TRAP_DB, "serial"),
        (X86_TRAP_DE, X86_TRAP_GP, "double fault"),
        (X86_TRAP_GP, X86_TRAP_PF, "serial"),
        (X86_TRAP_PF, X86_TRAP_GP, "double fault"),
        (X86_TRAP_PF, X86_TRAP_PF, "double fault"),
        (X86_TRAP_DF, X86_TRAP_SS, "shutdown"),
        (X86_TRAP_DF, X86_TRAP_PF, "shutdown"),
        (X86_TRAP_DF, X86_TRAP_DB, "serial"),
    ],
)
def test_what_two_exceptions_become(first: int, second: int, verdict: str) -> None:
    assert combine(group_of(first), group_of(second)) == verdict
    assert combine(group_of(first, benign=True), group_of(second)) == "serial"


def test_a_missing_gate_is_a_double_fault_and_no_gate_at_all_the_end() -> None:
    m = Bare()
    m.gate(X86_TRAP_DF)
    m.thread.sim = m.engine.spawn(deliver(m.thread, Raised(X86_TRAP_DE), registers(m.thread, 0x99)), "raise")
    m.world.settle()
    assert m.entered == [(X86_TRAP_DF, 0x99)]
    m = Bare()
    m.thread.sim = m.engine.spawn(deliver(m.thread, Raised(X86_TRAP_DE), registers(m.thread)), "raise")
    with pytest.raises(KernelBug, match=r"^triple fault: #GP \(0x43\) while #DF was delivered on CPU0 at 0 ns: the processor shuts down$"):
        m.world.settle()


def test_an_interrupt_whose_gate_is_not_present_is_an_np_that_is_external() -> None:
    m = Bare()
    codes: list[int] = []

    async def note(cpu: Cpu, frame: PtRegs) -> None:
        codes.append(frame.orig_ax)

    m.gate(X86_TRAP_NP, note)
    m.gate(0x41, present=False)
    m.raise_at(1, 0x41)
    m.run([nop(), nop(), nop()])
    assert ([entry[1] for entry in m.log], codes) == ([X86_TRAP_NP], [0x41 << 3 | 3])


def test_a_vector_beyond_the_limit_has_no_gate() -> None:
    m = Bare()
    codes: list[int] = []

    async def skip(cpu: Cpu, frame: PtRegs) -> None:
        codes.append(frame.orig_ax)
        frame.ip += 2

    m.gate(X86_TRAP_GP, skip)
    m.gate(0x41)
    m.cpu.idt.load(limit=16 * 0x41 + 14)
    m.run([int_n(0x41), nop()])
    m.cpu.idt.load(limit=16 * 0x41 + 15)
    m.run([int_n(0x41), nop()])
    assert (m.entered, codes) == ([(X86_TRAP_GP, 0x1000), (0x41, 0x1002)], [0x41 << 3 | 2])


def test_an_iret_that_faults_is_tried_again_with_what_its_handler_made_of_the_frame() -> None:
    m = Bare()
    codes: list[tuple[int, int]] = []

    async def spoil(cpu: Cpu, frame: PtRegs) -> None:
        frame.cs = 0x8B

    async def mend(cpu: Cpu, frame: PtRegs) -> None:
        codes.append((frame.orig_ax, frame.cs))
        assert cpu.system.iret_frame is not None
        cpu.system.iret_frame.cs = USER_CS

    m.gate(X86_TRAP_BP, spoil, dpl=3)
    m.gate(X86_TRAP_GP, mend)
    m.run([int3(), nop()], user=True)
    assert (m.entered, codes) == ([(X86_TRAP_BP, 0x1001), (X86_TRAP_GP, IRET_IP)], [(0x88, 0x10)])


def test_single_steps_and_breakpoints_on_instructions() -> None:
    m = Bare()
    status: list[int] = []

    async def debug(cpu: Cpu, frame: PtRegs) -> None:
        status.append(cpu.system.dr[DR_STATUS] & 0xF00F)
        frame.flags &= ~X86_FLAGS_TF

    m.gate(X86_TRAP_DB, debug)
    m.cpu.system.set_breakpoint(1, 0x1003, RW_EXECUTE)
    m.run([nop(), nop(), nop(), nop()], IF | X86_FLAGS_TF)
    # The step is reported behind its instruction, the breakpoint ahead of it, once.
    assert (m.entered, status) == ([(X86_TRAP_DB, 0x1001), (X86_TRAP_DB, 0x1003)], [0x4000, 0b10])


def test_S2_14_debug_registers_are_privileged() -> None:
    m = Bare()

    async def skip(cpu: Cpu, frame: PtRegs) -> None:
        frame.ip += 3

    m.gate(X86_TRAP_GP, skip)
    m.gate(X86_TRAP_DB, ist=3)
    m.run([mov_dr(7, 0x400), nop()], user=True)
    assert (m.entered, m.cpu.system.dr[7]) == ([(X86_TRAP_GP, 0x1000)], 0x400)
    # From the kernel it works: a store of any of eight bytes is watched.
    m.run([mov_dr(2, 0x7000), mov_dr(7, 0x400 | 2 << 4 | (2 << 2 | 1) << 24), store(0x7004, size=2), load(0x7004), nop()])
    assert m.entered[1:] == [(X86_TRAP_DB, 0x100A)]
    with pytest.raises(UsageError, match="there is no breakpoint 4"):
        SystemRegs().set_breakpoint(4, 0)


def test_programs_jump_and_loop() -> None:
    m = Bare()
    counts: list[int] = []
    count = op("count", lambda regs: counts.append(regs.cx))
    m.run([count, loop(0x1000), jump(0x1008), nop(), nop()], cx=3)
    assert counts == [3, 2, 1]
    with pytest.raises(UsageError, match="^program jumps to 0x2000, where no instruction of its program begins$"):
        m.run([jump(0x2000)])


@pytest.mark.parametrize("kind", [14, TRAP_GATE])
def test_what_a_handler_starts_with(kind: int) -> None:
    m = Bare()
    seen: list[tuple[int, bool]] = []

    async def look(cpu: Cpu, frame: PtRegs) -> None:
        seen.append((frame.flags, cpu.irqs_off))

    m.gate(X86_TRAP_DE, look, kind=kind)
    regs = registers(m.thread, 0x55, user=True)
    m.cpu.irqs_off = False
    m.thread.sim = m.engine.spawn(raise_exception(m.thread, Raised(X86_TRAP_DE), regs), "raise")
    m.world.settle()
    assert seen == [(X86_FLAGS_FIXED | X86_FLAGS_IF | X86_FLAGS_RF, kind == 14)]
    assert (m.cpu.irqs_off, m.thread.frame, m.thread.user_mode) == (False, None, False)


def test_a_task_gate_looks_at_no_segment() -> None:
    m = Bare()
    m.cpu.idt = Idt(32)
    m.gate(X86_TRAP_DF)
    gate = m.cpu.idt.slots[X86_TRAP_DF]
    assert gate is not None
    m.cpu.idt.set_gate(X86_TRAP_DF, msgspec.structs.replace(gate, type=TASK_GATE, selector=31 << 3))
    m.thread.sim = m.engine.spawn(deliver(m.thread, Raised(X86_TRAP_DF, 0), registers(m.thread, 0x99)), "raise")
    m.world.settle()
    assert m.entered == [(X86_TRAP_DF, 0x99)]
