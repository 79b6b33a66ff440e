"""Run one busy scene and tell its digest; as a script, print the digests of every kernel: ``python scene.py [executor]``.

Two devices (one by message, one by a shared level wire), a tasklet, a work, hogs in user and kernel mode that sleep, a
real-time thread: every room of the kernel takes part, on several CPUs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from asyncirq import (
    IRQ_HANDLED,
    IRQ_WAKE_THREAD,
    IRQF_ONESHOT,
    SCHED_FIFO,
    Cpu,
    KernelConfig,
    Machine,
    Sink,
    Task,
    Tasklet,
    Work,
    ms,
    preset,
    run,
    us,
)
from asyncirq.sim import ExecutorName, Policy

KERNELS = (
    preset("linux-6.12"),
    preset("linux-6.1", threadirqs=True),
    preset("linux-6.12", rt=True),
    preset("linux-7.1", preemption="full", napi_threaded=True),
    preset("linux-2.6"),
)


class Outcome(NamedTuple):
    """What a run left behind: digest of the trace, records, and counters that need no trace."""

    digest: str
    records: int
    migrations: int
    interrupts: str


class Scene:
    """The devices and threads of the scene."""

    def __init__(self, m: Machine) -> None:
        self.threads = m.config.irq_flow == "genirq"
        self.m = m
        self.msi = m.msi("eth0")
        self.line, self.irq = m.line(9)
        self.work = Work(self.do_work, "refill")
        self.tasklet = Tasklet(self.do_tasklet, "giveback")
        self.arrivals = m.engine.stream("arrivals")

    async def do_work(self, task: Task, work: Work) -> None:
        await task.spend(us(20))

    async def do_tasklet(self, cpu: Cpu, tasklet: Tasklet) -> None:
        await cpu.spend(us(2))

    async def by_message(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        await cpu.spend(300)
        await self.m.tasklets.tasklet_schedule(cpu, self.tasklet)
        await self.m.workqueues.queue_work(cpu, self.m.workqueues.system_wq, self.work)
        return IRQ_HANDLED

    async def by_wire(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        self.line.set(False)
        await cpu.spend(200)
        return IRQ_WAKE_THREAD if self.threads else IRQ_HANDLED

    async def thread_fn(self, task: Task, irq: int, dev_id: object) -> int:
        await task.spend(us(5))
        return IRQ_HANDLED

    async def device(self, send: Callable[[], None], mean_ns: int) -> None:
        while True:
            await self.m.engine.sleep(self.arrivals.exponential_ns(mean_ns))
            send()

    async def hog(self, task: Task) -> None:
        while True:
            await task.user(us(150))
            await task.spend(us(30))
            await self.m.sleep.nanosleep(task, us(70))

    async def control(self, task: Task) -> None:
        while True:
            await task.spend(us(10))
            await self.m.sleep.usleep_range(task, 100, 150)

    async def start(self) -> None:
        m = self.m
        await m.irq.request_irq(None, self.msi.irq, self.by_message, 0, "eth0", self)
        if self.threads:
            await m.irq.request_threaded_irq(None, self.irq, self.by_wire, self.thread_fn, IRQF_ONESHOT, "dev9", self)
        else:
            await m.irq.request_irq(None, self.irq, self.by_wire, 0, "dev9", self)
        m.spawn(self.device(self.msi.send, us(40)), "nic")
        m.spawn(self.device(lambda: self.line.set(True), us(100)), "wire")
        for number in range(len(m.cpus) + 1):
            m.start_thread(self.hog, f"hog{number}")
        m.start_thread(self.control, "control", policy=SCHED_FIFO, rt_priority=20)


async def play(
    kernel: KernelConfig,
    cpus: int = 2,
    *,
    executor: ExecutorName = "native",
    inline: bool = True,
    sinks: Sequence[Sink] | None = (),
    trace: bool = True,
    policy: Policy | None = None,
    seed: int = 3,
    pieces: int = 1,
) -> Outcome:
    """Play the scene for 10 ms, in so many calls of ``run_for``."""
    async with Machine(cpus, kernel, seed=seed, executor=executor, inline=inline, sinks=sinks, trace=trace, policy=policy, check=True) as m:
        await Scene(m).start()
        for _ in range(pieces):
            await m.run_for(ms(10) // pieces)
        records = m.trace.seq if m.trace is not None else 0
        return Outcome(m.digest if trace else "", records, m.sched.nr_migrations, m.proc("interrupts"))


async def play_all(executor: ExecutorName) -> list[str]:
    """Return the digests of the scene under every kernel."""
    return [(await play(kernel, executor=executor)).digest for kernel in KERNELS]


if __name__ == "__main__":
    chosen: ExecutorName = "anyio" if sys.argv[1:] == ["anyio"] else "native"
    print("\n".join(run(play_all, chosen)))
