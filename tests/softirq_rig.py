"""Put together a small machine with all ten softirqs, and read what happened on it as short lines.

Handlers and actions are the test's; a vector without a body does nothing. Costs are zero unless given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from asyncirq.bottom_half.softirq import NR_SOFTIRQS
from asyncirq.config import KernelConfig, preset
from asyncirq.entry import RESCHEDULE_VECTOR, Entry
from asyncirq.hw.apic_message import ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task, TaskFn
from asyncirq.trace.names import SOFTIRQ_NAMES
from asyncirq.trace.record import tag_of
from tests.small import Small

STOCK: Final = preset("linux-6.12")
FULL: Final = preset("linux-6.12", preemption="full")
NONE: Final = preset("linux-6.12", preemption="none")
FORCED: Final = preset("linux-6.12", threadirqs=True)
RT: Final = preset("linux-6.12", rt=True)
MS: Final = 1_000_000

Body = Callable[[Cpu], Awaitable[None]]
Line = tuple[int, str]

SHORT: Final[dict[str, Callable[[Any], str]]] = {
    "vector_entry": lambda r: f"vector {r.vector:#x}",
    "vector_exit": lambda r: f"vector {r.vector:#x} ends",
    "softirq_raise": lambda r: f"raise {SOFTIRQ_NAMES[r.vec]}",
    "softirq_entry": lambda r: f"{SOFTIRQ_NAMES[r.vec]}",
    "softirq_exit": lambda r: f"{SOFTIRQ_NAMES[r.vec]} ends",
    "sched_waking": lambda r: f"waking {r.comm}",
    "sched_switch": lambda r: f"{r.prev_comm}({r.prev_state}) > {r.next_comm}",
    "sched_pi_setprio": lambda r: f"setprio {r.comm} {r.oldprio} > {r.newprio}",
    "reschedule_entry": lambda r: "reschedule",
    "local_timer_entry": lambda r: "local_timer",
    "nmi_inta": lambda r: "nmi",
    "printk": lambda r: r.text,
}


class Rig(Small):
    """The machine. ``daemons``: with ksoftirqd and its like. It has run up to time 0: without switching costs they sleep already."""

    def __init__(
        self, cpus: int = 1, kernel: KernelConfig = STOCK, *, daemons: bool = True, entry: type[Entry] = Entry, **costs: int
    ) -> None:
        super().__init__(cpus, kernel, entry=entry, **costs)
        self.log: list[Line] = []
        self._bodies: dict[int, Body] = {}
        self._vector = 0x30
        self.names = {0: "idle"}
        for nr in range(NR_SOFTIRQS):
            self.softirq.open_softirq(nr, self._action(nr))
        if daemons:
            for cpu in self.cpus:
                self.threads.spawn(cpu)
        self.play(0)

    def start(self, fn: TaskFn, comm: str, **arguments: Any) -> Task:
        """Make a task that is ready now; a halted CPU is told by an interrupt."""
        task = super().start(fn, comm, **arguments)
        self.send(ApicMessage(RESCHEDULE_VECTOR, 0, False, task.cpu.id, False, 0))
        return task

    def note(self, text: str) -> None:
        """Write a line into the test's own log."""
        self.log.append((self.engine.now, text))

    # --- what happens

    def softirq_does(self, nr: int, body: Body) -> None:
        """Run ``await body(cpu)`` whenever a vector runs."""
        self._bodies[nr] = body

    def _action(self, nr: int) -> Callable[[Cpu], Any]:
        async def action(cpu: Cpu) -> None:
            if nr in self._bodies:
                await self._bodies[nr](cpu)

        return action

    def irq(self, when: int, body: Body, cpu: int = 0, vector: int = 0) -> int:
        """Run ``await body(cpu)`` after EOI in a device interrupt at an instant; return its vector, a new one unless given."""
        if not vector:
            self._vector += 1
            vector = self._vector

        async def handler(here: Cpu) -> None:
            here.lapic.eoi(here)
            await body(here)

        self.handle(vector, handler, cpu)
        self.raise_at(when, vector, cpu)
        return vector

    def irq_raises(self, when: int, *vecs: int, cpu: int = 0) -> None:
        """Raise softirqs in a device interrupt at an instant."""

        async def body(here: Cpu) -> None:
            for nr in vecs:
                self.softirq.raise_softirq_nowake(here, nr)

        self.irq(when, body, cpu)

    def nmi_at(self, when: int, cpu: int = 0) -> None:
        """Send an NMI to a CPU at an instant."""
        self.at(when, lambda: self.nmi(cpu))

    def nmi(self, cpu: int = 0) -> None:
        """Send an NMI to a CPU now."""
        self.send(ApicMessage(0, 4, False, cpu, False, 0))

    # --- running and reading

    def play(self, until: int) -> None:
        """Run up to an instant."""
        asyncio.run(self.run(until))

    def end(self) -> None:
        """Close the machine."""
        asyncio.run(self.close())

    def story(self, *events: str, since: int = 1) -> list[Line]:
        """Return the records of these events from ``since`` on as time and short text, the name of the running task in front."""
        lines = []
        names = dict(self.names)
        for record in self.records():
            tag = tag_of(type(record))
            if tag == "task_newtask":
                names[record.new_pid] = record.new_comm  # type: ignore[attr-defined]
            if tag in events and record.ts >= since:
                lines.append((record.ts, f"{names[record.pid]}: {SHORT[tag](record)}"))
        return lines

    def softirqs(self) -> list[Line]:
        """Return who ran which vector when."""
        return self.story("softirq_entry")


def comm_of(cpu: Cpu) -> str:
    """Return the name of the task that runs on a CPU."""
    task = cpu.current
    assert isinstance(task, Task)
    return task.comm
