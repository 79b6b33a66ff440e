"""Join the chips of an arm64 machine with a GICv3: distributor, redistributors, ITS, generic timers."""

from __future__ import annotations

from asyncirq.board.arm64 import SPIS, Arm64Board, virt_tree
from asyncirq.costs import Costs
from asyncirq.firmware.devicetree import Node, Value
from asyncirq.hw.gic.common import GicState
from asyncirq.hw.gic.distributor import Distributor
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.hw.gic.its import Its
from asyncirq.hw.gic.its_command import ItsMessage
from asyncirq.hw.gic.lpi import Lpis
from asyncirq.hw.gic.memory import Memory
from asyncirq.hw.gic.pe import Pe
from asyncirq.hw.msi import MsiMessage
from asyncirq.sim import Engine
from asyncirq.trace.recorder import Recorder


class GicV3Board(Arm64Board):
    """The board with a GICv3: ``distributor`` with its redistributors, ``its`` with its ``memory``. It has one security state."""

    controller = "gicv3"
    max_cpus = 512

    def __init__(self, engine: Engine, cpus: int, costs: Costs, trace: Recorder | None) -> None:
        super().__init__(engine, cpus, costs, trace)
        self.distributor = Distributor(GicState(engine, trace), cpus, SPIS)
        self.memory = Memory()
        self.its = Its([Lpis(part, self.memory) for part in self.distributor.redistributors], self.memory, trace)
        its: dict[str, Value] = {
            "compatible": "arm,gic-v3-its",
            "msi-controller": (),
            "#msi-cells": 1,
            "reg": (0, 0x0808_0000, 0, 0x2_0000),
        }
        props: dict[str, Value] = {
            "compatible": "arm,gic-v3",
            "interrupt-controller": (),
            "#interrupt-cells": 3,
            "reg": (0, 0x0800_0000, 0, 0x1_0000, 0, 0x080A_0000, 0, cpus * 0x2_0000),
            "phandle": 1,
        }
        self.devicetree = virt_tree(cpus, Node("intc@8000000", props, [Node("its@8080000", its)]))
        self.join([Pe(interface) for interface in self.distributor.interfaces], self._set_ppi)

    def _set_ppi(self, cpu: int, intid: int, level: bool, cause: int) -> None:
        self.distributor.redistributors[cpu].private[intid].set_line(level, cause)

    def spi(self, intid: int) -> GicInterrupt | None:
        """Return the silicon of an SPI, None where there is none."""
        return self.distributor.shared.get(intid)

    def send_msi(self, message: MsiMessage, cause: int = 0) -> int:
        """Write a device's message onto the bus; return how many CPUs it reached. Trace: msi_write, its_translate.

        Any other address than the ITS's is memory, and interrupts nobody.
        """
        if self.trace is not None:
            cause = self.trace.msi_write(cause, message.address, message.data)
        if not isinstance(message, ItsMessage):
            return 0
        return int(self.its.message(message.device, message.data, cause))
