from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.gate import (
    CALL_GATE,
    GATE_TYPES,
    INTERRUPT_GATE,
    TASK_GATE,
    TRAP_GATE,
    GateDescriptor,
    interrupt_gate,
    ist_field,
    ist_gate,
    system_gate,
    system_ist_gate,
    task_gate,
)
from asyncirq.hw.idt import Gate, Idt
from asyncirq.hw.pt_regs import KERNEL_CS

ADDRESS = 0xFFFF_FFFF_8123_4560


async def handler(cpu: Any, vector: int) -> None:
    """Return at once."""


@pytest.mark.parametrize(("bits", "size", "limit"), [(32, 2048, 2047), (64, 4096, 4095)])
def test_S0_03_idt_size_and_limit(bits: int, size: int, limit: int) -> None:
    idt = Idt(bits)
    assert (len(idt.gates), idt.size, idt.limit) == (256, size, limit)
    assert sum(len(idt.encode(vector)) for vector in range(256)) == size
    idt.set_gate(255, Gate(handler, "last"))
    for vector in (256, -1):
        with pytest.raises(UsageError, match=f"vector {vector} is not in 0..255"):
            idt.set_gate(vector, Gate(handler, "beyond"))


def test_S0_06_gate_descriptor_bit_layout() -> None:
    gate = GateDescriptor(ADDRESS, KERNEL_CS, ist=2, type=INTERRUPT_GATE, dpl=3, present=True)
    value = gate.encode(2)
    assert value == 0x0000_0000_FFFF_FFFF_8123_EE02_0010_4560
    assert value & 0xFFFF == 0x4560
    assert value >> 48 & 0xFFFF == 0x8123
    assert value >> 64 & 0xFFFF_FFFF == 0xFFFF_FFFF
    assert gate.to_bytes(2) == bytes.fromhex("60451000 02ee2381 ffffffff 00000000")
    small = GateDescriptor(0x8123_4560, 0x60, dpl=0)
    assert small.to_bytes(14, bits=32) == bytes.fromhex("60456000 008e2381")


@given(
    offset=st.integers(0, (1 << 64) - 1),
    selector=st.integers(0, 0xFFFF),
    ist=st.integers(0, 7),
    kind=st.sampled_from(GATE_TYPES),
    dpl=st.integers(0, 3),
    present=st.booleans(),
)
def test_S0_06_decode_undoes_encode(offset: int, selector: int, ist: int, kind: int, dpl: int, present: bool) -> None:
    wide = GateDescriptor(offset, selector, ist, kind, dpl, present)
    assert GateDescriptor.decode(0, wide.encode(0)) == wide
    narrow = GateDescriptor(offset & 0xFFFF_FFFF, selector, 0, kind, dpl, present)
    assert GateDescriptor.decode(0, narrow.encode(0, 32), 32) == narrow


@given(st.integers(0, (1 << 128) - 1), st.sampled_from(GATE_TYPES))
def test_S0_06_encode_undoes_decode_but_for_the_reserved_bits(value: int, kind: int) -> None:
    value = value & ~(0xF << 40) | kind << 40
    reserved = 0x1F << 35 | 1 << 44
    assert GateDescriptor.decode(0, value).encode(0) == value & ((1 << 96) - 1) & ~reserved
    assert GateDescriptor.decode(0, value, 32).encode(0, 32) == value & ((1 << 64) - 1) & ~reserved & ~(7 << 32)


def test_S0_07_gate_type_codes() -> None:
    assert (INTERRUPT_GATE, TRAP_GATE, CALL_GATE, TASK_GATE) == (0xE, 0xF, 0xC, 0x5)
    for code in range(16):
        value = code << 40 | 1 << 47
        if code in (0xE, 0xF, 0xC, 0x5):
            assert GateDescriptor.decode(33, value).type == code
        else:
            with pytest.raises(UsageError, match=f"gate 33: {code:#x} is no gate type"):
                GateDescriptor.decode(33, value)
            with pytest.raises(UsageError, match=f"gate 33: {code:#x} is no gate type"):
                Idt().set_gate(33, Gate(handler, "odd", type=code))


def test_S0_08_gate_builder_family() -> None:
    assert interrupt_gate(ADDRESS) == GateDescriptor(ADDRESS, 0x10, 0, 0xE, 0, True)
    assert system_gate(ADDRESS) == GateDescriptor(ADDRESS, 0x10, 0, 0xE, 3, True)
    assert ist_gate(ADDRESS, 2) == GateDescriptor(ADDRESS, 0x10, 2, 0xE, 0, True)
    assert system_ist_gate(ADDRESS, 3) == GateDescriptor(ADDRESS, 0x10, 3, 0xE, 3, True)
    assert task_gate(31) == GateDescriptor(0, 31 * 8, 0, 0x5, 0, True)


def test_S0_17_ist_index_off_by_one() -> None:
    nmi, double_fault = 1, 0
    assert [ist_field(stack) for stack in (nmi, double_fault)] == [2, 1]
    assert [ist_field(stack, bits=32) for stack in (nmi, double_fault)] == [0, 0]
    # Before 5.2 the table named the field itself.
    assert [ist_field(stack, zero_based=False) for stack in (2, 1)] == [2, 1]
    for stack, zero_based, room in ((7, True, "0 to 6"), (-1, True, "0 to 6"), (0, False, "1 to 7"), (8, False, "1 to 7")):
        with pytest.raises(UsageError, match=f"^there is no interrupt stack {stack}: the table has 7, {room}$"):
            ist_field(stack, zero_based=zero_based)
    assert ist_gate(ADDRESS, ist_field(nmi)).encode(2) >> 32 & 7 == 2


def test_gates_that_no_table_holds() -> None:
    for bits in (32, 64):
        with pytest.raises(UsageError, match=r"^gate 5: a call gate \(odd\) has no place in an IDT$"):
            Idt(bits).set_gate(5, Gate(handler, "odd", type=CALL_GATE))
    with pytest.raises(UsageError, match=r"^gate 8: there are no task gates \(double fault\) on 64 bits$"):
        Idt().set_gate(8, Gate(handler, "double fault", type=TASK_GATE))
    small = Idt(32)
    small.set_gate(8, Gate(handler, "double fault", type=TASK_GATE, selector=31 << 3, offset=0x1234))
    assert small.encode(8) == task_gate(31).to_bytes(8, 32)
    with pytest.raises(UsageError, match=r"^gate 2: a 32-bit gate \(nmi\) has no IST field for 2$"):
        small.set_gate(2, Gate(handler, "nmi", ist=2))


def test_the_limit_of_the_register() -> None:
    idt = Idt()
    assert (idt.base, idt.reaches(255)) == (0, True)
    idt.load(limit=16 * 33 - 1)
    assert (idt.base, idt.reaches(32), idt.reaches(33)) == (0xFFFF_FE00_0000_0000, True, False)
    idt.load(limit=16 * 33)
    assert not idt.reaches(33)
    idt.load()
    assert (idt.limit, idt.reaches(255)) == (4095, True)


def test_fields_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="gate 3: IST 8 is not in 0..7"):
        ist_gate(ADDRESS, 8).encode(3)
    with pytest.raises(UsageError, match="gate 3: DPL 4 is not in 0..3"):
        GateDescriptor(dpl=4).encode(3)
    with pytest.raises(UsageError, match="gate 3: the offset 0xffffffff81234560 does not fit into 32 bits"):
        interrupt_gate(ADDRESS).encode(3, 32)
    with pytest.raises(UsageError, match="gate 3: a 32-bit gate has no IST field for 1"):
        ist_gate(0, 1).encode(3, 32)
    with pytest.raises(UsageError, match="gate 3: the selector 0x10000 does not fit into 16 bits"):
        GateDescriptor(selector=0x10000).encode(3)
    with pytest.raises(UsageError, match="not 16"):
        Idt(16)


def test_frozen_table_refuses_writes() -> None:
    idt = Idt()
    first = Gate(handler, "timer")
    idt.set_gate(0xEC, first)
    idt.freeze()
    with pytest.raises(KernelBug, match=r"write of gate 236 \(other\) to the read-only IDT"):
        idt.set_gate(0xEC, Gate(handler, "other"))
    assert idt.gates[0xEC] is first


def test_table_in_memory() -> None:
    idt = Idt()
    assert idt.encode(2) == bytes(16)
    idt.set_gate(2, Gate(handler, "nmi", ist=2, offset=ADDRESS))
    assert idt.encode(2) == ist_gate(ADDRESS, 2).to_bytes(2)
