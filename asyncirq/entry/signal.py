"""Deliver signals to user threads: the work that ``TIF_SIGPENDING`` asks for on the way to user mode.

What an exception forces cannot be blocked or ignored away; a debugger is asked first; then the program's own handler runs, or the
default action is taken, which for most signals ends the thread.

Linux: kernel/signal.c get_signal(), arch/x86/kernel/signal.c. Model: a handler is a function of the program's in Python, called where
the frame on the user stack would lead; it returns where the signal came. Stop signals are not modelled: nothing can be stopped.
Trace: signal_deliver; printk for a thread that ends on a trap.
"""

from __future__ import annotations

from typing import Final

from asyncirq.entry.exit_work import TIF_SIGPENDING, ExitWork
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.pt_regs import X86_FLAGS_DF, X86_FLAGS_RF, X86_FLAGS_TF
from asyncirq.sched.signal import IGNORED_BY_DEFAULT, SigInfo, Signals
from asyncirq.sched.task import Task, TaskExit

SIG_DFL: Final = 0
SIG_IGN: Final = 1


class SignalDelivery:
    """The signals of one machine's user threads."""

    def __init__(self, exit_work: ExitWork) -> None:
        self.sched = exit_work.sched
        self.costs = exit_work.costs
        exit_work.register("signal", self.do_signal)

    def of(self, task: Task) -> Signals:
        """Return the signals of a thread, made at the first call."""
        if task.signals is None:
            task.signals = Signals()
        return task.signals

    def sigprocmask(self, task: Task, *, block: int = 0, unblock: int = 0) -> None:
        """Block and unblock signals of the running thread, as masks with bit ``signal - 1``; open ones are taken before user mode."""
        signals = self.of(task)
        signals.blocked = (signals.blocked | block) & ~unblock
        if signals.pending & ~signals.blocked:
            task.work |= TIF_SIGPENDING

    def force(self, task: Task, info: SigInfo) -> None:
        """Send the running thread a signal that it caused itself. Linux: force_sig_info()."""
        self.of(task).force(info)
        task.work |= TIF_SIGPENDING

    async def send(self, cpu: Cpu, task: Task, info: SigInfo) -> bool:
        """Send a signal to a user thread; return whether that woke it. Raises ``UsageError`` ESRCH for one that has ended.

        A thread that runs in user mode on another CPU is interrupted to take it at once. Linux: signal_wake_up().
        """
        if task.exited:
            raise UsageError(f"{task.comm}/{task.pid} has ended", 3)
        signals = self.of(task)
        signals.info.setdefault(info.signo, info)
        woken = await signals.send(cpu, task, info.signo)
        if signals.pending & ~signals.blocked:
            task.work |= TIF_SIGPENDING
            if not woken and task.cpu is not cpu and task.cpu.current is task:
                self.sched.send_reschedule(cpu, task.cpu.id)
        return woken

    async def do_signal(self, task: Task, flags: int) -> None:
        """Deliver every signal that is open; end the thread if one of them does."""
        signals = self.of(task)
        while True:
            info = signals.dequeue()
            if info is None:
                return
            if signals.tracer is not None:
                signo = await signals.tracer(task, info)
                if not signo:
                    continue
                info = info._replace(signo=signo)
            await self._deliver(task, signals, info)

    async def _deliver(self, task: Task, signals: Signals, info: SigInfo) -> None:
        own = signals.handlers.get(info.signo)
        ignored = signals.ignored >> info.signo - 1 & 1
        action = own[1] if own is not None else SIG_IGN if ignored else SIG_DFL
        trace = self.sched.trace
        if trace is not None:
            trace.signal_deliver(task.cpu, info.signo, info.errno, info.code, action, 0)
        if ignored or (own is None and info.signo in IGNORED_BY_DEFAULT):
            return
        if self.costs.signal_deliver_ns:
            await task.spend(self.costs.signal_deliver_ns)
        if own is None:
            signals.fatal = info.signo
            raise TaskExit
        frame = task.frame
        if frame is not None and frame.user_mode:
            # A handler starts with flags and selectors of its own making, whatever the interrupted code had.
            gdt = task.cpu.system.gdt
            frame.cs, frame.ss = gdt.user_cs, gdt.user_ds
            frame.flags &= ~(X86_FLAGS_DF | X86_FLAGS_RF | X86_FLAGS_TF)
        await own[0](task, info)
