"""Show the CPU's interrupt flag, its window, and the three ways to park: spend, stall, switch."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from asyncirq.errors import InternalError, KernelBug, SimulationStalled
from asyncirq.hw.apic_message import ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.idt import INTERRUPT_GATE, TRAP_GATE, Gate
from asyncirq.locking.raw_spinlock import RawSpinlock
from asyncirq.sched.task import TASK_INTERRUPTIBLE, Task
from asyncirq.sim import Flag
from tests.softirq_rig import STOCK, Body, Line, Rig


def on_cpu(m: Rig, body: Body, cpu: int = 0, comm: str = "body") -> None:
    """Run ``await body(cpu)`` in a task with preemption off."""

    async def run(task: Task) -> None:
        await body(task.preempt_disable())
        await task.preempt_enable()

    m.start(run, comm, cpu=cpu)


def noting(m: Rig, text: str, cost: int = 0) -> Body:
    """Return a handler's body that spends ``cost`` and writes a line before and after."""

    async def body(cpu: Cpu) -> None:
        m.note(text)
        if cost:
            await cpu.spend(cost)
            m.note(f"{text} ends")

    return body


# --- the interrupt flag


def test_irq_disable_tells_how_it_was() -> None:
    m = Rig()

    async def body(cpu: Cpu) -> None:
        outer = cpu.irq_disable()
        inner = cpu.irq_disable()
        m.note(f"{outer} {inner} {cpu.irqs_off}")
        await cpu.irq_restore(inner)
        m.note(f"{cpu.irqs_off}")
        await cpu.irq_restore(outer)
        m.note(f"{cpu.irqs_off}")

    on_cpu(m, body)
    m.play(100)
    assert [text for _, text in m.log] == ["False True True", "True", "False"]
    m.end()


def test_irq_enable_takes_what_is_pending_before_the_next_statement() -> None:
    m = Rig()

    async def body(cpu: Cpu) -> None:
        cpu.irq_disable()
        await cpu.spend(100)
        m.note("sti")
        await cpu.irq_enable()
        m.note("after sti")

    on_cpu(m, body)
    m.irq(30, noting(m, "low", 10), vector=0x41)
    m.irq(60, noting(m, "high", 10), vector=0x91)
    m.play(1000)
    assert m.log == [(100, "sti"), (100, "high"), (110, "high ends"), (110, "low"), (120, "low ends"), (120, "after sti")]
    m.end()


def test_interrupts_lengthen_what_they_interrupt() -> None:
    m = Rig()

    async def body(cpu: Cpu) -> None:
        await cpu.spend(100)
        m.note("first")
        await cpu.spend(100)
        m.note("second")

    on_cpu(m, body)
    m.irq(40, noting(m, "a", 30))
    m.irq(90, noting(m, "b", 5))
    # At the very end of a spend, and of what a handler has made of it: taken before the next statement.
    m.irq(135, noting(m, "c", 5))
    m.play(1000)
    assert m.log == [
        (40, "a"),
        (70, "a ends"),
        (90, "b"),
        (95, "b ends"),
        (135, "c"),
        (140, "c ends"),
        (140, "first"),
        (240, "second"),
    ]
    m.end()


def test_a_higher_class_nests_and_a_lower_one_waits() -> None:
    m = Rig()

    async def middle(cpu: Cpu) -> None:
        await cpu.irq_enable()
        m.note("middle")
        await cpu.spend(100)
        m.note("middle ends")
        cpu.irq_disable()
        cpu.lapic.eoi(cpu)

    async def idle_hands(cpu: Cpu) -> None:
        await cpu.spend(1000)

    on_cpu(m, idle_hands)
    m.handle(0x51, middle)
    m.raise_at(100, 0x51)
    m.irq(120, noting(m, "same class", 10), vector=0x5F)
    m.irq(130, noting(m, "lower", 10), vector=0x4F)
    m.irq(140, noting(m, "higher", 10), vector=0x61)
    m.play(1000)
    assert m.log == [
        (100, "middle"),
        (140, "higher"),
        (150, "higher ends"),
        (210, "middle ends"),
        (210, "same class"),
        (220, "same class ends"),
        (220, "lower"),
        (230, "lower ends"),
    ]
    m.end()


@pytest.mark.covers("S3-05")
@pytest.mark.parametrize(
    ("kind", "log"),
    [
        (INTERRUPT_GATE, [(100, "enter"), (110, "leave"), (110, "device"), (120, "device ends")]),
        (TRAP_GATE, [(100, "enter"), (102, "device"), (112, "device ends"), (120, "leave")]),
    ],
)
def test_IDT_12_an_interrupt_gate_clears_if_and_a_trap_gate_does_not(kind: int, log: list[Line]) -> None:
    m = Rig()

    async def through_gate(cpu: Cpu, vector: int) -> None:
        m.note("enter")
        cpu.preempt_count += 0x10000
        await cpu.spend(10)
        cpu.preempt_count -= 0x10000
        cpu.lapic.eoi(cpu)
        m.note("leave")

    m.cpus[0].idt.set_gate(0x41, Gate(through_gate, "through_gate", kind))
    on_cpu(m, lambda cpu: cpu.spend(1000))
    m.raise_at(100, 0x41)
    m.irq(102, noting(m, "device", 10), vector=0x51)
    m.play(1000)
    assert m.log == log
    m.end()


@pytest.mark.parametrize("present", [None, False])
def test_a_vector_without_gate_is_a_bug(present: bool | None) -> None:
    m = Rig()

    async def nothing(cpu: Cpu, vector: int) -> None:
        """Never run."""

    m.cpus[0].idt.gates[0x41] = None if present is None else Gate(nothing, "nothing", present=present)
    m.raise_at(100, 0x41)
    with pytest.raises(KernelBug, match="^no gate for vector 65 on CPU0 at 100 ns$"):
        m.play(1000)
    m.end()


def test_what_the_task_priority_holds_back_is_taken_when_it_is_lowered() -> None:
    m = Rig()

    async def body(cpu: Cpu) -> None:
        cpu.irq_disable()
        await cpu.spend(100)
        cpu.lapic.tpr = 0x40
        await cpu.irq_enable()
        m.note(f"{cpu.attention}")
        await cpu.spend(100)
        cpu.lapic.tpr = 0x30
        m.note(f"{cpu.attention}")
        await cpu.spend(100)

    on_cpu(m, body)
    m.irq(50, noting(m, "irq"), vector=0x41)
    m.play(1000)
    assert m.log == [(100, "False"), (200, "True"), (200, "irq")]
    m.end()


# --- spend


@pytest.mark.parametrize("how", ["spend", "stall"])
def test_code_that_may_migrate_must_not_hold_on_to_a_cpu(how: str) -> None:
    m = Rig()
    flag = Flag("flag", is_set=True)

    async def run(task: Task) -> None:
        cpu = task.cpu
        await (cpu.spend(10) if how == "spend" else cpu.stall(flag))

    m.start(run, "mobile")
    with pytest.raises(KernelBug, match=r"^BUG: using smp_processor_id\(\) in preemptible code: mobile-2 on CPU0 at 0 ns$"):
        m.play(100)
    m.end()


def test_what_pins_a_context_to_its_cpu() -> None:
    m = Rig()

    async def run(task: Task) -> None:
        cpu = task.preempt_disable()
        await cpu.spend(10)
        await task.preempt_enable()
        cpu = task.cpu
        cpu.irq_disable()
        await cpu.spend(10)
        await cpu.irq_enable()
        cpu = task.migrate_disable()
        await cpu.spend(10)
        task.migrate_enable()
        m.note("mobile ends")

    async def bound(task: Task) -> None:
        await task.cpu.spend(10)
        m.note("bound ends")

    m.start(run, "mobile")
    m.play(100)
    m.start(bound, "bound", cpu=0)
    m.play(1000)
    assert m.log == [(30, "mobile ends"), (110, "bound ends")]
    m.end()


def test_a_spend_with_interrupts_off_is_poked_by_an_nmi_alone() -> None:
    m = Rig()

    async def nmi(cpu: Cpu) -> None:
        m.note("nmi")
        await cpu.spend(7)

    async def body(cpu: Cpu) -> None:
        cpu.irq_disable()
        await cpu.spend(100)
        m.note(f"spent {cpu.irqs_off}")
        await cpu.irq_enable()

    m.entry.nmi = nmi
    on_cpu(m, body)
    m.irq(20, noting(m, "irq"))
    m.nmi_at(40)
    m.play(1000)
    assert m.log == [(40, "nmi"), (107, "spent True"), (107, "irq")]
    m.end()


def test_a_lone_hog_gives_the_host_a_turn_every_thousand_spends() -> None:
    m = Rig()

    async def hog(cpu: Cpu) -> None:
        for _ in range(10_000):
            await cpu.spend(1)

    on_cpu(m, hog)
    m.engine.run_slice(0, 100)
    m.engine.horizon = 20_000
    slices = 1
    while not m.engine.run_slice(20_000, 1000):
        slices += 1
    assert m.engine.now == 10_000
    # Each thousand spends end a slice.
    assert 10 <= slices <= 12
    m.end()


# --- stall


def test_a_stall_takes_no_heap_entry_and_lets_interrupts_nest() -> None:
    m = Rig()
    flag = Flag("flag")

    async def body(cpu: Cpu) -> None:
        await cpu.stall(flag)
        m.note("stalled no more")

    on_cpu(m, body)
    m.irq(100, noting(m, "irq", 20))
    m.at(110, flag.set)
    m.at(150, lambda: m.note("never earlier"))
    m.play(50)
    before = m.engine.heap_length()
    for when in range(60, 90, 10):
        m.nmi_at(when)
    m.play(95)
    assert (before, m.engine.heap_length()) == (3, 3)
    m.play(1000)
    # The word became ready inside the handler: the stall tests it after that and needs no other poke.
    assert m.log == [(100, "irq"), (120, "irq ends"), (120, "stalled no more"), (150, "never earlier")]
    m.end()


def test_a_stall_tests_its_word_before_it_parks() -> None:
    m = Rig()
    flag = Flag("flag", is_set=True)

    async def body(cpu: Cpu) -> None:
        await cpu.stall(flag)
        m.note(f"{flag.waiters} {cpu.current.sim.stalled_on}")

    on_cpu(m, body)
    m.play(10)
    assert m.log == [(0, "[] None")]
    m.end()


def test_a_stall_with_interrupts_off_goes_on_when_the_word_is_set() -> None:
    m = Rig(2)
    flag = Flag("flag")

    async def waiter(cpu: Cpu) -> None:
        cpu.irq_disable()
        await cpu.stall(flag)
        m.note("waiter")
        await cpu.irq_enable()

    async def setter(cpu: Cpu) -> None:
        await cpu.spend(100)
        flag.set()
        m.note("set")

    on_cpu(m, waiter, 0)
    on_cpu(m, setter, 1)
    m.irq(50, noting(m, "irq"))
    m.play(1000)
    assert m.log == [(100, "set"), (100, "waiter"), (100, "irq")]
    m.end()


# --- halt


@pytest.mark.parametrize("when", [90, 95, 100, 110])
def test_IDT_13_hlt(when: int) -> None:
    m = Rig(daemons=False)

    async def body(cpu: Cpu) -> None:
        cpu.irq_disable()
        await cpu.spend(100)
        m.note("hlt")
        await cpu.safe_halt()
        m.note(f"woken {cpu.irqs_off} {cpu.current.own_irqs_off}")
        await cpu.spend(1000)

    on_cpu(m, body)
    m.irq(when, noting(m, "irq", 5))
    m.play(1000)
    # Pending before: it ends the halt at once, and is not taken between STI and HLT, or the halt would last for ever.
    taken = max(when, 100)
    assert m.log == [(100, "hlt"), (taken, "irq"), (taken + 5, "irq ends"), (taken + 5, "woken False False")]
    m.end()


def test_a_halt_leaves_interrupts_on_for_the_invariants() -> None:
    m = Rig(daemons=False)

    async def run(task: Task) -> None:
        cpu = task.cpu
        cpu.irq_disable()
        await cpu.safe_halt()
        m.note(f"{cpu.irqs_off} {task.own_irqs_off}")
        await cpu.spend(10)

    m.start(run, "run", cpu=0)
    m.irq(50, noting(m, "irq"))
    m.play(100)
    assert m.log == [(50, "irq"), (50, "False False")]
    m.end()


# --- NMI


def test_NMI_02_one_in_service_plus_one_latched() -> None:
    m = Rig(2)
    handled: list[int] = []

    async def nmi(cpu: Cpu) -> None:
        handled.append(m.engine.now)
        await cpu.spend(10)

    m.entry.nmi = nmi
    for number in range(100):
        # One from itself and one from the other CPU, in the same instant.
        m.nmi_at(1000 * number + 100)
        m.nmi_at(1000 * number + 100)
    m.play(200_000)
    assert handled == [1000 * number + when for number in range(100) for when in (100, 110)]
    m.end()


def test_NMI_03_the_latch_has_depth_one() -> None:
    m = Rig()
    first = True

    async def nmi(cpu: Cpu) -> None:
        nonlocal first
        m.note(f"nmi {cpu.nmi_blocked}")
        if first:
            first = False
            for _ in range(10):
                m.nmi()
        await cpu.spend(10)

    m.entry.nmi = nmi
    m.nmi_at(100)
    m.play(1000)
    assert m.log == [(100, "nmi True"), (110, "nmi True")]
    assert (m.cpus[0].nmi_blocked, m.cpus[0].lapic.coalesced_total) == (False, 9)
    m.end()


def test_any_iret_ends_the_blocking_of_nmis() -> None:
    m = Rig()
    passes = 0

    async def nmi(cpu: Cpu) -> None:
        nonlocal passes
        passes += 1
        m.note(f"pass {passes}")
        if passes == 1:
            m.nmi()
            await cpu.spend(10)
            m.note("exception returns")
            cpu.iret(cpu.irqs_off)
            await cpu.spend(10)

    m.entry.nmi = nmi
    m.nmi_at(100)
    m.play(1000)
    # The second NMI is taken at 110, inside the first one, whose handler then runs once more.
    assert m.story("nmi_inta") == [(100, "idle: nmi"), (110, "idle: nmi")]
    assert m.log == [(100, "pass 1"), (110, "exception returns"), (120, "pass 2")]
    m.end()


def test_an_nmi_over_a_handler_leaves_interrupts_off() -> None:
    m = Rig()

    async def nmi(cpu: Cpu) -> None:
        m.note(f"nmi {cpu.preempt_count:#x}")

    async def handler(cpu: Cpu) -> None:
        await cpu.spend(100)
        m.note(f"handler {cpu.irqs_off} {cpu.preempt_count:#x}")

    m.entry.nmi = nmi
    m.irq(100, handler)
    m.irq(120, noting(m, "later"), vector=0x91)
    m.nmi_at(150)
    m.play(1000)
    assert m.log == [(150, "nmi 0x120001"), (200, "handler True 0x10001"), (200, "later")]
    m.end()


# --- deadlock


def locks(m: Rig, first: RawSpinlock, second: RawSpinlock) -> Body:
    """Take one lock, then after 10 ns another."""

    async def body(cpu: Cpu) -> None:
        await first.lock(cpu)
        await cpu.spend(10)
        await second.lock(cpu)
        m.note(f"{cpu.name} has both")
        await second.unlock(cpu)
        await first.unlock(cpu)

    return body


def test_a_lock_taken_again_by_a_handler_on_its_own_cpu() -> None:
    m = Rig()
    lock = RawSpinlock("lock")

    async def body(cpu: Cpu) -> None:
        await lock.lock(cpu)
        await cpu.spend(100)
        await lock.unlock(cpu)

    async def handler(cpu: Cpu) -> None:
        await lock.lock(cpu)

    on_cpu(m, body)
    m.irq(50, handler)
    with pytest.raises(KernelBug, match="^deadlock at 50 ns: body-2 stalls on lock; lock is held by body-2$"):
        m.play(1000)
    m.end()


def test_ab_ba() -> None:
    m = Rig(2)
    a, b = RawSpinlock("A"), RawSpinlock("B")
    on_cpu(m, locks(m, a, b), 0, "one")
    on_cpu(m, locks(m, b, a), 1, "two")
    with pytest.raises(
        KernelBug, match="^deadlock at 10 ns: two-4 stalls on A; A is held by one-3, which stalls on B; B is held by two-4$"
    ):
        m.play(1000)
    m.end()


def test_ab_ba_through_an_interrupt_frame() -> None:
    m = Rig(2)
    a, b = RawSpinlock("A"), RawSpinlock("B")

    async def holds_a(cpu: Cpu) -> None:
        await a.lock(cpu)
        await cpu.spend(1000)
        await a.unlock(cpu)

    async def wants_b(cpu: Cpu) -> None:
        await b.lock(cpu)
        await b.unlock(cpu)

    async def holds_b_wants_a(cpu: Cpu) -> None:
        await b.lock(cpu)
        await cpu.spend(100)
        await a.lock(cpu)

    on_cpu(m, holds_a, 0, "one")
    on_cpu(m, holds_b_wants_a, 1, "two")
    m.irq(50, wants_b)
    with pytest.raises(
        KernelBug, match="^deadlock at 100 ns: two-4 stalls on A; A is held by one-3, which stalls on B; B is held by two-4$"
    ):
        m.play(1000)
    m.end()


def test_a_handler_that_waits_for_itself() -> None:
    m = Rig()
    done = Flag("irq 5 in progress")

    async def handler(cpu: Cpu) -> None:
        done.owner = cpu.current.sim
        await cpu.spend(10)
        await cpu.stall(done)

    m.irq(100, handler)
    text = "^deadlock at 110 ns: swapper/0 stalls on irq 5 in progress; irq 5 in progress is held by swapper/0$"
    with pytest.raises(KernelBug, match=text):
        m.play(1000)
    m.end()


def test_a_wait_for_a_handler_on_another_cpu_is_no_deadlock() -> None:
    m = Rig(2)
    done = Flag("irq 5 in progress")

    async def handler(cpu: Cpu) -> None:
        done.owner = cpu.current.sim
        await cpu.spend(100)
        done.owner = None
        done.set()

    async def synchronize(cpu: Cpu) -> None:
        await cpu.spend(20)
        await cpu.stall(done)
        m.note("synchronized")

    m.irq(10, handler, cpu=1)
    on_cpu(m, synchronize)
    m.play(1000)
    assert m.log == [(110, "synchronized")]
    m.end()


def test_a_wait_for_nobody_is_told_when_nothing_is_left_to_run() -> None:
    m = Rig()
    on_cpu(m, lambda cpu: cpu.stall(Flag("never")))
    with pytest.raises(SimulationStalled, match="^nothing is left to run while body-2 cannot go on at 1000 ns\n") as caught:
        m.play(1000)
    assert "body-2: stalled on never\n    _task_main" in str(caught.value)
    m.end()


# --- depth, progress, and what an error looks like


def nest(m: Rig, step: Callable[[Cpu, int], None]) -> list[int]:
    """Let each interrupt end itself, turn interrupts on and ask for the next one; return the depths seen."""
    depths: list[int] = []

    async def handler(cpu: Cpu) -> None:
        cpu.lapic.eoi(cpu)
        depths.append(cpu.preempt_count >> 16 & 0xF)
        step(cpu, len(depths))
        await cpu.irq_enable()
        await cpu.spend(10)

    for vector in range(0x21, 0xEB):
        m.handle(vector, handler)
    m.raise_at(100, 0x21)
    return depths


def test_interrupts_nest_fifteen_deep() -> None:
    m = Rig()
    depths = nest(m, lambda cpu, depth: m.send(ApicMessage(0x21 + depth, 0, False, 0, False, 0)))
    with pytest.raises(KernelBug, match="^hard interrupts nest deeper than 15 on CPU0 at 100 ns$"):
        m.play(1000)
    assert depths == list(range(1, 16))
    m.end()


def test_an_nmi_counts_as_one_more() -> None:
    m = Rig()

    def step(cpu: Cpu, depth: int) -> None:
        if depth < 15:
            m.send(ApicMessage(0x21 + depth, 0, False, 0, False, 0))
        else:
            m.nmi()

    depths = nest(m, step)
    with pytest.raises(KernelBug, match="^hard interrupts nest deeper than 15 on CPU0 at 100 ns$"):
        m.play(1000)
    assert depths[-1] == 15
    m.end()


def test_priority_classes_alone_bound_the_nesting() -> None:
    m = Rig()
    seen: list[int] = []

    async def handler(cpu: Cpu) -> None:
        seen.append(cpu.preempt_count >> 16 & 0xF)
        await cpu.irq_enable()
        await cpu.spend(100)
        cpu.irq_disable()
        cpu.lapic.eoi(cpu)

    for number in range(2, 15):
        for low in (1, 2):
            m.handle(number << 4 | low, handler)
            m.raise_at(100 + number, number << 4 | low)
    m.play(100_000)
    # Thirteen classes nest; the second vector of each waits for the first one's EOI and so runs at the depth of its class.
    assert seen == [*range(1, 14), *range(13, 0, -1)]
    m.end()


def test_a_storm_that_takes_no_time_is_stopped() -> None:
    m = Rig()
    message = ApicMessage(0x41, 0, False, 0, False, 0)

    async def storm(cpu: Cpu, vector: int) -> None:
        cpu.lapic.eoi(cpu)
        m.send(message)

    m.cpus[0].idt.set_gate(0x41, Gate(storm, "storm"))
    m.engine.step_limit = 1000
    m.raise_at(100, 0x41)
    with pytest.raises(SimulationStalled, match="^1000 steps without progress of time at 100 ns"):
        m.play(1000)
    m.end()


def test_a_loop_of_stalls_that_takes_no_time_is_stopped() -> None:
    m = Rig()
    ready = Flag("ready", is_set=True)

    async def spin(cpu: Cpu) -> None:
        while True:
            await cpu.stall(ready)

    m.engine.step_limit = 1000
    on_cpu(m, spin)
    with pytest.raises(SimulationStalled, match="^1000 steps without progress of time at 0 ns"):
        m.play(1000)
    m.end()


def frames_of(error: BaseException, first: str) -> list[str]:
    """Return the names of the functions in a traceback, from ``first`` on."""
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    return names[names.index(first) :]


def test_a_handlers_exception_reads_like_an_oops() -> None:
    m = Rig()

    async def hog(task: Task) -> None:
        await task.spend(1000)

    async def handler(cpu: Cpu) -> None:
        await cpu.spend(10)
        raise ZeroDivisionError("in the driver")

    async def handle_edge_irq(cpu: Cpu) -> None:
        cpu.lapic.eoi(cpu)
        await handler(cpu)

    m.start(hog, "hog")
    m.handle(0x41, handle_edge_irq)
    m.raise_at(100, 0x41)
    with pytest.raises(ZeroDivisionError) as caught:
        m.play(1000)
    names = ["hog", "spend", "interrupt_window", "common_interrupt", "handle_irq", "handle_edge_irq", "handler"]
    assert frames_of(caught.value, "hog") == names
    assert m.engine.dead is caught.value
    m.end()


def test_a_handler_that_blocks() -> None:
    m = Rig()

    async def hog(task: Task) -> None:
        await task.spend(1000)

    async def blocking_handler(cpu: Cpu) -> None:
        task = cpu.current
        assert isinstance(task, Task)
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()

    m.start(hog, "hog")
    m.irq(100, blocking_handler)
    with pytest.raises(KernelBug, match="^BUG: scheduling while atomic: hog/2/0x00010000 irqs off on CPU0 at 100 ns$") as caught:
        m.play(1000)
    assert "blocking_handler" in frames_of(caught.value, "hog")
    m.end()


def test_interrupts_must_be_off_at_a_switch() -> None:
    m = Rig(kernel=STOCK)

    async def run(task: Task) -> None:
        await task.cpu.switch_to(m.sched.rqs[0].idle)

    m.start(run, "run", cpu=0)
    with pytest.raises(InternalError, match="^switch with interrupts on, CPU0 at 0 ns$"):
        m.play(100)
    m.end()
