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
from functools import partial
from typing import Any, Final

from asyncirq.errors import KernelBug, UsageError, check_async
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.local_lock import BhLock
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
from asyncirq.trace.names import softirq_name

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
SCSI_SOFTIRQ: Final = 4
"""What the slot of BLOCK was called before 2.6.16."""

SOFTIRQ_NOW_MASK: Final = 1 << HI_SOFTIRQ | 1 << TASKLET_SOFTIRQ
"""What runs inline even while ksoftirqd is runnable, where it defers (4.18 to 6.4)."""
TIMERS_MASK: Final = 1 << TIMER_SOFTIRQ | 1 << HRTIMER_SOFTIRQ
HOTPLUG_SAFE_MASK: Final = TIMERS_MASK | 1 << IRQ_POLL_SOFTIRQ | 1 << RCU_SOFTIRQ
"""What a CPU that goes down may leave pending: the hotplug states behind see to it."""

PF_MEMALLOC: Final = 0x800
"""A task flag: it may use the memory reserves. A softirq that interrupts it may not."""

Action = Callable[[Cpu], Coroutine[Any, Any, None]]


class Softirq:
    """The softirqs of one machine.

    ``pending[cpu]`` is the pending word, ``pending_timers[cpu]`` the one of ktimers; ``counts[cpu][nr]`` are the
    numbers of ``/proc/softirqs``, ``time_ns[cpu]`` the time that went into them, nested hard interrupts included. ``bh_count[cpu]``
    is PREEMPT_RT's count of BH-disabled sections. ``rcu_qs(cpu)``, if set, hears of quiescent states. ``ksoftirqd`` and ``ktimers``
    hold a task for each CPU once they exist.
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
        slots = sched.config.nr_softirqs
        self.counts = [[0] * slots for _ in range(cpus)]
        self.time_ns = [0] * cpus
        self.rcu_qs: Callable[[Cpu], None] | None = None
        self.data: list[object] = [None] * slots
        self.ksoftirqd: list[Task | None] = [None] * cpus
        self.ktimers: list[Task | None] = [None] * cpus
        self.wake_ksoftirqd_count = [0] * cpus
        self._qs_each_pass = not (sched.config.rcu_qs_each_action or sched.config.rt)
        self._vec: list[Action | None] = [None] * slots
        self._raise_cause = [[0] * slots for _ in range(cpus)]
        self._rt = sched.config.rt
        self._bh_locks = [BhLock(sched, f"bh_lock/{cpu.id}", "softirq_ctrl.lock") for cpu in sched.cpus]
        self.bh_count = [0] * cpus
        limit = sched.config.softirq_max_time_ms
        jiffy = sched.config.jiffy_ns
        self._jiffy = jiffy
        self._max_jiffies = None if limit is None else -(-limit * 1_000_000 // jiffy)

    def open_softirq(self, nr: int, action: Action, data: object = None) -> None:
        """Register the function of a vector, and where the kernel has it (2.6) the data that it finds in ``data[nr]``."""
        if not 0 <= nr < len(self._vec):
            raise UsageError(f"softirq {nr} is not in 0..{len(self._vec) - 1}")
        if data is not None and not self.config.softirq_data:
            raise UsageError(f"softirq {nr}: the actions of {self.config.release} have no data pointer")
        check_async(action, f"softirq {nr}: the action")
        self.data[nr] = data
        self._vec[nr] = partial(self._and_quiescent, action) if self.config.rcu_qs_each_action else action

    async def _and_quiescent(self, action: Action, cpu: Cpu) -> None:
        await action(cpu)
        if self.rcu_qs is not None:
            self.rcu_qs(cpu)

    def actions(self) -> list[tuple[int, str]]:
        """Return the registered vectors with the names of their functions."""
        bare = [action.args[0] if isinstance(action, partial) else action for action in self._vec]
        return [(nr, getattr(action, "__qualname__", "?")) for nr, action in enumerate(bare) if action is not None]

    # --- raising

    def raise_softirq_nowake(self, cpu: Cpu, nr: int) -> None:
        """Mark a vector pending on this CPU and do nothing else. Linux: __raise_softirq_irqoff(). Trace: softirq_raise."""
        self._mark(cpu, nr, self.pending)

    def _mark(self, cpu: Cpu, nr: int, words: list[int]) -> None:
        if self._vec[nr] is None:
            raise KernelBug(f"softirq {nr} is raised on {cpu.name} at {self.engine.now} ns but has no action")
        index = cpu.id
        bit = 1 << nr
        trace = self.trace
        if trace is not None:
            seq = trace.softirq_raise(cpu, nr)
            if not words[index] & bit:
                self._raise_cause[index][nr] = seq
        words[index] |= bit

    async def raise_softirq_irqoff(self, cpu: Cpu, nr: int) -> None:
        """Mark a vector pending; outside any interrupt or BH-disabled section wake ksoftirqd. Interrupts are off.

        On PREEMPT_RT a section of another task counts too: it runs what is pending at its end.
        """
        self.raise_softirq_nowake(cpu, nr)
        if not cpu.preempt_count & INTERRUPT_MASK and not self.bh_count[cpu.id]:
            await self.wakeup_softirqd(cpu)

    async def raise_softirq(self, cpu: Cpu, nr: int) -> None:
        """Mark a vector pending as ``raise_softirq_irqoff`` does, from a context with interrupts on or off."""
        was_off = cpu.irq_disable()
        await self.raise_softirq_irqoff(cpu, nr)
        if not was_off:
            await cpu.irq_enable()

    async def raise_timer_softirq(self, cpu: Cpu, nr: int) -> None:
        """Mark TIMER or HRTIMER pending from the timer interrupt: for ktimers where it exists.

        Linux: raise_timer_softirq(), include/linux/interrupt.h. Where ktimers is woken for TIMER, at once or at the interrupt's exit,
        is a policy; for HRTIMER it is always the exit.
        """
        if not self.config.has_ktimers:
            self.raise_softirq_nowake(cpu, nr)
            return
        self._mark(cpu, nr, self.pending_timers)
        ktimers = self.ktimers[cpu.id]
        if ktimers is not None and nr == TIMER_SOFTIRQ and self.config.ktimers_wake_in_hardirq:
            await self._wake(cpu, ktimers)

    async def wakeup_softirqd(self, cpu: Cpu) -> None:
        """Wake this CPU's ksoftirqd unless it is ready already or does not exist yet."""
        task = self.ksoftirqd[cpu.id]
        if task is not None:
            self.wake_ksoftirqd_count[cpu.id] += task.state != TASK_RUNNING
            await self._wake(cpu, task)

    async def _wake(self, cpu: Cpu, task: Task) -> None:
        if task.state != TASK_RUNNING:
            cost = self.costs.softirqd_wake_ns
            if cost:
                # Interrupts are off, but at an interrupt's exit the preempt count is 0 already.
                cpu.preempt_count += 1
                await cpu.spend(cost)
                cpu.preempt_count -= 1
            await self.sched.wake_up_process(cpu, task)

    # --- bottom halves off and on

    async def local_bh_disable(self, task: Task) -> Cpu:
        """Keep softirqs off this CPU and return it; it stays this one until ``local_bh_enable``.

        On PREEMPT_RT the section is preemptible, bound to the CPU by ``migrate_disable``, and waits for the CPU's BH lock;
        it takes no lock where it may not sleep, and finding the CPU's bottom halves off there is a ``KernelBug``.
        """
        if self._rt:
            return await self._bh_disable_rt(task, SOFTIRQ_DISABLE_OFFSET)
        cpu = task.cpu
        cpu.preempt_count += SOFTIRQ_DISABLE_OFFSET
        if self.sched.lockdep is not None:
            self.sched.lockdep.softirqs_off(task)
        return cpu

    async def local_bh_enable(self, task: Task) -> None:
        """End one ``local_bh_disable``; at the last one run what is pending, then reschedule if asked to.

        Raises ``KernelBug`` in hard interrupt context, and, except on PREEMPT_RT, with interrupts off.
        """
        cpu = task.cpu
        count = cpu.preempt_count
        if count & HARDIRQ_MASK:
            raise KernelBug(f"WARNING: local_bh_enable in hard interrupt context on {cpu.name} at {self.engine.now} ns")
        if self._rt:
            await self._bh_enable_rt(task, cpu)
            return
        if cpu.irqs_off:
            raise KernelBug(f"WARNING: local_bh_enable with interrupts off on {cpu.name} at {self.engine.now} ns")
        last = count & INTERRUPT_MASK == SOFTIRQ_DISABLE_OFFSET
        if last and self.sched.lockdep is not None:
            self.sched.lockdep.softirqs_on(cpu, task)
        if last and self.pending[cpu.id] and not self._is_deferred(cpu.id):
            # Keep the CPU until the softirqs are done: preemption stays off while the BH count drops.
            cpu.preempt_count += 1 - SOFTIRQ_DISABLE_OFFSET
            cpu.irq_disable()
            await self._handle(cpu, self.costs.bh_enable_ns)
            await cpu.irq_enable()
            cpu.preempt_count -= 1
        else:
            cpu.preempt_count -= SOFTIRQ_DISABLE_OFFSET
        if cpu.need_resched:
            await self.sched.preempt_schedule(task)

    async def _bh_disable_rt(self, task: Task, offset: int) -> Cpu:
        cpu = task.migrate_disable()
        if not cpu.preempt_count & SOFTIRQ_MASK and self.config.bh_lock:
            if self._may_sleep(cpu):
                await self._bh_locks[cpu.id].lock(task)
            elif self.bh_count[cpu.id]:
                raise KernelBug(
                    f"WARNING: local_bh_disable of {task.comm}/{task.pid} in atomic context inside a section of another task "
                    f"on {cpu.name} at {self.engine.now} ns"
                )
        cpu.preempt_count += offset
        self.bh_count[cpu.id] += offset
        return cpu

    async def _bh_enable_rt(self, task: Task, cpu: Cpu) -> None:
        # Interrupts stay off until nobody has bottom halves off any more: else what an interrupt raises there would be left to this
        # task, which has looked already.
        may_sleep = self._may_sleep(cpu)
        was_off = cpu.irq_disable()
        offset = SOFTIRQ_DISABLE_OFFSET
        if cpu.preempt_count & SOFTIRQ_MASK == offset and self.pending[cpu.id]:
            if may_sleep:
                offset = SOFTIRQ_OFFSET
                cpu.preempt_count -= offset
                self.bh_count[cpu.id] -= offset
                await self._handle(cpu, self.costs.bh_enable_ns)
            else:
                await self.wakeup_softirqd(cpu)
        await self._bh_drop_rt(task, cpu, offset)
        await cpu.irq_restore(was_off)
        if task.cpu.need_resched:
            await self.sched.preempt_schedule(task)

    async def _bh_drop_rt(self, task: Task, cpu: Cpu, offset: int) -> None:
        cpu.preempt_count -= offset
        self.bh_count[cpu.id] -= offset
        lock = self._bh_locks[cpu.id]
        if lock.owner is task and not cpu.preempt_count & SOFTIRQ_MASK:
            await lock.unlock(task)
        task.migrate_enable()

    def _may_sleep(self, cpu: Cpu) -> bool:
        return not (cpu.irqs_off or cpu.preempt_count & self.sched.count_mask)

    # --- running

    async def irq_exit(self, cpu: Cpu) -> None:
        """Deal with what is pending at the exit of an interrupt: run it, or wake whoever shall. Interrupts are off.

        Linux: kernel/softirq.c __irq_exit_rcu(), invoke_softirq().
        """
        index = cpu.id
        if not cpu.preempt_count & INTERRUPT_MASK and self.pending[index]:
            if self._rt:
                if not self.bh_count[index]:
                    await self.wakeup_softirqd(cpu)
            elif self.config.threadirqs and self.ksoftirqd[index] is not None:
                await self.wakeup_softirqd(cpu)
            elif not self._is_deferred(index):
                await self._handle(cpu, self.costs.softirq_entry_ns)
        if self.pending_timers[index] and not cpu.preempt_count & (HARDIRQ_MASK | NMI_MASK):
            ktimers = self.ktimers[index]
            if ktimers is not None:
                await self._wake(cpu, ktimers)

    async def do_softirq(self, cpu: Cpu) -> None:
        """Run what is pending here and now, unless this is an interrupt already. Interrupts are afterwards as they were before."""
        if cpu.preempt_count & INTERRUPT_MASK:
            return
        was_off = cpu.irq_disable()
        if self.pending[cpu.id]:
            await self._handle(cpu, 0)
        await cpu.irq_restore(was_off)

    def _is_deferred(self, index: int) -> bool:
        """Tell whether what is pending waits for ksoftirqd because that is runnable. Linux (4.9 to 6.4): ksoftirqd_running()."""
        if not self.config.ksoftirqd_defers:
            return False
        daemon = self.ksoftirqd[index]
        return daemon is not None and daemon.state == TASK_RUNNING and not self.pending[index] & SOFTIRQ_NOW_MASK

    async def run_in_thread(self, task: Task, timers: bool) -> None:
        """Run what is pending in ksoftirqd, or in ktimers what the tick raised as well.

        Linux: run_ksoftirqd(), run_ktimerd(), ksoftirqd_run_begin(). On PREEMPT_RT bottom halves are off meanwhile.
        """
        cpu = await self._bh_disable_rt(task, SOFTIRQ_OFFSET) if self._rt else task.cpu
        cpu.irq_disable()
        index = cpu.id
        if timers:
            self.pending[index] |= self.pending_timers[index]
            self.pending_timers[index] = 0
        if self.pending[index]:
            await self._handle(cpu, self.costs.ksoftirqd_ns)
        if self._rt:
            await self._bh_drop_rt(task, cpu, SOFTIRQ_OFFSET)
            self._check_balance(cpu)
        await cpu.irq_enable()

    async def _handle(self, cpu: Cpu, lead_ns: int) -> None:
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
        task = cpu.current
        assert isinstance(task, Task)
        rcu_qs = self.rcu_qs if task is self.ksoftirqd[index] and self._qs_each_pass else None
        saved_flags = task.flags
        task.flags = saved_flags & ~PF_MEMALLOC
        # On PREEMPT_RT the caller has bottom halves off by this one count.
        offset = 0 if self._rt else SOFTIRQ_OFFSET
        cpu.preempt_count += offset
        if lead_ns:
            await cpu.spend(lead_ns)
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
            if rcu_qs is not None:
                rcu_qs(cpu)
            cpu.irq_disable()
            if not pending[index]:
                break
            restart -= 1
            late = limit is not None and (cpu.need_resched or engine.now // self._jiffy >= start_ns // self._jiffy + limit)
            if late or restart <= 0:
                await self.wakeup_softirqd(cpu)
                break
        if self.costs.softirq_exit_ns:
            await cpu.spend(self.costs.softirq_exit_ns)
        self.time_ns[index] += engine.now - start_ns
        cpu.cause = saved_cause
        task.flags = saved_flags
        cpu.preempt_count -= offset
        if offset:
            self._check_balance(cpu)

    def _check_balance(self, cpu: Cpu) -> None:
        if cpu.preempt_count & INTERRUPT_MASK:
            raise KernelBug(f"WARNING: preempt_count {cpu.preempt_count:08x} after softirqs on {cpu.name} at {self.engine.now} ns")

    def _leaked(self, cpu: Cpu, nr: int, count: int) -> None:
        if self.trace is not None:
            counts = f"preempt_count {count:08x}, exited with {cpu.preempt_count:08x}?"
            self.trace.printk(cpu, 3, f"huh, entered softirq {nr} {softirq_name(nr)} with {counts}")
        cpu.preempt_count = count
