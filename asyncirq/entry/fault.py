"""Handle page faults: of user code, of the kernel on behalf of a user, and of the kernel by mistake.

A page fault of user mode, or of kernel code that had interrupts on, enables them and may sleep until the page is there; then the
instruction is executed again. Where the kernel may not sleep (a hard interrupt, ``pagefault_disable``, a thread without memory of
its own) it does not even look: the exception table, or an oops.

Linux: arch/x86/mm/fault.c. Model: the memory of a thread is an ``AddressSpace``, whose areas say who may do what; what brings a page in is
a coroutine of the user's. Trace: printk.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

import msgspec

from asyncirq.entry.die import DIE_PAGE_FAULT, KERN_ALERT, KERN_INFO, DieArgs, Oops
from asyncirq.entry.signal import SignalDelivery
from asyncirq.errors import UsageError
from asyncirq.hw.pt_regs import PtRegs
from asyncirq.hw.trapnr import PF_INSTR, PF_PROT, PF_USER, PF_WRITE, X86_TRAP_PF
from asyncirq.sched.preempt import HARDIRQ_MASK, NMI_MASK
from asyncirq.sched.signal import BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, SIGBUS, SIGKILL, SIGSEGV, SigInfo
from asyncirq.sched.task import Task, ThreadStruct

PAGE_SIZE: Final = 4096
TASK_SIZE_MAX: Final = 0x7FFF_FFFF_F000
Outcome = Literal["done", "sigbus", "oom", "retry"]
BringIn = Callable[[Task, int, bool], Coroutine[Any, Any, Outcome]]
"""What brings a page in: ``await bring_in(task, address, write)``; it may sleep."""


class Area(msgspec.Struct):
    """A stretch of user memory; ``bring_in`` None has every page there at once."""

    start: int
    end: int
    read: bool = True
    write: bool = True
    execute: bool = False
    bring_in: BringIn | None = None


class AddressSpace:
    """The user memory of threads: its areas, and the pages that are present."""

    def __init__(self) -> None:
        self.areas: list[Area] = []
        self.present: dict[int, bool] = {}
        self.faults = 0

    def map(self, start: int, size: int, **rights: Any) -> Area:
        """Add an area of whole pages. Raises ``UsageError`` EINVAL unless it is made of pages, EEXIST if it overlaps another one."""
        if start % PAGE_SIZE or size % PAGE_SIZE or size <= 0 or not 0 <= start < start + size <= TASK_SIZE_MAX:
            raise UsageError(f"{size:#x} bytes at {start:#x} are not user pages", 22)
        if any(area.start < start + size and start < area.end for area in self.areas):
            raise UsageError(f"{size:#x} bytes at {start:#x} are mapped already", 17)
        area = Area(start, start + size, **rights)
        self.areas.append(area)
        return area

    def find(self, address: int) -> Area | None:
        """Return the area that an address lies in."""
        return next((area for area in self.areas if area.start <= address < area.end), None)

    def error_code(self, address: int, write: bool, user: bool = True, execute: bool = False) -> int | None:
        """Return the error code of the fault that an access makes, or None where the page is there and allows it."""
        access = (PF_WRITE if write else 0) | (PF_USER if user else 0) | (PF_INSTR if execute else 0)
        writable = self.present.get(address // PAGE_SIZE)
        if writable is None:
            return access
        area = self.find(address)
        allowed = area is not None and (area.execute if execute else writable if write else area.read)
        return None if allowed else access | PF_PROT


class PageFaults:
    """The page faults of one machine. ``spaces`` finds the memory of a thread by its pid."""

    def __init__(self, oops: Oops, signals: SignalDelivery) -> None:
        self.oops = oops
        self.signals = signals
        self.costs = oops.sched.costs
        self.spaces: dict[int, AddressSpace] = {}

    def space(self, task: Task) -> AddressSpace:
        """Return the memory of a user thread, made at the first call."""
        return self.spaces.setdefault(task.pid, AddressSpace())

    async def handle(self, task: Task, regs: PtRegs, error_code: int, address: int) -> None:
        """Resolve a fault, or send a signal, or end what made it. Linux: handle_page_fault()."""
        cpu = task.cpu
        thread = thread_of(task)
        thread.cr2 = address
        user = regs.user_mode
        space = self.spaces.get(task.pid)
        atomic = cpu.preempt_count & self.oops.sched.count_mask or thread.fault_disabled or task.kthread
        if address >= TASK_SIZE_MAX or (not user and (space is None or atomic)) or cpu.preempt_count & (HARDIRQ_MASK | NMI_MASK):
            await self._bad_area(task, regs, error_code, address, SEGV_MAPERR)
            return
        if not regs.irqs_off:
            await cpu.irq_enable()
        if self.costs.page_fault_ns:
            await (task.spend(self.costs.page_fault_ns) if not task.cpu.irqs_off else task.cpu.spend(self.costs.page_fault_ns))
        done = False
        while not done:
            done = await self._resolve(task, regs, error_code, address, space)
        if not task.cpu.irqs_off:
            task.cpu.irq_disable()

    async def _resolve(self, task: Task, regs: PtRegs, error_code: int, address: int, space: AddressSpace | None) -> bool:
        """Look the address up and bring its page in; return False to try once more."""
        area = None if space is None else space.find(address)
        if area is None or space is None:
            await self._bad_area(task, regs, error_code, address, SEGV_MAPERR)
            return True
        write = bool(error_code & PF_WRITE)
        wanted = area.execute if error_code & PF_INSTR else area.write if write else area.read
        if not wanted:
            await self._bad_area(task, regs, error_code, address, SEGV_ACCERR)
            return True
        outcome: Outcome = "done" if area.bring_in is None else await area.bring_in(task, address, write)
        if outcome == "retry":
            return False
        if outcome == "done":
            space.faults += 1
            space.present[address // PAGE_SIZE] = area.write
        elif not regs.user_mode:
            await self._no_context(task, regs, error_code, address)
        elif outcome == "sigbus":
            self._record(task, error_code)
            self.signals.force(task, SigInfo(SIGBUS, BUS_ADRERR, address))
        else:
            self.signals.force(task, SigInfo(SIGKILL))
        return True

    async def _bad_area(self, task: Task, regs: PtRegs, error_code: int, address: int, code: int) -> None:
        if not regs.user_mode:
            await self._no_context(task, regs, error_code, address)
            return
        if address >= TASK_SIZE_MAX:
            # Nobody is told where the kernel's pages are.
            error_code |= PF_PROT
        self._record(task, error_code)
        if SIGSEGV not in self.signals.of(task).handlers:
            where = f"at {address:x} ip {regs.ip:016x} sp {regs.sp:016x} error {error_code:x}"
            self.oops.say(task.cpu, KERN_INFO, f"{task.comm}[{task.pid}]: segfault {where}")
        self.signals.force(task, SigInfo(SIGSEGV, code, address))

    async def _no_context(self, task: Task, regs: PtRegs, error_code: int, address: int) -> None:
        if self.oops.fixup_exception(regs):
            return
        self._record(task, error_code)
        what = "kernel NULL pointer dereference, address" if address < PAGE_SIZE else "unable to handle page fault for address"
        self.oops.say(task.cpu, KERN_ALERT, f"BUG: {what}: {address:016x}")
        if not task.cpu.irqs_off:
            task.cpu.irq_disable()
        await self.oops.die(task.cpu, "Oops", DieArgs(DIE_PAGE_FAULT, "page fault", regs, error_code, X86_TRAP_PF, SIGSEGV, task))

    def _record(self, task: Task, error_code: int) -> None:
        thread = thread_of(task)
        thread.trap_nr = X86_TRAP_PF
        thread.error_code = error_code


def thread_of(task: Task) -> ThreadStruct:
    """Return what the architecture keeps for a thread, made at the first call."""
    if task.thread is None:
        task.thread = ThreadStruct()
    return task.thread
