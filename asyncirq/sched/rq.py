"""Hold the ready tasks of one CPU: its stopper before deadline before real time before fair before idle."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Final

from asyncirq.config import KernelConfig
from asyncirq.errors import InternalError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.bandwidth import RtBandwidth
from asyncirq.sched.eevdf import EevdfQueue
from asyncirq.sched.fair import CfsQueue, FairQueue
from asyncirq.sched.rt import RtQueue
from asyncirq.sched.task import MAX_RT_PRIO, SCHED_RR, Task

DEADLINE: Final = 1
STOPPER: Final = 2


class RootDomain:
    """What the run queues of a machine share: which CPUs have more than one task ready, and which were asked to balance (masks)."""

    __slots__ = ("kicked", "overloaded")

    def __init__(self) -> None:
        self.overloaded = 0
        self.kicked = 0


class RunQueue:
    """The run queue of one CPU. ``curr`` runs and is not queued; ``nr_running`` counts it unless it is the idle task.

    ``lazy`` says that a fair task should give way to another one, where that may wait. ``wake_list`` holds tasks that
    another CPU has left here to be enqueued by this CPU's next call-function interrupt. ``high`` holds the waiting stopper and
    deadline tasks, the next first. ``charge_dl(rq, task, delta_ns, now)`` charges a deadline task.
    """

    __slots__ = (
        "_lazily",
        "bandwidth",
        "charge_dl",
        "cpu",
        "curr",
        "fair",
        "high",
        "idle",
        "lazy",
        "next_balance",
        "nr_balance_failed",
        "nr_running",
        "nr_switches",
        "root",
        "rt",
        "sched_goidle",
        "ttwu_count",
        "ttwu_local",
        "wake_list",
    )

    curr: Task
    idle: Task
    charge_dl: Callable[[RunQueue, Task, int, int], None]

    def __init__(self, cpu: Cpu, config: KernelConfig, cpus: int, root: RootDomain) -> None:
        self.cpu = cpu
        self.fair: FairQueue = EevdfQueue(config, cpus) if config.fair == "eevdf" else CfsQueue(config, cpus)
        self.rt = RtQueue()
        self.high: list[Task] = []
        self.bandwidth: RtBandwidth | None = None if config.rt_bandwidth == "none" else RtBandwidth(config)
        self._lazily = config.lazy
        self.lazy = False
        self.nr_running = 0
        self.nr_switches = 0
        self.sched_goidle = 0
        self.ttwu_count = 0
        self.ttwu_local = 0
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
        if curr.prio < MAX_RT_PRIO:
            self._charge_high(curr, delta, now)
        elif not curr.is_idle:
            if self.fair.account(curr, delta):
                self.resched_fair()
            if self.bandwidth is not None and self.bandwidth.serving and self.bandwidth.charge_fair(delta):
                self.cpu.need_resched = True

    def _charge_high(self, curr: Task, delta: int, now: int) -> None:
        if curr.high:
            if curr.high == DEADLINE:
                self.charge_dl(self, curr, delta, now)
        elif self.bandwidth is not None and self.bandwidth.charge_rt(delta, now):
            self.cpu.need_resched = True

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
        if task.prio >= MAX_RT_PRIO:
            self.fair.enqueue(task)
        elif not task.high:
            self.rt.enqueue(task, head)
        elif task.dl is not None and task.dl.throttled:
            task.dl.parked = True
            self._count(-1)
        else:
            insort(self.high, task, key=_rank)

    def unqueue(self, task: Task) -> None:
        """Take a ready, not running task out of the queue of its class."""
        if task.prio >= MAX_RT_PRIO:
            self.fair.dequeue(task)
        elif not task.high:
            self.rt.dequeue(task)
        elif task.dl is not None and task.dl.parked:
            task.dl.parked = False
            self._count(1)
        else:
            self.high.remove(task)

    def _count(self, change: int) -> None:
        self.nr_running += change
        bit = 1 << self.cpu.id
        if self.nr_running > 1:
            self.root.overloaded |= bit
        else:
            self.root.overloaded &= ~bit

    def unpark(self, task: Task) -> None:
        """Queue a deadline task whose next period has begun."""
        self.unqueue(task)
        self.queue(task, head=False)

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
        if self.high:
            return self.high.pop(0)
        bandwidth = self.bandwidth
        fair = self.fair
        if self.rt.bitmap and (bandwidth is None or not (bandwidth.throttled or (bandwidth.serving and fair.queued))):
            task = self.rt.first()
            assert task is not None
            self.rt.dequeue(task)
            return task
        if fair.queued:
            task = fair.pick(prev if prev.on_rq and prev.prio >= MAX_RT_PRIO and not prev.is_idle and prev.cpu is self.cpu else None)
            if task is not None:
                return task
        return self.idle

    def woken_preempts(self, task: Task, now: int) -> bool:
        """Tell whether a task that was just queued should take the CPU from the running one."""
        curr = self.curr
        if task.high or curr.high:
            return _rank(task) < _rank(curr)
        if curr.is_idle:
            return True
        if task.prio < MAX_RT_PRIO:
            return task.prio < curr.prio
        if curr.prio < MAX_RT_PRIO:
            return False
        self.update_curr(now)
        return self.fair.preempts(task, curr)


def _rank(task: Task) -> tuple[int, int]:
    """Return the key by which stoppers and deadline tasks come first; one that is throttled counts for nothing."""
    dl = task.dl
    if dl is None or task.high != DEADLINE:
        return (-task.high, 0)
    return (0, 0) if dl.throttled else (-DEADLINE, dl.due)
