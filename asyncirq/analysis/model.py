"""Turn our own records into a ``Capture``, so that one metric code judges a real machine and a run of the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final

from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.phases import cut_phases
from asyncirq.errors import UsageError
from asyncirq.trace.names import KNOWN, TELLS, UNKNOWN, latency_flags, softirq_name
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
    return _Shape(kind).fields


def capture_from_records(records: Iterable[Record], name: str, *, resolution_ns: int = 1, comms: Comms | None = None) -> Capture:
    """Return a run of our own as a capture called ``name``.

    Records of hardware, which no task's CPU made, are left out: a kernel's trace has none. ``resolution_ns`` rounds
    stamps to the clock of the capture that the run is compared with, as ftrace's text does: 1000 for microseconds. ``comms`` are the names
    that earlier records of the same run told, and learn those of these.

    Errors: ``UsageError`` if no record is left or a stamp goes back on a CPU.
    """
    kept = [record for record in records if record.cpu >= 0 and record.pid >= 0]
    if not kept:
        raise UsageError(f"{name}: no records of a CPU in this trace")
    names = Comms() if comms is None else comms
    names.look_ahead(kept)
    shapes: dict[type[Record], _Shape] = {}
    flags: dict[tuple[int, int], str] = {}
    last: dict[int, int] = {}
    events: list[Event] = []
    for record in kept:
        kind = type(record)
        shape = shapes.get(kind)
        if shape is None:
            shape = shapes[kind] = _Shape(kind)
        if record.ts < last.get(record.cpu, 0):
            raise UsageError(f"{name}:{record.seq}: time goes back on CPU {record.cpu}")
        last[record.cpu] = record.ts
        state = record.preempt_count, record.common_flags
        known = flags.get(state)
        if known is None:
            known = flags[state] = latency_flags(*state)
        events.append(shape.event(record, names.of(record, shape.tells), known, resolution_ns))
    return Capture(
        path=name,
        events=events,
        cpus=max(last) + 1,
        resolution_ns=resolution_ns,
        phases=cut_phases(events),
        meta={"flags": "recorded", "tracer": "asyncirq"},
    )


class Comms:
    """Know a task's name at each record: as told so far, else as the trace tells later."""

    def __init__(self) -> None:
        self._now: dict[int, str] = dict(KNOWN)
        self._later: dict[int, str] = {}

    def look_ahead(self, records: Sequence[Record]) -> None:
        """Take the names that the coming records tell, for those before them."""
        later = self._later
        tells: dict[type[Record], tuple[tuple[str, str], ...]] = {}
        for record in reversed(records):
            kind = type(record)
            told = tells.get(kind)
            if told is None:
                told = tells[kind] = TELLS.get(tag_of(kind), ())
            for pid_field, comm_field in told:
                later[getattr(record, pid_field)] = getattr(record, comm_field)

    def of(self, record: Record, tells: tuple[tuple[str, str], ...]) -> str:
        """Return the name of the task that a record was made in, and learn what the record tells."""
        comm = self._now.get(record.pid) or self._later.get(record.pid, UNKNOWN)
        for pid_field, comm_field in tells:
            pid = getattr(record, pid_field)
            if pid > 0:
                self._now[pid] = getattr(record, comm_field)
        return comm


class _Shape:
    """What all records of one type have in common, and how to make events of them."""

    __slots__ = ("_bools", "_names", "_values", "fields", "tag", "tells")

    def __init__(self, kind: type[Record]) -> None:
        self.tag = tag_of(kind)
        renamed = _RENAMED.get(self.tag, {})
        self.fields = tuple((field, renamed.get(field, field)) for field in kind.__struct_fields__ if field not in _HEADER)
        self.tells = TELLS.get(self.tag, ())
        self._names = tuple(linux for _, linux in self.fields)
        self._bools = tuple(linux for field, linux in self.fields if kind.__annotations__[field] in ("bool", bool))
        # One getter for all: of a single field it would return no tuple, so there are always two.
        self._values = attrgetter("seq", *(field for field, _ in self.fields), "cpu")

    def event(self, record: Record, comm: str, flags: str, resolution_ns: int) -> Event:
        """Return a record as an event."""
        tag = self.tag
        fields: dict[str, str | int] = dict(zip(self._names, self._values(record)[1:-1], strict=True))
        for linux in self._bools:
            fields[linux] = int(fields[linux])
        if tag == _OTHER:
            tag, fields = str(fields["name"]), {"text": fields["text"]}
        elif tag in _SOFTIRQ:
            fields["action"] = softirq_name(int(fields["vec"]))
        elif tag == "irq_handler_exit":
            fields["ret"] = "handled" if fields["ret"] else "unhandled"
        elif tag == "sched_process_exit":
            fields["group_dead"] = "true" if fields["group_dead"] else "false"
        ts = record.ts if resolution_ns == 1 else (record.ts + resolution_ns // 2) // resolution_ns * resolution_ns
        depth = record.preempt_count & 0xFF
        return Event(ts, record.cpu, record.pid, comm, flags[0], flags[1], flags[2], depth, tag, fields, record.seq)
