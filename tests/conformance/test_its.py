"""Show section 6 of the catalogue, and the rows of the inventory on the ITS, on the silicon without a kernel."""

from __future__ import annotations

import pytest

from asyncirq.hw.gic import its_command as cmd
from asyncirq.hw.gic import regs
from asyncirq.hw.gic.its_command import Command
from tests.hw.gic.gics import G1, NONE, Processor, finish
from tests.hw.gic.its_world import CONFIG, ItsWorld


def taken(world: ItsWorld) -> list[list[int]]:
    """Return what each PE took."""
    return [pe.intids for pe in world.pes]


def test_ITS_02_configuration_is_cached_until_inv() -> None:
    world = ItsWorld()
    world.common()
    world.configure(8195, CONFIG & ~regs.LPI_ENABLE)
    world.run(cmd.event_command(cmd.INV, 2, 20))
    world.interrupt(2, 20)
    assert taken(world) == [[], [], [], []]
    world.configure(8195, CONFIG)
    world.interrupt(2, 20)
    assert taken(world) == [[], [], [], []]
    world.run(cmd.invall(3))
    world.settle()
    assert taken(world) == [[], [], [], [8195]]
    world.interrupt(2, 20)
    assert taken(world) == [[], [], [], [8195, 8195]]


def test_ITS_06_unmapped_collection() -> None:
    world = ItsWorld()
    world.common()
    assert world.run(cmd.mapti(2, 0, 8192, 0)) == []
    assert world.interrupt(2, 0) == [0x010310]
    assert world.run(cmd.invall(0)) == [0x010D09]
    world.its.save()
    for lpis in world.lpis:
        lpis.save()
    world.its.tables.devices.clear()
    world.its.tables.collections.clear()
    world.its.restore()
    assert world.memory.read(world.config, 1) == CONFIG
    assert world.run(cmd.mapc(0, 0), cmd.invall(0)) == []
    world.interrupt(2, 0)
    assert taken(world) == [[8192], [], [], []]
    world.interrupt(2, 20)
    world.interrupt(7, 255)
    assert taken(world) == [[8192], [], [8196], [8195]]


def test_ITS_07_pending_table() -> None:
    world = ItsWorld(pes=2, enabled=False)
    world.run(world.device(1, 8), cmd.mapc(0, 0), cmd.mapc(1, 1))
    for event in range(256):
        world.run(cmd.mapti(1, event, 8192 + event, event % 2))
    for table in world.pending:
        world.memory.write(table + 8192 // 8, 32, (1 << 256) - 1)
    for pe, table in enumerate(world.pending):
        mine = sum(1 << event for event in range(256) if event % 2 == pe)
        world.memory.write(table + 8192 // 8, 32, mine)
    for part, table in zip(world.parts, world.pending, strict=True):
        part.write(regs.GICR_PENDBASER, table, 8)
        part.write(regs.GICR_CTLR, regs.GICR_ENABLE_LPIS)
    world.settle()
    assert taken(world) == [[8192 + event for event in range(pe, 256, 2)] for pe in range(2)]
    world.settle()
    assert [len(pe.taken) for pe in world.pes] == [128, 128]


def test_ITS_08_stress() -> None:
    world = ItsWorld()
    world.run(*(cmd.mapc(number, number) for number in range(4)))
    lpis = {}
    for device in range(1, 5):
        world.run(world.device(device, 4))
        for event in range(16):
            lpis[device, event] = 8192 + 16 * (device - 1) + event
            world.run(cmd.mapti(device, event, lpis[device, event], lpis[device, event] % 4))
    for turn in range(20):
        for (device, event), intid in lpis.items():
            world.its.write(regs.GITS_TRANSLATER, event, device=device)
            if intid % 7 == turn % 7:
                world.run(cmd.movi(device, event, (intid + turn) % 4), cmd.invall(turn % 4))
        world.settle()
    everything = [intid for pe in world.pes for intid in pe.intids]
    assert set(everything) == set(lpis.values())
    assert len(everything) == 20 * 64
    assert (world.its.dropped, world.its.errors) == ([], [])
    assert all(pe.interface.running == 0xFF for pe in world.pes)


def test_ITS_09_lpis_have_no_active_state() -> None:
    world = ItsWorld()
    world.common()
    pe = world.pes[3].mask()
    pe.interface.set_control(split=True)
    world.its.message(2, 20)
    assert pe.ack() == 8195
    lpi = world.lpi(8195, 3)
    assert (lpi.state, pe.interface.active_priorities[G1]) == ("inactive", 1 << 20)
    world.its.message(2, 20)
    assert (lpi.state, pe.interface.irq) == ("pending", False)
    pe.interface.deactivate(8195)
    assert (lpi.state, pe.interface.irq) == ("pending", False)
    pe.interface.end(8195)
    assert pe.interface.irq
    assert pe.ack() == 8195


def event_errors(number: int, code: int) -> list[tuple[Command, int]]:
    """Return what can be wrong with a command that names a device and its event."""
    first = 0x010000 | code << 8
    places = ((0x1_0000, 0, 1), (9, 0, 4), (2, 256, 5), (2, 1, 7), (2, 30, 0x10))
    return [(cmd.event_command(number, device, event), first | what) for device, event, what in places]


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (cmd.mapd(0x1_0000, 0, 8), 0x010801),
        (cmd.mapd(1, 0, 17), 0x010802),
        (cmd.mapc(1, 4), 0x010902),
        (cmd.mapc(0xFFFF, 0), 0x010903),
        (cmd.mapti(0x1_0000, 0, 8200, 2), 0x010A01),
        (cmd.mapti(2, 1, 8200, 0xFFFF), 0x010A03),
        (cmd.mapti(9, 0, 8200, 2), 0x010A04),
        (cmd.mapti(2, 256, 8200, 2), 0x010A05),
        (cmd.mapti(2, 1, 0x1_0000, 2), 0x010A06),
        (cmd.mapti(2, 1, 8191, 2), 0x010A06),
        (cmd.mapi(0x1_0000, 8200, 2), 0x010B01),
        (cmd.mapi(9, 8200, 2), 0x010B04),
        (cmd.mapi(2, 8200, 2), 0x010B05),
        (cmd.mapi(2, 1, 0xFFFF), 0x010B03),
        (cmd.mapi(2, 1, 2), 0x010B06),
        (cmd.movi(0x1_0000, 20, 2), 0x010101),
        (cmd.movi(2, 20, 0xFFFF), 0x010103),
        (cmd.movi(9, 20, 2), 0x010104),
        (cmd.movi(2, 256, 2), 0x010105),
        (cmd.movi(2, 1, 2), 0x010107),
        (cmd.movi(2, 20, 9), 0x010109),
        (cmd.movi(2, 30, 2), 0x010109),
        (cmd.movall(0, 4), 0x010E01),
        (cmd.invall(0xFFFF), 0x010D03),
        (cmd.invall(9), 0x010D09),
        *event_errors(cmd.INT, 0x03),
        *event_errors(cmd.CLEAR, 0x05),
        *event_errors(cmd.INV, 0x0C),
        *event_errors(cmd.DISCARD, 0x0F),
    ],
)
def test_ITS_10_bad_commands_do_not_stop_the_queue(command: Command, error: int) -> None:
    world = ItsWorld()
    world.common()
    assert world.run(cmd.mapti(2, 30, 8230, 9)) == []  # a collection without a target, as yet
    before = world.its.creadr
    assert world.run(command, cmd.event_command(cmd.INT, 2, 20)) == [error]
    assert world.its.read(regs.GITS_CREADR) == before + 64
    world.settle()
    assert taken(world) == [[], [], [], [8195]]


def test_ITS_10_memory_fault_stalls_the_queue() -> None:
    world = ItsWorld()
    world.common()
    at = world.its.creadr
    world.memory.free(world.ring, 0x1_0000)
    world.its.write(regs.GITS_CWRITER, at + 32)
    assert world.its.read(regs.GITS_CREADR) == at | regs.CREADR_STALLED
    world.its.write(regs.GITS_CWRITER, at + 32 | 1)
    assert world.its.read(regs.GITS_CREADR) == at | regs.CREADR_STALLED


def test_ITS_12_clear_and_discard() -> None:
    world = ItsWorld()
    world.common()
    pe = world.pes[3].mask()
    world.its.message(2, 20)
    assert pe.interface.irq
    assert world.run(cmd.event_command(cmd.CLEAR, 2, 20)) == []
    assert (pe.interface.irq, pe.ack()) == (False, NONE)
    world.its.message(2, 20)
    assert world.run(cmd.event_command(cmd.DISCARD, 2, 20)) == []
    assert not pe.interface.irq
    assert world.run(cmd.event_command(cmd.INT, 2, 20)) == [0x010307]
    assert pe.ack() == NONE


def test_ITS_13_movi_and_movall() -> None:
    world = ItsWorld()
    world.common()
    for pe in world.pes:
        pe.mask()
    world.its.message(2, 20)
    assert world.run(cmd.movi(2, 20, 2)) == []
    assert [pe.interface.irq for pe in world.pes] == [False, False, True, False]
    assert world.run(cmd.movall(2, 1)) == []
    assert [pe.ack() for pe in world.pes] == [NONE, 8195, NONE, NONE]
    world.pes[1].interface.end(8195)
    world.its.message(2, 20)
    assert [pe.ack() for pe in world.pes] == [NONE, NONE, 8195, NONE]


def test_ITS_14_mapi() -> None:
    world = ItsWorld()
    world.common()
    assert world.run(world.device(3, 14), cmd.mapi(3, 8191, 2)) == [0x010B06]
    assert world.run(cmd.mapi(3, 8300, 2)) == []
    world.interrupt(3, 8300)
    assert taken(world) == [[], [], [8300], []]
    assert world.run(world.device(4, 16), cmd.mapi(4, 0xFFFF, 2), cmd.mapti(4, 0, 0x1_0000, 2)) == [0x010A06]


def test_ITS_15_disabled_its() -> None:
    world = ItsWorld()
    world.common()
    assert world.its.read(regs.GITS_CTLR) == 1
    world.its.write(regs.GITS_CTLR, 0)
    assert world.its.read(regs.GITS_CTLR) == 1 << 31
    at = world.its.creadr
    world.run(cmd.event_command(cmd.INT, 2, 20))
    assert world.its.message(7, 255) is False
    world.settle()
    assert (world.its.creadr, taken(world)) == (at, [[], [], [], []])
    world.its.write(regs.GITS_CTLR, 1)
    world.settle()
    assert taken(world) == [[], [], [], [8195]]


def test_device_can_be_unmapped_whatever_size_the_command_says() -> None:
    world = ItsWorld()
    world.common()
    assert world.run(cmd.mapd(2, 0, 32, valid=False)) == []
    assert world.interrupt(2, 20) == [0x010304]


def test_S1_16_its_translation() -> None:
    world = ItsWorld(traced=True)
    world.common()
    world.its.write(regs.GITS_TRANSLATER, 255, device=7)
    world.settle()
    assert taken(world) == [[], [], [8196], []]
    seen = [(type(record).__struct_config__.tag, record.cpu, record.cause) for record in world.records()]
    assert seen == [("its_translate", 2, 0), ("gic_pend", 2, 1), ("gic_iar", 2, 2)]


def test_S1_17_its_commands() -> None:
    world = ItsWorld()
    assert world.its.message(2, 20) is False
    assert world.its.dropped == [(2, 20)]
    world.common()
    tables = world.its.tables
    assert [(number, known.event_bits, sorted(known.events)) for number, known in tables.devices.items()] == [
        (2, 8, [20]),
        (7, 8, [255]),
    ]
    assert tables.collections == {3: 3, 2: 2}
    event = tables.find(2, 20)
    assert event is not None
    assert (event.intid, event.collection) == (8195, 3)
    world.its.message(2, 20)
    world.settle()
    world.run(cmd.movi(2, 20, 2))
    world.its.message(2, 20)
    world.settle()
    assert taken(world) == [[], [], [8195], [8195]]
    world.run(cmd.event_command(cmd.DISCARD, 2, 20))
    assert (tables.find(2, 20), world.its.message(2, 20)) == (None, False)
    world.run(cmd.mapd(7, 0, 8, valid=False), cmd.mapc(2, 0, valid=False))
    assert (sorted(tables.devices), tables.collections) == ([2], {3: 3})


def test_lpi_tables_stay_once_enabled() -> None:
    world = ItsWorld(pes=1)
    part = world.parts[0]
    part.write(regs.GICR_PROPBASER, 0, 8)
    part.write(regs.GICR_CTLR, 0)
    assert part.read(regs.GICR_CTLR) == regs.GICR_ENABLE_LPIS
    assert part.read(regs.GICR_PROPBASER, 8) == world.config | 15
    assert part.read(regs.GICR_PENDBASER, 8) == world.pending[0]


def test_lpi_of_a_sleeping_pe_waits() -> None:
    world = ItsWorld()
    world.common()
    world.parts[3].write(regs.GICR_WAKER, regs.WAKER_SLEEP)
    world.interrupt(2, 20)
    assert taken(world)[3] == []
    world.lpis[3].save()
    assert world.memory.read(world.pending[3] + 8192 // 8, 1) == 1 << 3
    world.parts[3].write(regs.GICR_WAKER, 0)
    world.settle()
    assert taken(world)[3] == [8195]


def test_handler_of_an_lpi_is_not_interrupted_by_the_same() -> None:
    world = ItsWorld()
    world.common()

    def handler(pe: Processor, intid: int) -> None:
        if len(pe.taken) == 1:
            world.its.message(2, 20)
        finish(pe, intid)

    world.pes[3].handler = handler
    world.interrupt(2, 20)
    assert taken(world)[3] == [8195, 8195]
