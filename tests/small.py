"""Put together the smallest machine that takes an interrupt: CPUs, scheduler, softirqs and entry, without irq layer or devices.

For tests of those rooms and of the invariants; everything else uses ``asyncirq.Machine``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from asyncirq import invariants
from asyncirq.bottom_half.ksoftirqd import SoftirqThreads
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.config import KernelConfig, preset
from asyncirq.costs import Costs, cost_names
from asyncirq.entry import Entry
from asyncirq.hw.apic_bus import ApicBus
from asyncirq.hw.apic_message import ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.idt import Idt
from asyncirq.hw.lapic import Lapic
from asyncirq.locking import lockdep_cpu
from asyncirq.locking.lockdep import Lockdep
from asyncirq.sched.core import Sched
from asyncirq.sched.idle import Idle
from asyncirq.sched.task import Task, TaskFn
from asyncirq.sim import Driver, Engine
from asyncirq.trace.record import Record
from asyncirq.trace.recorder import Recorder
from asyncirq.trace.sinks import MemorySink

Handler = Callable[[Cpu], Awaitable[None]]
SPIV = 0xF0
APIC_ENABLED = 0x1FF


class FakeDesc:
    """Stand for an ``irq_desc``: its flow handler is the test's function."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.irq = 0
        self.name = "fake"
        self.core = SimpleNamespace(flow_trace=None)

    async def handle_irq(self, cpu: Cpu, desc: Any) -> None:
        await self.handler(cpu)


class Small:
    """The machine; ``costs`` are all zero unless given."""

    def __init__(self, cpus: int = 1, kernel: KernelConfig | None = None, *, entry: type[Entry] = Entry, **costs: int) -> None:
        self.engine = Engine()
        self.driver = Driver(self.engine)
        self.sink = MemorySink()
        self.trace = Recorder(self.engine, [self.sink], check=True)
        self.bus = ApicBus(trace=self.trace)
        self.cpus = []
        for n in range(cpus):
            lapic = Lapic(self.engine, n, self.trace, self.bus)
            lapic.write(SPIV, APIC_ENABLED)
            self.cpus.append(Cpu(self.engine, n, lapic, Idt(), self.trace))
        table = {name: 0 for name in cost_names()} | costs
        self.config = kernel if kernel is not None else preset("linux-6.12")
        self.sched = Sched(self.engine, self.cpus, self.config, Costs(**table), self.trace)
        self.lockdep = Lockdep(self.sched) if self.config.lockdep != "off" else None
        if self.lockdep is not None:
            lockdep_cpu.watch(self.lockdep)
        self.sched.send_reschedule = lambda cpu, dest: self.ipi(cpu, dest, 0xFD)
        self.sched.send_wakeup = lambda cpu, dest: self.ipi(cpu, dest, 0xFB)
        self.softirq = Softirq(self.sched)
        self.threads = SoftirqThreads(self.softirq)
        self.vector_irq: list[list[Any]] = [[None] * 256 for _ in self.cpus]
        self.entry = entry(self.softirq, self.vector_irq)
        self.idle = Idle(self.sched)
        for cpu in self.cpus:
            self.entry.install(cpu.idt)
            self.engine.resume(self.sched.new_idle(cpu, self.idle.cpu_idle).sim)
        self.accounts = invariants.watch(self.sched)

    def ipi(self, cpu: Cpu, dest: int, vector: int) -> None:
        cpu.lapic.send_ipi(dest, vector, cause=cpu.cause)

    def handle(self, vector: int, handler: Handler, cpu: int = 0) -> None:
        """Run ``handler(cpu)``, which must write EOI, for a device vector."""
        self.vector_irq[cpu][vector] = FakeDesc(handler)

    def raise_at(self, when: int, vector: int, cpu: int = 0) -> None:
        """Send a device vector to a CPU at an instant."""
        message = ApicMessage(vector, 0, False, cpu, False, 0)
        self.engine.timer(lambda: self.send(message), f"raise {vector:#x}").arm(when)

    def send(self, message: ApicMessage) -> None:
        self.bus.deliver(message)

    def start(self, fn: TaskFn, comm: str, **arguments: Any) -> Task:
        """Make a task that is ready from the start."""
        task = self.sched.new_task(fn, comm, **arguments)
        self.sched.start_now(task)
        return task

    def at(self, when: int, fn: Callable[[], None]) -> None:
        self.engine.timer(fn, "at").arm(when)

    async def run(self, until: int) -> None:
        await self.driver.run_until(until)

    def records(self) -> list[Record]:
        """Return what was recorded so far."""
        self.trace.flush()
        return list(self.sink.records)

    async def close(self) -> None:
        await self.driver.close()
