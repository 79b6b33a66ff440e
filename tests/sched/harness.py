"""Put together a small machine with an alarm clock, and read what happened on it as short lines.

A test writes task functions, runs the machine, and compares ``lab.story()`` with the exact list of what happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from asyncirq.config import KernelConfig, preset
from asyncirq.entry import Entry
from asyncirq.hw.apic_message import ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import TASK_UNINTERRUPTIBLE, Task, TaskFn
from asyncirq.trace.record import Record, tag_of
from tests.small import Small

ALARM = 0x31
Body = Callable[[Cpu], Coroutine[Any, Any, None]]
Line = tuple[int, str]

STOCK = preset("linux-6.12")
FULL = preset("linux-6.12", preemption="full")
LAZY = preset("linux-6.12", preemption="lazy")
NONE = preset("linux-6.12", preemption="none")
CFS = preset("linux-6.1", preemption="full")
RT = preset("linux-6.12", rt=True)


class Lab(Small):
    """A small machine whose interrupts run what a test gives them. All costs are 0 unless given."""

    def __init__(self, cpus: int = 1, kernel: KernelConfig = FULL, **costs: int) -> None:
        super().__init__(cpus, kernel, entry=Entry, **costs)
        self.log: list[Line] = []
        self._due: list[list[Body]] = [[] for _ in range(cpus)]
        for n in range(cpus):
            self.handle(ALARM, self._alarm, n)

    # --- what makes things happen

    def interrupt(self, when: int, body: Body, cpu: int = 0) -> None:
        """Run ``await body(cpu)`` in a hard interrupt at an instant."""
        self.at(when, lambda: self._ring(body, cpu))

    def wake_at(self, when: int, task: Task, cpu: int = 0) -> None:
        """Wake a task from a hard interrupt at an instant."""

        async def body(here: Cpu) -> None:
            await self.sched.wake_up_process(here, task)

        self.interrupt(when, body, cpu)

    def begin(self, when: int, fn: TaskFn, comm: str, **arguments: Any) -> Task:
        """Make a task, and wake it for the first time from a hard interrupt at an instant."""
        task = self.sched.new_task(fn, comm, **arguments)
        self.wake_at(when, task, task.cpu.id)
        return task

    async def nap(self, task: Task, ns: int, state: int = TASK_UNINTERRUPTIBLE) -> None:
        """Sleep until a hard interrupt in ``ns`` on the CPU that the task is on now."""
        self.wake_at(self.engine.now + ns, task, task.cpu.id)
        task.set_current_state(state)
        await task.schedule()

    def tick_at(self, when: int, cpu: int = 0) -> None:
        """Run the scheduler's part of a tick at an instant."""

        async def body(here: Cpu) -> None:
            self.sched.scheduler_tick(here)

        self.interrupt(when, body, cpu)

    def _ring(self, body: Body, cpu: int) -> None:
        self._due[cpu].append(body)
        self.bus.deliver(ApicMessage(ALARM, dest=cpu))

    async def _alarm(self, cpu: Cpu) -> None:
        cpu.lapic.eoi(cpu)
        bodies, self._due[cpu.id] = self._due[cpu.id], []
        for body in bodies:
            await body(cpu)

    def note(self, text: str) -> None:
        """Write a line into the test's own log."""
        self.log.append((self.engine.now, text))

    # --- running and reading

    def play(self, until: int) -> None:
        """Run up to an instant."""
        asyncio.run(self.run(until))

    def end(self) -> None:
        """Close the machine."""
        asyncio.run(self.close())

    def story(self, *events: str) -> list[Line]:
        """Return the records of these events (all that ``SHORT`` knows if none is given) as time and short text, CPU in front."""
        wanted = events or tuple(SHORT)
        lines = []
        for record in self.records():
            tag = tag_of(type(record))
            if tag in wanted:
                lines.append((record.ts, f"{record.cpu} {SHORT[tag](record)}"))
        return lines

    def switches(self) -> list[Line]:
        """Return the switches alone."""
        return self.story("sched_switch")

    def said(self) -> list[str]:
        """Return what the kernel said."""
        return [record.text for record in self.records() if tag_of(type(record)) == "printk"]  # type: ignore[attr-defined]


SHORT: dict[str, Callable[[Any], str]] = {
    "sched_switch": lambda r: f"{r.prev_comm}({r.prev_state}) > {r.next_comm}",
    "sched_waking": lambda r: f"waking {r.comm}",
    "sched_wakeup": lambda r: f"wakeup {r.comm} on {r.target_cpu}",
    "sched_wakeup_new": lambda r: f"wakeup_new {r.comm} on {r.target_cpu}",
    "sched_migrate_task": lambda r: f"migrate {r.comm} {r.orig_cpu} > {r.dest_cpu}",
    "sched_pi_setprio": lambda r: f"setprio {r.comm} {r.oldprio} > {r.newprio}",
    "sched_process_exit": lambda r: f"exit {r.comm}",
    "reschedule_entry": lambda r: "reschedule",
    "call_function_single_entry": lambda r: "call_function_single",
    "workqueue_queue_work": lambda r: f"queue {r.work} {r.workqueue} req {r.req_cpu} cpu {r.target_cpu}",
    "workqueue_activate_work": lambda r: f"activate {r.work}",
    "workqueue_execute_start": lambda r: f"start {r.work}",
    "workqueue_execute_end": lambda r: f"end {r.work}",
}


def records_of(lab: Lab, tag: str) -> list[Record]:
    """Return the records of one event."""
    return [record for record in lab.records() if tag_of(type(record)) == tag]
