"""Put workqueues of either generation on the bench: timers, softirqs and ticks are real, every cost is zero unless given."""

from __future__ import annotations

from typing import Any

from asyncirq.bottom_half.work import Work, WorkFn
from asyncirq.bottom_half.workqueue import BhWorkqueues, ManagedWorkqueues, Workqueue
from asyncirq.bottom_half.workqueue_keventd import Keventd
from asyncirq.config import KernelConfig, preset
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task
from tests.bottom_half.harness import HZ1000, MS, Bench

OLD1000 = preset("linux-2.6", hz=1000)
EXECUTION = ("workqueue_execute_start", "workqueue_execute_end")


class WqBench(Bench):
    """What both generations share: items that run and sleep, and a log of who runs when, in ms."""

    wqs: Any

    async def nap(self, task: Task, ms: int) -> None:
        """Sleep for so many ms, to the ns."""
        await self.sleep.usleep_range(task, ms * 1000, ms * 1000)

    def item(self, name: str, *steps: int) -> Work:
        """Return an item that runs and sleeps in turn, for so many ms each."""
        return Work(self.steps(*steps), name)

    def steps(self, *steps: int) -> WorkFn:
        """Return the function of such an item; it notes its beginning and its end."""

        async def step(task: Task, work: Work) -> None:
            self.tell(f"{work.name} begins")
            for n, ms in enumerate(steps):
                if n % 2:
                    await self.sleep.usleep_range(task, ms * 1000, ms * 1000)
                else:
                    await task.spend(ms * MS)
            self.tell(f"{work.name} ends")

        return step

    def tell(self, text: str) -> None:
        assert self.engine.now % MS == 0, (self.engine.now, text)
        self.log.append((self.engine.now // MS, text))

    def queue_at(self, ms: int, wq: Workqueue, *works: Work, cpu: int = 0) -> list[bool]:
        """Queue items from an interrupt; return the list of the answers, filled when it has come."""
        answers: list[bool] = []

        async def body(here: Cpu) -> None:
            for work in works:
                answers.append(await self.wqs.queue_work(here, wq, work))

        self.irq_at(ms * MS, body, cpu)
        return answers

    def executed(self) -> list[tuple[int, str, str]]:
        """Return the executions as (ms, start or end, item)."""
        return [(ts // MS, event.rsplit("_", 1)[1], fields[0]) for ts, event, *fields in self.events(*EXECUTION)]


class Managed(WqBench):
    """Concurrency-managed workqueues, with rescuers, BH workqueues and the tick's look at hogs."""

    def __init__(self, cpus: int = 1, kernel: KernelConfig = HZ1000, **options: Any) -> None:
        super().__init__(cpus, kernel, **options)
        self.wqs: ManagedWorkqueues = ManagedWorkqueues(self.sched, self.sleep, BhWorkqueues(self.tasklets, self.irq_works))
        self.tick.sched_hooks.append(self.worker_tick)
        self.wqs.boot()

    async def worker_tick(self, cpu: Cpu) -> None:
        worker = self.sched.rqs[cpu.id].curr.worker
        if worker is not None:
            await worker.tick(cpu)


class Old(WqBench):
    """The workqueues of 2.6."""

    def __init__(self, cpus: int = 1, *, online: int = 0, kernel: KernelConfig = OLD1000, **options: Any) -> None:
        super().__init__(cpus, kernel, **options)
        self.wqs: Keventd = Keventd(self.sched, self.sleep)
        if online:
            self.wqs.online = online
        self.wqs.boot()
