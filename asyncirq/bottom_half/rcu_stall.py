"""Notice a grace period that does not end: a CPU that passes no quiescent state, or a reader that never leaves.

Each tick looks: past ``rcu_stall_timeout_s`` the CPU that the grace period waits for reports itself; two jiffies later, if it does not, any
other. Again after three times as long, and three jiffies.

Linux: kernel/rcu/tree_stall.h check_cpu_stall(). Model: of a CPU's line only the ticks it has had in this grace period are printed.
"""

from __future__ import annotations

from typing import Final

from asyncirq.bottom_half.lockup import KERN_ERR, Lockups
from asyncirq.bottom_half.rcu import Rcu
from asyncirq.hw.cpu import Cpu

STALL_RAT_DELAY: Final = 2
"""How many jiffies others wait for a CPU that is about to report itself."""


class RcuStall:
    """The stall detector of one machine's RCU. ``ticks[cpu]`` counts the ticks that a CPU has had in this grace period."""

    def __init__(self, rcu: Rcu, lockups: Lockups) -> None:
        self.rcu = rcu
        self.sched = rcu.sched
        self.lockups = lockups
        config = self.sched.config
        self.timeout = config.rcu_stall_timeout_s * config.hz
        self.jiffy_ns = config.jiffy_ns
        self.name = "rcu_preempt" if self.sched.preemptible_kernel else "rcu_sched"
        self.ticks = [0] * len(self.sched.cpus)
        self._period = 0
        self._due = 0

    async def tick(self, cpu: Cpu) -> None:
        """Look at the grace period; for the tick, after RCU's own part. Trace: lockup_report, printk."""
        rcu = self.rcu
        if rcu.started == rcu.completed:
            return
        if self._period != rcu.started:
            self._period = rcu.started
            self._due = rcu.gp_start_ns // self.jiffy_ns + self.timeout
            self.ticks = [0] * len(self.ticks)
        self.ticks[cpu.id] += 1
        jiffies = self.sched.engine.now // self.jiffy_ns
        if jiffies < self._due:
            return
        if rcu.waiting >> cpu.id & 1:
            self._due = jiffies + 3 * self.timeout + 3
            self._report(cpu, jiffies, by_itself=True)
        elif jiffies >= self._due + STALL_RAT_DELAY:
            self._due = jiffies + 3 * self.timeout + 3
            self._report(cpu, jiffies, by_itself=False)

    def _report(self, cpu: Cpu, jiffies: int, by_itself: bool) -> None:
        rcu = self.rcu
        cpus = self.sched.cpus
        waited = jiffies - rcu.gp_start_ns // self.jiffy_ns
        queued = sum(len(data.callbacks) for data in rcu.data)
        numbers = f"t={waited} jiffies, g={rcu.started}, q={queued} ncpus={len(cpus)}"
        victim = self.sched.rqs[cpu.id].curr
        if by_itself:
            lines = [f"rcu: INFO: {self.name} self-detected stall on CPU", self._line(cpu.id)]
            lines.append(f"rcu: \t({numbers.replace(',', '')})")
        else:
            stuck = [index for index in range(len(cpus)) if rcu.waiting >> index & 1]
            readers = rcu.readers_before(rcu.started)
            lines = [f"rcu: INFO: {self.name} detected stalls on CPUs/tasks:", *(self._line(index) for index in stuck)]
            if readers:
                pids = " ".join(f"P{task.pid}" for task in readers)
                lines.append(f"rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-{len(cpus) - 1}): {pids}")
            lines.append(f"rcu: \t(detected by {cpu.id}, {numbers})")
            victim = self.sched.rqs[stuck[0]].curr if stuck else readers[0] if readers else victim
        self.lockups.report(cpu, "rcu_stall", victim, self.sched.engine.now - rcu.gp_start_ns, lines, KERN_ERR)

    def _line(self, index: int) -> str:
        return f"rcu: \t{index}-....: ({self.ticks[index]} ticks this GP)"
