"""Show group A of the inventory: the interrupt descriptor table, its gates, and the order in which a kernel fills it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncirq import Machine
from asyncirq.bottom_half.softirq import TASKLET_SOFTIRQ, Softirq
from asyncirq.bottom_half.tasklet import Tasklets
from asyncirq.config import IdtPolicy, KernelConfig, preset
from asyncirq.entry.arm64 import Arm64Entry
from asyncirq.entry.idt_setup import IRQ_ENTRIES_START, IdtSetup, stub_address
from asyncirq.entry.kinds import EXCEPTIONS
from asyncirq.entry.vectors import vector_name
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gate import INTERRUPT_GATE, TASK_GATE, TRAP_GATE
from asyncirq.hw.idt import READ_ONLY_ALIAS, Gate, Idt
from asyncirq.hw.insn import int3, int_n, into, nop
from asyncirq.hw.pt_regs import PtRegs
from asyncirq.hw.trapnr import (
    IA32_SYSCALL_VECTOR,
    TRAPS,
    X86_TRAP_BP,
    X86_TRAP_BR,
    X86_TRAP_DB,
    X86_TRAP_DE,
    X86_TRAP_DF,
    X86_TRAP_GP,
    X86_TRAP_MC,
    X86_TRAP_NMI,
    X86_TRAP_OF,
    X86_TRAP_PF,
)
from asyncirq.irqchip.vector_code import decode, slot
from asyncirq.sched.task import Task
from asyncirq.trace.events import Printk
from asyncirq.trace.record import tag_of
from tests.conformance.trap_scene import Scene, play
from tests.hw.bare import IF, Bare
from tests.softirq_rig import Rig


async def handler(cpu: Any, vector: int) -> None:
    """Return at once."""


class Bodies(dict[str, Any]):
    """A handler for every name."""

    def __missing__(self, name: str) -> Any:
        return handler


def setup(policy: IdtPolicy | None = None, bits: int = 64, kernel: KernelConfig | str = "linux-7.1") -> IdtSetup:
    """Return the set-up of an empty table, with nothing done yet."""
    config = preset(kernel) if isinstance(kernel, str) else kernel
    rig = Rig(kernel=config)
    return IdtSetup(Idt(bits), rig.entry, Bodies(), policy if policy is not None else config.idt, config.vectors)


def rows(idt: IdtSetup, last: int = 31) -> dict[int, tuple[int, int, int]]:
    """Return type, DPL and IST of the gates up to a vector, by vector."""
    return {n: (gate.type, gate.dpl, gate.ist) for n, gate in enumerate(idt.table.slots[: last + 1]) if gate is not None}


def boot(policy: IdtPolicy | None = None, bits: int = 64, kernel: KernelConfig | str = "linux-7.1") -> IdtSetup:
    """Return the set-up of a table after a boot."""
    idt = setup(policy, bits, kernel)
    idt.trap_gates()
    idt.irq_init()
    return idt


# --- gates


@pytest.mark.parametrize(("kind", "entered"), [(TRAP_GATE, 3), (INTERRUPT_GATE, 10_001)])
def test_S3_05_interrupt_gate_versus_trap_gate(kind: int, entered: int) -> None:
    m = Bare()

    async def work(cpu: Cpu, frame: PtRegs) -> None:
        await cpu.spend(9_990)

    m.gate(0x30, work, kind=kind)
    m.gate(0x41)
    m.raise_at(3, 0x41)
    m.run([int_n(0x30), nop()])
    assert {vector: when for when, vector, _ in m.log} == {0x30: 1, 0x41: entered}


def test_S3_06_linux_five_historical_gate_classes() -> None:
    idt = boot(kernel="linux-2.6")
    table = rows(idt, 255)
    system = {vector: row for vector, row in table.items() if row[1] == 3}
    assert system == {
        X86_TRAP_BP: (INTERRUPT_GATE, 3, 0),
        X86_TRAP_OF: (TRAP_GATE, 3, 0),
        X86_TRAP_BR: (TRAP_GATE, 3, 0),
        IA32_SYSCALL_VECTOR: (TRAP_GATE, 3, 0),
    }
    exceptions = {vector for step, vector in idt.writes if step == "traps" and vector < 32}
    interrupt = {X86_TRAP_DB, X86_TRAP_NMI, X86_TRAP_BP, X86_TRAP_PF}
    assert {vector for vector in exceptions if table[vector][0] == INTERRUPT_GATE} == interrupt
    small = boot(bits=32, kernel="linux-2.6").table.slots[X86_TRAP_DF]
    assert small is not None and (small.type, small.selector, small.descriptor().offset) == (TASK_GATE, 31 * 8, 0)


def test_S3_07_all_exceptions_on_interrupt_gates() -> None:
    seen: list[tuple[str, int]] = []

    async def prepare(scene: Scene) -> None:
        msi = scene.machine.msi("nic")

        async def device(cpu: Cpu, irq: int, dev_id: object) -> int:
            seen.append(("device", scene.machine.now))
            return 1

        await scene.machine.irq.request_irq(None, msi.irq, device, 0, "nic")
        scene.machine.engine.timer(msi.send, "nic").arm(1_050)

    async def code(scene: Scene, task: Task) -> None:
        scene.traps.note = lambda cpu, step: seen.append((step, scene.machine.now))
        await task.spend(1_000)
        await scene.traps.exception(task, X86_TRAP_DE, ip=0x1000)

    # The entry takes 100 ns with interrupts off; the body enables them before it does its work.
    play(code, prepare=prepare, exception_entry_ns=100)
    assert seen == [("error_entry", 1_000), ("irqentry_enter", 1_000), ("device", 1_100), ("irqentry_exit", 1_100)]
    assert {gate.type for gate in boot().table.slots if gate is not None} == {INTERRUPT_GATE}


DEFAULT = {
    0: (14, 0, 0), 1: (14, 0, 3), 2: (14, 0, 2), 3: (14, 3, 0), 4: (14, 3, 0), 5: (14, 0, 0), 6: (14, 0, 0), 7: (14, 0, 0),
    8: (14, 0, 1), 9: (14, 0, 0), 10: (14, 0, 0), 11: (14, 0, 0), 12: (14, 0, 0), 13: (14, 0, 0), 14: (14, 0, 0), 15: (14, 0, 0),
    16: (14, 0, 0), 17: (14, 0, 0), 19: (14, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        (IdtPolicy(mce=False, cet=False), {}),
        (IdtPolicy(cet=False), {18: (14, 0, 4)}),
        (IdtPolicy(), {18: (14, 0, 4), 21: (14, 0, 0)}),
        (IdtPolicy(sev=True), {18: (14, 0, 4), 21: (14, 0, 0), 29: (14, 0, 5)}),
    ],
)
def test_S3_15_default_exception_table(policy: IdtPolicy, more: dict[int, tuple[int, int, int]]) -> None:
    idt = setup(policy)
    idt.early_traps()
    idt.early_pf()
    idt.traps()
    assert rows(idt) == DEFAULT | more
    small = setup(policy, bits=32)
    small.traps()
    assert {vector: row for vector, row in rows(small).items() if row[1] or row[2] or row[0] != 14} == {4: (14, 3, 0), 8: (TASK_GATE, 0, 0)}


def test_S0_12_separate_ist_table_second_pass() -> None:
    idt = setup(IdtPolicy(gates="two-pass"))
    idt.traps()
    nmi = idt.table.slots[X86_TRAP_NMI]
    # Between the passes an NMI uses the stack in use.
    assert nmi is not None and nmi.ist == 0
    idt.ist_traps()
    twice = [vector for vector in range(32) if [n for _, n in idt.writes].count(vector) == 2]
    assert twice == [X86_TRAP_DB, X86_TRAP_NMI, X86_TRAP_DF, X86_TRAP_MC]
    assert rows(idt)[X86_TRAP_NMI] == (14, 0, 2)
    new = setup(IdtPolicy())
    new.traps()
    assert all([n for _, n in new.writes].count(vector) == 1 for vector in twice)


@pytest.mark.parametrize("bits", [32, 64])
def test_S3_16_syscall_gate_0x80(bits: int) -> None:
    table = rows(boot(IdtPolicy(ia32=False), bits=bits), 0x80)
    assert table[0x80] == ((14, 0, 0) if bits == 64 else (14, 3, 0))
    assert rows(boot(bits=bits), 0x80)[0x80] == (14, 3, 0)


@pytest.mark.parametrize("ia32", [True, False])
def test_S3_16_int_0x80_from_user_mode(ia32: bool) -> None:
    async def code(scene: Scene, task: Task) -> None:
        async def call(task: Task, regs: PtRegs) -> int:
            return 4711

        scene.traps.syscalls[20] = call
        regs = await scene.traps.int_n(task, 0x80, ip=0x1000, ax=20)
        scene.note(f"{regs.ax} at {regs.ip:#x}")

    scene = play(code, kernel=preset("linux-7.1", idt=IdtPolicy(ia32=ia32)))
    if ia32:
        assert scene.log == [(0, "4711 at 0x1002")]
    else:
        thread = scene.tasks["app"].thread
        assert thread is not None and (thread.trap_nr, thread.error_code) == (X86_TRAP_GP, 0x80 << 3 | 2)
        assert (0, "signal 11 code 128 handler 0x0") in scene.story()


def test_S0_51_per_vector_entry_stubs() -> None:
    for ibt, size in ((True, 16), (False, 8)):
        idt = boot(IdtPolicy(ibt=ibt))
        for vector in range(32, 0xEB):
            gate = idt.table.slots[vector]
            if vector != 0x80:
                assert gate is not None and gate.offset == stub_address(vector, ibt) == IRQ_ENTRIES_START + size * (vector - 32)
    with pytest.raises(UsageError, match=r"^vector 31 has no stub of its own \(32..255\)$"):
        stub_address(31)
    # Every stub's push is decoded to its vector again.
    assert [decode("byte", slot("byte", vector)) for vector in range(32, 256)] == list(range(32, 256))
    rig = Rig()
    reached: list[int] = []

    def unused(cpu: Cpu, vector: int) -> None:
        reached.append(vector)
        cpu.lapic.eoi(cpu)

    rig.entry.unused = unused
    for when, vector in enumerate((0x20, 0x41, 0x7F, 0x81, 0xEA), 1):
        rig.raise_at(100 * when, vector)
    rig.play(10_000)
    rig.end()
    assert reached == [0x20, 0x41, 0x7F, 0x81, 0xEA]


# --- the vectors that have gates of their own


@pytest.mark.parametrize(
    ("vector", "records"),
    [
        (0xFD, ["reschedule_entry", "reschedule_exit"]),
        (0xFC, ["call_function_entry", "call_function_exit"]),
        (0xFB, ["call_function_single_entry", "call_function_single_exit"]),
        (0xF9, ["threshold_apic_entry", "threshold_apic_exit"]),
        (0xFA, ["thermal_apic_entry", "thermal_apic_exit"]),
        (0xF4, ["deferred_error_apic_entry", "deferred_error_apic_exit"]),
        (0xF7, ["x86_platform_ipi_entry", "x86_platform_ipi_exit"]),
        (0xFE, ["error_apic_entry", "printk", "error_apic_exit"]),
        (0xF8, []),
    ],
)
def test_S0_39_apic_system_vector_table(vector: int, records: list[str]) -> None:
    rig = Rig(cpus=2)
    rig.raise_at(100, vector)
    rig.play(200)
    tags = [tag_of(type(record)) for record in rig.records()]
    assert [tag for tag in tags if tag.endswith(("_apic_entry", "_apic_exit")) or tag in (*records, "vector_entry")] == records
    assert rig.entry.counts[vector] == [1, 0]
    assert rig.entry.platform.stopped == ([0] if vector == 0xF8 else [])
    rig.end()
    idt = boot(kernel="linux-6.1")
    steps = [step for step, number in idt.writes if number >= 32]
    assert steps.index("irq_gates") > max(n for n, step in enumerate(steps) if step == "apic_gates")
    own = {number for step, number in idt.writes if step == "apic_gates"}
    assert {0xFD, 0xFC, 0xFB, 0x20, 0xF8} <= own


def test_S0_41_page_fault_gate_set_apart() -> None:
    idt = setup()
    idt.early_handlers()
    idt.early_traps()
    first = idt.table.slots[X86_TRAP_PF]
    assert first is not None and first.name == "early_idt_handler"
    m = Bare()
    m.cpu.idt = idt.table
    m.thread.frame = PtRegs(ip=0x1234)
    m.thread.sim = m.engine.spawn(first.handler(m.cpu, X86_TRAP_PF), "early")
    with pytest.raises(KernelBug, match="^PANIC: early exception 0x0e IP 1234 on CPU0 at 0 ns$"):
        m.world.settle()
    idt.early_pf()
    second = idt.table.slots[X86_TRAP_PF]
    assert second is not None and second.name == "asm_exc_page_fault"
    alone = setup()
    alone.traps()
    assert alone.table.slots[X86_TRAP_PF] is None


def test_S0_18_system_vector_bitmap() -> None:
    idt = boot()
    marked = {vector for vector in range(256) if idt.system_vectors >> vector & 1}
    exceptions = {vector for vector in EXCEPTIONS if vector != 29}
    apic = {vector for vector, _, _ in idt.entry.system_gates()}
    assert marked == exceptions | apic | {0x80}

    async def code(scene: Scene, task: Task) -> None:
        matrix = scene.machine.kernel.arch.vectors.matrix  # type: ignore[attr-defined]
        taken = set()
        while True:
            try:
                taken.add(matrix.alloc(1, False).bit)
            except UsageError:
                break
        scene.note(str(sorted(taken & {vector for vector in range(256) if scene.arch.setups[0].system_vectors >> vector & 1})))

    assert play(code).log == [(0, "[]")]


def test_S0_68_set_intr_gate_guards() -> None:
    idt = setup()
    with pytest.raises(KernelBug, match=r"^kernel BUG at arch/x86/kernel/idt.c: set_intr_gate\(0x100, beyond\)"):
        idt.set_intr_gate(256, handler, "beyond")
    idt.set_intr_gate(0x41, handler, "device")
    gate = idt.table.slots[0x41]
    assert gate is not None
    assert (gate.selector, gate.type, gate.present, gate.dpl, gate.ist) == (0x10, INTERRUPT_GATE, True, 0, 0)


def test_S0_67_update_intr_gate_only_for_system_vectors() -> None:
    idt = setup()
    idt.early_pf()
    idt.set_intr_gate(0x41, handler, "device")
    before = idt.table.slots[0x41]
    assert [idt.update_intr_gate(0x41, handler, "other") for _ in range(2)] == [False, False]
    assert (idt.table.slots[0x41] is before, idt.warnings) == (True, ["update_intr_gate: not a system vector"])
    assert idt.update_intr_gate(X86_TRAP_PF, handler, "asm_trace_page_fault")
    gate = idt.table.slots[X86_TRAP_PF]
    assert gate is not None and gate.name == "asm_trace_page_fault"


def test_alloc_intr_gate_until_the_set_up_is_done() -> None:
    idt = setup()
    assert idt.alloc_intr_gate(0xF3, handler, "asm_sysvec_hyperv_callback")
    assert not idt.alloc_intr_gate(0xF3, handler, "again")
    assert not idt.alloc_intr_gate(0x41, handler, "device")
    idt.irq_init()
    gate = idt.table.slots[0xF3]
    assert gate is not None and gate.name == "asm_sysvec_hyperv_callback"
    assert not idt.alloc_intr_gate(0xED, handler, "late")
    assert idt.warnings == [
        "alloc_intr_gate(0xf3): the vector has a gate",
        "alloc_intr_gate(0x41): below FIRST_SYSTEM_VECTOR",
        "alloc_intr_gate(0xed): the set-up of the IDT is done",
    ]


@pytest.mark.parametrize("local_apic", [True, False])
def test_S0_37_boot_order_of_gate_filling(local_apic: bool) -> None:
    idt = setup()
    idt.trap_init()
    idt.order.clear()
    idt.writes.clear()
    idt.irq_init(local_apic)
    spurious = ["spurious_gates"] if local_apic else []
    assert idt.order == ["apic_gates", "irq_gates", *spurious, "map", "load", "read_only"]
    assert idt.done
    numbers = [vector for _, vector in idt.writes]
    assert len(numbers) == len(set(numbers))
    assert sorted({*numbers, 0x80}) == list(range(32, 256))
    assert [step for step, _ in idt.writes] == sorted(
        [step for step, _ in idt.writes], key=["apic_gates", "irq_gates", "spurious_gates"].index
    )
    names = [gate.name if (gate := idt.table.slots[vector]) is not None else "" for vector in (0x41, 0xED)]
    assert names == ["asm_common_interrupt", "asm_spurious_interrupt" if local_apic else "asm_common_interrupt"]


def test_S0_38_unassigned_system_vectors_stay_unmarked() -> None:
    idt = boot()
    assert not idt.system_vectors >> 0xED & 1

    async def prepare(scene: Scene) -> None:
        cpu = scene.machine.cpus[0]

        def stray() -> None:
            cpu.lapic.send_ipi(0, 0xED)

        scene.machine.engine.timer(stray, "stray").arm(500)

    async def code(scene: Scene, task: Task) -> None:
        before = scene.machine.proc("interrupts")
        await task.spend(1_000)
        rows = [line.split(":")[0].strip() for line in scene.machine.proc("interrupts").splitlines()[1:]]
        assert [line.split(":")[0].strip() for line in before.splitlines()[1:]] == rows
        scene.note(str(scene.machine.kernel.entry.counts[0xFF]))

    scene = play(code, prepare=prepare)
    assert (scene.log, scene.story("spurious_apic_entry")) == ([(1_000, "[1]")], [(500, "spurious_apic_entry")])


# --- the table


def test_S0_11_idt_read_only_alias() -> None:
    async def code(scene: Scene, task: Task) -> None:
        table = task.cpu.idt
        scene.note(f"{table.base:#x} {table.limit}")
        faults: list[int] = []
        table.read_only = faults.append
        with pytest.raises(KernelBug, match=r"^BUG: unable to handle page fault: write of gate 65 \(late\) to the read-only IDT$"):
            table.set_gate(0x41, Gate(handler, "late"))
        scene.note(str(faults))

    assert play(code).log == [(0, "0xfffffe0000000000 4095"), (0, "[65]")]
    # 1 << 39 bytes a P4D entry: the fourth from the top.
    assert READ_ONLY_ALIAS == (-4 << 39) % (1 << 64)


def test_S3_04_idtr_load_before_enabling_interrupts() -> None:
    m = Bare()
    m.raise_at(1, 0x41)
    with pytest.raises(KernelBug, match=r"^triple fault: #GP \(0x43\) while #DF was delivered on CPU0 at 1 ns"):
        m.run([nop(), nop(), nop()])
    m = Bare()
    m.raise_at(1, 0x41)
    m.gate(0x41)
    m.run([nop(), nop(), nop()])
    assert m.entered == [(0x41, 0x1001)]


def test_S0_14_debug_idt_switching() -> None:
    idt = setup(IdtPolicy(gates="two-pass", debug=True))
    idt.early_traps()
    idt.trap_init()
    m = Bare()
    cpu = m.cpu
    cpu.idt = idt.table
    cpu.irqs_off = True
    idt.load_current_idt(cpu, debug=True)
    alternate = [(gate.name, gate.ist) for vector in (X86_TRAP_DB, X86_TRAP_NMI) if (gate := cpu.idt.slots[vector]) is not None]
    assert alternate == [("asm_exc_debug (debug idt)", 0), ("asm_exc_nmi (debug idt)", 0)]
    idt.load_current_idt(cpu, debug=False)
    assert cpu.idt is idt.table
    cpu.irqs_off = False
    with pytest.raises(KernelBug, match=r"^WARNING: load_current_idt\(\) with interrupts on, on CPU0 at 0 ns$"):
        idt.load_current_idt(cpu, debug=True)
    new = boot()
    cpu.irqs_off = True
    with pytest.raises(UsageError, match="^this kernel has no debug IDT"):
        new.load_current_idt(cpu, debug=True)


@pytest.mark.parametrize(
    ("policy", "order"),
    [
        (
            IdtPolicy(gates="two-pass", debug=True),
            ["cpu_entry_areas", "traps", "idt_read_only_mapping", "cpu_init", "ist_traps", "x86_init.irqs.trap_init", "debug_idt"],
        ),
        (IdtPolicy(), ["cpu_entry_areas", "cpu_init_exception_handling", "traps", "cpu_init"]),
        (IdtPolicy(sev=True), ["cpu_entry_areas", "sev_es_pages", "cpu_init_exception_handling", "traps", "cpu_init"]),
        (IdtPolicy(fred=True), ["cpu_entry_areas", "cpu_init_exception_handling", "cpu_init"]),
    ],
    ids=["5.x", "6.x", "6.x with SEV", "6.x with FRED"],
)
def test_S0_10_trap_init_order_two_eras(policy: IdtPolicy, order: list[str]) -> None:
    idt = setup(policy)
    idt.trap_init()
    assert idt.order == order
    assert bool([vector for _, vector in idt.writes if vector < 32]) is not policy.fred


# --- the order of a boot


@pytest.mark.parametrize("release", ["linux-7.1", "linux-2.6"])
def test_S0_09_kernel_start_order(release: str) -> None:
    async def main() -> list[str]:
        async with Machine(kernel=release, debug=True) as m:
            return [record.text for record in m.records if isinstance(record, Printk)]

    wanted = ("x86: trap_init", "NR_IRQS", "x86: idt_setup_apic_and_irq_gates", "softirq_init")
    texts = [text for text in asyncio.run(main()) if text.startswith(wanted)]
    assert [text.startswith(start) for text, start in zip(texts, wanted, strict=True)] == [True] * 4


def test_S0_09_a_softirq_before_softirq_init_has_no_handler() -> None:
    rig = Rig(daemons=False)
    softirq = Softirq(rig.sched)
    tasklets = Tasklets(softirq, early=False)
    with pytest.raises(KernelBug, match="^softirq 6 is raised on CPU0 at 0 ns but has no action$"):
        softirq.raise_softirq_nowake(rig.cpus[0], TASKLET_SOFTIRQ)
    tasklets.softirq_init()
    softirq.raise_softirq_nowake(rig.cpus[0], TASKLET_SOFTIRQ)
    assert softirq.pending[0] == 1 << TASKLET_SOFTIRQ
    rig.end()


def test_S3_18_write_once_at_boot_data() -> None:
    table = Idt()
    table.load(0x1000)
    table.load(READ_ONLY_ALIAS)
    table.freeze()
    with pytest.raises(KernelBug, match="^BUG: unable to handle page fault: write of idt_descr, which is read-only after init$"):
        table.load(0x2000)
    assert table.base == READ_ONLY_ALIAS

    async def handle(cpu: Cpu) -> None:
        return

    async def main() -> int:
        async with Machine(controller="gicv3") as m:
            entry = m.kernel.arch.entry
            assert isinstance(entry, Arm64Entry)
            # The driver of the controller has set the root handler while it was initialised.
            return entry.set_handle_irq(handle)

    assert asyncio.run(main()) == -16


# --- names


@pytest.mark.parametrize("release", ["linux-7.1", "linux-2.6"])
def test_every_vector_has_linux_s_name(release: str) -> None:
    layout = preset(release).vectors
    names = [vector_name(vector, layout) for vector in range(256)]
    assert names[:8] == [f"X86_TRAP_{name}" for name in ("DE", "DB", "NMI", "BP", "OF", "BR", "UD", "NM")]
    assert names[9] == "X86_TRAP_OLD_MF" and names[15] == "X86_TRAP_SPURIOUS" and names[0x80] == "IA32_SYSCALL_VECTOR"
    assert [n for n in range(32) if names[n] == "reserved"] == [22, 23, 24, 25, 26, 27, 28, 31]
    if release == "linux-7.1":
        assert [names[vector] for vector in (0xEB, 0xEC, 0xF6, 0xFB, 0xFD, 0xFF)] == [
            "POSTED_MSI_NOTIFICATION_VECTOR",
            "LOCAL_TIMER_VECTOR",
            "IRQ_WORK_VECTOR",
            "CALL_FUNCTION_SINGLE_VECTOR",
            "RESCHEDULE_VECTOR",
            "SPURIOUS_APIC_VECTOR",
        ]
        assert [n for n in range(256) if names[n] == "device"] == [n for n in range(0x20, 0xEB) if n != 0x80]
    else:
        assert [names[vector] for vector in (0x20, 0x30, 0x3F, 0xEE, 0xEF, 0xF3)] == [
            "IRQ_MOVE_CLEANUP_VECTOR",
            "ISA_IRQ_VECTOR(0)",
            "ISA_IRQ_VECTOR(15)",
            "LOCAL_PERF_VECTOR",
            "LOCAL_TIMER_VECTOR",
            "INVALIDATE_TLB_VECTOR_START + 3",
        ]
    assert all(TRAPS[n].mnemonic for n in TRAPS)


# --- conformance: privilege and stacks of the gates


def test_IDT_15_gate_privilege() -> None:
    table = rows(boot(), 255)
    assert [vector for vector, row in table.items() if row[1] == 3] == [X86_TRAP_BP, X86_TRAP_OF, IA32_SYSCALL_VECTOR]
    codes: list[int] = []

    async def code(scene: Scene, task: Task) -> None:
        signals = scene.traps.signals.of(task)

        async def on_segv(task: Task, info: object) -> None:
            assert task.thread is not None and task.frame is not None
            codes.append(task.thread.error_code)
            task.frame.ip += 2

        signals.handle(11, on_segv)
        for vector in (0, 1, 2, 6, 8, 13, 14, 0x20, 0x41, 0xEC, 0xFF):
            await scene.traps.int_n(task, vector, ip=0x1000)

    play(code)
    assert codes == [vector << 3 | 2 for vector in (0, 1, 2, 6, 8, 13, 14, 0x20, 0x41, 0xEC, 0xFF)]


def test_IDT_16_ist_assignment() -> None:
    table = rows(boot(IdtPolicy(sev=True)), 255)
    assert {vector: row[2] for vector, row in table.items() if row[2]} == {8: 1, 2: 2, 1: 3, 18: 4, 29: 5}


def test_breakpoints_and_overflows_need_no_privilege() -> None:
    m = Bare()
    m.gate(X86_TRAP_BP, dpl=3)
    m.gate(X86_TRAP_OF, dpl=3)
    m.run([int3(), into(), nop()], IF | 1 << 11, user=True)
    assert [vector for vector, _ in m.entered] == [X86_TRAP_BP, X86_TRAP_OF]
