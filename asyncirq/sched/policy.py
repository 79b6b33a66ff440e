"""Change classes and priorities, lend priorities, and account at the tick.

Linux: kernel/sched/core.c scheduler_tick(), rt_mutex_setprio(); kernel/sched/syscalls.c sched_setscheduler().
"""

from __future__ import annotations

from typing import Final

from asyncirq.config import Preemption
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.bandwidth import ACTIVATED, RtBandwidth
from asyncirq.sched.fair import set_nice
from asyncirq.sched.pushpull import PushPull
from asyncirq.sched.rq import DEADLINE, STOPPER, RunQueue
from asyncirq.sched.task import DEFAULT_PRIO, MAX_RT_PRIO, SCHED_DEADLINE, SCHED_FIFO, SCHED_NORMAL, SCHED_RR, SCHED_STOP, Task

KERN_WARNING: Final = 4
DYNAMIC_MODES: Final[tuple[Preemption, ...]] = ("none", "voluntary", "full")
"""What a kernel can change between while it runs."""


class Policies(PushPull):
    """Priorities and slices of the tasks of one machine."""

    def resched_curr(self, cpu: Cpu, dest: Cpu) -> None:
        """Ask a CPU to reschedule; another CPU is told by an IPI, whose cost the caller has charged."""
        self._ask(cpu, dest)

    def promote_lazy(self, cpu: Cpu) -> None:
        """Answer on the way to user mode what was asked at leisure."""
        if self.rqs[cpu.id].lazy:
            cpu.need_resched = True

    def sched_dynamic_update(self, mode: Preemption) -> None:
        """Change at run time where a running kernel task may lose its CPU: ``none``, ``voluntary`` or ``full``.

        Raises ``UsageError`` for another mode, and on a kernel that was built with one of those (lazy preemption, PREEMPT_RT).

        Linux: sched_dynamic_update(), which boot parameter and debugfs file ``preempt`` lead to. Model: RCU's readers stay what the
        kernel was built with.
        """
        if mode not in DYNAMIC_MODES or self.preemption not in DYNAMIC_MODES:
            raise UsageError(f"preemption cannot change from {self.preemption} to {mode}: only among {', '.join(DYNAMIC_MODES)}", 22)
        self.preemption = mode
        self.preemptible_kernel = mode == "full"

    def scheduler_tick(self, cpu: Cpu) -> None:
        """Charge the running task and preempt it when its slice is over, or was asked to at leisure before; called by the tick."""
        rq = self.rqs[cpu.id]
        curr = rq.curr
        now = self.engine.now
        if rq.lazy:
            cpu.need_resched = True
        rq.update_curr(now)
        if rq.bandwidth is not None and (curr.prio < MAX_RT_PRIO or rq.bandwidth.throttled or rq.bandwidth.serving):
            self._bandwidth_tick(cpu, rq, rq.bandwidth)
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

    def _bandwidth_tick(self, cpu: Cpu, rq: RunQueue, bandwidth: RtBandwidth) -> None:
        if bandwidth.throttled and not self.rt_warned:
            self.rt_warned = True
            if self.trace is not None:
                self.trace.printk(cpu, KERN_WARNING, ACTIVATED)
        curr = rq.curr
        rt_runs = curr.prio < MAX_RT_PRIO and not curr.high
        if bandwidth.tick(self.engine.now, rt_runs, bool(rq.rt.bitmap), bool(rq.fair.queued)):
            cpu.need_resched = True

    def rt_throttled(self, cpu: Cpu) -> bool:
        """Tell whether a CPU's real-time tasks wait for the end of a period, which its tick must see."""
        bandwidth = self.rqs[cpu.id].bandwidth
        return bandwidth is not None and bandwidth.throttled

    def set_deadline(self, cpu: Cpu, task: Task, runtime_ns: int, deadline_ns: int, period_ns: int = 0) -> None:
        """Make a task a deadline task: so much time in each period (the deadline if 0), and before the deadline.

        Linux: sched_setattr(). Raises ``UsageError``: EINVAL for other than 1024 ns <= runtime <= deadline <= period, EPERM for a task that
        may not run on every CPU, EBUSY when all CPUs together have no room.
        """
        if task.allowed != self.all_cpus & ~self.isolated and len(self.cpus) > 1:
            raise UsageError(f"{task.comm}: a deadline task runs on every CPU, not on {task.allowed:#x}", 1)
        old = task.prio
        queued = self._unqueue_for_change(task)
        self.deadlines.admit(task, runtime_ns, deadline_ns, period_ns)
        self._set_policy(task, SCHED_DEADLINE, 0, task.nice)
        assert task.dl is not None
        task.dl.renew(self.engine.now)
        self._requeue_changed(cpu, task, old, queued)

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
        prio = max(prio, task.prio if task.high else 0)
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
            self.check_preempt(cpu, rq, task)
            if self.smp and task.prio < MAX_RT_PRIO and not rq.cpu.need_resched:
                self.push_rt_tasks(cpu, rq)
        elif rq.curr is task and task.prio > old:
            if self.smp and old < MAX_RT_PRIO:
                self.pull_rt_tasks(cpu, rq, old)
            waiting = rq.rt.first()
            if now_fair or rq.high or (waiting is not None and waiting.prio < task.prio):
                self.resched_curr(cpu, task.cpu)

    def _set_policy(self, task: Task, policy: int, rt_priority: int, nice: int) -> None:
        high = 0
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
        elif policy == SCHED_STOP:
            high = STOPPER
            task.normal_prio = 0
        elif policy == SCHED_DEADLINE and task.dl is not None:
            high = DEADLINE
            task.normal_prio = -1
        else:
            raise UsageError(f"{task.comm}: scheduling policy {policy} is not known", 22)
        if task.dl is not None and high != DEADLINE:
            self.deadlines.release(task)
        task.high = high
        task.policy = policy
        task.rt_priority = rt_priority
        task.prio = min([task.normal_prio, *(max(waiter.prio, 0) for waiter in task.pi_waiters)])
