"""Show the spine: brackets and counts, where interrupts reschedule, system vectors, vectors that nobody has."""

from __future__ import annotations

import pytest

from asyncirq.bottom_half.softirq import NET_RX_SOFTIRQ
from asyncirq.config import KernelConfig, Preemption, preset
from asyncirq.entry import (
    CALL_FUNCTION_SINGLE_VECTOR,
    CALL_FUNCTION_VECTOR,
    FIRST_SYSTEM_VECTOR,
    IRQ_WORK_VECTOR,
    LOCAL_TIMER_VECTOR,
    NMI_VECTOR,
    RESCHEDULE_VECTOR,
    SPURIOUS_APIC_VECTOR,
)
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.apic_message import ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.idt import INTERRUPT_GATE
from asyncirq.sched.preempt import (
    in_hardirq,
    in_interrupt,
    in_nmi,
    in_serving_softirq,
    in_softirq,
    in_task,
    interrupt_context_level,
)
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, Task
from asyncirq.trace.record import tag_of
from tests.softirq_rig import FULL, NONE, RT, STOCK, Line, Rig

PREDICATES = (in_task, in_serving_softirq, in_softirq, in_hardirq, in_nmi, in_interrupt)


def send(m: Rig, when: int, vector: int, cpu: int = 0) -> None:
    """Send any vector to a CPU at an instant."""
    m.at(when, lambda: m.send(ApicMessage(vector, 0, False, cpu, False, 0)))


def urgent(m: Rig, cost: int = 0) -> Task:
    """Start a real-time task that sleeps until woken and then notes when it ran."""

    async def run(task: Task) -> None:
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()
        m.note("urgent")
        await task.spend(cost)

    return m.start(run, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50)


# --- what interrupts what, and what it counts


@pytest.mark.covers("S0-115")
def test_CTX_01_context_predicates() -> None:
    m = Rig()

    def look(cpu: Cpu, name: str) -> None:
        truths = " ".join(predicate.__name__.removeprefix("in_") for predicate in PREDICATES if predicate(cpu))
        m.note(f"{name}: {interrupt_context_level(cpu)} {truths}")

    async def body(task: Task) -> None:
        look(task.cpu, "task")
        cpu = await m.softirq.local_bh_disable(task)
        look(cpu, "bh off")
        await m.softirq.local_bh_enable(task)
        await task.spend(1000)
        look(task.cpu, "task")

    async def net_rx(cpu: Cpu) -> None:
        look(cpu, "softirq")
        await cpu.spend(100)
        look(cpu, "softirq")

    async def hardirq(cpu: Cpu) -> None:
        look(cpu, "hardirq")
        await cpu.spend(50)
        look(cpu, "hardirq")

    async def nmi(cpu: Cpu) -> None:
        look(cpu, "nmi")
        # Whatever comes now must wait: the nesting goes one way only.
        m.send(ApicMessage(0x91, 0, False, 0, False, 0))
        await cpu.spend(30)
        look(cpu, "nmi")

    m.entry.nmi = nmi
    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(body, "body", cpu=0)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.irq(150, hardirq)
    m.irq(10_000, nothing, vector=0x91)
    m.nmi_at(160)
    m.play(5000)
    assert m.log == [
        (0, "task: 0 task"),
        (0, "bh off: 0 task softirq interrupt"),
        (100, "softirq: 1 serving_softirq softirq interrupt"),
        (150, "hardirq: 2 serving_softirq softirq hardirq interrupt"),
        (160, "nmi: 3 serving_softirq softirq hardirq nmi interrupt"),
        (190, "nmi: 3 serving_softirq softirq hardirq nmi interrupt"),
        (230, "hardirq: 2 serving_softirq softirq hardirq interrupt"),
        (280, "softirq: 1 serving_softirq softirq interrupt"),
        (1180, "task: 0 task"),
    ]
    assert [ts for ts, text in m.story("vector_entry") if "0x91" in text] == [230]
    m.end()


async def nothing(cpu: Cpu) -> None:
    """Do nothing."""


def test_CTX_02_counts_on_entry() -> None:
    m = Rig()

    def count(cpu: Cpu, name: str) -> None:
        m.note(f"{name} {cpu.preempt_count:#x}")

    async def body(task: Task) -> None:
        count(task.cpu, "task")
        cpu = task.preempt_disable()
        count(cpu, "preemption off")
        await m.softirq.local_bh_disable(task)
        count(cpu, "bh off")
        await cpu.spend(100)
        await m.softirq.local_bh_enable(task)
        await task.preempt_enable()
        await task.spend(100)
        count(task.cpu, "task")

    async def net_rx(cpu: Cpu) -> None:
        count(cpu, "softirq")
        await cpu.spend(50)

    async def handler(cpu: Cpu) -> None:
        count(cpu, "hardirq")
        await cpu.irq_enable()
        await cpu.spend(10)

    async def nmi(cpu: Cpu) -> None:
        count(cpu, "nmi")

    m.entry.nmi = nmi
    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(body, "body", cpu=0)
    m.irq(50, handler)
    m.irq(55, handler)
    m.nmi_at(57)
    m.irq_raises(150, NET_RX_SOFTIRQ)
    m.nmi_at(170)
    m.play(1000)
    assert m.log == [
        (0, "task 0x0"),
        (0, "preemption off 0x1"),
        (0, "bh off 0x201"),
        (50, "hardirq 0x10201"),
        (55, "hardirq 0x20201"),
        (57, "nmi 0x130201"),
        (150, "softirq 0x100"),
        (170, "nmi 0x110100"),
        (270, "task 0x0"),
    ]
    m.end()


def test_the_count_rises_before_the_first_cost_of_an_interrupt_and_falls_after_its_last() -> None:
    m = Rig(irq_entry_ns=10, irq_exit_ns=20)
    m.irq_raises(100)
    for when in (100, 105, 109, 110, 129, 130, 131):
        m.at(when, lambda: m.note(f"{m.cpus[0].preempt_count:#x} {m.cpus[0].irqs_off}"))
    m.play(1000)
    # The look at 100 comes after the interrupt, which was sent first; that at 130 was asked for before the CPU's last cost began.
    assert m.log == [
        (100, "0x10001 True"),
        (105, "0x10001 True"),
        (109, "0x10001 True"),
        (110, "0x10001 True"),
        (129, "0x10001 True"),
        (130, "0x10001 True"),
        (131, "0x1 False"),
    ]
    assert m.story("vector_entry", "vector_exit") == [(110, "idle: vector 0x31"), (110, "idle: vector 0x31 ends")]
    m.end()


# --- where an interrupt's exit reschedules


@pytest.mark.parametrize(
    ("kernel", "mode", "ran"),
    [
        (NONE, "kernel", 1000),
        (STOCK, "kernel", 1000),
        (FULL, "kernel", 100),
        (RT, "kernel", 100),
        (NONE, "user", 100),
        (STOCK, "user", 100),
        (FULL, "user", 100),
        (RT, "user", 100),
        (FULL, "preemption off", 500),
        (STOCK, "preemption off", 1000),
        (RT, "preemption off", 500),
        (FULL, "softirq", 300),
        (STOCK, "softirq", 1200),
        (FULL, "idle", 100),
    ],
)
def test_CTX_13_preemption_points(kernel: KernelConfig, mode: str, ran: int) -> None:
    """A task runs until 1000; at 100 an interrupt wakes an urgent one."""
    m = Rig(kernel=kernel)
    task = urgent(m)

    async def body(me: Task) -> None:
        if mode == "user":
            await me.user(1000)
        elif mode == "preemption off":
            await me.preempt_disable().spend(500)
            await me.preempt_enable()
            await me.spend(500)
        else:
            await me.spend(1000)

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(200)
        await m.sched.wake_up_process(cpu, task)

    async def handler(cpu: Cpu) -> None:
        if mode == "softirq":
            m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        else:
            await m.sched.wake_up_process(cpu, task)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    if mode != "idle":
        m.start(body, "body", cpu=0)
    m.irq(100, handler)
    m.play(5000)
    assert m.log == [(ran, "urgent")]
    m.end()


def test_S3_25_dynamic_preemption_switch() -> None:
    """The same machine, told to preempt otherwise while it runs: an urgent task that is woken at 100 gets the CPU at another point."""
    m = Rig(kernel=STOCK)

    async def body(me: Task) -> None:
        await me.spend(500)
        await m.sched.might_resched(me)
        await me.spend(500)

    def wakes(task: Task, when: int) -> None:
        async def handler(cpu: Cpu) -> None:
            await m.sched.wake_up_process(cpu, task)

        m.irq(when, handler)

    modes: list[Preemption] = ["voluntary", "none", "full", "voluntary"]
    for turn, mode in enumerate(modes):
        start = 10_000 * turn
        m.sched.sched_dynamic_update(mode)
        wakes(urgent(m), start + 100)
        m.start(body, "body", cpu=0)
        m.play(start + 10_000)
    assert m.log == [(500, "urgent"), (11_000, "urgent"), (20_100, "urgent"), (30_500, "urgent")]
    m.end()


@pytest.mark.parametrize(("kernel", "mode"), [(RT, "full"), (STOCK, "rt"), (STOCK, "lazy")])
def test_S3_25_what_a_kernel_was_built_without_cannot_be_switched_on(kernel: KernelConfig, mode: Preemption) -> None:
    m = Rig(kernel=kernel)
    with pytest.raises(UsageError, match=f"^preemption cannot change from {kernel.preemption} to {mode}: only among none, voluntary, full"):
        m.sched.sched_dynamic_update(mode)
    m.end()


def test_S3_24_a_wanted_reschedule_waits_for_preempt_enable() -> None:
    m = Rig(kernel=FULL)
    task = urgent(m)

    async def body(me: Task) -> None:
        cpu = me.preempt_disable()
        await cpu.spend(200)
        m.note(f"need_resched {cpu.need_resched}")
        await me.preempt_enable()
        m.note("body")

    async def handler(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, task)

    m.start(body, "body", cpu=0)
    m.irq(100, handler)
    m.play(1000)
    assert m.log == [(200, "need_resched True"), (200, "urgent"), (200, "body")]
    m.end()


def test_the_way_back_to_a_hard_interrupt_never_reschedules() -> None:
    m = Rig(kernel=FULL)
    task = urgent(m)

    async def outer(cpu: Cpu) -> None:
        await cpu.irq_enable()
        await cpu.spend(100)
        m.note("outer")

    async def inner(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, task)

    async def body(me: Task) -> None:
        await me.spend(1000)

    m.start(body, "body", cpu=0)
    m.irq(100, outer)
    m.irq(150, inner)
    m.play(5000)
    assert m.log == [(200, "outer"), (200, "urgent")]
    m.end()


@pytest.mark.parametrize("kernel", [NONE, STOCK, FULL], ids=["none", "voluntary", "full"])
@pytest.mark.parametrize("what", ["hardirq", "softirq"])
def test_the_outermost_exit_goes_back_to_user_mode(kernel: KernelConfig, what: str) -> None:
    m = Rig(kernel=kernel)
    task = urgent(m)

    async def body(me: Task) -> None:
        await me.user(1000)
        m.note(f"user {me.user_mode} {me.regs_user}")

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(100)

    async def outer(cpu: Cpu) -> None:
        if what == "softirq":
            m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        else:
            await cpu.irq_enable()
            await cpu.spend(100)

    async def inner(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, task)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(body, "body", cpu=0)
    m.irq(100, outer)
    m.irq(150, inner)
    m.play(5000)
    assert m.log == [(200, "urgent"), (1100, "user False False")]
    m.end()


def test_interrupts_are_on_during_the_work_on_the_way_to_user_mode() -> None:
    m = Rig(user_exit_work_ns=30)
    tasks = [urgent(m, 10), urgent(m, 10)]

    async def body(me: Task) -> None:
        await me.user(1000)
        m.note("user")

    def wakes(task: Task) -> None:
        async def handler(cpu: Cpu) -> None:
            await m.sched.wake_up_process(cpu, task)

        m.irq(100 if task is tasks[0] else 110, handler)

    m.start(body, "body", cpu=0)
    for task in tasks:
        wakes(task)
    m.play(5000)
    # The second one finds kernel mode, which this kernel does not preempt; the reschedule comes when the work is done.
    assert m.log == [(130, "urgent"), (140, "urgent"), (1050, "user")]
    m.end()


def test_S3_23_the_exit_looks_again_after_each_reschedule() -> None:
    m = Rig(kernel=FULL, switch_in_ns=20)
    tasks = [urgent(m, 50), urgent(m, 50)]

    def wakes(task: Task, when: int) -> None:
        async def handler(cpu: Cpu) -> None:
            await m.sched.wake_up_process(cpu, task)

        m.irq(when, handler)

    async def body(me: Task) -> None:
        await me.spend(2000)
        m.note("body")

    m.play(1000)
    m.start(body, "body", cpu=0)
    wakes(tasks[0], 2000)
    # While the body is being switched in again (2070 to 2090) the second wake-up arrives; the same exit takes it.
    wakes(tasks[1], 2080)
    m.play(10_000)
    assert m.log[:2] == [(2020, "urgent"), (2110, "urgent")]
    assert m.story("vector_entry", "sched_switch", since=2000)[:6] == [
        (2000, "body: vector 0x31"),
        (2000, "body: body(R+) > urgent"),
        (2070, "urgent: urgent(X) > body"),
        (2090, "body: vector 0x32"),
        (2090, "body: body(R+) > urgent"),
        (2160, "urgent: urgent(X) > body"),
    ]
    m.end()


# --- system vectors


@pytest.mark.covers("S0-39")
@pytest.mark.parametrize(
    ("vector", "names"),
    [
        (LOCAL_TIMER_VECTOR, ["local_timer_entry", "local_timer_exit"]),
        (IRQ_WORK_VECTOR, ["irq_work_entry", "irq_work_exit"]),
        (CALL_FUNCTION_SINGLE_VECTOR, ["call_function_single_entry", "call_function_single_exit"]),
        (CALL_FUNCTION_VECTOR, ["call_function_entry", "call_function_exit"]),
        (RESCHEDULE_VECTOR, ["reschedule_entry", "reschedule_exit"]),
    ],
)
def test_each_system_vector_has_its_own_entry(vector: int, names: list[str]) -> None:
    m = Rig(sysvec_entry_ns=10, sysvec_exit_ns=20)
    send(m, 100, vector)
    before = m.entry.counts[vector][0]
    m.play(125)
    m.at(129, lambda: m.note(f"{m.cpus[0].preempt_count:#x}"))
    m.at(131, lambda: m.note(f"{m.cpus[0].preempt_count:#x}"))
    m.play(1000)
    tags = [(r.ts, tag_of(type(r))) for r in m.records() if r.ts >= 1 and tag_of(type(r)).endswith(("_entry", "_exit"))]
    assert tags == [(110, names[0]), (110, names[1])]
    assert m.entry.counts[vector][0] == before + 1
    assert (m.log, m.cpus[0].lapic.isr) == ([(129, "0x10001"), (131, "0x1")], 0)
    m.end()


@pytest.mark.parametrize(("vector", "ran"), [(LOCAL_TIMER_VECTOR, True), (IRQ_WORK_VECTOR, True), (RESCHEDULE_VECTOR, False)])
def test_all_but_the_reschedule_vector_run_softirqs_at_their_exit(vector: int, ran: bool) -> None:
    m = Rig()

    async def body(task: Task) -> None:
        m.softirq.raise_softirq_nowake(task.preempt_disable(), NET_RX_SOFTIRQ)
        await task.preempt_enable()
        await task.spend(1000)

    m.start(body, "body", cpu=0)
    send(m, 100, vector)
    m.play(500)
    assert m.softirqs() == ([(100, "body: NET_RX")] if ran else [])
    m.end()


def test_an_nmi_runs_no_softirqs_and_does_not_reschedule() -> None:
    m = Rig(kernel=FULL)
    task = urgent(m)

    async def body(me: Task) -> None:
        await me.spend(1000)
        m.note("body")

    async def nmi(cpu: Cpu) -> None:
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        cpu.need_resched = True
        m.note(f"nmi {cpu.preempt_count:#x} {task.state}")

    m.entry.nmi = nmi
    m.start(body, "body", cpu=0)
    m.nmi_at(100)
    m.play(500)
    assert (m.log, m.softirqs(), m.story("sched_switch")) == ([(100, "nmi 0x110000 1")], [], [])
    assert m.entry.counts[NMI_VECTOR] == [1]
    m.end()


# --- vectors that nobody has


@pytest.mark.covers("S0-37")
def test_every_external_vector_has_a_gate() -> None:
    m = Rig()
    names = [gate.name if gate is not None else "" for gate in m.cpus[0].idt.gates]
    assert [n for n, name in enumerate(names) if name == "asm_common_interrupt"] == list(range(0x20, FIRST_SYSTEM_VECTOR))
    assert {n: name for n, name in enumerate(names) if name and name != "asm_common_interrupt" and not name.startswith("asm_spurious")} == {
        NMI_VECTOR: "asm_exc_nmi",
        LOCAL_TIMER_VECTOR: "asm_sysvec_apic_timer_interrupt",
        0xF4: "asm_sysvec_deferred_error",
        IRQ_WORK_VECTOR: "asm_sysvec_irq_work",
        0xF7: "asm_sysvec_x86_platform_ipi",
        0xF8: "asm_sysvec_reboot",
        0xF9: "asm_sysvec_threshold",
        0xFA: "asm_sysvec_thermal",
        CALL_FUNCTION_SINGLE_VECTOR: "asm_sysvec_call_function_single",
        CALL_FUNCTION_VECTOR: "asm_sysvec_call_function",
        RESCHEDULE_VECTOR: "asm_sysvec_reschedule_ipi",
        0xFE: "asm_sysvec_error_interrupt",
        0xFF: "asm_sysvec_spurious_apic_interrupt",
    }
    assert {gate.type for gate in m.cpus[0].idt.gates if gate is not None} == {INTERRUPT_GATE}
    m.end()


def test_a_device_vector_without_descriptor_is_ended_and_counted() -> None:
    m = Rig()
    m.raise_at(100, 0x41)
    m.raise_at(200, 0x41)
    m.play(1000)
    assert m.story("vector_entry") == [(100, "idle: vector 0x41"), (200, "idle: vector 0x41")]
    assert (m.entry.unhandled, m.cpus[0].lapic.isr) == ([2], 0)
    m.end()


def test_a_spurious_system_vector_is_ended_only_if_in_service() -> None:
    m = Rig()
    send(m, 100, 0xF0)
    m.play(1000)
    assert (m.entry.counts[SPURIOUS_APIC_VECTOR], m.cpus[0].lapic.isr) == ([1], 0)
    m.end()


@pytest.mark.covers("CTX-03")
@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("preemption off", "body/2/0x00000001 on CPU0 at 0 ns"),
        ("irqs off", "body/2/0x00000000 irqs off on CPU0 at 0 ns"),
        ("bh off", "body/2/0x00000200 on CPU0 at 0 ns"),
    ],
)
def test_sleeping_in_atomic_context_names_the_task_and_its_count(how: str, text: str) -> None:
    m = Rig()

    async def body(task: Task) -> None:
        if how == "preemption off":
            task.preempt_disable()
        elif how == "irqs off":
            task.cpu.irq_disable()
        else:
            await m.softirq.local_bh_disable(task)
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()

    m.start(body, "body", cpu=0)
    with pytest.raises(KernelBug, match=f"^BUG: scheduling while atomic: {text}$"):
        m.play(100)
    m.end()


def test_hardirq_depth_is_a_policy() -> None:
    m = Rig(kernel=preset("linux-6.12", hardirq_depth=2))
    lines: list[Line] = []

    async def handler(cpu: Cpu) -> None:
        lines.append((m.engine.now, f"{cpu.preempt_count:#x}"))
        await cpu.irq_enable()
        await cpu.spend(100)

    for number, when in enumerate((100, 110, 120)):
        m.irq(when, handler, vector=0x41 + 0x10 * number)
    with pytest.raises(KernelBug, match="^hard interrupts nest deeper than 2 on CPU0 at 120 ns$"):
        m.play(1000)
    assert lines == [(100, "0x10001"), (110, "0x20001")]
    m.end()
