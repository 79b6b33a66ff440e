"""Emit the records of time: timer wheel, hrtimers and the tick.

Each method builds one record, appends it and returns its ``seq``, the number that later records name as their cause.
"""

from __future__ import annotations

from asyncirq.trace.emitter import Emitter
from asyncirq.trace.events_time import (
    HrtimerCancel,
    HrtimerExpireEntry,
    HrtimerExpireExit,
    HrtimerRearm,
    HrtimerSetup,
    HrtimerStart,
    TickStop,
    TimerBaseIdle,
    TimerCancel,
    TimerExpireEntry,
    TimerExpireExit,
    TimerInit,
    TimerStart,
)
from asyncirq.trace.record import CpuView


class TimeEmitter(Emitter):
    """Emit the records of time: timer wheel, hrtimers and the tick."""

    __slots__ = ()

    def timer_init(self, cpu: CpuView, timer: str) -> int:
        """Record that a timer was initialised."""
        return self._put(TimerInit, cpu, timer)

    def timer_start(
        self,
        cpu: CpuView,
        timer: str,
        function: str,
        expires: int,
        timeout: int,
        bucket_expiry: int,
        timer_cpu: int,
        idx: int,
        flags: str,
    ) -> int:
        """Record that a timer was put on the wheel; times in jiffies, ``flags`` from ``M D P I`` joined by ``|``."""
        seq = self.seq = self.seq + 1
        self._append(
            TimerStart(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                timer,
                function,
                expires,
                timeout,
                bucket_expiry,
                timer_cpu,
                idx,
                flags,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def timer_expire_entry(self, cpu: CpuView, timer: str, function: str, now: int, baseclk: int) -> int:
        """Record that a timer's function is about to be called; ``now`` and ``baseclk`` in jiffies."""
        seq = self.seq = self.seq + 1
        self._append(
            TimerExpireEntry(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                timer,
                function,
                now,
                baseclk,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def timer_expire_exit(self, cpu: CpuView, timer: str) -> int:
        """Record that a timer's function returned."""
        seq = self.seq = self.seq + 1
        self._append(
            TimerExpireExit(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, timer
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def timer_cancel(self, cpu: CpuView, timer: str) -> int:
        """Record that a pending timer was taken off the wheel."""
        seq = self.seq = self.seq + 1
        self._append(
            TimerCancel(seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, timer)
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def timer_base_idle(self, cpu: CpuView, is_idle: bool, timer_cpu: int) -> int:
        """Record that a CPU's timer bases went idle or came back."""
        return self._put(TimerBaseIdle, cpu, is_idle, timer_cpu)

    def hrtimer_setup(self, cpu: CpuView, hrtimer: str, clockid: str, mode: str) -> int:
        """Record that an hrtimer was set up.

        ``mode`` is ``ABS`` or ``REL``, with ``PINNED SOFT HARD`` joined by ``|``.
        """
        return self._put(HrtimerSetup, cpu, hrtimer, clockid, mode)

    def hrtimer_start(self, cpu: CpuView, hrtimer: str, function: str, expires: int, softexpires: int, mode: str, was_armed: bool) -> int:
        """Record that an hrtimer was started; times in nanoseconds."""
        seq = self.seq = self.seq + 1
        self._append(
            HrtimerStart(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                hrtimer,
                function,
                expires,
                softexpires,
                mode,
                was_armed,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def hrtimer_expire_entry(self, cpu: CpuView, hrtimer: str, function: str, now: int) -> int:
        """Record that an hrtimer's function is about to be called."""
        seq = self.seq = self.seq + 1
        self._append(
            HrtimerExpireEntry(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                hrtimer,
                function,
                now,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def hrtimer_expire_exit(self, cpu: CpuView, hrtimer: str) -> int:
        """Record that an hrtimer's function returned."""
        seq = self.seq = self.seq + 1
        self._append(
            HrtimerExpireExit(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, hrtimer
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def hrtimer_cancel(self, cpu: CpuView, hrtimer: str) -> int:
        """Record that an hrtimer was taken off its queue."""
        seq = self.seq = self.seq + 1
        self._append(
            HrtimerCancel(
                seq, cpu.cause, self._clock.now, cpu.id, cpu.pid, cpu.preempt_count, cpu.irqs_off | cpu.need_resched << 2, hrtimer
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def hrtimer_rearm(self, cpu: CpuView, next_event: int, deferred: bool) -> int:
        """Record that the event device was programmed for ``next_event``."""
        seq = self.seq = self.seq + 1
        self._append(
            HrtimerRearm(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                next_event,
                deferred,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq

    def tick_stop(self, cpu: CpuView, success: bool, dependency: str) -> int:
        """Record that the tick was stopped, or ``dependency`` kept it."""
        seq = self.seq = self.seq + 1
        self._append(
            TickStop(
                seq,
                cpu.cause,
                self._clock.now,
                cpu.id,
                cpu.pid,
                cpu.preempt_count,
                cpu.irqs_off | cpu.need_resched << 2,
                success,
                dependency,
            )
        )
        if seq >= self._flush_at:
            self.flush()
        return seq
