"""Enter the system vectors of the platform: APIC errors, thermal and machine-check interrupts, the platform's IPI, the halt at a reboot.

Each is acknowledged, counted and recorded, and leads to a hook. Linux: arch/x86/kernel/irq.c, arch/x86/kernel/apic/apic.c,
arch/x86/kernel/smp.c, arch/x86/kernel/cpu/mce/.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from asyncirq.hw.cpu import Cpu
from asyncirq.hw.idt import Handler
from asyncirq.hw.lapic_regs import ESR

if TYPE_CHECKING:
    from asyncirq.entry.common import Entry

DEFERRED_ERROR_VECTOR: Final = 0xF4
X86_PLATFORM_IPI_VECTOR: Final = 0xF7
REBOOT_VECTOR: Final = 0xF8
THRESHOLD_APIC_VECTOR: Final = 0xF9
THERMAL_APIC_VECTOR: Final = 0xFA
ERROR_APIC_VECTOR: Final = 0xFE
KERN_DEBUG: Final = 7
ESR_BITS: Final = (
    "Send CS error",
    "Receive CS error",
    "Send accept error",
    "Receive accept error",
    "Redirectable IPI",
    "Send illegal vector",
    "Received illegal vector",
    "Illegal register address",
)

Hook = Callable[[Cpu], Coroutine[Any, Any, None]]


class PlatformVectors:
    """These vectors of one machine; ``hooks[vector]`` is what one leads to. ``stopped`` are the CPUs that a reboot has halted."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.hooks: dict[int, Hook] = {}
        self.stopped: list[int] = []
        cpus = len(entry.sched.cpus)
        for vector in (DEFERRED_ERROR_VECTOR, X86_PLATFORM_IPI_VECTOR, REBOOT_VECTOR, THRESHOLD_APIC_VECTOR, THERMAL_APIC_VECTOR):
            entry.counts[vector] = [0] * cpus

    def gates(self) -> list[tuple[int, Handler, str]]:
        """Return vector, handler and name of each, without what this kernel's vector map uses otherwise."""
        gates: list[tuple[int, Handler, str]] = [
            (REBOOT_VECTOR, self.sysvec_reboot, "asm_sysvec_reboot"),
            (THERMAL_APIC_VECTOR, self.sysvec_thermal, "asm_sysvec_thermal"),
            (THRESHOLD_APIC_VECTOR, self.sysvec_threshold, "asm_sysvec_threshold"),
            (DEFERRED_ERROR_VECTOR, self.sysvec_deferred_error, "asm_sysvec_deferred_error"),
            (X86_PLATFORM_IPI_VECTOR, self.sysvec_x86_platform_ipi, "asm_sysvec_x86_platform_ipi"),
            (ERROR_APIC_VECTOR, self.sysvec_error_interrupt, "asm_sysvec_error_interrupt"),
        ]
        return [row for row in gates if row[0] >= self.entry.map.first_system]

    async def sysvec_error_interrupt(self, cpu: Cpu, vector: int) -> None:
        """Read and report the error status of the local APIC. Trace: error_apic_entry, printk, error_apic_exit."""
        entry = self.entry
        trace = entry.trace
        await entry.enter_system(cpu, vector)
        if trace is not None:
            trace.error_apic_entry(cpu, vector)
        cpu.lapic.regs.put(ESR, 0)
        status = cpu.lapic.regs.get(ESR)
        if trace is not None:
            what = " : ".join(text for bit, text in enumerate(ESR_BITS) if status >> bit & 1)
            trace.printk(cpu, KERN_DEBUG, f"APIC error on CPU{cpu.id}: {status:02x}" + (f" : {what}" if what else ""))
            trace.error_apic_exit(cpu, vector)
        await entry.leave_system(cpu)

    async def sysvec_x86_platform_ipi(self, cpu: Cpu, vector: int) -> None:
        """Take the platform's own IPI."""
        await self.entry.enter_system(cpu, vector)
        if self.entry.trace is not None:
            self.entry.trace.x86_platform_ipi_entry(cpu, vector)
        await self._hook(cpu, vector)
        if self.entry.trace is not None:
            self.entry.trace.x86_platform_ipi_exit(cpu, vector)
        await self.entry.leave_system(cpu)

    async def sysvec_threshold(self, cpu: Cpu, vector: int) -> None:
        """Take a machine check's counter that reached its limit."""
        await self.entry.enter_system(cpu, vector)
        if self.entry.trace is not None:
            self.entry.trace.threshold_apic_entry(cpu, vector)
        await self._hook(cpu, vector)
        if self.entry.trace is not None:
            self.entry.trace.threshold_apic_exit(cpu, vector)
        await self.entry.leave_system(cpu)

    async def sysvec_deferred_error(self, cpu: Cpu, vector: int) -> None:
        """Take a machine check that could wait."""
        await self.entry.enter_system(cpu, vector)
        if self.entry.trace is not None:
            self.entry.trace.deferred_error_apic_entry(cpu, vector)
        await self._hook(cpu, vector)
        if self.entry.trace is not None:
            self.entry.trace.deferred_error_apic_exit(cpu, vector)
        await self.entry.leave_system(cpu)

    async def sysvec_thermal(self, cpu: Cpu, vector: int) -> None:
        """Take the thermal sensor's interrupt."""
        await self.entry.enter_system(cpu, vector)
        if self.entry.trace is not None:
            self.entry.trace.thermal_apic_entry(cpu, vector)
        await self._hook(cpu, vector)
        if self.entry.trace is not None:
            self.entry.trace.thermal_apic_exit(cpu, vector)
        await self.entry.leave_system(cpu)

    async def sysvec_reboot(self, cpu: Cpu, vector: int) -> None:
        """Halt for good: somebody reboots the machine. Linux: stop_this_cpu()."""
        await self.entry.enter_system(cpu, vector)
        self.stopped.append(cpu.id)
        while True:
            await cpu.engine.park()

    async def _hook(self, cpu: Cpu, vector: int) -> None:
        hook = self.hooks.get(vector)
        if hook is not None:
            await hook(cpu)
