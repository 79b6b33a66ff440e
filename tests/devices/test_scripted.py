from __future__ import annotations

import pytest

from asyncirq import Machine, Task, UsageError, preset
from devices import Scripted, ScriptedDriver
from tests.devices.harness import BOOT, make, play, texts, times

SCRIPT = [(BOOT, 700), (BOOT + 5_000, 0), (BOOT + 9_000, 300)]


@pytest.mark.parametrize(("gsi", "edge"), [(None, False), (16, False), (16, True)])
def test_handlers_last_as_long_as_the_script_says(gsi: int | None, edge: bool) -> None:
    driver = ScriptedDriver(Scripted("probe", SCRIPT, gsi, edge=edge))

    async def body(m: Machine) -> None:
        await driver.bind(m)
        await m.run_for(2 * BOOT)

    m = play(make({"device_read_ns": 800, "device_write_ns": 30}), body)
    assert [text for text in texts(m) if "handler" in text] == [
        "0 irq_handler_entry: irq=16 name=probe",
        "700 irq_handler_exit: irq=16 ret=handled",
        "5000 irq_handler_entry: irq=16 name=probe",
        "5000 irq_handler_exit: irq=16 ret=handled",
        "9000 irq_handler_entry: irq=16 name=probe",
        "9300 irq_handler_exit: irq=16 ret=handled",
    ]
    assert driver.counters() == {"events": 3, "interrupts": 3, "empty": 0}


@pytest.mark.parametrize("no_thread", [False, True])
def test_forced_threads_take_the_handler_unless_told_not_to(no_thread: bool) -> None:
    driver = ScriptedDriver(Scripted("probe", SCRIPT), no_thread=no_thread)

    async def body(m: Machine) -> None:
        await driver.bind(m)
        await m.run_for(2 * BOOT)

    m = play(make(kernel=preset("linux-6.12", rt=True)), body)
    assert len(times(m, "irq_thread_entry")) == (0 if no_thread else 3)
    assert driver.interrupts == 3


def test_events_during_a_handler_are_done_in_the_next_one() -> None:
    """On a held wire the two of 100 and 200 become one handler of 30 ns; the first lasts until 700."""
    driver = ScriptedDriver(Scripted("probe", [(BOOT, 700), (BOOT + 100, 10), (BOOT + 200, 20)], 16))

    async def body(m: Machine) -> None:
        await driver.bind(m)
        await m.run_for(2 * BOOT)

    m = play(make(), body)
    assert [when - BOOT for when in times(m, "irq_handler_entry")] == [0, 700]
    assert [when - BOOT for when in times(m, "irq_handler_exit")] == [700, 730]


def test_events_before_the_driver_are_kept() -> None:
    driver = ScriptedDriver(Scripted("probe", [(100, 50), (BOOT + 50_000, 60)], 16))

    async def thread(task: Task) -> None:
        await driver.bind(driver.device.platform, task)
        await task.spend(10_000)
        await driver.unbind(task)

    async def body(m: Machine) -> None:
        driver.device.connect(m)
        await m.run_for(BOOT)
        m.start_thread(thread, "modprobe")
        await m.run_for(BOOT)

    m = play(make(), body)
    assert [when - BOOT for when in times(m, "irq_handler_entry")] == [0]
    assert driver.counters() == {"events": 2, "interrupts": 1, "empty": 0}


def test_bad_scripts_are_refused() -> None:
    with pytest.raises(UsageError, match="probe: a handler cannot take -1 ns"):
        Scripted("probe", [(0, -1)])
    with pytest.raises(UsageError, match="arrival times must not fall"):
        Scripted("probe", [(5, 0), (4, 0)])
