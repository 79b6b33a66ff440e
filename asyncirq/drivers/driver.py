"""Define the base of every driver half: bound to one device, probed, removed.

Linux: drivers/base/dd.c. Model: no buses and no matching by id: a driver is made for its device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from asyncirq.drivers.device import Device, Platform
from asyncirq.errors import UsageError
from asyncirq.sched.task import Task

D = TypeVar("D", bound=Device)


class Driver(ABC, Generic[D]):
    """The driver half of one device: a subclass says how it probes, how it lets go, and what it counts."""

    def __init__(self, device: D) -> None:
        self.device = device

    @property
    def m(self) -> Platform:
        """Return the machine that the device is in."""
        return self.device.platform

    async def bind(self, m: Platform, task: Task | None = None) -> None:
        """Connect the device if nobody has, and probe it: from a task, or at boot (None), where no time passes.

        Raises ``UsageError`` EBUSY for a device that has a driver, and whatever the probe raises; the device is free then.
        """
        device = self.device
        if device.driver is not None:
            raise UsageError(f"{device.name} has a driver already", 16)
        if not device.connected:
            device.connect(m)
        elif device.platform is not m:
            raise UsageError(f"{device.name} is in another machine", 16)
        device.driver = self
        try:
            await self.probe(task)
        except UsageError:
            device.driver = None
            raise

    async def unbind(self, task: Task) -> None:
        """Let go of the device, from a task. Raises ``UsageError`` ENODEV if it is not bound."""
        if self.device.driver is not self:
            raise UsageError(f"{self.device.name} is not bound to this driver", 19)
        await self.remove(task)
        self.device.driver = None

    @abstractmethod
    async def probe(self, task: Task | None) -> None:
        """Make the device work: registers, rings, interrupt. Raises ``UsageError`` with everything undone."""

    @abstractmethod
    async def remove(self, task: Task) -> None:
        """Silence the device and give everything back, in the opposite order."""

    @abstractmethod
    def counters(self) -> dict[str, int]:
        """Return what was counted since the probe, by name."""
