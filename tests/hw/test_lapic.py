from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncirq.errors import UsageError
from asyncirq.hw.apic_message import EXTINT, INIT, NMI, REMOTE_READ, SMI, STARTUP, ApicMessage
from asyncirq.hw.lapic_front import SPURIOUS, from_pic
from asyncirq.hw.lapic_regs import SPIV
from asyncirq.trace.events_hw import LapicEoi, LapicIrr
from tests.hw.apics import Processor, World, bits, message


def quiet(traced: bool = False) -> World:
    world = World(traced=traced)
    world.cpus[0].cli()
    return world


def test_slot_keeps_the_first_cause_and_counts_the_others() -> None:
    lapic = quiet().lapics[0]
    for cause in (11, 12, 13):
        assert lapic.accept(message(0x40, cause=cause))
    assert (lapic.irr_cause[0x40], lapic.coalesced[0x40], lapic.coalesced_total) == (11, 2, 2)
    assert lapic.inta() == (0x40, 11)
    assert lapic.accept(message(0x40, cause=14))
    assert (lapic.irr_cause[0x40], lapic.coalesced[0x40], lapic.coalesced_total) == (14, 0, 2)


def test_records_of_a_coalesced_raise_and_its_service() -> None:
    world = quiet(traced=True)
    lapic = world.lapics[0]
    lapic.accept(message(0x40, cause=0))
    lapic.accept(message(0x40, level=True, cause=0))
    assert lapic.inta() == (0x40, 1)
    lapic.eoi(world.cpus[0])
    lapic.eoi(world.cpus[0])
    assert world.records() == [
        LapicIrr(1, 0, 0, 0, -1, 0, 0, 0x40, "edge", 0),
        LapicIrr(2, 0, 0, 0, -1, 0, 0, 0x40, "level", 1),
        LapicEoi(3, 0, 0, 0, 0, 0, 1, 0x40),
    ]


def test_output_is_announced_only_when_it_changes() -> None:
    lapic = quiet().lapics[0]
    seen: list[tuple[bool, bool]] = []
    lapic.on_output = lambda: seen.append((lapic.intr, lapic.nmi_pending))
    for vector in (0x40, 0x41, 0x80):
        lapic.accept(message(vector))
    lapic.accept(message(0, NMI))
    lapic.accept(message(0, NMI))
    lapic.nmi_taken()
    for _ in range(3):
        lapic.inta()
        lapic.eoi()
    assert seen == [
        (True, False),
        (True, True),
        (True, False),
        (False, False),
        (True, False),
        (False, False),
        (True, False),
        (False, False),
    ]


@given(st.lists(st.tuples(st.sampled_from(["accept", "inta", "eoi", "tpr"]), st.integers(16, 255)), max_size=60))
def test_the_output_always_follows_from_the_registers(steps: list[tuple[str, int]]) -> None:
    lapic = quiet().lapics[0]
    for what, number in steps:
        if what == "accept":
            lapic.accept(message(number))
        elif what == "tpr":
            lapic.tpr = number
        elif what == "eoi":
            lapic.eoi()
        else:
            in_service = lapic.isr
            vector, cause = lapic.inta()
            if cause == SPURIOUS:
                assert lapic.isr == in_service
            else:
                assert lapic.isr == in_service | bits(vector)
        pending = [vector for vector in range(256) if lapic.irr >> vector & 1]
        serving = [vector for vector in range(256) if lapic.isr >> vector & 1]
        ppr_class = max([vector >> 4 for vector in serving] + [lapic.tpr >> 4])
        assert lapic.ppr >> 4 == ppr_class
        assert lapic.intr == (bool(pending) and max(pending) >> 4 > ppr_class)


def test_nmi_latch_has_one_place() -> None:
    lapic = quiet().lapics[0]
    lapic.accept(message(0, NMI, cause=5))
    lapic.accept(message(0, NMI, cause=6))
    assert lapic.nmi_taken() == 5
    assert (lapic.nmi_pending, lapic.coalesced_total) == (False, 1)


def test_smi_and_remote_read_are_refused() -> None:
    lapic = quiet().lapics[0]
    assert not lapic.accept(message(0x40, SMI))
    assert not lapic.accept(message(0x40, REMOTE_READ))
    assert (lapic.irr, lapic.intr) == (0, False)


def test_illegal_vectors_set_error_bits() -> None:
    world = quiet()
    lapic = world.lapics[0]
    assert not lapic.accept(message(0x0F))
    assert lapic.send_ipi(0, 0x0F) == 0
    lapic.write(0x280, 0)
    assert lapic.read(0x280) == 0x60
    with pytest.raises(UsageError, match="CPU 0 cannot send vector 256"):
        lapic.send_ipi(0, 256)


def test_extint_is_answered_by_the_pic_and_enters_no_isr() -> None:
    lapic = quiet().lapics[0]
    lapic.extint_source = lambda: (0x30, 77)
    lapic.tpr = 0xF0
    lapic.accept(message(0, EXTINT))
    assert lapic.intr
    assert lapic.inta() == (0x30, from_pic(77))
    assert (lapic.intr, lapic.isr, lapic.irr) == (False, 0, 0)


def test_extint_without_a_pic_is_spurious() -> None:
    lapic = quiet().lapics[0]
    lapic.write(SPIV, 0x1EF)
    lapic.accept(message(0, EXTINT))
    assert lapic.inta() == (0xEF, SPURIOUS)


def test_S3_01_priority_is_evaluated_again_after_each_service() -> None:
    """Of three pending vectors the highest class goes first; the two of one class wait for its EOI and for each other's."""
    world = quiet()
    lapic, cpu = world.lapics[0], world.cpus[0]
    seen: list[tuple[int, bool, bool]] = []

    def serve(here: Processor) -> None:
        vector, before = lapic.in_service(), lapic.intr
        lapic.eoi(here)
        seen.append((vector, before, lapic.intr))

    for vector in (0x41, 0x45, 0x61):
        cpu.handlers[vector] = serve
        lapic.accept(message(vector))
    cpu.sti()
    world.settle()
    assert seen == [(0x61, False, True), (0x45, False, True), (0x41, False, False)]
    assert cpu.taken == [(0, 0x61), (0, 0x45), (0, 0x41)]


def test_S3_02_processor_priority_rule() -> None:
    world = World()
    lapic, cpu = world.lapics[0], world.cpus[0]
    lapic.tpr = 0x50
    lapic.accept(message(0x41))
    lapic.accept(message(0x61))
    world.settle()
    assert cpu.vectors == [0x61]
    lapic.tpr = 0
    world.settle()
    assert cpu.vectors == [0x61, 0x41]


def test_S3_03_spurious_vector_at_inta() -> None:
    world = quiet()
    lapic = world.lapics[0]
    lapic.accept(message(0x41, cause=3))
    assert lapic.intr
    lapic.tpr = 0x40
    assert lapic.inta() == (0xFF, SPURIOUS)
    assert (lapic.irr, lapic.isr) == (bits(0x41), 0)
    lapic.tpr = 0
    assert lapic.inta() == (0x41, 3)


def test_startup_output_is_announced() -> None:
    world = World(2)
    lapic = world.lapics[1]
    seen: list[bool] = []
    lapic.on_output = lambda: seen.append(lapic.startup.pending)
    lapic.accept(message(0, INIT))
    lapic.accept(message(7, STARTUP))
    assert lapic.startup.take() == (True, 7)
    assert lapic.startup.take() == (False, -1)
    assert seen == [True, False]


def test_init_resets_what_is_pending_and_keeps_the_id() -> None:
    world = World(2)
    lapic = world.lapics[1]
    world.cpus[1].cli()
    lapic.accept(message(0x41))
    lapic.accept(message(0, NMI))
    lapic.timer.set_initial(100)
    lapic.accept(ApicMessage(0, INIT))
    assert (lapic.irr, lapic.intr, lapic.nmi_pending, lapic.enabled, lapic.timer.when) == (0, False, False, False, -1)
    assert (lapic.regs.id, lapic.read(SPIV)) == (1, 0xFF)
