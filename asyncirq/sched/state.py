"""Hold what every part of the scheduler works on: the run queues, the tasks, the policies of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from asyncirq.config import KernelConfig, Preemption
from asyncirq.costs import Costs
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.deadline import Deadlines
from asyncirq.sched.preempt import SOFTIRQ_MASK
from asyncirq.sched.rq import RootDomain, RunQueue
from asyncirq.sched.task import TASK_IDLE, TASK_RTLOCK_WAIT, TASK_UNINTERRUPTIBLE, Task
from asyncirq.sim.engine import Engine
from asyncirq.trace.recorder import Recorder


class SchedState:
    """The state of one machine's scheduler.

    ``send_reschedule(cpu, dest)`` and ``send_wakeup(cpu, dest)`` send the IPIs; the machine sets them. ``count_mask``
    selects the bits of preempt_count that forbid preemption: all of them, except softirq's on PREEMPT_RT.
    ``user_work(task)`` does what a task's ``work`` flags ask for on its way to user mode. ``lockdep`` is the lock validator
    (``locking.lockdep.Lockdep``) where the kernel has it. ``active`` is the mask of CPUs that tasks are placed on; those of ``online`` that
    are not ``dying`` take kernel threads.
    """

    send_reschedule: Callable[[Cpu, int], None]
    send_wakeup: Callable[[Cpu, int], None]
    task_ready: Callable[[Cpu, RunQueue, Task], None]

    def __init__(self, engine: Engine, cpus: list[Cpu], config: KernelConfig, costs: Costs, trace: Recorder | None) -> None:
        self.engine = engine
        self.cpus = cpus
        self.config = config
        self.costs = costs
        self.trace = trace
        self.all_cpus = (1 << len(cpus)) - 1
        self.active = self.online = self.all_cpus
        self.dying = 0
        self.isolated = 0
        for n in config.isolcpus:
            self.isolated |= 1 << n
        self.isolated &= self.all_cpus
        self.root = RootDomain()
        self.rqs = [RunQueue(cpu, config, len(cpus), self.root) for cpu in cpus]
        self.smp = len(cpus) > 1
        self.deadlines = Deadlines(self)
        for rq in self.rqs:
            rq.charge_dl = self.deadlines.charge
        self.tasks: dict[int, Task] = {}
        self.count_mask = 0xFFFFFF & ~SOFTIRQ_MASK if config.rt else 0xFFFFFF
        self.preemption: Preemption = config.preemption
        self.preemptible_kernel = config.preemption in ("full", "lazy", "rt")
        self.lazy = config.lazy
        self.nr_migrations = 0
        self.rt_warned = False
        self.user_hook: Callable[[Task, bool], None] | None = None
        self.user_work: Callable[[Task], Coroutine[Any, Any, None]] | None = None
        self.lockdep: Any = None
        self._next_pid = 1
        engine.sleepers.append(self._uninterruptible)

    def _uninterruptible(self) -> list[str]:
        waits = TASK_UNINTERRUPTIBLE | TASK_RTLOCK_WAIT
        return [f"{t.comm}-{t.pid}" for t in self.tasks.values() if t.state & waits and t.state != TASK_IDLE]
