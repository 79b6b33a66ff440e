from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncirq.errors import UsageError
from asyncirq.hw.apic_message import BROADCAST, EXTINT, FIXED, LOWEST_PRIORITY, NMI, ApicMessage
from asyncirq.hw.msi import MsiMessage, send
from asyncirq.trace.events_hw import LapicIrr, MsiWrite
from tests.hw.apics import World, bits


@given(
    vector=st.integers(0, 255),
    dest=st.integers(0, 0x7FFF),
    logical=st.booleans(),
    hint=st.booleans(),
    mode=st.integers(0, 7),
    level=st.booleans(),
    asserted=st.booleans(),
)
def test_compose_and_decode_agree(vector: int, dest: int, logical: bool, hint: bool, mode: int, level: bool, asserted: bool) -> None:
    made = MsiMessage.compose(
        vector, dest, logical=logical, redirection_hint=hint, delivery_mode=mode, level=level, asserted=asserted, extended=True
    )
    read = MsiMessage(made.address, made.data, extended=True)
    assert read == made
    assert (read.vector, read.dest, read.logical, read.redirection_hint) == (vector, dest, logical, hint)
    assert (read.delivery_mode, read.level, read.asserted) == (mode, level, asserted)


@pytest.mark.parametrize(
    ("vector", "dest", "mode", "text"),
    [
        (256, 0, 0, "MSI vector 256 does not fit into 8 bits"),
        (32, 256, 0, "MSI destination 256 does not fit into 0xff"),
        (32, 0, 8, "MSI delivery mode 8 does not fit into 3 bits"),
    ],
)
def test_fields_that_do_not_fit_are_refused(vector: int, dest: int, mode: int, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        MsiMessage.compose(vector, dest, delivery_mode=mode)


@pytest.mark.parametrize(
    ("msi", "apic"),
    [
        (MsiMessage(0xFEE0_3000, 0x0041), ApicMessage(0x41, FIXED, False, 3, False, 9)),
        (MsiMessage(0xFEEF_F000, 0x0041), ApicMessage(0x41, FIXED, False, BROADCAST, False, 9)),
        (MsiMessage(0xFEE0_F00C, 0x0041), ApicMessage(0x41, LOWEST_PRIORITY, False, 0xF, True, 9)),
        (MsiMessage(0xFEE0_3008, 0x0400), ApicMessage(0, NMI, False, 3, False, 9)),
        (MsiMessage(0xFEE0_0000, 0x0700), ApicMessage(0, EXTINT, False, 0, False, 9)),
        (MsiMessage(0xFEE0_0020, 0xC041, extended=True), ApicMessage(0x41, FIXED, True, 0x100, False, 9)),
    ],
)
def test_what_a_write_means_on_the_bus(msi: MsiMessage, apic: ApicMessage) -> None:
    assert msi.to_apic(9) == apic


def test_send_reaches_irr_and_is_traced() -> None:
    world = World(traced=True)
    world.cpus[0].cli()
    world.engine.now = 40
    assert send(world.bus, MsiMessage.compose(0x41, 0), cause=0) == 1
    assert world.lapics[0].irr == bits(0x41)
    assert world.records() == [
        MsiWrite(1, 0, 40, -1, -1, 0, 0, 0xFEE00000, 0x41),
        LapicIrr(2, 1, 40, 0, -1, 0, 0, 0x41, "edge", 0),
    ]


def test_a_write_outside_the_window_and_a_level_without_assert_interrupt_nobody() -> None:
    world = World()
    assert send(world.bus, MsiMessage(0, 0x41)) == 0
    assert send(world.bus, MsiMessage(0x1_FEE0_0000, 0x41)) == 0
    assert send(world.bus, MsiMessage(0xFEE0_0000, 0x8041)) == 0
    assert world.lapics[0].irr == 0
    assert send(world.bus, MsiMessage(0xFEE0_0000, 0xC041)) == 1
    assert world.lapics[0].tmr == bits(0x41)
