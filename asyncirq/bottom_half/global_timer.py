"""Count jiffies from one global timer, as 2.6 did: a device with an interrupt line of its own, apart from the CPUs' local timers.

The local timers account, preempt and look at the wheels; only the global one moves jiffies, on whichever CPU takes its interrupt.

Linux: arch/i386/kernel/time.c timer_interrupt(), kernel/timer.c do_timer() of 2.6. Model: an experiment to attach to a line; the
wheels follow virtual time itself, so a lost global tick makes this count late and nothing else.
"""

from __future__ import annotations

from asyncirq.hw.cpu import Cpu


class GlobalTimer:
    """The counter: ``jiffies``, and ``updates[cpu]``, how often each CPU has moved it."""

    def __init__(self, cpus: int) -> None:
        self.jiffies = 0
        self.updates = [0] * cpus

    async def timer_interrupt(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        """Count one jiffy; the handler of the global timer's line. Returns IRQ_HANDLED."""
        self.jiffies += 1
        self.updates[cpu.id] += 1
        return 1
