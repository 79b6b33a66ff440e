"""Clear a CPU of its tasks before it goes down.

From the moment it is not active any more no task is placed on it, except kernel threads that are bound to it for life. What waits there is
moved; who may not move now (migration disabled) is waited for, and so are the bound threads until they sleep.

Linux: kernel/sched/core.c sched_cpu_deactivate(), balance_push(), sched_cpu_wait_empty(), sched_cpu_dying(). Model: the hotplug thread
looks again and again for what has become movable, instead of a callback at every switch of the CPU.
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu
from asyncirq.sched.placement import Placement
from asyncirq.sched.task import TASK_WAKING, Task


class Evacuation(Placement):
    """What the scheduler of one machine does for CPUs that come and go."""

    def set_cpu_dying(self, cpu_id: int, dying: bool) -> None:
        """Say that a CPU is on its way down, or not any more: kernel threads go elsewhere."""
        bit = 1 << cpu_id
        self.dying = self.dying | bit if dying else self.dying & ~bit

    def set_cpu_online(self, cpu_id: int, online: bool) -> None:
        """Say that a CPU runs, or does not."""
        bit = 1 << cpu_id
        self.online = self.online | bit if online else self.online & ~bit

    def set_cpu_active(self, cpu_id: int, active: bool) -> None:
        """Place tasks on a CPU, or no more."""
        bit = 1 << cpu_id
        self.active = self.active | bit if active else self.active & ~bit

    def push_away(self, cpu: Cpu) -> list[Task]:
        """Move every task that waits on this CPU and may leave it; return those that still have to sleep, or to allow it.

        The caller runs on the CPU. Trace: sched_migrate_task, printk.
        """
        rq = self.rqs[cpu.id]
        stay: list[Task] = []
        for task in tuple(self.tasks.values()):
            if task.cpu is not cpu or task is rq.curr:
                continue
            if task.kthread and task.percpu:
                if task.on_rq or task.state == TASK_WAKING:
                    stay.append(task)
            elif task.migrate_depth:
                stay.append(task)
            elif task.on_rq:
                rq.unqueue(task)
                self._move(cpu, task)
            elif task.delayed:
                rq.unqueue(task)
        return stay
