"""Make tasks ready: choose a CPU, queue, tell the CPU.

Linux: kernel/sched/core.c try_to_wake_up(), sched_ttwu_pending(); fair.c select_task_rq_fair(), rt.c select_task_rq_rt().
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu
from asyncirq.sched.rq import RunQueue
from asyncirq.sched.switch import Switching
from asyncirq.sched.task import MAX_RT_PRIO, TASK_ALL, TASK_NEW, TASK_RUNNING, TASK_WAKING, Task


class Wakeups(Switching):
    """The wake-ups of one machine."""

    async def wake_up_process(self, cpu: Cpu, task: Task) -> bool:
        """Wake a sleeping or new task from a context that cannot migrate; return whether it slept."""
        return await self.try_to_wake_up(cpu, task, TASK_ALL)

    async def try_to_wake_up(self, cpu: Cpu, task: Task, mask: int) -> bool:
        """Make a task ready if its state is in ``mask``; return whether it was.

        Linux: kernel/sched/core.c try_to_wake_up(). Trace: sched_waking, sched_wakeup (or sched_wakeup_new), sched_migrate_task.
        """
        state = task.state
        if not state & mask:
            # The sleep that an rtlock interrupted: the task finds out when it has the lock, even if it has been woken for it already.
            if task.saved_state & mask:
                task.saved_state = TASK_RUNNING
                return True
            return False
        was_off = cpu.irq_disable()
        cpu.preempt_count += 2
        trace = self.trace
        new = state == TASK_NEW
        queued = task.on_rq
        dest = task.cpu.id if queued or task.delayed else self._select_cpu(cpu, task)
        task.wake_cause = 0
        if trace is not None:
            task.wake_cause = trace.sched_waking(cpu, task.comm, task.pid, task.prio, dest)
        task.state = TASK_RUNNING if queued else TASK_WAKING
        await cpu.spend(self.costs.ttwu_ns)
        if not (queued or task.allowed >> dest & 1 or task.pinned):
            # Its affinity changed while it was on its way.
            dest = self._select_cpu(cpu, task)
        rq = self.rqs[dest]
        if queued:
            if trace is not None:
                trace.sched_wakeup(cpu, task.comm, task.pid, task.prio, dest)
        elif dest != cpu.id and self.config.ttwu_queue and rq.curr.is_idle and not (new or task.delayed):
            rq.wake_list.append(task)
            if len(rq.wake_list) == 1:
                await cpu.spend(self.costs.ipi_send_ns)
                self.send_wakeup(cpu, dest)
        else:
            asked = rq.cpu.need_resched
            self._enqueue_woken(cpu, task, rq, new)
            if dest != cpu.id and rq.cpu.need_resched and not asked:
                await cpu.spend(self.costs.ipi_send_ns)
                self.send_reschedule(cpu, dest)
        await cpu.spend(self.costs.ttwu_return_ns)
        cpu.preempt_count -= 2
        if not was_off:
            await cpu.irq_enable()
            if cpu.need_resched:
                await self.preempt_schedule(self.rqs[cpu.id].curr)
        return True

    def sched_ttwu_pending(self, cpu: Cpu) -> None:
        """Enqueue what other CPUs have left on this CPU's wake list; called by its call-function interrupt."""
        rq = self.rqs[cpu.id]
        tasks, rq.wake_list = rq.wake_list, []
        for task in tasks:
            if task.allowed >> cpu.id & 1 or task.pinned:
                self._enqueue_woken(cpu, task, rq, new=False)
            else:
                other = self.rqs[self._select_cpu(cpu, task)]
                asked = other.cpu.need_resched
                self._enqueue_woken(cpu, task, other, new=False)
                if other.cpu.need_resched and not asked and other is not rq:
                    self.send_reschedule(cpu, other.cpu.id)

    def _enqueue_woken(self, cpu: Cpu, task: Task, rq: RunQueue, new: bool) -> None:
        dest = rq.cpu
        now = self.engine.now
        rq.update_curr(now)
        if task.cpu is not dest:
            if new:
                task.cpu = dest
            else:
                self._set_cpu(cpu, task, dest)
        if task.prio >= MAX_RT_PRIO:
            rq.fair.place(task, initial=new)
        elif task.dl is not None:
            self.deadlines.wake(cpu, task, now)
        rq.activate(task)
        task.queued_at = now
        rq.ttwu_count += 1
        if dest is cpu:
            rq.ttwu_local += 1
        task.state = TASK_RUNNING
        if rq.woken_preempts(task, now):
            if self.lazy and task.prio >= MAX_RT_PRIO and not rq.curr.is_idle:
                rq.lazy = True
            else:
                dest.need_resched = True
        elif self.smp and task.prio < MAX_RT_PRIO and not dest.need_resched:
            self.push_rt_tasks(cpu, rq)
        if self.trace is not None:
            emit = self.trace.sched_wakeup_new if new else self.trace.sched_wakeup
            emit(cpu, task.comm, task.pid, task.prio, dest.id)
