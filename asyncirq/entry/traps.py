"""Handle the CPU's exceptions: a signal for user mode, the exception table or an oops for the kernel.

Every exception comes in by a wrapper of its kind (``kinds.py``): it takes the error code over, resets its slot, enters, calls the
body, leaves. The bodies are all of one shape, which ``BODIES`` lists: ask the notifier chain, enable interrupts if they were on, and do
what ``do_trap`` does. What is special is in ``special_traps.py``.

Linux: arch/x86/kernel/traps.c, arch/x86/entry/entry_64.S error_entry. Trace: exception_entry, exception_exit; printk.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from asyncirq.entry.common import Entry
from asyncirq.entry.die import DIE_GPF, DIE_TRAP, KERN_INFO, NOTIFY_STOP, DieArgs, Oops
from asyncirq.entry.fault import PageFaults, thread_of
from asyncirq.entry.kinds import EXCEPTIONS, KINDS, EntryPoint
from asyncirq.errors import InternalError
from asyncirq.hw import trapnr as nr
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.exception import IRET_IP, raise_exception, registers
from asyncirq.hw.execute import Program, execute
from asyncirq.hw.idt import Handler
from asyncirq.hw.pt_regs import NO_SYSCALL, X86_FLAGS_VM, PtRegs
from asyncirq.hw.system_regs import Raised
from asyncirq.sched.signal import BUS_ADRALN, FPE_INTDIV, ILL_BADSTK, ILL_ILLOPN, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SigInfo
from asyncirq.sched.task import Task


class TrapBody(NamedTuple):
    """What one exception says, sends with which code, and whether the address of the instruction goes with it."""

    text: str
    signr: int
    code: int = 0
    address: bool = False


BODIES: Final = MappingProxyType(
    {
        nr.X86_TRAP_DE: TrapBody("divide error", SIGFPE, FPE_INTDIV, True),
        nr.X86_TRAP_OF: TrapBody("overflow", SIGSEGV),
        nr.X86_TRAP_BR: TrapBody("bounds", SIGSEGV),
        nr.X86_TRAP_UD: TrapBody("invalid opcode", SIGILL, ILL_ILLOPN, True),
        nr.X86_TRAP_OLD_MF: TrapBody("coprocessor segment overrun", SIGFPE),
        nr.X86_TRAP_TS: TrapBody("invalid TSS", SIGSEGV),
        nr.X86_TRAP_NP: TrapBody("segment not present", SIGBUS),
        nr.X86_TRAP_SS: TrapBody("stack segment", SIGBUS),
        nr.X86_TRAP_AC: TrapBody("alignment check", SIGBUS, BUS_ADRALN),
        nr.X86_TRAP_IRET: TrapBody("iret exception", SIGILL, ILL_BADSTK),
    }
)
"""The exceptions without special treatment."""

Body = Callable[[Task, PtRegs, int, int], Coroutine[Any, Any, None]]
"""``await body(task, regs, error_code, vector)``"""


class Traps:
    """The exceptions of one machine.

    ::

        async def app(task):
            traps.signals.of(task).handle(SIGFPE, on_fpe)  # async def on_fpe(task, info)
            await traps.exception(task, X86_TRAP_DE, ip=0x401000)
            await traps.touch(task, 0x5000, write=True)  # a page fault, which may sleep

    ``handlers`` are the gates' functions by the names of ``kinds.ENTRIES``. ``note(cpu, step)``, if set, hears of each step of the
    entry code. An experiment raises exceptions by ``exception`` and ``int_n``, or has ``execute`` run a program whose
    instructions do.
    """

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.sched = entry.sched
        self.costs = entry.costs
        self.trace = entry.trace
        self.signals = entry.signals
        self.oops = Oops(self.sched)
        self.faults = PageFaults(self.oops, self.signals)
        self.note: Callable[[Cpu, str], None] | None = None
        self.handlers: dict[str, Handler] = {"exc_nmi": entry.exc_nmi}
        self.bodies: dict[int, Body] = {nr.X86_TRAP_GP: self._general_protection, nr.X86_TRAP_SPURIOUS: self._spurious}
        for vector in EXCEPTIONS:
            if vector != nr.X86_TRAP_NMI:
                self.handlers[EXCEPTIONS[vector].name] = self.enter

    # --- for experiments

    async def exception(
        self,
        task: Task,
        vector: int,
        error_code: int | None = None,
        *,
        ip: int = 0,
        user: bool | None = None,
        address: int = 0,
        regs: PtRegs | None = None,
    ) -> PtRegs:
        """Raise an exception in a task's code, in user mode unless it is a kernel thread, and return the registers it goes on with.

        ``regs`` are the code's registers, if it has any. ``address`` is what a page fault puts into CR2. Raises ``UsageError`` for a
        vector that is no exception's.
        """
        if error_code is None and vector in nr.TRAPS and nr.TRAPS[vector].error_code:
            error_code = 0
        if regs is None:
            regs = registers(task, ip, user=not task.kthread if user is None else user)
        await raise_exception(task, Raised(vector, error_code, address=address), regs)
        return regs

    async def int_n(self, task: Task, vector: int, *, ip: int = 0, user: bool | None = None, **values: int) -> PtRegs:
        """Execute INT n in a task's code, in user mode unless it is a kernel thread; ``values`` are registers (``ax=20``)."""
        regs = registers(task, ip + 2, user=not task.kthread if user is None else user)
        for name, value in values.items():
            setattr(regs, name, value)
        await raise_exception(task, Raised(vector, source="software", length=2), regs)
        return regs

    async def execute(self, task: Task, program: Program, *, user: bool | None = None, **values: int) -> PtRegs:
        """Execute a program from its beginning to its end, in user mode unless the task is a kernel thread."""
        regs = registers(task, program.base, user=not task.kthread if user is None else user)
        for name, value in values.items():
            setattr(regs, name, value)
        await execute(task, program, regs)
        return regs

    async def touch(self, task: Task, address: int, *, write: bool = False, user: bool | None = None, ip: int = 0) -> PtRegs:
        """Access memory of a task as an instruction at ``ip`` does, until the access succeeds or leads elsewhere."""
        in_user = not task.kthread if user is None else user
        regs = registers(task, ip, user=in_user)
        while regs.ip == ip:
            code = self.faults.space(task).error_code(address, write, in_user)
            if code is None:
                break
            await raise_exception(task, Raised(nr.X86_TRAP_PF, code, address=address), regs)
        return regs

    # --- the wrapper

    async def enter(self, cpu: Cpu, vector: int) -> None:
        """Enter an exception by the wrapper of its kind: every gate of the default table leads here. Linux: DEFINE_IDTENTRY()."""
        task, saved = cpu.current, cpu.current.frame
        if not isinstance(task, Task) or saved is None:
            raise InternalError(f"exception {vector} on {cpu.name} without a task or its registers")
        row = EXCEPTIONS.get(vector, EXCEPTIONS[nr.X86_TRAP_GP])
        regs = saved
        bad_iret = saved.ip == IRET_IP and not saved.user_mode and cpu.system.iret_frame is not None
        if bad_iret and cpu.system.iret_frame is not None and cpu.system.iret_frame.user_mode:
            # The return to user mode failed: handle it as if user mode had faulted. Linux: fixup_bad_iret().
            regs = cpu.system.iret_frame
            task.regs_user, task.frame = True, regs
            self.step(cpu, "fixup_bad_iret")
        error_code = max(saved.orig_ax, 0)
        saved.orig_ax = NO_SYSCALL
        self.step(cpu, "error_entry" if KINDS[row.kind].error_code or row.kind in ("plain", "raw") else "paranoid_entry")
        await self._enter_body(cpu, task, row, regs, error_code)
        if regs is not saved and task.work:
            await task.exit_to_user()

    async def _enter_body(self, cpu: Cpu, task: Task, row: EntryPoint, regs: PtRegs, error_code: int) -> None:
        vector = row.vector
        name = row.name.removeprefix("exc_")
        wrapper = KINDS[row.kind].wrapper
        if wrapper:
            self.step(cpu, "irqentry_enter")
        if self.trace is not None:
            cpu.cause = self.trace.exception_entry(cpu, vector, name)
        if self.costs.exception_entry_ns:
            await task.spend(self.costs.exception_entry_ns)
        body = self.bodies.get(vector)
        if body is not None:
            await body(task, regs, error_code, vector)
        else:
            await self.do_error_trap(task, regs, error_code, vector)
        cpu = task.cpu
        if not cpu.irqs_off:
            cpu.irq_disable()
        if self.costs.exception_exit_ns:
            await cpu.spend(self.costs.exception_exit_ns)
        if self.trace is not None:
            self.trace.exception_exit(cpu, vector, name)
        if wrapper:
            self.step(cpu, "irqentry_exit")
        await self.entry.irqentry_exit(cpu, regs.irqs_off and not regs.user_mode)

    def step(self, cpu: Cpu, text: str) -> None:
        """Tell whoever listens of a step of the entry code."""
        if self.note is not None:
            self.note(cpu, text)

    # --- the common bodies

    async def do_error_trap(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        """Ask the notifier chain, then trap with interrupts as they were. Linux: do_error_trap()."""
        body = BODIES[vector]
        if self.oops.chain.notify(DieArgs(DIE_TRAP, body.text, regs, error_code, vector, body.signr, task)) == NOTIFY_STOP:
            return
        await self.cond_irq_enable(task, regs)
        await self.do_trap(task, regs, error_code, vector, body)
        self.cond_irq_disable(task, regs)

    async def do_trap(self, task: Task, regs: PtRegs, error_code: int, vector: int, body: TrapBody) -> None:
        """Send the signal, unless a virtual 8086 or the exception table takes the trap, or it is the end. Linux: do_trap()."""
        thread = thread_of(task)
        if regs.flags & X86_FLAGS_VM and thread.vm86 is not None and thread.vm86(vector, error_code):
            return
        if not regs.user_mode and self.oops.fixup_exception(regs):
            return
        thread.error_code, thread.trap_nr = error_code, vector
        if not regs.user_mode:
            await self.die(task, regs, error_code, vector, body.text)
            return
        self.show_signal(task, body.signr, f"trap {body.text}", regs, error_code)
        if body.code:
            self.signals.force(task, SigInfo(body.signr, body.code, regs.ip if body.address else 0))
        else:
            self.signals.force(task, SigInfo(body.signr))

    async def die(self, task: Task, regs: PtRegs, error_code: int, vector: int, text: str) -> None:
        """End what the kernel did wrong; returns only if somebody on the chain stops it."""
        if not task.cpu.irqs_off:
            task.cpu.irq_disable()
        signr = BODIES[vector].signr if vector in BODIES else SIGSEGV
        await self.oops.die(task.cpu, text, DieArgs(DIE_TRAP, text, regs, error_code, vector, signr, task))

    def show_signal(self, task: Task, signr: int, what: str, regs: PtRegs, error_code: int) -> None:
        """Say that a thread traps on a signal that it does not handle. Linux: show_signal()."""
        if signr not in self.signals.of(task).handlers:
            where = f"ip:{regs.ip:x} sp:{regs.sp:x} error:{error_code:x}"
            self.oops.say(task.cpu, KERN_INFO, f"traps: {task.comm}[{task.pid}] {what} {where}")

    async def cond_irq_enable(self, task: Task, regs: PtRegs) -> None:
        """Turn interrupts on if the interrupted code had them on."""
        if not regs.irqs_off:
            await task.cpu.irq_enable()

    def cond_irq_disable(self, task: Task, regs: PtRegs) -> None:
        """Turn interrupts off again if the interrupted code had them on."""
        if not regs.irqs_off and not task.cpu.irqs_off:
            task.cpu.irq_disable()

    async def _general_protection(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        """Handle #GP: the chain is asked of the kernel's alone, behind the exception table. Linux: exc_general_protection()."""
        await self.cond_irq_enable(task, regs)
        thread = thread_of(task)
        if regs.user_mode:
            thread.error_code, thread.trap_nr = error_code, vector
            self.show_signal(task, SIGSEGV, "general protection fault", regs, error_code)
            self.signals.force(task, SigInfo(SIGSEGV))
        elif not self.oops.fixup_exception(regs):
            thread.error_code, thread.trap_nr = error_code, vector
            text = "general protection fault"
            if self.oops.chain.notify(DieArgs(DIE_GPF, text, regs, error_code, vector, SIGSEGV, task)) != NOTIFY_STOP:
                await self.die(task, regs, error_code, vector, text)
        self.cond_irq_disable(task, regs)

    async def _spurious(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        """Do nothing: a processor's own spurious interrupt. Linux: exc_spurious_interrupt_bug()."""
        return
