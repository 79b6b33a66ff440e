from __future__ import annotations

import pytest

from asyncirq import Machine, Task, UsageError
from devices import At, Exponential, Periodic, TimerCard, TimerCardDriver
from devices.timer_card import BottomHalf
from tests.conftest import HostRun
from tests.devices.harness import BOOT, US, make, play, texts, times

COSTS = {"device_read_ns": 800, "irq_entry_ns": 200}


def card(
    bottom_half: BottomHalf = "none", gsi: int | None = None, *, edge: bool = False, handler_ns: int = 100, work_ns: int = 5_000
) -> TimerCardDriver:
    return TimerCardDriver(TimerCard("adc", gsi, edge=edge), bottom_half, handler_ns=handler_ns, work_ns=work_ns)


def run(driver: TimerCardDriver, *at: int) -> Machine:
    async def body(m: Machine) -> None:
        await driver.bind(m)
        driver.device.start(At([BOOT + when for when in at]))
        await m.run_for(2 * BOOT)

    return play(make(COSTS), body)


@pytest.mark.parametrize(
    ("bottom_half", "events", "expected"),
    [
        ("none", ["irq_handler"], ["200 irq_handler_entry: irq=16 name=adc", "1100 irq_handler_exit: irq=16 ret=handled"]),
        (
            "tasklet",
            ["softirq_raise", "tasklet"],
            [
                "1100 softirq_raise: vec=6 [action=TASKLET]",
                "1100 tasklet_entry: tasklet=adc function=timer_card_tasklet",
                "6100 tasklet_exit: tasklet=adc function=timer_card_tasklet",
            ],
        ),
        (
            "hi-tasklet",
            ["softirq_raise", "tasklet"],
            [
                "1100 softirq_raise: vec=0 [action=HI]",
                "1100 tasklet_entry: tasklet=adc function=timer_card_tasklet",
                "6100 tasklet_exit: tasklet=adc function=timer_card_tasklet",
            ],
        ),
        (
            "workqueue",
            ["queue_work", "execute"],
            [
                "1100 workqueue_queue_work: work struct=adc function=timer_card_work workqueue=events req_cpu=8192 cpu=0",
                "1100 workqueue_execute_start: work struct adc: function timer_card_work",
                "6100 workqueue_execute_end: work struct adc: function timer_card_work",
            ],
        ),
        (
            "highpri-workqueue",
            ["queue_work", "execute"],
            [
                "1100 workqueue_queue_work: work struct=adc function=timer_card_work workqueue=events_highpri req_cpu=8192 cpu=0",
                "1100 workqueue_execute_start: work struct adc: function timer_card_work",
                "6100 workqueue_execute_end: work struct adc: function timer_card_work",
            ],
        ),
        (
            "irq-thread",
            ["irq_handler", "irq_thread"],
            [
                "200 irq_handler_entry: irq=16 name=adc",
                "1100 irq_handler_exit: irq=16 ret=handled",
                "1100 irq_thread_entry: irq=16 name=adc",
                "6100 irq_thread_exit: irq=16 name=adc",
            ],
        ),
    ],
)
def test_one_tick(bottom_half: BottomHalf, events: list[str], expected: list[str]) -> None:
    driver = card(bottom_half)
    m = run(driver, 0)
    assert [text for text in texts(m) if any(f" {event}" in text or f"_{event}" in text for event in events)] == expected
    assert driver.counters() == {"ticks": 1, "interrupts": 1, "empty": 0, "runs": 0 if bottom_half == "none" else 1}


def test_held_wire_stays_until_the_ticks_are_read() -> None:
    driver = card(gsi=16, handler_ns=0)
    m = run(driver, 0, 100)
    assert [text for text in texts(m) if "line_level" in text or "device_raise" in text] == [
        "0 device_raise: device=adc source=tick",
        "0 line_level: line=gsi16 level=1",
        "1000 line_level: line=gsi16 level=0",
    ]
    assert (driver.interrupts, driver.device.ticks, driver.device.raises) == (1, 2, 1)


@pytest.mark.parametrize("gsi", [None, 16])
def test_ticks_without_a_held_wire_interrupt_each_and_may_find_nothing(gsi: int | None) -> None:
    """The second tick is read with the first one; its interrupt comes all the same."""
    driver = card(gsi=gsi, edge=True, handler_ns=0)
    m = run(driver, 0, 100)
    assert [when - BOOT for when in times(m, "device_raise")] == [0, 100]
    assert (driver.interrupts, driver.empty) == (1, 1)


def test_switched_off_card_ticks_in_silence() -> None:
    driver = card(gsi=16)

    async def thread(task: Task) -> None:
        await driver.unbind(task)
        driver.device.tick()
        await driver.bind(driver.device.platform, task)

    async def body(m: Machine) -> None:
        await driver.bind(m)
        await m.run_for(BOOT)
        m.start_thread(thread, "modprobe")
        await m.run_for(BOOT)

    play(make(), body)
    # The tick of the silent time is delivered when the card is switched on again.
    assert (driver.interrupts, driver.device.ticks) == (1, 1)


def test_periodic_and_random_ticks(host_run: HostRun) -> None:
    async def simulate(executor: str) -> tuple[str, int, int]:
        async with Machine(cpus=2, seed=4, executor=executor) as m:  # type: ignore[arg-type]
            first, second = card("tasklet"), TimerCardDriver(TimerCard("pit", 17, edge=True), "irq-thread", work_ns=3_000)
            for driver in (first, second):
                await driver.bind(m)
            first.device.start(Periodic(50 * US, start_ns=BOOT, count=10))
            second.device.start(Exponential(40 * US, start_ns=BOOT))
            await m.run_for(2 * BOOT)
            return m.digest, first.runs, second.device.ticks

    native = host_run(simulate, "native")
    assert native == host_run(simulate, "anyio")
    assert native[1] == 10
    assert native[2] > 10


def test_bad_options_are_refused() -> None:
    with pytest.raises(UsageError, match="adc: no bottom half is called 'x'"):
        TimerCardDriver(TimerCard("adc"), "x")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="adc: work_ns cannot be -1"):
        TimerCardDriver(TimerCard("adc"), work_ns=-1)
