"""Show group B of the inventory: exceptions, from the frame that the CPU pushes to the signal or the oops."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.config import preset
from asyncirq.entry.die import DIE_TRAP, NOTIFY_DONE, NOTIFY_STOP, DieArgs
from asyncirq.entry.kinds import ENTRIES, EXCEPTIONS, KINDS, stub
from asyncirq.entry.special_traps import INT3_GAP, int3_emulate_call, int3_frame_address
from asyncirq.entry.vectors import X86_TRAP_OTHER
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.execute import Program
from asyncirq.hw.insn import int3, loop, mov_dr, nop, op, store
from asyncirq.hw.pt_regs import KERNEL_CS, USER_CS, X86_FLAGS_VM, HardwareFrame, PtRegs
from asyncirq.hw.system_regs import RW_WRITE
from asyncirq.hw.trapnr import (
    TRAPS,
    X86_TRAP_AC,
    X86_TRAP_BP,
    X86_TRAP_BR,
    X86_TRAP_CP,
    X86_TRAP_DB,
    X86_TRAP_DE,
    X86_TRAP_DF,
    X86_TRAP_GP,
    X86_TRAP_MC,
    X86_TRAP_MF,
    X86_TRAP_NM,
    X86_TRAP_NP,
    X86_TRAP_OF,
    X86_TRAP_OLD_MF,
    X86_TRAP_PF,
    X86_TRAP_SPURIOUS,
    X86_TRAP_SS,
    X86_TRAP_TS,
    X86_TRAP_UD,
    X86_TRAP_XF,
)
from asyncirq.sched.signal import (
    BUS_ADRALN,
    BUS_MCEERR_AR,
    FPE_FLTDIV,
    FPE_FLTINV,
    FPE_INTDIV,
    ILL_ILLOPN,
    SEGV_ACCERR,
    SEGV_CPERR,
    SEGV_MAPERR,
    SI_KERNEL,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    TRAP_HWBKPT,
    TRAP_TRACE,
    SigInfo,
)
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.conformance.trap_scene import Scene, play

IP = 0x40_1000
KERNEL_IP = 0xFFFF_FFFF_8100_0000


def catching(scene: Scene, task: Task, signal: int) -> list[tuple[SigInfo, int, int]]:
    """Have a handler take a signal; return what it gets: the info, trap number and error code of the thread."""
    caught: list[tuple[SigInfo, int, int]] = []

    async def handler(task: Task, info: SigInfo) -> None:
        assert task.thread is not None
        caught.append((info, task.thread.trap_nr, task.thread.error_code))

    scene.traps.signals.of(task).handle(signal, handler)
    return caught


# --- entry


def test_S0_43_error_code_slot_uniform_frame() -> None:
    slots: list[tuple[str, int]] = []

    async def code(scene: Scene, task: Task) -> None:
        assert (HardwareFrame(IP, USER_CS, 2, 0, 0).regs().orig_ax, HardwareFrame(IP, USER_CS, 2, 0, 0, 0x18).regs().orig_ax) == (-1, 0x18)

        def look(args: DieArgs) -> int:
            slots.append((args.text, args.regs.orig_ax))
            assert args.error_code == (0 if args.trap_nr == X86_TRAP_DE else 0x18)
            return NOTIFY_STOP

        def before(cpu: Cpu, step: str) -> None:
            frame = cpu.current.frame
            if step == "entry" and frame is not None:
                slots.append((step, frame.orig_ax))

        scene.traps.oops.chain.register(look)
        outer = scene.traps.enter

        async def enter(cpu: Cpu, vector: int) -> None:
            before(cpu, "entry")
            await outer(cpu, vector)

        for vector in (X86_TRAP_DE, X86_TRAP_NP):
            gate = task.cpu.idt.slots[vector]
            assert gate is not None
            task.cpu.idt.slots[vector] = type(gate)(enter, gate.name)
        await scene.traps.exception(task, X86_TRAP_DE, ip=IP)
        await scene.traps.exception(task, X86_TRAP_NP, 0x18, ip=IP)

    play(code)
    # The hardware's slot first, then what the handler sees.
    assert slots == [("entry", -1), ("divide error", -1), ("entry", 0x18), ("segment not present", -1)]


@pytest.mark.parametrize("vector", sorted(EXCEPTIONS))
def test_S0_16_which_entries_carry_an_error_code(vector: int) -> None:
    assert KINDS[EXCEPTIONS[vector].kind].error_code is TRAPS[vector].error_code
    none = (X86_TRAP_DE, X86_TRAP_OF, X86_TRAP_BR, X86_TRAP_NM, X86_TRAP_OLD_MF, X86_TRAP_SPURIOUS, X86_TRAP_MF, X86_TRAP_XF)
    if vector in none:
        assert not TRAPS[vector].error_code
    if vector == X86_TRAP_SS:
        assert TRAPS[vector].error_code
    assert KINDS[stub(0x41).kind].error_code


def test_S0_45_breakpoint_gap_from_kernel_mode() -> None:
    kernel = PtRegs(ip=KERNEL_IP + 1, cs=KERNEL_CS, sp=0x9000)
    user = PtRegs(ip=IP + 1, cs=USER_CS, sp=0x9000)
    assert (int3_frame_address(kernel), int3_frame_address(user)) == (0x9000 - 40 - INT3_GAP, 0x9000 - 40)
    assert INT3_GAP == 6 * 8
    assert int3_emulate_call(kernel, KERNEL_IP + 0x500) == (0x8FF8, KERNEL_IP + 5)
    assert (kernel.ip, kernel.sp) == (KERNEL_IP + 0x500, 0x8FF8)
    # The word pushed lies in the gap, above the frame.
    assert int3_frame_address(PtRegs(sp=0x9000)) + 40 <= 0x8FF8
    with pytest.raises(UsageError, match="has no gap"):
        int3_emulate_call(user, IP)


def test_S0_45_a_patched_place_of_the_kernel_becomes_a_call() -> None:
    async def code(scene: Scene, task: Task) -> None:
        def call(regs: PtRegs) -> None:
            int3_emulate_call(regs, KERNEL_IP + 0x500)

        scene.traps.patched[KERNEL_IP] = call
        regs = await scene.traps.int_n(task, X86_TRAP_BP, ip=KERNEL_IP - 1, sp=0x9000)
        scene.note(f"{regs.ip - KERNEL_IP:#x} {regs.sp:#x}")

    scene = play(code, kthread=True)
    assert (scene.log, scene.traps.oops.count) == ([(0, "0x500 0x8ff8")], 0)


def test_S0_50_entry_declaration_kinds() -> None:
    assert sorted(KINDS) == sorted({entry.kind for entry in ENTRIES} | {"noist", "vc_user"})
    assert len(KINDS) == 12
    kinds = {entry.name: (entry.kind, entry.from_user) for entry in ENTRIES}
    assert kinds["exc_debug"] == kinds["exc_machine_check"] == ("ist", "noist")
    assert kinds["exc_vmm_communication"] == ("vc_kernel", "vc_user")
    assert (kinds["sysvec_reschedule_ipi"][0], kinds["sysvec_call_function"][0], kinds["common_interrupt"][0]) == (
        "sysvec_simple",
        "sysvec",
        "irq",
    )
    assert [name for name, kind in KINDS.items() if kind.irq_stack] == ["irq", "sysvec"]
    assert [name for name, kind in KINDS.items() if kind.own_stack] == ["ist", "df", "vc_kernel"]


def steps_of(vector: int, error_code: int | None = None) -> list[str]:
    """Return the steps of the entry code of an exception from user mode, with the handler's own records among them."""
    steps: list[str] = []

    async def code(scene: Scene, task: Task) -> None:
        def stop(args: DieArgs) -> int:
            steps.append(f"handler: {args.text}")
            return NOTIFY_DONE

        scene.traps.oops.chain.register(stop)
        scene.traps.note = lambda cpu, step: steps.append(step)
        await scene.traps.exception(task, vector, error_code, ip=IP)

    play(code)
    return steps


def test_S0_50_the_kind_decides_what_is_in_the_trace() -> None:
    assert steps_of(X86_TRAP_DE) == ["error_entry", "irqentry_enter", "handler: divide error", "irqentry_exit"]
    assert steps_of(X86_TRAP_NP, 0x18) == ["error_entry", "irqentry_enter", "handler: segment not present", "irqentry_exit"]
    assert steps_of(X86_TRAP_DB) == ["paranoid_entry", "handler: debug"]


def test_S3_17_raw_entries_skip_the_wrapper() -> None:
    bugs: list[str] = []

    async def code(scene: Scene, task: Task) -> None:
        scene.traps.bugs[KERNEL_IP] = "at kernel/irq/chip.c:100"
        scene.traps.note = lambda cpu, step: bugs.append(step)
        regs = await scene.traps.exception(task, X86_TRAP_UD, ip=KERNEL_IP)
        scene.note(hex(regs.ip))

    # The body looks for a WARN first; only an opcode that is none enters, by its own doing.
    scene = play(code, kthread=True)
    assert (bugs, scene.log) == (["error_entry"], [(0, hex(KERNEL_IP + 2))])
    assert (0, "WARNING: at kernel/irq/chip.c:100") in scene.story()
    assert steps_of(X86_TRAP_UD) == ["error_entry", "irqentry_enter", "handler: invalid opcode", "irqentry_exit"]


def test_S0_56_dummy_vector_0xffff() -> None:
    common = next(entry for entry in ENTRIES if entry.name == "common_interrupt")
    assert common.vector == X86_TRAP_OTHER == 0xFFFF
    assert X86_TRAP_OTHER not in range(256)
    assert all(stub(vector) is common for vector in (0x20, 0x41, 0xEA))
    assert stub(X86_TRAP_DE).name == "exc_divide_error"


def test_S2_18_generic_part_and_specific_part() -> None:
    def records(vector: int) -> list[str]:
        async def code(scene: Scene, task: Task) -> None:
            catching(scene, task, SIGILL)
            await scene.traps.exception(task, vector, ip=IP, address=0x5000)

        return [text for _, text in play(code).story()]

    invalid, page = records(X86_TRAP_UD), records(X86_TRAP_PF)
    assert invalid == ["entry invalid_op", "exit invalid_op", f"signal {SIGILL} code {ILL_ILLOPN} handler 0x401000", "exit app"]
    assert [text for text in page if text.startswith(("entry", "exit p"))] == ["entry page_fault", "exit page_fault"]
    assert page[1].startswith("app[") and "segfault at 5000" in page[1]


def test_S0_19_exception_wrapper_for_ordinary_exceptions() -> None:
    async def code(scene: Scene, task: Task) -> None:
        catching(scene, task, SIGFPE)

        async def urgent(other: Task) -> None:
            scene.note("urgent runs")

        scene.traps.oops.chain.register(lambda args: wake(scene, urgent))
        await scene.traps.exception(task, X86_TRAP_DE, ip=IP)
        scene.note("the program goes on")

    def wake(scene: Scene, fn: Any) -> int:
        scene.machine.start_thread(fn, "urgent", policy=SCHED_FIFO, rt_priority=50)
        return NOTIFY_DONE

    scene = play(code)
    assert scene.log == [(0, "urgent runs"), (0, "the program goes on")]
    story = [text for _, text in scene.story("exception_exit", "sched_switch") if "urgent" in text or "divide" in text]
    assert story[:3] == ["exit divide_error", "app -> urgent", "urgent -> app"]


# --- breakpoints and debug registers


def breakpoint_loop(traced: bool) -> Scene:
    """Run a program that prints a line and stops at a breakpoint, six times."""

    async def code(scene: Scene, task: Task) -> None:
        async def tracer(task: Task, info: SigInfo) -> int:
            frame = task.frame
            assert frame is not None
            scene.note(f"stop {info.signo} at {frame.ip:#x}")
            return 0

        if traced:
            scene.traps.signals.of(task).tracer = tracer
        program = Program([op("print", lambda regs: scene.note("line"), 5), int3(), loop(0x40_0000), nop()])
        await scene.traps.execute(task, program, cx=6)
        scene.note("end")

    return play(code)


def test_S2_15_breakpoint_life_cycle() -> None:
    alone = breakpoint_loop(traced=False)
    assert [text for _, text in alone.log] == ["line"]
    assert [text for _, text in alone.story()][-2:] == [f"signal {SIGTRAP} code {SI_KERNEL} handler 0x0", "exit app"]
    debugged = breakpoint_loop(traced=True)
    assert [text for _, text in debugged.log] == ["line", f"stop {SIGTRAP} at 0x400006"] * 6 + ["end"]


def test_S2_14_debug_registers_are_privileged_in_a_program() -> None:
    async def code(scene: Scene, task: Task) -> None:
        caught = catching(scene, task, SIGSEGV)
        trapped = catching(scene, task, SIGTRAP)

        async def skip(task: Task, info: SigInfo) -> None:
            assert task.thread is not None and task.frame is not None
            caught.append((info, task.thread.trap_nr, task.thread.error_code))
            task.frame.ip += 3

        scene.traps.signals.of(task).handle(SIGSEGV, skip)
        await scene.traps.execute(task, Program([mov_dr(7, 0x400), nop()]))
        scene.note(str([(info.signo, trap, error) for info, trap, error in caught]))
        task.cpu.system.set_breakpoint(0, 0x7000, RW_WRITE)
        await scene.traps.execute(task, Program([store(0x7000), nop()]))
        task.cpu.system.clear_breakpoint(0)
        await scene.traps.execute(task, Program([store(0x7000), nop()]))
        scene.note(str([(info.code, info.address, trap) for info, trap, _ in trapped]))

    scene = play(code)
    gate = scene.machine.cpus[0].idt.slots[X86_TRAP_DB]
    assert gate is not None and (gate.dpl, gate.ist) == (0, 3)
    assert [text for _, text in scene.log] == [f"[({SIGSEGV}, {X86_TRAP_GP}, 0)]", f"[({TRAP_HWBKPT}, {0x400004}, {X86_TRAP_DB})]"]


def test_single_steps_and_int1_tell_themselves_apart() -> None:
    async def code(scene: Scene, task: Task) -> None:
        trapped = catching(scene, task, SIGTRAP)
        program = Program([op("popf", set_trap_flag), nop(), nop()])
        await scene.traps.execute(task, program)
        await scene.traps.exception(task, X86_TRAP_DB, ip=IP)
        scene.note(str([(info.code, hex(info.address)) for info, _, _ in trapped]))

    def set_trap_flag(regs: PtRegs) -> None:
        regs.flags |= 0x100

    assert play(code).log == [(3, str([(TRAP_TRACE, "0x400004"), (TRAP_BRKPT, hex(IP))]))]


# --- the bodies


def test_S0_24_do_error_trap_notifier_gate() -> None:
    async def code(scene: Scene, task: Task) -> None:
        answers = [NOTIFY_STOP, NOTIFY_DONE]
        seen: list[tuple[int, bool]] = []

        def notifier(args: DieArgs) -> int:
            seen.append((args.event, args.task.cpu.irqs_off))
            return answers.pop(0)

        caught = catching(scene, task, SIGFPE)
        scene.traps.oops.chain.register(notifier)
        await scene.traps.exception(task, X86_TRAP_DE, ip=IP)
        scene.note(f"stopped: {caught}")
        await scene.traps.exception(task, X86_TRAP_DE, ip=IP)
        scene.note(f"{len(caught)} {seen} {answers}")
        scene.traps.oops.chain.unregister(notifier)
        with pytest.raises(UsageError, match="is not on the chain"):
            scene.traps.oops.chain.unregister(notifier)

    assert play(code).log == [(0, "stopped: []"), (0, f"1 [({DIE_TRAP}, True), ({DIE_TRAP}, True)] []")]


@pytest.mark.parametrize("off", [False, True])
def test_S0_24_interrupts_are_as_they_were(off: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def code(scene: Scene, task: Task) -> None:
        scene.traps.oops.add_fixup(KERNEL_IP, KERNEL_IP + 8)
        outer = scene.traps.do_trap

        async def spy(*args: Any) -> None:
            scene.note(f"off: {task.cpu.irqs_off}")
            await outer(*args)

        monkeypatch.setattr(scene.traps, "do_trap", spy)
        if off:
            task.cpu.irq_disable()
        await scene.traps.exception(task, X86_TRAP_DE, ip=KERNEL_IP)
        scene.note(f"after: {task.cpu.irqs_off}")
        await task.cpu.irq_restore(False)

    assert play(code, kthread=True).log == [(0, f"off: {off}"), (0, f"after: {off}")]


def test_S0_25_do_trap_modern() -> None:
    async def kernel(scene: Scene, task: Task) -> None:
        scene.traps.oops.add_fixup(KERNEL_IP, KERNEL_IP + 0x20)
        with pytest.raises(UsageError, match="is in the exception table already"):
            scene.traps.oops.add_fixup(KERNEL_IP, KERNEL_IP)
        regs = await scene.traps.exception(task, X86_TRAP_GP, 0x18, ip=KERNEL_IP)
        scene.note(f"{regs.ip - KERNEL_IP:#x} {task.signals}")

    fixed = play(kernel, kthread=True)
    assert (fixed.log, fixed.traps.oops.count) == ([(0, "0x20 None")], 0)

    async def user(scene: Scene, task: Task) -> None:
        with_address = catching(scene, task, SIGFPE)
        await scene.traps.exception(task, X86_TRAP_DE, ip=IP)
        without = catching(scene, task, SIGBUS)
        await scene.traps.exception(task, X86_TRAP_SS, 0x28, ip=IP)
        scene.note(str([info[:3] for info, _, _ in with_address + without]))

    assert play(user).log == [(0, str([(SIGFPE, FPE_INTDIV, IP), (SIGBUS, SI_KERNEL, 0)]))]


def test_S0_23_divide_error_mapping() -> None:
    async def code(scene: Scene, task: Task) -> None:
        caught = catching(scene, task, SIGFPE)
        await scene.traps.exception(task, X86_TRAP_DE, ip=0x40_1234)
        assert caught == [(SigInfo(SIGFPE, FPE_INTDIV, 0x40_1234), X86_TRAP_DE, 0)]

    play(code)


@pytest.mark.parametrize(
    ("vector", "error_code", "expected"),
    [
        (X86_TRAP_OF, None, (SIGSEGV, SI_KERNEL, 0)),
        (X86_TRAP_BR, None, (SIGSEGV, SI_KERNEL, 0)),
        (X86_TRAP_UD, None, (SIGILL, ILL_ILLOPN, IP)),
        (X86_TRAP_OLD_MF, None, (SIGFPE, SI_KERNEL, 0)),
        (X86_TRAP_TS, 0x20, (SIGSEGV, SI_KERNEL, 0)),
        (X86_TRAP_NP, 0x20, (SIGBUS, SI_KERNEL, 0)),
        (X86_TRAP_SS, 0x20, (SIGBUS, SI_KERNEL, 0)),
        (X86_TRAP_GP, 0x20, (SIGSEGV, SI_KERNEL, 0)),
        (X86_TRAP_AC, 0, (SIGBUS, BUS_ADRALN, 0)),
        (X86_TRAP_CP, 1, (SIGSEGV, SEGV_CPERR, 0)),
        (X86_TRAP_MC, None, (SIGBUS, BUS_MCEERR_AR, IP)),
        (X86_TRAP_BP, None, (SIGTRAP, SI_KERNEL, 0)),
    ],
)
def test_what_user_mode_gets(vector: int, error_code: int | None, expected: tuple[int, int, int]) -> None:
    async def code(scene: Scene, task: Task) -> None:
        caught = catching(scene, task, expected[0])
        await scene.traps.exception(task, vector, error_code, ip=IP)
        info, trap_nr, error = caught[0]
        assert info[:3] == expected
        if vector != X86_TRAP_MC:
            assert (trap_nr, error) == (vector, error_code or 0)

    assert play(code).traps.oops.count == 0


@pytest.mark.parametrize(
    ("vector", "status", "code"), [(X86_TRAP_MF, 0x04, FPE_FLTDIV), (X86_TRAP_XF, 0x21, FPE_FLTINV), (X86_TRAP_MF, 0, 0)]
)
def test_the_fpu_s_exceptions(vector: int, status: int, code: int) -> None:
    async def run(scene: Scene, task: Task) -> None:
        caught = catching(scene, task, SIGFPE)
        await scene.traps.exception(task, X86_TRAP_SPURIOUS, ip=IP)
        await scene.traps.exception(task, X86_TRAP_DE, ip=IP)
        caught.clear()
        assert task.thread is not None
        task.thread.fpu_status = status
        await scene.traps.exception(task, vector, ip=IP)
        assert [info[:3] for info, _, _ in caught] == ([(SIGFPE, code, IP)] if code else [])

    play(run)


def test_the_fpu_is_loaded_when_it_is_used() -> None:
    async def code(scene: Scene, task: Task) -> None:
        loaded: list[Task] = []
        scene.traps.fpu_restore = loaded.append
        await scene.traps.exception(task, X86_TRAP_NM, ip=IP)
        assert loaded == [task]

    play(code)


# --- three ways out of a trap


@pytest.mark.parametrize("mode", ["vm86", "vm86 refused", "user", "kernel"])
def test_S2_32_do_trap_2_6_three_way_split(mode: str) -> None:
    branches: list[str] = []

    async def code(scene: Scene, task: Task) -> None:
        caught = catching(scene, task, SIGFPE)
        if mode == "kernel":
            await scene.traps.exception(task, X86_TRAP_DE, ip=KERNEL_IP, user=False)
        await scene.traps.exception(task, X86_TRAP_DE, ip=IP)
        if mode.startswith("vm86"):
            assert task.thread is not None
            task.thread.trap_nr = task.thread.error_code = -1
            caught.clear()

            def vm86(trap: int, error_code: int) -> bool:
                branches.append(f"vm86 {trap}")
                return mode == "vm86"

            task.thread.vm86 = vm86
            frame = PtRegs(ip=IP, cs=0, flags=0x202 | X86_FLAGS_VM)
            await scene.traps.exception(task, X86_TRAP_DE, regs=frame)
            branches.append(f"trap_nr {task.thread.trap_nr}")
        branches.extend(f"signal {info.signo}" for info, _, _ in caught)

    scene = play(code, kernel="linux-2.6")
    expected = {
        "vm86": ["vm86 0", "trap_nr -1"],
        "vm86 refused": ["vm86 0", "trap_nr 0", "signal 8"],
        "user": ["signal 8"],
        "kernel": [],
    }
    assert branches == expected[mode]
    assert scene.traps.oops.count == (1 if mode == "kernel" else 0)


@pytest.mark.parametrize("way", ["ignored", "blocked", "handled"])
def test_S2_34_forced_signal(way: str) -> None:
    async def code(scene: Scene, task: Task) -> None:
        signals = scene.traps.signals.of(task)
        if way == "handled":
            catching(scene, task, SIGFPE)
        elif way == "ignored":
            signals.ignore(SIGFPE)
        else:
            signals.block_all()
        await scene.traps.exception(task, X86_TRAP_DE, ip=IP)
        scene.note("alive")

    scene = play(code)
    signals = scene.tasks["app"].signals
    assert signals is not None
    assert (scene.log, signals.fatal) == (([(0, "alive")], 0) if way == "handled" else ([], SIGFPE))


def test_S2_33_kernel_fault_fix_up_or_die() -> None:
    async def copy(scene: Scene, task: Task, fixup: bool) -> None:
        if fixup:
            scene.traps.oops.add_fixup(KERNEL_IP, KERNEL_IP + 0x40)
        regs = await scene.traps.touch(task, 0x10_0000, write=True, user=False, ip=KERNEL_IP)
        scene.note(f"left at {regs.ip - KERNEL_IP:#x}")

    async def good(scene: Scene, task: Task) -> None:
        await copy(scene, task, True)

    async def bad(scene: Scene, task: Task) -> None:
        await copy(scene, task, False)

    scene = play(good)
    assert (scene.log, scene.traps.oops.count) == ([(0, "left at 0x40")], 0)
    scene = play(bad)
    assert (scene.log, scene.traps.oops.count) == ([], 1)
    assert [text for _, text in scene.story()][1:3] == [
        "BUG: unable to handle page fault for address: 0000000000100000",
        "Oops: Oops: 0002 [#1] PREEMPT",
    ]


# --- the end of a thread, and of the machine


def test_an_oops_ends_the_thread_and_the_machine_goes_on() -> None:
    async def code(scene: Scene, task: Task) -> None:
        async def other(other: Task) -> None:
            await other.spend(5_000)
            scene.note("the machine goes on")

        scene.machine.start_thread(other, "other")
        task.preempt_disable()
        await scene.traps.exception(task, X86_TRAP_UD, ip=KERNEL_IP)
        scene.note("not reached")

    scene = play(code, kthread=True, oops_ns=100)
    assert scene.log == [(5_100, "the machine goes on")]
    texts = [text for _, text in scene.story()]
    assert texts == [
        "entry invalid_op",
        "Oops: invalid opcode: 0000 [#1] PREEMPT",
        f"CPU: 0 PID: {scene.tasks['app'].pid} Comm: app",
        "RIP: 0010:0xffffffff81000000",
        f"note: app[{scene.tasks['app'].pid}] exited with irqs disabled",
        f"note: app[{scene.tasks['app'].pid}] exited with preempt_count 1",
        "exit app",
        "exit other",
    ]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("policy", "Fatal exception"),
        ("interrupt", "Fatal exception in interrupt"),
        ("double fault", "Fatal exception in interrupt"),
        ("machine check", "Fatal local machine check"),
        ("breakpoint", "Fatal exception in interrupt"),
    ],
)
def test_a_panic_ends_the_machine(where: str, message: str) -> None:
    vectors = {"double fault": X86_TRAP_DF, "machine check": X86_TRAP_MC, "breakpoint": X86_TRAP_BP}

    async def code(scene: Scene, task: Task) -> None:
        if where == "interrupt":
            task.cpu.preempt_count += 0x10000
        await scene.traps.exception(task, vectors.get(where, X86_TRAP_UD), ip=KERNEL_IP)

    with pytest.raises(KernelBug, match=rf"^Kernel panic - not syncing: {message}, on CPU0 at 0 ns$"):
        play(code, kthread=True, kernel=preset("linux-7.1", panic_on_oops=where == "policy"))


def test_a_notifier_may_stop_an_oops() -> None:
    async def code(scene: Scene, task: Task) -> None:
        scene.traps.oops.chain.register(lambda args: NOTIFY_STOP if args.event == 1 else NOTIFY_DONE)
        await scene.traps.exception(task, X86_TRAP_DE, ip=KERNEL_IP)
        scene.note("saved")

    scene = play(code, kthread=True)
    assert (scene.log, scene.traps.oops.count) == ([(0, "saved")], 1)


def test_notifiers_are_asked_by_priority() -> None:
    asked: list[str] = []

    def asking(name: str, answer: int) -> Any:
        def notifier(args: DieArgs) -> int:
            asked.append(name)
            return answer

        return notifier

    async def code(scene: Scene, task: Task) -> None:
        chain = scene.traps.oops.chain
        chain.register(asking("low", NOTIFY_DONE), -1)
        chain.register(asking("first", NOTIFY_DONE))
        chain.register(asking("second", NOTIFY_STOP))
        chain.register(asking("high", NOTIFY_DONE), 5)
        await scene.traps.exception(task, X86_TRAP_DE, ip=IP)

    play(code)
    assert asked == ["high", "first", "second"]


# --- page faults


def test_a_page_fault_may_sleep_and_the_instruction_is_executed_again() -> None:
    async def code(scene: Scene, task: Task) -> None:
        async def from_disk(task: Task, address: int, write: bool) -> Any:
            await scene.machine.sleep.msleep(task, 4)
            return "done"

        space = scene.traps.faults.space(task)
        space.map(0x10_0000, 0x2000, bring_in=from_disk)
        start = scene.machine.now
        await scene.traps.touch(task, 0x10_0800, ip=IP)
        slept = scene.machine.now - start
        await scene.traps.touch(task, 0x10_0900, write=True, ip=IP)
        scene.note(f"{slept >= 4_000_000} {scene.machine.now - start == slept} {space.faults}")

    scene = play(code, run_ns=50_000_000)
    assert [text for _, text in scene.log] == ["True True 1"]
    assert [text for _, text in scene.story("exception_entry", "exception_exit")] == ["entry page_fault", "exit page_fault"]


@pytest.mark.parametrize(
    ("address", "write", "rights", "code", "error_code"),
    [
        (0x20_0000, False, {}, SEGV_MAPERR, 0b100),
        (0x10_0000, True, {"write": False}, SEGV_ACCERR, 0b110),
        (0xFFFF_8000_0000_0000, False, {}, SEGV_MAPERR, 0b101),
    ],
)
def test_a_bad_access_of_user_mode(address: int, write: bool, rights: dict[str, bool], code: int, error_code: int) -> None:
    async def run(scene: Scene, task: Task) -> None:
        async def skip(task: Task, info: SigInfo) -> None:
            assert task.frame is not None and task.thread is not None
            task.frame.ip += 4
            scene.note(f"{info.code} {info.address:#x} {task.thread.error_code} {task.thread.cr2:#x}")

        scene.traps.faults.space(task).map(0x10_0000, 0x1000, **rights)
        scene.traps.signals.of(task).handle(SIGSEGV, skip)
        await scene.traps.touch(task, address, write=write, ip=IP)

    assert play(run).log == [(0, f"{code} {address:#x} {error_code} {address:#x}")]


@pytest.mark.parametrize("why", ["atomic", "disabled", "kthread"])
def test_the_kernel_does_not_sleep_for_a_page_where_it_must_not(why: str) -> None:
    async def run(scene: Scene, task: Task) -> None:
        scene.traps.oops.add_fixup(KERNEL_IP, KERNEL_IP + 0x40)
        scene.traps.faults.space(task).map(0x10_0000, 0x1000)
        if why == "atomic":
            task.preempt_disable()
        elif why == "disabled":
            await scene.traps.touch(task, 0x20_0000, user=False, ip=KERNEL_IP)
            assert task.thread is not None
            task.thread.fault_disabled = 1
        regs = await scene.traps.touch(task, 0x10_0000, user=False, ip=KERNEL_IP)
        scene.note(f"{regs.ip - KERNEL_IP:#x} {scene.traps.faults.space(task).faults}")
        if why == "atomic":
            await task.preempt_enable()

    assert play(run, kthread=why == "kthread").log == [(0, "0x40 0")]


@pytest.mark.parametrize(("outcome", "signal"), [("sigbus", SIGBUS), ("oom", 9)])
def test_a_page_that_cannot_come(outcome: str, signal: int) -> None:
    tries: list[int] = []

    async def run(scene: Scene, task: Task) -> None:
        async def fail(task: Task, address: int, write: bool) -> Any:
            tries.append(address)
            return "retry" if len(tries) == 1 else outcome

        scene.traps.faults.space(task).map(0x10_0000, 0x1000, bring_in=fail)
        await scene.traps.touch(task, 0x10_0010, ip=IP)

    scene = play(run)
    signals = scene.tasks["app"].signals
    assert signals is not None
    assert (signals.fatal, tries) == (signal, [0x10_0010, 0x10_0010])


def test_areas_are_whole_pages_and_do_not_overlap() -> None:
    async def run(scene: Scene, task: Task) -> None:
        space = scene.traps.faults.space(task)
        space.map(0x1000, 0x2000)
        with pytest.raises(UsageError, match="are not user pages"):
            space.map(0x1800, 0x1000)
        with pytest.raises(UsageError, match="are mapped already"):
            space.map(0x2000, 0x1000)
        scene.note("refused")

    assert play(run).log == [(0, "refused")]


# --- IRET


def test_S0_49_iret_itself_may_fault() -> None:
    async def user(scene: Scene, task: Task) -> None:
        steps: list[str] = []
        scene.traps.note = lambda cpu, step: steps.append(step)
        caught = catching(scene, task, SIGSEGV)

        def spoil(args: DieArgs) -> int:
            args.regs.cs = 0x8B
            return NOTIFY_STOP

        scene.traps.oops.chain.register(spoil)
        regs = await scene.traps.exception(task, X86_TRAP_DE, ip=IP)
        scene.note(f"{regs.cs:#x} {[(info.signo, trap, error) for info, trap, error in caught]} {steps.count('fixup_bad_iret')}")

    scene = play(user)
    assert scene.log == [(0, f"{USER_CS:#x} [({SIGSEGV}, {X86_TRAP_GP}, {0x88})] 1")]
    assert scene.traps.oops.count == 0

    async def kernel(scene: Scene, task: Task) -> None:
        def spoil(args: DieArgs) -> int:
            if args.trap_nr != X86_TRAP_DE:
                return NOTIFY_DONE
            args.regs.cs = 0x88
            return NOTIFY_STOP

        scene.traps.oops.chain.register(spoil)
        await scene.traps.exception(task, X86_TRAP_DE, ip=KERNEL_IP)
        scene.note("not reached")

    scene = play(kernel, kthread=True)
    assert (scene.log, scene.traps.oops.count) == ([], 1)
