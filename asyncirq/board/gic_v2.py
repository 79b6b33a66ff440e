"""Join the chips of an arm64 machine with a GICv2: distributor, CPU interfaces, a frame for messages, generic timers."""

from __future__ import annotations

from typing import Final

from asyncirq.board.arm64 import SPIS, Arm64Board, virt_tree
from asyncirq.costs import Costs
from asyncirq.firmware.devicetree import Node, Value
from asyncirq.hw.gic.common import GicState
from asyncirq.hw.gic.gicv2 import MAX_CPUS, DistributorV2
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.hw.gic.pe import Pe
from asyncirq.hw.msi import MsiMessage
from asyncirq.sim import Engine
from asyncirq.trace.recorder import Recorder

V2M_FRAME: Final = 0x0802_0000
V2M_SETSPI: Final = V2M_FRAME + 0x40
V2M_FIRST: Final = 80
V2M_COUNT: Final = 64


class GicV2Board(Arm64Board):
    """The board with a GICv2: ``distributor``. SPIs 80 to 143 belong to the frame for messages."""

    controller = "gicv2"
    max_cpus = MAX_CPUS

    def __init__(self, engine: Engine, cpus: int, costs: Costs, trace: Recorder | None) -> None:
        super().__init__(engine, cpus, costs, trace)
        self.distributor = DistributorV2(GicState(engine, trace, priority_bits=4), cpus, SPIS)
        frame: dict[str, Value] = {
            "compatible": "arm,gic-v2m-frame",
            "msi-controller": (),
            "reg": (0, V2M_FRAME, 0, 0x1000),
            "arm,msi-base-spi": V2M_FIRST,
            "arm,msi-num-spis": V2M_COUNT,
        }
        props: dict[str, Value] = {
            "compatible": "arm,cortex-a15-gic",
            "interrupt-controller": (),
            "#interrupt-cells": 3,
            "reg": (0, 0x0800_0000, 0, 0x1_0000, 0, 0x0801_0000, 0, 0x1_0000),
            "phandle": 1,
        }
        self.devicetree = virt_tree(cpus, Node("intc@8000000", props, [Node("v2m@8020000", frame)]))
        self.join([Pe(interface) for interface in self.distributor.interfaces], self._set_ppi)

    def _set_ppi(self, cpu: int, intid: int, level: bool, cause: int) -> None:
        self.distributor.private[cpu][intid].set_line(level, cause)

    def spi(self, intid: int) -> GicInterrupt | None:
        """Return the silicon of an SPI, None where there is none."""
        return self.distributor.shared.get(intid)

    def send_msi(self, message: MsiMessage, cause: int = 0) -> int:
        """Write a device's message onto the bus; return how many CPUs it may reach. Trace: msi_write.

        Any other address than the frame's is memory, and an SPI outside the frame is not the frame's: nobody is interrupted.
        """
        if self.trace is not None:
            cause = self.trace.msi_write(cause, message.address, message.data)
        interrupt = self.distributor.shared.get(message.data)
        if message.address != V2M_SETSPI or interrupt is None or not V2M_FIRST <= message.data - 32 < V2M_FIRST + V2M_COUNT:
            return 0
        interrupt.pulse(cause)
        return len(interrupt.targets)
