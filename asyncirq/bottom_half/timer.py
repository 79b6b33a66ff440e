"""Run timers of jiffy resolution from the TIMER softirq.

A timer belongs to the CPU that armed it last, and runs there. Each CPU has three wheels: LOCAL for pinned timers, GLOBAL,
and DEF for deferrable ones, worked off in this order; a kernel whose idle CPUs keep their tick has one.

All functions are plain where no time passes: arming and deleting cost nothing here. ``cpu`` is the CPU of the caller, who
cannot migrate.

Linux: kernel/time/timer.c. Model: the GLOBAL timers of an idle CPU are not pulled by others (timer_migration.c), they end
its sleep; the costs of arming and deleting are the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncirq.bottom_half.softirq import TIMER_SOFTIRQ, Softirq
from asyncirq.bottom_half.timer_wheel import (
    BASE_DEF,
    BASE_GLOBAL,
    BASE_LOCAL,
    NEXT_TIMER_MAX_DELTA,
    Chain,
    Timer,
    TimerBase,
    wheel_depth,
    wheel_index,
)
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import in_hardirq

if TYPE_CHECKING:
    from asyncirq.trace.recorder import Recorder


class Timers:
    """The timer wheels of one machine; ``bases[cpu]`` are the wheels of one CPU."""

    def __init__(self, softirq: Softirq) -> None:
        self.softirq = softirq
        self.sched = softirq.sched
        self.engine = softirq.engine
        self.costs = softirq.costs
        self.trace: Recorder | None = softirq.trace
        config = softirq.config
        self._jiffy_ns = config.jiffy_ns
        count = 3 if config.nohz_idle else 1
        self._one_base = count == 1
        self._depth = depth = wheel_depth(config.hz)
        self.bases = [[TimerBase(self.sched, cpu.id, depth) for _ in range(count)] for cpu in self.sched.cpus]
        softirq.open_softirq(TIMER_SOFTIRQ, self._run_timers)

    @property
    def jiffies(self) -> int:
        """Return the number of ticks since boot, by time: a CPU that slept through some has not lost them."""
        return self.engine.now // self._jiffy_ns

    # --- arming

    def add_timer(self, cpu: Cpu, timer: Timer) -> None:
        """Arm a timer for its ``expires``. Raises ``KernelBug`` if it is pending. Trace: timer_start."""
        if timer.chain is not None:
            raise KernelBug(f"add_timer: {timer.name} is pending already, on {cpu.name} at {self.engine.now} ns")
        self.mod_timer(cpu, timer, timer.expires)

    def add_timer_on(self, cpu: Cpu, timer: Timer, dest: int) -> None:
        """Arm a timer on a given CPU, pinned there; an idle one is told to look at its wheel again.

        Raises ``KernelBug`` if the timer is pending.
        """
        if timer.chain is not None:
            raise KernelBug(f"add_timer_on: {timer.name} is pending already, on {cpu.name} at {self.engine.now} ns")
        if timer.shutdown:
            return
        timer.pinned = True
        base = self._base(timer, dest)
        base.forward(self.jiffies)
        self._enqueue(cpu, base, timer)
        if base.is_idle and not timer.deferrable and dest != cpu.id:
            self.sched.resched_curr(cpu, self.sched.cpus[dest])

    def mod_timer(self, cpu: Cpu, timer: Timer, expires: int) -> bool:
        """Arm a timer for ``expires``, or change when it is due, and move it to this CPU; return whether it was pending.

        A pending timer whose bucket stays the same keeps its place and leaves no record. While the function runs on
        another CPU the timer stays there. Trace: timer_cancel, timer_start.
        """
        chain = timer.chain
        if chain is not None and timer.expires == expires:
            return True
        return self._mod(cpu, timer, expires)

    def timer_reduce(self, cpu: Cpu, timer: Timer, expires: int) -> bool:
        """Arm a timer like ``mod_timer``, unless it is pending for an earlier jiffy already; return whether it was pending."""
        if timer.chain is not None and timer.expires <= expires:
            return True
        return self._mod(cpu, timer, expires)

    def _mod(self, cpu: Cpu, timer: Timer, expires: int) -> bool:
        jiffies = self.engine.now // self._jiffy_ns
        was = timer.base
        pending = timer.chain is not None
        if pending:
            assert was is not None
            was.forward(jiffies)
            if wheel_index(expires, was.clk, self._depth)[0] == timer.idx:
                timer.expires = expires
                return True
        elif timer.shutdown:
            return False
        if pending:
            self._detach(cpu, timer)
        base = self._base(timer, cpu.id)
        if was is not None and was is not base and was.running is timer:
            base = was
        base.forward(jiffies)
        timer.expires = expires
        self._enqueue(cpu, base, timer)
        return pending

    def _base(self, timer: Timer, cpu_id: int) -> TimerBase:
        bases = self.bases[cpu_id]
        if self._one_base:
            return bases[0]
        if timer.deferrable:
            return bases[BASE_DEF]
        return bases[BASE_LOCAL if timer.pinned else BASE_GLOBAL]

    def _enqueue(self, cpu: Cpu, base: TimerBase, timer: Timer) -> None:
        expires = timer.expires
        idx, due = wheel_index(expires, base.clk, self._depth)
        base.enqueue(timer, idx, due)
        if self.trace is not None:
            timeout = expires - self.engine.now // self._jiffy_ns
            self.trace.timer_start(cpu, timer.name, timer.function_name, expires, timeout, due, base.cpu_id, idx, timer.flags)

    def _detach(self, cpu: Cpu, timer: Timer) -> None:
        assert timer.base is not None
        timer.base.detach(timer)
        if self.trace is not None:
            self.trace.timer_cancel(cpu, timer.name)

    # --- deleting

    def timer_delete(self, cpu: Cpu, timer: Timer) -> bool:
        """Disarm a timer; its function may be running right now. Return whether it was pending. Trace: timer_cancel."""
        if timer.chain is None:
            return False
        self._detach(cpu, timer)
        return True

    async def timer_delete_sync(self, cpu: Cpu, timer: Timer) -> bool:
        """Disarm a timer and wait until its function does not run on any CPU; return whether it was pending.

        A task passes the CPU of its ``migrate_disable``, which lets PREEMPT_RT sleep here; elsewhere the wait spins.
        Raises ``KernelBug`` in a hard interrupt, unless the timer is irqsafe, and when the function waits for itself.
        """
        if in_hardirq(cpu) and not timer.irqsafe:
            where = f"in a hard interrupt on {cpu.name} at {self.engine.now} ns"
            raise KernelBug(f"WARNING: timer_delete_sync of {timer.name}, which is not irqsafe, {where}")
        while True:
            base = timer.base
            if base is None or base.running is not timer:
                return self.timer_delete(cpu, timer)
            await self._wait_running(cpu, base, timer)

    async def timer_shutdown_sync(self, cpu: Cpu, timer: Timer) -> bool:
        """Delete a timer as ``timer_delete_sync`` does, and make later arming a silent no-op."""
        timer.shutdown = True
        return await self.timer_delete_sync(cpu, timer)

    async def _wait_running(self, cpu: Cpu, base: TimerBase, timer: Timer) -> None:
        await base.waits.spin_or_sleep(cpu, f"timer {timer.name}", lambda: base.running is not timer)

    # --- the tick's side

    async def run_local_timers(self, cpu: Cpu) -> None:
        """Raise TIMER if a wheel of this CPU may have something due; called by the tick. Trace: softirq_raise."""
        jiffies = self.engine.now // self._jiffy_ns
        for base in self.bases[cpu.id]:
            if base.next_expiry <= jiffies:
                await self.softirq.raise_timer_softirq(cpu, TIMER_SOFTIRQ)
                return

    def next_timer_interrupt(self, cpu: Cpu) -> int | None:
        """Return the jiffy of the earliest timer that ends this CPU's sleep, None without one; deferrable ones do not.

        Linux: get_next_timer_interrupt(). An empty wheel's next expiry is moved on, so that it raises nothing by itself.
        """
        jiffies = self.engine.now // self._jiffy_ns
        earliest: int | None = None
        for base in self.bases[cpu.id][:BASE_DEF]:
            if base.recalc:
                base.recalculate()
            if base.timers_pending:
                if earliest is None or base.next_expiry < earliest:
                    earliest = base.next_expiry
            else:
                base.next_expiry = jiffies + NEXT_TIMER_MAX_DELTA
            base.forward(jiffies)
        return earliest

    def set_idle(self, cpu: Cpu, is_idle: bool) -> None:
        """Take note that this CPU sleeps past its tick, or does not any more. Trace: timer_base_idle."""
        bases = self.bases[cpu.id]
        if bases[0].is_idle is not is_idle:
            for base in bases[:BASE_DEF]:
                base.is_idle = is_idle
            if self.trace is not None:
                self.trace.timer_base_idle(cpu, is_idle, cpu.id)

    def timers_dead_cpu(self, cpu: Cpu, dead: int) -> None:
        """Arm the timers of a dead CPU on this one, for the same jiffies; those overdue run at its next tick."""
        jiffies = self.jiffies
        for kind, old in enumerate(self.bases[dead]):
            new = self.bases[cpu.id][kind]
            old.forward(jiffies)
            new.forward(jiffies)
            if old.running is not None:
                raise KernelBug(f"timers_dead_cpu: {old.running.name} runs on the dead CPU{dead} at {self.engine.now} ns")
            for timer in old.pending_timers():
                old.detach(timer)
                self._enqueue(cpu, new, timer)

    # --- running

    async def _run_timers(self, cpu: Cpu) -> None:
        cost = self.costs.timer_softirq_ns
        if cost:
            await cpu.spend(cost)
        first = True
        for base in self.bases[cpu.id]:
            # Only where PREEMPT_RT runs two softirq threads of one CPU without the BH lock is the wheel in use here.
            if base.running is not None:
                continue
            while base.next_expiry <= self.engine.now // self._jiffy_ns:
                for chain in base.collect():
                    first = await self._expire(cpu, base, chain, first)

    async def _expire(self, cpu: Cpu, base: TimerBase, chain: Chain, first: bool) -> bool:
        baseclk = base.clk - 1
        timers = chain.timers
        trace = self.trace
        next_ns = self.costs.timer_next_ns
        waits = base.waits
        while timers:
            if first:
                first = False
            elif next_ns:
                await cpu.spend(next_ns)
                if not timers:
                    break
            timer = timers.popitem()[0]
            timer.chain = None
            base.running = timer
            waits.runner = cpu.current.sim
            saved = cpu.cause
            irqsafe = timer.irqsafe
            if irqsafe:
                cpu.irq_disable()
            if trace is not None:
                jiffies = self.engine.now // self._jiffy_ns
                trace.timer_cancel(cpu, timer.name)
                cpu.cause = trace.timer_expire_entry(cpu, timer.name, timer.function_name, jiffies, baseclk)
            count = cpu.preempt_count
            await timer.function(cpu, timer)
            if cpu.preempt_count != count:
                self._leaked(cpu, timer, count)
            if trace is not None:
                trace.timer_expire_exit(cpu, timer.name)
            cpu.cause = saved
            base.running = None
            waits.runner = None
            if irqsafe:
                await cpu.irq_enable()
            if waits.anyone:
                await waits.wake(cpu)
        return first

    def _leaked(self, cpu: Cpu, timer: Timer, count: int) -> None:
        if self.trace is not None:
            self.trace.printk(cpu, 4, f"timer: {timer.function_name} preempt leak: {count:08x} -> {cpu.preempt_count:08x}")
        cpu.preempt_count = count
