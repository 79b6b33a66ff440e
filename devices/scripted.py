"""Replay a script: interrupts at given instants, each with a hard handler of a given length.

The card hands the length of the next handlers out through a register; its registers take no time, so a handler is
exactly as long as the script says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncirq.drivers import Device, Driver, Platform
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_NONE, IRQF_NO_THREAD, IRQF_SHARED
from asyncirq.sched.task import Task
from devices.arrivals import At, arrive

PENDING: Final = 0x00
"""How many events wait for their handler."""
WORK: Final = 0x04
"""The ns of all events that wait; reading takes them and releases a held wire."""
ENABLE: Final = 0x08


class Scripted(Device):
    """The card. ``script`` holds ``(when_ns, handler_ns)`` in the order of time; it starts with ``connect``."""

    def __init__(self, name: str, script: Sequence[tuple[int, int]], gsi: int | None = None, *, edge: bool = False) -> None:
        super().__init__(name, gsi, edge=edge)
        for _, handler_ns in script:
            if handler_ns < 0:
                raise UsageError(f"{name}: a handler cannot take {handler_ns} ns")
        self._times = At([when for when, _ in script])
        self._lengths = iter([handler_ns for _, handler_ns in script])
        self.events = 0
        self._pending = self._work = self._enabled = 0
        self.regs.define(PENDING, "PENDING", lambda: self._pending)
        self.regs.define(WORK, "WORK", self._read_work)
        self.regs.define(ENABLE, "ENABLE", lambda: self._enabled, self._write_enable)

    def connect(self, m: Platform) -> None:
        """Put the card into a machine and start the script; instants that are past come at once."""
        super().connect(m)
        self.regs.set_costs(0, 0)
        m.spawn(arrive(m.engine, self.name, self._times, self._event), self.name)

    def _event(self) -> None:
        self.events += 1
        self._pending += 1
        self._work += next(self._lengths)
        if self._enabled:
            self.signal("event")

    def _read_work(self) -> int:
        value, self._work, self._pending = self._work, 0, 0
        self.drive(False, "")
        return value

    def _write_enable(self, value: int, cause: int) -> None:
        self._enabled = value & 1
        if not self._enabled:
            self.drive(False, "", cause)
        elif self._pending:
            self.signal("event", cause)


class ScriptedDriver(Driver[Scripted]):
    """The driver: a hard handler that lasts as long as the script says.

    ``no_thread`` keeps it a hard handler where the kernel forces handlers into threads. ``empty`` counts interrupts that
    found nothing to do.
    """

    def __init__(self, device: Scripted, *, no_thread: bool = False) -> None:
        super().__init__(device)
        self.no_thread = no_thread
        self.interrupts = self.empty = 0

    async def probe(self, task: Task | None) -> None:
        """Request the interrupt, then switch the card on."""
        card = self.device
        flags = (IRQF_SHARED if card.holds_line else 0) | (IRQF_NO_THREAD if self.no_thread else 0)
        await self.m.irq.request_irq(task, card.irq, self._interrupt, flags, card.name, self)
        await card.regs.write(task, ENABLE, 1)

    async def remove(self, task: Task) -> None:
        """Switch the card off and let go of the interrupt."""
        await self.device.regs.write(task, ENABLE, 0)
        await self.m.irq.free_irq(task, self.device.irq, self)

    async def _interrupt(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        window = self.device.regs
        if not await window.read(cpu, PENDING):
            self.empty += 1
            return IRQ_NONE
        self.interrupts += 1
        work = await window.read(cpu, WORK)
        if work:
            await cpu.spend(work)
        return IRQ_HANDLED

    def counters(self) -> dict[str, int]:
        """Return what was counted; ``events`` is how far the card has come in its script."""
        return {"events": self.device.events, "interrupts": self.interrupts, "empty": self.empty}
