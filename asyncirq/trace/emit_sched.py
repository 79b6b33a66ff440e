"""Emit the records of the scheduler: wake-ups, switches, preemption, idle, hotplug, and the kernel's own words.

Each method builds one record, appends it and returns its ``seq``, the number that later records name as their cause.
"""

from __future__ import annotations

from asyncirq.trace.emitter import Emitter
from asyncirq.trace.events_sched import (
    CpuhpEnter,
    CpuhpExit,
    CpuhpMultiEnter,
    CpuIdle,
    IrqDisable,
    IrqEnable,
    OtherEvent,
    PreemptDisable,
    PreemptEnable,
    Printk,
    SchedMigrateTask,
    SchedPiSetprio,
    SchedProcessExit,
    SchedProcessFork,
    SchedStatRuntime,
    SchedSwitch,
    SchedWakeIdleWithoutIpi,
    SchedWakeup,
    SchedWakeupNew,
    SchedWaking,
    TaskNewtask,
    TracingMark,
)
from asyncirq.trace.record import CpuView


class SchedEmitter(Emitter):
    """Emit the records of the scheduler: wake-ups, switches, preemption, idle, hotplug, and the kernel's own words."""

    __slots__ = ()

    def sched_waking(self, cpu: CpuView, comm: str, target_pid: int, prio: int, target_cpu: int) -> int:
        """Record that a wake-up of a task began, on the waker's CPU."""
        seq = self.seq = self.seq + 1
        self._append(
            SchedWaking(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                comm,
                target_pid,
                prio,
                target_cpu,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def sched_wakeup(self, cpu: CpuView, comm: str, target_pid: int, prio: int, target_cpu: int) -> int:
        """Record that a task became runnable."""
        seq = self.seq = self.seq + 1
        self._append(
            SchedWakeup(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                comm,
                target_pid,
                prio,
                target_cpu,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def sched_wakeup_new(self, cpu: CpuView, comm: str, target_pid: int, prio: int, target_cpu: int) -> int:
        """Record that a new task became runnable for the first time."""
        seq = self.seq = self.seq + 1
        self._append(
            SchedWakeupNew(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                comm,
                target_pid,
                prio,
                target_cpu,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def sched_switch(
        self,
        cpu: CpuView,
        prev_comm: str,
        prev_pid: int,
        prev_prio: int,
        prev_state: str,
        next_comm: str,
        next_pid: int,
        next_prio: int,
    ) -> int:
        """Record that the CPU changes tasks; ``prev_state`` as Linux prints it, ``+`` appended when preempted."""
        seq = self.seq = self.seq + 1
        self._append(
            SchedSwitch(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                prev_comm,
                prev_pid,
                prev_prio,
                prev_state,
                next_comm,
                next_pid,
                next_prio,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def sched_migrate_task(self, cpu: CpuView, comm: str, target_pid: int, prio: int, orig_cpu: int, dest_cpu: int) -> int:
        """Record that a task moves to another CPU."""
        return self._put(SchedMigrateTask, cpu, comm, target_pid, prio, orig_cpu, dest_cpu)

    def sched_pi_setprio(self, cpu: CpuView, comm: str, target_pid: int, oldprio: int, newprio: int) -> int:
        """Record that priority inheritance changed a task's priority."""
        return self._put(SchedPiSetprio, cpu, comm, target_pid, oldprio, newprio)

    def sched_stat_runtime(self, cpu: CpuView, comm: str, target_pid: int, runtime: int) -> int:
        """Record that a task ran for ``runtime`` nanoseconds since the last such record."""
        seq = self.seq = self.seq + 1
        self._append(
            SchedStatRuntime(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                comm,
                target_pid,
                runtime,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def sched_process_fork(self, cpu: CpuView, comm: str, target_pid: int, child_comm: str, child_pid: int) -> int:
        """Record that a task forked."""
        return self._put(SchedProcessFork, cpu, comm, target_pid, child_comm, child_pid)

    def sched_process_exit(self, cpu: CpuView, comm: str, exit_pid: int, prio: int, group_dead: bool = True) -> int:
        """Record that a task ended."""
        return self._put(SchedProcessExit, cpu, comm, exit_pid, prio, group_dead)

    def sched_wake_idle_without_ipi(self, cpu: CpuView, target_cpu: int) -> int:
        """Record that a polling idle CPU was told to reschedule without an IPI."""
        return self._put(SchedWakeIdleWithoutIpi, cpu, target_cpu)

    def task_newtask(self, cpu: CpuView, new_pid: int, new_comm: str, clone_flags: int = 0) -> int:
        """Record that a task was created."""
        return self._put(TaskNewtask, cpu, new_pid, new_comm, clone_flags)

    def irq_disable(self, cpu: CpuView, caller: str, parent: str) -> int:
        """Record that interrupts went off."""
        seq = self.seq = self.seq + 1
        self._append(
            IrqDisable(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, caller, parent
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def irq_enable(self, cpu: CpuView, caller: str, parent: str) -> int:
        """Record that interrupts go on."""
        seq = self.seq = self.seq + 1
        self._append(
            IrqEnable(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, caller, parent
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def preempt_disable(self, cpu: CpuView, caller: str, parent: str) -> int:
        """Record that preemption went off."""
        seq = self.seq = self.seq + 1
        self._append(
            PreemptDisable(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, caller, parent
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def preempt_enable(self, cpu: CpuView, caller: str, parent: str) -> int:
        """Record that preemption goes on."""
        seq = self.seq = self.seq + 1
        self._append(
            PreemptEnable(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, caller, parent
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def cpu_idle(self, cpu: CpuView, state: int) -> int:
        """Record that the CPU entered idle state ``state``, or left idle (``4294967295``)."""
        seq = self.seq = self.seq + 1
        self._append(
            CpuIdle(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, state)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def cpuhp_enter(self, cpu: CpuView, target_cpu: int, target: int, step: int, function: str) -> int:
        """Record that a hotplug step is about to run."""
        return self._put(CpuhpEnter, cpu, target_cpu, target, step, function)

    def cpuhp_multi_enter(self, cpu: CpuView, target_cpu: int, target: int, step: int, function: str) -> int:
        """Record that a hotplug step of one instance is about to run."""
        return self._put(CpuhpMultiEnter, cpu, target_cpu, target, step, function)

    def cpuhp_exit(self, cpu: CpuView, target_cpu: int, state: int, step: int, ret: int) -> int:
        """Record that a hotplug step returned."""
        return self._put(CpuhpExit, cpu, target_cpu, state, step, ret)

    def mark(self, cpu: CpuView | None, text: str) -> int:
        """Record that somebody wrote into the trace. ``cpu`` is None outside any CPU."""
        seq = self.seq = self.seq + 1
        if cpu is None:
            self._append(TracingMark(seq, 0, self._clock.now, -1, -1, 0, 0, text))
        else:
            self._append(
                TracingMark(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, text)
            )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def printk(self, cpu: CpuView | None, level: int, text: str) -> int:
        """Record that the kernel said something at a log level (``KERN_EMERG`` 0 to ``KERN_DEBUG`` 7).

        ``cpu`` is None outside any CPU.
        """
        seq = self.seq = self.seq + 1
        if cpu is None:
            self._append(Printk(seq, 0, self._clock.now, -1, -1, 0, 0, level, text))
        else:
            self._append(
                Printk(
                    seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, level, text
                )
            )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def other_event(self, cpu: CpuView, name: str, text: str) -> int:
        """Record a tracepoint that has no record type here, of a recording that is run again."""
        return self._put(OtherEvent, cpu, name, text)
