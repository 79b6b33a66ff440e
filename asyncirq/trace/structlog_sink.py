"""Render records through structlog: JSON lines, console, logfmt, and the user's own processors.

Without processors, JSON costs nothing more than the write: the batch was encoded already. With processors, every record
goes through them as the dict that structlog calls the event dict (``event`` is the tracepoint's name), and what they
return is encoded a chunk at a time.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from itertools import repeat
from typing import Any, BinaryIO, Final, Literal

import msgspec
import structlog

from asyncirq.errors import UsageError
from asyncirq.trace.events_sched import Printk
from asyncirq.trace.names import LOG_METHODS, CommTable, latency_flags
from asyncirq.trace.record import Record
from asyncirq.trace.text import NANOSECONDS, timestamp

Processor = Callable[[Any, str, MutableMapping[str, Any]], Any]
"""What structlog calls a processor: ``(logger, method_name, event_dict)`` to an event dict, a str or bytes."""

CHUNK: Final = 128
"""Records that are dicts at a time: few enough to stay in the CPU's cache (0.2 us a record less than a whole batch)."""


class Readable:
    """Be a processor that makes a record readable: seconds, task name, ftrace's flag characters.

    ``ts`` becomes ``timestamp`` (exact seconds), ``pid`` becomes ``task`` (``comm-pid``), and ``preempt_count``
    and ``common_flags`` become ``flags``; a printk's ``level`` becomes structlog's word. It needs the fields
    as the record has them, so it comes first.
    """

    def __init__(self, comms: CommTable | None = None) -> None:
        self._comms = CommTable() if comms is None else comms

    def __call__(self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        self._comms.feed_dict(event_dict)
        header = {
            "timestamp": timestamp(event_dict.pop("ts"), NANOSECONDS).lstrip(),
            "event": event_dict.pop("event"),
            "seq": event_dict.pop("seq"),
            "cause": event_dict.pop("cause"),
            "cpu": event_dict.pop("cpu"),
            "task": f"{self._comms[event_dict['pid']]}-{event_dict.pop('pid')}",
            "flags": latency_flags(event_dict.pop("preempt_count"), event_dict.pop("common_flags")),
        }
        if "level" in event_dict:
            event_dict["level"] = method_name
        header.update(event_dict)
        return header


class StructlogSink:
    """Write every record to a binary stream, standard output by default, as structlog would.

    ``processors`` run on every record before the renderer; one may raise ``structlog.DropEvent``, and the last may itself
    render to str or bytes. ``renderer`` is ``"json"``, ``"console"`` or ``"logfmt"``; the latter two show records as
    ``Readable`` makes them, before the processors see them. ``method_name`` is ``info``, or a printk's own level; ``logger``
    is passed to the processors as it is. The stream is flushed but never closed. Lossless: the run waits for the stream.
    What JSON has no form for is encoded as its ``__structlog__()`` or its repr.
    """

    def __init__(
        self,
        out: BinaryIO | None = None,
        processors: Sequence[Processor] = (),
        renderer: Literal["json", "console", "logfmt"] = "json",
        *,
        colors: bool = False,
        logger: Any = None,
    ) -> None:
        if isinstance(out, io.TextIOBase):
            raise UsageError("a StructlogSink writes bytes: give it a binary stream, such as sys.stdout.buffer")
        self._out = sys.stdout.buffer if out is None else out
        self._logger = logger
        self._processors = _chain(processors, renderer, colors)
        self._encoder = msgspec.json.Encoder(enc_hook=_fallback)
        self._done = 0  # records written of a batch that failed and will come again
        self.wants_lines = not self._processors

    def write(self, batch: Sequence[Record], lines: bytes | memoryview) -> None:
        """Write a batch; an error of a processor or of the stream passes through."""
        if not self._processors:
            self._write_all(lines)
            return
        while self._done < len(batch):
            chunk = batch[self._done : self._done + CHUNK]
            self._write_all(self._encoder.encode_lines(self._process(chunk)))
            self._done += len(chunk)
        self._done = 0

    def _process(self, batch: Sequence[Record]) -> list[Any]:
        if Printk in set(map(type, batch)):
            return self._process_levels(batch)
        # The hot path: one level for all, and each record goes through the chain without a loop of our own.
        events: Iterator[Any] = iter(msgspec.to_builtins(batch))
        for processor in self._processors:
            events = map(processor, repeat(self._logger), repeat("info"), events)
        done: list[Any] = []
        while True:
            try:
                done.extend(events)
            except structlog.DropEvent:
                continue
            return _fit(done)

    def _process_levels(self, batch: Sequence[Record]) -> list[Any]:
        """Do the same for a batch with kernel messages, each at its own level."""
        done: list[Any] = []
        for event in msgspec.to_builtins(batch):
            method = "info" if event["event"] != "printk" else LOG_METHODS[min(event["level"], len(LOG_METHODS) - 1)]
            try:
                for processor in self._processors:
                    event = processor(self._logger, method, event)
            except structlog.DropEvent:
                continue
            done.append(event)
        return _fit(done)

    def _write_all(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._out.write(rest) :]

    def flush(self) -> None:
        """Flush the stream."""
        self._out.flush()

    def close(self) -> None:
        """Flush the stream; whoever opened it closes it."""
        self._out.flush()


def _chain(processors: Sequence[Processor], renderer: str, colors: bool) -> tuple[Processor, ...]:
    if renderer == "json":
        return tuple(processors)
    if renderer == "console":
        return (Readable(), *processors, structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False))
    if renderer == "logfmt":
        return (Readable(), *processors, structlog.processors.LogfmtRenderer(bool_as_flag=False))
    raise UsageError(f"no renderer is called {renderer!r}: choose json, console or logfmt")


def _fit(done: list[Any]) -> list[Any]:
    """Make what processors returned fit to be encoded: dicts do as they are."""
    if set(map(type, done)) <= {dict}:
        return done
    return [event if type(event) is dict else _rendered(event) for event in done]


def _rendered(event: Any) -> Any:
    """Make what a processor returned fit into the encoded lines; text goes in as it is."""
    if isinstance(event, str):
        return msgspec.Raw(event.encode())
    if isinstance(event, bytes | bytearray):
        return msgspec.Raw(bytes(event))
    if isinstance(event, Mapping):
        return dict(event)
    raise UsageError(f"a processor returned {type(event).__name__}; it must return an event dict, str or bytes")


def _fallback(value: Any) -> Any:
    """Encode what JSON has no form for as structlog does: ask the object, else take its repr."""
    form = getattr(value, "__structlog__", None)
    return repr(value) if form is None else form()
