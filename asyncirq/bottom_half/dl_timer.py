"""Begin the periods of deadline tasks by hrtimers.

Linux: kernel/sched/deadline.c start_dl_timer().
"""

from __future__ import annotations

from asyncirq.bottom_half.hrtimer import HRTIMER_MODE_ABS, HRTIMER_MODE_HARD, Hrtimer, Hrtimers
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.deadline import Fired


class DlTimer:
    """One task's timer. Trace: hrtimer_start, hrtimer_cancel, hrtimer_expire_entry."""

    def __init__(self, hrtimers: Hrtimers, name: str, fired: Fired) -> None:
        self._hrtimers = hrtimers
        self._fired = fired
        self._timer = Hrtimer(self._expired, HRTIMER_MODE_HARD, name, "dl_task_timer")

    def start(self, cpu: Cpu, when_ns: int) -> None:
        """Arm the timer, or arm it anew."""
        self._hrtimers.hrtimer_start(cpu, self._timer, when_ns, HRTIMER_MODE_ABS | HRTIMER_MODE_HARD)

    def cancel(self, cpu: Cpu) -> None:
        """Disarm the timer; if it is firing, what it finds has changed."""
        self._hrtimers.hrtimer_try_to_cancel(cpu, self._timer)

    async def _expired(self, cpu: Cpu, timer: Hrtimer) -> bool:
        await self._fired(cpu)
        return False
