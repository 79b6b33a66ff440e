"""Emit the tracepoints of recorded code again, with the fields that the recording has."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from asyncirq.analysis.model import linux_fields
from asyncirq.analysis.ops import Fields
from asyncirq.hw.cpu import Cpu
from asyncirq.trace.events import RECORD_TYPES
from asyncirq.trace.record import Record, tag_of
from asyncirq.trace.recorder import Recorder

_KINDS: Final = MappingProxyType({tag_of(kind): kind for kind in RECORD_TYPES})
_EMPTY: Final[MappingProxyType[str, int | str]] = MappingProxyType({"int": 0, "str": "", "bool": False})

Builder = tuple[type[Record], tuple[tuple[str, Callable[[object], int | str], int | str], ...]]


def _integer(value: object) -> int:
    if isinstance(value, int):
        return value
    try:
        return int(str(value), 0)
    except ValueError:
        return 0


def _truth(value: object) -> bool:
    return bool(_integer(value))


_CONVERT: Final[MappingProxyType[str, Callable[[object], int | str]]] = MappingProxyType({"int": _integer, "str": str, "bool": _truth})


class Verbatim:
    """Turns captured events into records: the typed one where the trace knows the tracepoint, else ``other_event``."""

    def __init__(self, trace: Recorder) -> None:
        self._trace = trace
        self._builders: dict[str, Builder | None] = {}

    def emit(self, cpu: Cpu, name: str, fields: Fields) -> None:
        """Emit tracepoint ``name``; a field that the recording lacks is 0 or empty."""
        if name not in self._builders:
            self._builders[name] = _builder(name)
        builder = self._builders[name]
        if builder is None:
            text = str(fields["text"]) if set(fields) == {"text"} else " ".join(f"{key}={fields[key]}" for key in fields)
            self._trace.other_event(cpu, name, text)
            return
        kind, own = builder
        values = [convert(fields[linux]) if linux in fields else empty for linux, convert, empty in own]
        self._trace.record(kind, cpu, *values)


def _builder(name: str) -> Builder | None:
    kind = _KINDS.get(name)
    if kind is None:
        return None
    types = {field: str(kind.__annotations__[field]) for field, _ in linux_fields(kind)}
    return kind, tuple((linux, _CONVERT[types[field]], _EMPTY[types[field]]) for field, linux in linux_fields(kind))
