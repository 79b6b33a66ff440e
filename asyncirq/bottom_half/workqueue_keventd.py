"""Offer what kernels before 2.6.36 had for shared work: keventd, delayed work that rearms itself, CPUs that come and go.

Linux: kernel/workqueue.c of 2.6.11. Model: the machine's CPUs all come up at boot; the hotplug steps are called by who wants them.
"""

from __future__ import annotations

from asyncirq.bottom_half.work import DelayedWork, Work
from asyncirq.bottom_half.workqueue_api import Workqueue
from asyncirq.bottom_half.workqueue_threads import Removed, ThreadWorkqueues
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import TASK_NEW, Task


class Keventd(ThreadWorkqueues):
    """The workqueues of a kernel before 2.6.36, with the short forms for the shared one."""

    async def schedule_work(self, cpu: Cpu, work: Work) -> bool:
        """Queue an item to keventd on this CPU; return False if it is pending."""
        return await self.queue_work(cpu, self.system_wq, work)

    async def schedule_delayed_work(self, cpu: Cpu, work: DelayedWork, delay: int) -> bool:
        """Queue an item to keventd after a delay, on the CPU whose timer expires; return False if it is pending. Trace: timer_start."""
        return await self.queue_delayed_work(cpu, self.system_wq, work, delay)

    async def schedule_delayed_work_on(self, cpu: Cpu, target: int, work: DelayedWork, delay: int) -> bool:
        """Queue an item to keventd after a delay that is counted on CPU ``target``."""
        return await self.queue_delayed_work(cpu, self.system_wq, work, delay, target)

    async def flush_scheduled_work(self, task: Task) -> None:
        """Flush keventd."""
        await self.flush_workqueue(task, self.system_wq)

    def keventd_up(self) -> bool:
        """Tell whether keventd runs."""
        return self.booted

    def current_is_keventd(self, task: Task) -> bool:
        """Tell whether a task is a thread of keventd."""
        return any(cwq.thread is not None and cwq.thread.task is task for cwq in self.system_wq.cpu_wq)

    async def cancel_rearming_delayed_workqueue(self, task: Task, wq: Workqueue, work: DelayedWork) -> None:
        """Stop an item that queues itself again: flush until its timer is caught.

        Raises ``KernelBug`` where Linux would go on for ever, because the item does not rearm itself.
        """
        while True:
            cpu = task.preempt_disable()
            caught = await self.cancel_delayed_work(cpu, work)
            await task.preempt_enable()
            if caught:
                return
            if not self._queues_of(work):
                raise KernelBug(f"cancel_rearming_delayed_workqueue: {work.name} is idle and will never be caught")
            await self.flush_workqueue(task, wq)

    async def cancel_rearming_delayed_work(self, task: Task, work: DelayedWork) -> None:
        """Stop an item on keventd that queues itself again."""
        await self.cancel_rearming_delayed_workqueue(task, self.system_wq, work)

    # --- CPUs that come and go

    def cpu_up_prepare(self, cpu_id: int) -> None:
        """Make the threads of a CPU that is to come up, one for each workqueue that is not single-threaded."""
        if self.online >> cpu_id & 1:
            raise UsageError(f"CPU {cpu_id} is online", 22)
        for wq in self.workqueues:
            if not wq.single:
                self._make_thread(wq.cpu_wq[cpu_id])

    async def cpu_online(self, cpu: Cpu, cpu_id: int) -> None:
        """Start the threads of a CPU that is up. Trace: sched_waking."""
        self.online |= 1 << cpu_id
        for wq in self.workqueues:
            if not wq.single:
                thread = wq.cpu_wq[cpu_id].thread
                assert thread is not None
                if thread.task.state == TASK_NEW:
                    await thread.wake(cpu)

    async def cpu_dead(self, task: Task, cpu_id: int) -> None:
        """Stop the threads of a CPU that has gone and queue what they left on the caller's CPU. Trace: workqueue_queue_work."""
        if self.online == 1 << cpu_id or not self.online >> cpu_id & 1:
            raise UsageError(f"CPU {cpu_id} cannot go: it is the last one, or not online", 22)
        await self.hotplug_lock.lock(task)
        self.online &= ~(1 << cpu_id)
        for wq in self.workqueues:
            if not wq.single:
                cwq = wq.cpu_wq[cpu_id]
                left = [work for work in cwq.worklist if not isinstance(work, Removed)]
                cwq.remove_sequence += len(cwq.worklist)
                cwq.worklist.clear()
                assert cwq.thread is not None
                await cwq.thread.stop(task)
                cwq.thread = None
                cpu = task.preempt_disable()
                was_off = cpu.irq_disable()
                for work in left:
                    await self._insert(cpu, wq.cpu_wq[cpu.id], work)
                await cpu.irq_restore(was_off)
                await task.preempt_enable()
        await self.hotplug_lock.unlock(task)
