"""Show the inventory's stacks: sizes, which one is used when, how they are linked, what happens at their end."""

from __future__ import annotations

import re

import pytest

from asyncirq.bottom_half.softirq import NET_RX_SOFTIRQ
from asyncirq.config import STACKS_2_6, STACKS_4_X, KernelConfig, StackPolicy, preset
from asyncirq.entry.arm64_stacks import Arm64Stacks, arm64_init_irq
from asyncirq.entry.stacks import CANARY, Stacks, call, ret, stack_sizes
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.pt_regs import SIZE_64
from asyncirq.hw.stack import STACK_END_MAGIC
from asyncirq.sched.task import SCHED_FIFO, Task
from asyncirq.trace.record import tag_of
from tests.entry.detail import Detail, stack_name

OLD = preset("linux-6.12", preemption="full", entry_code="do_irq", stacks=STACKS_4_X)
I386 = preset("linux-2.6", bits=32)
I386_IRQ_STACKS = preset("linux-2.6", bits=32, stacks=StackPolicy(thread_pages=1, guard=False, canary=False, nmi_safe=False))
DB, MC, NMI_TRAP = 1, 18, 2


def printed(m: Detail) -> list[str]:
    return [record.text for record in m.records() if tag_of(type(record)) == "printk"]  # type: ignore[attr-defined]


# --- sizes


@pytest.mark.parametrize(
    ("policy", "bits", "sizes"),
    [
        (StackPolicy(), 64, (16384, 16384, 8192, 8192)),
        (StackPolicy(kasan=True), 64, (32768, 32768, 16384, 16384)),
        (STACKS_4_X, 64, (16384, 16384, 4096, 8192)),
        (StackPolicy(exception_pages=1, kasan=True), 64, (32768, 32768, 8192, 16384)),
        (STACKS_2_6, 32, (8192, 8192, 4096, 8192)),
    ],
)
def test_S2_07_special_stack_sizes(policy: StackPolicy, bits: int, sizes: tuple[int, ...]) -> None:
    assert stack_sizes(policy, bits)[:4] == sizes


def test_S2_06_thread_stack() -> None:
    """16 KiB, 8 KiB in the older document; a depth beyond that is found by the scheduler where no guard page tells it at once."""
    m = Detail(kernel=preset("linux-2.6", bits=64))
    task = m.run_body(100)
    stack = m.stacks.of(task)
    assert (stack.size, stack.depth, stack.peek(stack.base)) == (8192, SIZE_64, STACK_END_MAGIC)
    m.stacks.check_end(m.cpus[0])
    frame = call(m.stacks, m.cpus[0], "deep", 8192)
    ret(m.stacks, m.cpus[0], frame)
    idle = m.stacks.of(m.cpus[0].current)
    assert idle.deepest > idle.size
    with pytest.raises(KernelBug, match=r"^Kernel panic - not syncing: corrupted stack end detected inside scheduler: swapper/0 on CPU0"):
        m.stacks.check_end(m.cpus[0])
    m.end()


@pytest.mark.parametrize("preempted", [False, True], ids=["it sleeps", "it is preempted"])
def test_S2_06_the_scheduler_looks_at_the_end_of_each_stack(preempted: bool) -> None:
    """A thread that went too deep runs on until it gives up its CPU, willingly or not."""
    m = Detail(kernel=preset("linux-6.12", preemption="full", stacks=StackPolicy(guard=False)))

    async def urgent(me: Task) -> None:
        await me.spend(1)

    async def body(me: Task) -> None:
        ret(m.stacks, me.cpu, call(m.stacks, me.cpu, "deep", m.stacks.of(me).size - SIZE_64))
        await me.spend(100)
        m.note("went on")
        if preempted:
            m.start(urgent, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50)
        await me.spend(100)

    m.start(body, "body", cpu=0)
    with pytest.raises(KernelBug, match=r"corrupted stack end detected inside scheduler: body-\d+ on CPU0 at (\d+) ns"):
        m.play(2000)
    assert m.log == [(100, "went on")]
    assert m.engine.now == (100 if preempted else 200)
    m.end()


@pytest.mark.parametrize(
    ("kernel", "size", "words"),
    [
        (I386, 8192 - 68 - 4 - 1024 - 52, None),
        (I386, 8192 - 68 - 4 - 1024 - 52 + 16, "do_IRQ: stack overflow: 1008"),
        (preset("linux-2.6"), 8192 - 168 - 8 - 128, None),
        (
            preset("linux-2.6"),
            8192 - 168 - 8 - 112,
            "do_IRQ(): body-2 has overflown the kernel stack (cur:ffffc90040004000,sp:ffffc90040004070)",
        ),
    ],
)
def test_S2_06_the_next_interrupt_tells_that_little_is_left(kernel: KernelConfig, size: int, words: str | None) -> None:
    m = Detail(kernel=kernel)

    async def body(me: Task) -> None:
        cpu = me.preempt_disable()
        frame = call(m.stacks, cpu, "deep", size)
        await cpu.spend(200)
        ret(m.stacks, cpu, frame)
        await me.preempt_enable()

    m.start(body, "body", cpu=0)
    m.irq(100, lambda cpu: cpu.spend(1))
    m.play(1000)
    assert printed(m) == ([] if words is None else [words])
    m.end()


# --- which stack, by IST


def test_S2_10_ist_selection_rule() -> None:
    """An NMI changes the stack even from kernel mode; from user mode the kernel goes back to the task's stack."""
    for user, stacks in ((False, ["NMI"]), (True, ["NMI", "TASK"])):
        m = Detail()
        m.entry.nmi = lambda cpu, m=m: _note(m, stack_name(m, cpu))
        m.run_body(1000, user=user)
        m.nmi_at(100)
        m.play(2000)
        assert m.log == [(100, stacks[-1])]
        seen = [line.split()[1] for line in m.steps(since=100, stacks=True)]
        assert list(dict.fromkeys(seen)) == (["NMI"] if not user else ["NMI", "TASK", "ENTRY"])
        m.end()


async def _note(m: Detail, text: str) -> None:
    m.note(text)


def test_S2_12_what_each_ist_is_for() -> None:
    """A kernel stack that overflows makes #DF, on a stack of its own, which can print; without that stack the CPU resets."""
    m = Detail()

    async def body(me: Task) -> None:
        cpu = me.preempt_disable()
        call(m.stacks, cpu, "recursive", 3 * 4096)
        call(m.stacks, cpu, "recursive", 3 * 4096)

    m.start(body, "body", cpu=0)
    with pytest.raises(KernelBug, match="^BUG: TASK stack guard page was hit at ") as error:
        m.play(2000)
    assert printed(m) == [
        str(error.value).split(", on CPU0")[0],
        "Oops: stack guard page: 0000 [#1]",
        "Kernel panic - not syncing: TASK stack guard hit",
    ]
    assert stack_name(m, m.cpus[0]) == "#DF"
    assert [r.vector for r in m.records() if tag_of(type(r)) == "exception_entry"] == [8]  # type: ignore[attr-defined]
    m.end()

    m = Detail(kernel=preset("linux-6.12", stacks=StackPolicy(ist=False)))
    m.start(body, "body", cpu=0)
    with pytest.raises(
        KernelBug, match=r"^triple fault: no stack for #DF after TASK ran out at [0-9a-f]+, the CPU resets, on CPU0 at 0 ns$"
    ):
        m.play(2000)
    assert len(printed(m)) == 1
    m.end()


@pytest.mark.parametrize(
    ("outer", "inner", "kernel", "fine"),
    [
        (DB, DB, OLD, True),
        (DB, DB, preset("linux-6.12", stacks=StackPolicy(db_shift=False)), False),
        (MC, MC, OLD, False),
        (DB, MC, OLD, True),
        (MC, DB, OLD, True),
    ],
    ids=["DB in DB, shifted", "DB in DB, not shifted", "MC in MC", "MC in DB", "DB in MC"],
)
@pytest.mark.covers("S2-11")
def test_IDT_17_a_second_entry_of_the_same_ist_destroys_the_first_frame(outer: int, inner: int, kernel: KernelConfig, fine: bool) -> None:
    m = Detail(kernel=kernel)

    async def again(cpu: Cpu) -> None:
        m.note(stack_name(m, cpu))
        if len(m.log) == 1:
            await m.hit(cpu, inner)

    for vector, ist in ((DB, 3), (MC, 4)):
        m.trap(vector, again, ist=ist)

    async def body(me: Task) -> None:
        await m.hit(me.preempt_disable(), outer)
        await me.preempt_enable()
        m.note("went on")

    m.start(body, "body", cpu=0)
    names = {DB: "#DB", MC: "#MC"}
    if fine:
        m.play(2000)
        assert [text for _, text in m.log] == [names[outer], names[inner], "went on"]
        m.end()
        return
    with pytest.raises(KernelBug, match=f"on the {re.escape(names[outer])} stack of CPU0 was overwritten while it was in use"):
        m.play(2000)
    m.end()


def test_S2_11_an_nmi_inside_a_debug_trap_is_fine() -> None:
    m = Detail()

    async def trap(cpu: Cpu) -> None:
        await cpu.spend(100)
        m.note(stack_name(m, cpu))

    async def body(me: Task) -> None:
        await m.hit(me.preempt_disable(), DB)
        await me.preempt_enable()

    m.trap(DB, trap, ist=3)
    m.entry.nmi = lambda cpu: _note(m, stack_name(m, cpu))
    m.start(body, "body", cpu=0)
    m.nmi_at(50)
    m.play(2000)
    assert m.log == [(50, "NMI"), (100, "#DB")]
    m.end()


# --- the interrupt stack


def test_S2_09_irq_stack_switch_only_at_first_level() -> None:
    m = Detail(kernel=OLD)

    async def outer(cpu: Cpu) -> None:
        await cpu.irq_enable()
        await cpu.spend(100)
        m.note(f"outer {m.mine().count}")
        cpu.irq_disable()

    async def inner(cpu: Cpu) -> None:
        m.note(f"inner {m.mine().count}")

    m.run_body()
    m.irq(100, outer, vector=0x41)
    m.irq(150, inner, vector=0x61)
    m.play(2000)
    assert m.log == [(150, "inner 1"), (200, "outer 0")]
    switches = [line for line in m.steps(since=100, at=True) if line[1].startswith("irq_stack")]
    assert switches == [(100, "irq_stack_switch"), (200, "irq_stack_restore")]
    assert m.mine().count == -1
    m.end()


@pytest.mark.parametrize(
    ("where", "switched"),
    [("kernel", ["IRQ", True]), ("user", ["TASK", False]), ("in use", ["IRQ", True])],
)
def test_S0_54_irq_stack_conditional(where: str, switched: list[object]) -> None:
    m = Detail()

    async def handler(cpu: Cpu) -> None:
        m.note(stack_name(m, cpu))
        assert [m.stacks.current(cpu).name, m.mine().inuse] == switched
        if where == "in use" and len(m.log) == 1:
            await cpu.irq_enable()
            await cpu.spend(50)
            cpu.irq_disable()

    m.run_body(user=where == "user")
    m.irq(100, handler, vector=0x41)
    m.irq(120, handler, vector=0x61)
    m.play(2000)
    steps = [step for step in m.steps(since=100, until=119 if where != "in use" else 200) if "irq_" in step and "enter" not in step[:3]]
    steps = [step for step in steps if step.startswith("irq_")]
    order = ["irq_stack_inuse", "irq_stack_switch", "irq_enter", "irq_exit", "irq_stack_restore", "irq_stack_free"]
    if where == "user":
        assert steps == ["irq_enter", "irq_exit"]
    elif where == "kernel":
        assert steps == order
    else:
        assert steps == [*order[:3], "irq_enter", "irq_exit", *order[3:]]
    m.end()


def test_S0_55_stack_switch_four_steps() -> None:
    """The old pointer lies in the highest word of the new stack, so a walk from inside the handler reaches the task."""
    m = Detail()
    chains: list[list[str]] = []

    async def handler(cpu: Cpu) -> None:
        irq = m.mine().irq
        task = cpu.current.stack
        assert irq is not None
        assert task is not None
        assert irq.peek(irq.top - 8) == task.sp
        chains.append([name for name, _ in m.entry.irq_stack.unwind(cpu)])

    async def nmi(cpu: Cpu) -> None:
        chains.append([name for name, _ in m.entry.irq_stack.unwind(cpu)])

    async def slow(cpu: Cpu) -> None:
        await cpu.spend(50)

    m.entry.nmi = nmi
    m.run_body()
    m.irq(100, handler)
    m.irq(200, slow)
    m.nmi_at(220)
    m.play(2000)
    assert chains == [["IRQ", "TASK"], ["NMI", "IRQ", "TASK"]]
    m.end()


def test_S0_69_irq_stack_pointer_set_up() -> None:
    m = Detail(cpus=2)
    for cpu in m.cpus:
        irq = m.mine(cpu.id).irq
        assert irq is not None
        assert m.mine(cpu.id).irq_ptr == irq.base + 16384 - 8
        assert not m.stacks.init_irq_stack(cpu)
        assert m.mine(cpu.id).irq is irq
    assert [m.mine(n).irq_ptr for n in (0, 1)] == [0xFFFF_C900_0000_3FF8, 0xFFFF_C900_0001_3FF8]
    m.end()


# --- softirqs


@pytest.mark.parametrize(
    ("kernel", "at_exit", "in_task"),
    [
        (preset("linux-6.12"), "IRQ", "IRQ"),
        (preset("linux-6.12", stacks=StackPolicy(exit_on_irq=False)), "SOFTIRQ", "SOFTIRQ"),
        (preset("linux-6.12", stacks=StackPolicy(irq="none")), "TASK", "TASK"),
    ],
    ids=["on the interrupt stack", "own stack", "none"],
)
def test_S0_65_softirq_stack_choice(kernel: KernelConfig, at_exit: str, in_task: str) -> None:
    m = Detail(kernel=kernel)

    async def net_rx(cpu: Cpu) -> None:
        m.note(stack_name(m, cpu))

    async def body(me: Task) -> None:
        await me.spend(500)
        cpu = await m.softirq.local_bh_disable(me)
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        await m.softirq.local_bh_enable(me)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(body, "body", cpu=0)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.play(2000)
    assert m.log == [(100, at_exit), (500, in_task)]
    assert (m.mine().inuse, m.mine().current) == (False, None)
    m.end()


@pytest.mark.parametrize(("user", "where"), [(False, "IRQ"), (True, "TASK")], ids=["from the kernel", "from user mode"])
def test_IDT_18_irq_stack(user: bool, where: str) -> None:
    """A hard interrupt leaves the stack for that of its CPU unless it is empty; softirqs at its end stay, those of a task switch."""
    m = Detail()

    async def outer(cpu: Cpu) -> None:
        m.note(f"hardirq on {stack_name(m, cpu)}")
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        await cpu.irq_enable()
        await cpu.spend(50)
        cpu.irq_disable()

    async def inner(cpu: Cpu) -> None:
        m.note(f"nested on {stack_name(m, cpu)}")

    async def net_rx(cpu: Cpu) -> None:
        m.note(f"softirq on {stack_name(m, cpu)}")

    async def body(me: Task) -> None:
        await (me.user(500) if user else me.spend(500))
        cpu = await m.softirq.local_bh_disable(me)
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        await m.softirq.local_bh_enable(me)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(body, "body", cpu=0)
    m.irq(100, outer, vector=0x41)
    m.irq(120, inner, vector=0x61)
    m.play(2000)
    irq = m.mine().irq
    assert irq is not None
    assert irq.size == 16 << 10
    assert m.log == [
        (100, f"hardirq on {where}"),
        (120, f"nested on {where if not user else 'IRQ'}"),
        (150, f"softirq on {where}"),
        (550, "softirq on IRQ"),
    ]
    m.end()


def test_S4_50_i386_softirq_context() -> None:
    """Its thread_info gets the interrupted task and the stack pointer of before; nothing pending, no change of stacks."""
    m = Detail(kernel=I386_IRQ_STACKS)

    async def net_rx(cpu: Cpu) -> None:
        stack = m.stacks.current(cpu)
        task = cpu.current.stack
        assert task is not None
        m.note(f"{stack.name} of pid {stack.peek(stack.base)}, {stack.peek(stack.base + 4) == task.sp}")

    async def handler(cpu: Cpu) -> None:
        stack = m.stacks.current(cpu)
        m.note(f"{stack.name} of pid {stack.peek(stack.base)}")

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    pid = m.run_body().pid
    m.irq(100, handler)
    m.irq_raises(200, NET_RX_SOFTIRQ)
    m.play(2000)
    assert m.log == [(100, f"IRQ of pid {pid}"), (200, f"SOFTIRQ of pid {pid}, True")]
    steps = [line for line in m.steps(since=100, at=True) if "stack" in line[1]]
    assert steps == [
        (100, "call_on_stack"),
        (100, "return_from_stack"),
        (200, "call_on_stack"),
        (200, "return_from_stack"),
        (200, "softirq_stack"),
        (200, "softirq_stack_restore"),
    ]
    m.end()


@pytest.mark.parametrize(("kernel", "depth"), [(I386, 60 + 12 + 4 + 80), (I386_IRQ_STACKS, 60 + 12)], ids=["none", "irq stacks"])
def test_S4_09_who_borrows_whose_stack(kernel: KernelConfig, depth: int) -> None:
    """Without interrupt stacks a handler deepens the stack of whom it interrupts: by frame, registers, and what it needs itself."""
    m = Detail(kernel=kernel)
    depths: list[int] = []

    async def handler(cpu: Cpu) -> None:
        frame = call(m.stacks, cpu, "handler", 200)
        stack = m.stacks.of(cpu.current)
        depths.append(stack.depth - 68)
        ret(m.stacks, cpu, frame)

    m.run_body()
    m.irq(100, handler)
    m.play(2000)
    extra = 200 + 4 if kernel is I386 else 0
    assert depths == [depth - 12 + extra]
    m.end()


# --- the end of a stack


@pytest.mark.parametrize(("size", "dies"), [(16384 - 48 - 8 - 8 - 8 - 8 - 80 - 8, False), (16384 - 48 - 8 - 8 - 8 - 8 - 80, True)])
def test_S2_01_stack_canary(size: int, dies: bool) -> None:
    """The canary of 4.x lies at the bottom of the interrupt stack: what overflows that destroys it, and the next return tells."""
    m = Detail(kernel=OLD)

    async def handler(cpu: Cpu) -> None:
        assert m.stacks.canary(cpu) == CANARY
        frame = call(m.stacks, cpu, "deep_handler", size)
        irq = m.stacks.current(cpu)
        m.note(f"{irq.name} {irq.sp - irq.base} {m.stacks.canary(cpu) == CANARY}")
        ret(m.stacks, cpu, frame)

    m.run_body()
    m.irq(100, handler)
    if dies:
        text = "Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: deep_handler"
        with pytest.raises(KernelBug, match=f"^{text}, IRQ stack of CPU0 at 100 ns$"):
            m.play(2000)
        assert printed(m) == [text]
        assert m.log == [(100, "IRQ 40 False")]
        m.end()
        return
    m.play(2000)
    assert m.log == [(100, "IRQ 48 True")]
    assert printed(m) == []
    m.end()


# --- the way in from user mode


def test_S3_13_trampoline_stack() -> None:
    m = Detail()
    m.run_body(user=True)
    m.irq(100, lambda cpu: cpu.spend(10))
    m.play(2000)
    seen = [line.split()[1] for line in m.steps(since=100, until=109, stacks=True)]
    assert list(dict.fromkeys(seen)) == ["ENTRY", "TASK"]
    assert m.mine().tss.sp0 is m.mine().entry
    back = [line.split()[1] for line in m.steps(since=110, stacks=True)]
    assert list(dict.fromkeys(back)) == ["TASK", "ENTRY"]
    m.end()
    # Before, TSS.sp0 was the top of the task's own stack.
    m = Detail(kernel=OLD)
    task = m.run_body(user=True)
    m.irq(100, lambda cpu: cpu.spend(10))
    m.play(150)
    m.end()
    assert m.mine().tss.sp0 is task.stack
    assert {line.split()[1] for line in m.steps(since=100, stacks=True)} == {"TASK", "IRQ"}
    m.end()


@pytest.mark.parametrize(("bits", "user", "words"), [(32, True, 5), (32, False, 3), (64, True, 5), (64, False, 5)])
def test_S3_12_privilege_change_stack_switch(bits: int, user: bool, words: int) -> None:
    m = Detail(kernel=preset("linux-2.6", bits=bits))
    task = m.run_body(user=user)
    m.irq(100, lambda cpu: cpu.spend(10))
    m.play(2000)
    stack = m.stacks.of(task)
    before = stack.top if user else stack.top - m.stacks.regs_size
    before = before if bits == 32 else before & ~0xF
    pushed = [r.sp for r in m.records() if tag_of(type(r)) == "entry_step" and r.step == "push_frame" and r.ts == 100]  # type: ignore[attr-defined]
    assert before - pushed[0] == words * bits // 8
    m.end()


def test_S1_02_arm64_stack_set_up_first() -> None:
    m = Detail(cpus=2)
    order: list[str] = []

    def irqchip_init(stacks: Arm64Stacks) -> None:
        order.append(f"irqchip {[stack.name for stack in stacks.irq]}")

    made = arm64_init_irq(m.cpus, order.append, irqchip_init, shadow_call_stacks=True)
    assert order == ["irq stacks", "shadow call stacks", "irqchip ['IRQ', 'IRQ']"]
    assert [stack.size for stack in made.irq + made.shadow] == [16384, 16384, 1024, 1024]
    m.end()


def test_a_32_bit_canary_is_a_32_bit_word() -> None:
    m = Detail(kernel=preset("linux-6.12", bits=32))
    m.run_body()
    m.irq(100, lambda cpu: cpu.spend(1))
    m.play(1000)
    assert m.stacks.canary(m.cpus[0]) == CANARY & 0xFFFF_FFFF
    m.end()


def test_stacks_are_made_for_those_that_run() -> None:
    m = Detail(cpus=2)
    stacks = Stacks(m.cpus, StackPolicy())
    names = [stacks.cpus[0].tss.ist(index) for index in range(7)]
    assert [stack.name if stack is not None else None for stack in names] == ["#DF", "NMI", "#DB", "#MC", "#VC", None, None]
    assert stacks.find(m.cpus[0], 0) is None
    m.end()
