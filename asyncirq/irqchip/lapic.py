"""Drive the local APIC of each CPU: switch it on, end interrupts, send interrupts to other CPUs.

Linux: arch/x86/kernel/apic/apic.c, ipi.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncirq.hw.cpu import Cpu
from asyncirq.hw.lapic_regs import SPIV, SPIV_ENABLE, TPR

SPURIOUS_APIC_VECTOR: Final = 0xFF
NMI_MODE: Final = 4


class LocalApics:
    """The local APICs of one machine. ``send_ipi`` fits as the ``send`` of ``Ipi``."""

    def __init__(self, cpus: Sequence[Cpu]) -> None:
        self.cpus = cpus

    def setup(self, cpu: Cpu) -> None:
        """Switch a CPU's local APIC on: every priority accepted, spurious vector 0xFF. Linux: setup_local_APIC()."""
        cpu.lapic.write(TPR, 0)
        cpu.lapic.write(SPIV, SPIV_ENABLE | SPURIOUS_APIC_VECTOR)

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
