"""Hold the armed hrtimers of a CPU, the earliest first.

Linux: kernel/time/hrtimer.c struct hrtimer_clock_base, struct hrtimer_cpu_base. Model: buckets and heaps in place of a red-black
tree; the order is the same. All clocks share one queue of each kind.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from asyncirq.bottom_half.callback_wait import CallbackWait
from asyncirq.sched.core import Sched
from asyncirq.sim.engine import FOREVER

if TYPE_CHECKING:
    from asyncirq.bottom_half.hrtimer import Hrtimer

Entry = tuple[int, int, "Hrtimer"]
"""When a timer is due, the number of its arming, and the timer."""
BUCKET_SHIFT: Final = 24
"""Timers due in the same ``2**24`` ns share a bucket."""
DEAD_ENTRIES: Final = 64
"""So many entries of timers that were taken out may always be in a queue."""


class HrtimerQueue:
    """The armed timers of one kind on one CPU, by expiry and then by the order of arming; ``running`` is out of it.

    Timers due in the same 17 ms share a bucket. ``entries`` is the earliest bucket that holds any, a heap; later ones are lists until
    their time comes. A timer that is taken out leaves a dead entry behind, but never at the top; when most are dead they go.
    """

    __slots__ = ("_bucket", "_dead", "_far", "_order", "armed", "cpu_id", "entries", "running", "seq", "waits")

    def __init__(self, sched: Sched, cpu_id: int) -> None:
        self.cpu_id = cpu_id
        self.entries: list[Entry] = []
        self.armed = 0
        self.running: Hrtimer | None = None
        self.seq = 0
        self.waits = CallbackWait(sched)
        self._bucket = 0
        self._far: dict[int, list[Entry]] = {}
        self._order: list[int] = []
        self._dead = 0

    def add(self, timer: Hrtimer) -> bool:
        """Queue a timer and return whether it is the earliest now."""
        self.seq = seq = self.seq + 1
        timer.seq = seq
        timer.base = self
        self.armed += 1
        expires = timer.expires
        entry = (expires, seq, timer)
        bucket = expires >> BUCKET_SHIFT
        entries = self.entries
        if bucket == self._bucket and entries:
            heappush(entries, entry)
            return entries[0] is entry
        if not entries:
            entries.append(entry)
            self._bucket = bucket
            return True
        if bucket > self._bucket:
            self._put_off(bucket, entry)
            return False
        self._far[self._bucket] = entries
        heappush(self._order, self._bucket)
        self.entries = [entry]
        self._bucket = bucket
        return True

    def remove(self, timer: Hrtimer) -> None:
        """Take an armed timer out."""
        timer.seq = 0
        self.armed -= 1
        self._dead += 1
        if self.entries[0][2] is timer:
            self._bury()
        elif self._dead > DEAD_ENTRIES and self._dead > self.armed:
            live = self._live()
            self.clear()
            self.armed = len(live)
            for entry in live:
                self._put_off(entry[0] >> BUCKET_SHIFT, entry)
            self._advance()

    def pop(self) -> Hrtimer:
        """Take out the earliest timer."""
        entries = self.entries
        timer = heappop(entries)[2]
        timer.seq = 0
        self.armed -= 1
        if self._dead:
            self._bury()
        elif not entries:
            self._advance()
        return timer

    def timers(self) -> list[Hrtimer]:
        """Return every timer in the order in which they are due."""
        return [entry[2] for entry in sorted(self._live())]

    def next_expiry(self) -> int:
        """Return the earliest hard expiry, ``FOREVER`` without a timer."""
        return self.entries[0][0] if self.entries else FOREVER

    def clear(self) -> None:
        """Forget every timer."""
        self.entries = []
        self._far.clear()
        self._order.clear()
        self.armed = self._dead = 0

    def _put_off(self, bucket: int, entry: Entry) -> None:
        far = self._far.get(bucket)
        if far is None:
            self._far[bucket] = [entry]
            heappush(self._order, bucket)
        else:
            far.append(entry)

    def _lives(self, entry: Entry) -> bool:
        timer = entry[2]
        return timer.seq == entry[1] and timer.base is self

    def _live(self) -> list[Entry]:
        return [entry for bucket in (self.entries, *self._far.values()) for entry in bucket if self._lives(entry)]

    def _bury(self) -> None:
        """Take dead entries off the top."""
        while True:
            entries = self.entries
            if not entries:
                if not self._order:
                    return
                self._advance()
            elif self._dead and not self._lives(entries[0]):
                heappop(entries)
                self._dead -= 1
            else:
                return

    def _advance(self) -> None:
        """Come to the next bucket."""
        if self._order:
            self._bucket = heappop(self._order)
            self.entries = entries = self._far.pop(self._bucket)
            if len(entries) > 1:
                heapify(entries)


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
