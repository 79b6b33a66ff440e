"""Do what is left to do on the way to user mode: reschedule, probes, patches, signals, in one order, until nothing is left.

| order | flag | whose work |
| --- | --- | --- |
| 1 | the CPU's ``need_resched`` | the scheduler's |
| 2 | ``TIF_UPROBE`` | a breakpoint set in user code |
| 3 | ``TIF_PATCH_PENDING`` | live patching: the task moves over to the patched functions |
| 4 | ``TIF_SIGPENDING``, ``TIF_NOTIFY_SIGNAL`` | a signal, or work queued to the task that interrupts its system call |
| 5 | ``TIF_NOTIFY_RESUME`` | whatever asked to run before user mode |
| 6 | any | the architecture's |

Each round reads the flags once, with interrupts off, and works with interrupts on; what is raised during a round, even by its own
last step, takes another round. A flag is cleared by its work alone, here before the call.

Linux: kernel/entry/common.c exit_to_user_mode_loop(), exit_to_user_mode_prepare().
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.task import Task

TIF_NOTIFY_RESUME: Final = 1 << 1
TIF_SIGPENDING: Final = 1 << 2
TIF_UPROBE: Final = 1 << 12
TIF_PATCH_PENDING: Final = 1 << 13
TIF_NOTIFY_SIGNAL: Final = 1 << 17
EXIT_WORK: Final = (
    ("uprobe", TIF_UPROBE),
    ("patch", TIF_PATCH_PENDING),
    ("signal", TIF_SIGPENDING | TIF_NOTIFY_SIGNAL),
    ("notify_resume", TIF_NOTIFY_RESUME),
)
"""Name and flags of each kind of work, in the order of the loop."""
ALL_WORK: Final = TIF_NOTIFY_RESUME | TIF_SIGPENDING | TIF_UPROBE | TIF_PATCH_PENDING | TIF_NOTIFY_SIGNAL

Work = Callable[[Task, int], Coroutine[Any, Any, None]]
"""What a flag asks for: ``await work(task, flags)``, with interrupts on; ``flags`` are those of the round."""


class ExitWork:
    """The work on the way to user mode of one machine's tasks.

    ``handlers`` maps the names of ``EXIT_WORK`` to what does it; a flag without a handler is cleared and that is all. ``arch``, if
    set, ends each round. ``flush_rcu(cpu)``, if set, is called first and after each round: it wakes RCU's offload threads.
    ``rounds`` counts rounds. ``note(cpu, step)``, if set, hears of each step.
    """

    def __init__(self, sched: Sched) -> None:
        self.sched = sched
        self.costs = sched.costs
        self.handlers: dict[str, Work] = {}
        self.arch: Work | None = None
        self.flush_rcu: Callable[[Cpu], None] | None = None
        self.note: Callable[[Cpu, str], None] | None = None
        self.rounds = 0
        sched.user_work = self.prepare

    def register(self, name: str, work: Work) -> None:
        """Have ``await work(task, flags)`` do one kind of work. Raises ``UsageError`` for a name that is none."""
        if name not in {known for known, _ in EXIT_WORK}:
            raise UsageError(f"{name!r} is no work on the way to user mode: {', '.join(known for known, _ in EXIT_WORK)}")
        self.handlers[name] = work

    async def prepare(self, task: Task) -> None:
        """Do all work of a task on its way to user mode; returns with interrupts off. Linux: exit_to_user_mode_prepare().

        Raises ``KernelBug`` when the task still holds a lock then.
        """
        cpu = task.cpu
        if not cpu.irqs_off:
            cpu.irq_disable()
        if self.flush_rcu is not None:
            self.flush_rcu(cpu)
        if self.sched.lazy:
            self.sched.promote_lazy(cpu)
        if cpu.need_resched or task.work:
            await self._loop(task)
        if task.held_locks:
            names = ", ".join(str(lock) for lock in task.held_locks)
            raise KernelBug(
                f"WARNING: lock held when returning to user space! {task.comm}/{task.pid} is leaving the kernel with {names} still held, "
                f"on {task.cpu.name} at {self.sched.engine.now} ns"
            )

    async def _loop(self, task: Task) -> None:
        cost = self.costs.user_exit_work_ns
        while True:
            cpu = task.cpu
            flags = task.work
            resched = cpu.need_resched
            self.rounds += 1
            await cpu.irq_enable()
            if cost:
                await task.spend(cost)
            if resched:
                self._note(task, "schedule")
                await self.sched.schedule(task)
            for name, mask in EXIT_WORK:
                if flags & mask:
                    self._note(task, name)
                    task.work &= ~mask
                    handler = self.handlers.get(name)
                    if handler is not None:
                        await handler(task, flags)
            if self.arch is not None:
                self._note(task, "arch")
                await self.arch(task, flags)
            task.cpu.irq_disable()
            if self.flush_rcu is not None:
                self.flush_rcu(task.cpu)
            if self.sched.lazy:
                self.sched.promote_lazy(task.cpu)
            if not (task.cpu.need_resched or task.work):
                return

    def _note(self, task: Task, step: str) -> None:
        if self.note is not None:
            self.note(task.cpu, step)


def set_work(task: Task, flags: int) -> None:
    """Set flags of a task, which it answers before it is in user mode again. Raises ``UsageError`` for a flag that asks for no work.

    Model: a task that runs in user mode on another CPU answers at its next interrupt; whoever wants it sooner sends one, as Linux
    does by kick_process().
    """
    if not flags or flags & ~ALL_WORK:
        raise UsageError(f"{flags:#x} is no work on the way to user mode")
    task.work |= flags
