"""Emit the records of what the kernel finds wrong with itself."""

from __future__ import annotations

from asyncirq.trace.emitter import Emitter
from asyncirq.trace.events_lock import LockdepReport, LockupReport
from asyncirq.trace.record import CpuView


class LockEmitter(Emitter):
    """Emit the records of lockdep and of the lockup detectors."""

    __slots__ = ()

    def lockdep_report(self, cpu: CpuView, kind: str, comm: str, lock: str, other: str) -> int:
        """Record that lockdep found locking wrong."""
        return self._put(LockdepReport, cpu, kind, comm, lock, other)

    def lockup_report(self, cpu: CpuView, kind: str, target_cpu: int, target_pid: int, comm: str, duration_ns: int) -> int:
        """Record that a detector found a CPU or a task stuck."""
        return self._put(LockupReport, cpu, kind, target_cpu, target_pid, comm, duration_ns)
