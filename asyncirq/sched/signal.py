"""Send signals to threads: which are blocked, which ignored, which pend.

Linux: kernel/signal.c, as far as kernel threads are concerned, which take no signal unless they ask for it. Model: nothing is
delivered; an unblocked signal ends an interruptible sleep, and that is all.
"""

from __future__ import annotations

from typing import Final

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import TASK_INTERRUPTIBLE, Task

SIGKILL: Final = 9
SIGTERM: Final = 15
SIGCHLD: Final = 17
NSIG: Final = 64
ALL_SIGNALS: Final = (1 << NSIG) - 1


class Signals:
    """The signals of one thread, as masks with bit ``signal - 1``."""

    __slots__ = ("blocked", "ignored", "pending")

    def __init__(self) -> None:
        self.blocked = 0
        self.ignored = 0
        self.pending = 0

    def block_all(self) -> None:
        """Block every signal and forget those that pend. Linux: sigprocmask(SIG_BLOCK), flush_signals()."""
        self.blocked = ALL_SIGNALS
        self.pending = 0

    def ignore(self, signal: int) -> None:
        """Throw a signal away whenever it is sent."""
        self.ignored |= 1 << signal - 1

    async def send(self, cpu: Cpu, task: Task, signal: int) -> bool:
        """Send a signal to ``task``, whose signals these are; return whether that woke it. Raises ``UsageError`` for no such signal.

        Trace: sched_waking, if it slept interruptibly and does not block the signal.
        """
        if not 1 <= signal <= NSIG:
            raise UsageError(f"signal {signal} is not in 1..{NSIG}", 22)
        bit = 1 << signal - 1
        if self.ignored & bit:
            return False
        self.pending |= bit
        if self.blocked & bit:
            return False
        return await task.sched.try_to_wake_up(cpu, task, TASK_INTERRUPTIBLE)
