"""Put the bottom halves on the smallest machine: timers on real local APICs in TSC-deadline mode, every cost zero unless given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from asyncirq.bottom_half.hrtimer import Hrtimers
from asyncirq.bottom_half.irq_work import IrqWorks
from asyncirq.bottom_half.napi import NapiCore
from asyncirq.bottom_half.sleep import Sleep
from asyncirq.bottom_half.softirq import BLOCK_SOFTIRQ, RCU_SOFTIRQ
from asyncirq.bottom_half.softnet import Softnet
from asyncirq.bottom_half.tasklet import Tasklets
from asyncirq.bottom_half.tick import Tick
from asyncirq.bottom_half.timer import Timers
from asyncirq.config import KernelConfig, preset
from asyncirq.entry import CALL_FUNCTION_SINGLE_VECTOR, IRQ_WORK_VECTOR
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task
from asyncirq.trace.record import Record, tag_of
from tests.small import Small

LVTT = 0x320
TSC_DEADLINE = 2 << 17
MS = 1_000_000
HZ1000 = preset("linux-6.12", hz=1000)
RT1000 = preset("linux-6.12", rt=True, hz=1000)
FULL1000 = preset("linux-6.12", preemption="full", hz=1000)


class Bench(Small):
    """The machine. ``threads``: with ksoftirqd and its like. ``tick``: with a tick on every CPU, from time 0."""

    def __init__(
        self, cpus: int = 1, kernel: KernelConfig = HZ1000, *, tick: bool = False, skew: bool = False, daemons: bool = True, **costs: Any
    ) -> None:
        super().__init__(cpus, kernel, **costs)
        self.log: list[tuple[int, str]] = []
        self._vector = 0x40
        self.programmed: list[tuple[int, int, int | None]] = []
        self.tasklets = Tasklets(self.softirq)
        self.timers = Timers(self.softirq)
        self.hrtimers = Hrtimers(self.softirq)
        self.hrtimers.program = self.program
        self.tick = Tick(self.timers, self.hrtimers, skew=skew)
        self.irq_works = IrqWorks(self.softirq)
        self.irq_works.raise_self = lambda cpu: self.ipi(cpu, cpu.id, IRQ_WORK_VECTOR)
        self.irq_works.send_call = lambda cpu, dest: self.ipi(cpu, dest, CALL_FUNCTION_SINGLE_VECTOR)
        self.irq_works.tick_stopped = self.tick.stopped
        self.tick.hooks.append(self.irq_works.irq_work_tick)
        self.tick.keepers.append(self.irq_works.irq_work_needs_cpu)
        self.sleep = Sleep(self.timers, self.hrtimers)
        self.softnet = Softnet(self.softirq)
        self.napi = NapiCore(self.softirq, self.softnet, self.sleep)
        self.softirq.open_softirq(BLOCK_SOFTIRQ, self.block)
        self.softirq.open_softirq(RCU_SOFTIRQ, self.rcu)
        self.entry.timer = self.hrtimers.hrtimer_interrupt
        self.entry.irq_work = self.irq_works.irq_work_run
        self.entry.call_function = self.irq_works.run_remote
        self.idle.enter = self.tick.idle_enter
        self.idle.leave = self.tick.idle_leave
        for cpu in self.cpus:
            cpu.lapic.write(LVTT, TSC_DEADLINE | self.config.vectors.local_timer)
            if daemons:
                self.threads.spawn(cpu)
                self.irq_works.spawn(self.threads.smpboot, cpu)
            if tick:
                self.tick.start(cpu)

    def program(self, cpu: Cpu, when: int | None) -> None:
        self.programmed.append((self.engine.now, cpu.id, when))
        cpu.lapic.timer.set_deadline(0 if when is None else max(when, 1))

    def at(self, when: int, fn: Callable[[], object]) -> None:
        """Call a function at an instant; what it returns does not matter."""

        def call() -> None:
            fn()

        super().at(when, call)

    def irq_at(self, when: int, fn: Callable[[Cpu], Awaitable[None]], cpu: int = 0) -> None:
        """Take a device interrupt at an instant, whose handler writes EOI and calls ``fn(cpu)``."""

        async def handler(here: Cpu) -> None:
            here.lapic.eoi(here)
            await fn(here)

        vector = self._vector = self._vector + 1
        self.handle(vector, handler, cpu)
        self.raise_at(when, vector, cpu)

    def play(self, until: int) -> None:
        """Run up to an instant and close the machine."""

        async def body() -> None:
            try:
                await self.run(until)
            finally:
                await self.close()

        asyncio.run(body())

    async def block(self, cpu: Cpu) -> None:
        self.note("block")

    async def rcu(self, cpu: Cpu) -> None:
        self.note("rcu")

    def note(self, text: str) -> None:
        self.log.append((self.engine.now, text))

    def events(self, *kinds: str, cpu: int | None = None) -> list[tuple[Any, ...]]:
        """Return (time, event, own fields...) of the records of these kinds."""
        found = []
        for record in self.records():
            kind = tag_of(type(record))
            if kind in kinds and (cpu is None or record.cpu == cpu):
                fields = record.__struct_fields__[len(Record.__struct_fields__) :]
                found.append((record.ts, kind, *(getattr(record, field) for field in fields)))
        return found

    def said(self) -> list[str]:
        """Return the kernel messages."""
        return [text for _, _, _, text in self.events("printk")]


async def burn(task: Task) -> None:
    """Keep a CPU busy for ever."""
    while True:
        await task.spend(10 * MS)
