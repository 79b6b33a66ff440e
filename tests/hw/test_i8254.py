"""Hold the interval timer: its modes, what it counts, what is read from it."""

from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.hw.i8254 import CONTROL_PORT, I8254
from asyncirq.sim.engine import FOREVER, Engine

TEN_NS = (10, 1)


class Pit:
    """A timer of 10 ns a clock, counter 0 of which is watched; ``edges`` are (time, level)."""

    def __init__(self, clock: tuple[int, int] = TEN_NS) -> None:
        self.engine = Engine()
        self.chip = I8254(self.engine, clock)
        self.edges: list[tuple[int, bool]] = []
        self.chip.counters[0].on_output = lambda high: self.edges.append((self.engine.now, high))

    def program(self, control: int, count: int) -> None:
        self.chip.write(CONTROL_PORT, control)
        self.edges.clear()
        self.chip.write(0, count & 0xFF)
        self.chip.write(0, count >> 8)

    def until(self, ns: int) -> list[tuple[int, bool]]:
        """Run, and return the edges seen so far."""
        self.engine.timer(lambda: None, "until").arm(ns)
        while self.engine.now < ns:
            self.engine.run_slice(ns, 1_000_000)
        return self.edges


@pytest.mark.parametrize(
    ("control", "edges"),
    [
        (0x30, [(1000, True)]),
        (0x34, [(990, False), (1000, True), (1990, False), (2000, True)]),
        (0x3C, [(990, False), (1000, True), (1990, False), (2000, True)]),
        (0x36, [(500, False), (1000, True), (1500, False), (2000, True)]),
        (0x38, [(1000, False), (1010, True)]),
    ],
)
def test_edges_of_each_mode(control: int, edges: list[tuple[int, bool]]) -> None:
    pit = Pit()
    pit.program(control, 100)
    assert pit.until(2400) == edges


@pytest.mark.parametrize("mode", [1, 5])
def test_a_mode_that_waits_for_its_gate_never_counts(mode: int) -> None:
    pit = Pit()
    pit.program(0x30 | mode << 1, 100)
    assert pit.until(5000) == []


def test_an_odd_square_wave_is_longer_high_than_low() -> None:
    pit = Pit()
    pit.program(0x36, 5)
    assert pit.until(100) == [(30, False), (50, True), (80, False), (100, True)]


def test_zero_is_the_longest_count_and_a_new_count_starts_over() -> None:
    pit = Pit()
    pit.program(0x30, 0)
    assert pit.until(100_000) == []
    pit.chip.write(0, 50)
    pit.chip.write(0, 0)
    assert pit.until(200_000) == [(100_500, True)]
    assert pit.chip.counters[0].period == 50


def test_rounding_never_adds_up() -> None:
    pit = Pit((1_000_000_000, 1_193_182))
    pit.program(0x34, 11_932)
    pit.until(1_000_000_000)
    rises = [when for when, high in pit.edges if high]
    assert (len(rises), rises[0], rises[98]) == (99, 10_000_151, 990_014_935)


def test_the_count_is_read_latched_and_running() -> None:
    pit = Pit()
    pit.program(0x34, 0x1234)
    pit.until(10 * 0x34)
    assert (pit.chip.read(0), pit.chip.read(0)) == (0x00, 0x12)
    pit.chip.write(CONTROL_PORT, 0x00)
    pit.until(10 * 0x134)
    pit.chip.write(CONTROL_PORT, 0x00)
    # The first latch holds until it is read.
    assert (pit.chip.read(0), pit.chip.read(0)) == (0x00, 0x12)
    assert (pit.chip.read(0), pit.chip.read(0)) == (0x00, 0x11)
    assert pit.chip.read(CONTROL_PORT) == 0


@pytest.mark.parametrize(("control", "byte", "count"), [(0x10, 0x12, 0x12), (0x20, 0x12, 0x1200)])
def test_one_byte_counts(control: int, byte: int, count: int) -> None:
    pit = Pit()
    pit.chip.write(CONTROL_PORT, control)
    pit.chip.write(0, byte)
    assert (pit.chip.counters[0].count, pit.chip.read(0)) == (count, byte)


def test_read_back_gives_status_then_count() -> None:
    pit = Pit()
    pit.chip.write(CONTROL_PORT, 0x36)
    pit.chip.write(CONTROL_PORT, 0xE2)
    assert pit.chip.read(0) == 0x80 | 0x40 | 0x30 | 0x06
    pit.program(0x36, 100)
    pit.chip.write(CONTROL_PORT, 0xC2)
    assert [pit.chip.read(0) for _ in range(3)] == [0x80 | 0x30 | 0x06, 100, 0]


def test_clocks_cover_a_time() -> None:
    chip = I8254(Engine())
    assert [chip.clocks(ns) for ns in (0, 1, 838, 839, 1_000_000, FOREVER)] == [1, 1, 1, 2, 1194, 0x10000]
    with pytest.raises(UsageError, match="two positive integers"):
        I8254(Engine(), (0, 1))
