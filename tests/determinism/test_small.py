"""Show that a run of softirqs, threads and nested interrupts has one digest, whatever steps it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asyncirq.bottom_half.softirq import BLOCK_SOFTIRQ, NET_RX_SOFTIRQ, TASKLET_SOFTIRQ
from asyncirq.config import KernelConfig, preset
from asyncirq.entry import Entry
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, Task
from asyncirq.sim import Driver, ExecutorName
from tests.small import Small

ROOT = Path(__file__).parents[2]
KERNELS = (
    preset("linux-6.12"),
    preset("linux-6.12", preemption="full"),
    preset("linux-6.1"),
    preset("linux-6.12", threadirqs=True),
    preset("linux-6.12", rt=True),
    preset("linux-2.6"),
)
COSTS = {"irq_entry_ns": 250, "irq_exit_ns": 120, "softirq_entry_ns": 90, "softirq_next_ns": 30, "ttwu_ns": 350, "switch_in_ns": 600}


class Busy:
    """Two CPUs: bursts of interrupts that raise softirqs and wake a real-time task, over user and kernel work with BH sections."""

    def __init__(self, kernel: KernelConfig, inline: bool, executor: ExecutorName) -> None:
        self.m = m = Small(2, kernel, entry=Entry, **COSTS)
        m.engine.seed = 7
        m.engine._inline = inline
        m.driver = Driver(m.engine, executor)
        for nr in (NET_RX_SOFTIRQ, BLOCK_SOFTIRQ, TASKLET_SOFTIRQ):
            m.softirq.open_softirq(nr, self.action)
        for cpu in m.cpus:
            m.threads.spawn(cpu)
            m.handle(0x41, self.handler, cpu.id)
            m.handle(0x91, self.nesting, cpu.id)
        self.fifo = [m.start(self.sleeper, f"fifo/{cpu.id}", cpu=cpu.id, policy=SCHED_FIFO, rt_priority=50) for cpu in m.cpus]
        for number in range(3):
            m.start(self.worker, f"worker{number}", nice=number)
        arrivals = m.engine.stream("arrivals")
        when = 1000
        for number in range(400):
            when += arrivals.below(4000)
            m.raise_at(when, 0x91 if number % 3 else 0x41, arrivals.below(2))

    async def action(self, cpu: Cpu) -> None:
        await cpu.spend(700)
        if self.m.engine.stream("again").below(3) == 0:
            self.m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)

    async def handler(self, cpu: Cpu) -> None:
        cpu.lapic.eoi(cpu)
        await cpu.spend(300)
        self.m.softirq.raise_softirq_nowake(cpu, BLOCK_SOFTIRQ)
        await self.m.sched.wake_up_process(cpu, self.fifo[cpu.id])

    async def nesting(self, cpu: Cpu) -> None:
        await cpu.irq_enable()
        await cpu.spend(500)
        self.m.softirq.raise_softirq_nowake(cpu, TASKLET_SOFTIRQ)
        cpu.irq_disable()
        cpu.lapic.eoi(cpu)

    async def sleeper(self, task: Task) -> None:
        while True:
            task.set_current_state(TASK_INTERRUPTIBLE)
            await task.schedule()
            task.set_current_state(0)
            await task.spend(1500)

    async def worker(self, task: Task) -> None:
        while True:
            await task.user(5000)
            cpu = await self.m.softirq.local_bh_disable(task)
            await cpu.spend(2000)
            await self.m.softirq.local_bh_enable(task)
            await task.spend(3000)


async def play(kernel: KernelConfig, inline: bool = True, executor: ExecutorName = "native") -> tuple[str, int]:
    """Return the digest of one millisecond and the number of its records."""
    m = Busy(kernel, inline, executor).m
    await m.driver.executor.start()
    await m.run(1_000_000)
    digest = m.trace.hexdigest()
    await m.close()
    return digest, m.trace.seq


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: f"{k.release}-{k.preemption}{'-threadirqs' * k.threadirqs}")
def test_the_digest_depends_on_no_way_of_stepping(kernel: KernelConfig) -> None:
    digest, records = asyncio.run(play(kernel))
    assert records > 4000
    for inline in (True, False):
        for executor in ("native", "anyio"):
            assert asyncio.run(play(kernel, inline, executor)) == (digest, records)


def test_the_kernels_differ() -> None:
    digests = [asyncio.run(play(kernel))[0] for kernel in KERNELS]
    assert len(set(digests)) == len(KERNELS)


def test_the_digest_does_not_depend_on_the_hash_seed() -> None:
    outputs = []
    for seed in ("1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.determinism.test_small"]
        outputs.append(subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())
    assert outputs[0] == outputs[1] == [asyncio.run(play(kernel))[0] for kernel in KERNELS]


if __name__ == "__main__":
    print("\n".join(asyncio.run(play(kernel))[0] for kernel in KERNELS))
