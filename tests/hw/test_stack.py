"""Show stacks to the byte: pushes and pops, what stays in memory, the end with and without a guard page, the CPU's choice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncirq.errors import UsageError
from asyncirq.hw.gate import ist_field
from asyncirq.hw.pt_regs import HardwareFrame
from asyncirq.hw.stack import Stack
from asyncirq.hw.tss import IST_NAMES, Tss


def test_a_push_writes_below_and_a_pop_leaves_the_memory_alone() -> None:
    stack = Stack("TASK", 0x1000, 64)
    assert stack.push(0x1122) == 0x1038
    assert stack.push(-1) == 0x1030
    assert (stack.sp, stack.depth, stack.deepest) == (0x1030, 16, 16)
    assert stack.pop() == 0xFFFF_FFFF_FFFF_FFFF
    assert (stack.sp, stack.depth, stack.deepest) == (0x1038, 8, 16)
    assert stack.read(0x1030, 16) == b"\xff" * 8 + b"\x22\x11" + bytes(6)
    assert 0x103F in stack
    assert 0x1040 not in stack
    assert 0xFFF not in stack


def test_a_32_bit_stack_has_words_of_four_bytes() -> None:
    stack = Stack("TASK", 0x1000, 64, word=4)
    assert stack.push(-1) == 0x103C
    assert stack.pop() == 0xFFFF_FFFF


def test_a_write_below_the_end_faults_or_goes_astray() -> None:
    hits: list[tuple[str, int]] = []

    def hit(stack: Stack, address: int) -> None:
        hits.append((stack.name, address))

    guarded = Stack("IRQ", 0x1000, 16)
    guarded.on_guard = hit
    bare = Stack("IRQ", 0x1000, 16, guard=False)
    bare.on_guard = hit
    for stack in (guarded, bare):
        for value in (1, 2, 3):
            stack.push(value)
    bare.push_bytes(b"\xaa" * 12)
    assert hits == [("IRQ", 0xFF8)]
    assert (bare.escaped, bare.sp, bare.deepest) == (20, 0xFEC, 36)
    assert bare.peek(0x1000) == 2


def test_what_is_not_on_the_stack_is_refused() -> None:
    stack = Stack("NMI", 0x1000, 16)
    with pytest.raises(UsageError, match=r"^stack NMI: 8 bytes at 0xff8 are not on 0x1000\.\.0x100f$"):
        stack.peek(0xFF8)
    with pytest.raises(UsageError, match="^stack NMI: 8 bytes at 0x100c are beyond its top 0x1010$"):
        stack.poke(0x100C, 1)
    with pytest.raises(UsageError, match="^stack odd: 24 bytes at 0x1000 are no stack: both are multiples of 16$"):
        Stack("odd", 0x1000, 24)


@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=32), st.integers(0, 15))
def test_what_was_pushed_is_popped_in_reverse(values: list[int], odd: int) -> None:
    stack = Stack("TASK", 0x4000, 512)
    stack.move(stack.sp - odd)
    stack.align()
    assert stack.sp % 16 == 0
    start = stack.sp
    for value in values:
        stack.push(value)
    assert stack.sp == start - 8 * len(values)
    assert [stack.pop() for _ in values] == values[::-1]


def test_a_frame_lies_where_the_layout_says() -> None:
    stack = Stack("TASK", 0x4000, 4096)
    stack.move(stack.sp - 0x15)
    frame = HardwareFrame(0xFFFF_FFFF_8100_0000, 0x10, 0x202, stack.sp, 0x18, 6)
    address = frame.address(stack.sp)
    stack.align()
    assert stack.push_bytes(frame.encode()) == address
    assert HardwareFrame.decode(stack.read(address, frame.size)) == frame


def test_S2_08_ist_slots() -> None:
    assert {name: ist_field(index) for index, name in enumerate(IST_NAMES)} == {"#DF": 1, "NMI": 2, "#DB": 3, "#MC": 4, "#VC": 5}
    assert ist_field(6) == 7
    with pytest.raises(UsageError, match="^there is no interrupt stack 7: the table has 7, 0 to 6$"):
        ist_field(7)
    with pytest.raises(UsageError, match="^there is no interrupt stack 8"):
        Tss().set_ist(8, Stack("X", 0, 16))


def test_the_cpu_chooses_by_ist_then_by_where_it_came_from() -> None:
    tss = Tss()
    nmi, entry, task = Stack("NMI", 0x1000, 64), Stack("ENTRY", 0x2000, 64), Stack("TASK", 0x3000, 64)
    with pytest.raises(UsageError, match="^the TSS has no stack for IST 2$"):
        tss.select(2, False, task)
    with pytest.raises(UsageError, match="^the TSS has no stack for the kernel$"):
        tss.select(0, True, task)
    tss.set_ist(1, nmi)
    tss.sp0 = entry
    for stack in (nmi, entry, task):
        stack.push(0)
    assert [tss.select(ist, user, task).name for ist in (0, 2) for user in (False, True)] == ["TASK", "ENTRY", "NMI", "NMI"]
    # Only the stacks that hardware switches to begin at their top again.
    assert [stack.depth for stack in (nmi, entry, task)] == [0, 0, 8]
