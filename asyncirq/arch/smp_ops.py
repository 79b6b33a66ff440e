"""Let a CPU go and come: what the side that knows the interrupt controller does for hotplug. Linux: struct smp_ops, cpu_operations.

| | goes | comes |
| --- | --- | --- |
| APICs | interrupts moved, what pends sent again, local APIC off | INIT and SIPI, local APIC and vectors on |
| GIC | interrupts moved, IPIs and timer disabled | firmware (PSCI) switches it on, GIC set up, IPIs and timer enabled |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from asyncirq.hw.cpu import Cpu
from asyncirq.hw.lapic_regs import SPIV
from asyncirq.irq.core import KERN_INFO
from asyncirq.irq.cpuhotplug import migrate_all_off_this_cpu
from asyncirq.irqchip.lapic import SPURIOUS_APIC_VECTOR
from asyncirq.irqchip.leaving import Leaving

if TYPE_CHECKING:
    from asyncirq.arch.apic import ApicArch
    from asyncirq.arch.arm64 import Arm64
    from asyncirq.arch.base import Arch
    from asyncirq.arch.gic_v2 import GicV2Arch
    from asyncirq.arch.gic_v3 import GicV3Arch

ControllerStep = tuple[str, str, Callable[[Cpu], int]]
"""A step of the controller's own: ``"prepare"`` or ``"starting"``, its name, its startup."""


class SmpOps:
    """What a board without anything of its own does: interrupts go to other CPUs."""

    def __init__(self, arch: Arch) -> None:
        self.irq = arch.irq
        self.setup_timer = arch.setup_timer

    def hotpluggable(self, cpu_id: int) -> bool:
        """Tell whether a CPU may be taken down at all. Linux: arch_cpu_is_hotpluggable()."""
        return True

    async def cpu_disable(self, cpu: Cpu) -> int:
        """Let a CPU disable itself, interrupts off and the machine stopped: its interrupts go elsewhere.

        Return 0, or a negative errno with nothing changed. Linux: __cpu_disable(), irq_migrate_all_off_this_cpu().
        """
        migrate_all_off_this_cpu(self.irq, cpu)
        return 0

    def cpu_die(self, cpu: Cpu) -> None:
        """Say that a CPU is gone. Linux: __cpu_die(). Trace: printk."""
        self.irq.printk(None, KERN_INFO, f"CPU{cpu.id}: shutdown")

    def cpu_wake(self, cpu: Cpu) -> None:
        """Have a CPU begin again. Linux: __cpu_up(). Trace: printk."""
        self.irq.printk(None, KERN_INFO, f"CPU{cpu.id}: Booted secondary processor")

    def cpu_starting(self, cpu: Cpu) -> None:
        """Set up the CPU that runs this, interrupts off. Linux: start_secondary()."""
        self.setup_timer(cpu)

    def watch(self, cpu: Cpu, watched: bool) -> None:
        """Start or stop what watches a CPU besides the kernel's timers: nothing here."""

    def steps(self) -> Sequence[ControllerStep]:
        """Return the controller's own steps."""
        return ()


class ApicSmpOps(SmpOps):
    """CPUs with local APICs."""

    def __init__(self, arch: ApicArch) -> None:
        super().__init__(arch)
        self.arch = arch
        self.leaving = Leaving(arch.irq, arch.vectors)

    def hotpluggable(self, cpu_id: int) -> bool:
        """Tell whether a CPU may be taken down: all but the boot CPU."""
        return cpu_id > 0

    async def cpu_disable(self, cpu: Cpu) -> int:
        """Move every interrupt away, what pends already included; -ENOSPC where the other CPUs lack vectors for them.

        Linux: native_cpu_disable(), lapic_can_unplug_cpu(), cpu_disable_common().
        """
        error = self.leaving.can_unplug(cpu)
        if error:
            return error
        await self.leaving.fixup_irqs(cpu)
        self.leaving.offline(cpu)
        # Not earlier: until all have moved, messages still come here.
        cpu.lapic.regs.put(SPIV, SPURIOUS_APIC_VECTOR)
        return 0

    def cpu_die(self, cpu: Cpu) -> None:
        """Say that a CPU is gone. Linux: native_cpu_die(). Trace: printk."""
        self.irq.printk(None, KERN_INFO, f"smpboot: CPU {cpu.id} is now offline")

    def cpu_wake(self, cpu: Cpu) -> None:
        """Have a CPU begin, by INIT and SIPI. Linux: native_kick_ap(). Trace: printk."""
        self.irq.printk(None, KERN_INFO, f"smpboot: Booting Node 0 Processor {cpu.id} APIC {cpu.lapic.regs.id:#x}")
        self.arch.wake_secondary(cpu)

    def cpu_starting(self, cpu: Cpu) -> None:
        """Let the CPU's vectors be used, and set up the local timer. Linux: lapic_online(), start_secondary(). Trace: irq_matrix_online."""
        self.arch.vectors.matrix.online(cpu.id)
        self.setup_timer(cpu)

    def watch(self, cpu: Cpu, watched: bool) -> None:
        """Start or stop the CPU's cycle counter, where an NMI watchdog uses it. Linux: watchdog_hardlockup_enable(), _disable()."""
        watchdog = self.arch.nmi_watchdog
        if watchdog is not None and watched:
            watchdog.start(cpu)
        elif watchdog is not None:
            watchdog.counters[cpu.id].stop()


class Arm64SmpOps(SmpOps):
    """CPUs of arm64, which firmware switches off and on."""

    def __init__(self, arch: Arm64) -> None:
        super().__init__(arch)
        self.arch = arch

    async def cpu_disable(self, cpu: Cpu) -> int:
        """Disable the CPU's IPIs and timer, and move interrupts away. Linux: __cpu_disable(), ipi_teardown(), arch_timer_dying_cpu()."""
        self.arch.smp.teardown(cpu)
        self.irq.disable_percpu_irq(cpu, self.arch.timer_irq)
        return await super().cpu_disable(cpu)

    def cpu_die(self, cpu: Cpu) -> None:
        """Say that firmware has the CPU off. Linux: cpu_psci_cpu_kill(). Trace: printk."""
        self.irq.printk(None, KERN_INFO, f"psci: CPU{cpu.id} killed (polled 0 ms)")

    def cpu_wake(self, cpu: Cpu) -> None:
        """Have firmware switch the CPU on. Linux: cpu_psci_cpu_boot(). Trace: printk."""
        self.irq.printk(None, KERN_INFO, f"CPU{cpu.id}: Booted secondary processor 0x{cpu.id:010x} [0x410fd034]")

    def cpu_starting(self, cpu: Cpu) -> None:
        """Enable the CPU's IPIs and timer. Linux: ipi_setup(), arch_timer_starting_cpu()."""
        self.arch.smp.setup(cpu)
        self.setup_timer(cpu)


class GicV3SmpOps(Arm64SmpOps):
    """CPUs with redistributors. The steps are those that the driver has registered. Linux: irq-gic-v3.c gic_smp_init()."""

    arch: GicV3Arch

    def steps(self) -> Sequence[ControllerStep]:
        """Return the two steps of the driver."""
        check, starting = self.arch.gic.callbacks[:2]
        return (("prepare", check, self.gic_check_rdist), ("starting", starting, self.gic_starting_cpu))

    def gic_check_rdist(self, cpu: Cpu) -> int:
        """Look for the redistributor of a CPU that is to come: 0 or -ENODEV."""
        return self.arch.gic.check(cpu)

    def gic_starting_cpu(self, cpu: Cpu) -> int:
        """Set up the GIC of a CPU that comes."""
        return self.arch.gic.cpu_init(cpu)


class GicV2SmpOps(Arm64SmpOps):
    """CPUs behind one distributor. Linux: irq-gic.c gic_smp_init()."""

    arch: GicV2Arch

    def steps(self) -> Sequence[ControllerStep]:
        """Return the step of the driver."""
        return (("starting", self.arch.gic.callbacks[0], self.gic_starting_cpu),)

    def gic_starting_cpu(self, cpu: Cpu) -> int:
        """Set up the GIC of a CPU that comes."""
        self.arch.gic.cpu_init(cpu)
        return 0
