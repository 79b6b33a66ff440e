"""Keep groups of tasks on groups of CPUs.

A task in a cpuset runs on those of the set's CPUs that its own affinity names, on all of them if it names none.

Linux: kernel/cgroup/cpuset.c, as far as ``cpuset.cpus`` is concerned. Model: no hierarchy, no partitions, no memory nodes.
"""

from __future__ import annotations

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.task import Task


class Cpuset:
    """One set of CPUs, a mask, and the tasks that it holds. Raises ``UsageError`` (EINVAL) for a mask without a CPU of the machine."""

    def __init__(self, sched: Sched, name: str, mask: int) -> None:
        self.sched = sched
        self.name = name
        self.mask = self._checked(mask)
        self._members: dict[Task, int] = {}

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Return the members, in the order in which they came."""
        return tuple(self._members)

    def attach(self, cpu: Cpu, task: Task) -> None:
        """Take a task in. Raises ``UsageError`` (EINVAL) for a per-CPU kthread."""
        if task.percpu:
            raise UsageError(f"{task.comm}: a per-CPU kthread stays in no cpuset", 22)
        self._members[task] = task.allowed
        self._apply(cpu, task)

    def detach(self, cpu: Cpu, task: Task) -> None:
        """Let a task go, back to its own affinity."""
        own = self._members.pop(task)
        if not task.exited:
            self.sched.set_cpus_allowed(cpu, task, own)

    def set_affinity(self, cpu: Cpu, task: Task, mask: int) -> None:
        """Change a member's own affinity. Linux: sched_setaffinity(). Raises ``UsageError`` (EINVAL) when the set has none of its CPUs."""
        if not mask & self.mask:
            raise UsageError(f"{task.comm}: CPU mask {mask:#x} holds no CPU of cpuset {self.name}", 22)
        self._members[task] = mask
        self._apply(cpu, task)

    def set_mask(self, cpu: Cpu, mask: int) -> None:
        """Change the set's CPUs; its tasks leave those that it loses."""
        self.mask = self._checked(mask)
        for task in self._members:
            if not task.exited:
                self._apply(cpu, task)

    def _apply(self, cpu: Cpu, task: Task) -> None:
        self.sched.set_cpus_allowed(cpu, task, self._members[task] & self.mask or self.mask)

    def _checked(self, mask: int) -> int:
        mask &= self.sched.all_cpus
        if not mask:
            raise UsageError(f"cpuset {self.name} would have no CPU", 22)
        return mask
