"""Stop a CPU to do something on it that nothing may disturb: the stop class, above deadline and real time.

Each CPU has a thread ``migration/N`` that preempts whatever runs there. It is how a running task is moved off its CPU: once the
stopper runs, the task does not.

To stop the whole machine every stopper comes to a meeting point, preemption off; there all turn interrupts off, then one of them does
what is to be done, then all go on.

Linux: kernel/stop_machine.c stop_one_cpu(), multi_cpu_stop(), kernel/sched/stop_task.c; kernel/sched/core.c migration_cpu_stop(). Model:
a stopper is made when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import SCHED_STOP, TASK_INTERRUPTIBLE, TASK_RUNNING, Task
from asyncirq.sched.wait import WaitQueue
from asyncirq.sim.word import Word

if TYPE_CHECKING:
    from asyncirq.sched.core import Sched

StopFn = Callable[[Cpu], Coroutine[Any, Any, None]]


class StopWork:
    """One request: ``fn(cpu)`` on a CPU's stopper; ``done`` once it has run."""

    __slots__ = ("done", "fn")

    def __init__(self, fn: StopFn) -> None:
        self.fn = fn
        self.done = False


class Meeting(Word):
    """A point that a number of CPUs wait at until all are there."""

    __slots__ = ("missing",)

    def __init__(self, name: str, cpus: int) -> None:
        super().__init__(name)
        self.missing = cpus

    def ready(self) -> bool:
        """Tell whether all are there."""
        return not self.missing

    async def join(self, cpu: Cpu) -> None:
        """Come to the point, and wait there."""
        self.missing -= 1
        if self.missing:
            await cpu.stall(self)
        else:
            self.poke()


class Stoppers:
    """The stoppers of one machine, by CPU."""

    def __init__(self, sched: Sched) -> None:
        self._sched = sched
        self._works: list[list[StopWork]] = [[] for _ in sched.cpus]
        self._tasks: list[Task | None] = [None for _ in sched.cpus]
        self._done = WaitQueue("stop_one_cpu")

    async def stop_one_cpu(self, task: Task, dest: int, fn: StopFn) -> None:
        """Run ``await fn(cpu)`` on a CPU's stopper, preemption off, and sleep until it has.

        Raises ``KernelBug`` in atomic context. Trace: sched_waking and sched_switch of ``migration/N``.
        """
        work = StopWork(fn)
        await self.queue(task, dest, work)
        await self._done.wait_event(task, lambda: work.done)

    async def stop_machine(self, task: Task, mask: int, dest: int, fn: Callable[[Cpu], Coroutine[Any, Any, int]]) -> int:
        """Run ``await fn(cpu)`` on one CPU while all of ``mask`` stand still with interrupts off; return its result when that is over.

        Raises ``KernelBug`` in atomic context. Trace: sched_waking and sched_switch of each ``migration/N``.
        """
        count = mask.bit_count()
        here, off, done = (Meeting(f"stop_machine {name}", count) for name in ("PREPARE", "DISABLE_IRQ", "RUN"))
        results: list[int] = []

        async def multi_cpu_stop(cpu: Cpu) -> None:
            await here.join(cpu)
            was_off = cpu.irq_disable()
            await off.join(cpu)
            if cpu.id == dest:
                results.append(await fn(cpu))
            await done.join(cpu)
            await cpu.irq_restore(was_off)

        works = [StopWork(multi_cpu_stop) for _ in range(count)]
        # The own stopper may not begin before all others have been asked.
        task.preempt_disable()
        waiting = iter(works)
        for cpu_id in range(len(self._works)):
            if mask >> cpu_id & 1:
                await self.queue(task, cpu_id, next(waiting))
        await task.preempt_enable()
        await self._done.wait_event(task, lambda: all(work.done for work in works))
        return results[0]

    async def queue(self, task: Task, dest: int, work: StopWork) -> None:
        """Hand a request to a CPU's stopper without waiting. Linux: stop_one_cpu_nowait()."""
        stopper = self._tasks[dest]
        if stopper is None:
            stopper = self._sched.new_task(self._main, f"migration/{dest}", cpu=dest, kthread=True, policy=SCHED_STOP)
            self._tasks[dest] = stopper
        self._works[dest].append(work)
        await task.wake(stopper)

    async def _main(self, task: Task) -> None:
        works = self._works[task.cpu.id]
        while True:
            task.set_current_state(TASK_INTERRUPTIBLE)
            if not works:
                await task.schedule()
            task.set_current_state(TASK_RUNNING)
            while works:
                work = works.pop(0)
                cpu = task.preempt_disable()
                await work.fn(cpu)
                work.done = True
                await self._done.wake_up_all(cpu)
                await task.preempt_enable()
