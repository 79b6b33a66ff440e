"""Keep real-time tasks from taking a CPU for ever: RT throttling, and since 6.12 a server for the fair tasks that starve.

| policy | when | effect |
| --- | --- | --- |
| ``throttle`` | real-time tasks have run ``rt_runtime_us`` in ``rt_period_us`` | none of them runs until the period is over |
| ``server`` | fair tasks wait and would not get their part of the period | they come before real-time tasks, for that part |

Throttling leaves the CPU idle if nobody else is ready; the server gives nothing away.

Linux: kernel/sched/rt.c sched_rt_runtime_exceeded(), do_sched_rt_period_timer(); kernel/sched/deadline.c fair_server_init(). Model:
ends of periods are seen at ticks; the server's part is what throttling would have left, from the moment on when fair tasks wait.
"""

from __future__ import annotations

from asyncirq.config import KernelConfig

ACTIVATED = "sched: RT throttling activated"


class RtBandwidth:
    """The bandwidth of one CPU's real-time tasks.

    ``throttled``: they may not run now. ``serving``: fair tasks come first now. ``activated`` counts how often either began.
    """

    __slots__ = ("_left", "_period", "_period_start", "_runtime", "_server", "_since", "_used", "activated", "serving", "throttled")

    def __init__(self, config: KernelConfig) -> None:
        self._runtime = config.rt_runtime_us * 1000
        self._period = config.rt_period_us * 1000
        self._server = config.rt_bandwidth == "server"
        self._used = 0
        self._period_start = -1
        self._since = -1
        self._left = 0
        self.throttled = False
        self.serving = False
        self.activated = 0

    def charge_rt(self, delta_ns: int, now: int) -> bool:
        """Charge a real-time task's CPU time; return whether the class is throttled from now on."""
        if self._server:
            return False
        if self._period_start < 0:
            self._period_start = now - delta_ns
        self._turn(now)
        self._used += delta_ns
        if self._used <= self._runtime or self.throttled:
            return False
        self.throttled = True
        self.activated += 1
        return True

    def _turn(self, now: int) -> None:
        periods = (now - self._period_start) // self._period
        if periods > 0:
            self._period_start += periods * self._period
            self._used = max(0, self._used - periods * self._runtime)

    def charge_fair(self, delta_ns: int) -> bool:
        """Charge a fair task's CPU time to the server; return whether it has served its part."""
        if not self.serving:
            return False
        self._left -= delta_ns
        if self._left > 0:
            return False
        self.serving = False
        self._since = -1
        return True

    def tick(self, now: int, rt_runs: bool, rt_waits: bool, fair_waits: bool) -> bool:
        """Look at a tick whether a period is over or fair tasks starve; return whether to reschedule."""
        if not self._server:
            if not self.throttled:
                return False
            self._turn(now)
            if self._used >= self._runtime:
                return False
            self.throttled = False
            return rt_waits
        if not (rt_runs and fair_waits):
            if not self.serving:
                self._since = -1
            return False
        if self._since < 0:
            self._since = now
        if self.serving or now - self._since < self._runtime:
            return False
        self.serving = True
        self.activated += 1
        self._left = self._period - self._runtime
        return True
