"""Join one kind of interrupt controller to the kernel: entry code, numbers for wires and messages, IPIs, the timer.

The room between ``entry`` and ``kernel``, and the only kernel code that knows which board it runs on. What is the same on
every machine (scheduler, softirqs, timers, drivers) asks an ``Arch`` and never a controller.

| file | boards |
| --- | --- |
| ``base.py`` | what every one offers |
| ``x86.py`` | what the boards with gates and vectors share |
| ``apic.py`` | ``apic``: the vector domain, IO-APIC pins and messages in front of it |
| ``i8259.py`` | ``i8259``: sixteen legacy lines, the PIT |
| ``arm64.py``, ``arm64_smp.py`` | what the boards of arm64 share: the vector table, the timer, IPIs |
| ``gic_v3.py``, ``gic_v2.py`` | ``gicv3`` and ``gicv2``: SPIs for wires, an ITS or a frame for messages |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from asyncirq.arch.apic import ApicArch
from asyncirq.arch.base import Arch
from asyncirq.arch.gic_v2 import GicV2Arch
from asyncirq.arch.gic_v3 import GicV3Arch
from asyncirq.arch.i8259 import I8259Arch
from asyncirq.board import ApicBoard, Board, GicV2Board, GicV3Board, I8259Board
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.irq.manage import IrqCore

__all__ = ["ARCHES", "ApicArch", "Arch", "GicV2Arch", "GicV3Arch", "I8259Arch", "make_arch"]

ARCHES: Final[Mapping[str, Callable[[Any, IrqCore, Softirq], Arch]]] = MappingProxyType(
    {ApicBoard.controller: ApicArch, I8259Board.controller: I8259Arch, GicV3Board.controller: GicV3Arch, GicV2Board.controller: GicV2Arch}
)
"""Every kernel side by the name of its controller, called with its board, the interrupt core and the softirqs."""


def make_arch(board: Board, irq: IrqCore, softirq: Softirq) -> Arch:
    """Return the kernel's side of a board."""
    return ARCHES[board.controller](board, irq, softirq)
