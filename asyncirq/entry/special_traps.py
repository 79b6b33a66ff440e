"""Handle the exceptions that need more than a signal: #DB, #BP, #NM, #MF, #XF, #DF, #PF, #MC, #CP, #VC, and int 0x80.

Linux: arch/x86/kernel/traps.c, arch/x86/kernel/fpu/, arch/x86/mm/fault.c, arch/x86/entry/common.c. Trace: as ``traps.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.entry.common import Entry
from asyncirq.entry.die import DIE_DEBUG, DIE_INT3, DIE_TRAP, KERN_ALERT, KERN_EMERG, NOTIFY_STOP, DieArgs
from asyncirq.entry.fault import thread_of
from asyncirq.entry.traps import BODIES, TrapBody, Traps
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw import trapnr as nr
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.pt_regs import X86_FLAGS_TF, PtRegs
from asyncirq.hw.system_regs import DR6_RESERVED, DR_STATUS, DR_STEP
from asyncirq.sched.preempt import HARDIRQ_OFFSET, NMI_OFFSET
from asyncirq.sched.signal import (
    BUS_MCEERR_AR,
    FPE_FLTDIV,
    FPE_FLTINV,
    FPE_FLTOVF,
    FPE_FLTRES,
    FPE_FLTUND,
    SEGV_CPERR,
    SIGBUS,
    SIGFPE,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    TRAP_HWBKPT,
    TRAP_TRACE,
    SigInfo,
)
from asyncirq.sched.task import Task

ENOSYS: Final = 38
INT3_GAP: Final = 6 * 8
"""The bytes that #BP from the kernel leaves free above its frame, so that a handler can push a return address there."""
FPU_CODES: Final = ((0x01, FPE_FLTINV), (0x04, FPE_FLTDIV), (0x08, FPE_FLTOVF), (0x12, FPE_FLTUND), (0x20, FPE_FLTRES))
"""Bits of the FPU's status and what they are to a signal, the gravest first."""
CP_ERRORS: Final = ("unknown", "near ret", "far/iret", "endbranch", "rstorssp", "setssbsy")

Syscall = Callable[[Task, PtRegs], Coroutine[Any, Any, int]]


class SpecialTraps(Traps):
    """All exceptions of one machine.

    ``syscalls`` are what int 0x80 calls, by number: ``await call(task, regs)`` returns the result or a negative errno. ``patched`` are
    addresses at which the kernel patches its own code: ``patched[ip](regs)`` emulates what will be there. ``bugs`` are
    the addresses of WARN, which go on two bytes behind. ``fpu_restore(task)`` loads the FPU lazily, in kernels that do; ``machine_check``,
    if set, says whether the machine may go on.
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry)
        self.syscalls: dict[int, Syscall] = {}
        self.patched: dict[int, Callable[[PtRegs], None]] = {}
        self.bugs: dict[int, str] = {}
        self.fpu_restore: Callable[[Task], None] | None = None
        self.machine_check: Callable[[Task, PtRegs], bool] | None = None
        self.handlers["int80_emulation"] = self.int80
        self.bodies.update(
            {
                nr.X86_TRAP_DB: self._debug,
                nr.X86_TRAP_BP: self._int3,
                nr.X86_TRAP_BR: self._kernel_dies,
                nr.X86_TRAP_AC: self._kernel_dies,
                nr.X86_TRAP_UD: self._invalid_op,
                nr.X86_TRAP_NM: self._device_not_available,
                nr.X86_TRAP_DF: self._double_fault,
                nr.X86_TRAP_PF: self._page_fault,
                nr.X86_TRAP_MF: self._math_error,
                nr.X86_TRAP_XF: self._math_error,
                nr.X86_TRAP_MC: self._machine_check,
                nr.X86_TRAP_CP: self._control_protection,
                nr.X86_TRAP_VC: self._vmm_communication,
            }
        )

    # --- breakpoints

    async def _int3(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        patched = self.patched.get(regs.ip - 1)
        if patched is not None:
            patched(regs)
            return
        self.step(task.cpu, "irqentry_enter" if regs.user_mode else "irqentry_nmi_enter")
        if regs.user_mode:
            if not self._stopped(DIE_INT3, "int3", task, regs, nr.X86_TRAP_BP, SIGTRAP):
                await self.cond_irq_enable(task, regs)
                await self.do_trap(task, regs, 0, nr.X86_TRAP_BP, TrapBody("int3", SIGTRAP))
                self.cond_irq_disable(task, regs)
            self.step(task.cpu, "irqentry_exit")
            return
        self._nmi_enter(task.cpu)
        if not self._stopped(DIE_INT3, "int3", task, regs, nr.X86_TRAP_BP, SIGTRAP):
            await self.do_trap(task, regs, 0, nr.X86_TRAP_BP, TrapBody("int3", SIGTRAP))
        self._nmi_exit(task.cpu)
        self.step(task.cpu, "irqentry_nmi_exit")

    async def _debug(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        system = task.cpu.system
        dr6 = system.dr[DR_STATUS] ^ DR6_RESERVED
        system.dr[DR_STATUS] = DR6_RESERVED
        thread = thread_of(task)
        if not regs.user_mode:
            self._nmi_enter(task.cpu)
            if not self._stopped(DIE_DEBUG, "debug", task, regs, nr.X86_TRAP_DB, SIGTRAP, dr6) and dr6 & DR_STEP:
                # Nobody steps through the kernel: a leftover of user mode's trap flag.
                regs.flags &= ~X86_FLAGS_TF
            self._nmi_exit(task.cpu)
            return
        thread.virtual_dr6 = dr6
        if self._stopped(DIE_DEBUG, "debug", task, regs, nr.X86_TRAP_DB, SIGTRAP, dr6):
            return
        await self.cond_irq_enable(task, regs)
        thread.trap_nr, thread.error_code = nr.X86_TRAP_DB, 0
        code = TRAP_TRACE if dr6 & DR_STEP else TRAP_HWBKPT if dr6 & 0xF else TRAP_BRKPT
        self.signals.force(task, SigInfo(SIGTRAP, code, regs.ip))
        self.cond_irq_disable(task, regs)

    # --- faults of the program

    async def _invalid_op(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        bug = None if regs.user_mode else self.bugs.get(regs.ip)
        if bug is not None:
            self.oops.say(task.cpu, 4, f"WARNING: {bug}")
            regs.ip += 2
            return
        self.step(task.cpu, "irqentry_enter")
        await self.do_error_trap(task, regs, 0, nr.X86_TRAP_UD)
        self.step(task.cpu, "irqentry_exit")

    async def _kernel_dies(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        """Handle #BR and #AC: the kernel's has no way out. Linux: exc_bounds(), exc_alignment_check()."""
        body = BODIES[vector]
        if self._stopped(DIE_TRAP, body.text, task, regs, vector, body.signr, error_code):
            return
        if not regs.user_mode:
            await self.die(task, regs, error_code, vector, body.text)
            return
        await self.cond_irq_enable(task, regs)
        await self.do_trap(task, regs, error_code, vector, body)
        self.cond_irq_disable(task, regs)

    async def _device_not_available(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        if self.fpu_restore is None:
            await self.die(task, regs, 0, nr.X86_TRAP_NM, "unexpected #NM exception")
        else:
            self.fpu_restore(task)

    async def _math_error(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        text = "fpu exception" if vector == nr.X86_TRAP_MF else "simd exception"
        await self.cond_irq_enable(task, regs)
        thread = thread_of(task)
        if not regs.user_mode:
            if not self.oops.fixup_exception(regs):
                thread.error_code, thread.trap_nr = 0, vector
                if not self._stopped(DIE_TRAP, text, task, regs, vector, SIGFPE):
                    await self.die(task, regs, 0, vector, text)
        else:
            thread.error_code, thread.trap_nr = 0, vector
            code = next((code for bits, code in FPU_CODES if thread.fpu_status & bits), 0)
            if code:
                # Without a bit the exception is gone meanwhile: the instruction is executed again.
                self.signals.force(task, SigInfo(SIGFPE, code, regs.ip))
        self.cond_irq_disable(task, regs)

    async def _page_fault(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        address = task.cpu.system.cr2
        self.step(task.cpu, "irqentry_enter")
        await self.faults.handle(task, regs, error_code, address)
        self.step(task.cpu, "irqentry_exit")

    async def _control_protection(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        kind = CP_ERRORS[error_code] if error_code < len(CP_ERRORS) else CP_ERRORS[0]
        await self.cond_irq_enable(task, regs)
        thread = thread_of(task)
        thread.error_code, thread.trap_nr = error_code, nr.X86_TRAP_CP
        if regs.user_mode:
            self.show_signal(task, SIGSEGV, f"control protection ({kind})", regs, error_code)
            self.signals.force(task, SigInfo(SIGSEGV, SEGV_CPERR))
        else:
            self.oops.say(task.cpu, KERN_ALERT, f"Unexpected #CP, error_code: {kind}")
            await self.die(task, regs, error_code, nr.X86_TRAP_CP, "control protection fault")
        self.cond_irq_disable(task, regs)

    # --- what ends the machine, or nearly

    async def _double_fault(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        cpu = task.cpu
        self._nmi_enter(cpu)
        if self._stopped(DIE_TRAP, "double fault", task, regs, nr.X86_TRAP_DF, SIGSEGV, error_code):
            self._nmi_exit(cpu)
            return
        thread = thread_of(task)
        thread.error_code, thread.trap_nr = error_code, nr.X86_TRAP_DF
        self.oops.say(cpu, KERN_EMERG, f"traps: PANIC: double fault, error_code: 0x{error_code:x}")
        await self.die(task, regs, error_code, nr.X86_TRAP_DF, "double fault")
        self.oops.panic(cpu, "Machine halted.")

    async def _machine_check(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        if self.machine_check is not None and self.machine_check(task, regs):
            return
        if not regs.user_mode:
            self.oops.panic(task.cpu, "Fatal local machine check")
        thread_of(task).trap_nr = nr.X86_TRAP_MC
        self.signals.force(task, SigInfo(SIGBUS, BUS_MCEERR_AR, regs.ip))

    async def _vmm_communication(self, task: Task, regs: PtRegs, error_code: int, vector: int) -> None:
        if not regs.user_mode:
            self.oops.panic(task.cpu, f"Can't handle #VC exception from kernel mode, error_code: 0x{error_code:x}")
        self.signals.force(task, SigInfo(SIGBUS))

    # --- int 0x80

    async def int80(self, cpu: Cpu, vector: int) -> None:
        """Call what the number in AX names; the result goes into AX. Linux: int80_emulation()."""
        task, regs = cpu.current, cpu.current.frame
        assert isinstance(task, Task) and regs is not None
        if not regs.user_mode:
            raise KernelBug(f"BUG: int 0x80 from the kernel: {task.comm}/{task.pid} on {cpu.name} at {cpu.engine.now} ns")
        if self.trace is not None:
            cpu.cause = self.trace.exception_entry(cpu, vector, "int80_emulation")
        if self.costs.exception_entry_ns:
            await task.spend(self.costs.exception_entry_ns)
        number = regs.ax & 0xFFFF_FFFF
        regs.orig_ax, regs.ax = number, -ENOSYS & (1 << 64) - 1
        await cpu.irq_enable()
        call = self.syscalls.get(number)
        if call is not None:
            regs.ax = await call(task, regs) & (1 << 64) - 1
        cpu = task.cpu
        cpu.irq_disable()
        if self.costs.exception_exit_ns:
            await cpu.spend(self.costs.exception_exit_ns)
        if self.trace is not None:
            self.trace.exception_exit(cpu, vector, "int80_emulation")
        await self.entry.irqentry_exit(cpu, False)

    # --- small things

    def _stopped(self, event: int, text: str, task: Task, regs: PtRegs, vector: int, signr: int, error_code: int = 0) -> bool:
        return self.oops.chain.notify(DieArgs(event, text, regs, error_code, vector, signr, task)) == NOTIFY_STOP

    def _nmi_enter(self, cpu: Cpu) -> None:
        cpu.preempt_count += NMI_OFFSET + HARDIRQ_OFFSET

    def _nmi_exit(self, cpu: Cpu) -> None:
        cpu.preempt_count -= NMI_OFFSET + HARDIRQ_OFFSET


def int3_frame_address(regs: PtRegs) -> int:
    """Return where the frame of #BP begins: from the kernel it is displaced by the gap, from user mode it is not."""
    return regs.frame().address(regs.sp) - (0 if regs.user_mode else INT3_GAP)


def int3_emulate_call(regs: PtRegs, target: int) -> tuple[int, int]:
    """Make a #BP from the kernel go on as if it had been a call of five bytes; return address and value of the word pushed.

    The push lands in the gap. Raises ``UsageError`` for a #BP from user mode, which has none.
    """
    if regs.user_mode:
        raise UsageError("a #BP from user mode has no gap to push to", 22)
    back = regs.ip - 1 + 5
    regs.sp -= 8
    regs.ip = target
    return regs.sp, back
