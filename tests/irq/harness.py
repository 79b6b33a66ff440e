"""Put the interrupt core on the smallest machine, with lines whose controller only records its calls.

A line's interrupt is taken through a real local APIC vector, which gets its EOI at once, so that the recording chip is
all that the flow handlers talk to. All costs are 0 unless given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, ClassVar

import pytest

from asyncirq.config import KernelConfig, preset
from asyncirq.entry import Entry
from asyncirq.hw.apic_message import ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_NONE, FlowHandler, Handler, IrqAction, IrqDesc, ThreadFn
from asyncirq.irq.ipi import Ipi
from asyncirq.irq.manage import IrqCore
from asyncirq.irq.sim_chip import IrqSim
from asyncirq.sched.task import TASK_UNINTERRUPTIBLE, Task, TaskFn
from asyncirq.trace.record import Record, tag_of
from tests.small import Small

STOCK = preset("linux-6.12")
THREADIRQS = preset("linux-6.12", threadirqs=True)
RT = preset("linux-6.12", rt=True)
FIRST_VECTOR = 0x60


def boot(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end in this instant, as boot does; it must not wait."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("boot waited")


class Rig(Small):
    """The machine; ``log`` is what handlers and tests noted, as ``(time_ns, text)``. ``close_rigs`` closes it after the test."""

    opened: ClassVar[list[Rig]] = []

    def __init__(
        self,
        cpus: int = 1,
        kernel: KernelConfig = STOCK,
        *,
        debug: bool = False,
        noirqdebug: bool = False,
        irqfixup: int = 0,
        **costs: int,
    ) -> None:
        super().__init__(cpus, kernel, entry=Entry, **costs)
        self.opened.append(self)
        self.core = IrqCore(self.sched, self.softirq, debug=debug, noirqdebug=noirqdebug, irqfixup=irqfixup)
        self.calls = Ipi(self.sched, self.ipi)
        self.entry.call_function = self.calls.flush_queue
        self.log: list[tuple[int, str]] = []
        self._vectors: dict[int, int] = {}

    # --- lines

    def line(self, flow: FlowHandler, chip: IrqSim | None = None) -> tuple[IrqDesc, IrqSim]:
        """Make a line with that flow handler on a recording chip."""
        chip = chip or IrqSim()
        desc = self.core.alloc_desc()
        self.core.set_chip_and_handler(desc.irq, chip, flow, flow.__name__.split("_")[1])
        vector = self._vectors[desc.irq] = FIRST_VECTOR + len(self._vectors)

        async def interrupt(cpu: Cpu) -> None:
            cpu.lapic.eoi(cpu)
            await desc.handle_irq(cpu, desc)

        for cpu in self.cpus:
            self.handle(vector, interrupt, cpu.id)
        return desc, chip

    def request(
        self,
        desc: IrqDesc,
        handler: Handler | None,
        thread_fn: ThreadFn | None = None,
        flags: int = 0,
        name: str = "lab",
        dev_id: object = None,
    ) -> None:
        """Request a line at boot and forget what the chip was asked for that."""
        boot(self.core.request_threaded_irq(None, desc.irq, handler, thread_fn, flags, name, dev_id))
        if isinstance(desc.chip, IrqSim):
            desc.chip.calls.clear()

    def handler(self, name: str = "handler", ret: int = IRQ_HANDLED, ns: int = 0) -> Handler:
        """Return a primary handler that notes its name and takes ``ns``."""

        async def handle(cpu: Cpu, irq: int, dev_id: object) -> int:
            self.note(f"{name} on {cpu.id}")
            if ns:
                await cpu.spend(ns)
            return ret

        return handle

    def thread_fn(self, name: str = "thread", ret: int = IRQ_HANDLED, ns: int = 0) -> ThreadFn:
        """Return a thread function that notes its name and takes ``ns``."""

        async def run(task: Task, irq: int, dev_id: object) -> int:
            self.note(f"{name} on {task.cpu.id}")
            if ns:
                await task.spend(ns)
                self.note(f"{name} ends")
            return ret

        return run

    def fire(self, irq: int, cpu: int = 0) -> None:
        """Interrupt a CPU for a line, now."""
        self.send(ApicMessage(self._vectors[irq], dest=cpu))

    def fire_at(self, when: int, irq: int, cpu: int = 0) -> None:
        """Interrupt a CPU for a line at an instant."""
        self.at(when, lambda: self.fire(irq, cpu))

    def send_wake(self, action: IrqAction) -> None:
        """Wake an action's thread from a hard interrupt, now."""

        async def body(cpu: Cpu) -> None:
            cpu.lapic.eoi(cpu)
            assert action.thread is not None
            await self.sched.wake_up_process(cpu, action.thread)

        self.handle(0x5E, body)
        self.send(ApicMessage(0x5E))

    # --- tasks

    def begin(self, fn: TaskFn, comm: str, cpu: int = 0) -> None:
        """Start a task on a CPU of a machine that has run already."""
        self.start(fn, comm, cpu=cpu)
        self.ipi(self.cpus[cpu], cpu, 0xFD)

    async def nap(self, task: Task, ns: int) -> None:
        """Sleep for a while; whoever wakes the task too early finds it asleep again."""
        end = self.engine.now + ns

        def wake() -> None:
            task.cpu.lapic.accept(ApicMessage(0x5F))

        async def body(cpu: Cpu) -> None:
            cpu.lapic.eoi(cpu)
            await self.sched.wake_up_process(cpu, task)

        self.handle(0x5F, body, task.cpu.id)
        self.at(end, wake)
        while self.engine.now < end:
            task.set_current_state(TASK_UNINTERRUPTIBLE)
            await task.schedule()

    # --- running and reading

    def note(self, text: str) -> None:
        """Write a line into the test's own log."""
        self.log.append((self.engine.now, text))

    def play(self, until: int = 1_000_000_000) -> None:
        """Run up to an instant."""
        asyncio.run(self.run(until))

    def events(self, *kinds: str) -> list[tuple[Any, ...]]:
        """Return (time, cpu, event, own fields...) of the records of these kinds."""
        found = []
        for record in self.records():
            kind = tag_of(type(record))
            if kind in kinds:
                own = record.__struct_fields__[len(Record.__struct_fields__) :]
                found.append((record.ts, record.cpu, kind, *(getattr(record, field) for field in own)))
        return found

    def said(self) -> list[str]:
        """Return the kernel messages."""
        return [event[-1] for event in self.events("printk")]


async def none_handler(cpu: Cpu, irq: int, dev_id: object) -> int:
    """Handle nothing."""
    return IRQ_NONE


@pytest.fixture(autouse=True)
def close_rigs() -> Iterator[None]:
    """Close every machine that a test has made; import this into the test's module."""
    yield
    while Rig.opened:
        asyncio.run(Rig.opened.pop().close())
