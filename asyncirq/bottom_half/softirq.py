"""Run deferred work of interrupts: the ten softirq vectors and the three places where they run.

At the exit of the outermost interrupt, at the outermost ``local_bh_enable``, and in ksoftirqd. One pass takes a
snapshot of the pending word and clears it; what is raised meanwhile waits for the next pass. Passes go on while
something is pending, up to ``softirq_max_restart`` of them, until the time limit and while nobody asks for the CPU;
the rest is ksoftirqd's.

Linux: kernel/softirq.c. On PREEMPT_RT no interrupt exit runs softirqs: ksoftirqd or whoever disabled bottom halves
does, under a per-CPU lock with priority inheritance, and the timer vectors raised by the tick have a pending word of
their own that only ``ktimers/N`` empties.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.rtmutex import RtLock
from asyncirq.sched.core import Sched
from asyncirq.sched.preempt import (
    HARDIRQ_MASK,
    INTERRUPT_MASK,
    NMI_MASK,
    SOFTIRQ_DISABLE_OFFSET,
    SOFTIRQ_MASK,
    SOFTIRQ_OFFSET,
)
from asyncirq.sched.task import TASK_RUNNING, Task

HI_SOFTIRQ: Final = 0
TIMER_SOFTIRQ: Final = 1
NET_TX_SOFTIRQ: Final = 2
NET_RX_SOFTIRQ: Final = 3
BLOCK_SOFTIRQ: Final = 4
IRQ_POLL_SOFTIRQ: Final = 5
TASKLET_SOFTIRQ: Final = 6
SCHED_SOFTIRQ: Final = 7
HRTIMER_SOFTIRQ: Final = 8
RCU_SOFTIRQ: Final = 9
NR_SOFTIRQS: Final = 10

SOFTIRQ_NOW_MASK: Final = 1 << HI_SOFTIRQ | 1 << TASKLET_SOFTIRQ
"""What runs inline even while ksoftirqd is runnable, where it defers (4.18 to 6.4)."""
TIMERS_MASK: Final = 1 << TIMER_SOFTIRQ | 1 << HRTIMER_SOFTIRQ

Action = Callable[[Cpu], Coroutine[Any, Any, None]]


class Softirq:
    """The softirqs of one machine.

    ``pending[cpu]`` is the pending word, ``pending_timers[cpu]`` the one of ktimers; ``counts[cpu][nr]`` are the
    numbers of ``/proc/softirqs``. ``ksoftirqd`` and ``ktimers`` hold a task for each CPU once they exist.
    """

    def __init__(self, sched: Sched) -> None:
        cpus = len(sched.cpus)
        self.sched = sched
        self.config = sched.config
        self.costs = sched.costs
        self.trace = sched.trace
        self.engine = sched.engine
        self.pending = [0] * cpus
        self.pending_timers = [0] * cpus
        self.counts = [[0] * NR_SOFTIRQS for _ in range(cpus)]
        self.ksoftirqd: list[Task | None] = [None] * cpus
        self.ktimers: list[Task | None] = [None] * cpus
        self.wake_ksoftirqd_count = [0] * cpus
        self._vec: list[Action | None] = [None] * NR_SOFTIRQS
        self._raise_cause = [[0] * NR_SOFTIRQS for _ in range(cpus)]
        self._rt = sched.config.rt
        self._bh_locks = [RtLock(sched, f"bh_lock/{cpu.id}") for cpu in sched.cpus]
        limit = sched.config.softirq_max_time_ms
        jiffy = sched.config.jiffy_ns
        self._jiffy = jiffy
        self._max_jiffies = None if limit is None else -(-limit * 1_000_000 // jiffy)

    def open_softirq(self, nr: int, action: Action) -> None:
        """Register the function of a vector."""
        if not 0 <= nr < NR_SOFTIRQS:
            raise UsageError(f"softirq {nr} is not in 0..{NR_SOFTIRQS - 1}")
        self._vec[nr] = action

    def actions(self) -> list[tuple[int, str]]:
        """Return the registered vectors with the names of their functions."""
        return [(nr, getattr(action, "__qualname__", "?")) for nr, action in enumerate(self._vec) if action is not None]

    # --- raising

    def raise_softirq_nowake(self, cpu: Cpu, nr: int) -> None:
        """Mark a vector pending on this CPU and do nothing else. Linux: __raise_softirq_irqoff(). Trace: softirq_raise."""
        if self._vec[nr] is None:
            raise KernelBug(f"softirq {nr} is raised on {cpu.name} but has no action")
        bit = 1 << nr
        trace = self.trace
        if trace is not None:
            seq = trace.softirq_raise(cpu, nr)
            if not self.pending[cpu.id] & bit:
                self._raise_cause[cpu.id][nr] = seq
        self.pending[cpu.id] |= bit

    async def raise_softirq_irqoff(self, cpu: Cpu, nr: int) -> None:
        """Mark a vector pending; outside any interrupt or BH-disabled section wake ksoftirqd. Interrupts are off."""
        self.raise_softirq_nowake(cpu, nr)
        if not cpu.preempt_count & INTERRUPT_MASK:
            await self.wakeup_softirqd(cpu)

    async def raise_softirq(self, cpu: Cpu, nr: int) -> None:
        """Mark a vector pending as ``raise_softirq_irqoff`` does, from a context with interrupts on or off."""
        was_off = cpu.irq_disable()
        await self.raise_softirq_irqoff(cpu, nr)
        if not was_off:
            await cpu.irq_enable()

    async def raise_timer_softirq(self, cpu: Cpu, nr: int) -> None:
        """Mark TIMER or HRTIMER pending from the timer interrupt: for ktimers where it exists.

        Linux: raise_timer_softirq(), include/linux/interrupt.h. Where ktimers is woken, at once or at the interrupt's exit, is a policy.
        """
        ktimers = self.ktimers[cpu.id]
        if ktimers is None:
            self.raise_softirq_nowake(cpu, nr)
            return
        if self.trace is not None:
            seq = self.trace.softirq_raise(cpu, nr)
            if not self.pending_timers[cpu.id] & 1 << nr:
                self._raise_cause[cpu.id][nr] = seq
        self.pending_timers[cpu.id] |= 1 << nr
        if self.config.ktimers_wake_in_hardirq:
            await self._wake(cpu, ktimers)

    async def wakeup_softirqd(self, cpu: Cpu) -> None:
        """Wake this CPU's ksoftirqd unless it is ready already or does not exist yet."""
        task = self.ksoftirqd[cpu.id]
        if task is not None:
            self.wake_ksoftirqd_count[cpu.id] += task.state != TASK_RUNNING
            await self._wake(cpu, task)

    async def _wake(self, cpu: Cpu, task: Task) -> None:
        if task.state != TASK_RUNNING:
            await self.sched.wake_up_process(cpu, task)

    # --- bottom halves off and on

    async def local_bh_disable(self, task: Task) -> Cpu:
        """Keep softirqs off this CPU and return it; it stays this one until ``local_bh_enable``.

        On PREEMPT_RT the section is preemptible, bound to the CPU by ``migrate_disable``, and waits for the CPU's BH lock.
        """
        if self._rt:
            cpu = task.migrate_disable()
            if not cpu.preempt_count & SOFTIRQ_MASK and self.config.bh_lock:
                await self._bh_locks[cpu.id].lock(task)
            cpu.preempt_count += SOFTIRQ_DISABLE_OFFSET
            return cpu
        cpu = task.cpu
        cpu.preempt_count += SOFTIRQ_DISABLE_OFFSET
        return cpu

    async def local_bh_enable(self, task: Task) -> None:
        """End one ``local_bh_disable``; at the last one run what is pending, then reschedule if asked to."""
        cpu = task.cpu
        count = cpu.preempt_count
        if count & HARDIRQ_MASK:
            raise KernelBug(f"WARNING: local_bh_enable in hard interrupt context on {cpu.name} at {self.engine.now} ns")
        last = count & SOFTIRQ_MASK == SOFTIRQ_DISABLE_OFFSET
        if self._rt:
            await self._bh_enable_rt(task, cpu, last)
            return
        if last and not count & NMI_MASK and self.pending[cpu.id]:
            # Keep the CPU until the softirqs are done: preemption stays off while the BH count drops.
            cpu.preempt_count += 1 - SOFTIRQ_DISABLE_OFFSET
            was_off = cpu.irq_disable()
            if self.pending[cpu.id]:
                await cpu.spend(self.costs.bh_enable_ns)
                await self._handle(cpu)
            await cpu.irq_restore(was_off)
            cpu.preempt_count -= 1
        else:
            cpu.preempt_count -= SOFTIRQ_DISABLE_OFFSET
        if cpu.need_resched:
            await self.sched.preempt_schedule(task)

    async def _bh_enable_rt(self, task: Task, cpu: Cpu, last: bool) -> None:
        if last:
            if self.pending[cpu.id]:
                if cpu.irqs_off or cpu.preempt_count & self.sched.count_mask:
                    await self.wakeup_softirqd(cpu)
                else:
                    cpu.irq_disable()
                    await cpu.spend(self.costs.bh_enable_ns)
                    await self._handle(cpu)
                    await cpu.irq_enable()
            cpu.preempt_count -= SOFTIRQ_DISABLE_OFFSET
            if self.config.bh_lock:
                await self._bh_locks[cpu.id].unlock(task)
        else:
            cpu.preempt_count -= SOFTIRQ_DISABLE_OFFSET
        task.migrate_enable()
        if cpu.need_resched:
            await self.sched.preempt_schedule(task)

    # --- running

    async def irq_exit(self, cpu: Cpu) -> None:
        """Deal with what is pending at the exit of an interrupt: run it, or wake whoever shall. Interrupts are off.

        Linux: kernel/softirq.c __irq_exit_rcu(), invoke_softirq().
        """
        index = cpu.id
        if not cpu.preempt_count & INTERRUPT_MASK and self.pending[index]:
            daemon = self.ksoftirqd[index]
            if daemon is None or not self._is_left_to(daemon, index):
                await cpu.spend(self.costs.softirq_entry_ns)
                await self._handle(cpu)
            elif self._rt:
                if self._bh_locks[index].owner is None:
                    await self.wakeup_softirqd(cpu)
            elif self.config.threadirqs:
                await self.wakeup_softirqd(cpu)
        if self.pending_timers[index] and not cpu.preempt_count & (HARDIRQ_MASK | NMI_MASK):
            ktimers = self.ktimers[index]
            if ktimers is not None:
                await self._wake(cpu, ktimers)

    def _is_left_to(self, daemon: Task, index: int) -> bool:
        """Tell whether the exit of an interrupt leaves what is pending to ksoftirqd."""
        config = self.config
        if self._rt or config.threadirqs:
            return True
        return config.ksoftirqd_defers and daemon.state == TASK_RUNNING and not self.pending[index] & SOFTIRQ_NOW_MASK

    async def run_pending(self, cpu: Cpu) -> None:
        """Run what is pending, for ksoftirqd and ktimers: interrupts are off before and after."""
        await self._handle(cpu)

    async def _handle(self, cpu: Cpu) -> None:
        index = cpu.id
        engine = self.engine
        pending = self.pending
        vec = self._vec
        trace = self.trace
        counts = self.counts[index]
        causes = self._raise_cause[index]
        saved_cause = cpu.cause
        next_ns = self.costs.softirq_next_ns
        limit = self._max_jiffies
        start_ns = engine.now
        restart = self.config.softirq_max_restart
        cpu.preempt_count += SOFTIRQ_OFFSET
        first = True
        while True:
            snapshot = pending[index]
            pending[index] = 0
            await cpu.irq_enable()
            while snapshot:
                nr = (snapshot & -snapshot).bit_length() - 1
                snapshot &= snapshot - 1
                if first:
                    first = False
                elif next_ns:
                    await cpu.spend(next_ns)
                count = cpu.preempt_count
                counts[nr] += 1
                if trace is not None:
                    cpu.cause = causes[nr]
                    cpu.cause = trace.softirq_entry(cpu, nr)
                action = vec[nr]
                assert action is not None
                await action(cpu)
                if trace is not None:
                    trace.softirq_exit(cpu, nr)
                if cpu.preempt_count != count:
                    self._leaked(cpu, nr, count)
            cpu.irq_disable()
            if not pending[index]:
                break
            restart -= 1
            if cpu.need_resched or restart <= 0 or (limit is not None and engine.now // self._jiffy >= start_ns // self._jiffy + limit):
                await self.wakeup_softirqd(cpu)
                break
        if self.costs.softirq_exit_ns:
            await cpu.spend(self.costs.softirq_exit_ns)
        cpu.cause = saved_cause
        if not cpu.preempt_count & SOFTIRQ_OFFSET:
            raise KernelBug(f"softirq count lost on {cpu.name} at {engine.now} ns")
        cpu.preempt_count -= SOFTIRQ_OFFSET

    def _leaked(self, cpu: Cpu, nr: int, count: int) -> None:
        if self.trace is not None:
            name = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")[nr]
            self.trace.printk(
                cpu, 3, f"huh, entered softirq {nr} {name} with preempt_count {count:08x}, exited with {cpu.preempt_count:08x}?"
            )
        cpu.preempt_count = count
