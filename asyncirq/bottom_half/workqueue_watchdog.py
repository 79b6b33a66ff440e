"""Tell when a pool makes no progress: items wait, and none has been begun for 30 s.

Linux: kernel/workqueue.c wq_watchdog_timer_fn(). Model: the report lists the pool and what it executes, not every workqueue;
nothing touches the watchdog from outside.
"""

from __future__ import annotations

from asyncirq.bottom_half.timer import Timers
from asyncirq.bottom_half.timer_wheel import Timer
from asyncirq.bottom_half.workqueue_pool import WorkerPool
from asyncirq.bottom_half.workqueue_state import ManagedState
from asyncirq.hw.cpu import Cpu


class WqWatchdog:
    """The stall watchdog of one machine's workqueues: a deferrable timer every ``thresh_s`` seconds."""

    def __init__(self, wqs: ManagedState, timers: Timers, thresh_s: int) -> None:
        self.wqs = wqs
        self.timers = timers
        self.thresh_s = thresh_s
        self._timer = Timer(self._wq_watchdog_timer_fn, "wq_watchdog_timer", deferrable=True)

    def start(self, cpu: Cpu) -> None:
        """Arm the watchdog. Trace: timer_start."""
        hz = self.wqs.sched.config.hz
        self.timers.mod_timer(cpu, self._timer, self.timers.jiffies + self.thresh_s * hz)

    async def _wq_watchdog_timer_fn(self, cpu: Cpu, timer: Timer) -> None:
        wqs = self.wqs
        now = wqs.sched.engine.now
        pools = [pool for pair in wqs.bh.pools for pool in pair] if wqs.bh is not None else []
        for pool in (*pools, *wqs.pools):
            stuck_s = (now - pool.progress_at) // 1_000_000_000
            if pool.worklist and now - pool.progress_at > self.thresh_s * 1_000_000_000:
                self._report(cpu, pool, stuck_s)
        self.start(cpu)

    def _report(self, cpu: Cpu, pool: WorkerPool, stuck_s: int) -> None:
        trace = self.wqs.sched.trace
        if trace is None:
            return
        cpus = ",".join(str(other.id) for other in self.wqs.sched.cpus if pool.mask >> other.id & 1)
        trace.printk(cpu, 0, f"BUG: workqueue lockup - pool cpus={cpus} nice={pool.nice} stuck for {stuck_s}s!")
        for worker in pool.busy:
            if worker.current is not None and worker.current_pwq is not None:
                what = f"{worker.task.pid}:{worker.current.symbol}"
                trace.printk(cpu, 6, f"workqueue {worker.current_pwq.wq.name}: in-flight: {what}")
