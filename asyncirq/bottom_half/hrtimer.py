"""Run timers of nanosecond resolution: in the timer interrupt (hard), or in the HRTIMER softirq (soft).

Each CPU has a queue for either kind. The event device is programmed for the earliest hard expiry; a timer with slack also
runs at any earlier interrupt past its soft expiry. On PREEMPT_RT a timer that is not marked hard is soft.

Linux: kernel/time/hrtimer.c. Model: one clock (CLOCK_MONOTONIC is virtual time), always in high-resolution mode; a timer is
armed on the CPU of the caller, never moved to a busy one.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.bottom_half.callback_wait import name_of
from asyncirq.bottom_half.hrtimer_queue import HrtimerCpuBase, HrtimerQueue
from asyncirq.bottom_half.softirq import HRTIMER_SOFTIRQ, Softirq
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sim.engine import FOREVER

HRTIMER_MODE_ABS: Final = 0
HRTIMER_MODE_REL: Final = 1
HRTIMER_MODE_PINNED: Final = 2
HRTIMER_MODE_SOFT: Final = 4
HRTIMER_MODE_HARD: Final = 8

MAX_RETRIES: Final = 3
"""How often the interrupt looks again for what came due meanwhile, before it calls itself hung."""
MAX_HANG_DELAY_NS: Final = 100_000_000

HrtimerFn = Callable[[Cpu, "Hrtimer"], Coroutine[Any, Any, bool]]


def _mode_text(mode: int) -> str:
    bits = ((HRTIMER_MODE_PINNED, "PINNED"), (HRTIMER_MODE_SOFT, "SOFT"), (HRTIMER_MODE_HARD, "HARD"))
    return "|".join(["REL" if mode & HRTIMER_MODE_REL else "ABS"] + [text for bit, text in bits if mode & bit])


_MODE_TEXT: Final = tuple(_mode_text(mode) for mode in range(16))


class Hrtimer:
    """A timer: ``async def function(cpu, timer) -> bool``, which answers whether to run again at the expiry it has set.

    ``mode`` is ``HRTIMER_MODE_HARD``, ``HRTIMER_MODE_SOFT`` or 0: hard, but soft on PREEMPT_RT. It may run from
    ``softexpires`` on and the event device is programmed for ``expires``.
    """

    __slots__ = ("base", "expires", "function", "function_name", "mode", "name", "seq", "softexpires")

    def __init__(self, function: HrtimerFn, mode: int, name: str, function_name: str = "") -> None:
        self.function = function
        self.function_name = function_name if function_name else name_of(function)
        self.mode = mode & (HRTIMER_MODE_SOFT | HRTIMER_MODE_HARD)
        if self.mode == HRTIMER_MODE_SOFT | HRTIMER_MODE_HARD:
            raise UsageError(f"hrtimer {name}: the mode is both soft and hard")
        self.name = name
        self.expires = 0
        self.softexpires = 0
        self.seq = 0
        self.base: HrtimerQueue | None = None

    @property
    def queued(self) -> bool:
        """Tell whether the timer is armed and its function has not been called yet."""
        return self.seq != 0

    def __repr__(self) -> str:
        return f"<Hrtimer {self.name}>"


def hrtimer_forward(timer: Hrtimer, now: int, interval_ns: int) -> int:
    """Move an unarmed timer's expiry on by whole intervals, past ``now``; return how many. Raises ``UsageError`` for an interval of 0."""
    if interval_ns <= 0:
        raise UsageError(f"hrtimer_forward of {timer.name} by {interval_ns} ns")
    late = now - timer.expires
    if late < 0 or timer.seq:
        return 0
    overruns = late // interval_ns + 1
    timer.expires += overruns * interval_ns
    timer.softexpires += overruns * interval_ns
    return overruns


class Hrtimers:
    """The high-resolution timers of one machine.

    ``program(cpu, when_ns)`` programs the CPU's event device for one interrupt, ``None`` stops it; the machine sets it, and
    calls ``hrtimer_interrupt`` from the device's vector.
    """

    program: Callable[[Cpu, int | None], None]

    def __init__(self, softirq: Softirq) -> None:
        self.softirq = softirq
        self.sched = softirq.sched
        self.engine = softirq.engine
        self.costs = softirq.costs
        self.trace = softirq.trace
        self._rt = softirq.config.rt
        self.bases = [HrtimerCpuBase(self.sched, cpu.id) for cpu in self.sched.cpus]
        softirq.open_softirq(HRTIMER_SOFTIRQ, self._run_softirq)

    # --- arming

    def hrtimer_start(self, cpu: Cpu, timer: Hrtimer, time_ns: int, mode: int = HRTIMER_MODE_ABS, slack_ns: int = 0) -> None:
        """Arm a timer on this CPU: it runs between ``time_ns`` (or that much from now, ``HRTIMER_MODE_REL``) and ``slack_ns`` later.

        While its function runs on another CPU, it stays there. Trace: hrtimer_start.
        """
        self._arm(cpu, timer, time_ns, mode, slack_ns, restart=False)

    def hrtimer_restart(self, cpu: Cpu, timer: Hrtimer, time_ns: int, mode: int = HRTIMER_MODE_ABS) -> None:
        """Cancel a timer if it is armed, and arm it: as two calls, but the event device is programmed once.

        Trace: hrtimer_cancel, hrtimer_start.
        """
        self._arm(cpu, timer, time_ns, mode, 0, restart=True)

    def _arm(self, cpu: Cpu, timer: Hrtimer, time_ns: int, mode: int, slack_ns: int, restart: bool) -> None:
        old = timer.base
        was_armed = timer.seq != 0
        here = self.bases[cpu.id]
        was_next = False
        trace = self.trace
        if was_armed:
            assert old is not None
            was_next = old.cpu_id == cpu.id and timer.expires == here.expires_next
            old.remove(timer)
            if restart and trace is not None:
                trace.hrtimer_cancel(cpu, timer.name)
        if mode & HRTIMER_MODE_REL:
            time_ns += self.engine.now
        timer.softexpires = time_ns
        timer.expires = expires = time_ns + slack_ns
        kind = timer.mode
        is_soft = kind == HRTIMER_MODE_SOFT or (self._rt and kind != HRTIMER_MODE_HARD)
        queue = here.soft if is_soft else here.hard
        if old is not None and old is not queue and old.running is timer:
            queue = old
        if trace is not None:
            text = _MODE_TEXT[mode & (HRTIMER_MODE_REL | HRTIMER_MODE_PINNED) | kind]
            trace.hrtimer_start(cpu, timer.name, timer.function_name, expires, time_ns, text, was_armed and not restart)
        first = queue.add(timer)
        if was_next:
            self._force_reprogram(cpu, here)
        elif first and queue.cpu_id == cpu.id:
            self._reprogram(cpu, here, expires, is_soft)

    def hrtimer_try_to_cancel(self, cpu: Cpu, timer: Hrtimer) -> int:
        """Disarm a timer: 1 if it was armed, 0 if not, -1 if its function runs now. Trace: hrtimer_cancel."""
        queue = timer.base
        if queue is None:
            return 0
        if queue.running is timer:
            return -1
        if not timer.seq:
            return 0
        queue.remove(timer)
        if self.trace is not None:
            self.trace.hrtimer_cancel(cpu, timer.name)
        here = self.bases[cpu.id]
        if queue.cpu_id == cpu.id and timer.expires == here.expires_next:
            self._force_reprogram(cpu, here)
        return 1

    async def hrtimer_cancel(self, cpu: Cpu, timer: Hrtimer) -> bool:
        """Disarm a timer and wait until its function does not run on any CPU; return whether it was armed.

        A task passes the CPU of its ``migrate_disable``, which lets PREEMPT_RT sleep here; elsewhere the wait spins. Raises
        ``KernelBug`` when the function waits for itself.
        """
        while True:
            result = self.hrtimer_try_to_cancel(cpu, timer)
            if result >= 0:
                return result == 1
            assert timer.base is not None
            await self._wait_running(cpu, timer.base, timer)

    async def _wait_running(self, cpu: Cpu, queue: HrtimerQueue, timer: Hrtimer) -> None:
        what = f"hrtimer {timer.name}"
        if self._is_soft(timer):
            await queue.waits.spin_or_sleep(cpu, what, lambda: queue.running is not timer)
        else:
            await queue.waits.spin(cpu, what, lambda: queue.running is not timer)

    def hrtimers_dead_cpu(self, cpu: Cpu, dead: int) -> None:
        """Move the timers of a dead CPU to this one, for the same times."""
        old = self.bases[dead]
        here = self.bases[cpu.id]
        for source, target in ((old.hard, here.hard), (old.soft, here.soft)):
            if source.running is not None:
                raise KernelBug(f"hrtimers_dead_cpu: {source.running.name} runs on the dead CPU{dead} at {self.engine.now} ns")
            for timer in source.timers():
                target.add(timer)
            source.clear()
        self._force_reprogram(cpu, here)

    def hrtimers_cpu_dying(self, cpu: Cpu, dest: int) -> None:
        """Move the timers of this CPU, which is about to die, to another one, whose event device is programmed by ``retrigger_next_event``.

        Interrupts are off and the machine is stopped.
        """
        old = self.bases[cpu.id]
        there = self.bases[dest]
        for source, target in ((old.hard, there.hard), (old.soft, there.soft)):
            if source.running is not None:
                raise KernelBug(f"hrtimers_cpu_dying: {source.running.name} runs on {cpu.name} at {self.engine.now} ns")
            for timer in source.timers():
                target.add(timer)
            source.clear()
        old.expires_next = old.softirq_expires_next = FOREVER
        old.softirq_activated = False
        self.program(cpu, None)

    async def retrigger_next_event(self, cpu: Cpu) -> None:
        """Program this CPU's event device anew: timers have come from elsewhere."""
        self._force_reprogram(cpu, self.bases[cpu.id])

    def _is_soft(self, timer: Hrtimer) -> bool:
        mode = timer.mode
        return mode == HRTIMER_MODE_SOFT or (self._rt and mode != HRTIMER_MODE_HARD)

    # --- the event device

    def _reprogram(self, cpu: Cpu, base: HrtimerCpuBase, expires: int, is_soft: bool) -> None:
        if is_soft:
            if base.softirq_activated or expires >= base.softirq_expires_next:
                return
            base.softirq_expires_next = expires
        if expires < base.expires_next and not base.in_hrtirq:
            base.expires_next = expires
            self._program(cpu, expires)

    def _force_reprogram(self, cpu: Cpu, base: HrtimerCpuBase) -> None:
        expires = base.update_next_event()
        if expires != base.expires_next and not base.in_hrtirq:
            base.expires_next = expires
            self._program(cpu, expires)

    def _program(self, cpu: Cpu, expires: int) -> None:
        if expires == FOREVER:
            self.program(cpu, None)
        else:
            now = self.engine.now
            self.program(cpu, expires if expires > now else now)

    # --- running

    async def hrtimer_interrupt(self, cpu: Cpu) -> None:
        """Run the hard timers that are due, raise HRTIMER for soft ones, and program the next event; the event device's handler.

        What came due meanwhile is looked for up to three times; then the next event is put off by as long as this took, as
        "hrtimer: interrupt took" says once. Trace: softirq_raise, hrtimer_cancel, hrtimer_expire_entry, hrtimer_expire_exit, hrtimer_start.
        """
        base = self.bases[cpu.id]
        engine = self.engine
        base.nr_events += 1
        entry = now = engine.now
        cost = self.costs.hrtimer_ns
        if cost:
            await cpu.spend(cost)
        retries = 0
        while True:
            base.in_hrtirq = True
            base.expires_next = FOREVER
            if now >= base.softirq_expires_next:
                base.softirq_expires_next = FOREVER
                base.softirq_activated = True
                await self.softirq.raise_timer_softirq(cpu, HRTIMER_SOFTIRQ)
            await self._run_queue(cpu, base.hard, now)
            base.expires_next = expires = base.update_next_event()
            base.in_hrtirq = False
            now = engine.now
            if expires > now:
                self.program(cpu, None if expires == FOREVER else expires)
                return
            base.nr_retries += 1
            retries += 1
            if retries == MAX_RETRIES:
                self._hung(cpu, base, now - entry)
                return

    def _hung(self, cpu: Cpu, base: HrtimerCpuBase, took_ns: int) -> None:
        base.nr_hangs += 1
        if self.trace is not None and not any(each.max_hang_ns for each in self.bases):
            self.trace.printk(cpu, 4, f"hrtimer: interrupt took {took_ns} ns")
        if took_ns > base.max_hang_ns:
            base.max_hang_ns = took_ns
        delay = took_ns if took_ns < MAX_HANG_DELAY_NS else MAX_HANG_DELAY_NS
        base.expires_next = self.engine.now + delay
        self.program(cpu, base.expires_next)

    async def _run_softirq(self, cpu: Cpu) -> None:
        base = self.bases[cpu.id]
        cost = self.costs.timer_softirq_ns
        if cost:
            await cpu.spend(cost)
        if base.soft.running is not None:
            return
        await self._run_queue(cpu, base.soft, self.engine.now)
        base.softirq_activated = False
        expires = base.softirq_expires_next = base.soft.next_expiry()
        if expires < base.expires_next and not base.in_hrtirq:
            base.expires_next = expires
            self._program(cpu, expires)

    async def _run_queue(self, cpu: Cpu, queue: HrtimerQueue, now: int) -> None:
        trace = self.trace
        waits = queue.waits
        lockdep = self.sched.lockdep
        next_ns = self.costs.timer_next_ns
        ran = False
        while queue.entries and now >= queue.entries[0][2].softexpires:
            if ran and next_ns:
                await cpu.spend(next_ns)
                if not queue.entries or now < queue.entries[0][2].softexpires:
                    return
            ran = True
            timer = queue.pop()
            queue.running = timer
            waits.runner = cpu.current.sim
            saved = cpu.cause
            if trace is not None:
                trace.hrtimer_cancel(cpu, timer.name)
                cpu.cause = trace.hrtimer_expire_entry(cpu, timer.name, timer.function_name, now)
            function = timer.function
            if lockdep is not None and not timer.mode & HRTIMER_MODE_HARD:
                function = lockdep.may_thread(function)
            restart = await function(cpu, timer)
            if trace is not None:
                trace.hrtimer_expire_exit(cpu, timer.name)
            if restart and not timer.seq:
                if trace is not None:
                    trace.hrtimer_start(cpu, timer.name, timer.function_name, timer.expires, timer.softexpires, "ABS", False)
                queue.add(timer)
            cpu.cause = saved
            queue.running = None
            waits.runner = None
            if waits.anyone:
                await waits.wake(cpu)
