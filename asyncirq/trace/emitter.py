"""Hold what the emit methods of every family work on: the counter, the clock and the buffer.

An emit is the hot path of a traced run: one struct built, one append, one counter, one comparison. Nothing is encoded,
hashed or written there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from asyncirq.trace.record import Clock, CpuView, Record

BATCH_LIMIT: Final = 16384
"""Records in the buffer at which an emit flushes by itself."""


class Emitter(ABC):
    """Collect records; ``seq`` is the number of the last one, 0 before the first."""

    __slots__ = ("_append", "_buffer", "_clock", "_flush_at", "_limit", "seq")

    _append: Callable[[Record], None]

    def __init__(self, clock: Clock, limit: int) -> None:
        self.seq = 0
        self._clock = clock
        self._limit = limit
        self._buffer: list[Record] = []
        self._append = self._buffer.append
        self._flush_at = limit

    def _take(self) -> list[Record]:
        """Return what was collected so far, and begin an empty buffer."""
        taken = self._buffer
        self._buffer = []
        self._append = self._buffer.append
        self._flush_at = self.seq + self._limit
        return taken

    def _put(self, kind: Callable[..., Record], cpu: CpuView, *fields: int | str) -> int:
        """Build and append a record of a rare event: the short way to write an emit, at twice the time of the long one."""
        seq = self.seq = self.seq + 1
        self._append(
            kind(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, *fields)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    @abstractmethod
    def flush(self) -> None:
        """Hand what was collected to whoever wants it; the recorder says how."""
