"""Schedule tasks: pick, switch, wake, preempt.

``schedule(task)`` gives up the CPU; ``wake_up_process`` makes a sleeper ready; ``preempt_schedule_irq`` is the last
statement of an interrupt's exit. A wake-up that comes between ``set_current_state`` and ``schedule`` is not lost: it
sets the state back to running. The parts: ``switch``, ``wakeup``, ``policy``, on the state of ``state``.

Linux: kernel/sched/core.c.
"""

from __future__ import annotations

from asyncirq.config import KernelConfig
from asyncirq.costs import Costs
from asyncirq.errors import UsageError, check_async
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.evacuate import Evacuation
from asyncirq.sched.kthreadd import Kthreadd
from asyncirq.sched.policy import Policies
from asyncirq.sched.stop import Stoppers
from asyncirq.sched.task import MAX_RT_PRIO, SCHED_NORMAL, TASK_RUNNING, Task, TaskFn
from asyncirq.sched.wakeup import Wakeups
from asyncirq.sim.engine import Engine
from asyncirq.trace.recorder import Recorder


class Sched(Wakeups, Policies, Evacuation):
    """The scheduler of one machine: a run queue for each CPU, and every task by pid. ``kthreadd`` starts threads for others.

    ``stoppers`` stop a CPU, ``deadlines`` holds the deadline class."""

    def __init__(self, engine: Engine, cpus: list[Cpu], config: KernelConfig, costs: Costs, trace: Recorder | None) -> None:
        super().__init__(engine, cpus, config, costs, trace)
        self.kthreadd = Kthreadd(self)
        self.stoppers = Stoppers(self)
        self.task_ready = self.check_preempt

    def new_task(
        self,
        fn: TaskFn,
        comm: str,
        *,
        cpu: int | None = None,
        kthread: bool = False,
        policy: int = SCHED_NORMAL,
        rt_priority: int = 0,
        nice: int = 0,
        pid: int | None = None,
    ) -> Task:
        """Make a task in state NEW; ``wake_up_process`` starts it. ``cpu`` binds it to that CPU for life.

        Raises ``UsageError`` for a priority outside 1-99 (FIFO, RR) or a nice value outside -20..19.
        """
        if cpu is not None and not 0 <= cpu < len(self.cpus):
            raise UsageError(f"{comm}: there is no CPU {cpu}; there are 0 to {len(self.cpus) - 1}", 22)
        check_async(fn, f"{comm}: the thread's function")
        if pid is None:
            while self._next_pid in self.tasks:
                self._next_pid += 1
            pid = self._next_pid
        elif pid in self.tasks:
            raise UsageError(f"pid {pid} is taken by {self.tasks[pid].comm}")
        task = Task(self, pid, comm, fn)
        task.kthread = kthread
        if cpu is not None:
            task.allowed = 1 << cpu
            task.percpu = task.pinned = True
        self._set_policy(task, policy, rt_priority, nice)
        usable = task.allowed & self.active or task.allowed
        task.cpu = self.cpus[cpu if cpu is not None else (usable & -usable).bit_length() - 1]
        task.saved_count = 2
        task.sim = self.engine.adopt(self._task_main(task), f"{task.comm}-{pid}")
        task.sim.on_cpu = True
        self.tasks[pid] = task
        if self.trace is not None:
            self.trace.task_newtask(self.cpus[0], pid, task.comm)
        return task

    async def set_cpus_allowed_ptr(self, caller: Task, task: Task, mask: int) -> None:
        """Restrict a task to the CPUs of ``mask`` and return when it has left the others: a running one is stopped and moved.

        Linux: kernel/sched/core.c __set_cpus_allowed_ptr(), affine_move_task(). Raises ``UsageError`` as ``set_cpus_allowed`` does,
        ``KernelBug`` in atomic context. Model: a task with migration disabled leaves later, without anybody waiting for it.
        """
        cpu = caller.preempt_disable()
        runs = self.rqs[task.cpu.id].curr is task and not task.migrate_depth
        if not runs:
            self.set_cpus_allowed(cpu, task, mask)
            await caller.preempt_enable()
            return
        here = self._allow(task, mask)
        await caller.preempt_enable()
        if here is not None:

            async def migration_cpu_stop(cpu: Cpu) -> None:
                if task.on_rq and task.cpu is cpu and not task.allowed >> cpu.id & 1 and not task.migrate_depth:
                    self.rqs[cpu.id].unqueue(task)
                    self._move(cpu, task)

            await self.stoppers.stop_one_cpu(caller, here.id, migration_cpu_stop)

    def start_now(self, task: Task) -> None:
        """Make a new task ready without a waker and without taking time: for boot, and for the first task of a test."""
        rq = self.rqs[task.cpu.id]
        if task.prio >= MAX_RT_PRIO:
            rq.fair.place(task, initial=True)
        elif task.dl is not None:
            self.deadlines.wake(rq.cpu, task, self.engine.now)
        rq.activate(task)
        task.queued_at = self.engine.now
        task.state = TASK_RUNNING
        rq.cpu.need_resched = True

    def new_idle(self, cpu: Cpu, fn: TaskFn) -> Task:
        """Make and install the idle task of one CPU; it runs once the engine resumes its context."""
        task = Task(self, 0, f"swapper/{cpu.id}", fn)
        task.is_idle = task.percpu = task.pinned = task.kthread = True
        task.allowed = 1 << cpu.id
        task.state = TASK_RUNNING
        task.on_rq = True
        task.cpu = cpu
        task.sim = self.engine.adopt(fn(task), task.comm)
        task.sim.on_cpu = True
        rq = self.rqs[cpu.id]
        rq.idle = rq.curr = task
        cpu.current = task
        cpu.preempt_count = 1
        return task
