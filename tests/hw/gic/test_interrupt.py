"""Check the state machine of one interrupt against an oracle, over every sequence of events up to length 8.

The oracle knows the architecture's four states and nothing of the model. Sequences that lead both into the same state need
no second look, so what is walked is the graph of joint states, each with the shortest sequence that leads there.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from asyncirq.hw.gic import regs
from tests.hw.gic.gics import G1, NONE, World

LENGTH = 8
EVENTS = ("high", "low", "ack", "eoi", "dir", "set_pending", "clear_pending", "set_active", "clear_active", "enable", "disable")
INTID = 40


class Oracle(NamedTuple):
    """What the architecture says of one interrupt and of the CPU that takes it."""

    edge: bool
    split: bool
    state: str = "inactive"
    high: bool = False
    latched: bool = False
    enabled: bool = True
    nested: int = 0

    def after(self, event: str) -> Oracle:
        """Return the state after an event. ``latched``: pending for another reason than a wire that is high."""
        pending = "pending" in self.state
        active = "active" in self.state.replace("inactive", "")
        high, latched, enabled, nested = self.high, self.latched, self.enabled, self.nested
        if event == "high" and not high:
            high = True
            latched = latched or self.edge
        elif event == "low":
            high = False
        elif event == "ack" and self.signalled:
            latched, active, nested = False, True, 1
        elif event == "eoi" and nested:
            nested = 0
            active = active and self.split
        elif event == "dir" and self.split:
            active = False
        elif event == "set_pending":
            latched = True
        elif event == "clear_pending":
            latched = False
        elif event in ("set_active", "clear_active"):
            active = event == "set_active"
        elif event in ("enable", "disable"):
            enabled = event == "enable"
        pending = latched or (high and not self.edge)
        state = ("inactive", "pending", "active", "active and pending")[pending + 2 * active]
        return Oracle(self.edge, self.split, state, high, latched, enabled, nested)

    @property
    def signalled(self) -> bool:
        """Tell whether the CPU is told: pending, not active, enabled, and nothing of this priority runs."""
        return self.state == "pending" and self.enabled and not self.nested

    @property
    def view(self) -> tuple[str, bool, bool]:
        """Return what can be seen from outside."""
        return self.state, self.signalled, bool(self.nested)


class Rig:
    """The model with one edge or level interrupt, brought into a state by a sequence of events."""

    def __init__(self, edge: bool, split: bool, events: tuple[str, ...]) -> None:
        self.world = World(pes=1, spis=32)
        self.world.enable(INTID, edge=edge)
        self.pe = self.world.pes[0].mask()
        self.pe.interface.set_control(split)
        for event in events:
            self.apply(event)

    def apply(self, event: str) -> None:
        """Do one event through the wire or a register."""
        distributor, interface = self.world.distributor, self.pe.interface
        registers = {
            "set_pending": regs.ISPENDR,
            "clear_pending": regs.ICPENDR,
            "set_active": regs.ISACTIVER,
            "clear_active": regs.ICACTIVER,
            "enable": regs.ISENABLER,
            "disable": regs.ICENABLER,
        }
        if event in ("high", "low"):
            distributor.set_line(INTID, event == "high")
        elif event == "ack":
            signalled = interface.irq
            assert self.pe.ack() == (INTID if signalled else NONE)
        elif event == "eoi":
            interface.end(INTID)
        elif event == "dir":
            interface.deactivate(INTID)
        else:
            self.world.strobe(registers[event], INTID)

    @property
    def view(self) -> tuple[str, bool, bool]:
        """Return what can be seen from outside."""
        interface = self.pe.interface
        return self.world.get(INTID).state, interface.irq, interface.active_priorities[G1] != 0

    @property
    def inside(self) -> tuple[object, ...]:
        """Return the whole state of the model that later events can depend on."""
        interrupt, interface = self.world.get(INTID), self.pe.interface
        return (
            interrupt.latch,
            interrupt.line,
            interrupt.active,
            interrupt.enabled,
            len(interrupt.listed),
            len(interface.ready),
            interface.best is not None,
            interface.irq,
            interface.fiq,
            interface.running,
            tuple(interface.active_priorities),
        )


Joint = tuple[Oracle, tuple[object, ...]]


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("edge", [False, True])
def test_every_sequence_of_events_up_to_length_8(edge: bool, split: bool) -> None:
    start = Oracle(edge, split)
    rig = Rig(edge, split, ())
    assert rig.view == start.view
    first = (start, rig.inside)
    seen = {first}
    front: list[tuple[tuple[str, ...], Joint]] = [((), first)]
    successors: dict[Joint, list[Joint]] = {}
    for _ in range(LENGTH):
        following = []
        for path, here in front:
            successors[here] = []
            for event in EVENTS:
                rig = Rig(edge, split, path)
                rig.apply(event)
                wanted = here[0].after(event)
                assert rig.view == wanted.view, (*path, event)
                reached = (wanted, rig.inside)
                successors[here].append(reached)
                if reached not in seen:
                    seen.add(reached)
                    following.append(((*path, event), reached))
        front = following
    assert {oracle.state for oracle, _ in seen} == {"inactive", "pending", "active", "active and pending"}
    assert len({oracle for oracle, _ in seen}) == len(seen)  # the model remembers nothing that the oracle does not
    ways = {first: 1}
    for _ in range(LENGTH):
        further: dict[Joint, int] = {}
        for here, count in ways.items():
            for reached in successors[here]:
                further[reached] = further.get(reached, 0) + count
        ways = further
    assert sum(ways.values()) == len(EVENTS) ** LENGTH


def test_check_finds_a_planted_mistake() -> None:
    rig = Rig(False, False, ("high", "ack"))
    interrupt = rig.world.get(INTID)
    interrupt.active = False
    interrupt.update()
    assert rig.view != Oracle(False, False).after("high").after("ack").view
