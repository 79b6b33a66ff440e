"""Define the work item and the queues it moves through.

Linux: include/linux/workqueue.h struct work_struct; the bits of its data word are attributes here.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from asyncirq.errors import UsageError, check_async
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.completion import Completion
from asyncirq.sched.task import Task
from asyncirq.sim.word import Condition

if TYPE_CHECKING:
    from asyncirq.bottom_half.workqueue_pool import PoolWorkqueue, WorkerPool
    from asyncirq.bottom_half.workqueue_threads import CpuWorkqueue

MAX_DISABLE_DEPTH: Final = (1 << 16) - 1

WorkFn = Callable[[Task, "Work"], Coroutine[Any, Any, None]]


class Work:
    """A function to be called by a kworker: ``await function(task, work)``.

    ``pending`` says that it is queued, or that its timer runs; it is cleared before the function starts. ``disabled``
    counts how often it was disabled. ``symbol`` is the function's name in the trace.
    """

    __slots__ = (
        "cause",
        "color",
        "disabled",
        "entry",
        "function",
        "inactive",
        "last_pool",
        "linked",
        "name",
        "pending",
        "pwq",
        "symbol",
        "wq_data",
    )

    is_barrier = False

    def __init__(self, function: WorkFn, name: str, symbol: str = "") -> None:
        check_async(function, f"work {name}: the function")
        self.function = function
        self.name = name
        self.symbol = symbol or function.__name__.lstrip("_")
        self.pending = False
        self.disabled = 0
        self.inactive = False
        self.linked = False
        self.color = 0
        self.cause = 0
        self.pwq: PoolWorkqueue | None = None
        self.last_pool: WorkerPool | None = None
        self.entry: list[Work] | None = None
        self.wq_data: CpuWorkqueue | None = None

    def __repr__(self) -> str:
        return f"<Work {self.name}>"

    def disable(self) -> None:
        """Refuse every later queueing until ``enable``. Raises ``UsageError`` at more than 65535 disablings."""
        if self.disabled == MAX_DISABLE_DEPTH:
            raise UsageError(f"work {self.name}: workqueue: work disable count overflowed", 22)
        self.disabled += 1

    def enable(self) -> bool:
        """End one disabling; return whether the item can be queued again. Raises ``UsageError`` if it was not disabled."""
        if not self.disabled:
            raise UsageError(f"work {self.name} is not disabled", 22)
        self.disabled -= 1
        return not self.disabled


class DelayedWork(Work):
    """A work item that is queued when a timer expires. ``timer`` belongs to whoever provides timers."""

    __slots__ = ("req_cpu", "timer", "timer_pending", "wq")

    def __init__(self, function: WorkFn, name: str, symbol: str = "") -> None:
        super().__init__(function, name, symbol)
        self.timer: Any = None
        self.timer_pending = False
        self.req_cpu = 0
        self.wq: Any = None


class Barrier(Work):
    """A work item that completes when it runs: it is linked behind another one that somebody flushes."""

    __slots__ = ("done", "word")

    is_barrier = True

    def __init__(self, target: Work) -> None:
        super().__init__(self._run, f"{target.name}.barrier", "wq_barrier_func")
        self.pending = True
        self.color = target.color
        self.done = Completion(self.name)
        self.word = Condition(self.name, self._is_done)

    def _is_done(self) -> bool:
        return self.done.done > 0

    async def spin(self, cpu: Cpu) -> None:
        """Keep the CPU until the item has ended, where nobody may sleep."""
        await cpu.stall(self.word)

    async def _run(self, task: Task, work: Work) -> None:
        cpu = task.preempt_disable()
        await self.done.complete(cpu)
        self.word.poke()
        await task.preempt_enable()


def move_linked(work: Work, dest: list[Work]) -> None:
    """Move an item, and what is linked behind it, from the list it is in to the end of another one."""
    source = work.entry
    assert source is not None
    index = source.index(work)
    while True:
        item = source.pop(index)
        item.entry = dest
        item.inactive = False
        dest.append(item)
        if not item.linked:
            return


def insert_behind(target: Work, barrier: Barrier) -> None:
    """Link a barrier behind a queued item."""
    entry = target.entry
    assert entry is not None
    barrier.linked = target.linked
    barrier.inactive = target.inactive
    target.linked = True
    barrier.entry = entry
    barrier.pwq = target.pwq
    entry.insert(entry.index(target) + 1, barrier)
