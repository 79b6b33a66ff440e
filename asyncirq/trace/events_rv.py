"""Define the records of the tracepoints that exist for runtime monitors alone: Linux has no ftrace format for them.

Linux: include/trace/events/sched.h, the ``DECLARE_TRACE`` ones. They are emitted by a machine whose kernel has ``rv`` on.
"""

from __future__ import annotations

from asyncirq.trace.record import Record


class SchedEntryTp(Record, tag="sched_entry_tp"):
    """Tell that the scheduler was entered; ``preempt``: to preempt the task, whatever its state says."""

    preempt: bool


class SchedExitTp(Record, tag="sched_exit_tp"):
    """Tell that the scheduler is left, by the task that runs now; ``is_switch``: another one ran before."""

    is_switch: bool


class SchedSetStateTp(Record, tag="sched_set_state_tp"):
    """Tell that a task set its own state: a letter as in ``sched_switch``, ``R`` for running."""

    comm: str
    target_pid: int
    state: str


class SchedSetNeedReschedTp(Record, tag="sched_set_need_resched_tp"):
    """Tell that a CPU was asked to reschedule; the header's CPU is the one that asked."""

    comm: str
    target_pid: int
    target_cpu: int


RV_RECORDS: tuple[type[Record], ...] = (SchedEntryTp, SchedExitTp, SchedSetStateTp, SchedSetNeedReschedTp)
"""Every record type of this module, in the order above."""
