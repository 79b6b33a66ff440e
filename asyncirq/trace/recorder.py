"""Collect the records of a run, and hand them on in batches: encoded once, hashed once, the same bytes to every sink."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from types import TracebackType

import msgspec

from asyncirq.errors import InternalError, UsageError
from asyncirq.trace.emit_entry import EntryEmitter
from asyncirq.trace.emit_gic import GicEmitter
from asyncirq.trace.emit_hw import HwEmitter
from asyncirq.trace.emit_irq import IrqEmitter
from asyncirq.trace.emit_lock import LockEmitter
from asyncirq.trace.emit_path import PathEmitter
from asyncirq.trace.emit_pic import PicEmitter
from asyncirq.trace.emit_rv import RvEmitter
from asyncirq.trace.emit_sched import SchedEmitter
from asyncirq.trace.emit_time import TimeEmitter
from asyncirq.trace.emit_vector import VectorEmitter
from asyncirq.trace.emitter import BATCH_LIMIT
from asyncirq.trace.events import RECORD_TYPES
from asyncirq.trace.record import Clock, CpuView, Record
from asyncirq.trace.sinks import Sink


class Recorder(
    IrqEmitter,
    EntryEmitter,
    VectorEmitter,
    TimeEmitter,
    SchedEmitter,
    HwEmitter,
    GicEmitter,
    LockEmitter,
    PathEmitter,
    PicEmitter,
    RvEmitter,
):
    """Record a run: one emit method per event (the families), and the way out to the sinks.

    ``clock`` is any object with an int ``now``. ``digest`` False saves the hash. ``limit`` is the number of buffered
    records at which an emit flushes by itself. ``check`` decodes every batch again, to find a field of the wrong type
    where it was emitted (a debugging aid; it costs about as much as the rest of the recorder).

    The digest is the SHA-256 of the JSON lines, so ``sha256sum`` of the file that a ``FileSink`` wrote is the same; it
    does not depend on the sinks or on where the batches end.
    """

    __slots__ = ("_check", "_closed", "_encoder", "_hash", "_sinks", "_unsent", "_wants_lines")

    def __init__(
        self, clock: Clock, sinks: Sequence[Sink] = (), digest: bool = True, *, limit: int = BATCH_LIMIT, check: bool = False
    ) -> None:
        if limit < 1:
            raise UsageError(f"the trace buffer's limit must be at least 1 record, not {limit}")
        super().__init__(clock, limit)
        self._sinks = tuple(sinks)
        self._encoder = msgspec.json.Encoder()
        self._hash = hashlib.sha256() if digest else None
        self._check = Checker() if check else None
        self._wants_lines = digest or check or any(getattr(sink, "wants_lines", True) for sink in self._sinks)
        self._unsent: list[tuple[Sink, Sequence[Record], bytes]] = []
        self._closed = False

    def record(self, kind: Callable[..., Record], cpu: CpuView, *fields: int | str) -> int:
        """Record an event of any type from its fields in order: for whoever runs a recording again and has the type at hand."""
        return self._put(kind, cpu, *fields)

    def flush(self) -> None:
        """Encode and hash what was collected, give it to every sink, and let the sinks flush.

        An error of a sink (a full disk, Ctrl-C) passes through; what that sink and those after it still lack is kept,
        and offered again by the next flush.
        """
        if self._unsent:
            self._send()
        batch = self._take()
        if batch:
            lines = self._encoder.encode_lines(batch) if self._wants_lines else b""
            if self._check is not None:
                self._check.check(batch, lines)
            if self._hash is not None:
                self._hash.update(lines)
            self._unsent = [(sink, batch, lines) for sink in self._sinks]
            self._send()
        for sink in self._sinks:
            sink.flush()

    def _send(self) -> None:
        while self._unsent:
            sink, batch, lines = self._unsent[0]
            sink.write(batch, lines)
            del self._unsent[0]

    def hexdigest(self) -> str:
        """Return the SHA-256 of all records so far, as hex."""
        if self._hash is None:
            raise UsageError("this recorder was made with digest=False")
        if self._buffer:
            self.flush()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Flush, and close every sink, even if one of them fails; the first error is raised. Twice is once."""
        if self._closed:
            return
        self._closed = True
        failure: Exception | None = None
        try:
            self.flush()
        except Exception as error:
            failure = error
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Checker:
    """Decode what was encoded, as a reader would, and name the first record that does not come back the same."""

    def __init__(self) -> None:
        self._decoders = {kind: msgspec.json.Decoder(kind) for kind in RECORD_TYPES}

    def check(self, batch: Sequence[Record], lines: bytes) -> None:
        """Raise ``InternalError`` for a record whose fields do not have the types it declares."""
        for record, line in zip(batch, lines.splitlines(), strict=True):
            try:
                self._decoders[type(record)].decode(line)
            except msgspec.ValidationError as error:
                raise InternalError(f"record {record.seq} was emitted with a wrong field: {error}: {record}") from None
