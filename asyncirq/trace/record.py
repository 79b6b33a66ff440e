"""Hold what every record has in common: its header, and the two things it is read from (a clock and a CPU)."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

NO_CPU: Final = -1
"""``cpu`` of a record made outside any CPU: a device, a wire, an IO-APIC."""
NO_PID: Final = -1
"""``pid`` of a record that no task was running for."""

TRACE_FLAG_IRQS_OFF: Final = 0x01
"""Bit of ``common_flags``: interrupts were off."""
TRACE_FLAG_NEED_RESCHED_LAZY: Final = 0x02
"""Bit of ``common_flags``: a reschedule was due, at the next tick or return to user mode."""
TRACE_FLAG_NEED_RESCHED: Final = 0x04
"""Bit of ``common_flags``: a reschedule was due at once."""


class Clock(Protocol):
    """Tell the virtual time in nanoseconds; the engine is one."""

    @property
    def now(self) -> int:
        """Return the virtual time in nanoseconds."""


class CpuView(Protocol):
    """Show the recorder what a record's header says of a CPU.

    ``preempt_count`` includes the softirq part wherever the kernel keeps it: PREEMPT_RT keeps it with the task, yet
    ftrace's flags are read from both.
    """

    @property
    def id(self) -> int:
        """Return the logical CPU number."""

    @property
    def pid(self) -> int:
        """Return the pid of the running task, 0 for an idle task."""

    @property
    def preempt_count(self) -> int:
        """Return the nesting word, in Linux's bit layout."""

    @property
    def irqs_off(self) -> bool:
        """Tell whether interrupts are off."""

    @property
    def need_resched(self) -> bool:
        """Tell whether a reschedule is due."""

    @property
    def cause(self) -> int:
        """Return the ``seq`` of what the CPU is doing now because of, 0 for nothing known."""


class Record(msgspec.Struct, gc=False, tag_field="event", forbid_unknown_fields=True):
    """Begin every record: when it happened, where, in which context, and because of what.

    ``seq`` counts from 1 in the order of emission; ``cause`` is the ``seq`` of the record that led here, 0 for none;
    ``ts`` is virtual nanoseconds. ``common_flags`` is what ftrace keeps under that name: ``TRACE_FLAG_IRQS_OFF`` and
    ``TRACE_FLAG_NEED_RESCHED`` in one number, since each field of the header is paid for with every record. Records are
    not frozen, for speed; nobody changes one once it is emitted.
    """

    seq: int
    cause: int
    ts: int
    cpu: int
    pid: int
    preempt_count: int
    common_flags: int

    @property
    def event(self) -> str:
        """Return the tracepoint's name, which is what the field ``event`` holds in JSON."""
        return tag_of(type(self))

    @property
    def irqs_off(self) -> bool:
        """Tell whether interrupts were off."""
        return self.common_flags & TRACE_FLAG_IRQS_OFF != 0

    @property
    def need_resched(self) -> bool:
        """Tell whether a reschedule was due at once."""
        return self.common_flags & TRACE_FLAG_NEED_RESCHED != 0


def tag_of(kind: type[Record]) -> str:
    """Return the name that records of a type carry in their ``event`` field."""
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    return tag
