"""The lab's cases on softirqs and tasklets, as programs for the bench.

The lab runs its cases one after the other on one machine, and what a task did before decides who goes first (its virtual runtime). So
each program runs the case before its own as well, untold.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from asyncirq.bottom_half.softirq import BLOCK_SOFTIRQ, NET_TX_SOFTIRQ, NR_SOFTIRQS, RCU_SOFTIRQ
from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import HARDIRQ_MASK, SOFTIRQ_OFFSET
from asyncirq.sched.task import Task
from tests.lab.bench import FIRST_US, MARK_NS, Bench, Program

TASKLETS: Final = 6


class SoftLab:
    """What the cases share: six tasklets, how often each schedules itself again (``left``), how long it is busy."""

    def __init__(self, bench: Bench, left: int) -> None:
        self.bench = bench
        self.machine = bench.machine
        self.softirq = bench.machine.softirq
        self.tasklets = bench.machine.tasklets
        self.left = [left] * TASKLETS
        self.busy_us = [0] * TASKLETS
        self.t = [Tasklet(partial(self._tasklet, i), f"lab{i}") for i in range(TASKLETS)]
        config = bench.machine.config
        self.top = RCU_SOFTIRQ - 1 if config.rt else RCU_SOFTIRQ
        taken = {nr for nr, _ in self.softirq.actions()}
        for nr in range(NR_SOFTIRQS):
            if nr not in taken:
                self.softirq.open_softirq(nr, self._nothing)

    async def _nothing(self, cpu: Cpu) -> None:
        """Do nothing: the vectors that the model leaves to drivers and to load balancing."""

    async def _tasklet(self, i: int, cpu: Cpu, tasklet: Tasklet) -> None:
        hard = int(cpu.preempt_count & HARDIRQ_MASK != 0)
        soft = int(cpu.preempt_count & SOFTIRQ_OFFSET != 0)
        await cpu.spend(MARK_NS)
        self.bench.say(cpu, f"tasklet {i} left={self.left[i]} hardirq={hard} serving_softirq={soft} pid={cpu.pid}")
        if self.busy_us[i]:
            await self.bench.delay(cpu, self.busy_us[i])
        self.left[i] -= 1
        if self.left[i] >= 0:
            await self.tasklets.tasklet_schedule(cpu, tasklet)

    def set(self, i: int, left: int, busy_us: int = 0) -> None:
        """Have a tasklet schedule itself so many times and be busy so long each time."""
        self.left[i] = left
        self.busy_us[i] = busy_us

    # --- shots

    async def t0(self, cpu: Cpu, n: int) -> None:
        """Schedule tasklet 0."""
        await self.tasklets.tasklet_schedule(cpu, self.t[0])

    async def t012h(self, cpu: Cpu, n: int) -> None:
        """Schedule three tasklets, one of them twice, and one of high priority."""
        self.bench.say(cpu, "schedule 0 1 2 0 hi3")
        for i in (0, 1, 2, 0):
            await self.tasklets.tasklet_schedule(cpu, self.t[i])
        await self.tasklets.tasklet_hi_schedule(cpu, self.t[3])

    async def all(self, cpu: Cpu, n: int) -> None:
        """Raise every vector, the greatest first."""
        self.bench.say(cpu, f"raise {self.top}..0")
        for nr in range(self.top, -1, -1):
            await self.softirq.raise_softirq_irqoff(cpu, nr)

    async def nettx(self, cpu: Cpu, n: int) -> None:
        """Raise NET_TX."""
        self.bench.say(cpu, "raise NET_TX")
        await self.softirq.raise_softirq_irqoff(cpu, NET_TX_SOFTIRQ)

    async def block(self, cpu: Cpu, n: int) -> None:
        """Raise BLOCK."""
        self.bench.say(cpu, "raise BLOCK")
        await self.softirq.raise_softirq_irqoff(cpu, BLOCK_SOFTIRQ)

    # --- steps of the requester

    async def schedule_in_task(self, task: Task) -> None:
        """Schedule tasklet 0."""
        cpu = task.preempt_disable()
        await self.tasklets.tasklet_schedule(cpu, self.t[0])
        await task.preempt_enable()

    async def bh_off(self, task: Task) -> Cpu:
        """Forbid softirqs."""
        return await self.softirq.local_bh_disable(task)

    async def bh_on(self, task: Task, name: str = "local_bh_enable") -> None:
        """Allow softirqs again."""
        self.bench.say(task.cpu, f"before {name}")
        await self.softirq.local_bh_enable(task)
        self.bench.say(task.cpu, f"after {name}")


Steps = Callable[[SoftLab, Task], Awaitable[None]]


class Case(NamedTuple):
    """A case: its name after ``soft/``, its steps, and what ``left`` of tasklet 0 is when it begins, after all the cases before."""

    name: str
    steps: Steps
    left: int


async def raise_all(lab: SoftLab, task: Task) -> None:
    """Raise every vector in a hard interrupt."""
    await lab.bench.one(task, lab.all)


async def order(lab: SoftLab, task: Task) -> None:
    """Schedule several tasklets in a hard interrupt."""
    for i in range(TASKLETS):
        lab.set(i, 0)
    await lab.bench.one(task, lab.t012h)


async def again_25(lab: SoftLab, task: Task) -> None:
    """Let a tasklet schedule itself 25 times."""
    lab.set(0, 25)
    await lab.bench.one(task, lab.t0)


async def again_8_busy(lab: SoftLab, task: Task) -> None:
    """Let a tasklet of 3 ms schedule itself 8 times."""
    lab.set(0, 8, 3000)
    await lab.bench.one(task, lab.t0)
    await lab.bench.sleep(task, 40)


async def storm(lab: SoftLab, task: Task) -> None:
    """Raise NET_TX in twelve interrupts while a tasklet keeps ksoftirqd running."""
    lab.set(0, 40, 500)
    shots = tuple((1 + i, lab.nettx, FIRST_US + i * 1700) for i in range(12))
    await lab.bench.shoot(task, *shots, (0, lab.t0, 200))
    await lab.bench.sleep(task, 80)


async def _runnable(lab: SoftLab, task: Task, block: bool) -> None:
    bench = lab.bench
    cpu = task.preempt_disable()
    was_off = cpu.irq_disable()
    await lab.softirq.raise_softirq_irqoff(cpu, NET_TX_SOFTIRQ)
    await cpu.irq_restore(was_off)
    bench.arm(cpu, 0, lab.block if block else lab.t0, 1000)
    await bench.delay(cpu, 3000)
    bench.say(cpu, "before preempt_enable")
    await task.preempt_enable()
    bench.say(task.cpu, "after preempt_enable")
    await bench.sleep(task, 20)


async def runnable_block(lab: SoftLab, task: Task) -> None:
    """Raise BLOCK in an interrupt while ksoftirqd is ready but does not run."""
    await _runnable(lab, task, block=True)


async def runnable_tasklet(lab: SoftLab, task: Task) -> None:
    """Schedule a tasklet in an interrupt while ksoftirqd is ready but does not run."""
    lab.set(0, 0)
    await _runnable(lab, task, block=False)


async def in_task(lab: SoftLab, task: Task) -> None:
    """Schedule a tasklet from a task."""
    lab.set(0, 0)
    await lab.schedule_in_task(task)
    await lab.bench.sleep(task, 20)


async def in_task_bh_off(lab: SoftLab, task: Task) -> None:
    """Schedule a tasklet from a task that has softirqs forbidden."""
    cpu = await lab.bh_off(task)
    await lab.tasklets.tasklet_schedule(cpu, lab.t[0])
    await lab.bh_on(task)
    await lab.bench.sleep(task, 20)


async def in_task_raise_all(lab: SoftLab, task: Task) -> None:
    """Raise every vector from a task with interrupts off."""
    cpu = task.preempt_disable()
    was_off = cpu.irq_disable()
    for nr in range(lab.top, -1, -1):
        await lab.softirq.raise_softirq_irqoff(cpu, nr)
    lab.bench.say(cpu, "before irq restore")
    await cpu.irq_restore(was_off)
    lab.bench.say(cpu, "after irq restore")
    await task.preempt_enable()
    await lab.bench.sleep(task, 20)


async def during_bh_off(lab: SoftLab, task: Task) -> None:
    """Schedule a tasklet in an interrupt of a task that has softirqs forbidden."""
    await lab.bench.shoot(task, (0, lab.t0, 1000))
    cpu = await lab.bh_off(task)
    lab.bench.say(cpu, "bh off, spinning 3ms")
    await lab.bench.delay(cpu, 3000)
    await lab.bh_on(task)
    await lab.bench.sleep(task, 20)


async def during_bh_nested(lab: SoftLab, task: Task) -> None:
    """Schedule a tasklet in an interrupt of a task that has softirqs forbidden twice."""
    await lab.bench.shoot(task, (0, lab.t0, 1000))
    await lab.bh_off(task)
    cpu = await lab.bh_off(task)
    await lab.bench.delay(cpu, 2000)
    lab.bench.say(cpu, "before inner enable")
    await lab.softirq.local_bh_enable(task)
    lab.bench.say(cpu, "after inner enable")
    await lab.softirq.local_bh_enable(task)
    lab.bench.say(cpu, "after outer enable")
    await lab.bench.sleep(task, 20)


async def disabled(lab: SoftLab, task: Task) -> None:
    """Schedule a disabled tasklet and enable it 4 ms later."""
    await lab.tasklets.tasklet_disable(task, lab.t[0])
    await lab.bench.shoot(task, (0, lab.t0, FIRST_US))
    await lab.bench.sleep(task, 4)
    lab.bench.say(task.cpu, "tasklet_enable")
    lab.tasklets.tasklet_enable(lab.t[0])
    await lab.bench.sleep(task, 20)


async def busy_and_raised(lab: SoftLab, task: Task) -> None:
    """Raise NET_TX twice while a tasklet runs for 3 ms."""
    lab.set(0, 0, 3000)
    lab.set(1, 0)
    await lab.bench.shoot(task, (0, lab.t0, FIRST_US), (1, lab.nettx, 1300), (2, lab.nettx, 2300))
    await lab.bench.sleep(task, 20)


SEQUENCE: Final = (
    Case("raise-all-descending-from-hardirq", raise_all, 0),
    Case("tasklet-order-0-1-2-0-hi3", order, 0),
    Case("tasklet-self-resched-25", again_25, -1),
    Case("tasklet-self-resched-8-busy-3ms", again_8_busy, -1),
    Case("ksoftirqd-runnable-and-new-irq-raises-NET_TX", storm, -1),
    Case("ksoftirqd-runnable-not-running-irq-raises-BLOCK", runnable_block, -1),
    Case("ksoftirqd-runnable-not-running-irq-raises-TASKLET", runnable_tasklet, -1),
    Case("process-context-tasklet_schedule", in_task, -1),
    Case("process-context-bh-disabled-tasklet_schedule", in_task_bh_off, -1),
    Case("process-context-irqsoff-raise-all", in_task_raise_all, -2),
    Case("irq-during-bh-disabled-section", during_bh_off, -2),
    Case("irq-while-bh-nested", during_bh_nested, -3),
    Case("tasklet-disabled", disabled, -4),
    Case("tasklet-busy-2ms-with-irq-raising-during", busy_and_raised, -5),
)


async def _play(i: int, bench: Bench, task: Task) -> None:
    first = 0
    lab = SoftLab(bench, SEQUENCE[first].left)
    for case in SEQUENCE[first : i + 1]:
        await bench.next(task, f"soft/{case.name}")
        await case.steps(lab, task)


def _program(i: int) -> Program:
    return partial(_play, i)


CASES: Final[dict[str, Program]] = {f"soft/{case.name}": _program(i) for i, case in enumerate(SEQUENCE)}
"""Every case by its name; a capture holds a part of them."""
