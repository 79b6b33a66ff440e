"""Run the idle task of a CPU: halt until something is to be scheduled.

Linux: kernel/sched/idle.c. The idle task's preempt count is 1 for life; halting and enabling interrupts is one step.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.task import Task, TaskFn


class Idle:
    """The idle loops of a machine. ``enter(cpu)`` and ``leave(cpu)``, if set, stop and restart the tick.

    ``offline`` is the mask of CPUs that are to die: their loops call ``play_dead(task)``, which returns when the CPU has come back.
    """

    def __init__(self, sched: Sched) -> None:
        self.sched = sched
        self.enter: Callable[[Cpu], None] | None = None
        self.leave: Callable[[Cpu], None] | None = None
        self.offline = 0
        self.play_dead: TaskFn | None = None

    async def cpu_idle(self, task: Task) -> None:
        """Halt until the next interrupt, again and again, and switch to whatever became ready; never returns."""
        sched = self.sched
        cpu = task.cpu
        await cpu.irq_enable()
        while True:
            if self.offline >> cpu.id & 1 and self.play_dead is not None:
                await self.play_dead(task)
            if not cpu.need_resched:
                await cpu.spend(sched.costs.idle_entry_ns)
            while not cpu.need_resched:
                cpu.irq_disable()
                if self.enter is not None:
                    self.enter(cpu)
                await cpu.safe_halt()
            if self.leave is not None:
                self.leave(cpu)
            await sched.schedule_idle(task)
