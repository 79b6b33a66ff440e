"""Run softirqs in threads: ksoftirqd of each CPU, and ktimers where the timer vectors have a thread of their own.

Linux: kernel/softirq.c run_ksoftirqd(), run_ktimerd(). A thread tests for work after it has announced its sleep, so no
wake-up is lost.
"""

from __future__ import annotations

from asyncirq.bottom_half.softirq import Softirq
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import SCHED_FIFO, SCHED_NORMAL, TASK_INTERRUPTIBLE, TASK_RUNNING, Task


class SoftirqThreads:
    """The softirq threads of a machine; ``spawn`` makes them at boot."""

    def __init__(self, softirq: Softirq) -> None:
        self.softirq = softirq
        self.sched = softirq.sched

    def spawn(self, cpu: Cpu) -> None:
        """Make and start ksoftirqd of one CPU, and ktimers where the kernel has it."""
        softirq = self.softirq
        config = softirq.config
        task = self.sched.new_task(
            self._ksoftirqd, f"ksoftirqd/{cpu.id}", cpu=cpu.id, kthread=True, policy=SCHED_NORMAL, nice=config.ksoftirqd_nice
        )
        softirq.ksoftirqd[cpu.id] = task
        self.sched.start_now(task)
        if config.has_ktimers:
            task = self.sched.new_task(self._ktimers, f"ktimers/{cpu.id}", cpu=cpu.id, kthread=True, policy=SCHED_FIFO, rt_priority=1)
            softirq.ktimers[cpu.id] = task
            self.sched.start_now(task)

    async def _ksoftirqd(self, task: Task) -> None:
        softirq = self.softirq
        index = task.cpu.id
        while True:
            task.set_current_state(TASK_INTERRUPTIBLE)
            if not softirq.pending[index]:
                await task.schedule()
                continue
            await self._go_on(task)
            await softirq.run_in_thread(task, timers=False)
            await self.sched.cond_resched(task)

    async def _ktimers(self, task: Task) -> None:
        softirq = self.softirq
        index = task.cpu.id
        while True:
            task.set_current_state(TASK_INTERRUPTIBLE)
            if not softirq.pending_timers[index]:
                await task.schedule()
                continue
            await self._go_on(task)
            await softirq.run_in_thread(task, timers=True)

    async def _go_on(self, task: Task) -> None:
        """Run after all: here a preemptible kernel takes the CPU away between two rounds. Linux: smpboot_thread_fn()."""
        task.set_current_state(TASK_RUNNING)
        if task.cpu.need_resched:
            await self.sched.preempt_schedule(task)
