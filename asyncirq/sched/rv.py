"""Emit what runtime monitors watch: outermost switches of interrupts and preemption, the scheduler's way in and out, task states.

``watch(sched)`` gives the scheduler, its CPUs and its tasks classes that emit these records; a machine that does not ask for them has
none of this on its way. Time does not pass for them.

* ``irq_disable``, ``irq_enable``: IF changed; ``caller`` is ``local_irq_disable`` and so on for the code's own verbs, ``hardware`` for
  what an interrupt's entry or iret does.
* ``preempt_disable``, ``preempt_enable``: the whole preempt count left or reached 0; without its softirq bits on PREEMPT_RT.
* ``sched_entry_tp``, ``sched_exit_tp``; the exit of a new task's first switch is told too, as ``schedule_tail`` does.
* ``sched_set_state_tp``: a task set its own state; what a wake-up does to it is none. A wait for a lock that sleeps on PREEMPT_RT
  alone, which Linux does not tell, has the letter ``L``.
* ``sched_set_need_resched_tp``: told by the CPU that asks.

Linux: kernel/trace/trace_preemptirq.c, kernel/sched/core.c, include/trace/events/sched.h.
Model: a reschedule that is asked for with interrupts on is asked for under the run-queue lock, which the model does not take: its
``irq_disable`` and ``irq_enable`` (caller ``rq_lock``) are told round the record.
"""

from __future__ import annotations

from typing import Final

from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.preempt import HARDIRQ_MASK, NMI_MASK, SOFTIRQ_OFFSET
from asyncirq.sched.task import SCHED_NORMAL, TASK_DEAD, TASK_NEW, TASK_RTLOCK_WAIT, TASK_RUNNING, TASK_WAKING, Task, TaskFn, state_letter

_COUNT: Final = Cpu.__dict__["preempt_count"]
_OFF: Final = Cpu.__dict__["irqs_off"]
_DUE: Final = Cpu.__dict__["need_resched"]
_STATE: Final = Task.__dict__["state"]
_NOT_ITS_OWN: Final = HARDIRQ_MASK | NMI_MASK | SOFTIRQ_OFFSET
_SILENT: Final = (TASK_NEW, TASK_WAKING)
RTLOCK: Final = "L"
"""Letter of a state that Linux does not tell: the task waits for a lock that sleeps on PREEMPT_RT alone."""
HARDWARE: Final = "hardware"
"""``caller`` of an ``irq_disable`` or ``irq_enable`` that an interrupt's entry or iret did."""


class RvCpu(Cpu):
    """A CPU that tells of every outermost switch of interrupts and preemption; ``counted`` are the bits that keep preemption off."""

    __slots__ = ()
    counted = 0xFFFFFF

    @property
    def irqs_off(self) -> bool:
        """Tell whether interrupts are off."""
        return bool(_OFF.__get__(self))

    @irqs_off.setter
    def irqs_off(self, off: bool) -> None:
        self._switch_irqs(off, HARDWARE)

    def _switch_irqs(self, off: bool, caller: str) -> None:
        was = _OFF.__get__(self)
        if was == off:
            return
        trace = self.trace
        assert trace is not None
        if off:
            _OFF.__set__(self, True)
            trace.irq_disable(self, caller, _comm(self))
        else:
            trace.irq_enable(self, caller, _comm(self))
            _OFF.__set__(self, False)

    def irq_disable(self) -> bool:
        """Clear IF; return whether interrupts were off already."""
        was_off = self.irqs_off
        self._switch_irqs(True, "local_irq_disable")
        super().irq_disable()
        return was_off

    async def irq_enable(self) -> None:
        """Set IF and take what is pending."""
        self._switch_irqs(False, "local_irq_enable")
        await super().irq_enable()

    @property
    def preempt_count(self) -> int:
        """Return the nesting word."""
        return int(_COUNT.__get__(self))

    @preempt_count.setter
    def preempt_count(self, count: int) -> None:
        counted = self.counted
        was, off = _COUNT.__get__(self) & counted, count & counted
        trace = self.trace
        assert trace is not None
        if was and not off:
            trace.preempt_enable(self, _context(was), _comm(self))
        _COUNT.__set__(self, count)
        if off and not was:
            trace.preempt_disable(self, _context(off), _comm(self))

    @property
    def need_resched(self) -> bool:
        """Tell whether a reschedule is due."""
        return bool(_DUE.__get__(self))

    @need_resched.setter
    def need_resched(self, due: bool) -> None:
        was = _DUE.__get__(self)
        _DUE.__set__(self, due)
        task = self.current
        if due and not was and isinstance(task, Task):
            _tell_need_resched(self, task)


class RvTask(Task):
    """A task that tells of the states that it sets."""

    __slots__ = ()

    @property
    def state(self) -> int:
        """Return the state."""
        return int(_STATE.__get__(self))

    @state.setter
    def state(self, state: int) -> None:
        _STATE.__set__(self, state)
        if state in _SILENT:
            return
        cpu = self.cpu
        trace = self.sched.trace
        assert trace is not None
        if cpu.current is not self:
            if state != TASK_RUNNING:
                trace.sched_set_state_tp(_acting(self.sched, cpu), self.comm, self.pid, state_letter(state))
            return
        if cpu.irqs_off or cpu.preempt_count & _NOT_ITS_OWN:
            return  # woken before it slept
        trace.sched_set_state_tp(cpu, self.comm, self.pid, RTLOCK if state == TASK_RTLOCK_WAIT else state_letter(state))
        if state == TASK_DEAD:
            # Its last way into the scheduler, from which nobody comes back.
            trace.sched_entry_tp(cpu, False)


class RvSched(Sched):
    """A scheduler that tells of its way in and out."""

    _arrived: set[int]

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
        """Make a task in state NEW."""
        task = super().new_task(fn, comm, cpu=cpu, kthread=kthread, policy=policy, rt_priority=rt_priority, nice=nice, pid=pid)
        task.__class__ = RvTask
        return task

    async def _schedule(self, task: Task, preempt: bool) -> None:
        trace = self.trace
        assert trace is not None
        self._arrived.discard(task.pid)
        trace.sched_entry_tp(task.cpu, preempt)
        await super()._schedule(task, preempt)
        if task.is_idle or task.pid not in self._arrived:
            # Idle tasks share their pid: theirs is told here in both cases.
            trace.sched_exit_tp(task.cpu, task.pid in self._arrived)

    async def _finish_switch(self, task: Task) -> None:
        await super()._finish_switch(task)
        if not task.is_idle:
            self._arrived.add(task.pid)
            assert self.trace is not None
            self.trace.sched_exit_tp(task.cpu, True)


def watch(sched: Sched) -> None:
    """Let a scheduler that traces emit the records of this module, before it has tasks."""
    if sched.trace is None:
        return
    for cpu in sched.cpus:
        # A class of its own over whatever class the CPU has: other options do the same.
        cpu.__class__ = type(f"Rv{type(cpu).__name__}", (RvCpu, type(cpu)), {"__slots__": (), "counted": sched.count_mask})
    sched.__class__ = RvSched
    assert isinstance(sched, RvSched)
    sched._arrived = set()


def _comm(cpu: Cpu) -> str:
    current = getattr(cpu, "current", None)
    return current.comm if isinstance(current, Task) else ""


def _context(count: int) -> str:
    if count & NMI_MASK:
        return "nmi_enter"
    if count & HARDIRQ_MASK:
        return "irq_enter"
    return "preempt_disable" if count & ~(NMI_MASK | HARDIRQ_MASK) & 0xFF else "local_bh_disable"


def _acting(sched: Sched, otherwise: Cpu) -> Cpu:
    sim = sched.engine.current
    return next((cpu for cpu in sched.cpus if cpu.current.sim is sim), otherwise)


def _tell_need_resched(cpu: Cpu, task: Task) -> None:
    sched = task.sched
    if sched.engine.current is None:
        return  # boot: nobody asks
    asking = _acting(sched, cpu)
    trace = sched.trace
    assert trace is not None
    off, count = asking.irqs_off, asking.preempt_count
    assert isinstance(asking, RvCpu)
    asking._switch_irqs(True, "rq_lock")
    asking.preempt_count = count + 1
    trace.sched_set_need_resched_tp(asking, task.comm, task.pid, cpu.id)
    asking.preempt_count = count
    asking._switch_irqs(off, "rq_unlock")
