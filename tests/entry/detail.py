"""Put together a small machine whose entry code shows every step, and read the steps as short lines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asyncirq.config import KernelConfig, preset
from asyncirq.entry.detailed import Detailed, Detailed32
from asyncirq.entry.path import CpuPath
from asyncirq.entry.stacks import CpuStacks
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.exception import raise_exception, registers
from asyncirq.hw.idt import Gate
from asyncirq.hw.system_regs import Raised
from asyncirq.sched.task import Task
from tests.softirq_rig import Rig

OLD = {"entry_code": "do_irq"}


class Detail(Rig):
    """The machine. ``entry`` is its entry code."""

    entry: Detailed

    def __init__(self, cpus: int = 1, kernel: KernelConfig | None = None, **costs: int) -> None:
        config = kernel if kernel is not None else preset("linux-6.12", preemption="full")
        super().__init__(cpus, config, daemons=True, entry=Detailed if config.bits == 64 else Detailed32, **costs)
        self.entry.watch_idle(self.idle)
        self.stacks = self.entry.stacks
        self.path = self.entry.path
        for state in self.path.cpus:
            state.watching = False  # They halt already.

    def state(self, cpu: int = 0) -> CpuPath:
        """Return where a CPU is on its way in or out."""
        return self.path.cpus[cpu]

    def mine(self, cpu: int = 0) -> CpuStacks:
        """Return a CPU's stacks."""
        return self.stacks.cpus[cpu]

    def run_body(self, ns: int = 1000, *, user: bool = False, comm: str = "body") -> Task:
        """Start a task on CPU 0 that computes for ``ns``."""

        async def body(me: Task) -> None:
            await (me.user(ns) if user else me.spend(ns))

        return self.start(body, comm, cpu=0)

    def trap(self, vector: int, body: Callable[[Cpu], Awaitable[None]] | None = None, ist: int = 0, cpu: int = 0) -> None:
        """Set up the gate of an exception, whose handler is ``await body(cpu)``."""

        async def handler(here: Cpu, _: int) -> None:
            if body is not None:
                await body(here)

        idt = self.cpus[cpu].idt
        idt.gates[vector] = self.entry.lead(vector, Gate(handler, f"exc_{vector}", ist=ist))

    async def hit(self, cpu: Cpu, vector: int, error_code: int | None = None) -> None:
        """Raise an exception in the code that runs on a CPU now."""
        thread = cpu.current
        await raise_exception(thread, Raised(vector, error_code), registers(thread, 0xFFFF_FFFF_8123_4567))

    def steps(self, since: int = 1, until: int = 1 << 60, *, at: bool = False, stacks: bool = False) -> list[Any]:
        """Return the steps of entry code, with their times and stacks if asked for."""
        found: list[Any] = []
        for record in self.records():
            if type(record).__struct_config__.tag == "entry_step" and since <= record.ts <= until:
                step: Any = record.step  # type: ignore[attr-defined]
                if stacks:
                    step = f"{step} {record.stack}"  # type: ignore[attr-defined]
                found.append((record.ts, step) if at else step)
        return found


def stack_name(m: Detail, cpu: Cpu) -> str:
    """Return the name of the stack that a CPU is on."""
    return m.stacks.current(cpu).name
