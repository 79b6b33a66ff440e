"""Lay out the stacks of a machine: each task's, and each CPU's for interrupts, exceptions and the way in from user mode.

| stack | whose | where |
| --- | --- | --- |
| TASK | a task's, while it is alive | the vmalloc area, a guard page below each |
| IRQ, SOFTIRQ | a CPU's | the same |
| ENTRY, #DF, NMI, #DB, #MC, #VC | a CPU's | its entry area, whose address is fixed |

The highest 168 bytes of a task's stack hold the registers that it entered the kernel with, so in user mode the stack is empty.
The lowest word holds a magic number, which the scheduler looks at: where there is no guard page, nothing tells an overflow before.

Linux: arch/x86/include/asm/page_64_types.h, cpu_entry_area.h, processor.h, irq_stack.h; arch/x86/kernel/traps.c
handle_stack_overflow(). Model: on 32 bits there are TASK, IRQ and SOFTIRQ, and #DF has a task gate of its own.
"""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

from asyncirq.config import StackPolicy
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu, Thread
from asyncirq.hw.pt_regs import KERNEL_CS, KERNEL_DS, SIZE_32, SIZE_64, X86_FLAGS_FIXED, HardwareFrame
from asyncirq.hw.stack import STACK_END_MAGIC, Stack
from asyncirq.hw.tss import IST_INDEX_DB, IST_INDEX_DF, IST_INDEX_NMI, IST_NAMES, Tss

PAGE: Final = 4096
CPU_ENTRY_AREA: Final = 0xFFFF_FE00_0000_1000
"""Where the entry area of CPU 0 begins, a page above the read-only IDT."""
CPU_ENTRY_AREA_SIZE: Final = 0x3B000
VMALLOC: Final = 0xFFFF_C900_0000_0000
TASK_AREA: Final = 0xFFFF_C900_4000_0000
AREA_32: Final = 0xC100_0000
TASK_AREA_32: Final = 0xC800_0000
CANARY_OFFSET: Final = 40
IRQ_STACK_RESERVED: Final = 48
"""The lowest bytes of an interrupt stack that begins the per-CPU area: 40 that nobody uses, and the canary at gs:40."""
CANARY: Final = 0x9E37_79B9_7F4A_7C00
"""A random word whose lowest byte is zero, so that no string copy writes it. Model: the same on every CPU."""


THREAD_INFO_32: Final = 52
"""What lies at the bottom of a 32-bit stack."""
STACK_TOP_MARGIN: Final = 128
TEXT: Final = 0xFFFF_FFFF_8100_0000
"""Where the kernel's code begins; return addresses are no others."""


class StackSizes(NamedTuple):
    """The bytes of each kind of stack."""

    thread: int
    irq: int
    exception: int
    debug: int
    entry: int


def stack_sizes(policy: StackPolicy, bits: int = 64) -> StackSizes:
    """Return the sizes that a policy asks for; KASAN doubles all but the entry stack, 32 bits have interrupt stacks like a thread's."""
    order = 1 if policy.kasan else 0
    thread = policy.thread_pages * PAGE << order
    irq = policy.irq_pages * PAGE << order if bits == 64 else thread
    return StackSizes(thread, irq, policy.exception_pages * PAGE << order, policy.debug_pages * PAGE << order, PAGE)


class CpuStacks:
    """The stacks of one CPU. ``current`` is the one in use while that is not the thread's own.

    ``inuse`` says that the interrupt stack is in use; ``count`` counts the interrupts on it from -1, where that is what decides.
    ``irq_ptr`` is what the entry code loads into the stack pointer: the last word of the interrupt stack.
    """

    __slots__ = ("count", "current", "entry", "inuse", "irq", "irq_ptr", "softirq", "tss")

    def __init__(self) -> None:
        self.current: Stack | None = None
        self.entry: Stack | None = None
        self.irq: Stack | None = None
        self.softirq: Stack | None = None
        self.irq_ptr = 0
        self.inuse = False
        self.count = -1
        self.tss = Tss()


class Stacks:
    """All stacks of a machine; ``cpus[n]`` are those of CPU n, ``of(thread)`` is a thread's."""

    def __init__(self, cpus: list[Cpu], policy: StackPolicy, bits: int = 64) -> None:
        self.policy = policy
        self.bits = bits
        self.sizes = stack_sizes(policy, bits)
        self.regs_size = SIZE_64 if bits == 64 else SIZE_32
        self.cpus = [CpuStacks() for _ in cpus]
        self._machine = cpus
        self._tasks = 0
        for cpu in cpus:
            if bits == 64:
                self._setup_entry_area(cpu)
            if policy.irq != "none":
                self.init_irq_stack(cpu)

    # --- making them

    def _make(self, cpu: Cpu, name: str, base: int, size: int, reserved: int = 0) -> Stack:
        stack = Stack(name, base, size, guard=self.policy.guard, reserved=reserved, word=self.bits >> 3)
        stack.on_guard = partial(self.guard_hit, cpu)
        return stack

    def _setup_entry_area(self, cpu: Cpu) -> None:
        """Map one CPU's entry area: GDT page, entry stack, TSS (three pages), then the exception stacks, a guard page below each."""
        stacks = self.cpus[cpu.id]
        area = CPU_ENTRY_AREA + cpu.id * CPU_ENTRY_AREA_SIZE
        if self.policy.trampoline:
            stacks.entry = stacks.tss.sp0 = self._make(cpu, "ENTRY", area + PAGE, self.sizes.entry)
        if not self.policy.ist:
            return
        base = area + 5 * PAGE
        for index, name in enumerate(IST_NAMES):
            size = self.sizes.debug if index == IST_INDEX_DB else self.sizes.exception
            stacks.tss.set_ist(index, self._make(cpu, name, base + PAGE, size))
            base += PAGE + size

    def init_irq_stack(self, cpu: Cpu) -> bool:
        """Make a CPU's interrupt stack, once; return False when there is one already. Linux: irq_init_percpu_irqstack()."""
        stacks = self.cpus[cpu.id]
        if stacks.irq_ptr:
            return False
        size = self.sizes.irq
        base = (VMALLOC if self.bits == 64 else AREA_32) + cpu.id * 4 * size
        reserved = IRQ_STACK_RESERVED if self.policy.canary_on_irq else 0
        stacks.irq = self._make(cpu, "IRQ", base, size, reserved)
        if reserved:
            stacks.irq.poke(base + CANARY_OFFSET, CANARY)
        stacks.irq_ptr = base + size - (self.bits >> 3)
        if not self.policy.exit_on_irq or self.bits == 32:
            stacks.softirq = self._make(cpu, "SOFTIRQ", base + 2 * size, size)
        return True

    def of(self, thread: Thread) -> Stack:
        """Return the kernel stack of a thread, made at the first call: the registers of its entry are at the top."""
        stack = thread.stack
        if stack is None:
            size = self.sizes.thread
            base = (TASK_AREA if self.bits == 64 else TASK_AREA_32) + self._tasks * 2 * size
            self._tasks += 1
            stack = Stack("TASK", base, size, guard=self.policy.guard, word=self.bits >> 3)
            stack.on_guard = partial(self._thread_guard_hit, thread)
            stack.poke(base, STACK_END_MAGIC)
            stack.move(stack.top - self.regs_size)
            thread.stack = stack
        return stack

    # --- asking

    def current(self, cpu: Cpu) -> Stack:
        """Return the stack that a CPU is on."""
        return self.cpus[cpu.id].current or self.of(cpu.current)

    def on_thread_stack(self, cpu: Cpu) -> bool:
        """Tell whether a CPU is on the stack of the thread that it runs."""
        return self.cpus[cpu.id].current is None

    def find(self, cpu: Cpu, address: int) -> Stack | None:
        """Return the stack of a CPU or of its thread that an address lies on. Linux: get_stack_info()."""
        stacks = self.cpus[cpu.id]
        exceptions = (stacks.tss.ist(index) for index in range(len(IST_NAMES)))
        for stack in (self.of(cpu.current), *exceptions, stacks.irq, stacks.softirq, stacks.entry):
            if stack is not None and address in stack:
                return stack
        return None

    def nmi(self, cpu: Cpu) -> Stack | None:
        """Return the stack of NMIs, None where they have none."""
        return self.cpus[cpu.id].tss.ist(IST_INDEX_NMI)

    def canary(self, cpu: Cpu) -> int:
        """Return the word that functions compare with, as it is in memory now."""
        irq = self.cpus[cpu.id].irq
        if self.policy.canary_on_irq and irq is not None:
            return irq.peek(irq.base + CANARY_OFFSET)
        return CANARY if self.bits == 64 else CANARY & 0xFFFF_FFFF

    def check_end(self, cpu: Cpu) -> None:
        """Look at the magic word of the current thread's stack, as the scheduler does. Raises ``KernelBug`` when it is gone."""
        stack = cpu.current.stack
        if stack is not None and stack.peek(stack.base) != STACK_END_MAGIC:
            raise KernelBug(
                f"Kernel panic - not syncing: corrupted stack end detected inside scheduler: {cpu.current.sim.name} on {cpu.name} "
                f"at {cpu.engine.now} ns, {stack.deepest} of {stack.size} bytes used"
            )

    def low_on_stack(self, cpu: Cpu, sp: int) -> str | None:
        """Return what the entry of an interrupt says when little is left of the thread's stack, as kernels without guard pages do.

        Linux: do_IRQ() of arch/i386 (an eighth is left), stack_overflow_check() of arch/x86_64 (next to nothing is).
        """
        stack = cpu.current.stack
        if self.policy.guard or stack is None or stack is not self.current(cpu):
            return None
        if self.bits == 32:
            left = sp - stack.base - THREAD_INFO_32
            return f"do_IRQ: stack overflow: {left}" if left < stack.size >> 3 else None
        if sp >= stack.base + STACK_TOP_MARGIN:
            return None
        return f"do_IRQ(): {cpu.current.sim.name} has overflown the kernel stack (cur:{stack.base:x},sp:{sp:x})"

    # --- running out of stack

    def _thread_guard_hit(self, thread: Thread, stack: Stack, address: int) -> None:
        self.guard_hit(thread.cpu, stack, address)

    def guard_hit(self, cpu: Cpu, stack: Stack, address: int) -> None:
        """Stop the machine, as a write below a stack does: #PF cannot be pushed there, so it becomes #DF on a stack of its own.

        Without that stack, #DF cannot be pushed either: a triple fault. Raises ``KernelBug`` in each case.
        Trace: exception_entry for #DF, printk with Linux's words.
        """
        trace = cpu.trace
        where = f"on {cpu.name} at {cpu.engine.now} ns"
        double_fault = self.cpus[cpu.id].tss.ist(IST_INDEX_DF)
        if double_fault is None:
            text = f"triple fault: no stack for #DF after {stack.name} ran out at {address:x}, the CPU resets"
            if trace is not None:
                trace.printk(cpu, 0, text)
            raise KernelBug(f"{text}, {where}")
        double_fault.reset()
        double_fault.push_bytes(HardwareFrame(0, KERNEL_CS, X86_FLAGS_FIXED, address, KERNEL_DS, 0).encode())
        self.cpus[cpu.id].current = double_fault
        text = f"BUG: {stack.name} stack guard page was hit at {address:x} (stack is {stack.base:x}..{stack.top:x})"
        if trace is not None:
            trace.exception_entry(cpu, 8, "exc_double_fault")
            trace.entry_step(cpu, "push_frame", double_fault.name, double_fault.sp)
            trace.printk(cpu, 0, text)
            trace.printk(cpu, 0, "Oops: stack guard page: 0000 [#1]")
            trace.printk(cpu, 0, f"Kernel panic - not syncing: {stack.name} stack guard hit")
        raise KernelBug(f"{text}, {where}")


class Call(NamedTuple):
    """One call of a C function: on which stack, where the stack pointer was, what its canary is and where it lies."""

    function: str
    stack: Stack
    sp: int
    canary: int
    canary_at: int


def call(stacks: Stacks, cpu: Cpu, function: str, size: int) -> Call:
    """Enter a C function that needs ``size`` bytes of stack beside its return address and canary, and fill them.

    Return what ``ret`` takes. Raises ``KernelBug`` when a guard page is below, ``UsageError`` for a negative size.
    """
    if size < 0:
        raise UsageError(f"{function} cannot need {size} bytes of stack")
    stack = stacks.current(cpu)
    sp = stack.sp
    stack.push(TEXT)
    canary = stacks.canary(cpu)
    canary_at = stack.push(canary) if stacks.policy.canary else 0
    if size:
        stack.push_bytes(b"\xa5" * size)
    return Call(function, stack, sp, canary, canary_at)


def ret(stacks: Stacks, cpu: Cpu, frame: Call) -> None:
    """Return from a C function. Raises ``KernelBug`` when its canary is gone, or the word that it is compared with.

    Trace: printk with Linux's words.
    """
    stack = frame.stack
    if stacks.policy.canary:
        # A frame beyond the end of the stack lies in somebody else's memory, where it is taken to be whole.
        found = stack.peek(frame.canary_at) if frame.canary_at in stack else frame.canary
        if found != stacks.canary(cpu):
            text = f"Kernel panic - not syncing: stack-protector: Kernel stack is corrupted in: {frame.function}"
            if cpu.trace is not None:
                cpu.trace.printk(cpu, 0, text)
            raise KernelBug(f"{text}, {stack.name} stack of {cpu.name} at {cpu.engine.now} ns")
    stack.move(frame.sp)
