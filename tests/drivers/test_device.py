from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from asyncirq import Machine, UsageError
from asyncirq.drivers import Device
from asyncirq.trace import event_text, tag_of


def recorded(device: Device, act: Callable[[Device], None]) -> list[str]:
    """Connect a device, act, and return what the hardware recorded at once."""

    async def run() -> list[str]:
        async with Machine() as m:
            device.connect(m)
            before = len(m.records)
            act(device)
            return [f"{tag_of(type(record))} {event_text(record)} <- {record.cause - before}" for record in m.records[before:]]

    return asyncio.run(run())


def twice(device: Device) -> None:
    device.drive(True, "a")
    device.drive(True, "b")
    device.drive(False, "")
    device.drive(False, "")
    device.drive(True, "c")


def test_held_wire_changes_with_the_output() -> None:
    found = [text.rsplit(" <-", 1)[0] for text in recorded(Device("disk", 20), twice)]
    assert found == [
        "device_raise device=disk source=a",
        "line_level line=gsi20 level=1",
        "line_level line=gsi20 level=0",
        "device_raise device=disk source=c",
        "line_level line=gsi20 level=1",
    ]


def test_pulsed_wire_goes_up_and_down_at_each_rise() -> None:
    found = [text.split(" ", 1)[0] + text.rsplit(" <-", 1)[0][-2:] for text in recorded(Device("disk", 20, edge=True), twice)]
    assert found == ["device_raise=a", "line_level=1", "line_level=0", "device_raise=c", "line_level=1", "line_level=0"]


def test_message_is_sent_at_each_rise() -> None:
    """Nobody has requested it, so the message is kept, and no record of a write is there."""
    found = recorded(Device("disk"), twice)
    assert [text.rsplit(" <-", 1)[0] for text in found] == ["device_raise device=disk source=a", "device_raise device=disk source=c"]


def test_wire_is_caused_by_the_decision_to_raise() -> None:
    assert recorded(Device("disk", 20), lambda device: device.drive(True, "a"))[1].endswith("<- 1")


@pytest.mark.parametrize(("gsi", "edge", "raises"), [(None, False, 2), (20, True, 2), (20, False, 1)])
def test_signal_repeats_where_nothing_is_held(gsi: int | None, edge: bool, raises: int) -> None:
    def act(device: Device) -> None:
        device.signal("a")
        device.signal("b")

    device = Device("disk", gsi, edge=edge)
    recorded(device, act)
    assert device.raises == raises


def test_two_devices_on_one_wire() -> None:
    async def run() -> None:
        async with Machine() as m:
            first, second = Device("a", 20), Device("b", 20)
            first.connect(m)
            second.connect(m)
            line, irq = m.line(20)
            assert first.irq == second.irq == irq
            first.drive(True, "x")
            second.drive(True, "x")
            first.drive(False, "")
            assert line.level
            second.drive(False, "")
            assert not line.level

    asyncio.run(run())


def test_device_is_in_one_machine_once() -> None:
    device = Device("disk", 20)
    assert not device.connected
    with pytest.raises(UsageError, match="disk is in no machine: connect it first"):
        print(device.irq)

    async def run() -> None:
        async with Machine() as m:
            device.connect(m)
            assert device.connected
            with pytest.raises(UsageError, match="disk is connected already"):
                device.connect(m)
            with pytest.raises(UsageError, match="pins 0 to 23, not 99"):
                Device("far", 99).connect(m)
            with pytest.raises(UsageError, match="gsi 20 is wired otherwise already"):
                Device("edgy", 20, edge=True).connect(m)

    asyncio.run(run())
