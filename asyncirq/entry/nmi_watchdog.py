"""Notice a CPU that takes no interrupts by what it cannot keep out: an NMI of its own cycle counter.

Each CPU's counter overflows after ``watchdog_thresh_s`` of time that it did not halt. The NMI looks whether the CPU's watchdog hrtimer
has had a turn since the last one; that it had none is a hard lockup.

Linux: kernel/watchdog_perf.c, arch/x86/events/core.c. Model: the counter stands still from the idle task's first halt until it leaves
the idle loop, so interrupts that come in between do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from asyncirq.bottom_half.watchdog import Watchdog
from asyncirq.entry.nmi import NmiHandlers
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.perf_counter import PerfCounter
from asyncirq.sched.idle import Idle

SECOND_NS: Final = 1_000_000_000


class NmiWatchdog:
    """The NMI watchdog of one machine; ``counters[n]`` is the cycle counter of CPU n."""

    def __init__(self, nmi: NmiHandlers, watchdog: Watchdog, idle: Idle) -> None:
        self.watchdog = watchdog
        sched = watchdog.sched
        self.period_ns = sched.config.watchdog_thresh_s * SECOND_NS
        self.counters = [PerfCounter(sched.engine, cpu.lapic) for cpu in sched.cpus]
        nmi.register("local", self._overflow, "perf_event_nmi_handler")
        idle.enter = partial(self._halt, True, idle.enter)
        idle.leave = partial(self._halt, False, idle.leave)

    def start(self, cpu: Cpu) -> None:
        """Start the counter of one CPU. Linux: watchdog_hardlockup_enable()."""
        self.counters[cpu.id].start(self.period_ns)

    def _halt(self, halted: bool, outer: Callable[[Cpu], None] | None, cpu: Cpu) -> None:
        if outer is not None:
            outer(cpu)
        self.counters[cpu.id].halt(halted)

    async def _overflow(self, cpu: Cpu) -> int:
        """Handle an overflow, if there was one. Trace: lockup_report, printk."""
        counter = self.counters[cpu.id]
        if not counter.overflowed:
            return 0
        counter.arm()
        self.watchdog.check_hardlockup(cpu, cpu.id)
        return 1
