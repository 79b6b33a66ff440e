"""Hold the ready tasks of one CPU: real time before fair before idle."""

from __future__ import annotations

from asyncirq.config import KernelConfig
from asyncirq.errors import InternalError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.eevdf import EevdfQueue
from asyncirq.sched.fair import CfsQueue, FairQueue
from asyncirq.sched.rt import RtQueue
from asyncirq.sched.task import MAX_RT_PRIO, SCHED_RR, Task


class RootDomain:
    """What the run queues of a machine share: which CPUs have more than one task ready, and which were asked to balance (masks)."""

    __slots__ = ("kicked", "overloaded")

    def __init__(self) -> None:
        self.overloaded = 0
        self.kicked = 0


class RunQueue:
    """The run queue of one CPU. ``curr`` runs and is not queued; ``nr_running`` counts it unless it is the idle task.

    ``lazy`` says that a fair task should give way to another one, where that may wait. ``wake_list`` holds tasks that
    another CPU has left here to be enqueued by this CPU's next call-function interrupt.
    """

    __slots__ = (
        "_lazily",
        "cpu",
        "curr",
        "fair",
        "idle",
        "lazy",
        "next_balance",
        "nr_balance_failed",
        "nr_running",
        "nr_switches",
        "root",
        "rt",
        "wake_list",
    )

    curr: Task
    idle: Task

    def __init__(self, cpu: Cpu, config: KernelConfig, cpus: int, root: RootDomain) -> None:
        self.cpu = cpu
        self.fair: FairQueue = EevdfQueue(config, cpus) if config.fair == "eevdf" else CfsQueue(config, cpus)
        self.rt = RtQueue()
        self._lazily = config.lazy
        self.lazy = False
        self.nr_running = 0
        self.nr_switches = 0
        self.root = root
        self.next_balance = 0
        self.nr_balance_failed = 0
        self.wake_list: list[Task] = []

    def update_curr(self, now: int) -> None:
        """Charge the running task for the time since it was last charged."""
        curr = self.curr
        delta = now - curr.exec_start
        curr.exec_start = now
        curr.sum_exec += delta
        if curr.prio >= MAX_RT_PRIO and not curr.is_idle and self.fair.account(curr, delta):
            self.resched_fair()

    def resched_fair(self) -> None:
        """Ask the running fair task to give way to another one: where preemption is lazy, not before the next tick or user mode."""
        if self._lazily:
            self.lazy = True
        else:
            self.cpu.need_resched = True

    def activate(self, task: Task) -> None:
        """Queue a task that became ready, unless it was still queued to pay a debt."""
        if task.on_rq:
            raise InternalError(f"{task.comm} is queued twice")
        task.on_rq = True
        self.nr_running += 1
        if self.nr_running == 2:
            self.root.overloaded |= 1 << self.cpu.id
        if task.delayed:
            task.delayed = False
        else:
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
        """Take note that a task that is in no queue is no longer ready here."""
        task.on_rq = False
        self.nr_running -= 1
        if self.nr_running == 1:
            self.root.overloaded &= ~(1 << self.cpu.id)

    def highest_prio(self) -> int:
        """Return the priority of the highest real-time task that runs or waits, ``MAX_RT_PRIO`` if there is none."""
        bitmap = self.rt.bitmap
        queued = (bitmap & -bitmap).bit_length() - 1 if bitmap else MAX_RT_PRIO
        return min(queued, self.curr.prio, MAX_RT_PRIO)

    def put_prev(self, task: Task, rr_slice_ns: int) -> None:
        """Queue the task that loses the CPU while ready: a preempted real-time task stays first of its priority."""
        if task.is_idle:
            return
        head = True
        if task.policy == SCHED_RR and task.prio == task.normal_prio and task.rr_left <= 0:
            task.rr_left = rr_slice_ns
            head = False
        self.queue(task, head)

    def pick(self, prev: Task) -> Task:
        """Take the task that runs next out of its queue; the idle task when there is none. ``prev`` ran until now."""
        task = self.rt.first()
        if task is not None:
            self.rt.dequeue(task)
            return task
        fair = self.fair
        if fair.queued:
            task = fair.pick(prev if prev.on_rq and prev.prio >= MAX_RT_PRIO and not prev.is_idle and prev.cpu is self.cpu else None)
            if task is not None:
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
