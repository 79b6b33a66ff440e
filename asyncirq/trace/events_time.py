"""Define the records of time: timer wheel, hrtimers and the tick."""

from __future__ import annotations

from asyncirq.trace.record import Record


class TimerInit(Record, tag="timer_init"):
    """Tell that a timer was initialised."""

    timer: str


class TimerStart(Record, tag="timer_start"):
    """Tell that a timer was put on the wheel; times in jiffies, ``flags`` from ``M D P I`` joined by ``|``."""

    timer: str
    function: str
    expires: int
    timeout: int
    bucket_expiry: int
    timer_cpu: int
    idx: int
    flags: str


class TimerExpireEntry(Record, tag="timer_expire_entry"):
    """Tell that a timer's function is about to be called; ``now`` and ``baseclk`` in jiffies."""

    timer: str
    function: str
    now: int
    baseclk: int


class TimerExpireExit(Record, tag="timer_expire_exit"):
    """Tell that a timer's function returned."""

    timer: str


class TimerCancel(Record, tag="timer_cancel"):
    """Tell that a pending timer was taken off the wheel."""

    timer: str


class TimerBaseIdle(Record, tag="timer_base_idle"):
    """Tell that a CPU's timer bases went idle or came back."""

    is_idle: bool
    timer_cpu: int


class HrtimerSetup(Record, tag="hrtimer_setup"):
    """Tell that an hrtimer was set up; ``mode`` is ``ABS`` or ``REL``, with ``PINNED SOFT HARD`` joined by ``|``."""

    hrtimer: str
    clockid: str
    mode: str


class HrtimerStart(Record, tag="hrtimer_start"):
    """Tell that an hrtimer was started; times in nanoseconds."""

    hrtimer: str
    function: str
    expires: int
    softexpires: int
    mode: str
    was_armed: bool


class HrtimerExpireEntry(Record, tag="hrtimer_expire_entry"):
    """Tell that an hrtimer's function is about to be called."""

    hrtimer: str
    function: str
    now: int


class HrtimerExpireExit(Record, tag="hrtimer_expire_exit"):
    """Tell that an hrtimer's function returned."""

    hrtimer: str


class HrtimerCancel(Record, tag="hrtimer_cancel"):
    """Tell that an hrtimer was taken off its queue."""

    hrtimer: str


class HrtimerRearm(Record, tag="hrtimer_rearm"):
    """Tell that the event device was programmed for ``next_event``."""

    next_event: int
    deferred: bool


class TickStop(Record, tag="tick_stop"):
    """Tell that the tick was stopped, or ``dependency`` kept it."""

    success: bool
    dependency: str


TIME_RECORDS: tuple[type[Record], ...] = (
    TimerInit,
    TimerStart,
    TimerExpireEntry,
    TimerExpireExit,
    TimerCancel,
    TimerBaseIdle,
    HrtimerSetup,
    HrtimerStart,
    HrtimerExpireEntry,
    HrtimerExpireExit,
    HrtimerCancel,
    HrtimerRearm,
    TickStop,
)
"""Every record type of this module, in the order above."""
