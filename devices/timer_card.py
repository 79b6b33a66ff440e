"""Model a card that does nothing but interrupt, periodically or at random, and its driver.

The driver's hard handler reads the number of ticks since it last did, which also releases a held wire, and leaves the
rest to a bottom half of choice. Nothing is measured here: latencies are in the trace.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.bottom_half.work import Work
from asyncirq.drivers import Device, Driver
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_NONE, IRQ_WAKE_THREAD, IRQF_ONESHOT, IRQF_SHARED
from asyncirq.sched.task import Task
from devices.arrivals import Arrivals, arrive

TICKS: Final = 0x00
"""Ticks since the last read, which releases a held wire."""
ENABLE: Final = 0x04

BottomHalf = Literal["none", "tasklet", "hi-tasklet", "workqueue", "highpri-workqueue", "irq-thread"]


class TimerCard(Device):
    """The card: ``start(arrivals)`` makes it tick. ``ticks`` counts those since power-on, ``edge`` pulses a wire."""

    def __init__(self, name: str = "timer0", gsi: int | None = None, *, edge: bool = False) -> None:
        super().__init__(name, gsi, edge=edge)
        self.ticks = 0
        self._unread = 0
        self._enabled = 0
        self.regs.define(TICKS, "TICKS", self._read_ticks)
        self.regs.define(ENABLE, "ENABLE", lambda: self._enabled, self._write_enable)

    def start(self, arrivals: Arrivals) -> None:
        """Tick at each arrival from now on."""
        m = self.platform
        m.spawn(arrive(m.engine, self.name, arrivals, self.tick), self.name)

    def tick(self) -> None:
        """Tick once, and interrupt if enabled."""
        self.ticks += 1
        self._unread += 1
        if self._enabled:
            self.signal("tick")

    def _read_ticks(self) -> int:
        value, self._unread = self._unread, 0
        self.drive(False, "")
        return value

    def _write_enable(self, value: int, cause: int) -> None:
        self._enabled = value & 1
        if not self._enabled:
            self.drive(False, "", cause)
        elif self._unread:
            self.signal("tick", cause)


class TimerCardDriver(Driver[TimerCard]):
    """The driver of one card.

    The hard handler takes ``handler_ns`` beyond its register read, the bottom half ``work_ns``. ``interrupts`` counts
    those that found a tick, ``empty`` those that found none, ``runs`` the runs of the bottom half.
    """

    def __init__(self, device: TimerCard, bottom_half: BottomHalf = "none", *, handler_ns: int = 0, work_ns: int = 0) -> None:
        super().__init__(device)
        if bottom_half not in get_args(BottomHalf):
            raise UsageError(f"{device.name}: no bottom half is called {bottom_half!r}; there are {', '.join(get_args(BottomHalf))}")
        for key, value in (("handler_ns", handler_ns), ("work_ns", work_ns)):
            if value < 0:
                raise UsageError(f"{device.name}: {key} cannot be {value}")
        self.bottom_half = bottom_half
        self.handler_ns = handler_ns
        self.work_ns = work_ns
        self.interrupts = self.empty = self.runs = 0
        self._tasklet = Tasklet(self._timer_card_tasklet, device.name)
        self._work = Work(self._timer_card_work, device.name)

    async def probe(self, task: Task | None) -> None:
        """Request the interrupt, then switch the card on."""
        m, card = self.m, self.device
        if self.bottom_half == "irq-thread":
            await m.irq.request_threaded_irq(task, card.irq, self._interrupt, self._thread, IRQF_ONESHOT, card.name, self)
        else:
            flags = IRQF_SHARED if card.holds_line else 0
            await m.irq.request_irq(task, card.irq, self._interrupt, flags, card.name, self)
        await card.regs.write(task, ENABLE, 1)

    async def remove(self, task: Task) -> None:
        """Switch the card off and wait for what still runs."""
        m = self.m
        await self.device.regs.write(task, ENABLE, 0)
        await m.irq.free_irq(task, self.device.irq, self)
        await m.tasklets.tasklet_kill(task, self._tasklet)
        await m.workqueues.cancel_work_sync(task, self._work)

    async def _interrupt(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        m = self.m
        if not await self.device.regs.read(cpu, TICKS):
            self.empty += 1
            return IRQ_NONE
        self.interrupts += 1
        if self.handler_ns:
            await cpu.spend(self.handler_ns)
        match self.bottom_half:
            case "irq-thread":
                return IRQ_WAKE_THREAD
            case "tasklet":
                await m.tasklets.tasklet_schedule(cpu, self._tasklet)
            case "hi-tasklet":
                await m.tasklets.tasklet_hi_schedule(cpu, self._tasklet)
            case "workqueue":
                await m.workqueues.queue_work(cpu, m.workqueues.system_wq, self._work)
            case "highpri-workqueue":
                await m.workqueues.queue_work(cpu, m.workqueues.system_highpri_wq, self._work)
        return IRQ_HANDLED

    async def _timer_card_tasklet(self, cpu: Cpu, tasklet: Tasklet) -> None:
        self.runs += 1
        if self.work_ns:
            await cpu.spend(self.work_ns)

    async def _timer_card_work(self, task: Task, work: Work) -> None:
        await self._bottom_half(task)

    async def _thread(self, task: Task, irq: int, dev_id: object) -> int:
        await self._bottom_half(task)
        return IRQ_HANDLED

    async def _bottom_half(self, task: Task) -> None:
        self.runs += 1
        if self.work_ns:
            await task.spend(self.work_ns)

    def counters(self) -> dict[str, int]:
        """Return what was counted; ``ticks`` is the card's own count since power-on."""
        return {"ticks": self.device.ticks, "interrupts": self.interrupts, "empty": self.empty, "runs": self.runs}
