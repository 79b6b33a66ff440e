"""Fill the interrupt descriptor table, in the order in which a kernel does while it boots.

| when | step | gates |
| --- | --- | --- |
| before any C code | ``early_handlers`` | all exceptions, to one handler that gives up |
| ``setup_arch`` | ``early_traps``, ``early_pf`` | #DB and #BP, then #PF, which the default table does not have |
| ``trap_init`` | ``traps`` | every exception; with two passes, again with stacks by ``ist_traps`` |
| ``init_IRQ`` | ``apic_gates``, ``irq_gates`` | the kernel's own vectors, then a stub for each that is left |

What is installed for the system is marked in ``system_vectors``, except the stubs of unused system vectors, so that /proc/interrupts
has no rows for them. The last step maps the table read-only and loads it from there: a later write is a fault.

Linux: arch/x86/kernel/idt.c, arch/x86/kernel/traps.c trap_init(). In 2.6: arch/i386/kernel/traps.c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from asyncirq.config import IdtPolicy, VectorMap
from asyncirq.entry.common import FIRST_EXTERNAL_VECTOR, Entry
from asyncirq.entry.kinds import EXCEPTIONS
from asyncirq.entry.platform_ops import PlatformOps
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gate import DPL_KERNEL, DPL_USER, INTERRUPT_GATE, TASK_GATE, TRAP_GATE, VECTORS, ist_field
from asyncirq.hw.idt import READ_ONLY_ALIAS, Gate, Handler, Idt
from asyncirq.hw.pt_regs import KERNEL32_CS, KERNEL_CS
from asyncirq.hw.trapnr import (
    IA32_SYSCALL_VECTOR,
    X86_TRAP_BP,
    X86_TRAP_BR,
    X86_TRAP_CP,
    X86_TRAP_DB,
    X86_TRAP_DF,
    X86_TRAP_MC,
    X86_TRAP_NMI,
    X86_TRAP_OF,
    X86_TRAP_PF,
    X86_TRAP_VC,
)
from asyncirq.hw.tss import IST_INDEX_DB, IST_INDEX_DF, IST_INDEX_MCE, IST_INDEX_NMI, IST_INDEX_VC

ENTRY_TEXT: Final = 0xFFFF_FFFF_8200_0000
"""The address of the entry code: an entry of its own every 64 bytes, in the order of the vectors."""
IRQ_ENTRIES_START: Final = ENTRY_TEXT + 0x8000
SPURIOUS_ENTRIES_START: Final = ENTRY_TEXT + 0xA000
GDT_ENTRY_DOUBLEFAULT_TSS: Final = 31
IST_OF: Final = (
    (X86_TRAP_DB, IST_INDEX_DB),
    (X86_TRAP_NMI, IST_INDEX_NMI),
    (X86_TRAP_DF, IST_INDEX_DF),
    (X86_TRAP_MC, IST_INDEX_MCE),
    (X86_TRAP_VC, IST_INDEX_VC),
)
"""The exceptions with a stack of their own, and its index."""
CLASSES_INTR: Final = (X86_TRAP_DB, X86_TRAP_NMI, X86_TRAP_PF)
"""2.6's interrupt gates; #BP's can be called from user mode as well, every other exception has a trap gate."""
CLASSES_SYSTEM: Final = (X86_TRAP_OF, X86_TRAP_BR)
"""2.6's system gates among the exceptions: trap gates that user code may call."""


class IdtSetup:
    """Fill one table. ``handlers`` finds the bodies of the exceptions by the names of ``kinds.ENTRIES``.

    ``order`` are the steps that were done, ``writes`` each gate that was written, with its step. ``done`` forbids further
    gates. ``lead(vector, gate)``, if given, leads a gate through more. ``debug_idt`` is the table for the time that debug
    exceptions must not nest, in kernels that have one. ``ops`` are what a platform may replace.
    """

    def __init__(
        self,
        table: Idt,
        entry: Entry,
        handlers: Mapping[str, Handler],
        policy: IdtPolicy,
        layout: VectorMap,
        lead: Callable[[int, Gate], Gate] | None = None,
        ops: PlatformOps | None = None,
    ) -> None:
        self.table = table
        self.lead = lead
        self.ops = ops if ops is not None else PlatformOps()
        self.entry = entry
        self.handlers = handlers
        self.policy = policy
        self.layout = layout
        self.system_vectors = 0
        self.done = False
        self.order: list[str] = []
        self.writes: list[tuple[str, int]] = []
        self.warnings: list[str] = []
        self.debug_idt: Idt | None = None

    def trap_gates(self) -> None:
        """Do all steps up to the interrupts' gates, in the order of a boot."""
        self.early_handlers()
        if not self.policy.fred:
            self.early_traps()
            self.early_pf()
        self.trap_init()

    # --- the steps

    def early_handlers(self) -> None:
        """Lead every exception to a handler that gives up."""
        for vector in range(FIRST_EXTERNAL_VECTOR):
            self._write("early_handlers", vector, Gate(self._early_exception, "early_idt_handler"))
        self.order.append("early_handlers")

    def early_traps(self) -> None:
        """Let a debugger in: #DB, and #BP also from user mode; load the table."""
        self._exception("early_traps", X86_TRAP_DB)
        self._exception("early_traps", X86_TRAP_BP)
        self.table.load(base=ENTRY_TEXT)
        self.order.append("early_traps")

    def early_pf(self) -> None:
        """Resolve page faults from now on."""
        self._exception("early_pf", X86_TRAP_PF)
        self.order.append("early_pf")

    def traps(self) -> None:
        """Install the default table of exceptions, and the gate of int 0x80; mark them all as the system's."""
        if self.policy.fred:
            return
        for vector in EXCEPTIONS:
            if vector not in (X86_TRAP_PF, X86_TRAP_BP) or self.policy.gates == "classes":
                self._exception("traps", vector)
        if self.policy.ia32 or self.table.bits == 32:
            self._syscall()
        self.order.append("traps")

    def ist_traps(self) -> None:
        """Install the exceptions with stacks of their own once more, now that there are any."""
        for vector, _ in IST_OF:
            if self._wanted(vector):
                self._exception("ist_traps", vector, ist=True)
        self.order.append("ist_traps")

    def _setup_debug_idt(self) -> None:
        """Make the second table: a copy in which debug exceptions and breakpoints stay on the stack in use."""
        self.debug_idt = copy = Idt(self.table.bits)
        for vector, gate in enumerate(self.table.slots):
            if gate is not None:
                copy.set_gate(
                    vector, Gate(gate.handler, f"{gate.name} (debug idt)", gate.type, gate.dpl, 0, True, gate.selector, gate.offset)
                )
        self.order.append("debug_idt")

    def trap_init(self) -> None:
        """Do all that a kernel does about exceptions before its interrupts. ``order`` says what and when."""
        self.order.append("cpu_entry_areas")
        if self.policy.gates == "two-pass":
            self.traps()
            self.order += ["idt_read_only_mapping", "cpu_init"]
            self.ist_traps()
            self.ops.trap_init()
            self.order.append("x86_init.irqs.trap_init")
            if self.policy.debug:
                self._setup_debug_idt()
            return
        if self.policy.sev:
            self.order.append("sev_es_pages")
        self.order.append("cpu_init_exception_handling")
        self.traps()
        self.order.append("cpu_init")

    def irq_init(self, local_apic: bool = True) -> None:
        """Install every gate that is left, then map the table read-only and load it from there. Linux: idt_setup_apic_and_irq_gates()."""
        if local_apic:
            for vector, handler, name in self.entry.system_gates():
                self._write("apic_gates", vector, self._gate(vector, handler, name), system=True)
        self.order.append("apic_gates")
        first_system = self.layout.first_system_vector(local_apic)
        for vector in range(FIRST_EXTERNAL_VECTOR, first_system):
            if not self.system_vectors >> vector & 1:
                self._write("irq_gates", vector, self._stub(vector, self.entry.common_interrupt, "common_interrupt"))
        self.order.append("irq_gates")
        if local_apic:
            for vector in range(first_system, VECTORS):
                if not self.system_vectors >> vector & 1:
                    self._write("spurious_gates", vector, self._stub(vector, self.entry.spurious_interrupt, "spurious_interrupt"))
            self.order.append("spurious_gates")
        self.order += ["map", "load"]
        self.ops.load_idt(self.table, READ_ONLY_ALIAS)
        self.order.append("read_only")
        self.done = True

    # --- single gates

    def set_intr_gate(self, vector: int, handler: Handler, name: str) -> None:
        """Write an interrupt gate for the kernel alone. Raises ``KernelBug`` for a vector above 0xFF."""
        if vector > 0xFF:
            raise KernelBug(f"kernel BUG at arch/x86/kernel/idt.c: set_intr_gate({vector:#x}, {name}): no such vector")
        self._write("set_intr_gate", vector, self._gate(vector, handler, name))

    def alloc_intr_gate(self, vector: int, handler: Handler, name: str) -> bool:
        """Give a system vector its gate and mark it; return whether that was possible.

        Not for a device's vector, nor for one that is marked, nor after the set-up: each is a warning. Linux: idt_install_sysvec().
        """
        if vector < self.layout.first_system:
            return self._warn(f"alloc_intr_gate({vector:#x}): below FIRST_SYSTEM_VECTOR")
        if self.done:
            return self._warn(f"alloc_intr_gate({vector:#x}): the set-up of the IDT is done")
        if self.system_vectors >> vector & 1:
            return self._warn(f"alloc_intr_gate({vector:#x}): the vector has a gate")
        self._write("alloc_intr_gate", vector, self._gate(vector, handler, name), system=True)
        return True

    def update_intr_gate(self, vector: int, handler: Handler, name: str) -> bool:
        """Lead a system vector elsewhere; return whether it is one. One warning says that it is not."""
        if not self.system_vectors >> vector & 1:
            return self._warn("update_intr_gate: not a system vector")
        self._write("update_intr_gate", vector, self._gate(vector, handler, name))
        return True

    def load_current_idt(self, cpu: Cpu, debug: bool) -> None:
        """Load the debug table of a CPU, or the usual one again. Raises ``KernelBug`` with interrupts on."""
        if not cpu.irqs_off:
            raise KernelBug(f"WARNING: load_current_idt() with interrupts on, on {cpu.name} at {cpu.engine.now} ns")
        if debug and self.debug_idt is None:
            raise UsageError("this kernel has no debug IDT", 22)
        cpu.idt = self.debug_idt if debug and self.debug_idt is not None else self.table

    # --- how

    def _wanted(self, vector: int) -> bool:
        wanted = {X86_TRAP_MC: self.policy.mce, X86_TRAP_CP: self.policy.cet, X86_TRAP_VC: self.policy.sev}
        return vector <= X86_TRAP_VC and wanted.get(vector, True)

    def _exception(self, step: str, vector: int, ist: bool = False) -> None:
        if not self._wanted(vector):
            return
        name = EXCEPTIONS[vector].name
        gate = self._gate(vector, self.handlers[name], f"asm_{name}")
        if self.policy.gates == "classes":
            gate = self._classic(vector, gate)
        elif self.table.bits == 32 and vector == X86_TRAP_DF:
            gate = Gate(gate.handler, gate.name, TASK_GATE, selector=GDT_ENTRY_DOUBLEFAULT_TSS << 3)
        else:
            stacks = dict(IST_OF)
            own = self.table.bits == 64 and vector in stacks and (ist or (step == "traps" and self.policy.gates == "one-pass"))
            dpl = DPL_USER if vector in (X86_TRAP_BP, X86_TRAP_OF) else DPL_KERNEL
            field = ist_field(stacks[vector]) if own else 0
            gate = Gate(gate.handler, gate.name, INTERRUPT_GATE, dpl, field, selector=gate.selector, offset=gate.offset)
        self._write(step, vector, gate, system=True)

    def _classic(self, vector: int, gate: Gate) -> Gate:
        """Return a gate of 2.6's five classes: interrupt, system interrupt, system, trap, task."""
        if vector == X86_TRAP_DF and self.table.bits == 32:
            return Gate(gate.handler, gate.name, TASK_GATE, selector=GDT_ENTRY_DOUBLEFAULT_TSS << 3)
        kind = INTERRUPT_GATE if vector in (*CLASSES_INTR, X86_TRAP_BP) else TRAP_GATE
        dpl = DPL_USER if vector in (*CLASSES_SYSTEM, X86_TRAP_BP) else DPL_KERNEL
        return Gate(gate.handler, gate.name, kind, dpl, selector=gate.selector, offset=gate.offset)

    def _syscall(self) -> None:
        name = "int80_emulation" if self.table.bits == 64 else "entry_INT80_32"
        kind = TRAP_GATE if self.policy.gates == "classes" else INTERRUPT_GATE
        gate = self._gate(IA32_SYSCALL_VECTOR, self.handlers["int80_emulation"], f"asm_{name}")
        system = Gate(gate.handler, gate.name, kind, DPL_USER, selector=gate.selector, offset=gate.offset)
        self._write("traps", IA32_SYSCALL_VECTOR, system, system=True)

    def _gate(self, vector: int, handler: Handler, name: str) -> Gate:
        return Gate(handler, name, selector=self._selector(), offset=ENTRY_TEXT + 64 * vector)

    def _stub(self, vector: int, handler: Handler, name: str) -> Gate:
        first = self.layout.first_system
        slot = 16 if self.policy.ibt else 8
        offset = stub_address(vector, self.policy.ibt) if name == "common_interrupt" else SPURIOUS_ENTRIES_START + slot * (vector - first)
        return Gate(handler, f"asm_{name}", selector=self._selector(), offset=offset)

    def _selector(self) -> int:
        return KERNEL_CS if self.table.bits == 64 else KERNEL32_CS

    def _write(self, step: str, vector: int, gate: Gate, system: bool = False) -> None:
        self.ops.write_idt_entry(self.table, vector, gate if self.lead is None else self.lead(vector, gate))
        self.writes.append((step, vector))
        if system:
            self.system_vectors |= 1 << vector

    def _warn(self, text: str) -> bool:
        if text not in self.warnings:
            self.warnings.append(text)
        return False

    async def _early_exception(self, cpu: Cpu, vector: int) -> None:
        frame = cpu.current.frame
        ip = 0 if frame is None else frame.ip
        raise KernelBug(f"PANIC: early exception 0x{vector:02x} IP {ip:x} on {cpu.name} at {cpu.engine.now} ns")


def stub_address(vector: int, ibt: bool = True) -> int:
    """Return the address of a vector's entry stub. Raises ``UsageError`` for a vector below 32, which has none.

    A stub pushes the vector and jumps to the common entry: packed into 8 bytes, or padded to 16 where indirect branches are tracked.
    """
    if not FIRST_EXTERNAL_VECTOR <= vector < VECTORS:
        raise UsageError(f"vector {vector} has no stub of its own (32..255)")
    return IRQ_ENTRIES_START + (16 if ibt else 8) * (vector - FIRST_EXTERNAL_VECTOR)
