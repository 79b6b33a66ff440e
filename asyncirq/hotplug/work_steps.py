"""Register the steps that differ between kernels: work queues and softirq threads.

Linux: kernel/workqueue.c, kernel/softirq.c.
"""

from __future__ import annotations

from asyncirq.bottom_half.ksoftirqd_26 import NOTIFY_OK, Ksoftirqd26
from asyncirq.bottom_half.workqueue import ManagedWorkqueues, Workqueues
from asyncirq.bottom_half.workqueue_keventd import Keventd
from asyncirq.hotplug.core import Hotplug
from asyncirq.hotplug.states import CpuhpState
from asyncirq.hotplug.steps import EINVAL
from asyncirq.sched.task import Task


class ManagedSteps:
    """The steps of the pools of workers."""

    def __init__(self, workqueues: ManagedWorkqueues) -> None:
        self.workqueues = workqueues

    def register(self, hotplug: Hotplug) -> None:
        """Register them."""
        hotplug.boot_step(CpuhpState.AP_WORKQUEUE_ONLINE, "workqueue:online", self.workqueue_online_cpu, self.workqueue_offline_cpu)

    async def workqueue_online_cpu(self, task: Task, cpu_id: int) -> int:
        """Bind the CPU's workers again."""
        await self.workqueues.workqueue_online_cpu(task, cpu_id)
        return 0

    async def workqueue_offline_cpu(self, task: Task, cpu_id: int) -> int:
        """Let the CPU's workers run elsewhere."""
        await self.workqueues.workqueue_offline_cpu(task, cpu_id)
        return 0


class KeventdSteps:
    """The steps of a kernel whose work queues have a thread on each CPU. The threads of a CPU that dies end."""

    def __init__(self, workqueues: Keventd) -> None:
        self.workqueues = workqueues

    def register(self, hotplug: Hotplug) -> None:
        """Register them."""
        hotplug.boot_step(CpuhpState.WORKQUEUE_PREP, "workqueue:prepare", self.workqueue_up_prepare, self.workqueue_dead)
        hotplug.boot_step(CpuhpState.AP_WORKQUEUE_ONLINE, "workqueue:online", self.workqueue_online, self.workqueue_unbind)

    async def workqueue_up_prepare(self, task: Task, cpu_id: int) -> int:
        """Make the threads of a CPU that is to come."""
        self.workqueues.cpu_up_prepare(cpu_id)
        return 0

    async def workqueue_online(self, task: Task, cpu_id: int) -> int:
        """Start the threads of a CPU that has come."""
        cpu = task.preempt_disable()
        await self.workqueues.cpu_online(cpu, cpu_id)
        await task.preempt_enable()
        return 0

    async def workqueue_unbind(self, task: Task, cpu_id: int) -> int:
        """Let the threads of a CPU that is to die run elsewhere. Linux: kernel/sched.c migrate_live_tasks() of 2.6."""
        for wq in self.workqueues.workqueues:
            thread = wq.cpu_wq[cpu_id].thread
            if thread is not None and not wq.single:
                unbind(thread.task)
        return 0

    async def workqueue_dead(self, task: Task, cpu_id: int) -> int:
        """End the threads of a CPU that has died, and queue here what they have left."""
        await self.workqueues.cpu_dead(task, cpu_id)
        return 0


class DaemonSteps:
    """The steps of ksoftirqd of 2.6, whose daemon of a CPU ends when that dies. Linux: kernel/softirq.c cpu_callback() of 2.6."""

    def __init__(self, daemons: Ksoftirqd26) -> None:
        self.daemons = daemons

    def register(self, hotplug: Hotplug) -> None:
        """Register them."""
        hotplug.boot_step(CpuhpState.SOFTIRQ_DEAD, "softirq:dead", self.softirq_up_prepare, self.softirq_dead)
        hotplug.boot_step(CpuhpState.AP_ONLINE_DYN, "softirq:online", self.softirq_online, None)

    async def softirq_up_prepare(self, task: Task, cpu_id: int) -> int:
        """Make the daemon of a CPU that is to come, or -EINVAL."""
        ret = await self.daemons.cpu_callback(task, "CPU_UP_PREPARE", cpu_id)
        return 0 if ret == NOTIFY_OK else -EINVAL

    async def softirq_online(self, task: Task, cpu_id: int) -> int:
        """Start the daemon of a CPU that has come."""
        await self.daemons.cpu_callback(task, "CPU_ONLINE", cpu_id)
        return 0

    async def softirq_dead(self, task: Task, cpu_id: int) -> int:
        """End the daemon of a CPU that has died, and take its tasklets over."""
        daemon = self.daemons.softirq.ksoftirqd[cpu_id]
        if daemon is not None:
            unbind(daemon)
        await self.daemons.cpu_callback(task, "CPU_DEAD", cpu_id)
        return 0


def unbind(thread: Task) -> None:
    """Let a thread run anywhere that was bound for life."""
    thread.percpu = False
    thread.pinned = thread.migrate_depth > 0
    thread.allowed = thread.sched.all_cpus


def register(hotplug: Hotplug, workqueues: Workqueues) -> None:
    """Register the steps of the kind of work queues that a kernel has."""
    if isinstance(workqueues, ManagedWorkqueues):
        ManagedSteps(workqueues).register(hotplug)
    elif isinstance(workqueues, Keventd):
        KeventdSteps(workqueues).register(hotplug)
