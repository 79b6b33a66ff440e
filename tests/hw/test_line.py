from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.hw.line import Line
from asyncirq.sim.engine import Engine
from asyncirq.trace.events_hw import LineLevel
from asyncirq.trace.recorder import Recorder
from asyncirq.trace.sinks import MemorySink


def heard(line: Line) -> list[tuple[bool, int]]:
    changes: list[tuple[bool, int]] = []
    line.listen(lambda level, cause: changes.append((level, cause)))
    return changes


def test_listeners_hear_changes_and_nothing_else() -> None:
    line = Line("irq")
    changes = heard(line)
    line.set(True, 5)
    line.set(True, 6)
    line.set(False, 7)
    line.set(False, 8)
    assert changes == [(True, 5), (False, 7)]


def test_pulse_is_two_changes() -> None:
    line = Line("irq", idle=True)
    changes = heard(line)
    line.pulse(3)
    assert changes == [(False, 3), (True, 3)]


def test_wired_or_of_an_active_high_wire() -> None:
    line = Line("irq")
    other = line.add_driver()
    changes = heard(line)
    line.set(True, 1)
    line.set(True, 2, other)
    line.set(False, 3)
    assert line.level
    line.set(False, 4, other)
    assert changes == [(True, 1), (False, 4)]


def test_wired_or_of_a_wire_with_a_pull_up() -> None:
    line = Line("INTA#", idle=True)
    other = line.add_driver()
    changes = heard(line)
    line.set(False, 1)
    line.set(False, 2, other)
    line.set(True, 3)
    assert not line.level
    line.set(True, 4, other)
    assert changes == [(False, 1), (True, 4)]


def test_cause_is_the_oldest_request_that_is_still_there() -> None:
    line = Line("irq")
    other = line.add_driver()
    line.set(True, 4)
    line.set(True, 9, other)
    line.set(True, 11)
    assert line.cause == 4
    line.set(False, 12)
    assert line.cause == 9
    line.set(False, 13, other)
    assert line.cause == 0


def test_unknown_driver_is_refused() -> None:
    with pytest.raises(UsageError, match="line irq has no driver 1"):
        Line("irq").set(True, driver=1)


def test_trace_links_the_listener_to_the_level() -> None:
    sink = MemorySink()
    engine = Engine()
    recorder = Recorder(engine, (sink,))
    line = Line("irq", recorder)
    changes = heard(line)
    engine.now = 70
    line.set(True, recorder.device_raise(0, "uart", "rx"))
    recorder.flush()
    assert changes == [(True, 2)]
    assert sink.records[1] == LineLevel(2, 1, 70, -1, -1, 0, 0, "irq", True)
