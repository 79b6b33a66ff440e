"""Request interrupts that belong to a device and are released with it, last one first.

Linux: kernel/irq/devres.c, drivers/base/devres.c.
"""

from __future__ import annotations

from asyncirq.errors import UsageError
from asyncirq.irq.desc import Handler, IrqAction, ThreadFn
from asyncirq.irq.manage import AnyHandler, IrqCore
from asyncirq.sched.task import Task


class DeviceIrqs:
    """The interrupts of one device, ``name`` in messages."""

    def __init__(self, core: IrqCore, name: str) -> None:
        self.core = core
        self.name = name
        self._held: list[tuple[int, object]] = []

    async def request_irq(
        self, task: Task | None, irq: int, handler: Handler, flags: int = 0, name: str = "", dev_id: object = None
    ) -> IrqAction:
        """Install a handler until the device is released; its name is the device's unless told. Linux: devm_request_irq()."""
        return await self.request_threaded_irq(task, irq, handler, None, flags, name, dev_id)

    async def request_threaded_irq(
        self,
        task: Task | None,
        irq: int,
        handler: Handler | None,
        thread_fn: ThreadFn | None,
        flags: int = 0,
        name: str = "",
        dev_id: object = None,
    ) -> IrqAction:
        """Install a handler and a thread function until the device is released. Linux: devm_request_threaded_irq()."""
        action = await self.core.request_threaded_irq(task, irq, handler, thread_fn, flags, name or self.name, dev_id)
        self._held.append((irq, dev_id))
        return action

    async def request_any_context_irq(
        self, task: Task | None, irq: int, handler: AnyHandler, flags: int = 0, name: str = "", dev_id: object = None
    ) -> int:
        """Install a handler for whatever context the line has until the device is released."""
        context = await self.core.request_any_context_irq(task, irq, handler, flags, name or self.name, dev_id)
        self._held.append((irq, dev_id))
        return context

    async def free_irq(self, task: Task | None, irq: int, dev_id: object = None) -> None:
        """Release one interrupt early. Raises ``UsageError`` ENOENT for one that the device does not hold. Linux: devm_free_irq()."""
        for place in reversed(range(len(self._held))):
            if self._held[place][0] == irq and self._held[place][1] is dev_id:
                del self._held[place]
                await self.core.free_irq(task, irq, dev_id)
                return
        raise UsageError(f"{self.name} does not hold irq {irq}", 2)

    async def release_all(self, task: Task | None) -> None:
        """Release every interrupt that is left, the last one first. Linux: devres_release_all()."""
        while self._held:
            irq, dev_id = self._held.pop()
            await self.core.free_irq(task, irq, dev_id)
