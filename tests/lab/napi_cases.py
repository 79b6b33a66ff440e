"""The lab's cases on polling, as programs for the bench: two NAPI instances of a device that has no packets, only a count of full polls.

As in ``soft_cases`` each program runs the case before its own as well, untold.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from asyncirq.bottom_half.napi import Napi
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task
from tests.lab.bench import FIRST_US, MARK_NS, Bench, Program

WEIGHT: Final = 64
WORK: Final = 3
"""How many packets a last poll says that it took."""


class NapiLab:
    """Two instances; ``left`` says how many more polls of each use the full weight, ``busy_us`` how long a poll takes."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.napi = bench.machine.napi
        self.left = [0, 0]
        self.busy_us = 0
        self.n = [Napi(partial(self._poll, i), WEIGHT, f"lab{i}", "lab") for i in range(2)]
        for napi in self.n:
            self.napi.netif_napi_add(napi)
            self.napi.napi_enable(napi)

    async def _poll(self, i: int, cpu: Cpu, napi: Napi, budget: int) -> int:
        await cpu.spend(MARK_NS)
        self.bench.say(cpu, f"poll {i} budget={budget} left={self.left[i]}")
        if self.busy_us:
            await self.bench.delay(cpu, self.busy_us)
        self.left[i] -= 1
        if self.left[i] >= 0:
            return budget
        done = await self.napi.napi_complete_done(cpu, napi, WORK)
        self.bench.say(cpu, f"napi_complete_done {i} -> {int(done)}")
        return WORK

    async def schedule(self, cpu: Cpu, n: int) -> None:
        """Schedule the first ``n`` instances."""
        for i in range(n):
            self.bench.say(cpu, f"napi_schedule {i}")
            await self.napi.napi_schedule(cpu, self.n[i])

    async def shoot(self, task: Task, instances: int, left: int, sleep_ms: int) -> None:
        """Schedule instances in a hard interrupt, each with so many full polls before it, and sleep."""
        self.left[:instances] = [left] * instances
        await self.bench.shoot(task, (instances, self.schedule, FIRST_US))
        await self.bench.sleep(task, sleep_ms)


Steps = Callable[[NapiLab, Task], Awaitable[None]]


class Case(NamedTuple):
    """A case: its name after ``napi/`` and its steps."""

    name: str
    steps: Steps


async def shot(instances: int, left: int, sleep_ms: int, lab: NapiLab, task: Task) -> None:
    """Schedule instances in a hard interrupt."""
    await lab.shoot(task, instances, left, sleep_ms)


async def busy(lab: NapiLab, task: Task) -> None:
    """Schedule an instance whose polls take 3 ms each."""
    lab.busy_us = 3000
    await lab.shoot(task, 1, 8, 100)
    lab.busy_us = 0


async def from_task(lab: NapiLab, task: Task) -> None:
    """Schedule an instance from a task."""
    lab.left[0] = 1
    cpu = task.preempt_disable()
    await lab.napi.napi_schedule(cpu, lab.n[0])
    await task.preempt_enable()
    lab.bench.say(task.cpu, "after napi_schedule")
    await lab.bench.sleep(task, 30)


async def from_task_bh_off(lab: NapiLab, task: Task) -> None:
    """Schedule an instance from a task that has softirqs forbidden."""
    lab.left[0] = 1
    softirq = lab.bench.machine.softirq
    cpu = await softirq.local_bh_disable(task)
    await lab.napi.napi_schedule(cpu, lab.n[0])
    lab.bench.say(cpu, "before bh enable")
    await softirq.local_bh_enable(task)
    lab.bench.say(task.cpu, "after bh enable")
    await lab.bench.sleep(task, 30)


SEQUENCE: Final = (
    Case("one-partial", partial(shot, 1, 0, 30)),
    Case("one-12-full-polls", partial(shot, 1, 12, 60)),
    Case("two-8-full-polls-each", partial(shot, 2, 8, 60)),
    Case("one-60-full-polls", partial(shot, 1, 60, 80)),
    Case("one-8-polls-3ms-each", busy),
    Case("schedule-from-process", from_task),
    Case("schedule-from-process-bh-off", from_task_bh_off),
)


async def _play(i: int, bench: Bench, task: Task) -> None:
    lab = NapiLab(bench)
    for case in SEQUENCE[: i + 1]:
        await bench.next(task, f"napi/{case.name}")
        await case.steps(lab, task)


def _program(i: int) -> Program:
    return partial(_play, i)


CASES: Final[dict[str, Program]] = {f"napi/{case.name}": _program(i) for i, case in enumerate(SEQUENCE)}
"""Every case by its name; a capture holds a part of them."""
