"""Move real-time tasks so that the highest priorities of the machine run: push who waits away, pull who waits elsewhere.

A CPU pushes a waiting task when one becomes ready beside a running one that it may not preempt, and after each switch to a
real-time task. It pulls before it picks a lower priority than the task had that it switches away from. Who is bound to its CPU
(by affinity, as a per-CPU thread, or by ``migrate_disable``) stays.

Linux: kernel/sched/rt.c push_rt_task(), pull_rt_task(), find_lowest_rq(), balance_rt(), task_woken_rt(). Model: the puller takes
the task itself, as without RT_PUSH_IPI, and moves are atomic; a task with migration disabled is not freed by the stopper.
"""

from __future__ import annotations

from typing import Final

from asyncirq.hw.cpu import Cpu
from asyncirq.sched.placement import Placement
from asyncirq.sched.rq import RunQueue

NOBODY: Final = 140
"""A priority below every task's."""


class PushPull(Placement):
    """The moves of real-time tasks of one machine."""

    def push_rt_tasks(self, cpu: Cpu, rq: RunQueue) -> None:
        """Move waiting real-time tasks of a CPU to CPUs that run something lower, the highest first. Trace: sched_migrate_task."""
        while True:
            task = rq.rt.pushable(self.active & ~(1 << rq.cpu.id))
            if task is None or task.prio < rq.curr.prio:
                return
            lowest = self._lowest_rq(cpu, task)
            if lowest is None:
                return
            rq.unqueue(task)
            rq.deactivate(task)
            self._set_cpu(cpu, task, lowest.cpu)
            lowest.activate(task)
            self._ask(cpu, lowest.cpu)

    def pull_rt_tasks(self, cpu: Cpu, rq: RunQueue, old: int) -> None:
        """Fetch what waits elsewhere above whatever a CPU would run now, after it ran priority ``old``. Trace: sched_migrate_task."""
        first = rq.rt.first()
        curr = rq.curr.prio if rq.curr.on_rq and not rq.curr.is_idle else NOBODY
        best = min(curr, NOBODY if first is None else first.prio)
        if old >= best or not self.active >> rq.cpu.id & 1:
            return
        here = 1 << rq.cpu.id
        for other in self.rqs:
            if other is rq or not other.rt.bitmap:
                continue
            task = other.rt.pushable(here)
            # One that is about to run there stays.
            if task is not None and task.prio < best and task.prio >= other.curr.prio:
                other.unqueue(task)
                other.deactivate(task)
                self._set_cpu(cpu, task, rq.cpu)
                rq.activate(task)
                best = task.prio
                if best < curr:
                    self._ask(cpu, rq.cpu)
