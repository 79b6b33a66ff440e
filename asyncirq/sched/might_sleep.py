"""Refuse to sleep where nobody may.

Linux: kernel/sched/core.c __might_resched(). Model: on PREEMPT_RT a section with bottom halves disabled refuses every
sleep but that on an rtlock, as lockdep's wait-context check does there.
"""

from __future__ import annotations

from asyncirq.errors import KernelBug
from asyncirq.sched.task import Task

ALL_COUNTS = 0xFFFFFF


def might_sleep(task: Task, where: str, rtlock: bool = False) -> None:
    """Raise ``KernelBug`` unless ``task`` runs and may sleep at ``where``; ``rtlock`` for what PREEMPT_RT's softirqs may wait on."""
    cpu = task.cpu
    if task.sched.lockdep is not None and not rtlock:
        task.sched.lockdep.check_sleep(cpu)
    mask = task.sched.count_mask if rtlock else ALL_COUNTS
    if cpu.preempt_count & mask or cpu.irqs_off or task.is_idle or cpu.current is not task:
        raise KernelBug(
            f"BUG: sleeping function called from invalid context at {where}: in_atomic(): {int(cpu.preempt_count & mask != 0)}, "
            f"irqs_disabled(): {int(cpu.irqs_off)}, pid: {cpu.pid}, name: {task.comm}, preempt_count: {cpu.preempt_count:#x}, "
            f"on {cpu.name} at {task.sched.engine.now} ns"
        )
