"""Turn our own records into a ``Capture``, so that one metric code judges a real machine and a run of the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.phases import cut_phases
from asyncirq.errors import UsageError
from asyncirq.trace.names import CommTable, latency_flags, softirq_name
from asyncirq.trace.record import Record, tag_of

_HEADER: Final = frozenset(Record.__struct_fields__)
_PID: Final = {"target_pid": "pid"}
_CPU: Final = {"target_cpu": "cpu"}
_RENAMED: Final[dict[str, dict[str, str]]] = {
    **{
        name: _PID
        for name in (
            "sched_waking",
            "sched_wakeup",
            "sched_wakeup_new",
            "sched_migrate_task",
            "sched_pi_setprio",
            "sched_stat_runtime",
            "sched_process_fork",
            "sched_set_state_tp",
            "sched_set_need_resched_tp",
        )
    },
    "sched_process_exit": {"exit_pid": "pid"},
    "task_newtask": {"new_pid": "pid", "new_comm": "comm"},
    **{
        name: _CPU
        for name in (
            "workqueue_queue_work",
            "ipi_send_cpu",
            "csd_queue_cpu",
            "sched_wake_idle_without_ipi",
            "cpuhp_enter",
            "cpuhp_multi_enter",
            "cpuhp_exit",
            "vector_config",
            "vector_update",
            "vector_clear",
            "vector_free_moved",
        )
    },
    "timer_start": {"timer_cpu": "cpu"},
    "timer_base_idle": {"timer_cpu": "cpu"},
}
"""Fields that a record calls otherwise because its header took Linux's name: record's name to Linux's."""
_OTHER: Final = "other_event"
_SOFTIRQ: Final = frozenset({"softirq_raise", "softirq_entry", "softirq_exit"})


def linux_fields(kind: type[Record]) -> tuple[tuple[str, str], ...]:
    """Return a record type's own fields in order, each with Linux's name for it: how to build one from a captured event."""
    return _shape(kind)[1]


def capture_from_records(records: Iterable[Record], name: str, *, resolution_ns: int = 1) -> Capture:
    """Return a run of our own as a capture called ``name``.

    Records of hardware, which no task's CPU made, are left out: a kernel's trace has none. ``resolution_ns`` rounds
    stamps to the clock of the capture that the run is compared with, as ftrace's text does: 1000 for microseconds.

    Errors: ``UsageError`` if no record is left or a stamp goes back on a CPU.
    """
    kept = [record for record in records if record.cpu >= 0 and record.pid >= 0]
    if not kept:
        raise UsageError(f"{name}: no records of a CPU in this trace")
    comms = _Comms(kept)
    shapes: dict[type[Record], tuple[str, tuple[tuple[str, str], ...]]] = {}
    last: dict[int, int] = {}
    events: list[Event] = []
    for record in kept:
        kind = type(record)
        shape = shapes.get(kind)
        if shape is None:
            shape = shapes[kind] = _shape(kind)
        if record.ts < last.get(record.cpu, 0):
            raise UsageError(f"{name}:{record.seq}: time goes back on CPU {record.cpu}")
        last[record.cpu] = record.ts
        events.append(_event(record, shape, comms.of(record), resolution_ns))
    return Capture(
        path=name,
        events=events,
        cpus=max(last) + 1,
        resolution_ns=resolution_ns,
        phases=cut_phases(events),
        meta={"flags": "recorded", "tracer": "asyncirq"},
    )


class _Comms:
    """Know a task's name at each record: as told so far, else as the trace tells later."""

    def __init__(self, records: list[Record]) -> None:
        self._now = CommTable()
        self._later = CommTable.of(reversed(records))

    def of(self, record: Record) -> str:
        """Return the name of the task that a record was made in, and learn what the record tells."""
        comm = self._now[record.pid]
        self._now.feed(record)
        return self._later[record.pid] if comm == "<...>" else comm


def _shape(kind: type[Record]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return a record type's event name and its own fields, each with Linux's name for it."""
    tag = tag_of(kind)
    renamed = _RENAMED.get(tag, {})
    own = [field for field in kind.__struct_fields__ if field not in _HEADER]
    return tag, tuple((field, renamed.get(field, field)) for field in own)


def _event(record: Record, shape: tuple[str, tuple[tuple[str, str], ...]], comm: str, resolution_ns: int) -> Event:
    tag, own = shape
    fields: dict[str, str | int] = {}
    for field, linux in own:
        value = getattr(record, field)
        fields[linux] = int(value) if isinstance(value, bool) else value
    if tag == _OTHER:
        tag, fields = str(fields["name"]), {"text": fields["text"]}
    elif tag in _SOFTIRQ:
        fields["action"] = softirq_name(int(fields["vec"]))
    elif tag == "irq_handler_exit":
        fields["ret"] = "handled" if fields["ret"] else "unhandled"
    elif tag == "sched_process_exit":
        fields["group_dead"] = "true" if fields["group_dead"] else "false"
    flags = latency_flags(record.preempt_count, record.common_flags)
    return Event(
        ts=_rounded(record.ts, resolution_ns),
        cpu=record.cpu,
        pid=record.pid,
        comm=comm,
        irqs=flags[0],
        resched=flags[1],
        context=flags[2],
        depth=record.preempt_count & 0xFF,
        name=tag,
        fields=fields,
        line=record.seq,
    )


def _rounded(ts: int, resolution_ns: int) -> int:
    return ts if resolution_ns == 1 else (ts + resolution_ns // 2) // resolution_ns * resolution_ns
