"""Serve recorded softirq bodies: a raise queues the body that it led to, the vector's action runs all that are queued.

So bodies are merged, delayed and moved between contexts by the kernel that is replayed. On PREEMPT_RT there is no RCU
softirq: its bodies run in ``rcuc/N`` with bottom halves off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncirq.analysis.ops import Raise
from asyncirq.bottom_half.softirq import HRTIMER_SOFTIRQ, NET_RX_SOFTIRQ, NR_SOFTIRQS, RCU_SOFTIRQ, TASKLET_SOFTIRQ, TIMER_SOFTIRQ
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, TASK_RUNNING, Task
from asyncirq.whatif.bodies import Body

if TYPE_CHECKING:
    from asyncirq.whatif.replay import Replay

SERVED_LATER: Final = -2
"""``Raise.body`` of a vector that was still pending when the phase ended."""

Receive = Callable[[Cpu, Body], Coroutine[Any, Any, None]]


class SoftirqBodies:
    """The queues of one replay. ``receive(cpu, body)``, if set, takes the bodies of NET_RX elsewhere."""

    def __init__(self, replay: Replay) -> None:
        self.receive: Receive | None = None
        self._replay = replay
        self._costs = replay.costs
        self._softirq = replay.machine.softirq
        self._sched = replay.machine.sched
        self._rt = replay.machine.config.rt
        cpus = replay.machine.cpus
        self._queues: list[list[deque[Body]]] = [[deque() for _ in range(NR_SOFTIRQS)] for _ in cpus]
        self._moved: list[deque[Body]] = [deque() for _ in cpus]
        self._callbacks: list[deque[Body]] = [deque() for _ in cpus]
        self._rcuc: list[Task] = []
        self._tasklets = replay.machine.tasklets
        tasklets = replay.target.bottom_half == "tasklet"
        for nr in range(NR_SOFTIRQS):
            if not (tasklets and nr == TASKLET_SOFTIRQ):
                self._softirq.open_softirq(nr, partial(self._action, nr))
        if tasklets:
            self._tasklets.bh_work = self._before_tasklets
        if self._rt:
            for cpu in cpus:
                task = self._sched.new_task(self._rcuc_main, f"rcuc/{cpu.id}", cpu=cpu.id, kthread=True, policy=SCHED_FIFO, rt_priority=1)
                self._rcuc.append(task)
                self._sched.start_now(task)

    def queue(self, cpu_id: int, nr: int, body: Body) -> None:
        """Queue a body on a vector, whose next run takes it."""
        self._queues[cpu_id][nr].append(body)

    async def raise_body(self, cpu: Cpu, op: Raise, *, timer: bool) -> None:
        """Raise a vector with the body that this raise led to; ``timer``: by the timer interrupt.

        What is served in the next phase is raised there: here only the event is left.
        """
        body = self._replay.soft_body(op.body)
        if op.vec == RCU_SOFTIRQ and self._rt:
            if op.body != SERVED_LATER:
                await self._wake_rcuc(cpu, body)
            return
        if op.vec == NET_RX_SOFTIRQ and self.receive is not None:
            if body is not None:
                await self.receive(cpu, body)
            return
        if op.body == SERVED_LATER:
            self._replay.verbatim.emit(cpu, "softirq_raise", op.fields)
            return
        if body is not None:
            self.queue(cpu.id, op.vec, body)
        if timer and op.vec in (TIMER_SOFTIRQ, HRTIMER_SOFTIRQ):
            await self._softirq.raise_timer_softirq(cpu, op.vec)
        else:
            await self._softirq.raise_softirq(cpu, op.vec)

    async def raise_hrtimer(self, cpu: Cpu, body: Body) -> None:
        """Move the expiry of a soft hrtimer from the timer interrupt to HRTIMER.

        The time behind the expiry's last event stays in the interrupt, where the raise has that event's place.
        """
        self._moved[cpu.id].append(body)
        await self._softirq.raise_timer_softirq(cpu, HRTIMER_SOFTIRQ)

    def preload(self, cpu_id: int, nr: int, body: Body) -> None:
        """Make a vector pending from the start, for ktimers what is its; RCU on PREEMPT_RT waits in its thread."""
        if nr == RCU_SOFTIRQ and self._rt:
            self._callbacks[cpu_id].append(body)
            return
        self.queue(cpu_id, nr, body)
        timers = self._replay.machine.config.has_ktimers and nr in (TIMER_SOFTIRQ, HRTIMER_SOFTIRQ)
        words = self._softirq.pending_timers if timers else self._softirq.pending
        words[cpu_id] |= 1 << nr

    def servers(self, cpu_id: int) -> list[Task]:
        """Return the threads of a CPU that have something to serve from the start."""
        softirq = self._softirq
        found = [softirq.ksoftirqd[cpu_id]] if softirq.pending[cpu_id] else []
        if softirq.pending_timers[cpu_id]:
            found.append(softirq.ktimers[cpu_id])
        if self._callbacks[cpu_id]:
            found.append(self._rcuc[cpu_id])
        return [task for task in found if task is not None]

    async def _action(self, nr: int, cpu: Cpu) -> None:
        moved = nr == HRTIMER_SOFTIRQ and bool(self._moved[cpu.id])
        if moved:
            await self._expire(cpu)
        queue = self._queues[cpu.id][nr]
        if not queue and not moved:
            await cpu.spend(self._costs.draw("trace_event", "softirq_entry"))
        batch = list(queue)
        queue.clear()
        for body in batch:
            await self._replay.bodies.run(cpu, body)

    async def _before_tasklets(self, cpu: Cpu, highpri: bool) -> None:
        """Run the recorded bodies of TASKLET where the kernel's own action has its tasklets to run behind them."""
        if not highpri and self._queues[cpu.id][TASKLET_SOFTIRQ]:
            await self._action(TASKLET_SOFTIRQ, cpu)

    async def _expire(self, cpu: Cpu) -> None:
        moved = self._moved[cpu.id]
        batch = list(moved)
        moved.clear()
        for body in batch:
            await self._replay.bodies.run(cpu, body)
            await cpu.spend(self._costs.draw("trace_event", "hrtimer_expire_exit"))

    async def _wake_rcuc(self, cpu: Cpu, body: Body | None) -> None:
        if body is not None:
            self._callbacks[cpu.id].append(body)
        task = self._rcuc[cpu.id]
        if task.state != TASK_RUNNING:
            await self._sched.wake_up_process(cpu, task)

    async def _rcuc_main(self, task: Task) -> None:
        callbacks = self._callbacks[task.cpu.id]
        while True:
            task.set_current_state(TASK_INTERRUPTIBLE)
            if not callbacks:
                await task.schedule()
                continue
            task.set_current_state(TASK_RUNNING)
            await task.spend(self._costs.draw("ktimers_enter", "rcuc"))
            cpu = await self._softirq.local_bh_disable(task)
            while callbacks:
                await self._replay.bodies.run(cpu, callbacks.popleft())
            await self._softirq.local_bh_enable(task)
