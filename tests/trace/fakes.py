"""Stand in for the machine: a clock that is set by hand, a CPU that is a plain object, and one record of every type."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asyncirq.trace import RECORD_TYPES, MemorySink, Record, Recorder, tag_of

VALUES: dict[str, Any] = {"int": 5, "str": "x", "bool": True}


@dataclass
class FakeClock:
    """Be a clock that stands still until told."""

    now: int = 0


@dataclass
class FakeCpu:
    """Be a CPU in the middle of a hard interrupt."""

    id: int = 1
    pid: int = 42
    preempt_count: int = 0x10000
    irqs_off: bool = True
    need_resched: bool = False
    cause: int = 7


def recorder(*sinks: Any, now: int = 1000, **options: Any) -> tuple[Recorder, MemorySink]:
    """Return a recorder that checks what it writes, and a memory sink behind the other sinks."""
    memory = MemorySink()
    return Recorder(FakeClock(now), [*sinks, memory], check=True, **options), memory


def own_fields(kind: type[Record]) -> tuple[str, ...]:
    """Return the names of a record type's fields behind the header."""
    return kind.__struct_fields__[len(Record.__struct_fields__) :]


def field_type(kind: type[Record], field: str) -> str:
    """Return the type of a field as it is written in the source."""
    for base in kind.__mro__:
        types = inspect.get_annotations(base)
        if field in types:
            return str(types[field])
    raise KeyError(field)


def one_of_each() -> list[Record]:
    """Return a record of every type, each field with a value of its type."""
    records = []
    for seq, kind in enumerate(RECORD_TYPES, 1):
        own = {field: VALUES[field_type(kind, field)] for field in own_fields(kind)}
        header = {"seq": seq, "cause": 0, "ts": 10 * seq, "cpu": 0, "pid": 1, "preempt_count": 0}
        records.append(kind(**header, common_flags=0, **own))
    return records


def tags(records: Sequence[Record]) -> list[str]:
    """Return the events' names."""
    return [tag_of(type(record)) for record in records]
