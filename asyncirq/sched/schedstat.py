"""Say how long tasks ran and waited, in the kernel's own text.

Linux: Documentation/scheduler/sched-stats.rst; fs/proc/base.c proc_pid_schedstat(). Model: no domains, so no ``domainN`` lines; a CPU's
line ends before its sums of run time, waits and slices, and counts no sched_yield, which the model has not; a task's
time holds that of the interrupts that it met, as without IRQ_TIME_ACCOUNTING.
"""

from __future__ import annotations

from asyncirq.sched.core import Sched
from asyncirq.sched.task import Task


def task_schedstat(task: Task) -> str:
    """Return /proc/PID/schedstat: ns on a CPU, ns ready without one, times given one."""
    return f"{task.sum_exec} {task.run_delay} {task.pcount}\n"


def schedstat(sched: Sched) -> str:
    """Return /proc/schedstat of version 15: for each CPU 0 (yields), 0, switches, to idle, wake-ups, local ones."""
    lines = ["version 15", f"timestamp {sched.engine.now // sched.config.jiffy_ns}"]
    for rq in sched.rqs:
        lines.append(f"cpu{rq.cpu.id} 0 0 {rq.nr_switches} {rq.sched_goidle} {rq.ttwu_count} {rq.ttwu_local}")
    return "\n".join(lines) + "\n"
