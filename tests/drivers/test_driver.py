from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from asyncirq import Machine, Task, UsageError
from asyncirq.drivers import Device, Driver


class Recording(Driver[Device]):
    """A driver that notes what it is asked for; ``refuses`` makes its probe fail."""

    def __init__(self, device: Device, *, refuses: bool = False) -> None:
        super().__init__(device)
        self.refuses = refuses
        self.log: list[str] = []

    async def probe(self, task: Task | None) -> None:
        self.log.append(f"probe {task.comm if task else 'boot'}")
        if self.refuses:
            raise UsageError("no such chip", 19)

    async def remove(self, task: Task) -> None:
        self.log.append(f"remove {task.comm}")

    def counters(self) -> dict[str, int]:
        return {"calls": len(self.log)}


def with_machine(body: Callable[[Machine], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Machine() as m:
            await body(m)

    asyncio.run(run())


def test_bind_connects_and_probes() -> None:
    driver = Recording(Device("disk"))

    async def body(m: Machine) -> None:
        await driver.bind(m)
        assert driver.device.driver is driver
        assert driver.m is m

    with_machine(body)
    assert driver.log == ["probe boot"]


def test_a_device_has_one_driver() -> None:
    device = Device("disk")
    first, second = Recording(device), Recording(device)

    async def body(m: Machine) -> None:
        await first.bind(m)
        with pytest.raises(UsageError, match=r"disk has a driver already \(-EBUSY\)"):
            await second.bind(m)

    with_machine(body)
    assert second.log == []


def test_failed_probe_leaves_the_device_free() -> None:
    device = Device("disk")
    bad, good = Recording(device, refuses=True), Recording(device)

    async def body(m: Machine) -> None:
        with pytest.raises(UsageError, match="no such chip"):
            await bad.bind(m)
        assert device.driver is None
        await good.bind(m)

    with_machine(body)
    assert good.log == ["probe boot"]


def test_unbind_and_bind_from_a_task() -> None:
    driver = Recording(Device("disk"))
    errors: list[str] = []

    async def thread(task: Task) -> None:
        await driver.unbind(task)
        try:
            await driver.unbind(task)
        except UsageError as error:
            errors.append(str(error))
        await driver.bind(driver.device.platform, task)

    async def body(m: Machine) -> None:
        await driver.bind(m)
        m.start_thread(thread, "rmmod")
        await m.run_for(1_000_000)

    with_machine(body)
    assert driver.log == ["probe boot", "remove rmmod", "probe rmmod"]
    assert errors == ["disk is not bound to this driver (-ENODEV)"]


def test_device_of_another_machine_is_refused() -> None:
    driver = Recording(Device("disk"))

    async def body(m: Machine) -> None:
        async with Machine() as other:
            driver.device.connect(other)
            with pytest.raises(UsageError, match="disk is in another machine"):
                await driver.bind(m)

    with_machine(body)
