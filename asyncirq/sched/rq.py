"""Hold the ready tasks of one CPU: real time before fair before idle."""

from __future__ import annotations

from asyncirq.config import KernelConfig
from asyncirq.errors import InternalError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.fair import FairQueue
from asyncirq.sched.rt import RtQueue
from asyncirq.sched.task import MAX_RT_PRIO, SCHED_RR, Task


class RunQueue:
    """The run queue of one CPU. ``curr`` runs and is not queued; ``nr_running`` counts it unless it is the idle task.

    ``lazy`` says that a fair task should give way to another one, where that may wait. ``wake_list`` holds tasks that
    another CPU has left here to be enqueued by this CPU's next call-function interrupt.
    """

    __slots__ = ("cpu", "curr", "fair", "idle", "lazy", "nr_running", "nr_switches", "rt", "wake_list")

    curr: Task
    idle: Task

    def __init__(self, cpu: Cpu, config: KernelConfig, cpus: int) -> None:
        self.cpu = cpu
        self.fair = FairQueue(config, cpus)
        self.rt = RtQueue()
        self.lazy = False
        self.nr_running = 0
        self.nr_switches = 0
        self.wake_list: list[Task] = []

    def update_curr(self, now: int) -> None:
        """Charge the running task for the time since it was last charged."""
        curr = self.curr
        delta = now - curr.exec_start
        curr.exec_start = now
        curr.sum_exec += delta
        if curr.prio >= MAX_RT_PRIO and not curr.is_idle:
            self.fair.account(curr, delta)

    def activate(self, task: Task) -> None:
        """Queue a task that became ready."""
        if task.on_rq:
            raise InternalError(f"{task.comm} is queued twice")
        task.on_rq = True
        self.nr_running += 1
        self.queue(task, head=False)

    def queue(self, task: Task, head: bool) -> None:
        """Put a ready task into the queue of its class."""
        if task.prio < MAX_RT_PRIO:
            self.rt.enqueue(task, head)
        else:
            self.fair.enqueue(task)

    def unqueue(self, task: Task) -> None:
        """Take a ready, not running task out of the queue of its class."""
        if task.prio < MAX_RT_PRIO:
            self.rt.dequeue(task)
        else:
            self.fair.dequeue(task)

    def deactivate(self, task: Task) -> None:
        """Take note that the running task sleeps."""
        task.on_rq = False
        self.nr_running -= 1

    def put_prev(self, task: Task, rr_slice_ns: int) -> None:
        """Queue the task that loses the CPU while ready: a preempted real-time task stays first of its priority."""
        if task.is_idle:
            return
        head = True
        if task.policy == SCHED_RR and task.prio == task.normal_prio and task.rr_left <= 0:
            task.rr_left = rr_slice_ns
            head = False
        self.queue(task, head)

    def pick(self) -> Task:
        """Take the task that runs next out of its queue; the idle task when there is none."""
        task = self.rt.first()
        if task is not None:
            self.rt.dequeue(task)
            return task
        task = self.fair.first()
        if task is not None:
            self.fair.dequeue(task)
            return task
        return self.idle

    def woken_preempts(self, task: Task, now: int) -> bool:
        """Tell whether a task that was just queued should take the CPU from the running one."""
        curr = self.curr
        if curr.is_idle:
            return True
        if task.prio < MAX_RT_PRIO:
            return task.prio < curr.prio
        if curr.prio < MAX_RT_PRIO:
            return False
        self.update_curr(now)
        return self.fair.preempts(task, curr)
