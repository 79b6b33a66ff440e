"""Emit the records of the tracepoints that exist for runtime monitors alone."""

from __future__ import annotations

from asyncirq.trace.emitter import Emitter
from asyncirq.trace.events_rv import SchedEntryTp, SchedExitTp, SchedSetNeedReschedTp, SchedSetStateTp
from asyncirq.trace.record import CpuView


class RvEmitter(Emitter):
    """Emit the records that runtime monitors need and no latency tool reads."""

    __slots__ = ()

    def sched_entry_tp(self, cpu: CpuView, preempt: bool) -> int:
        """Record that the scheduler was entered."""
        return self._put(SchedEntryTp, cpu, preempt)

    def sched_exit_tp(self, cpu: CpuView, is_switch: bool) -> int:
        """Record that the scheduler is left."""
        return self._put(SchedExitTp, cpu, is_switch)

    def sched_set_state_tp(self, cpu: CpuView, comm: str, target_pid: int, state: str) -> int:
        """Record that a task set its own state."""
        return self._put(SchedSetStateTp, cpu, comm, target_pid, state)

    def sched_set_need_resched_tp(self, cpu: CpuView, comm: str, target_pid: int, target_cpu: int) -> int:
        """Record that ``cpu`` asked ``target_cpu`` to reschedule."""
        return self._put(SchedSetNeedReschedTp, cpu, comm, target_pid, target_cpu)
