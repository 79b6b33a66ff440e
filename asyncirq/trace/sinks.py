"""Take batches of records to where they are wanted: into memory, onto disk, through structlog.

A sink gets every batch twice: as records and as the JSON lines they were encoded to. No sink drops anything; a slow
one slows the run.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from asyncirq.errors import UsageError
from asyncirq.trace.record import Record


class Sink(Protocol):
    """Take batches. A sink with a false attribute ``wants_lines`` may be handed empty ``lines``."""

    def write(self, batch: Sequence[Record], lines: bytes | memoryview) -> None:
        """Take a batch; ``lines`` is its JSON-lines form. After an error the same batch comes again, if any comes."""

    def flush(self) -> None:
        """Hand on what is held back, as far as the operating system."""

    def close(self) -> None:
        """Give up what the sink holds; called once, at the end."""


class MemorySink:
    """Keep every record in ``records``."""

    wants_lines = False

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, batch: Sequence[Record], lines: bytes | memoryview) -> None:
        """Keep the batch."""
        self.records.extend(batch)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Do nothing: the records stay readable."""


class FileSink:
    """Write JSON lines to a file, unbuffered, so that between two batches the file is always a valid trace.

    An existing file loses its content at the first batch, or at ``close`` if there was none, but not before: a run that
    cannot start leaves the last trace alone. If a write fails or is interrupted, the file is cut back to its last whole
    line, and the error goes on; when the batch comes again, writing goes on behind that line. Raises ``UsageError`` if
    the file cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = open(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o666), "wb", buffering=0)  # noqa: SIM115  # open for as long as the sink is
        except OSError as error:
            raise UsageError(f"{self.path}: cannot write a trace here: {error.strerror}", error.errno or 0) from None
        self._started = False
        self._kept = 0  # bytes of a failed batch that stayed in the file
        self._regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)

    def _start(self) -> None:
        if not self._started and self._regular:
            self._file.truncate(0)
        self._started = True

    def write(self, batch: Sequence[Record], lines: bytes | memoryview) -> None:
        """Append the lines, or as many whole lines as fit before the error that it raises."""
        self._start()
        begun = self._file.tell() - self._kept if self._regular else 0
        try:
            while self._kept < len(lines):
                self._kept += self._file.write(memoryview(lines)[self._kept :])
        except BaseException:
            if self._regular:
                # The position, not a count, is what holds when Ctrl-C came just after the system call.
                self._kept = bytes(lines).rfind(b"\n", 0, self._file.tell() - begun) + 1
                self._file.truncate(begun + self._kept)
                self._file.seek(begun + self._kept)
            raise
        self._kept = 0

    def flush(self) -> None:
        """Do nothing: every write went to the operating system."""

    def close(self) -> None:
        """Close the file; a run without records leaves an empty one."""
        if self._file.closed:
            return
        try:
            self._start()
        finally:
            self._file.close()
