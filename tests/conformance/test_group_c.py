"""Show the inventory's NMIs: the latch, what an IRET inside a handler does, and the frames that make nesting safe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncirq.config import StackPolicy, preset
from asyncirq.entry import NMI_VECTOR
from asyncirq.entry.nmi_entry import NmiLayout
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import in_interrupt, in_nmi, in_task
from asyncirq.trace.record import tag_of
from tests.entry.detail import Detail, stack_name

BREAKPOINT = 3
UNSAFE = preset("linux-6.12", preemption="full", stacks=StackPolicy(nmi_safe=False))


def nmi_layout(m: Detail) -> NmiLayout:
    stack = m.stacks.nmi(m.cpus[0])
    assert stack is not None
    return NmiLayout(stack)


def passes(m: Detail, *, trap_at: int = -1, spend: int = 100) -> None:
    """Have each pass of the NMI handler take ``spend`` ns; the first one meets a breakpoint after ``trap_at`` of them."""
    first = [True]

    async def nmi(cpu: Cpu) -> None:
        m.note("pass")
        if trap_at >= 0 and first.pop():
            await cpu.spend(trap_at)
            await m.hit(cpu, BREAKPOINT)
            await cpu.spend(spend - trap_at)
        else:
            await cpu.spend(spend)
        first[:] = [False]
        m.note("pass ends")

    m.entry.nmi = nmi
    m.trap(BREAKPOINT)


def test_S2_22_latch_of_one() -> None:
    m = Detail()
    passes(m)
    m.run_body()
    for when in (100, 120, 140, 160, 180):
        m.nmi_at(when)
    m.play(2000)
    assert m.log == [(100, "pass"), (200, "pass ends"), (200, "pass"), (300, "pass ends")]
    assert m.entry.counts[NMI_VECTOR] == [2]
    assert m.cpus[0].lapic.coalesced_total == 3
    m.end()


def test_S2_23_an_iret_inside_the_handler_lets_nmis_in() -> None:
    m = Detail()
    passes(m, trap_at=30)
    m.run_body()
    m.nmi_at(100)
    m.play(2000)
    unmasked = [record.ts for record in m.records() if tag_of(type(record)) == "nmi_unmasked"]
    assert unmasked == [130]
    assert m.log == [(100, "pass"), (200, "pass ends")]
    m.end()


def test_S2_24_without_copies_a_nested_nmi_destroys_the_first_frame() -> None:
    m = Detail(kernel=UNSAFE)
    passes(m, trap_at=30)
    m.run_body()
    m.nmi_at(100)
    m.nmi_at(110)
    with pytest.raises(KernelBug, match=r"^the frame at fffffe000000bfd8 on the NMI stack of CPU0 was overwritten while it was in use"):
        m.play(2000)
    m.end()


def test_S2_25_a_nested_nmi_is_pushed_to_the_same_addresses() -> None:
    m = Detail()
    passes(m, trap_at=30)
    m.run_body()
    m.nmi_at(100)
    m.nmi_at(110)
    m.play(2000)
    pushed = [
        (record.ts, record.sp)  # type: ignore[attr-defined]
        for record in m.records()
        if tag_of(type(record)) == "entry_step" and record.step == "push_frame" and record.stack == "NMI"  # type: ignore[attr-defined]
    ]
    # The breakpoint's frame lies below the 264 bytes of the first NMI, the nested NMI's at the very top again.
    assert pushed == [(100, 0xFFFF_FE00_0000_BFD8), (130, 0xFFFF_FE00_0000_BEC8), (130, 0xFFFF_FE00_0000_BFD8)]
    m.end()


def test_S2_26_layout_of_the_nmi_stack() -> None:
    m = Detail()
    seen: list[tuple[bool, int, int]] = []

    async def nmi(cpu: Cpu) -> None:
        layout = nmi_layout(m)
        original, copied, saved = layout.frames
        seen.append((original == copied == saved, layout.executing, layout.stack.depth))
        assert layout.stack.top == 0xFFFF_FE00_0000_C000
        assert original.sp == 0xFFFF_C900_4000_BF58

    m.entry.nmi = nmi
    m.run_body()
    m.nmi_at(100)
    m.play(2000)
    assert seen == [(True, 1, 264)]
    assert nmi_layout(m).executing == 0
    m.end()


@pytest.mark.parametrize(
    ("executing", "on_stack", "direction", "where"),
    [
        (0, False, False, "first"),
        (1, True, False, "nested"),
        # While on the debug stack inside an NMI handler.
        (1, False, False, "nested"),
        # The variable is cleared, the IRET not done.
        (0, True, True, "nested"),
        # A user's stack pointer that lies there, just after a system call.
        (0, True, False, "first"),
    ],
)
def test_S2_27_two_tests_tell_a_nested_nmi(executing: int, on_stack: bool, direction: bool, where: str) -> None:
    m = Detail()
    layout = nmi_layout(m)
    stack = layout.stack
    found: list[str] = []
    enter = m.entry.code.nmi._where

    def spy(entered: object) -> str:
        stack.poke(stack.top - 56, executing)
        found.append(enter(entered))  # type: ignore[arg-type]
        stack.poke(stack.top - 56, 0)
        return "first"

    m.entry.code.nmi._where = spy  # type: ignore[method-assign]
    m.run_body()
    m.play(50)
    if on_stack:
        m.mine().current = stack
        stack.move(stack.top - 96)
    m.state().direction = direction
    m.nmi_at(100)
    m.play(300)
    assert found == [where]


@pytest.mark.parametrize("step", ["nmi_restore", "inside #DB"])
def test_S2_27_both_places_are_met(step: str) -> None:
    """An NMI between the clearing of the variable and the IRET, and one on the debug stack inside a handler."""
    m = Detail(entry_step_ns=5)

    async def on_debug_stack(cpu: Cpu) -> None:
        m.note(f"trap on {stack_name(m, cpu)}")
        await cpu.spend(50)

    async def nmi(cpu: Cpu) -> None:
        m.note("pass")
        if len(m.log) == 1:
            await m.hit(cpu, BREAKPOINT)
            await m.hit(cpu, 1)
            await cpu.spend(50)

    m.entry.nmi = nmi
    m.trap(BREAKPOINT)
    m.trap(1, on_debug_stack, ist=3)
    m.run_body(5000)

    def send(cpu: Cpu, name: str) -> None:
        if len(m.log) < 3:
            m.nmi()

    m.path.strict = False
    if step == "nmi_restore":
        m.path.hooks["nmi_restore"] = send
    else:
        m.path.hooks["paranoid_entry"] = lambda cpu, name: m.nmi() if m.stacks.current(cpu).name == "#DB" else None
    m.nmi_at(100)
    m.play(20_000)
    assert m.entry.code.nmi.nested == [1]
    assert m.entry.code.nmi.repeats == [1]
    assert [text for _, text in m.log] == ["pass", "trap on #DB", "pass"]
    m.end()


def test_S2_28_a_nested_nmi_makes_the_first_run_again() -> None:
    m = Detail()
    passes(m, trap_at=30)
    m.run_body()
    m.nmi_at(100)
    m.nmi_at(140)
    m.play(2000)
    assert m.log == [(100, "pass"), (200, "pass ends"), (200, "pass"), (300, "pass ends")]
    steps = m.steps(at=True, since=100)
    assert [line for line in steps if line[1] in ("first_nmi", "nested_nmi", "repeat_nmi", "iret", "nmi_restore")] == [
        (100, "first_nmi"),
        (100, "repeat_nmi"),
        (130, "iret"),
        (140, "nested_nmi"),
        (140, "iret"),
        (200, "nmi_restore"),
        (200, "iret"),
        (200, "repeat_nmi"),
        (300, "nmi_restore"),
        (300, "iret"),
    ]
    assert m.entry.code.nmi.repeats == [1]
    # The task went on where it was: 1000 ns of its own, 200 of NMIs.
    assert [record.ts for record in m.records() if tag_of(type(record)) == "sched_process_exit"] == [1200]
    m.end()


def test_S2_29_a_third_nmi_in_the_fix_up_leaves_at_once() -> None:
    m = Detail(entry_step_ns=5)
    passes(m, trap_at=30)
    m.run_body(5000)
    repeats = [0]

    def third(cpu: Cpu, name: str) -> None:
        repeats[0] += 1
        if repeats[0] == 2:
            m.nmi()

    m.path.hooks["repeat_nmi"] = third
    m.path.strict = False
    m.nmi_at(100)
    m.nmi_at(180)
    m.play(20_000)
    assert m.entry.code.nmi.nested == [1]
    assert m.entry.code.nmi.ignored == [1]
    assert m.entry.counts[NMI_VECTOR] == [2]
    assert [text for _, text in m.log] == ["pass", "pass ends", "pass", "pass ends"]
    m.end()


def test_S2_13_an_nmi_may_hit_mid_stack_switch() -> None:
    """An interrupt of 5 ns a step; the NMI comes at every single ns of them in turn, and both go on as if alone."""
    over: list[str] = []
    for when in range(100, 166):
        m = Detail(entry_step_ns=5)

        async def handler(cpu: Cpu, m: Detail = m) -> None:
            m.note(stack_name(m, cpu))

        async def nmi(cpu: Cpu, m: Detail = m) -> None:
            interrupted = m.stacks.find(cpu, nmi_layout(m).frame(40).sp)
            assert interrupted is not None
            over.append(f"{interrupted.name} {m.mine().inuse}")

        m.entry.nmi = nmi
        m.run_body(5000)
        m.irq(100, handler)
        m.nmi_at(when)
        m.play(20_000)
        assert [text for _, text in m.log] == ["IRQ"]
        assert (m.mine().inuse, m.mine().current, m.stacks.current(m.cpus[0]).depth) == (False, None, 168)
        assert [record.ts for record in m.records() if tag_of(type(record)) == "sched_process_exit"] == [45 + 5000 + 65 + 35]
        m.end()
    # Between the flag and the switch, and between the way back and the flag, the old stack is in use with the flag set.
    assert {name: over.count(name) for name in sorted(set(over))} == {"IRQ True": 5, "TASK False": 51, "TASK True": 10}


def test_S0_116_nmi_accounting_and_context() -> None:
    m = Detail()

    async def nmi(cpu: Cpu) -> None:
        m.note(f"nmi {in_nmi(cpu)} interrupt {in_interrupt(cpu)} task {in_task(cpu)} {cpu.preempt_count:#x}")

    m.entry.nmi = nmi
    m.run_body()
    for when in (100, 200, 300):
        m.nmi_at(when)
    m.play(2000)
    assert m.log == [(when, "nmi True interrupt True task False 0x110000") for when in (100, 200, 300)]
    assert m.entry.counts[NMI_VECTOR] == [3]
    m.end()


# --- whatever comes when


@given(
    st.lists(st.integers(100, 900), min_size=1, max_size=12),
    st.lists(st.integers(0, 60), max_size=3),
    st.integers(0, 7),
    st.booleans(),
)
def test_nmis_never_nest_without_an_iret(times: list[int], traps: list[int], step: int, user: bool) -> None:
    """Whenever NMIs come and whatever the handler meets, the CPU takes one while another runs only after an IRET inside it."""
    m = Detail(entry_step_ns=step)
    inside: list[str] = []

    async def nmi(cpu: Cpu) -> None:
        assert not inside, "the handler's body was entered twice"
        inside.append("nmi")
        for pause in traps:
            await cpu.spend(pause)
            await m.hit(cpu, BREAKPOINT)
        await cpu.spend(20)
        inside.pop()

    m.entry.nmi = nmi
    m.trap(BREAKPOINT)
    m.run_body(3000, user=user)
    for when in times:
        m.nmi_at(when)
    m.play(100_000)
    blocked = False
    for record in m.records():
        tag = tag_of(type(record))
        if tag == "nmi_inta":
            assert not blocked
            blocked = True
        elif tag == "nmi_unmasked" or (tag == "entry_step" and record.step == "iret"):  # type: ignore[attr-defined]
            blocked = False
    cpu = m.cpus[0]
    assert (cpu.nmi_blocked, cpu.preempt_count, m.entry.nmi_state) == (False, 1, [0])
    taken = sum(tag_of(type(record)) == "nmi_inta" for record in m.records())
    assert taken + cpu.lapic.coalesced_total == len(times)
    nested = m.entry.code.nmi.nested[0] + m.entry.code.nmi.ignored[0]
    assert 1 <= m.entry.counts[NMI_VECTOR][0] <= taken
    assert m.entry.counts[NMI_VECTOR][0] >= taken - nested or user
    m.end()


def test_a_handler_entered_twice_would_be_seen() -> None:
    """Show that the property can fail: with neither copies nor latch the second handler runs inside the first."""
    m = Detail(kernel=UNSAFE)

    async def nmi(cpu: Cpu) -> None:
        m.note("pass")
        await cpu.spend(30)
        if len(m.log) == 1:
            await m.hit(cpu, BREAKPOINT)
        await cpu.spend(30)
        m.note("pass ends")

    def forget(cpu: Cpu, name: str) -> None:
        m.entry.nmi_state[0] = 0

    m.entry.nmi = nmi
    m.trap(BREAKPOINT)
    m.path.hooks["nmi"] = forget
    m.path.strict = False
    m.run_body()
    m.nmi_at(100)
    m.nmi_at(140)
    m.play(150)
    assert m.log == [(100, "pass"), (140, "pass")]
    m.end()
