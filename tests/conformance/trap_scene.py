"""A machine for the tests of exceptions: one user thread whose code raises them, no costs, and its records in short."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from asyncirq import Machine
from asyncirq.arch.x86 import X86
from asyncirq.config import KernelConfig
from asyncirq.costs import Costs, cost_names
from asyncirq.sched.task import Task
from asyncirq.trace.record import Record, tag_of

TRAP_EVENTS = ("exception_entry", "exception_exit", "signal_deliver", "printk", "sched_process_exit", "sched_switch")
Code = Callable[["Scene", Task], Awaitable[Any]]


class Scene:
    """One run; ``log`` is what the code noted, with times."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        arch = machine.kernel.arch
        assert isinstance(arch, X86)
        self.arch = arch
        self.traps = machine.kernel.traps
        self.log: list[tuple[int, str]] = []
        self.tasks: dict[str, Task] = {}

    def note(self, text: str) -> None:
        """Write a line."""
        self.log.append((self.machine.now, text))

    def story(self, *events: str) -> list[tuple[int, str]]:
        """Return time and text of the records of these events, by default those about traps."""
        wanted = events or TRAP_EVENTS[:5]
        return [(record.ts, short(record)) for record in self.machine.records if tag_of(type(record)) in wanted]


def short(record: Record) -> str:
    """Return a record in a few words."""
    name = tag_of(type(record))
    values: Any = record
    if name in ("exception_entry", "exception_exit"):
        return f"{name.removeprefix('exception_')} {values.name}"
    if name == "signal_deliver":
        return f"signal {values.sig} code {values.code} handler {values.sa_handler:#x}"
    if name == "printk":
        return str(values.text)
    if name == "sched_process_exit":
        return f"exit {values.comm}"
    if name == "sched_switch":
        return f"{values.prev_comm} -> {values.next_comm}"
    return name


def play(
    code: Code,
    *,
    kernel: KernelConfig | str = "linux-7.1",
    kthread: bool = False,
    prepare: Callable[[Scene], Awaitable[None]] | None = None,
    run_ns: int = 1_000_000,
    cpus: int = 1,
    **costs: int,
) -> Scene:
    """Run ``await code(scene, task)`` in a thread called app from 0 on, and return the scene."""

    async def main() -> Scene:
        table = {name: 0 for name in cost_names()} | costs
        async with Machine(cpus, kernel=kernel, costs=Costs(**table), check=True) as m:
            scene = Scene(m)
            if prepare is not None:
                await prepare(scene)

            async def body(task: Task) -> None:
                await code(scene, task)

            scene.tasks["app"] = m.start_thread(body, "app", kthread=kthread)
            await m.run_for(run_ns)
            return scene

    return asyncio.run(main())
