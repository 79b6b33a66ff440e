"""Ask who wants to know of a trap, look for a way out of a kernel fault, and end what cannot go on: the thread, or the machine.

Linux: kernel/notifier.c, arch/x86/mm/extable.c, arch/x86/kernel/dumpstack.c, kernel/panic.c, kernel/exit.c make_task_dead(). Model:
an exception table has one kind of entry, an address to go on at. Trace: printk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, NoReturn

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.pt_regs import PtRegs
from asyncirq.sched.core import Sched
from asyncirq.sched.preempt import HARDIRQ_MASK, NMI_MASK, SOFTIRQ_OFFSET
from asyncirq.sched.task import Task, TaskExit

NOTIFY_DONE: Final = 0x0000
NOTIFY_OK: Final = 0x0001
NOTIFY_BAD: Final = 0x8002
NOTIFY_STOP: Final = 0x8001
NOTIFY_STOP_MASK: Final = 0x8000

DIE_OOPS: Final = 1
DIE_INT3: Final = 2
DIE_DEBUG: Final = 3
DIE_PANIC: Final = 4
DIE_NMI: Final = 5
DIE_DIE: Final = 6
DIE_KERNELDEBUG: Final = 7
DIE_TRAP: Final = 8
DIE_GPF: Final = 9
DIE_CALL: Final = 10
DIE_PAGE_FAULT: Final = 11
DIE_NMIUNKNOWN: Final = 12

KERN_EMERG: Final = 0
KERN_ALERT: Final = 1
KERN_DEFAULT: Final = 4
KERN_INFO: Final = 6


class DieArgs(NamedTuple):
    """What the chain is told: the event (``DIE_*``), the trap in words, the registers, the error code, the trap's number, the signal."""

    event: int
    text: str
    regs: PtRegs
    error_code: int
    trap_nr: int
    signr: int
    task: Task


Notifier = Callable[[DieArgs], int]


class DieChain:
    """Those who want to know of traps, the highest priority first, and in the order of their registration within one."""

    def __init__(self) -> None:
        self._links: list[tuple[int, Notifier]] = []

    def register(self, notifier: Notifier, priority: int = 0) -> None:
        """Add ``notifier(args)``, which returns one of ``NOTIFY_*``."""
        place = next((n for n, (other, _) in enumerate(self._links) if other < priority), len(self._links))
        self._links.insert(place, (priority, notifier))

    def unregister(self, notifier: Notifier) -> None:
        """Take a notifier off. Raises ``UsageError`` ENOENT if it is not on the chain."""
        left = [(priority, other) for priority, other in self._links if other != notifier]
        if len(left) == len(self._links):
            raise UsageError(f"{notifier} is not on the chain", 2)
        self._links = left

    def notify(self, args: DieArgs) -> int:
        """Ask each in turn until one stops the chain; return the last answer."""
        answer = NOTIFY_DONE
        for _, notifier in self._links:
            answer = notifier(args)
            if answer & NOTIFY_STOP_MASK:
                break
        return answer


class Oops:
    """The deaths of one machine: ``count`` of oopses, the exception table, the policy ``panic_on_oops``."""

    def __init__(self, sched: Sched) -> None:
        self.sched = sched
        self.chain = DieChain()
        self.count = 0
        self.extable: dict[int, int] = {}
        self.panic_on_oops = sched.config.panic_on_oops

    def add_fixup(self, ip: int, fixup: int) -> None:
        """Have kernel code at ``ip`` go on at ``fixup`` when it faults. Raises ``UsageError`` for an address that has an entry."""
        if ip in self.extable:
            raise UsageError(f"{ip:#x} is in the exception table already", 17)
        self.extable[ip] = fixup

    def fixup_exception(self, regs: PtRegs) -> bool:
        """Send registers to where the exception table says; return whether it does."""
        fixup = self.extable.get(regs.ip)
        if fixup is None:
            return False
        regs.ip = fixup
        return True

    def say(self, cpu: Cpu, level: int, text: str) -> None:
        """Write one line of the kernel's log."""
        if self.sched.trace is not None:
            self.sched.trace.printk(cpu, level, text)

    async def die(self, cpu: Cpu, text: str, args: DieArgs) -> None:
        """Report a bug of the kernel's and end the thread, or the machine where the thread cannot end alone.

        Returns if somebody on the chain stops it. Raises ``KernelBug`` for a panic.
        """
        self.count += 1
        config = self.sched.config
        how = {"full": " PREEMPT", "lazy": " PREEMPT", "rt": " PREEMPT_RT"}.get(config.preemption, "")
        smp = " SMP" if len(self.sched.cpus) > 1 else ""
        self.say(cpu, KERN_DEFAULT, f"Oops: {text}: {args.error_code & 0xFFFF:04x} [#{self.count}]{how}{smp}")
        task = args.task
        self.say(cpu, KERN_DEFAULT, f"CPU: {cpu.id} PID: {task.pid} Comm: {task.comm}")
        self.say(cpu, KERN_DEFAULT, f"RIP: {args.regs.cs:04x}:{args.regs.ip:#x}")
        if self.sched.costs.oops_ns:
            await cpu.spend(self.sched.costs.oops_ns)
        if self.chain.notify(args._replace(event=DIE_OOPS, text=text)) & NOTIFY_STOP_MASK:
            return
        self.oops_end(cpu, task)

    def oops_end(self, cpu: Cpu, task: Task) -> NoReturn:
        """End the thread after its oops. Raises ``KernelBug`` where only a panic is left: policy, interrupts, the idle task, init."""
        if _in_interrupt(cpu):
            self.panic(cpu, "Fatal exception in interrupt")
        if self.panic_on_oops:
            self.panic(cpu, "Fatal exception")
        if task.is_idle:
            self.panic(cpu, "Attempted to kill the idle task!")
        if task.comm == "init":
            self.panic(cpu, f"Attempted to kill init! exitcode=0x{11:08x}")
        raise TaskExit(oops=True)

    def panic(self, cpu: Cpu, text: str) -> NoReturn:
        """Stop the machine. Raises ``KernelBug``."""
        message = f"Kernel panic - not syncing: {text}"
        self.say(cpu, KERN_EMERG, message)
        raise KernelBug(f"{message}, on {cpu.name} at {cpu.engine.now} ns")


def _in_interrupt(cpu: Cpu) -> bool:
    return bool(cpu.preempt_count & (HARDIRQ_MASK | NMI_MASK | SOFTIRQ_OFFSET))
