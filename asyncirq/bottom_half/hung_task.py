"""Notice tasks that sleep uninterruptibly for too long: ``khungtaskd``.

Every ``hung_task_timeout_s`` it looks at every task. One in TASK_UNINTERRUPTIBLE that has not run since it was seen at least as long ago is
reported, ten in all.

Linux: kernel/hung_task.c.
"""

from __future__ import annotations

from typing import Final

from asyncirq.bottom_half.lockup import KERN_ERR, SECOND_NS, Lockups
from asyncirq.bottom_half.sleep import Sleep
from asyncirq.sched.task import TASK_IDLE, TASK_INTERRUPTIBLE, TASK_RTLOCK_WAIT, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task

WARNINGS: Final = 10
KHUNGTASKD: Final = "khungtaskd"


class HungTasks:
    """The hung-task detector of one machine."""

    def __init__(self, sleep: Sleep, lockups: Lockups) -> None:
        self.sleep = sleep
        self.sched = sleep.sched
        self.lockups = lockups
        config = self.sched.config
        self.timeout_s = config.hung_task_timeout_s
        self.warnings = WARNINGS
        self._blocker = config.hung_task_blocker
        self._seen: dict[Task, tuple[int, int]] = {}

    def start(self) -> Task:
        """Make and start the thread, at boot."""
        task = self.sched.new_task(self._watchdog, KHUNGTASKD, kthread=True)
        self.sched.start_now(task)
        return task

    async def _watchdog(self, task: Task) -> None:
        jiffies = self.timeout_s * self.sched.config.hz
        while True:
            task.set_current_state(TASK_INTERRUPTIBLE)
            await self.sleep.schedule_timeout(task, jiffies)
            task.set_current_state(TASK_RUNNING)
            self.check(task)

    def check(self, task: Task) -> None:
        """Look at every task once, from ``task``. Trace: lockup_report, printk."""
        now = self.sched.engine.now
        seen: dict[Task, tuple[int, int]] = {}
        for pid in sorted(self.sched.tasks):
            other = self.sched.tasks[pid]
            if not other.state & (TASK_UNINTERRUPTIBLE | TASK_RTLOCK_WAIT) or other.state == TASK_IDLE or other is task:
                continue
            last = self._seen.get(other)
            if last is None or last[0] != other.exec_start:
                # It has run since: its time begins now.
                seen[other] = (other.exec_start, now)
                continue
            seen[other] = last
            if now - last[1] >= self.timeout_s * SECOND_NS and self.warnings:
                self.warnings -= 1
                self._report(task, other, now - last[1])
        self._seen = seen

    def _report(self, task: Task, victim: Task, stuck: int) -> None:
        release = self.sched.config.release.removeprefix("linux-")
        lines = [
            f"INFO: task {victim.comm}:{victim.pid} blocked for more than {stuck // SECOND_NS} seconds.",
            f"      Not tainted {release}.0 #1",
            '"echo 0 > /proc/sys/kernel/hung_task_timeout_secs" disables this message.',
        ]
        lock = victim.blocked_on
        if self._blocker and lock is not None and lock.owner is not None:
            who = f"likely owned by task {lock.owner.comm}:{lock.owner.pid}"
            lines.append(f"INFO: task {victim.comm}:{victim.pid} is blocked on a {type(lock).__name__.lower()} {who}.")
        if not self.warnings:
            lines.append("Future hung task reports are suppressed, see sysctl kernel.hung_task_warnings")
        self.lockups.report(task.cpu, "hung_task", victim, stuck, lines, KERN_ERR)
