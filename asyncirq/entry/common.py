"""Take every interrupt from its gate to its return.

``common_interrupt`` takes device vectors to their descriptor's flow handler; the ``sysvec_*`` functions take the local
timer and the inter-processor interrupts; ``irq_enter`` and ``irq_exit`` bracket them all. The reschedule is the last
statement of ``irq_exit``: the task may wake up on another CPU, so nothing may follow it.

Linux: arch/x86/kernel/irq.c, arch/x86/include/asm/idtentry.h, kernel/entry/common.c. Model: register frames, swapgs and
the mitigation work are a named cost.
Trace: vector_entry, vector_exit, local_timer_entry/exit, reschedule_entry/exit, call_function(_single)_entry/exit.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.bottom_half.softirq import Softirq
from asyncirq.entry.brackets import Brackets
from asyncirq.entry.platform_vectors import PlatformVectors
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.idt import Gate, Handler, Idt
from asyncirq.hw.system_regs import DR7_FIXED, DR_CONTROL
from asyncirq.irq.desc import IrqDesc
from asyncirq.sched.preempt import HARDIRQ_MASK, HARDIRQ_OFFSET, NMI_OFFSET

FIRST_EXTERNAL_VECTOR: Final = 0x20
FIRST_SYSTEM_VECTOR: Final = 0xEB
LOCAL_TIMER_VECTOR: Final = 0xEC
IRQ_WORK_VECTOR: Final = 0xF6
CALL_FUNCTION_SINGLE_VECTOR: Final = 0xFB
CALL_FUNCTION_VECTOR: Final = 0xFC
RESCHEDULE_VECTOR: Final = 0xFD
ERROR_APIC_VECTOR: Final = 0xFE
SPURIOUS_APIC_VECTOR: Final = 0xFF
NMI_VECTOR: Final = 2
NMI_NOT_RUNNING: Final = 0
NMI_EXECUTING: Final = 1
NMI_LATCHED: Final = 2

Hook = Callable[[Cpu], Coroutine[Any, Any, None]]


class Entry(Brackets):
    """The entry points of one machine.

    ``vector_irq[cpu][vector]`` finds the descriptor of a device vector. The hooks are the bodies of the system vectors:
    ``timer`` (hrtimer interrupt), ``call_function``, ``irq_work``, ``nmi``, ``move_cleanup`` (where the vector map has a vector
    for it); ``unused`` ends a vector that nobody has, and ``unhandled[cpu]`` counts them. ``online(index)``, if set, tells whether a
    CPU takes NMIs; ``nmi_state[cpu]`` is what it does with them now, ``nmi_ns[cpu]`` the time that went into them, and
    ``nmi_began[cpu]`` when the last one began. ``local_apic`` False leaves the system vectors out.
    """

    def __init__(self, softirq: Softirq, vector_irq: list[list[IrqDesc | None]]) -> None:
        super().__init__(softirq)
        self.map = self.sched.config.vectors
        self.local_apic = True
        self.vector_irq = vector_irq
        self.timer: Hook | None = None
        self.call_function: Hook | None = None
        self.irq_work: Hook | None = None
        self.nmi: Hook | None = None
        self.move_cleanup: Hook | None = None
        self.unused: Callable[[Cpu, int], None] | None = None
        cpus = len(self.sched.cpus)
        self.unhandled = [0] * cpus
        self.counts = {
            vector: [0] * cpus
            for vector in (
                NMI_VECTOR,
                self.map.local_timer,
                IRQ_WORK_VECTOR,
                CALL_FUNCTION_SINGLE_VECTOR,
                CALL_FUNCTION_VECTOR,
                RESCHEDULE_VECTOR,
                ERROR_APIC_VECTOR,
                SPURIOUS_APIC_VECTOR,
            )
        }
        self.online: Callable[[int], bool] | None = None
        self.nmi_state = [NMI_NOT_RUNNING] * cpus
        self.nmi_ns = [0] * cpus
        self.nmi_began = [0] * cpus
        self.platform = PlatformVectors(self)

    def system_gates(self) -> list[tuple[int, Handler, str]]:
        """Return the vectors that have an entry of their own, with its handler and its name, in the order of their installation.

        Without a local APIC there are none.
        """
        if not self.local_apic:
            return []
        gates: list[tuple[int, Handler, str]] = [
            (RESCHEDULE_VECTOR, self.sysvec_reschedule_ipi, "asm_sysvec_reschedule_ipi"),
            (CALL_FUNCTION_VECTOR, self.sysvec_call_function, "asm_sysvec_call_function"),
            (CALL_FUNCTION_SINGLE_VECTOR, self.sysvec_call_function_single, "asm_sysvec_call_function_single"),
        ]
        if self.map.move_cleanup is not None:
            gates.append((self.map.move_cleanup, self.sysvec_irq_move_cleanup, "asm_sysvec_irq_move_cleanup"))
        gates += self.platform.gates()
        gates += [
            (self.map.local_timer, self.sysvec_apic_timer_interrupt, "asm_sysvec_apic_timer_interrupt"),
            (IRQ_WORK_VECTOR, self.sysvec_irq_work, "asm_sysvec_irq_work"),
            (SPURIOUS_APIC_VECTOR, self.spurious_interrupt, "asm_sysvec_spurious_apic_interrupt"),
        ]
        return gates

    def install(self, idt: Idt) -> None:
        """Fill the gates of a machine without exceptions: the NMI, system vectors, then a stub for every other external one."""
        idt.set_gate(NMI_VECTOR, Gate(self.exc_nmi, "asm_exc_nmi"))
        for vector, handler, name in self.system_gates():
            idt.set_gate(vector, Gate(handler, name))
        first_system = self.map.first_system_vector(self.local_apic)
        for vector in range(FIRST_EXTERNAL_VECTOR, 256):
            if idt.gates[vector] is None:
                if vector < first_system:
                    idt.set_gate(vector, Gate(self.common_interrupt, "asm_common_interrupt"))
                else:
                    idt.set_gate(vector, Gate(self.spurious_interrupt, "asm_spurious_interrupt"))

    # --- device interrupts

    async def common_interrupt(self, cpu: Cpu, vector: int) -> None:
        """Run the flow handler of a device vector. Linux: arch/x86/kernel/irq.c common_interrupt()."""
        self.irq_enter(cpu)
        trace = self.trace
        await cpu.spend(self.costs.irq_entry_ns)
        if trace is not None:
            trace.vector_entry(cpu, vector)
        desc = self.vector_irq[cpu.id][vector]
        if desc is not None:
            await desc.handle_irq(cpu, desc)
        else:
            self.unhandled[cpu.id] += 1
            if self.unused is not None:
                self.unused(cpu, vector)
            else:
                cpu.lapic.eoi(cpu)
        if trace is not None:
            trace.vector_exit(cpu, vector)
        if self.costs.irq_exit_ns:
            await cpu.spend(self.costs.irq_exit_ns)
        await self.irq_exit(cpu)

    # --- system vectors

    async def sysvec_apic_timer_interrupt(self, cpu: Cpu, vector: int) -> None:
        """Run expired hrtimers, the tick among them."""
        await self.enter_system(cpu, vector)
        if self.trace is not None:
            self.trace.local_timer_entry(cpu, vector)
        if self.timer is not None:
            await self.timer(cpu)
        if self.trace is not None:
            self.trace.local_timer_exit(cpu, vector)
        await self.leave_system(cpu)

    async def sysvec_reschedule_ipi(self, cpu: Cpu, vector: int) -> None:
        """Do nothing but return, which reschedules; no softirqs. Linux: scheduler_ipi(), DEFINE_IDTENTRY_SYSVEC_SIMPLE()."""
        await self.enter_system(cpu, vector)
        if self.trace is not None:
            self.trace.reschedule_entry(cpu, vector)
            self.trace.reschedule_exit(cpu, vector)
        if self.costs.sysvec_exit_ns:
            await cpu.spend(self.costs.sysvec_exit_ns)
        cpu.preempt_count -= HARDIRQ_OFFSET
        if self.sched.lazy and cpu.current.regs_user:
            self.sched.promote_lazy(cpu)
        if cpu.need_resched:
            await self._reschedule(cpu)

    async def sysvec_call_function_single(self, cpu: Cpu, vector: int) -> None:
        """Run queued calls of other CPUs and enqueue the tasks that they left on the wake list."""
        await self.enter_system(cpu, vector)
        if self.trace is not None:
            self.trace.call_function_single_entry(cpu, vector)
        await self._call_function(cpu)
        if self.trace is not None:
            self.trace.call_function_single_exit(cpu, vector)
        await self.leave_system(cpu)

    async def sysvec_call_function(self, cpu: Cpu, vector: int) -> None:
        """Run calls that went to several CPUs."""
        await self.enter_system(cpu, vector)
        if self.trace is not None:
            self.trace.call_function_entry(cpu, vector)
        await self._call_function(cpu)
        if self.trace is not None:
            self.trace.call_function_exit(cpu, vector)
        await self.leave_system(cpu)

    async def _call_function(self, cpu: Cpu) -> None:
        if self.call_function is not None:
            await self.call_function(cpu)
        self.sched.sched_ttwu_pending(cpu)

    async def sysvec_irq_work(self, cpu: Cpu, vector: int) -> None:
        """Run this CPU's irq_work."""
        await self.enter_system(cpu, vector)
        if self.trace is not None:
            self.trace.irq_work_entry(cpu, vector)
        if self.irq_work is not None:
            await self.irq_work(cpu)
        if self.trace is not None:
            self.trace.irq_work_exit(cpu, vector)
        await self.leave_system(cpu)

    async def sysvec_irq_move_cleanup(self, cpu: Cpu, vector: int) -> None:
        """Free the vectors that moved interrupts left behind on this CPU. Linux: before 6.7."""
        self.irq_enter(cpu)
        cpu.lapic.eoi(cpu)
        await cpu.spend(self.costs.sysvec_entry_ns)
        if self.move_cleanup is not None:
            await self.move_cleanup(cpu)
        await self.leave_system(cpu)

    async def spurious_interrupt(self, cpu: Cpu, vector: int) -> None:
        """Count a spurious vector; 0xFF gets no EOI, another one only if it is in service. Linux: handle_spurious_interrupt()."""
        self.irq_enter(cpu)
        self.counts[SPURIOUS_APIC_VECTOR][cpu.id] += 1
        if self.trace is not None:
            self.trace.spurious_apic_entry(cpu, vector)
        await cpu.spend(self.costs.sysvec_entry_ns)
        if vector != SPURIOUS_APIC_VECTOR and cpu.lapic.isr >> vector & 1:
            cpu.lapic.eoi(cpu)
        if self.trace is not None:
            self.trace.spurious_apic_exit(cpu, vector)
        await self.leave_system(cpu)

    async def exc_nmi(self, cpu: Cpu, vector: int) -> None:
        """Run the NMI handler: no softirqs and no reschedule on the way out. Linux: arch/x86/kernel/nmi.c.

        One that comes while a handler runs, since an IRET let it in, is only latched: the handler runs once more then, whatever
        their number. CR2 and DR7 are kept, as the interrupted code may be about to read them. An offline CPU ignores it.
        """
        index = cpu.id
        if self.online is not None and not self.online(index):
            return
        state = self.nmi_state
        if state[index] != NMI_NOT_RUNNING:
            state[index] = NMI_LATCHED
            if self.costs.nmi_nested_ns:
                await cpu.spend(self.costs.nmi_nested_ns)
            return
        state[index] = NMI_EXECUTING
        began = self.nmi_began[index] = cpu.engine.now
        system = cpu.system
        cr2 = system.cr2
        while True:
            dr7, system.dr[DR_CONTROL] = system.dr[DR_CONTROL], DR7_FIXED
            await self._nmi_pass(cpu)
            system.dr[DR_CONTROL] = dr7
            system.cr2 = cr2
            state[index] -= 1
            if state[index] == NMI_NOT_RUNNING:
                break
        self.nmi_ns[index] += cpu.engine.now - began

    async def _nmi_pass(self, cpu: Cpu) -> None:
        self.counts[NMI_VECTOR][cpu.id] += 1
        if cpu.preempt_count & HARDIRQ_MASK >= self._depth:
            self._too_deep(cpu)
        cpu.preempt_count += NMI_OFFSET + HARDIRQ_OFFSET
        await cpu.spend(self.costs.sysvec_entry_ns)
        if self.nmi is not None:
            await self.nmi(cpu)
        cpu.preempt_count -= NMI_OFFSET + HARDIRQ_OFFSET


class Entry32(Entry):
    """The entry points of a 32-bit kernel, where a flow handler is called on the interrupt stack of its CPU.

    Linux: arch/x86/kernel/irq_32.c execute_on_irq_stack(). Trace: irq_flow at the switch, while the debug switch is on.
    """

    async def common_interrupt(self, cpu: Cpu, vector: int) -> None:
        """Run the flow handler of a device vector, after the switch of stacks unless an interrupt is on it already."""
        desc = self.vector_irq[cpu.id][vector]
        if desc is not None and desc.core.flow_trace is not None and not cpu.preempt_count & HARDIRQ_MASK:
            desc.core.flow_trace.irq_flow(cpu, desc.irq, desc.name, "call_on_stack")
        await super().common_interrupt(cpu, vector)
