from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.hw.arch_timer import ENABLE, IMASK, ISTATUS, ArchTimer, SystemCounter
from asyncirq.sim.engine import Engine
from asyncirq.units import ms
from tests.hw.gic.gics import Processor, World, finish

TIMER = 27


class Clock:
    """A GIC with the timer of PE 0 on PPI 27; its handler masks the timer, as the kernel does."""

    def __init__(self, hz: int = 1_000_000_000) -> None:
        self.world = World(pes=1, spis=32)
        self.world.enable(TIMER)
        self.counter = SystemCounter(self.world.engine, hz)
        self.timer = ArchTimer(self.counter, "timer0", lambda level, cause: self.world.parts[0].set_ppi(TIMER, level, cause))
        self.pe = self.world.pes[0]
        self.pe.handler = self.handle
        self.tvals: list[int] = []

    def handle(self, pe: Processor, intid: int) -> None:
        """Mask the timer and end the interrupt."""
        self.tvals.append(self.timer.tval)
        self.timer.control = ENABLE | IMASK
        finish(pe, intid)

    @property
    def times(self) -> list[int]:
        """Return when interrupts were taken."""
        return [time for time, _ in self.pe.taken]


def test_GTIM_02_imask() -> None:
    clock = Clock()
    clock.timer.set_cval(0)
    clock.timer.control = ENABLE | IMASK
    clock.world.settle()
    assert clock.timer.control == ENABLE | IMASK | ISTATUS
    assert (clock.world.states(TIMER), clock.times) == (["inactive"], [])
    clock.timer.control = ENABLE
    clock.world.settle()
    assert clock.pe.intids == [TIMER]


@pytest.mark.parametrize("through_tval", [False, True])
@pytest.mark.parametrize(("hz", "late"), [(1_000_000_000, 0), (62_500_000, 0), (19_200_000, 0), (3, 323_333_334)])
def test_GTIM_03_never_early(hz: int, late: int, through_tval: bool) -> None:
    clock = Clock(hz)
    ahead = max(hz // 100, 1)
    if through_tval:
        clock.timer.tval = ahead
    else:
        clock.timer.set_cval(clock.counter.count + ahead)
    clock.timer.control = ENABLE
    clock.world.settle()
    assert clock.times == [ms(10) + late]
    assert clock.tvals == [0]


def test_GTIM_06_negative_tval_near_counter_0_wraps() -> None:
    clock = Clock()
    clock.timer.tval = -5
    clock.timer.control = ENABLE
    assert clock.timer.cval == (1 << 64) - 5
    clock.world.settle()
    assert (clock.times, clock.timer.control) == ([], ENABLE)


def test_GTIM_07_far_compare_value_does_not_fire_early() -> None:
    clock = Clock()
    clock.timer.set_cval((1 << 31) - 1 + 1000)
    clock.timer.control = ENABLE
    clock.world.advance((1 << 31) + 998)
    assert clock.times == []
    clock.world.settle()
    assert clock.times == [(1 << 31) + 999]


def test_GTIM_08_mask_then_unmask_fires_once() -> None:
    clock = Clock()
    wanted: list[int] = []
    for _ in range(10):
        clock.timer.control = ENABLE | IMASK
        clock.timer.set_cval(clock.counter.count + 100)
        clock.world.advance(clock.world.engine.now + 150)
        assert clock.times == wanted
        clock.timer.control = ENABLE
        clock.world.settle()
        wanted.append(clock.world.engine.now)
        assert clock.times == wanted


def test_GTIM_09_reprogramming() -> None:
    clock = Clock()
    clock.timer.program(1000)
    clock.timer.set_cval(300)
    clock.world.advance(2000)
    assert clock.times == [300]
    clock.timer.program(2500)
    clock.timer.set_cval(4000)
    clock.world.advance(3000)
    assert clock.times == [300]
    clock.world.settle()
    assert clock.times == [300, 4000]


def test_GTIM_10_counter_moved() -> None:
    clock = Clock()
    clock.timer.program(1000)
    clock.world.advance(400)
    clock.counter.set_count(5000)
    clock.world.settle()
    assert clock.times == [400]
    clock.timer.program(6000)
    clock.world.advance(1399)
    assert clock.timer.control == ENABLE
    clock.counter.set_count(100)
    clock.world.advance(1400)
    assert (clock.times, clock.timer.control) == ([400], ENABLE)
    clock.world.settle()
    assert clock.times == [400, 7299]


def test_counter_refuses_a_rate_that_no_ns_can_tell() -> None:
    for hz in (0, 1_000_000_001):
        with pytest.raises(UsageError, match=f"not {hz}"):
            SystemCounter(Engine(), hz)
