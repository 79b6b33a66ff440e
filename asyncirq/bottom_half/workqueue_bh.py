"""Execute work items in softirqs: the BH workqueues, which take the place of tasklets.

Each CPU has two more pools, whose only worker is no thread but a pass of the HI or TASKLET softirq. One entry executes items
in order, up to ten and two milliseconds; what is left raises the vector again. A CPU that queues to another one kicks it
through irq_work. An item gets the task that the softirq runs on top of, and must not sleep.

Linux: kernel/workqueue.c bh_worker(), kick_bh_pool(), workqueue_softirq_action().
"""

from __future__ import annotations

from functools import partial
from typing import Final

from asyncirq.bottom_half.irq_work import IrqWork, IrqWorks
from asyncirq.bottom_half.softirq import HI_SOFTIRQ, TASKLET_SOFTIRQ, Softirq
from asyncirq.bottom_half.tasklet import Tasklet, Tasklets
from asyncirq.bottom_half.work import Work
from asyncirq.bottom_half.worker import WORKER_PREP, Worker
from asyncirq.bottom_half.workqueue_api import HIGHPRI_NICE
from asyncirq.bottom_half.workqueue_pool import WorkerPool
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task

BH_WORKER_RESTARTS: Final = 10
BH_WORKER_MS: Final = 2


class BhPool(WorkerPool):
    """A pool whose items execute in the softirq ``nr`` of its CPU."""

    __slots__ = ("irq_work", "irq_works", "nr", "softirq")

    def __init__(self, softirq: Softirq, irq_works: IrqWorks, pool_id: int, cpu: int, nice: int) -> None:
        super().__init__(softirq.sched, pool_id, cpu, nice)
        self.hog_ns = 0
        self.softirq = softirq
        self.irq_works = irq_works
        self.nr = HI_SOFTIRQ if nice < 0 else TASKLET_SOFTIRQ
        self.irq_work = IrqWork(self._bh_pool_kick, f"pool{pool_id}.kick")

    async def kick(self, cpu: Cpu) -> bool:
        """Raise the softirq if items wait, on another CPU by irq_work; return whether they do. Trace: softirq_raise."""
        if not self.need_more_worker():
            return False
        if not self.sched.online >> self.cpu & 1:
            # Another CPU drains it.
            return True
        if cpu.id != self.cpu:
            await self.irq_works.irq_work_queue_on(cpu, self.irq_work, self.cpu)
        else:
            await self.softirq.raise_softirq_irqoff(cpu, self.nr)
        return True

    async def _bh_pool_kick(self, cpu: Cpu, work: IrqWork) -> None:
        await self.softirq.raise_softirq(cpu, self.nr)


class BhWorker(Worker):
    """The worker of one softirq of one CPU; ``task`` is what the softirq runs on top of at present."""

    __slots__ = ()

    def _attach(self) -> tuple[int, Task]:
        return 0, self.pool.sched.rqs[self.pool.cpu].idle

    def _join(self) -> None:
        self.pool.workers.append(self)

    async def run(self, cpu: Cpu) -> None:
        """Execute what waits, within the limits of one entry; the rest raises the softirq again."""
        pool = self.pool
        if not pool.need_more_worker():
            return
        task = cpu.current
        assert isinstance(task, Task)
        self.task = task
        config = pool.sched.config
        now = pool.sched.engine.now
        end = now // config.jiffy_ns + -(-BH_WORKER_MS * 1_000_000 // config.jiffy_ns)
        restarts = BH_WORKER_RESTARTS
        start_ns = pool.sched.costs.work_start_ns
        self._clear_flag(WORKER_PREP)
        while True:
            if start_ns:
                await cpu.spend(start_ns)
            if pool.worklist and self.assign(pool.worklist[0]):
                pool.progress_at = pool.sched.engine.now
                while self.scheduled:
                    await self._process_one(task)
            restarts -= 1
            if not pool.keep_working() or not restarts or pool.sched.engine.now // config.jiffy_ns >= end:
                break
        self._set_flag(WORKER_PREP)
        was_off = cpu.irq_disable()
        await pool.kick(cpu)
        await cpu.irq_restore(was_off)

    async def _call(self, task: Task, work: Work) -> None:
        trace = self.pool.sched.trace
        cpu = task.cpu
        count = cpu.preempt_count
        name, symbol = work.name, work.symbol
        saved = cpu.cause
        if trace is not None:
            cpu.cause = work.cause
            cpu.cause = trace.workqueue_execute_start(cpu, name, symbol)
        await work.function(task, work)
        if trace is not None:
            trace.workqueue_execute_end(cpu, name, symbol)
            if cpu.preempt_count != count:
                trace.printk(cpu, 3, f"BUG: workqueue leaked atomic, lock or RCU: {symbol}")
        cpu.preempt_count = count
        cpu.cause = saved


class BhWorkqueues:
    """The BH pools of one machine: ``pools[cpu]`` are the normal one and that of high priority."""

    def __init__(self, tasklets: Tasklets, irq_works: IrqWorks) -> None:
        self._softirq = tasklets.softirq
        self._irq_works = irq_works
        self._tasklets = tasklets
        self.pools: list[tuple[BhPool, BhPool]] = []
        tasklets.bh_work = self._softirq_action

    def make_pools(self, cpu: int, pool_id: int) -> tuple[BhPool, BhPool]:
        """Make the two pools of the next CPU, with their workers."""
        normal = BhPool(self._softirq, self._irq_works, pool_id, cpu, 0)
        high = BhPool(self._softirq, self._irq_works, pool_id + 1, cpu, HIGHPRI_NICE)
        self.pools.append((normal, high))
        return normal, high

    def boot(self) -> None:
        """Make the worker of every pool."""
        for pair in self.pools:
            for pool in pair:
                BhWorker(pool)

    async def _softirq_action(self, cpu: Cpu, highpri: bool) -> None:
        pool = self.pools[cpu.id][highpri]
        if pool.worklist:
            worker = pool.workers[0]
            assert isinstance(worker, BhWorker)
            await worker.run(cpu)

    async def softirq_dead(self, cpu: Cpu, dead: int) -> None:
        """Execute here what the pools of a dead CPU hold. Linux: workqueue_softirq_dead(). Trace: softirq_raise."""
        for pool in self.pools[dead]:
            if pool.worklist:
                await self._tasklets.tasklet_schedule(cpu, Tasklet(partial(self._drain_dead_softirq_workfn, pool), "drain_dead_softirq"))

    async def _drain_dead_softirq_workfn(self, pool: BhPool, cpu: Cpu, tasklet: Tasklet) -> None:
        worker = pool.workers[0]
        assert isinstance(worker, BhWorker)
        await worker.run(cpu)
        if pool.worklist:
            await self._tasklets.tasklet_schedule(cpu, tasklet)
