"""Make the detectors of what is stuck that a kernel is configured with."""

from __future__ import annotations

from asyncirq.bottom_half.hrtimer import Hrtimers
from asyncirq.bottom_half.hung_task import HungTasks
from asyncirq.bottom_half.lockup import Lockups
from asyncirq.bottom_half.rcu import Rcu
from asyncirq.bottom_half.rcu_stall import RcuStall
from asyncirq.bottom_half.sleep import Sleep
from asyncirq.bottom_half.watchdog import Watchdog
from asyncirq.sched.smpboot import Smpboot


class Detectors:
    """The detectors of one machine, each None where the kernel does without; ``lockups`` collects what they report."""

    def __init__(self, rcu: Rcu, hrtimers: Hrtimers, sleep: Sleep) -> None:
        sched = rcu.sched
        config = sched.config
        self.sched = sched
        self.lockups = Lockups(sched)
        self.watchdog = Watchdog(hrtimers, self.lockups) if config.watchdog_thresh_s else None
        self.hung_tasks = HungTasks(sleep, self.lockups) if config.hung_task_timeout_s else None
        self.rcu_stall = RcuStall(rcu, self.lockups) if config.rcu_stall_timeout_s else None

    def boot(self, smpboot: Smpboot) -> None:
        """Start them, in Linux's order of initcalls; no time passes. Trace: hrtimer_start."""
        if self.watchdog is not None:
            for cpu in self.sched.cpus:
                self.watchdog.start(smpboot, cpu)
        if self.hung_tasks is not None:
            self.hung_tasks.start()
