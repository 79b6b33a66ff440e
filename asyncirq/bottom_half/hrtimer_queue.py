"""Hold the armed hrtimers of a CPU, the earliest first.

Linux: kernel/time/hrtimer.c struct hrtimer_clock_base, struct hrtimer_cpu_base. Model: a heap in place of a red-black tree; the
order is the same. All clocks share one queue of each kind.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from asyncirq.bottom_half.callback_wait import CallbackWait
from asyncirq.sched.core import Sched
from asyncirq.sim.engine import FOREVER

if TYPE_CHECKING:
    from asyncirq.bottom_half.hrtimer import Hrtimer

DEAD_ENTRIES: Final = 64
"""So many entries of timers that were taken out may always be in a queue."""


class HrtimerQueue:
    """The armed timers of one kind on one CPU, by expiry and then by the order of arming; ``running`` is out of it.

    ``entries`` is a heap. A timer that is taken out leaves a dead entry there, but never at the top; when most are dead they go.
    """

    __slots__ = ("cpu_id", "dead", "entries", "running", "seq", "waits")

    def __init__(self, sched: Sched, cpu_id: int) -> None:
        self.cpu_id = cpu_id
        self.entries: list[tuple[int, int, Hrtimer]] = []
        self.dead = 0
        self.running: Hrtimer | None = None
        self.seq = 0
        self.waits = CallbackWait(sched)

    def add(self, timer: Hrtimer) -> bool:
        """Queue a timer and return whether it is the earliest now."""
        self.seq = seq = self.seq + 1
        timer.seq = seq
        timer.base = self
        entry = (timer.expires, seq, timer)
        entries = self.entries
        heappush(entries, entry)
        return entries[0] is entry

    def remove(self, timer: Hrtimer) -> None:
        """Take an armed timer out."""
        timer.seq = 0
        self.dead = dead = self.dead + 1
        entries = self.entries
        if entries[0][2] is timer:
            self._bury()
        elif dead > DEAD_ENTRIES and 2 * dead > len(entries):
            entries[:] = [entry for entry in entries if self._lives(entry)]
            heapify(entries)
            self.dead = 0

    def pop(self) -> Hrtimer:
        """Take out the earliest timer."""
        timer = heappop(self.entries)[2]
        timer.seq = 0
        if self.dead:
            self._bury()
        return timer

    def armed(self) -> list[Hrtimer]:
        """Return every timer in the order in which they are due."""
        return [entry[2] for entry in sorted(self.entries) if self._lives(entry)]

    def next_expiry(self) -> int:
        """Return the earliest hard expiry, ``FOREVER`` without a timer."""
        return self.entries[0][0] if self.entries else FOREVER

    def clear(self) -> None:
        """Forget every timer."""
        self.entries.clear()
        self.dead = 0

    def _lives(self, entry: tuple[int, int, Hrtimer]) -> bool:
        timer = entry[2]
        return timer.seq == entry[1] and timer.base is self

    def _bury(self) -> None:
        """Take dead entries off the top."""
        entries = self.entries
        while self.dead and entries and not self._lives(entries[0]):
            heappop(entries)
            self.dead -= 1


class HrtimerCpuBase:
    """The two queues of one CPU and what its event device is programmed for; the ``nr_*`` are those of /proc/timer_list."""

    __slots__ = (
        "expires_next",
        "hard",
        "in_hrtirq",
        "max_hang_ns",
        "nr_events",
        "nr_hangs",
        "nr_retries",
        "soft",
        "softirq_activated",
        "softirq_expires_next",
    )

    def __init__(self, sched: Sched, cpu_id: int) -> None:
        self.hard = HrtimerQueue(sched, cpu_id)
        self.soft = HrtimerQueue(sched, cpu_id)
        self.expires_next = FOREVER
        self.softirq_expires_next = FOREVER
        self.softirq_activated = False
        self.in_hrtirq = False
        self.nr_events = 0
        self.nr_retries = 0
        self.nr_hangs = 0
        self.max_hang_ns = 0

    def update_next_event(self) -> int:
        """Return when the event device has to fire next; soft timers do not count while their softirq is raised."""
        soft = FOREVER
        if not self.softirq_activated:
            soft = self.softirq_expires_next = self.soft.next_expiry()
        hard = self.hard.next_expiry()
        return soft if soft < hard else hard
