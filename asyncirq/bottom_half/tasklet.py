"""Run tasklets: functions that a softirq calls once, on the CPU that scheduled them, and never twice at the same time.

Two lists per CPU, ``HI`` (vector 0) and normal (vector 6). The softirq takes the whole list and walks it; what cannot
run now, because it runs on another CPU or is disabled, goes back to the list's end with the vector raised again.

====================== =========================================
CPU0                   CPU1
====================== =========================================
takes T, RUN is set    T is scheduled again: SCHED is clear
T's function runs      takes T, RUN is taken: T goes back
RUN is cleared         next pass: T runs
====================== =========================================

Linux: kernel/softirq.c, include/linux/interrupt.h.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from asyncirq.bottom_half.callback_wait import CallbackWait, name_of
from asyncirq.bottom_half.softirq import HI_SOFTIRQ, TASKLET_SOFTIRQ, Softirq
from asyncirq.errors import KernelBug, check_async
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.percpu import check_hand
from asyncirq.sched.preempt import in_interrupt
from asyncirq.sched.task import Task

TaskletFn = Callable[[Cpu, "Tasklet"], Coroutine[Any, Any, None]]
DataFn = Callable[[Cpu, Any], Coroutine[Any, Any, None]]
BhWorkFn = Callable[[Cpu, bool], Coroutine[Any, Any, None]]


class Tasklet:
    """One tasklet: ``async def callback(cpu, tasklet)`` and its state.

    ``scheduled`` and ``running`` are Linux's SCHED and RUN bits; it is disabled while ``count`` is not 0. The older form
    ``Tasklet.with_data(func, data, name)`` calls ``async def func(cpu, data)``.
    """

    __slots__ = ("callback", "callback_name", "count", "name", "running", "scheduled", "waits")

    def __init__(self, callback: TaskletFn, name: str, callback_name: str = "") -> None:
        check_async(callback, f"tasklet {name}: the callback")
        self.callback = callback
        self.callback_name = callback_name or name_of(callback)
        self.name = name
        self.scheduled = False
        self.running = False
        self.count = 0
        self.waits: CallbackWait | None = None

    @classmethod
    def with_data(cls, func: DataFn, data: object, name: str) -> Tasklet:
        """Return a tasklet of which the function is given ``data``, not the tasklet. Linux: tasklet_init()."""
        return cls(partial(_call_with, func, data), name, name_of(func))

    def __repr__(self) -> str:
        return f"<Tasklet {self.name}>"


def _call_with(func: DataFn, data: object, cpu: Cpu, tasklet: Tasklet) -> Coroutine[Any, Any, None]:
    return func(cpu, data)


class Tasklets:
    """The tasklets of one machine.

    ``bh_work(cpu, highpri)``, if set, runs before each list: the workqueues that execute in softirq context. ``early`` False leaves
    their two softirqs to a later ``softirq_init``.
    """

    def __init__(self, softirq: Softirq, early: bool = True) -> None:
        self.softirq = softirq
        self.sched = softirq.sched
        self.trace = softirq.trace
        self.costs = softirq.costs
        self.bh_work: BhWorkFn | None = None
        cpus = len(softirq.sched.cpus)
        self._normal: list[list[Tasklet]] = [[] for _ in range(cpus)]
        self._hi: list[list[Tasklet]] = [[] for _ in range(cpus)]
        if early:
            self.softirq_init()

    def softirq_init(self) -> None:
        """Register the two softirqs of tasklets. Linux: kernel/softirq.c."""
        self.softirq.open_softirq(TASKLET_SOFTIRQ, self._tasklet_action)
        self.softirq.open_softirq(HI_SOFTIRQ, self._tasklet_hi_action)

    # --- scheduling

    async def tasklet_schedule(self, cpu: Cpu, tasklet: Tasklet) -> None:
        """Have a tasklet run once on this CPU; nothing happens if it is scheduled already. Trace: softirq_raise."""
        if not tasklet.scheduled:
            tasklet.scheduled = True
            if self.sched.lockdep is not None:
                check_hand(self.sched, cpu, "tasklet_vec")
            self._normal[cpu.id].append(tasklet)
            await self.softirq.raise_softirq(cpu, TASKLET_SOFTIRQ)

    async def tasklet_hi_schedule(self, cpu: Cpu, tasklet: Tasklet) -> None:
        """Have a tasklet run once on this CPU, before all other softirqs. Trace: softirq_raise."""
        if not tasklet.scheduled:
            tasklet.scheduled = True
            if self.sched.lockdep is not None:
                check_hand(self.sched, cpu, "tasklet_hi_vec")
            self._hi[cpu.id].append(tasklet)
            await self.softirq.raise_softirq(cpu, HI_SOFTIRQ)

    async def takeover(self, cpu: Cpu, dead: int) -> None:
        """Append the lists of a dead CPU to this CPU's and raise both vectors. Linux: takeover_tasklets()."""
        for lists, nr in ((self._normal, TASKLET_SOFTIRQ), (self._hi, HI_SOFTIRQ)):
            lists[cpu.id] += lists[dead]
            lists[dead] = []
            await self.softirq.raise_softirq(cpu, nr)

    def queued(self, cpu: int) -> tuple[list[Tasklet], list[Tasklet]]:
        """Return what waits on a CPU: the HI list and the normal one."""
        return list(self._hi[cpu]), list(self._normal[cpu])

    # --- keeping it from running

    def tasklet_disable_nosync(self, tasklet: Tasklet) -> None:
        """Keep a tasklet from starting; it may be running right now. While it is scheduled its softirq spins."""
        tasklet.count += 1

    async def tasklet_disable(self, task: Task, tasklet: Tasklet) -> None:
        """Keep a tasklet from starting, and sleep until it does not run."""
        self.tasklet_disable_nosync(tasklet)
        await self.tasklet_unlock_wait(task, tasklet)

    async def tasklet_disable_in_atomic(self, cpu: Cpu, tasklet: Tasklet) -> None:
        """Keep a tasklet from starting, and spin until it does not run."""
        self.tasklet_disable_nosync(tasklet)
        if tasklet.running:
            await self._waits(tasklet).spin(cpu, f"tasklet {tasklet.name}", lambda: not tasklet.running)

    def tasklet_enable(self, tasklet: Tasklet) -> None:
        """Undo one disabling. Raises ``KernelBug`` when there was none."""
        if tasklet.count == 0:
            raise KernelBug(f"tasklet_enable of {tasklet.name}, which is not disabled, at {self.sched.engine.now} ns")
        tasklet.count -= 1

    async def tasklet_kill(self, task: Task, tasklet: Tasklet) -> None:
        """Sleep until a tasklet is neither scheduled nor running; whoever schedules it afterwards gets it to run again.

        Model: a disabled tasklet that is scheduled never finishes; the wait for it is a kernel message, not an error, since
        somebody may yet enable it.
        """
        cpu = task.cpu
        trace = self.trace
        if in_interrupt(cpu) and trace is not None:
            trace.printk(cpu, 5, "Attempt to kill tasklet from interrupt")
        if tasklet.scheduled and tasklet.count and trace is not None:
            trace.printk(cpu, 4, f"tasklet_kill: {tasklet.name} is disabled and scheduled, it will not finish until it is enabled")
        if tasklet.scheduled:
            await self._waits(tasklet).sleep(task, f"tasklet {tasklet.name}", lambda: not tasklet.scheduled)
        # SCHED is held meanwhile, so that nobody schedules it between the two waits.
        tasklet.scheduled = True
        await self.tasklet_unlock_wait(task, tasklet)
        tasklet.scheduled = False
        waits = tasklet.waits
        if waits is not None and waits.anyone:
            cpu = task.preempt_disable()
            await waits.wake(cpu)
            await task.preempt_enable()

    async def tasklet_unlock_wait(self, task: Task, tasklet: Tasklet) -> None:
        """Sleep until a tasklet does not run; it may be scheduled, or start again right after."""
        if tasklet.running:
            await self._waits(tasklet).sleep(task, f"tasklet {tasklet.name}", lambda: not tasklet.running)

    def _waits(self, tasklet: Tasklet) -> CallbackWait:
        waits = tasklet.waits
        if waits is None:
            waits = tasklet.waits = CallbackWait(self.sched)
        return waits

    # --- running

    async def _tasklet_action(self, cpu: Cpu) -> None:
        if self.bh_work is not None:
            await self.bh_work(cpu, False)
        await self._action(cpu, self._normal, TASKLET_SOFTIRQ)

    async def _tasklet_hi_action(self, cpu: Cpu) -> None:
        if self.bh_work is not None:
            await self.bh_work(cpu, True)
        await self._action(cpu, self._hi, HI_SOFTIRQ)

    async def _action(self, cpu: Cpu, lists: list[list[Tasklet]], nr: int) -> None:
        batch = lists[cpu.id]
        lists[cpu.id] = []
        trace = self.trace
        cost = self.costs.tasklet_ns
        for tasklet in batch:
            if cost:
                await cpu.spend(cost)
            if tasklet.running or tasklet.count:
                lists[cpu.id].append(tasklet)
                self.softirq.raise_softirq_nowake(cpu, nr)
                continue
            if not tasklet.scheduled:
                raise KernelBug(f"tasklet SCHED state not set: {tasklet.name} on {cpu.name} at {self.sched.engine.now} ns")
            tasklet.running = True
            tasklet.scheduled = False
            waits = tasklet.waits
            if waits is not None and waits.anyone:
                await waits.wake(cpu)
            waits = self._waits(tasklet)
            waits.runner = cpu.current.sim
            if trace is not None:
                saved = cpu.cause
                cpu.cause = trace.tasklet_entry(cpu, tasklet.name, tasklet.callback_name)
                await tasklet.callback(cpu, tasklet)
                trace.tasklet_exit(cpu, tasklet.name, tasklet.callback_name)
                cpu.cause = saved
            else:
                await tasklet.callback(cpu, tasklet)
            waits.runner = None
            tasklet.running = False
            if waits.anyone:
                await waits.wake(cpu)
        if self.costs.tasklet_end_ns:
            await cpu.spend(self.costs.tasklet_end_ns)
