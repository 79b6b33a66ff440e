from __future__ import annotations

import pytest

from asyncirq.hw.apic_message import INIT, STARTUP, ApicMessage
from tests.hw.apics import World, message


@pytest.mark.parametrize(("cpu", "accepted", "vector"), [(0, False, -1), (1, True, 9)])
def test_only_application_processors_wait_for_sipi_after_power_up(cpu: int, accepted: bool, vector: int) -> None:
    lapic = World(2).lapics[cpu]
    assert lapic.accept(message(9, STARTUP)) is accepted
    assert lapic.startup.take() == (False, vector)


def test_init_forgets_the_sipi_that_came_before_it() -> None:
    lapic = World(2).lapics[1]
    lapic.accept(message(9, STARTUP))
    lapic.accept(message(0, INIT))
    assert lapic.startup.take() == (True, -1)


def test_init_de_assert_changes_nothing() -> None:
    lapic = World(2).lapics[1]
    lapic.accept(message(9, STARTUP))
    lapic.startup.take()
    assert not lapic.accept(ApicMessage(0, INIT, True, asserted=False))
    assert (lapic.startup.pending, lapic.startup.waits_for_sipi, lapic.enabled) == (False, False, True)
