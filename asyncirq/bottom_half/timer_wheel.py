"""Hold timers by the jiffy in which they are to run: the hierarchical wheel without cascading.

Level ``n`` has 64 buckets of ``8**n`` jiffies each and begins ``63 * 8**(n-1)`` jiffies ahead. A timer goes into the
bucket behind its expiry, so it is never early and late by up to the bucket's granularity, and never moves to a finer
level. A bucket is last in, first out; of buckets due in the same jiffy the coarsest goes first.

====== =========== =============
level  granularity starts ahead
====== =========== =============
0      1           0
1      8           63
2      64          504
3      512         4032
====== =========== =============

Linux: kernel/time/timer.c. Model: the buckets in use are a heap ordered by the jiffy in which they are due, instead of a
bitmap searched level by level; the order is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from typing import Any, Final

from asyncirq.bottom_half.callback_wait import CallbackWait, name_of
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched

LVL_BITS: Final = 6
LVL_SIZE: Final = 1 << LVL_BITS
LVL_MASK: Final = LVL_SIZE - 1
LVL_CLK_SHIFT: Final = 3
NEXT_TIMER_MAX_DELTA: Final = (1 << 30) - 1
"""How far ahead, in jiffies, an empty wheel claims its next expiry to be."""

BASE_LOCAL: Final = 0
BASE_GLOBAL: Final = 1
BASE_DEF: Final = 2

_FLAG_TEXT: Final = ("", "I", "P", "P|I", "D", "D|I", "D|P", "D|P|I")

TimerFn = Callable[[Cpu, "Timer"], Coroutine[Any, Any, None]]


def wheel_depth(hz: int) -> int:
    """Return the number of levels at a tick rate."""
    return 9 if hz > 100 else 8


def level_start(level: int) -> int:
    """Return how many jiffies ahead a level begins."""
    return (LVL_SIZE - 1) << (level - 1) * LVL_CLK_SHIFT if level else 0


def wheel_index(expires: int, clk: int, depth: int) -> tuple[int, int]:
    """Return the bucket for an expiry, seen at ``clk``, and the jiffy in which that bucket is due.

    An expiry in the past goes to the bucket of ``clk`` itself; one beyond the wheel's capacity is clamped to it.
    """
    delta = expires - clk
    if delta < 0:
        return clk & LVL_MASK, clk
    level = 0
    bound = LVL_SIZE - 1
    while delta >= bound:
        level += 1
        if level == depth:
            level -= 1
            expires = clk + bound - (1 << level * LVL_CLK_SHIFT)
            break
        bound <<= LVL_CLK_SHIFT
    shift = level * LVL_CLK_SHIFT
    slot = (expires >> shift) + 1
    return level * LVL_SIZE + (slot & LVL_MASK), slot << shift


class Timer:
    """A timer of the wheel: ``async def function(cpu, timer)`` and the jiffy after which it runs, ``expires``.

    ``deferrable``: does not end an idle CPU's sleep. ``pinned``: stays on the CPU that armed it while that is idle.
    ``irqsafe``: the function runs with interrupts off. ``shutdown``: arming it is a silent no-op for ever.
    """

    __slots__ = (
        "base",
        "chain",
        "deferrable",
        "expires",
        "function",
        "function_name",
        "idx",
        "irqsafe",
        "name",
        "pinned",
        "shutdown",
    )

    def __init__(self, function: TimerFn, name: str, *, deferrable: bool = False, pinned: bool = False, irqsafe: bool = False) -> None:
        self.function = function
        self.function_name = name_of(function)
        self.name = name
        self.deferrable = deferrable
        self.pinned = pinned
        self.irqsafe = irqsafe
        self.shutdown = False
        self.expires = 0
        self.idx = 0
        self.base: TimerBase | None = None
        self.chain: Chain | None = None

    @property
    def pending(self) -> bool:
        """Tell whether the timer is armed and its function has not been called yet."""
        return self.chain is not None

    @property
    def flags(self) -> str:
        """Return the flags as timer_start prints them."""
        return _FLAG_TEXT[self.deferrable << 2 | self.pinned << 1 | self.irqsafe]

    def __repr__(self) -> str:
        return f"<Timer {self.name}>"


class Chain:
    """The timers of one bucket, in the order of their arming; ``due`` is the jiffy in which they run."""

    __slots__ = ("due", "idx", "timers")

    def __init__(self, due: int, idx: int) -> None:
        self.due = due
        self.idx = idx
        self.timers: dict[Timer, None] = {}


class TimerBase:
    """One wheel of one CPU.

    ``clk`` is the jiffy it has been worked off to, ``next_expiry`` the jiffy before which there is nothing to do; after a
    deletion it may be early until ``recalc`` is seen to. ``running`` is the timer whose function runs.
    """

    __slots__ = ("_buckets", "_order", "clk", "cpu_id", "depth", "is_idle", "next_expiry", "recalc", "running", "timers_pending", "waits")

    def __init__(self, sched: Sched, cpu_id: int, depth: int) -> None:
        self.cpu_id = cpu_id
        self.depth = depth
        self.clk = 0
        self.next_expiry = NEXT_TIMER_MAX_DELTA
        self.recalc = False
        self.timers_pending = False
        self.is_idle = False
        self.running: Timer | None = None
        self.waits = CallbackWait(sched)
        self._buckets: list[Chain | None] = [None] * (LVL_SIZE * depth)
        self._order: list[tuple[int, int, Chain]] = []

    def enqueue(self, timer: Timer, idx: int, due: int) -> None:
        """Put a timer into a bucket, ahead of what is there."""
        chain = self._buckets[idx]
        if chain is None or chain.due != due:
            chain = self._buckets[idx] = Chain(due, idx)
            heappush(self._order, (due, -idx, chain))
        chain.timers[timer] = None
        timer.chain = chain
        timer.idx = idx
        timer.base = self
        if due < self.next_expiry:
            self.next_expiry = due
            self.timers_pending = True
            self.recalc = False

    def detach(self, timer: Timer) -> None:
        """Take a pending timer out of its bucket; ``next_expiry`` stays as it is until somebody has to know."""
        chain = timer.chain
        assert chain is not None
        del chain.timers[timer]
        timer.chain = None
        if not chain.timers and self._buckets[chain.idx] is chain:
            self.recalc = True

    def forward(self, jiffies: int) -> None:
        """Move an idle wheel's clock on to now, but never past its next expiry."""
        if jiffies > self.clk:
            self.clk = jiffies if self.next_expiry > jiffies else max(self.next_expiry, self.clk)

    def collect(self) -> list[Chain]:
        """Move the clock past ``next_expiry`` and take out the buckets due there, the coarsest first."""
        clk = self.clk = self.next_expiry
        order = self._order
        due = []
        while order and order[0][0] <= clk:
            chain = heappop(order)[2]
            if self._buckets[chain.idx] is chain:
                self._buckets[chain.idx] = None
            if chain.timers:
                due.append(chain)
        self.clk = clk + 1
        self.recalculate()
        return due

    def recalculate(self) -> None:
        """Find ``next_expiry`` anew."""
        order = self._order
        while order and not order[0][2].timers:
            chain = heappop(order)[2]
            if self._buckets[chain.idx] is chain:
                self._buckets[chain.idx] = None
        self.timers_pending = bool(order)
        self.next_expiry = order[0][0] if order else self.clk + NEXT_TIMER_MAX_DELTA
        self.recalc = False

    def pending_timers(self) -> list[Timer]:
        """Return every pending timer, bucket by bucket, each bucket in the order in which it would run."""
        return [timer for chain in self._buckets if chain is not None for timer in reversed(chain.timers)]
