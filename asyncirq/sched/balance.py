"""Spread fair tasks over the CPUs: a CPU that runs out of work takes some, and ticks look for imbalance now and then.

| when | who | what |
| --- | --- | --- |
| before a CPU goes idle | itself | one task of the busiest CPU, unless it ran there a moment ago |
| a tick on a busy CPU, every 16 ms a CPU | itself, in SCHED_SOFTIRQ | tasks worth half the difference to the busiest CPU |
| a tick on a CPU with two tasks, others idle without a tick | the first idle one, in SCHED_SOFTIRQ | as above |

The balance of a busy CPU moves nothing heavier than the imbalance, but gives in by and by: three equal tasks on two CPUs rotate.

Linux: kernel/sched/fair.c sched_balance_newidle(), sched_balance_trigger(), sched_balance_rq(), nohz_balancer_kick(). Model: one
domain of all CPUs that are not isolated; a look that would find no CPU with two tasks is not made, so SCHED_SOFTIRQ is raised only
when there is something to balance; load is weight, without decay; no capacities, no active balance.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.hw.cpu import Cpu
from asyncirq.sched.pushpull import PushPull
from asyncirq.sched.rq import RunQueue
from asyncirq.sched.task import MAX_RT_PRIO, Task

MIGRATION_COST_NS: Final = 500_000
"""Who ran on its CPU less than this ago is hot in its cache."""
BUSY_FACTOR: Final = 16
IMBALANCE_PCT: Final = 117
MS: Final = 1_000_000
SCHED_SOFTIRQ: Final = 7

Upcall = Callable[[Cpu, int], Coroutine[Any, Any, None]]


class Balance(PushPull):
    """The balance of one machine.

    ``raise_softirq(cpu, nr)`` and ``kick_idle(cpu, dest)``, which makes an idle CPU raise SCHED_SOFTIRQ, are upcalls; without them there is
    no periodic balance. ``tickless(cpu)`` tells whether a CPU idles without a tick.
    """

    raise_softirq: Upcall | None = None
    kick_idle: Upcall | None = None
    tickless: Callable[[Cpu], bool] | None = None

    def _balance(self, cpu: Cpu, rq: RunQueue, prev: Task) -> None:
        """Fetch work before the next task is picked."""
        if prev.prio < MAX_RT_PRIO and not prev.on_rq:
            self.pull_rt_tasks(cpu, rq, prev.prio)
        if self.root.overloaded and not rq.nr_running and not rq.wake_list and not self.isolated >> cpu.id & 1:
            self.newidle_balance(cpu, rq)

    def newidle_balance(self, cpu: Cpu, rq: RunQueue) -> bool:
        """Take one waiting fair task from the busiest CPU; return whether there was one. Trace: sched_migrate_task."""
        busiest = self._busiest(rq) if self.active >> rq.cpu.id & 1 else None
        if busiest is None:
            return False
        for task in self._movable(busiest, rq):
            if self.engine.now - task.exec_start >= MIGRATION_COST_NS:
                self._pull(cpu, task, busiest, rq)
                return True
        return False

    async def balance_tick(self, cpu: Cpu) -> None:
        """Look at a tick whether it is time to balance; called after ``scheduler_tick``, interrupts off."""
        rq = self.rqs[cpu.id]
        if not self.root.overloaded or self.raise_softirq is None or self.isolated >> cpu.id & 1:
            return
        if self.engine.now >= rq.next_balance:
            await self.raise_softirq(cpu, SCHED_SOFTIRQ)
        if rq.nr_running > 1 and self.kick_idle is not None and self.tickless is not None:
            for other in self.rqs:
                if other.curr.is_idle and not other.nr_running and self._in_domain(other) and self.tickless(other.cpu):
                    if self.engine.now >= other.next_balance and not self.root.kicked:
                        self.root.kicked = 1 << other.cpu.id
                        await self.kick_idle(cpu, other.cpu.id)
                    break

    async def rebalance(self, cpu: Cpu) -> None:
        """Pull what this CPU should have of the busiest one: the action of SCHED_SOFTIRQ. Trace: sched_migrate_task."""
        rq = self.rqs[cpu.id]
        self.root.kicked &= ~(1 << cpu.id)
        idle = rq.curr.is_idle and not rq.nr_running
        interval = len(self.rqs) * MS * (1 if idle else BUSY_FACTOR)
        rq.next_balance = self.engine.now + interval
        busiest = self._busiest(rq) if self.active >> rq.cpu.id & 1 else None
        if busiest is None:
            rq.nr_balance_failed = 0
            return
        mine, theirs = self.load(rq), self.load(busiest)
        if idle:
            imbalance = theirs
            most = 1
        else:
            if theirs * 100 <= mine * IMBALANCE_PCT:
                return
            average = sum(self.load(each) for each in self.rqs if self._in_domain(each)) // sum(map(self._in_domain, self.rqs))
            imbalance = min(theirs - average, average - mine)
            most = len(busiest.fair.queued)
        if self._move_load(cpu, busiest, rq, imbalance, most):
            rq.nr_balance_failed = 0
        else:
            rq.nr_balance_failed += 1

    def load(self, rq: RunQueue) -> int:
        """Return the weight of all fair tasks of a CPU that are ready."""
        curr = rq.curr
        running = 0 if curr.is_idle or curr.prio < MAX_RT_PRIO else curr.weight
        return running + sum(task.weight for task in rq.fair.queued if not task.delayed)

    def _move_load(self, cpu: Cpu, busiest: RunQueue, rq: RunQueue, imbalance: int, most: int) -> int:
        moved = 0
        for task in self._movable(busiest, rq):
            hot = self.engine.now - task.exec_start < MIGRATION_COST_NS
            if moved == most or (hot and not rq.nr_balance_failed) or task.weight >> rq.nr_balance_failed > imbalance:
                continue
            self._pull(cpu, task, busiest, rq)
            imbalance -= task.weight
            moved += 1
        return moved

    def _busiest(self, rq: RunQueue) -> RunQueue | None:
        best = None
        most = 0
        for other in self.rqs:
            if other is not rq and other.nr_running > 1 and self._in_domain(other):
                load = self.load(other)
                if load > most:
                    best, most = other, load
        return best

    def _in_domain(self, rq: RunQueue) -> bool:
        return bool((self.active & ~self.isolated) >> rq.cpu.id & 1)

    def _movable(self, source: RunQueue, rq: RunQueue) -> list[Task]:
        """Return the waiting fair tasks that may move, who has not run for longest first."""
        index = rq.cpu.id
        found = [t for t in source.fair.queued if t.allowed >> index & 1 and not t.pinned and not t.delayed]
        return sorted(found, key=lambda task: (task.exec_start, task.pid))

    def _pull(self, cpu: Cpu, task: Task, source: RunQueue, rq: RunQueue) -> None:
        source.unqueue(task)
        source.deactivate(task)
        self._arrive(cpu, task, source, rq)
