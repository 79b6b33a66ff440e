"""Drive the local APIC of each CPU: switch it on, end interrupts, send interrupts to other CPUs.

Linux: arch/x86/kernel/apic/apic.c, ipi.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncirq.hw.cpu import Cpu
from asyncirq.hw.lapic_lvt import CMCI, ERROR, LINT1, MASKED, MODE_SHIFT, THERMAL
from asyncirq.hw.lapic_regs import SPIV, SPIV_ENABLE, TPR

SPURIOUS_APIC_VECTOR: Final = 0xFF
NMI_MODE: Final = 4
LOCAL_SOURCES: Final = ((ERROR, 0xFE), (THERMAL, 0xFA), (CMCI, 0xF9))
"""The entries of the local vector table that always interrupt: ERROR_APIC_VECTOR, THERMAL_APIC_VECTOR, THRESHOLD_APIC_VECTOR."""


class LocalApics:
    """The local APICs of one machine. ``send_ipi`` fits as the ``send`` of ``Ipi``."""

    def __init__(self, cpus: Sequence[Cpu]) -> None:
        self.cpus = cpus

    def setup(self, cpu: Cpu) -> None:
        """Switch a CPU's local APIC on: every priority accepted, spurious vector 0xFF, each local source with its vector, NMIs of the
        board on the boot CPU's LINT1. The timer and the performance counters are unmasked by who uses them.

        Linux: setup_local_APIC(), end_local_APIC_setup() with lapic_setup_esr(), intel_init_thermal(), intel_init_cmci().
        """
        regs = cpu.lapic.regs
        regs.put(TPR, 0)
        regs.put(SPIV, SPIV_ENABLE | SPURIOUS_APIC_VECTOR)
        for source, vector in LOCAL_SOURCES:
            regs.put(source, vector)
        regs.put(LINT1, NMI_MODE << MODE_SHIFT | (MASKED if cpu.id else 0))

    def eoi(self, cpu: Cpu, irq: int = 0) -> None:
        """End the interrupt in service; fits as ``IrqCore.ack_bad_irq``."""
        cpu.lapic.eoi(cpu)

    def apic_id(self, cpu: int) -> int:
        """Return the APIC id of a CPU."""
        return self.cpus[cpu].lapic.regs.id

    def send_ipi(self, cpu: Cpu, dest: int, vector: int) -> None:
        """Send a fixed interrupt to a CPU, itself included."""
        cpu.lapic.send_ipi(self.apic_id(dest), vector, cause=cpu.cause)

    def send_nmi(self, cpu: Cpu, dest: int) -> None:
        """Send an NMI to a CPU."""
        cpu.lapic.send_ipi(self.apic_id(dest), 2, NMI_MODE, cause=cpu.cause)
