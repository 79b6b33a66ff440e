"""Run softirqs in threads: ksoftirqd of each CPU, and ktimers where the timer vectors have a thread of their own.

Linux: kernel/softirq.c spawn_ksoftirqd(), run_ksoftirqd(), run_ktimerd(). The threads are smpboot's, except in 2.6, where
ksoftirqd has a loop of its own (``ksoftirqd_26``).
"""

from __future__ import annotations

from asyncirq.bottom_half.ksoftirqd_26 import Ksoftirqd26
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.smpboot import HotplugThread, Smpboot
from asyncirq.sched.task import SCHED_FIFO, Task


class SoftirqThreads:
    """The softirq threads of a machine; ``spawn`` makes them at boot. ``daemons`` is ksoftirqd of 2.6, None where smpboot has it."""

    def __init__(self, softirq: Softirq, smpboot: Smpboot | None = None) -> None:
        self.softirq = softirq
        self.sched = softirq.sched
        self.smpboot = smpboot if smpboot is not None else Smpboot(softirq.sched)
        config = softirq.config
        self.daemons = None if config.ksoftirqd_loop == "smpboot" else Ksoftirqd26(softirq, self.smpboot)
        self.ksoftirqd = HotplugThread("ksoftirqd", self._should_run, self._run_ksoftirqd, nice=config.ksoftirqd_nice)
        self.ktimers = HotplugThread("ktimers", self._timers_should_run, self._run_ktimerd, policy=SCHED_FIFO, rt_priority=1)

    def spawn(self, cpu: Cpu) -> None:
        """Make and start ksoftirqd of one CPU, and ktimers where the kernel has it."""
        softirq = self.softirq
        index = cpu.id
        if self.daemons is not None:
            softirq.ksoftirqd[index] = self.daemons.boot(index)
        else:
            softirq.ksoftirqd[index] = self.smpboot.boot(self.ksoftirqd, index).task
        if softirq.config.has_ktimers:
            softirq.ktimers[index] = self.smpboot.boot(self.ktimers, index).task

    def _should_run(self, index: int) -> bool:
        return self.softirq.pending[index] != 0

    def _timers_should_run(self, index: int) -> bool:
        return self.softirq.pending_timers[index] != 0

    async def _run_ksoftirqd(self, task: Task) -> None:
        await self.softirq.run_in_thread(task, timers=False)
        await self.sched.cond_resched(task)

    async def _run_ktimerd(self, task: Task) -> None:
        await self.softirq.run_in_thread(task, timers=True)
