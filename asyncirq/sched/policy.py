"""Change classes and priorities, lend priorities, and account at the tick.

Linux: kernel/sched/core.c scheduler_tick(), rt_mutex_setprio(); kernel/sched/syscalls.c sched_setscheduler().
"""

from __future__ import annotations

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.fair import set_nice
from asyncirq.sched.pushpull import PushPull
from asyncirq.sched.task import DEFAULT_PRIO, MAX_RT_PRIO, SCHED_FIFO, SCHED_NORMAL, SCHED_RR, Task


class Policies(PushPull):
    """Priorities and slices of the tasks of one machine."""

    def resched_curr(self, cpu: Cpu, dest: Cpu) -> None:
        """Ask a CPU to reschedule; another CPU is told by an IPI, whose cost the caller has charged."""
        self._ask(cpu, dest)

    def promote_lazy(self, cpu: Cpu) -> None:
        """Answer on the way to user mode what was asked at leisure."""
        if self.rqs[cpu.id].lazy:
            cpu.need_resched = True

    def scheduler_tick(self, cpu: Cpu) -> None:
        """Charge the running task and preempt it when its slice is over, or was asked to at leisure before; called by the tick."""
        rq = self.rqs[cpu.id]
        curr = rq.curr
        now = self.engine.now
        if rq.lazy:
            cpu.need_resched = True
        rq.update_curr(now)
        if curr.is_idle:
            return
        if curr.prio >= MAX_RT_PRIO:
            if rq.fair.tick_preempts(curr, now - curr.slice_start):
                rq.resched_fair()
        elif curr.policy == SCHED_RR:
            curr.rr_left -= self.config.jiffy_ns
            if curr.rr_left <= 0:
                if rq.rt.shares(curr.prio):
                    cpu.need_resched = True
                else:
                    curr.rr_left = self.config.rr_slice_ns

    def set_scheduler(self, cpu: Cpu, task: Task, policy: int, rt_priority: int = 0, nice: int = 0) -> None:
        """Change a task's class and priority, requeueing it if it is ready.

        Linux: kernel/sched/syscalls.c sched_setscheduler(). Raises ``UsageError`` for a priority out of range.
        """
        old = task.prio
        queued = self._unqueue_for_change(task)
        self._set_policy(task, policy, rt_priority, nice)
        self._requeue_changed(cpu, task, old, queued)

    def rt_mutex_setprio(self, cpu: Cpu, task: Task, prio: int) -> None:
        """Lend a task the priority of whom it blocks, or take it back. Trace: sched_pi_setprio."""
        if task.prio == prio:
            return
        if self.trace is not None:
            self.trace.sched_pi_setprio(cpu, task.comm, task.pid, task.prio, prio)
        old = task.prio
        queued = self._unqueue_for_change(task)
        task.prio = prio
        self._requeue_changed(cpu, task, old, queued)

    def _unqueue_for_change(self, task: Task) -> bool:
        rq = self.rqs[task.cpu.id]
        if task.delayed:
            rq.unqueue(task)
        if rq.curr is task:
            rq.update_curr(self.engine.now)
            if task.prio >= MAX_RT_PRIO and not task.is_idle:
                rq.fair.leave(task, sleeps=False)
            return False
        if task.on_rq:
            rq.unqueue(task)
        return task.on_rq

    def _requeue_changed(self, cpu: Cpu, task: Task, old: int, queued: bool) -> None:
        rq = self.rqs[task.cpu.id]
        now_fair = old < MAX_RT_PRIO <= task.prio
        if task.prio >= MAX_RT_PRIO:
            if rq.curr is task:
                rq.fair.adopt(task, not now_fair)
            elif queued or now_fair:
                rq.fair.rejoin(task, None if now_fair else rq.fair)
        if queued:
            rq.queue(task, head=task.prio > old)
            self._check_preempt(cpu, rq, task)
            if self.smp and task.prio < MAX_RT_PRIO and not rq.cpu.need_resched:
                self.push_rt_tasks(cpu, rq)
        elif rq.curr is task and task.prio > old:
            if self.smp and old < MAX_RT_PRIO:
                self.pull_rt_tasks(cpu, rq, old)
            waiting = rq.rt.first()
            if now_fair or (waiting is not None and waiting.prio < task.prio):
                self.resched_curr(cpu, task.cpu)

    def _set_policy(self, task: Task, policy: int, rt_priority: int, nice: int) -> None:
        if policy in (SCHED_FIFO, SCHED_RR):
            if not 1 <= rt_priority <= 99:
                raise UsageError(f"{task.comm}: real-time priority {rt_priority} is not in 1..99", 22)
            task.rr_left = self.config.rr_slice_ns
            task.normal_prio = 99 - rt_priority
        elif policy == SCHED_NORMAL:
            if not -20 <= nice <= 19:
                raise UsageError(f"{task.comm}: nice {nice} is not in -20..19", 22)
            set_nice(task, nice)
            task.normal_prio = DEFAULT_PRIO + nice
        else:
            raise UsageError(f"{task.comm}: scheduling policy {policy} is not known", 22)
        task.policy = policy
        task.rt_priority = rt_priority
        task.prio = min([task.normal_prio, *(waiter.prio for waiter in task.pi_waiters)])
