"""Run recorded code where nobody can migrate: handlers in hard interrupt or their thread, softirq bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.analysis.ops import Emit, Fork, Irq, Op, OpRef, OwnerKind, Raise, Run, Wake
from asyncirq.analysis.programs import emitted
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import TASK_NEW, TASK_NORMAL, TASK_RUNNING

if TYPE_CHECKING:
    from asyncirq.whatif.replay import Replay


class Body:
    """One stretch of recorded code; ``base`` is the index of its first op in the program that ``kind`` and ``ident`` name."""

    __slots__ = ("base", "ident", "kind", "ops")

    def __init__(self, kind: OwnerKind, ident: int, ops: list[Op], base: int = 0) -> None:
        self.kind: Final = kind
        self.ident: Final = ident
        self.ops: Final = ops
        self.base: Final = base

    def ref(self, index: int) -> OpRef:
        """Return the name of the op at ``index`` of this stretch."""
        return OpRef(self.kind, self.ident, self.base + index)


class Bodies:
    """The executor of one replay."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._costs = replay.costs
        self._sched = replay.machine.sched

    async def run(self, cpu: Cpu, body: Body, *, timer: bool = False, skip: int = 0) -> None:
        """Run a body; ``timer``: TIMER is raised as the tick does. ``skip`` ns of its beginning are left out: an event's cost."""
        for index, op in enumerate(body.ops):
            if isinstance(op, Run):
                left = op.ns
                if skip:
                    cut = min(skip, left)
                    left -= cut
                    skip -= cut
                if left:
                    await cpu.spend(left)
            else:
                await self.step(cpu, op, body.ref(index), timer=timer)

    async def step(self, cpu: Cpu, op: Op, ref: OpRef, *, timer: bool = False) -> None:
        """Do an op that takes no time of its own; a wake-up takes the scheduler's."""
        replay = self._replay
        if isinstance(op, Emit):
            replay.verbatim.emit(cpu, op.name, op.fields)
        elif isinstance(op, Wake):
            await self.wake(cpu, op)
        elif isinstance(op, Raise):
            await replay.softirqs.raise_body(cpu, op, timer=timer)
        elif isinstance(op, Fork):
            self.fork(cpu, op)
        elif not isinstance(op, Irq):
            name, fields = emitted(op)
            replay.verbatim.emit(cpu, name, fields)
        replay.arrivals.reached(ref)

    async def wake(self, cpu: Cpu, op: Wake) -> None:
        """Wake a recorded task that sleeps in a block; one that is still awake keeps the wake-up as a token."""
        target = self._replay.tasks.get(op.pid)
        if target is None or not op.counts:
            self._replay.verbatim.emit(cpu, "sched_waking", op.waking)
            if op.cost_ns > 0:
                await cpu.spend(op.cost_ns)
            if op.cost_ns >= 0:
                self._replay.verbatim.emit(cpu, "sched_wakeup", op.wakeup)
            return
        if target.task.state & (TASK_NORMAL | TASK_NEW):
            self._costs.pin("ttwu_ns", op.cost_ns)
            await self._sched.wake_up_process(cpu, target.task)
            self._costs.unpin("ttwu_ns")
        else:
            target.tokens += 1

    def fork(self, cpu: Cpu, op: Fork) -> None:
        """Make a recorded task ready for the first time. Linux: wake_up_new_task(). Trace: sched_wakeup_new."""
        self._replay.verbatim.emit(cpu, "sched_wakeup_new", op.fields)
        target = self._replay.tasks.get(op.pid)
        if target is None or target.task.state != TASK_NEW:
            return
        task = target.task
        rq = self._sched.rqs[task.cpu.id]
        now = self._replay.machine.engine.now
        rq.update_curr(now)
        if not task.rt_task:
            rq.fair.place(task, initial=True)
        task.state = TASK_RUNNING
        rq.activate(task)
        if rq.woken_preempts(task, now):
            self._sched.resched_curr(cpu, task.cpu)
