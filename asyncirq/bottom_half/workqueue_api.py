"""Say what every generation of workqueues offers: make a workqueue, queue items, wait for them, take them back.

``Workqueues`` is what a driver sees. Two generations stand behind it: ``workqueue.ManagedWorkqueues``, whose pools of workers
are shared by all workqueues (since 2.6.36), and ``workqueue_threads.ThreadWorkqueues``, where each workqueue has a thread
of its own on every CPU (before).

Linux: include/linux/workqueue.h.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncirq.bottom_half.timer_wheel import Timer
from asyncirq.bottom_half.work import DelayedWork, Work
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.task import Task
from asyncirq.sched.wait import preempt_check

if TYPE_CHECKING:
    from asyncirq.bottom_half.sleep import Sleep
    from asyncirq.bottom_half.workqueue_flush import Flusher
    from asyncirq.bottom_half.workqueue_pool import PoolWorkqueue
    from asyncirq.bottom_half.workqueue_rescuer import Rescuer
    from asyncirq.bottom_half.workqueue_threads import CpuWorkqueue

WQ_BH: Final = 1 << 0
WQ_UNBOUND: Final = 1 << 1
WQ_FREEZABLE: Final = 1 << 2
WQ_MEM_RECLAIM: Final = 1 << 3
WQ_HIGHPRI: Final = 1 << 4
WQ_CPU_INTENSIVE: Final = 1 << 5
WQ_SYSFS: Final = 1 << 6
WQ_POWER_EFFICIENT: Final = 1 << 7
WQ_PERCPU: Final = 1 << 8
WQ_DESTROYING: Final = 1 << 15
WQ_DRAINING: Final = 1 << 16
WQ_ORDERED: Final = 1 << 17
WQ_LEGACY: Final = 1 << 18
WQ_CLOSED: Final = WQ_DESTROYING | WQ_DRAINING
"""Only items of the workqueue itself may queue more."""
WQ_USER_FLAGS: Final = (1 << 9) - 1 | WQ_ORDERED | WQ_LEGACY
WQ_MAX_ACTIVE: Final = 2048
WQ_DFL_MIN_ACTIVE: Final = 8
WQ_NAME_LEN: Final = 32
WORK_NR_COLORS: Final = 16

WORK_CPU_UNBOUND: Final = 8192
"""What the trace shows as ``req_cpu`` where the caller asked for no CPU: NR_CPUS of a distribution's kernel."""
HIGHPRI_NICE: Final = -20


class Workqueue:
    """A workqueue: a name, flags, and what its generation needs.

    Of pools: ``pwqs``, its joint to the pool of each CPU; ``max_active``, how many of its items may be active in each bound
    pool, or in all if it is unbound; ``in_flight``, how many of its items there are of each flush colour; ``flushing``, the
    colour that the first flusher waits for. Of threads: ``cpu_wq``, its queue on each CPU.
    """

    __slots__ = (
        "color",
        "cpu_intensive",
        "cpu_wq",
        "drainers",
        "first_flusher",
        "flags",
        "flush_color",
        "flusher_overflow",
        "flusher_queue",
        "flushing",
        "in_flight",
        "mask",
        "max_active",
        "maydays",
        "name",
        "nice",
        "old_pwqs",
        "pwqs",
        "rescuer",
        "single",
        "unbound",
    )

    def __init__(self, name: str, flags: int, max_active: int) -> None:
        self.name = name
        self.flags = flags
        self.max_active = max_active
        self.unbound = bool(flags & WQ_UNBOUND)
        self.cpu_intensive = bool(flags & WQ_CPU_INTENSIVE) and not self.unbound
        self.nice = HIGHPRI_NICE if flags & WQ_HIGHPRI else 0
        self.mask = 0
        self.pwqs: list[PoolWorkqueue] = []
        self.old_pwqs: list[PoolWorkqueue] = []
        self.color = 0
        self.flush_color = 0
        self.flushing = -1
        self.in_flight = [0] * WORK_NR_COLORS
        self.first_flusher: Flusher | None = None
        self.flusher_queue: list[Flusher] = []
        self.flusher_overflow: list[Flusher] = []
        self.drainers = 0
        self.rescuer: Rescuer | None = None
        self.maydays: list[PoolWorkqueue] = []
        self.cpu_wq: list[CpuWorkqueue] = []
        self.single = False

    def __repr__(self) -> str:
        return f"<Workqueue {self.name}>"


class DelayedQueueing(ABC):
    """Queue items after a delay.

    ``add_timer(cpu, work, delay)`` arms the timer of a delayed item, ``del_timer(cpu, work)`` drops it and tells whether it
    was armed. ``delay`` is in the unit of those timers: jiffies. Without timers (a machine of a test) both are to be set.
    """

    add_timer: Callable[[Cpu, DelayedWork, int], Coroutine[Any, Any, None]]
    del_timer: Callable[[Cpu, DelayedWork], Coroutine[Any, Any, bool]]

    def __init__(self, sched: Sched, sleep: Sleep | None) -> None:
        self.sched = sched
        self.sleep = sleep
        self.timers = sleep.timers if sleep is not None else None
        self.workqueues: list[Workqueue] = []
        self.add_timer = self._add_timer
        self.del_timer = self._del_timer

    async def queue_delayed_work(self, cpu: Cpu, wq: Workqueue, work: DelayedWork, delay: int, target: int = WORK_CPU_UNBOUND) -> bool:
        """Queue an item after a delay (0: at once); return False if it is pending already, queued or waiting for its timer.

        Trace: timer_start, or what ``queue_work`` leaves.
        """
        if work.pending or work.disabled:
            return False
        work.pending = True
        await self._queue_delayed(cpu, wq, work, delay, target)
        return True

    async def mod_delayed_work(self, cpu: Cpu, wq: Workqueue, work: DelayedWork, delay: int, target: int = WORK_CPU_UNBOUND) -> bool:
        """Queue an item after a delay, or change the delay of one that is pending; return whether it was pending.

        Nothing is queued while the item is disabled.
        """
        was_pending = await self.cancel_delayed_work(cpu, work)
        if not work.disabled and not work.pending:
            work.pending = True
            await self._queue_delayed(cpu, wq, work, delay, target)
        return was_pending

    async def delayed_work_timer(self, cpu: Cpu, work: DelayedWork) -> None:
        """Queue a delayed item whose timer has expired; called by the timer."""
        work.timer_pending = False
        was_off = cpu.irq_disable()
        await self._enqueue(cpu, work.req_cpu, work.wq, work)
        await cpu.irq_restore(was_off)

    async def cancel_delayed_work(self, cpu: Cpu, work: DelayedWork) -> bool:
        """Take a delayed item back, from its timer or its queue; one that runs is not waited for. Return whether it was pending."""
        return await self.cancel_work(cpu, work)

    async def cancel_delayed_work_sync(self, task: Task, work: DelayedWork) -> bool:
        """Take a delayed item back as ``cancel_work_sync`` does."""
        return await self.cancel_work_sync(task, work)

    async def flush_delayed_work(self, task: Task, work: DelayedWork) -> bool:
        """Queue an item at once if it waits for its timer, and sleep until it has ended; return False if it was idle."""
        might_sleep(task, f"flush_delayed_work({work.name})")
        cpu = task.preempt_disable()
        if work.timer_pending and await self.del_timer(cpu, work):
            await self.delayed_work_timer(cpu, work)
        await task.preempt_enable()
        return await self.flush_work(task, work)

    @abstractmethod
    async def cancel_work(self, cpu: Cpu, work: Work, disable: bool = False) -> bool:
        """Take a pending item back, its timer too, without waiting for a running one; return whether it was pending."""

    @abstractmethod
    async def cancel_work_sync(self, task: Task, work: Work, disable: bool = False) -> bool:
        """Take an item back and sleep until no instance of it runs; return whether it was pending."""

    @abstractmethod
    async def flush_work(self, task: Task, work: Work) -> bool:
        """Sleep until the last queued instance of an item has ended; return False if it was idle."""

    @abstractmethod
    async def _enqueue(self, cpu: Cpu, req_cpu: int, wq: Workqueue, work: Work) -> None:
        """Put an item, whose pending bit is set, into its queue; interrupts are off."""

    def _start_now(self, task: Task) -> None:
        """Make a new thread ready without a waker: at boot, or for a workqueue made later, when an idle CPU is told to look."""
        self.sched.start_now(task)
        cpu = task.cpu
        if self.sched.engine.now and self.sched.rqs[cpu.id].curr.is_idle:
            self.sched.send_reschedule(cpu, cpu.id)

    async def _queue_delayed(self, cpu: Cpu, wq: Workqueue, work: DelayedWork, delay: int, target: int) -> None:
        work.wq = wq
        work.req_cpu = target
        if delay == 0:
            was_off = cpu.irq_disable()
            await self._enqueue(cpu, target, wq, work)
            if not was_off:
                await cpu.irq_enable()
                await preempt_check(cpu)
            return
        work.timer_pending = True
        await self.add_timer(cpu, work, delay)

    async def _add_timer(self, cpu: Cpu, work: DelayedWork, delay: int) -> None:
        timers = self.timers
        if timers is None:
            raise UsageError(f"delayed work {work.name}: these workqueues were made without timers", 22)
        timer = work.timer
        if timer is None:
            timer = work.timer = Timer(partial(self._delayed_work_timer_fn, work), f"{work.name}.timer", irqsafe=True)
        timer.expires = timers.jiffies + delay
        if work.req_cpu == WORK_CPU_UNBOUND:
            timers.add_timer(cpu, timer)
        else:
            timers.add_timer_on(cpu, timer, work.req_cpu)

    async def _delayed_work_timer_fn(self, work: DelayedWork, cpu: Cpu, timer: Timer) -> None:
        await self.delayed_work_timer(cpu, work)

    async def _del_timer(self, cpu: Cpu, work: DelayedWork) -> bool:
        return self.timers is not None and work.timer is not None and self.timers.timer_delete(cpu, work.timer)


class Workqueues(DelayedQueueing):
    """The workqueues of a machine, of whichever generation. ``boot()`` makes the threads of those that exist by then."""

    system_wq: Workqueue
    system_highpri_wq: Workqueue
    system_long_wq: Workqueue
    system_unbound_wq: Workqueue

    @abstractmethod
    def boot(self) -> None:
        """Start the threads of every workqueue there is; no time passes."""

    @abstractmethod
    def alloc_workqueue(self, name: str, flags: int = 0, max_active: int = 0) -> Workqueue:
        """Make a workqueue. Raises ``UsageError`` for what no workqueue can be."""

    @abstractmethod
    async def destroy_workqueue(self, task: Task, wq: Workqueue) -> None:
        """Run what is queued to its end and remove a workqueue; nothing may be queued to it from then on."""

    @abstractmethod
    async def queue_work(self, cpu: Cpu, wq: Workqueue, work: Work) -> bool:
        """Queue an item on this CPU; return False if it is pending or disabled. ``cpu`` is where the caller runs."""

    @abstractmethod
    async def queue_work_on(self, cpu: Cpu, target: int, wq: Workqueue, work: Work) -> bool:
        """Queue an item on CPU ``target``; return False if it is pending or disabled. Raises ``UsageError`` for a CPU that is not there."""

    @abstractmethod
    async def flush_workqueue(self, task: Task, wq: Workqueue) -> None:
        """Sleep until every item has ended that was queued before the call; later ones do not extend it."""
