"""Give people names for numbers: softirq vectors, log levels, task names by pid, ftrace's five flag characters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from asyncirq.trace.record import NO_PID, TRACE_FLAG_IRQS_OFF, Record, tag_of

SOFTIRQ_NAMES: Final = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")
"""Names of the softirq vectors, in the order of their numbers."""

KERN_EMERG: Final = 0
"""System is unusable."""
KERN_ALERT: Final = 1
"""Somebody must act at once."""
KERN_CRIT: Final = 2
"""Critical condition."""
KERN_ERR: Final = 3
"""Error condition."""
KERN_WARNING: Final = 4
"""Warning condition."""
KERN_NOTICE: Final = 5
"""Normal but significant."""
KERN_INFO: Final = 6
"""Informational."""
KERN_DEBUG: Final = 7
"""Debugging."""

LOG_METHODS: Final = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
"""What structlog calls each kernel log level."""

PREEMPT_MASK: Final = 0x000000FF
"""Depth of preempt_disable."""
SOFTIRQ_SERVING: Final = 0x00000100
"""A softirq is being served."""
SOFTIRQ_MASK: Final = 0x0000FF00
"""Softirqs served or disabled."""
HARDIRQ_MASK: Final = 0x000F0000
"""Nesting of hard interrupts."""
NMI_MASK: Final = 0x00F00000
"""Nesting of NMIs."""

# Each is indexed by its conditions as bits, the last named one being bit 0.
_OFF: Final = ".bdD"  # irqs off, bottom halves off
_RESCHED: Final = ".lNB"  # need-resched, need-resched-lazy
_CONTEXT: Final = ".shHzzZZ"  # NMI, hardirq, serving softirq
_DEPTH: Final = ".123456789abcdef"
_DEEPEST: Final = 15

TELLS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "task_newtask": (("new_pid", "new_comm"),),
    "sched_switch": (("prev_pid", "prev_comm"), ("next_pid", "next_comm")),
    "sched_waking": (("target_pid", "comm"),),
    "sched_wakeup": (("target_pid", "comm"),),
    "sched_wakeup_new": (("target_pid", "comm"),),
    "sched_migrate_task": (("target_pid", "comm"),),
    "sched_pi_setprio": (("target_pid", "comm"),),
    "sched_stat_runtime": (("target_pid", "comm"),),
    "sched_process_fork": (("target_pid", "comm"), ("child_pid", "child_comm")),
    "sched_process_exit": (("exit_pid", "comm"),),
}
"""Which fields of which event tell a task's name: (pid, comm)."""


def softirq_name(vec: int) -> str:
    """Return the name of a softirq vector, or its number if Linux has no such vector."""
    return SOFTIRQ_NAMES[vec] if 0 <= vec < len(SOFTIRQ_NAMES) else str(vec)


def latency_flags(preempt_count: int, common_flags: int, migrate_depth: int = 0) -> str:
    """Return ftrace's five characters: irqs-off, need-resched, context, preempt depth, migrate-disable depth.

    Linux: ``tracing_gen_ctx_irq_test`` and ``trace_print_lat_fmt``; both depths stop at 15.

    Model: the task flag and the bit in preempt_count are set as one, so need-resched is ``N`` (``B`` with the
    lazy flag, ``l`` for that alone) or ``.``; a record's header has no migrate-disable depth, so the last character of a
    rendered record is always ``.``.
    """
    bh_off = (preempt_count & SOFTIRQ_MASK) > SOFTIRQ_SERVING
    nmi = (preempt_count & NMI_MASK) != 0
    hardirq = (preempt_count & HARDIRQ_MASK) != 0
    softirq = (preempt_count & SOFTIRQ_SERVING) != 0
    return (
        _OFF[2 * (common_flags & TRACE_FLAG_IRQS_OFF) + bh_off]
        + _RESCHED[common_flags >> 1 & 3]
        + _CONTEXT[4 * nmi + 2 * hardirq + softirq]
        + _DEPTH[min(preempt_count & PREEMPT_MASK, _DEEPEST)]
        + _DEPTH[min(migrate_depth, _DEEPEST)]
    )


UNKNOWN: Final = "<...>"
"""Name of a task that no record has told the name of."""
KNOWN: Final[Mapping[int, str]] = {NO_PID: "<hardware>", 0: "<idle>"}
"""Names that never change."""


class CommTable:
    """Know tasks' names by pid, learnt from the records that tell them (``task_newtask``, ``sched_switch``, wake-ups).

    As in ftrace, pid 0 is ``<idle>`` and an unknown pid is ``<...>``; pid -1, which only our own records have, is
    ``<hardware>``.
    """

    def __init__(self, known: Mapping[int, str] | None = None) -> None:
        self._names: dict[int, str] = {NO_PID: "<hardware>"}
        for pid, comm in (known or {}).items():
            self.learn(pid, comm)
        self._names[0] = "<idle>"

    @classmethod
    def of(cls, records: Iterable[Record]) -> CommTable:
        """Return a table that has been fed all of ``records``."""
        table = cls()
        for record in records:
            table.feed(record)
        return table

    def learn(self, pid: int, comm: str) -> None:
        """Remember a task's name; the name of pid 0 stays ``<idle>``."""
        if pid > 0:
            self._names[pid] = comm

    def feed(self, record: Record) -> None:
        """Learn what a record tells."""
        self._feed(tag_of(type(record)), lambda field: getattr(record, field))

    def feed_dict(self, event_dict: Mapping[str, Any]) -> None:
        """Learn what a record tells in its dict form."""
        self._feed(event_dict["event"], event_dict.__getitem__)

    def _feed(self, event: str, get: Callable[[str], Any]) -> None:
        for pid_field, comm_field in TELLS.get(event, ()):
            self.learn(get(pid_field), get(comm_field))

    def __getitem__(self, pid: int) -> str:
        return self._names.get(pid, "<...>")
