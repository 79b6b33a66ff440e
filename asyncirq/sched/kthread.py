"""Make, stop and park kernel threads.

The function of a kthread looks at ``should_stop`` in its loop and returns when it is set; one that can be parked looks
at ``should_park`` and calls ``parkme``.

Linux: kernel/kthread.c. Model: the creator makes the thread itself; only irq threads go through kthreadd.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.task import SCHED_NORMAL, TASK_NEW, TASK_PARKED, TASK_RUNNING, Task
from asyncirq.sched.wait import WaitQueue

KthreadFn = Callable[["Kthread"], Coroutine[Any, Any, None]]


class Kthread:
    """A kernel thread and what others ask of it. ``task`` is the thread itself, ``exited`` says that it has ended."""

    def __init__(self, sched: Sched, fn: KthreadFn, comm: str) -> None:
        self.sched = sched
        self.fn = fn
        self.task: Task
        self.should_stop = False
        self.should_park = False
        self.parked = False
        self.exited = False
        self._changed = WaitQueue(comm)

    async def main(self, task: Task) -> None:
        """Run the thread's function and tell who waits for its end; the scheduler calls it."""
        if not self.should_stop:
            await self.fn(self)
        cpu = task.preempt_disable()
        self.exited = True
        await self._changed.wake_up_all(cpu)
        await task.preempt_enable()

    def bind(self, cpu_id: int) -> None:
        """Bind the thread to a CPU for life. Raises ``KernelBug`` once it has been woken for the first time."""
        if self.task.state != TASK_NEW:
            raise KernelBug(f"kthread_bind of {self.task.comm}/{self.task.pid}, which runs already")
        if not 0 <= cpu_id < len(self.sched.cpus):
            raise UsageError(f"{self.task.comm}: there is no CPU {cpu_id}", 22)
        self.task.allowed = 1 << cpu_id
        self.task.percpu = self.task.pinned = True
        self.task.cpu = self.sched.cpus[cpu_id]

    async def wake(self, cpu: Cpu) -> bool:
        """Wake the thread, for the first time or from a sleep; return whether it slept."""
        return await self.sched.wake_up_process(cpu, self.task)

    async def stop(self, task: Task) -> None:
        """Ask the thread to end, from another task, and sleep until it has. Trace: sched_waking."""
        self.should_stop = True
        if self.parked or self.should_park:
            await self._unpark(task)
        await task.wake(self.task)
        await self._changed.wait_event(task, self._has_exited)

    async def park(self, task: Task) -> None:
        """Ask the thread to park, from another task, and sleep until it has. Raises ``UsageError`` if it has ended."""
        if self.exited:
            raise UsageError(f"{self.task.comm} has ended", 38)
        if self.should_park:
            raise UsageError(f"{self.task.comm} is asked to park already", 16)
        self.should_park = True
        await task.wake(self.task)
        await self._changed.wait_event(task, self._is_parked)

    async def unpark(self, task: Task) -> None:
        """Let a parked thread go on. Trace: sched_waking."""
        if self.should_park:
            await self._unpark(task)

    async def parkme(self) -> None:
        """Sleep while the thread is asked to be parked; called by the thread."""
        task = self.task
        while True:
            task.set_current_state(TASK_PARKED)
            if not self.should_park:
                break
            if not self.parked:
                self.parked = True
                cpu = task.preempt_disable()
                await self._changed.wake_up_all(cpu)
                await task.preempt_enable()
            await task.schedule()
        task.set_current_state(TASK_RUNNING)
        self.parked = False

    async def _unpark(self, task: Task) -> None:
        self.should_park = False
        cpu = task.preempt_disable()
        await self.sched.try_to_wake_up(cpu, self.task, TASK_PARKED)
        await task.preempt_enable()

    def _has_exited(self) -> bool:
        return self.exited

    def _is_parked(self) -> bool:
        return self.parked or self.exited


def kthread_create(
    sched: Sched,
    fn: KthreadFn,
    comm: str,
    *,
    cpu: int | None = None,
    policy: int = SCHED_NORMAL,
    rt_priority: int = 0,
    nice: int = 0,
) -> Kthread:
    """Make a kernel thread that runs ``await fn(kthread)`` once it is woken; ``cpu`` binds it to that CPU for life."""
    kthread = Kthread(sched, fn, comm)
    kthread.task = sched.new_task(kthread.main, comm, cpu=cpu, kthread=True, policy=policy, rt_priority=rt_priority, nice=nice)
    return kthread


async def kthread_run(sched: Sched, waker: Cpu, fn: KthreadFn, comm: str, *, cpu: int | None = None) -> Kthread:
    """Make a kernel thread and wake it from a context that cannot migrate."""
    kthread = kthread_create(sched, fn, comm, cpu=cpu)
    await kthread.wake(waker)
    return kthread
