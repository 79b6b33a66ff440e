"""Show section 5 of the catalogue on the silicon of a GICv3, without a kernel."""

from __future__ import annotations

import pytest

from asyncirq.hw.gic import regs
from tests.hw.gic.gics import G0, G1, NONE, Processor, World, finish


def test_GIC_02_sgi_target_list() -> None:
    world = World()
    for pe in range(4):
        world.enable(1, pe=pe)
    for sender in range(4):
        before = [list(pe.intids) for pe in world.pes]
        targets = [pe for pe in range(4) if pe % 2 != sender % 2]
        world.distributor.send_sgi(sender, 1 << 24 | sum(1 << pe for pe in targets))
        world.settle()
        world.advance(world.engine.now + 100_000_000)
        assert [pe.intids for pe in world.pes] == [taken + [1] * (pe in targets) for pe, taken in enumerate(before)]


def test_GIC_02_all_but_self_and_other_clusters() -> None:
    world = World(pes=20)
    for pe in range(20):
        world.enable(1, pe=pe)
    world.distributor.send_sgi(3, 1 << 40 | 1 << 24)
    world.settle()
    assert [len(pe.taken) for pe in world.pes] == [1] * 3 + [0] + [1] * 16
    world.distributor.send_sgi(3, 1 << 24 | 1 << 16 | 0b1010)
    world.settle()
    assert [number for number, pe in enumerate(world.pes) if len(pe.taken) == 2] == [17, 19]


def test_GIC_04_deactivate_by_register_instead_of_eoi() -> None:
    world = World()
    world.enable(1)
    world.pes[0].handler = lambda pe, intid: world.strobe(regs.ICACTIVER, 1)
    world.distributor.send_sgi(1, 1 << 24 | 1)
    world.settle()
    assert world.pes[0].intids == [1]
    assert world.states(1) == ["inactive"]
    assert (world.interfaces[0].active_priorities[G1], world.interfaces[0].running) == (1 << (0xA0 >> 3), 0xA0)


def test_GIC_05_read_only_registers() -> None:
    world = World()
    before = [world.distributor.read(offset) for offset in (regs.GICD_TYPER, regs.GICD_IIDR)]
    assert before == [2 | 1 << 16 | 1 << 17 | 15 << 19, 0x43B]
    for value in (0xFFFF_FFFF, 0xA5A5_5A5A, 0):
        for offset in (regs.GICD_TYPER, regs.GICD_IIDR):
            world.distributor.write(offset, value)
        assert [world.distributor.read(offset) for offset in (regs.GICD_TYPER, regs.GICD_IIDR)] == before


@pytest.mark.parametrize("intid", [96, 1020, 1024, 1120, 5120, 0xFFFF_FFFF])
def test_GIC_07_invalid_intids_raise_nothing(intid: int) -> None:
    world = World(extended=32)
    world.distributor.set_line(intid, True)
    world.distributor.write(regs.GICD_SETSPI_NSR, intid)
    world.distributor.write(regs.ISPENDR + 4 * (intid // 32 & 31), 0)
    world.settle()
    assert [pe.taken for pe in world.pes] == [[], [], [], []]
    assert world.pes[0].ack() == NONE
    assert all(interrupt.state == "inactive" for interrupt in world.all())


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("edge", [False, True])
def test_GIC_09_state_inside_the_handler(edge: bool, split: bool) -> None:
    world = World()
    world.enable(40, edge=edge)
    pe, interface = world.pes[0].mask(), world.interfaces[0]
    interface.set_control(split)
    world.distributor.set_line(40, True)
    assert pe.ack() == 40
    assert (world.get(40).active, world.get(40).pending) == (True, not edge)
    assert interface.active_priorities[G1] == 1 << 20
    world.distributor.set_line(40, False)
    interface.end(40)
    assert (interface.active_priorities[G1], interface.running) == (0, 0xFF)
    assert world.states(40) == ["active" if split else "inactive"]
    if split:
        interface.deactivate(40)
    assert world.states(40) == ["inactive"]
    assert pe.ack() == NONE


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    "intids", [tuple(range(16)), tuple(number for number in range(16, 32) if number not in (26, 27, 28, 30)), tuple(range(32, 63))]
)
def test_GIC_10_nested_preemption(intids: tuple[int, ...], split: bool) -> None:
    world = World()
    interface, pe = world.interfaces[0], world.pes[0].mask()
    interface.set_pmr(0xF8)
    interface.set_control(split)
    for number, intid in enumerate(intids):
        world.enable(intid, priority=8 * (len(intids) - 1 - number))
    for intid in intids:
        world.strobe(regs.ISPENDR, intid)
        assert pe.ack() == intid
    assert world.states(*intids) == ["active"] * len(intids)
    for intid in reversed(intids):
        interface.end(intid)
    assert interface.active_priorities[G1] == 0
    if split:
        assert world.states(*intids) == ["active"] * len(intids)
        for intid in (*intids[1::2], *intids[::2]):
            interface.deactivate(intid)
    assert world.states(*intids) == ["inactive"] * len(intids)
    assert pe.ack() == NONE
    assert world.gic.guest_errors == []


@pytest.mark.parametrize("split", [False, True])
def test_GIC_11_restore_active_state(split: bool) -> None:
    world = World()
    interface, pe = world.interfaces[0], world.pes[0]
    interface.set_control(split)
    intids = tuple(range(32, 40))
    for number, intid in enumerate(intids):
        world.enable(intid, priority=8 * number)
        world.strobe(regs.ISACTIVER, intid)
    interface.set_active_priorities(G1, 0xFF)
    assert interface.running == 0
    for intid in intids:
        interface.end(intid)
        if split:
            interface.deactivate(intid)
    world.settle()
    assert world.states(*intids) == ["inactive"] * 8
    assert (interface.active_priorities[G1], pe.taken, pe.ack()) == (0, [], NONE)


def test_GIC_12_deactivation_from_another_pe() -> None:
    world = World()
    world.enable(32, edge=True)
    for interface in world.interfaces:
        interface.set_control(split=True)
    pe = world.pes[0].mask()
    world.distributor.set_line(32, True)
    assert pe.ack() == 32
    world.interfaces[0].end(32)
    assert world.distributor.read(regs.ISACTIVER + 4) == 1
    world.interfaces[1].deactivate(32)
    assert world.distributor.read(regs.ISACTIVER + 4) == 0
    assert world.states(32) == ["inactive"]


def test_GIC_13_group_enable_gates() -> None:
    world = World()
    interface, pe = world.interfaces[0], world.pes[0].mask()
    interface.set_enabled(G0, False)
    for intid in range(16):
        world.enable(intid, priority=8 * (intid + 1))
        world.get(intid).set_group(intid != 0, False)
        world.strobe(regs.ISPENDR, intid)
    got = []
    for _ in range(15):
        got.append(pe.ack())
        interface.end(got[-1])
    assert got == list(range(1, 16))
    assert world.states(0) == ["pending"]
    assert (pe.ack(G1), pe.ack(G0)) == (NONE, NONE)
    interface.set_enabled(G0, True)
    assert pe.ack(G0) == 0


def test_GIC_14_level_ppi_of_the_timer() -> None:
    world = World()
    interface, pe = world.interfaces[0], world.pes[0].mask()
    interface.set_control(split=True)
    world.enable(40, priority=0xA8)
    world.distributor.set_line(40, True)
    world.parts[0].set_ppi(27, True)
    assert world.states(27) == ["pending"]
    assert interface.best is world.get(40)
    world.enable(27, priority=0xA0)
    assert pe.ack() == 27
    assert world.states(27) == ["active and pending"]
    world.parts[0].set_ppi(27, False)
    assert world.states(27) == ["active"]
    interface.end(27)
    interface.deactivate(27)
    assert world.states(27) == ["inactive"]
    world.parts[0].set_ppi(27, True)
    assert pe.ack() == 27
    finish(pe, 27)
    world.parts[0].set_ppi(27, False)
    assert pe.ack() == 40


def test_GIC_17_pmr_equality_blocks() -> None:
    world = World()
    interface = world.interfaces[0]
    world.pes[0].mask()
    world.enable(40, priority=0x80)
    world.distributor.set_line(40, True)
    signalled = []
    for mask in (0x80, 0x88, 0x80):
        interface.set_pmr(mask)
        signalled.append(interface.irq)
    assert signalled == [False, True, False]


def test_GIC_18_preemption_uses_group_priority() -> None:
    world = World()
    interface, pe = world.interfaces[0], world.pes[0].mask()
    interface.set_bpr(G1, 4)
    for intid, priority in ((40, 0xA0), (41, 0xA8), (42, 0x98)):
        world.enable(intid, priority=priority, edge=True)
    world.distributor.set_line(40, True)
    assert pe.ack() == 40
    world.distributor.set_line(41, True)
    assert not interface.irq
    world.distributor.set_line(42, True)
    assert interface.irq
    assert pe.ack() == 42
    assert interface.running == 0x90
    interface.end(42)
    assert not interface.irq
    interface.end(40)
    assert pe.ack() == 41


def test_GIC_19_equal_priority() -> None:
    world = World()
    pe = world.pes[0].mask()
    for intid in (45, 33, 20, 40):
        world.enable(intid)
        world.strobe(regs.ISPENDR, intid)
    got = []
    for _ in range(4):
        got.append(pe.ack())
        finish(pe, got[-1])
    assert got == [20, 33, 40, 45]


def test_GIC_20_acknowledging_clears_pending() -> None:
    world = World()
    interface, pe = world.interfaces[0], world.pes[0].mask()
    world.enable(40, edge=True, priority=0x80)
    world.enable(41, edge=False)
    world.distributor.set_line(40, True)
    assert (pe.ack(), world.states(40)) == (40, ["active"])
    interface.end(40)
    world.distributor.set_line(41, True)
    assert (pe.ack(), world.states(41)) == (41, ["active and pending"])
    assert interface.active_priorities[G1] == 1 << 20
    assert not interface.irq
    interface.end(41)
    assert interface.irq
    assert pe.ack() == 41


def test_GIC_21_edge_while_active() -> None:
    world = World(traced=True)
    pe = world.pes[0].mask()
    world.enable(40, edge=True)

    def edge() -> None:
        world.distributor.set_line(40, True)
        world.distributor.set_line(40, False)

    edge()
    assert pe.ack() == 40
    for _ in range(3):
        edge()
    assert world.states(40) == ["active and pending"]
    assert not pe.interface.irq
    pe.interface.end(40)
    assert pe.ack() == 40
    pe.interface.end(40)
    assert pe.ack() == NONE
    assert [getattr(record, "coalesced", None) for record in world.records()] == [0, 0, 1, 2]


def test_GIC_23_target_without_pe() -> None:
    world = World()
    world.enable(40, edge=True)
    world.distributor.write(regs.IROUTER + 8 * 40, 0x0700_0000_00, 8)
    world.distributor.set_line(40, True)
    world.settle()
    assert [pe.taken for pe in world.pes] == [[], [], [], []]
    assert world.states(40) == ["pending"]
    world.route(40, 2)
    world.settle()
    assert world.pes[2].intids == [40]
    world.distributor.write(regs.IROUTER + 8 * 40, 1 << 31, 8)
    world.distributor.enable_group(0, G1, False)
    world.distributor.set_line(40, False)
    world.distributor.set_line(40, True)
    world.settle()
    assert [pe.intids for pe in world.pes] == [[], [40], [40], []]


def test_GIC_24_icfgr() -> None:
    world = World()
    assert world.parts[0].read(regs.SGI_FRAME + regs.ICFGR) == 0xAAAA_AAAA
    world.parts[0].write(regs.SGI_FRAME + regs.ICFGR, 0)
    assert world.parts[0].read(regs.SGI_FRAME + regs.ICFGR) == 0xAAAA_AAAA
    world.distributor.write(regs.ICFGR + 8, 0b1000)
    assert [world.get(intid).edge for intid in (32, 33, 34)] == [False, True, False]
    world.enable(33)
    world.distributor.write(regs.ICFGR + 8, 0)
    assert world.get(33).edge
    assert world.gic.guest_errors == ["the trigger of INTID 33 was changed while it was enabled"]


def test_GIC_25_group_separation() -> None:
    world = World()
    interface, pe = world.interfaces[0], world.pes[0].mask()
    world.get(40).set_group(False, False)
    world.enable(40, edge=True)
    world.distributor.set_line(40, True)
    assert (interface.irq, interface.fiq) == (False, True)
    assert (pe.ack(G1), interface.highest_pending(G1)) == (NONE, NONE)
    assert (interface.highest_pending(G0), pe.ack(G0)) == (40, 40)
    interface.end(40, G0)
    world.enable(41, edge=True)
    world.distributor.set_line(41, True)
    assert (interface.irq, interface.fiq) == (True, False)
    assert (pe.ack(G0), pe.ack(G1)) == (NONE, 41)


def test_GIC_26_eoir_of_the_wrong_intid() -> None:
    world = World()
    interface, pe = world.interfaces[0], world.pes[0].mask()
    for intid, priority in ((40, 0xA0), (41, 0x80)):
        world.enable(intid, priority=priority, edge=True)
        world.distributor.set_line(intid, True)
        assert pe.ack() == intid
    interface.end(40)
    assert (interface.running, world.states(40, 41)) == (0xA0, ["inactive", "active"])
    interface.end(41)
    assert (interface.running, world.states(40, 41)) == (0xFF, ["inactive", "inactive"])
    assert world.gic.guest_errors == []
    interface.end(40)
    assert world.gic.guest_errors == ["PE 0: EOIR 40 with no active priority in group 1"]
    world.distributor.set_line(41, False)
    world.distributor.set_line(41, True)
    assert pe.ack() == 41
    for special in (1020, 1021, 1022, 1023, 2000):
        interface.end(special)
    assert interface.running == 0x80
    interface.end(41, G0)
    assert (interface.running, world.states(41)) == (0x80, ["active"])


def test_GIC_27_waker() -> None:
    world = World()
    part, pe = world.parts[1], world.pes[1]
    world.enable(20, pe=1)
    world.enable(40, edge=True)
    world.route(40, 1)
    part.write(regs.GICR_WAKER, regs.WAKER_SLEEP)
    assert part.read(regs.GICR_WAKER) == 0b110
    part.set_ppi(20, True)
    world.distributor.set_line(40, True)
    world.settle()
    assert pe.taken == []
    assert (world.states(20, pe=1), world.states(40)) == (["pending"], ["pending"])

    def handler(pe: Processor, intid: int) -> None:
        part.set_ppi(20, False)
        finish(pe, intid)

    pe.handler = handler
    part.write(regs.GICR_WAKER, 0)
    assert part.read(regs.GICR_WAKER) == 0
    world.settle()
    assert pe.intids == [20, 40]


def test_GIC_28_rwp() -> None:
    world = World(write_ns=100)
    world.enable(40, edge=True)
    world.strobe(regs.ICENABLER, 40)
    assert world.distributor.read(regs.GICD_CTLR) >> 31 == 1
    assert world.parts[0].read(regs.GICR_CTLR) >> 3 == 1
    world.distributor.set_line(40, True)
    world.advance(50)
    assert world.pes[0].taken == [(0, 40)]
    world.advance(100)
    assert world.distributor.read(regs.GICD_CTLR) >> 31 == 0
    assert world.parts[0].read(regs.GICR_CTLR) == 0
    world.distributor.set_line(40, False)
    world.distributor.set_line(40, True)
    world.settle()
    assert (world.pes[0].taken, world.states(40)) == ([(0, 40)], ["pending"])


def test_S1_18_intid_ranges() -> None:
    edges = (0, 15, 16, 31, 32, 1019, 1020, 1023, 1024, 1056, 1119, 1120, 4096, 5119, 5120, 8191, 8192)
    kinds = ["sgi", "sgi", "ppi", "ppi", "spi", "spi", "special", "special", "reserved", "eppi", "eppi", "reserved"]
    kinds += ["espi", "espi", "reserved", "reserved", "lpi"]
    assert [regs.kind_of(intid) for intid in edges] == kinds


def test_S1_12_distributor_duties() -> None:
    world = World()
    world.get(40).set_priority(0)
    world.route(40, 3)
    world.distributor.write(regs.IPRIORITYR + 40, 0x60, 1)
    world.distributor.set_line(40, True)
    world.settle()
    assert (world.pes[3].taken, world.states(40)) == ([], ["pending"])
    running: list[int] = []

    def handler(pe: Processor, intid: int) -> None:
        running.append(pe.interface.running)
        world.distributor.set_line(40, False)
        finish(pe, intid)

    world.pes[3].handler = handler
    world.strobe(regs.ISENABLER, 40)
    world.settle()
    assert ([pe.intids for pe in world.pes], running) == ([[], [], [], [40]], [0x60])


def test_S1_14_redistributor_duties() -> None:
    world = World()
    for pe in range(4):
        world.enable(25, pe=pe, edge=True)
    world.parts[1].set_ppi(25, True)
    world.settle()
    assert [pe.intids for pe in world.pes] == [[], [25], [], []]
    world.parts[2].write(regs.GICR_WAKER, regs.WAKER_SLEEP)
    world.parts[2].set_ppi(25, True)
    world.settle()
    assert world.pes[2].taken == []
    world.parts[2].write(regs.GICR_WAKER, 0)
    world.settle()
    assert world.pes[2].intids == [25]


def test_S1_15_cpu_interface_registers() -> None:
    world = World()
    interface, pe = world.interfaces[0], world.pes[0].mask()
    world.enable(40, priority=0xA0, edge=True)
    world.distributor.set_line(40, True)
    interface.set_pmr(0xA0)
    assert pe.ack() == NONE
    interface.set_pmr(0xA8)
    assert interface.running == 0xFF
    assert pe.ack() == 40
    assert interface.running == 0xA0
    interface.set_bpr(G1, 6)
    world.enable(41, priority=0x80, edge=True)
    world.distributor.set_line(41, True)
    assert not interface.irq  # 0x80 and 0xA0 are one group at binary point 6
    interface.set_bpr(G1, 5)
    assert interface.irq
    assert pe.ack() == 41
    interface.end(41)
    interface.end(40)
    assert interface.running == 0xFF


def test_S1_13_interrupt_groups() -> None:
    world = World(secure=True)
    interface = world.interfaces[0]
    for intid, bits in ((40, (False, False)), (41, (True, False)), (42, (False, True))):
        world.get(intid).edge = True
        world.get(intid).set_group(*bits)
        world.get(intid).set_enabled(True)
    assert [world.get(intid).group for intid in (40, 41, 42)] == [regs.GROUP0, regs.GROUP1_NS, regs.GROUP1_S]
    interface.set_enabled(regs.GROUP1_S, True)
    world.pes[0].mask()
    seen = []
    for intid in (40, 41, 42):
        world.distributor.set_line(intid, True)
        seen.append((interface.irq, interface.fiq, interface.acknowledge(G0, monitor=True)[0]))
        world.get(intid).clear_pending()
        if world.get(intid).active:
            interface.end(intid, world.get(intid).group)
    assert seen == [(False, True, 40), (True, False, 1021), (False, True, 1020)]
    interface.irq_group = regs.GROUP1_S
    world.get(42).pulse()
    assert (interface.irq, interface.fiq) == (True, False)
    assert interface.acknowledge(regs.GROUP1_S)[0] == 42


def test_S1_29_special_intids_when_a_level_is_withdrawn() -> None:
    world = World(traced=True)
    pe = world.pes[0].mask()
    world.enable(40)
    world.distributor.set_line(40, True)
    assert pe.interface.irq
    world.distributor.set_line(40, False)
    assert (pe.interface.irq, pe.interface.acknowledge(G1, pe)) == (False, (NONE, 0))
    assert (pe.interface.running, world.states(40)) == (0xFF, ["inactive"])
    assert [getattr(record, "intid", None) for record in world.records()] == [40, NONE]
