"""Show the inventory's ways in and out: registers, GS, the order of steps by era, the work for user mode, RCU, preemption."""

from __future__ import annotations

import pytest

from asyncirq.bottom_half.softirq import NET_RX_SOFTIRQ
from asyncirq.config import STACKS_4_X, preset
from asyncirq.entry.do_irq_entry import OPTIONS, IdtentryOptions
from asyncirq.entry.exit_work import TIF_NOTIFY_RESUME, set_work
from asyncirq.entry.idtentry import get_irq_regs, top_regs
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.pt_regs import OFFSETS_64, SIZE_64, USER_CS, PtRegs
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, Task
from asyncirq.trace.events_path import EntryStep
from tests.entry.detail import Detail, stack_name

OLD = preset("linux-6.12", preemption="full", entry_code="do_irq", stacks=STACKS_4_X)
I386 = preset("linux-2.6", bits=32)
HANDLER = ["irq_enter", "irq_exit"]
IN = ["push_frame", "clac", "cld", "push_code", "error_entry"]
FROM_USER = ["swapgs", "cr3_kernel", "sync_regs", "enter_from_user_mode", "trace_hardirqs_off_finish"]
FROM_KERNEL = ["rcu_irq_enter_check_tick", "trace_hardirqs_off_finish"]
TO_USER = [
    *("exit_to_user_mode_prepare", "trace_hardirqs_on_prepare", "user_enter_irqoff", "arch_exit_to_user_mode", "lockdep_hardirqs_on"),
    *("pop_regs", "trampoline_stack", "stackleak_erase", "cr3_user", "swapgs", "iret"),
]
ON_STACK = ["irq_stack_inuse", "irq_stack_switch", *HANDLER, "irq_stack_restore", "irq_stack_free"]
WAYS_OUT = ("exit_to_user_mode_prepare", "irqentry_exit_cond_resched", "ct_irq_enter", "ct_irq_exit")
TO_KERNEL = ["irqentry_exit_cond_resched", "pop_regs", "iret"]


def one(m: Detail, *, user: bool = False) -> list[str]:
    """Run a task and one interrupt at 100; return the steps of that."""
    m.run_body(user=user)
    m.irq(100, lambda cpu: cpu.spend(10))
    m.play(2000)
    steps: list[str] = m.steps(since=100)
    m.end()
    return steps


def sleeper(m: Detail, comm: str, priority: int, cost: int = 0) -> Task:
    """Start a real-time task that sleeps until woken and then notes when it ran, and on which stack."""

    async def run(task: Task) -> None:
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()
        m.note(f"{comm} on {stack_name(m, task.cpu)}")
        await task.spend(cost)

    return m.start(run, comm, cpu=0, policy=SCHED_FIFO, rt_priority=priority)


@pytest.mark.parametrize("user", [False, True], ids=["switched", "direct"])
def test_S3_27_where_the_hardirq_count_changes(user: bool) -> None:
    """Inside the switch of stacks; without one on the stack in use. The count is that after the step."""
    m = Detail()
    m.run_body(user=user)
    m.irq(100, lambda cpu: cpu.spend(10))
    m.play(2000)
    around = ("irq_stack_inuse", "irq_stack_switch", "irq_enter", "irq_exit", "irq_stack_restore", "irq_stack_free")
    found = [(r.step, r.stack, r.preempt_count) for r in m.records() if isinstance(r, EntryStep) and r.ts >= 100 and r.step in around]
    if user:
        assert found == [("irq_enter", "TASK", 0x10000), ("irq_exit", "TASK", 0x10000)]
    else:
        assert found == [
            ("irq_stack_inuse", "TASK", 0),
            ("irq_stack_switch", "IRQ", 0),
            ("irq_enter", "IRQ", 0x10000),
            ("irq_exit", "IRQ", 0x10000),
            ("irq_stack_restore", "TASK", 0),
            ("irq_stack_free", "TASK", 0),
        ]
    m.end()


@pytest.mark.parametrize(("where", "ran"), [("user", 100), ("kernel", 100), ("interrupts off", 300), ("idle", 100)])
def test_S0_70_irqentry_exit_three_ways(where: str, ran: int) -> None:
    """An exception or interrupt at 100 wakes an urgent task: it runs at the exit to user mode and to the preemptible kernel.

    With interrupts off it has to wait; from the idle loop RCU is put to sleep again and the loop itself reschedules.
    """
    m = Detail()
    task = sleeper(m, "urgent", 50)

    async def wake(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, task)

    async def body(me: Task) -> None:
        if where == "interrupts off":
            await me.spend(100)
            me.cpu.irq_disable()
            await m.hit(me.cpu, 6)
            await me.cpu.spend(200)
            await me.cpu.irq_enable()
            me.preempt_disable()
            await me.preempt_enable()
        else:
            await (me.user(1000) if where == "user" else me.spend(1000))

    m.trap(6, wake)
    if where != "idle":
        m.start(body, "body", cpu=0)
    if where != "interrupts off":
        m.irq(100, wake)
    m.play(5000)
    assert m.log == [(ran, "urgent on TASK")]
    steps = [step for step in m.steps(since=100, until=100) if step in WAYS_OUT]
    assert (
        steps
        == {
            "user": ["exit_to_user_mode_prepare"],
            "kernel": ["irqentry_exit_cond_resched"],
            "interrupts off": [],
            "idle": ["ct_irq_enter", "ct_irq_exit"],
        }[where]
    )
    m.end()


# --- registers


def test_S2_19_pt_regs_layout() -> None:
    assert list(OFFSETS_64.items())[::5] == [("r15", 0), ("bx", 40), ("ax", 80), ("orig_ax", 120), ("ss", 160)]
    assert SIZE_64 == 168
    slots: dict[str, int] = {}
    for name, kernel in (("idtentry", None), ("do_irq", OLD), ("i386", I386)):
        m = Detail(kernel=kernel)

        def look(cpu: Cpu, step: str, m: Detail = m, name: str = name) -> None:
            stack = m.stacks.current(cpu)
            word = stack.word
            value = stack.peek(stack.sp + (15 if word == 8 else 11) * word)
            slots[name] = value - (1 << 8 * word) if value >> 8 * word - 1 else value

        m.path.strict = False
        m.path.hooks |= {"error_entry": look, "save_regs": look, "SAVE_ALL": look}
        m.run_body()
        m.irq(100, lambda cpu: cpu.spend(1), vector=0x91)
        m.play(150)
        m.end()
    # The vector, cut to a signed byte; its complement; minus 256.
    assert slots == {"idtentry": 0x91 - 256, "do_irq": ~0x91, "i386": 0x91 - 256}
    m = Detail()
    m.path.strict = False

    async def body(me: Task) -> None:
        cpu = me.preempt_disable()
        for vector, code in ((6, None), (13, 0x18)):
            await m.hit(cpu, vector, code)
            m.note(f"{vector} {slots['i386']}")
        await me.preempt_enable()

    for vector in (6, 13):
        m.trap(vector)
    m.path.hooks["error_entry"] = lambda cpu, step: slots.__setitem__("i386", _signed(m, cpu))
    m.start(body, "body", cpu=0)
    m.play(1000)
    assert [text for _, text in m.log] == ["6 -1", "13 24"]
    m.end()


def _signed(m: Detail, cpu: Cpu) -> int:
    stack = m.stacks.current(cpu)
    value = stack.peek(stack.sp + OFFSETS_64["orig_ax"])
    return value - (1 << 64) if value >> 63 else value


def test_S2_21_from_user_mode_the_registers_move_to_the_top_of_the_task_stack() -> None:
    m = Detail()
    seen: list[PtRegs] = []

    async def handler(cpu: Cpu) -> None:
        stack = m.stacks.of(cpu.current)
        m.note(f"{stack.top - stack.low == SIZE_64} {stack.depth - 80 - 16}")
        seen.append(top_regs(m.stacks, cpu.current))

    m.run_body(user=True)
    m.irq(100, handler)
    m.play(2000)
    regs = seen[0]
    assert (regs.cs, regs.orig_ax, regs.user_mode, regs.irqs_off) == (USER_CS, -1, True, False)
    assert m.log == [(100, f"False {SIZE_64}")]
    m.end()


def test_S0_57_saved_irq_regs_pointer() -> None:
    m = Detail()

    def note(cpu: Cpu, name: str) -> None:
        regs = get_irq_regs(m.path, cpu)
        m.note(f"{name} {'none' if regs is None else 'user' if regs.user_mode else 'kernel'}")

    async def outer(cpu: Cpu) -> None:
        note(cpu, "outer")
        await cpu.irq_enable()
        await cpu.spend(50)
        cpu.irq_disable()
        note(cpu, "outer")

    async def inner(cpu: Cpu) -> None:
        note(cpu, "inner")

    m.run_body(user=True)
    m.irq(100, outer, vector=0x41)
    m.irq(120, inner, vector=0x61)
    m.at(500, lambda: note(m.cpus[0], "task"))
    m.play(2000)
    assert m.log == [(100, "outer user"), (120, "inner kernel"), (150, "outer user"), (500, "task none")]
    m.end()


# --- where from


def test_S2_17_where_did_we_come_from() -> None:
    kernel, user = one(Detail()), one(Detail(), user=True)
    assert [step for step in user if step not in kernel] == [*FROM_USER[:4], *TO_USER[:5], *TO_USER[6:10]]
    assert [step for step in kernel if step not in user] == [
        "rcu_irq_enter_check_tick",
        *("irq_stack_inuse", "irq_stack_switch", "irq_stack_restore", "irq_stack_free"),
        "irqentry_exit_cond_resched",
    ]


def test_S0_44_modern_stub_body() -> None:
    steps = one(Detail(), user=True)
    assert steps[:10] == [*IN, *FROM_USER]
    m = Detail()
    m.entry.code.xenpv = True
    steps = one(m, user=True)
    assert steps[:7] == [*IN, "enter_from_user_mode", "trace_hardirqs_off_finish"]
    assert steps[-2:] == ["pop_regs", "iret"]
    assert "swapgs" not in steps


def test_S0_52_device_irq_wrapper_order() -> None:
    assert one(Detail()) == [*IN, *FROM_KERNEL, "l1d_flush_request", *ON_STACK, *TO_KERNEL]
    assert one(Detail(), user=True) == [*IN, *FROM_USER, "l1d_flush_request", *HANDLER, *TO_USER]


def test_S0_53_l1d_flush_request() -> None:
    m = Detail()
    m.run_body()
    m.play(50)
    m.state().flush_l1d = False
    m.irq(100, lambda cpu: cpu.spend(1))
    m.play(200)
    assert m.state().flush_l1d
    m.end()


@pytest.mark.parametrize("where", ["user", "idle", "kernel"])
def test_S0_21_irqentry_enter_three_ways(where: str) -> None:
    m = Detail()

    async def handler(cpu: Cpu) -> None:
        m.note(f"watching {m.state().watching} in_user {m.state().in_user}")

    if where != "idle":
        m.run_body(user=where == "user")
    m.irq(100, handler)
    m.play(90)
    assert (m.state().watching, m.state().in_user) == {"user": (True, True), "idle": (False, False), "kernel": (True, False)}[where]
    m.play(300)
    assert m.log == [(100, "watching True in_user False")]
    first = {"user": "enter_from_user_mode", "idle": "ct_irq_enter", "kernel": "rcu_irq_enter_check_tick"}[where]
    steps = m.steps(since=100)
    assert [step for step in steps if step in ("enter_from_user_mode", "ct_irq_enter", "rcu_irq_enter_check_tick")] == [first]
    # The way out of idle turns RCU off again, and does not look at preemption.
    assert ("ct_irq_exit" in steps, "irqentry_exit_cond_resched" in steps) == (where == "idle", where == "kernel")
    assert (m.state().watching, m.state().in_user) == {"user": (True, True), "idle": (False, False), "kernel": (True, False)}[where]
    m.end()


# --- GS


def test_S2_20_swapgs_pairing() -> None:
    """An NMI at every ns of an interrupt's way in from user mode and back: GS is the kernel's whenever C code runs."""
    swaps: set[int] = set()
    for when in range(100, 215):
        m = Detail(entry_step_ns=5)

        async def nmi(cpu: Cpu, m: Detail = m) -> None:
            assert not m.state().gs_user
            m.note("nmi")

        m.entry.nmi = nmi
        m.run_body(user=True)
        m.irq(100, lambda cpu: cpu.spend(0))
        m.nmi_at(when)
        m.play(5000)
        assert len(m.log) == 1
        steps = m.steps(since=100)
        assert steps.count("swapgs") % 2 == 0
        swaps.add(steps.count("swapgs"))
        m.end()
    # From the kernel with the kernel's GS: the interrupt's two. From user mode, or before or after the interrupt's own: two more.
    assert swaps == {2, 4}


def test_S2_20_an_unbalanced_path_is_a_violation() -> None:
    m = Detail()
    m.path.strict = False
    m.run_body()
    m.play(50)
    m.path.hooks["error_entry"] = lambda cpu, step: setattr(m.state(), "gs_user", True)
    m.irq(100, lambda cpu: cpu.spend(1))
    with pytest.raises(KernelBug, match="^WARNING: asm_common_interrupt reads per-CPU data with the user's GS base: an unbalanced swapgs"):
        m.play(1000)
    m.end()


def test_S2_20_asking_cs_would_be_wrong() -> None:
    """Between the gate and SWAPGS the code is the kernel's and GS the user's: an entry that trusts CS runs into it."""
    m = Detail(entry_step_ns=5)
    m.trap(1)
    m.path.strict = False

    async def trap(cpu: Cpu) -> None:
        await m.hit(cpu, 1)

    m.run_body(user=True)
    m.entry.nmi = trap
    paranoid = m.entry.code.nmi.path.paranoid_entry

    async def trusting(cpu: Cpu) -> bool:
        return False

    m.path.paranoid_entry = trusting  # type: ignore[method-assign]
    m.irq(100, lambda cpu: cpu.spend(0))
    m.nmi_at(102)
    with pytest.raises(KernelBug, match="^WARNING: asm_exc_nmi reads per-CPU data with the user's GS base"):
        m.play(1000)
    assert paranoid is not None
    m.end()


# --- out


def test_S0_47_return_to_user_via_trampoline() -> None:
    m = Detail()
    m.run_body(user=True)
    m.irq(100, lambda cpu: cpu.spend(10))
    m.play(2000)
    assert m.steps(since=110, stacks=True)[-6:] == [
        "pop_regs TASK",
        "trampoline_stack ENTRY",
        "stackleak_erase ENTRY",
        "cr3_user ENTRY",
        "swapgs ENTRY",
        "iret ENTRY",
    ]
    entry = m.mine().entry
    assert entry is not None
    # Five words of frame, and RDI.
    assert entry.depth == 48
    assert entry.peek(entry.top - 40 + 8) == USER_CS
    m.end()


def test_S0_48_espfix64() -> None:
    m = Detail()
    task = m.run_body(user=True)
    m.play(50)
    task.frame = PtRegs(ip=0x40_0000, cs=USER_CS, ss=0x0F, sp=0x1234_5678)
    m.irq(100, lambda cpu: cpu.spend(10))
    alias: list[tuple[str, int, int]] = []

    def look(cpu: Cpu, step: str) -> None:
        stack = m.stacks.current(cpu)
        alias.append((stack.name, stack.base, stack.size))
        with pytest.raises(KernelBug, match="the ESPFIX stack is read-only"):
            stack.push(0)

    m.path.strict = False
    m.path.hooks["espfix64"] = look
    m.play(2000)
    assert m.steps(since=100)[-3:] == ["swapgs", "espfix64", "iret"]
    assert alias == [("ESPFIX", 0xFFFF_FF00_1234_0000, 64)]
    m.end()


def test_S0_73_final_user_exit() -> None:
    m = Detail()
    task = m.run_body(user=True)
    m.irq(100, lambda cpu: _set(task, TIF_NOTIFY_RESUME))
    m.play(90)
    assert m.state().in_user
    m.play(2000)
    steps = m.steps(since=100)
    start = steps.index("exit_to_user_mode_prepare")
    assert steps[start : start + 6] == ["exit_to_user_mode_prepare", "notify_resume", *TO_USER[1:5]]
    m.end()
    # After the first of them nothing may be traced any more.
    m = Detail()
    m.run_body(user=True)
    m.path.hooks["lockdep_hardirqs_on"] = lambda cpu, step: None
    m.irq(100, lambda cpu: cpu.spend(1))
    with pytest.raises(KernelBug, match="^WARNING: a tracer is called in lockdep_hardirqs_on, which is noinstr code"):
        m.play(2000)
    m.end()


async def _set(task: Task, flags: int) -> None:
    set_work(task, flags)


@pytest.mark.parametrize(("step", "allowed"), [("l1d_flush_request", True), ("exit_to_user_mode_prepare", True), ("swapgs", False)])
def test_S0_20_noinstr_regions(step: str, allowed: bool) -> None:
    m = Detail()
    m.path.hooks[step] = lambda cpu, name: m.note(name)
    m.run_body(user=True)
    m.play(50)
    m.irq(100, lambda cpu: cpu.spend(1))
    if not allowed:
        with pytest.raises(KernelBug, match=f"^WARNING: a tracer is called in {step}, which is noinstr code, on CPU0 at 100 ns$"):
            m.play(2000)
        m.end()
        # Where nobody is strict the tracer runs, as on kernels that are not checked.
        m = Detail()
        m.path.strict = False
        m.path.hooks[step] = lambda cpu, name: m.note(name)
        m.run_body(user=True)
        m.irq(100, lambda cpu: cpu.spend(1))
    m.play(2000)
    assert {text for _, text in m.log} == {step}
    m.end()


def test_S0_46_interrupts_left_on_in_a_handlers_tail() -> None:
    m = Detail()

    async def handler(cpu: Cpu) -> None:
        await cpu.irq_enable()

    m.run_body()
    m.irq(100, handler)
    with pytest.raises(KernelBug, match="^WARNING: interrupts are on at the exit of asm_common_interrupt on CPU0 at 100 ns$"):
        m.play(2000)
    m.end()


def test_S3_26_preempted_inside_irq_return() -> None:
    """A is interrupted, and preempted by B on its way out; B is interrupted; A goes on with its exit, then with what it did."""
    m = Detail()
    b = sleeper(m, "B", 50, cost=100)

    async def a(me: Task) -> None:
        await me.spend(1000)
        m.note(f"A on {stack_name(m, me.cpu)}, depth {m.stacks.of(me).depth}")

    async def wake(cpu: Cpu) -> None:
        m.note(f"1: {stack_name(m, cpu)}")
        await m.sched.wake_up_process(cpu, b)

    async def second(cpu: Cpu) -> None:
        m.note(f"2: {stack_name(m, cpu)} over {comm(cpu)}, A's depth {m.stacks.of(task).depth}")

    task = m.start(a, "A", cpu=0)
    m.irq(100, wake)
    m.irq(150, second)
    m.play(5000)
    # While B runs, A's stack holds the registers of its system call, alignment, and those of the interrupt.
    assert m.log == [
        (100, "1: IRQ"),
        (100, "B on TASK"),
        (150, f"2: IRQ over B, A's depth {168 + 8 + 168}"),
        (1100, "A on TASK, depth 168"),
    ]
    assert m.entry.irq_stack.switches == 2
    assert (m.mine().inuse, m.state().switched) == (False, [])
    m.end()


def comm(cpu: Cpu) -> str:
    task = cpu.current
    assert isinstance(task, Task)
    return task.comm


def test_preemption_happens_on_a_threads_stack_only() -> None:
    m = Detail()
    b = sleeper(m, "B", 50)

    async def wake(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, b)

    def stay(cpu: Cpu, step: str) -> None:
        m.mine().current = m.mine().irq

    m.path.hooks["irqentry_exit_cond_resched"] = stay
    m.run_body()
    m.irq(100, wake)
    with pytest.raises(KernelBug, match="^WARNING: preemption on the IRQ stack of CPU0 at 100 ns$"):
        m.play(2000)
    m.end()


# --- marks of interrupts off


@pytest.mark.parametrize(("kernel", "redundant"), [(None, 0), (OLD, 1)], ids=["idtentry", "do_irq"])
@pytest.mark.parametrize("user", [False, True])
def test_S3_21_tracing_marks_of_interrupts_off(kernel: object, redundant: int, user: bool) -> None:
    """One section an interrupt, whatever the number of marks; it ends before the IRET, so that its end is traced inside."""
    m = Detail(kernel=kernel)  # type: ignore[arg-type]
    m.run_body(user=user)
    m.play(50)
    before = (len(m.path.flags.sections[0]), m.path.flags.redundant_off[0])
    for when in (100, 200):
        m.irq(when, lambda cpu: cpu.spend(10))
    m.play(2000)
    assert m.path.flags.sections[0][before[0] :] == [(100, 110), (200, 210)]
    assert m.path.flags.redundant_off[0] - before[1] == 2 * redundant
    assert m.path.flags.redundant_on[0] == 0
    steps = m.steps(since=100, until=150)
    off = "trace_hardirqs_off" if kernel else "enter_from_user_mode" if user else "rcu_irq_enter_check_tick"
    if user:
        assert steps.index("swapgs") < steps.index(off)
    assert m.path.flags.off == [False]
    m.end()


# --- before 5.8


def test_S2_16_old_idtentry_options() -> None:
    with pytest.raises(UsageError, match="^idtentry overflow: using shift_ist requires paranoid=1"):
        IdtentryOptions("overflow", shift_ist=2)
    assert [option.name for option in OPTIONS if option.shift_ist != -1] == ["debug", "int3"]
    assert all(option.paranoid for option in OPTIONS if option.shift_ist != -1)
    assert [option.name for option in OPTIONS if option.has_error_code] == ["double_fault", "general_protection", "page_fault"]


def test_S3_19_do_irq_4_x_order() -> None:
    m = Detail(kernel=OLD)
    m.run_body()
    m.irq(100, lambda cpu: cpu.spend(10))
    m.play(2000)
    kinds = {"entry_step", "vector_entry", "vector_exit", "lapic_eoi"}
    story = [
        record.step if hasattr(record, "step") else type(record).__struct_config__.tag
        for record in m.records()
        if record.ts >= 100 and type(record).__struct_config__.tag in kinds
    ]
    assert story == [
        *("push_frame", "push_vector", "save_regs", "trace_hardirqs_off", "irq_stack_switch", "trace_hardirqs_off", "do_IRQ"),
        *("set_irq_regs", "irq_enter", "rcu_lockdep_check", "vector_entry", "lapic_eoi", "vector_exit", "irq_exit", "restore_irq_regs"),
        *("irq_stack_restore", "ret_from_intr", "trace_hardirqs_iretq", "pop_regs", "iret"),
    ]
    m.end()


def test_S4_02_i386_2_6_entry() -> None:
    steps = one(Detail(kernel=I386))
    assert steps == [
        *("push_frame", "push_vector", "SAVE_ALL", "do_IRQ", "set_irq_regs", "irq_enter", "rcu_lockdep_check", "irq_exit"),
        *("restore_irq_regs", "ret_from_intr", "resume_kernel", "restore_all", "iret"),
    ]
    steps = one(Detail(kernel=I386), user=True)
    assert steps[-4:] == ["ret_from_intr", "resume_userspace", "restore_all", "iret"]


@pytest.mark.parametrize("kernel", [None, OLD], ids=["idtentry", "do_irq"])
def test_S3_22_user_mode_context_tracking_on_entry(kernel: object) -> None:
    """The user's time stops when context tracking is told, after SWAPGS and before the handler, and goes on on the way back."""
    m = Detail(kernel=kernel, entry_step_ns=5)  # type: ignore[arg-type]
    m.run_body(1000, user=True)
    m.irq(500, lambda cpu: cpu.spend(100))
    m.play(5000)
    steps = m.steps(since=500, at=True)
    told = next(ts for ts, step in steps if step == "enter_from_user_mode")
    back = next(ts for ts, step in steps if step in ("user_enter_irqoff", "swapgs") and ts > told)
    names = [step for _, step in steps]
    assert names.index("swapgs") < names.index("enter_from_user_mode") < names.index("irq_enter")
    end = steps[-1][0]
    # What the entry code takes before it tells, and after it has told on the way back, still counts as the user's.
    assert m.path.user_ns == [1000 + (told - 500) + (end - back)]
    m.end()


def test_softirqs_at_the_exit_run_between_the_counts() -> None:
    m = Detail()

    async def net_rx(cpu: Cpu) -> None:
        m.note(f"{cpu.preempt_count:#x} {stack_name(m, cpu)}")

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.run_body()
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.play(2000)
    assert m.log == [(100, "0x100 IRQ")]
    m.end()
