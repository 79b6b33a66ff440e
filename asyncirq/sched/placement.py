"""Choose the CPU of a task that wakes up, and move one whose affinity no longer allows the CPU it is on.

Linux: kernel/sched/core.c select_task_rq(), set_cpus_allowed_ptr(). Model: of the fair class's search for an idle CPU the
caches are left out: the first idle one will do.
"""

from __future__ import annotations

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.rq import RunQueue
from asyncirq.sched.state import SchedState
from asyncirq.sched.task import MAX_RT_PRIO, Task


def nr_cpus_allowed(task: Task) -> int:
    """Return how many CPUs a task may run on."""
    return task.allowed.bit_count()


class Placement(SchedState):
    """Where the tasks of one machine run."""

    def set_cpus_allowed(self, cpu: Cpu, task: Task, mask: int) -> None:
        """Restrict a task to the CPUs of ``mask``; it leaves a forbidden one at once if it waits there, else at its next reschedule.

        Raises ``UsageError`` (EINVAL) when no CPU is left, or for a per-CPU kthread.
        """
        here = self._allow(task, mask)
        if here is None:
            return
        rq = self.rqs[here.id]
        if rq.curr is task:
            self._ask(cpu, here)
        else:
            rq.unqueue(task)
            self._move(cpu, task)

    def _allow(self, task: Task, mask: int) -> Cpu | None:
        """Set a task's mask; return the CPU that it must leave, if any."""
        if not mask & self.all_cpus:
            raise UsageError(f"{task.comm}: CPU mask {mask:#x} holds no CPU of this machine", 22)
        if task.percpu and mask != task.allowed:
            raise UsageError(f"{task.comm}: the affinity of a per-CPU kthread cannot be changed", 22)
        task.allowed = mask & self.all_cpus
        here = task.cpu
        if task.delayed and not task.allowed >> here.id & 1:
            self.rqs[here.id].unqueue(task)
        if not task.on_rq or task.migrate_depth or task.allowed >> here.id & 1:
            return None
        return here

    def _ask(self, cpu: Cpu, dest: Cpu) -> None:
        if not dest.need_resched:
            dest.need_resched = True
            if dest is not cpu:
                self.send_reschedule(cpu, dest.id)

    def charge(self, cpu: Cpu, rq: RunQueue) -> None:
        """Charge what runs on another CPU, and tell that CPU if its slice is over."""
        asked = rq.cpu.need_resched
        rq.update_curr(self.engine.now)
        if rq.cpu.need_resched and not asked and rq.cpu is not cpu:
            self.send_reschedule(cpu, rq.cpu.id)

    def _move(self, cpu: Cpu, task: Task) -> None:
        """Take a ready task that is in no queue to a CPU that its affinity allows."""
        old = self.rqs[task.cpu.id]
        old.deactivate(task)
        rq = self.rqs[self._select_cpu(cpu, task)]
        self._arrive(cpu, task, old, rq)

    def _arrive(self, cpu: Cpu, task: Task, old: RunQueue, rq: RunQueue) -> None:
        """Make a task ready on another CPU than where it was ready until now."""
        self._set_cpu(cpu, task, rq.cpu)
        self.charge(cpu, rq)
        if task.prio >= MAX_RT_PRIO:
            rq.fair.rejoin(task, old.fair)
        rq.activate(task)
        self.check_preempt(cpu, rq, task)

    def check_preempt(self, cpu: Cpu, rq: RunQueue, task: Task) -> None:
        """Ask for a reschedule if a task that was just queued should run. Linux: wakeup_preempt()."""
        if rq.woken_preempts(task, self.engine.now):
            if self.lazy and task.prio >= MAX_RT_PRIO and not rq.curr.is_idle:
                rq.lazy = True
            else:
                self._ask(cpu, rq.cpu)

    def _set_cpu(self, cpu: Cpu, task: Task, dest: Cpu) -> None:
        self.nr_migrations += 1
        if self.trace is not None:
            self.trace.sched_migrate_task(cpu, task.comm, task.pid, task.prio, task.cpu.id, dest.id)
        self.rqs[dest.id].fair.carry(task, self.rqs[task.cpu.id].fair)
        task.cpu = dest
        task.moved = True

    def _select_cpu(self, cpu: Cpu, task: Task) -> int:
        previous = task.cpu.id
        allowed = task.allowed if self.active == self.all_cpus else self._heed_hotplug(cpu, task)
        if task.pinned or allowed == 1 << previous:
            return previous
        if not allowed >> previous & 1:
            usable = allowed & self.active or allowed
            previous = (usable & -usable).bit_length() - 1
        if task.prio < MAX_RT_PRIO:
            return self._select_rt(cpu, task, previous)
        rq = self.rqs[previous]
        if (not rq.nr_running and not rq.wake_list) or self.isolated >> previous & 1:
            return previous
        allowed &= self.active & ~self.isolated
        for candidate in self.rqs:
            if allowed >> candidate.cpu.id & 1 and not candidate.nr_running and not candidate.wake_list:
                return candidate.cpu.id
        return previous

    def usable(self, task: Task) -> int:
        """Return the CPUs that a task that is bound nowhere may run on now. Linux: is_cpu_allowed()."""
        return self.online & ~self.dying if task.kthread else self.active

    def _heed_hotplug(self, cpu: Cpu, task: Task) -> int:
        """Return the CPUs of a task that are usable; if none is left, its affinity is broken, unless it is a kernel thread bound for life.

        Linux: select_fallback_rq(). Trace: printk.
        """
        if task.migrate_depth or (task.percpu and task.kthread):
            return task.allowed
        left = task.allowed & self.usable(task)
        if left:
            return left
        task.percpu = task.pinned = False
        task.allowed = self.all_cpus
        if not task.kthread and self.trace is not None:
            self.trace.printk(cpu, 4, f"process {task.pid} ({task.comm}) no longer affine to cpu{task.cpu.id}")
        return self.usable(task)

    def _select_rt(self, cpu: Cpu, task: Task, previous: int) -> int:
        """Return where a real-time task becomes ready: where it was, unless it may not preempt there, or should not."""
        curr = self.rqs[previous].curr
        if curr.prio < MAX_RT_PRIO and (curr.pinned or curr.allowed == 1 << previous or curr.prio <= task.prio):
            lowest = self._lowest_rq(cpu, task)
            if lowest is not None:
                return lowest.cpu.id
        return previous

    def _lowest_rq(self, cpu: Cpu, task: Task) -> RunQueue | None:
        """Return where a task would run: of the CPUs with the lowest priority its own, else the caller's, else the first.

        Linux: kernel/sched/rt.c find_lowest_rq(), cpupri_find(). A CPU without real-time tasks is as good as an idle one.
        """
        lowest, found = task.prio, 0
        allowed = task.allowed & self.active
        for rq in self.rqs:
            if allowed >> rq.cpu.id & 1:
                prio = rq.highest_prio()
                if prio > lowest:
                    lowest, found = prio, 1 << rq.cpu.id
                elif found and prio == lowest:
                    found |= 1 << rq.cpu.id
        if not found:
            return None
        for index in (task.cpu.id, cpu.id):
            if found >> index & 1:
                return self.rqs[index]
        return self.rqs[(found & -found).bit_length() - 1]
