"""Share what arm64 boards have in common: the CPUs with their timers, the wires."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from asyncirq.board.base import Board
from asyncirq.errors import UsageError
from asyncirq.firmware.devicetree import DeviceTree, Node, Value
from asyncirq.hw.arch_timer import ArchTimer, SystemCounter
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gic import regs
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.hw.gic.pe import Pe
from asyncirq.hw.gic.wires import SpiWires
from asyncirq.hw.idt import Idt
from asyncirq.hw.line import Line

TIMER_PPI: Final = 27
"""The INTID of the virtual timer, which a kernel at EL1 uses."""
SPIS: Final = 256


class Arm64Board(Board):
    """An arm64 board. ``pes`` are the inputs of its CPUs, ``timers`` compare with ``counter``, ``wires`` lead to SPIs.

    ``devicetree`` is what firmware tells the kernel of all this.
    """

    arch = "arm64"
    devicetree: DeviceTree
    pes: list[Pe]
    counter: SystemCounter
    timers: list[ArchTimer]
    wires: SpiWires

    def join(self, pes: Sequence[Pe], set_ppi: Callable[[int, int, bool, int], None]) -> None:
        """Give every PE its CPU and its timer; ``set_ppi(cpu, intid, level, cause)`` drives the timer's wire."""
        self.pes = list(pes)
        self.cpus = [Cpu(self.engine, number, pe, Idt(), self.trace) for number, pe in enumerate(pes)]
        for pe, cpu in zip(pes, self.cpus, strict=True):
            pe.cpu = cpu
        self.counter = SystemCounter(self.engine)
        self.timers = [
            ArchTimer(self.counter, f"arch_timer{number}", partial(set_ppi, number, TIMER_PPI)) for number in range(len(self.pes))
        ]
        self.wires = SpiWires(self.engine, self.costs.gic_latency_ns)
        self.engine.spawn(self.wires.run(), "gic")

    @abstractmethod
    def spi(self, intid: int) -> GicInterrupt | None:
        """Return the silicon of an SPI, None where there is none."""

    def program_timer(self, cpu: Cpu, when_ns: int | None) -> None:
        """Write the timer's compare value and open it; the counter counts nanoseconds."""
        timer = self.timers[cpu.id]
        if when_ns is None:
            timer.control = 0
        else:
            timer.program(when_ns)

    def line(self, gsi: int, active_low: bool = False) -> Line:
        """Return the wire to SPI ``gsi``, made at the first call; one that is active low has an inverter in it.

        Raises ``UsageError`` for an SPI that is not there.
        """
        line = self.lines.get(gsi)
        if line is None:
            interrupt = self.spi(regs.PPI_LIMIT + gsi)
            if gsi < 0 or interrupt is None:
                raise UsageError(f"no SPI {gsi} on the {self.controller}: there are 0 to {SPIS - 1}", 22)
            line = Line(f"gsi{gsi}", self.trace, idle=active_low)
            self.wires.connect(line, interrupt)
            self.lines[gsi] = line
        return line


def virt_tree(cpus: int, controller: Node) -> DeviceTree:
    """Return the device tree of a virtual board with this interrupt controller, whose phandle is 1: CPUs, timer, controller."""
    names = [
        Node(f"cpu@{number:x}", {"device_type": "cpu", "compatible": "arm,cortex-a57", "reg": number, "enable-method": "psci"})
        for number in range(cpus)
    ]
    ppis = [cell for number in (13, 14, TIMER_PPI - regs.SGI_LIMIT, 10) for cell in (1, number, 4)]
    timer = Node("timer", {"compatible": ("arm,armv8-timer", "arm,armv7-timer"), "interrupts": ppis, "always-on": ()})
    root: dict[str, Value] = {"#address-cells": 2, "#size-cells": 2, "compatible": "linux,dummy-virt", "interrupt-parent": 1}
    return DeviceTree(Node("", root, [Node("cpus", {"#address-cells": 1, "#size-cells": 0}, names), timer, controller]))
