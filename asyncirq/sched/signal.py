"""Send signals to threads: which are blocked, which ignored, which have a handler, which pend.

A signal for a kernel thread ends an interruptible sleep, and that is all. User threads take theirs on the way to user mode:
``asyncirq.entry.signal`` delivers.

Linux: kernel/signal.c. Model: every thread is a process of its own; one instance of a signal pends, real-time ones included.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import TASK_INTERRUPTIBLE, Task

SIGILL: Final = 4
SIGTRAP: Final = 5
SIGBUS: Final = 7
SIGFPE: Final = 8
SIGKILL: Final = 9
SIGSEGV: Final = 11
SIGALRM: Final = 14
SIGTERM: Final = 15
SIGCHLD: Final = 17
SIGCONT: Final = 18
SIGSTOP: Final = 19
SIGURG: Final = 23
SIGVTALRM: Final = 26
SIGPROF: Final = 27
SIGWINCH: Final = 28
SIGSYS: Final = 31
NSIG: Final = 64
SYNCHRONOUS: Final = (SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS)
"""The signals that an instruction causes: delivered ahead of all others."""
IGNORED_BY_DEFAULT: Final = (SIGCHLD, SIGCONT, SIGURG, SIGWINCH)

SI_USER: Final = 0
SI_TIMER: Final = -2
SI_KERNEL: Final = 0x80
FPE_INTDIV: Final = 1
FPE_FLTDIV: Final = 3
FPE_FLTOVF: Final = 4
FPE_FLTUND: Final = 5
FPE_FLTRES: Final = 6
FPE_FLTINV: Final = 7
ILL_ILLOPN: Final = 2
ILL_BADSTK: Final = 8
SEGV_MAPERR: Final = 1
SEGV_ACCERR: Final = 2
SEGV_CPERR: Final = 10
BUS_ADRALN: Final = 1
BUS_ADRERR: Final = 2
BUS_MCEERR_AR: Final = 4
TRAP_BRKPT: Final = 1
TRAP_TRACE: Final = 2
TRAP_HWBKPT: Final = 4
ALL_SIGNALS: Final = (1 << NSIG) - 1


class SigInfo(NamedTuple):
    """What a signal says of its origin; ``code`` by the signal, ``address`` that of the fault.

    From a timer: its number, and how many expiries the signal stands for besides the first.
    """

    signo: int
    code: int = SI_KERNEL
    address: int = 0
    errno: int = 0
    timer: int = 0
    overrun: int = 0


Handler = Callable[[Task, SigInfo], Coroutine[Any, Any, None]]
"""A user program's own handler: ``await handler(task, info)``, in user mode."""
Tracer = Callable[[Task, SigInfo], Coroutine[Any, Any, int]]
"""A debugger: ``await tracer(task, info)`` returns the signal that the thread is to get instead, 0 for none."""


class Signals:
    """The signals of one thread, as masks with bit ``signal - 1``.

    ``info`` is what the pending ones say, ``handlers`` the user program's own with the addresses that traces show. ``tracer`` is asked
    first. ``fatal`` is the signal that ended the thread, 0 while none has. ``rearm(info)`` lets the timer whose signal is taken run on,
    and completes what the signal says.
    """

    __slots__ = ("blocked", "fatal", "handlers", "ignored", "info", "pending", "rearm", "tracer")

    def __init__(self) -> None:
        self.blocked = 0
        self.ignored = 0
        self.pending = 0
        self.fatal = 0
        self.info: dict[int, SigInfo] = {}
        self.handlers: dict[int, tuple[Handler, int]] = {}
        self.tracer: Tracer | None = None
        self.rearm: Callable[[SigInfo], SigInfo] | None = None

    def block_all(self) -> None:
        """Block every signal and forget those that pend. Linux: sigprocmask(SIG_BLOCK), flush_signals()."""
        self.blocked = ALL_SIGNALS
        self.pending = 0

    def ignore(self, signal: int) -> None:
        """Throw a signal away whenever it is sent."""
        self.ignored |= 1 << signal - 1

    def handle(self, signal: int, handler: Handler, address: int = 0x40_1000) -> None:
        """Have the user program's own function take a signal. Raises ``UsageError`` for SIGKILL and SIGSTOP."""
        if signal in (SIGKILL, SIGSTOP):
            raise UsageError(f"signal {signal} has no handler but the kernel's", 22)
        self.ignored &= ~(1 << signal - 1)
        self.handlers[signal] = (handler, address)

    def force(self, info: SigInfo) -> None:
        """Make a signal pend that the thread caused itself: if it is blocked or ignored, it gets the default action instead."""
        bit = 1 << info.signo - 1
        if (self.blocked | self.ignored) & bit:
            self.handlers.pop(info.signo, None)
            self.blocked &= ~bit
            self.ignored &= ~bit
        self.info[info.signo] = info
        self.pending |= bit

    def dequeue(self) -> SigInfo | None:
        """Take the next signal that is not blocked: those that an instruction causes first, then the lowest number."""
        open_ones = self.pending & ~self.blocked
        if not open_ones:
            return None
        caused = [signal for signal in SYNCHRONOUS if open_ones >> signal - 1 & 1]
        signal = min(caused) if caused else (open_ones & -open_ones).bit_length()
        self.pending &= ~(1 << signal - 1)
        info = self.info.pop(signal, None)
        if info is None:
            return SigInfo(signal, SI_USER)
        return info if info.code != SI_TIMER or self.rearm is None else self.rearm(info)

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
