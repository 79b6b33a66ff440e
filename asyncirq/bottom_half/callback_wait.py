"""Wait until a callback that runs elsewhere has returned: the end of ``..._sync`` functions.

An atomic context spins on its CPU; a task that may sleep does. Whoever waits for the callback that it runs in itself
never gets an answer, and is told so.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.preempt import HARDIRQ_MASK, NMI_MASK
from asyncirq.sched.task import TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task
from asyncirq.sim.context import Context
from asyncirq.sim.word import Condition


class CallbackWait:
    """Those who wait for the callbacks of one base, and whose context runs the callback now (``runner``)."""

    __slots__ = ("anyone", "runner", "sched", "sleepers", "words")

    def __init__(self, sched: Sched) -> None:
        self.sched = sched
        self.runner: Context | None = None
        self.anyone = False
        self.sleepers: list[Task] = []
        self.words: list[Condition] = []

    async def spin(self, cpu: Cpu, what: str, done: Callable[[], bool]) -> None:
        """Keep the CPU until ``done()``; on the CPU whose callback is waited for this is a deadlock and a ``KernelBug``."""
        word = Condition(what, done)
        word.owner = self.runner
        self.words.append(word)
        self.anyone = True
        await cpu.stall(word)
        self.words.remove(word)
        self._count()

    async def sleep(self, task: Task, what: str, done: Callable[[], bool]) -> None:
        """Sleep uninterruptibly until ``done()``."""
        if self.runner is task.sim and not done():
            raise KernelBug(f"deadlock at {self.sched.engine.now} ns: {task.comm}/{task.pid} waits for {what} from within it")
        might_sleep(task, what, rtlock=True)
        self.sleepers.append(task)
        self.anyone = True
        while True:
            task.set_current_state(TASK_UNINTERRUPTIBLE)
            if done():
                break
            await task.schedule()
        task.set_current_state(TASK_RUNNING)
        self.sleepers.remove(task)
        self._count()

    async def spin_or_sleep(self, cpu: Cpu, what: str, done: Callable[[], bool]) -> None:
        """Sleep where PREEMPT_RT may, since the callback may have been preempted by the caller; spin everywhere else."""
        sched = self.sched
        atomic = cpu.preempt_count & (sched.count_mask | HARDIRQ_MASK | NMI_MASK) or cpu.irqs_off
        if sched.config.rt and not atomic:
            await self.sleep(sched.rqs[cpu.id].curr, what, done)
        else:
            await self.spin(cpu, what, done)

    async def wake(self, cpu: Cpu) -> None:
        """Make everybody test again; called where a callback has returned, if ``anyone`` waits."""
        for word in self.words:
            word.poke()
        for task in tuple(self.sleepers):
            await self.sched.wake_up_process(cpu, task)

    def _count(self) -> None:
        self.anyone = bool(self.words or self.sleepers)


def name_of(function: Callable[..., object]) -> str:
    """Return the name under which a callback appears in the trace, as ``%ps`` prints it: without leading underscores.

    Of a ``functools.partial`` it is the name of the function that it calls.
    """
    inner = getattr(function, "func", function)
    name: str = getattr(inner, "__name__", type(inner).__name__)
    return name.lstrip("_")
