"""Run ksoftirqd as 2.6 did: a kthread for each CPU with a loop of its own, made and ended by a CPU notifier.

While something is pending it runs ``do_softirq`` with preemption off and offers the CPU between two rounds. Found on a CPU that
is offline it processes nothing more and waits to be stopped.

Linux: kernel/softirq.c ksoftirqd(), cpu_callback(), up to 3.6. Two loops are known: ``own`` has preemption off round the processing
only, ``own-early`` (2.6.9) round the test for work too. Model: ``softirqd`` costs fall between the test and the processing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

from asyncirq.bottom_half.softirq import Softirq
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.kthread import Kthread, kthread_create
from asyncirq.sched.smpboot import Smpboot
from asyncirq.sched.task import TASK_INTERRUPTIBLE, TASK_RUNNING, Task

NOTIFY_OK: Final = 0x0001
NOTIFY_BAD: Final = 0x8002

CpuAction = Literal["CPU_UP_PREPARE", "CPU_ONLINE", "CPU_UP_CANCELED", "CPU_DEAD"]


class Ksoftirqd26:
    """The softirq daemons of 2.6.

    ``queued(cpu_id)`` tells whether tasklets wait on a CPU, ``takeover(cpu, dead)`` adopts those of a dead one; the machine sets
    both. ``waits_to_die[cpu_id]`` says that a daemon found its CPU offline.
    """

    def __init__(self, softirq: Softirq, smpboot: Smpboot) -> None:
        self.softirq = softirq
        self.smpboot = smpboot
        self.sched = softirq.sched
        self.costs = softirq.costs
        self.queued: Callable[[int], bool] | None = None
        self.takeover: Callable[[Cpu, int], Coroutine[Any, Any, None]] | None = None
        self.waits_to_die = [False] * len(softirq.sched.cpus)
        self._early = softirq.config.ksoftirqd_loop == "own-early"
        self._daemons: dict[int, Kthread] = {}

    def boot(self, cpu_id: int) -> Task:
        """Make and start the daemon of one CPU without taking time."""
        kthread = self._create(cpu_id)
        self.sched.start_now(kthread.task)
        return kthread.task

    def _create(self, cpu_id: int) -> Kthread:
        nice = self.softirq.config.ksoftirqd_nice
        kthread = kthread_create(self.sched, self._ksoftirqd, f"ksoftirqd/{cpu_id}", cpu=cpu_id, nice=nice)
        self._daemons[cpu_id] = kthread
        return kthread

    # --- the loop

    async def _ksoftirqd(self, kthread: Kthread) -> None:
        task = kthread.task
        early = self._early
        # Bound for life: this object stays the daemon's CPU.
        cpu = task.cpu
        index = cpu.id
        softirq = self.softirq
        task.set_current_state(TASK_INTERRUPTIBLE)
        while not kthread.should_stop:
            cpu.preempt_count += early
            if not softirq.pending[index]:
                cpu.preempt_count -= early
                await task.schedule()
                if task.cpu is not cpu:
                    # The CPU has died.
                    await self._wait_to_die(kthread, index)
                    return
                cpu.preempt_count += early
            task.set_current_state(TASK_RUNNING)
            while softirq.pending[index]:
                if self.costs.ksoftirqd_ns:
                    await task.spend(self.costs.ksoftirqd_ns)
                cpu.preempt_count += not early
                if not self.smpboot.online[index]:
                    await task.preempt_enable()
                    await self._wait_to_die(kthread, index)
                    return
                await softirq.do_softirq(cpu)
                await self._offer(task, cpu)
                cpu.preempt_count += early
            if early:
                await task.preempt_enable()
            task.set_current_state(TASK_INTERRUPTIBLE)
        task.set_current_state(TASK_RUNNING)

    async def _offer(self, task: Task, cpu: Cpu) -> None:
        # 2.6's cond_resched() schedules on a preemptible kernel too.
        cpu.preempt_count -= 1
        if cpu.need_resched and self.sched.preemptible_kernel:
            await self.sched.preempt_schedule(task)
        await self.sched.cond_resched(task)

    async def _wait_to_die(self, kthread: Kthread, index: int) -> None:
        task = kthread.task
        self.waits_to_die[index] = True
        task.set_current_state(TASK_INTERRUPTIBLE)
        while not kthread.should_stop:
            await task.schedule()
            task.set_current_state(TASK_INTERRUPTIBLE)
        task.set_current_state(TASK_RUNNING)

    # --- CPUs that come and go

    async def cpu_callback(self, task: Task, action: CpuAction, cpu_id: int) -> int:
        """Follow a CPU that comes up or has died: NOTIFY_OK, or NOTIFY_BAD when its daemon cannot be made.

        Raises ``KernelBug`` when a CPU that is not up yet has tasklets.
        """
        softirq = self.softirq
        if action == "CPU_UP_PREPARE":
            if self.queued is not None and self.queued(cpu_id):
                raise KernelBug(f"kernel BUG: tasklets wait on CPU{cpu_id}, which is not up yet, at {self.sched.engine.now} ns")
            if not self.smpboot.may_create(f"ksoftirqd/{cpu_id}"):
                return NOTIFY_BAD
            softirq.ksoftirqd[cpu_id] = self._create(cpu_id).task
        elif action == "CPU_ONLINE":
            await task.wake(self._daemons[cpu_id].task)
        elif cpu_id in self._daemons:
            softirq.ksoftirqd[cpu_id] = None
            await self._daemons.pop(cpu_id).stop(task)
            self.waits_to_die[cpu_id] = False
            if action == "CPU_DEAD" and self.takeover is not None:
                cpu = task.preempt_disable()
                await self.takeover(cpu, cpu_id)
                await task.preempt_enable()
        return NOTIFY_OK

    async def cpu_up(self, task: Task, cpu_id: int) -> bool:
        """Bring a CPU up as far as its daemon goes; return False, and leave it down, if that cannot be made."""
        if await self.cpu_callback(task, "CPU_UP_PREPARE", cpu_id) == NOTIFY_BAD:
            await self.cpu_callback(task, "CPU_UP_CANCELED", cpu_id)
            return False
        self.smpboot.online[cpu_id] = True
        await self.cpu_callback(task, "CPU_ONLINE", cpu_id)
        return True

    async def cpu_down(self, task: Task, cpu_id: int) -> None:
        """Take a CPU down: its daemon finds out by itself, then is stopped, then what it has left is taken over."""
        self.smpboot.online[cpu_id] = False
        await self.cpu_callback(task, "CPU_DEAD", cpu_id)
