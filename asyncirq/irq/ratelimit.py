"""Say what may come in storms only so often: ten times in five seconds, then count in silence.

Linux: lib/ratelimit.c, the default of printk_ratelimited(). Trace: printk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.hw.cpu import Cpu

if TYPE_CHECKING:
    from asyncirq.irq.core import IrqTable

INTERVAL_NS: Final = 5_000_000_000
BURST: Final = 10


class Ratelimit:
    """The state of one place that speaks."""

    def __init__(self, core: IrqTable) -> None:
        self.core = core
        self.printed = 0
        self.missed = 0
        self._begin = -1

    def printk(self, cpu: Cpu, level: int, function: str, text: str) -> bool:
        """Say ``function`` and ``text`` unless that was said too often, first how much was left out; tell whether it was said."""
        now = self.core.engine.now
        if self._begin < 0 or now - self._begin >= INTERVAL_NS:
            if self.missed:
                self.core.printk(cpu, 4, f"{function}: {self.missed} callbacks suppressed")
            self._begin = now
            self.printed = self.missed = 0
        if self.printed >= BURST:
            self.missed += 1
            return False
        self.printed += 1
        self.core.printk(cpu, level, function + text)
        return True
