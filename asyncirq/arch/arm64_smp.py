"""Handle the inter-processor interrupts of arm64: eight SGIs, each a per-CPU interrupt with a meaning.

Linux: arch/arm64/kernel/smp.c. Trace: ipi_raise, ipi_entry, ipi_exit; irq_handler_entry and exit with the name IPI.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncirq.entry.arm64 import Arm64Entry
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.core import KERN_WARNING
from asyncirq.irq.desc import IRQ_HANDLED, IrqReturn
from asyncirq.irq.manage import IrqCore

IPI_RESCHEDULE: Final = 0
IPI_CALL_FUNC: Final = 1
IPI_CPU_STOP: Final = 2
IPI_CPU_STOP_NMI: Final = 3
IPI_TIMER: Final = 4
IPI_IRQ_WORK: Final = 5
IPI_CPU_BACKTRACE: Final = 6
IPI_KGDB_ROUNDUP: Final = 7
MAX_IPI: Final = 8
IPI_NAMES: Final = (
    "Rescheduling interrupts",
    "Function call interrupts",
    "CPU stop interrupts",
    "CPU stop NMIs",
    "Timer broadcast interrupts",
    "IRQ work interrupts",
    "CPU backtrace interrupts",
    "KGDB roundup interrupts",
)


class SmpIpis:
    """The IPIs of one machine. ``base`` is the irq of the first, 0 until there are any; ``stopped`` the mask of CPUs that were stopped.

    ``raise_sgi(cpu, dest, number)`` is the controller's. ``backtraces`` collects what CPUs that were asked reported.
    """

    def __init__(self, irq: IrqCore, entry: Arm64Entry, raise_sgi: Callable[[Cpu, int, int], None]) -> None:
        self.irq = irq
        self.entry = entry
        self.raise_sgi = raise_sgi
        self.base = 0
        self.count = 0
        self.stopped = 0
        self.backtraces: list[int] = []

    def set_range(self, base: int, count: int) -> None:
        """Take over the irqs of SGIs: request and hide them, and enable them on the boot CPU. Linux: set_smp_ipi_range()."""
        self.base = base
        self.count = min(count, MAX_IPI)
        for number in range(self.count):
            self.irq.request_percpu_irq(base + number, self._handle, "IPI", range(len(self.irq.cpus)))
            self.irq.desc(base + number).hidden = True
        self.setup(self.irq.cpus[0])

    def setup(self, cpu: Cpu) -> None:
        """Enable every IPI on a CPU that comes. Linux: ipi_setup()."""
        for number in range(self.count):
            self.irq.enable_percpu_irq(cpu, self.base + number)

    def teardown(self, cpu: Cpu) -> None:
        """Disable every IPI on a CPU that goes. Linux: ipi_teardown()."""
        for number in range(self.count):
            self.irq.disable_percpu_irq(cpu, self.base + number)

    def send(self, cpu: Cpu, dest: int, number: int) -> None:
        """Send an IPI to one CPU; fits as the ``send`` of ``Ipi``. Linux: smp_cross_call()."""
        trace = self.entry.trace
        if trace is None:
            self.raise_sgi(cpu, dest, number)
            return
        cause = cpu.cause
        cpu.cause = trace.ipi_raise(cpu, f"{1 << dest:08x}", IPI_NAMES[number])
        self.raise_sgi(cpu, dest, number)
        cpu.cause = cause

    def stop_others(self, cpu: Cpu) -> None:
        """Stop every other CPU for good. Linux: smp_send_stop()."""
        for dest in range(len(self.irq.cpus)):
            if dest != cpu.id:
                self.send(cpu, dest, IPI_CPU_STOP)

    async def _handle(self, cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
        """Do what an IPI asks for. Linux: do_handle_IPI()."""
        number = irq - self.base
        trace = self.entry.trace
        if trace is not None:
            trace.ipi_entry(cpu, IPI_NAMES[number])
        await self._do(cpu, number)
        if trace is not None:
            trace.ipi_exit(cpu, IPI_NAMES[number])
        return IRQ_HANDLED

    async def _do(self, cpu: Cpu, number: int) -> None:
        entry = self.entry
        if number == IPI_CALL_FUNC:
            if entry.call_function is not None:
                await entry.call_function(cpu)
            entry.sched.sched_ttwu_pending(cpu)
        elif number == IPI_IRQ_WORK:
            if entry.irq_work is not None:
                await entry.irq_work(cpu)
        elif number == IPI_TIMER:
            if entry.timer is not None:
                await entry.timer(cpu)
        elif number in (IPI_CPU_STOP, IPI_CPU_STOP_NMI):
            await self._stop(cpu)
        elif number == IPI_CPU_BACKTRACE:
            self.backtraces.append(cpu.id)
            self.irq.printk(cpu, KERN_WARNING, f"NMI backtrace for cpu {cpu.id}")
        elif number == IPI_KGDB_ROUNDUP:
            self.irq.printk(cpu, KERN_WARNING, f"KGDB: CPU {cpu.id} rounded up")

    async def _stop(self, cpu: Cpu) -> None:
        """Do nothing any more, interrupts off. Linux: local_cpu_stop()."""
        self.stopped |= 1 << cpu.id
        while True:
            await cpu.engine.park()
