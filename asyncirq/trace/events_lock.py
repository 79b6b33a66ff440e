"""Define the records of what the kernel finds wrong with itself: lockdep's reports and those of the lockup detectors.

They have no tracepoint in Linux, which prints them; the printed lines follow as ``printk`` records.
"""

from __future__ import annotations

from asyncirq.trace.record import Record


class LockdepReport(Record, tag="lockdep_report"):
    """Tell that lockdep found locking wrong: what ``kind``, in which task, about which classes ("" for none)."""

    kind: str
    comm: str
    lock: str
    other: str


class LockupReport(Record, tag="lockup_report"):
    """Tell that a detector found a CPU or a task stuck for ``duration_ns``: ``softlockup``, ``hardlockup``, ``hung_task``, ``rcu_stall``.

    ``target_cpu`` is the stuck CPU, or that of the stuck task; ``target_pid`` and ``comm`` are what ran on it.
    """

    kind: str
    target_cpu: int
    target_pid: int
    comm: str
    duration_ns: int


LOCK_RECORDS: tuple[type[Record], ...] = (LockdepReport, LockupReport)
"""Every record type of this module, in the order above."""
