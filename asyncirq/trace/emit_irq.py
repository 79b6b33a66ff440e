"""Emit the records of the handlers: hard interrupt, softirq, tasklet, irq thread, workqueue and NAPI.

Each method builds one record, appends it and returns its ``seq``, the number that later records name as their cause.
"""

from __future__ import annotations

from asyncirq.trace.emitter import Emitter
from asyncirq.trace.events_irq import (
    IrqFlow,
    IrqHandlerEntry,
    IrqHandlerExit,
    IrqThreadEntry,
    IrqThreadExit,
    NapiPoll,
    NetifReceiveSkb,
    SoftirqEntry,
    SoftirqExit,
    SoftirqRaise,
    TaskletEntry,
    TaskletExit,
    WorkqueueActivateWork,
    WorkqueueExecuteEnd,
    WorkqueueExecuteStart,
    WorkqueueQueueWork,
)
from asyncirq.trace.record import CpuView


class IrqEmitter(Emitter):
    """Emit the records of the handlers: hard interrupt, softirq, tasklet, irq thread, workqueue and NAPI."""

    __slots__ = ()

    def irq_handler_entry(self, cpu: CpuView, irq: int, name: str) -> int:
        """Record that one action of a line is about to be called."""
        seq = self.seq = self.seq + 1
        self._append(
            IrqHandlerEntry(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, irq, name
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def irq_handler_exit(self, cpu: CpuView, irq: int, ret: int) -> int:
        """Record that the action returned; ``ret`` is its ``irqreturn`` as an int."""
        seq = self.seq = self.seq + 1
        self._append(
            IrqHandlerExit(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, irq, ret
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def softirq_raise(self, cpu: CpuView, vec: int) -> int:
        """Record that a softirq vector was made pending."""
        seq = self.seq = self.seq + 1
        self._append(
            SoftirqRaise(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vec)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def softirq_entry(self, cpu: CpuView, vec: int) -> int:
        """Record that the action of a softirq vector is about to be called."""
        seq = self.seq = self.seq + 1
        self._append(
            SoftirqEntry(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vec)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def softirq_exit(self, cpu: CpuView, vec: int) -> int:
        """Record that the action of a softirq vector returned."""
        seq = self.seq = self.seq + 1
        self._append(
            SoftirqExit(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, vec)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def tasklet_entry(self, cpu: CpuView, tasklet: str, function: str) -> int:
        """Record that a tasklet's function is about to be called."""
        seq = self.seq = self.seq + 1
        self._append(
            TaskletEntry(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, tasklet, function
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def tasklet_exit(self, cpu: CpuView, tasklet: str, function: str) -> int:
        """Record that a tasklet's function returned."""
        seq = self.seq = self.seq + 1
        self._append(
            TaskletExit(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, tasklet, function
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def irq_flow(self, cpu: CpuView, irq: int, flow: str, action: str) -> int:
        """Record that a flow handler took a step.

        Ours, for debugging: ``flow`` is its name, ``action`` such as ``mask`` or ``pending``.
        """
        seq = self.seq = self.seq + 1
        self._append(
            IrqFlow(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, irq, flow, action
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def irq_thread_entry(self, cpu: CpuView, irq: int, name: str) -> int:
        """Record that the thread function of an action is about to be called (ours: Linux has no tracepoint there)."""
        seq = self.seq = self.seq + 1
        self._append(
            IrqThreadEntry(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, irq, name
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def irq_thread_exit(self, cpu: CpuView, irq: int, name: str) -> int:
        """Record that the thread function of an action returned (ours)."""
        seq = self.seq = self.seq + 1
        self._append(
            IrqThreadExit(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, irq, name
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def workqueue_queue_work(self, cpu: CpuView, work: str, function: str, workqueue: str, req_cpu: int, target_cpu: int) -> int:
        """Record that a work item was queued; ``req_cpu`` is what the caller asked for."""
        seq = self.seq = self.seq + 1
        self._append(
            WorkqueueQueueWork(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                work,
                function,
                workqueue,
                req_cpu,
                target_cpu,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def workqueue_activate_work(self, cpu: CpuView, work: str, function: str) -> int:
        """Record that a work item joined the list its pool serves."""
        seq = self.seq = self.seq + 1
        self._append(
            WorkqueueActivateWork(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, work, function
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def workqueue_execute_start(self, cpu: CpuView, work: str, function: str) -> int:
        """Record that a worker is about to call a work function."""
        seq = self.seq = self.seq + 1
        self._append(
            WorkqueueExecuteStart(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, work, function
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def workqueue_execute_end(self, cpu: CpuView, work: str, function: str) -> int:
        """Record that a work function returned."""
        seq = self.seq = self.seq + 1
        self._append(
            WorkqueueExecuteEnd(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, work, function
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def napi_poll(self, cpu: CpuView, napi: str, dev_name: str, work: int, budget: int) -> int:
        """Record that a NAPI instance was polled and handled ``work`` packets."""
        seq = self.seq = self.seq + 1
        self._append(
            NapiPoll(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                napi,
                dev_name,
                work,
                budget,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def netif_receive_skb(self, cpu: CpuView, name: str, len: int) -> int:
        """Record that a packet of ``len`` bytes entered the stack from device ``name``."""
        seq = self.seq = self.seq + 1
        self._append(
            NetifReceiveSkb(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, name, len
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq
