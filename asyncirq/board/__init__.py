"""Put the silicon of a machine on a board: CPUs, interrupt controllers, timers, the wires between them.

The room between ``hw`` and ``machine``: it knows how chips are joined and what firmware does before the kernel starts, and
nothing of the kernel.

How a controller plugs in, for one more beside those of the table: its silicon in ``hw``, with a front end for each CPU that is
a ``hw.pins.CpuPins`` and goes into ``Cpu(engine, id, front_end, idt, trace)``; a ``Board`` here that joins them, with a row
in ``BOARDS``; its chips and domains in ``irqchip``; and an ``arch.Arch`` with the kernel's side (entry code, IPIs, irq numbers
for wires and messages, the timer), with a row in ``arch.ARCHES`` under the same name. ``Machine(controller=name)`` does the rest.

| file | board |
| --- | --- |
| ``apic.py`` | ``apic``: a local APIC for each CPU, an IO-APIC, messages |
| ``i8259.py`` | ``i8259``: one CPU, a pair of 8259A, a PIT |
| ``gic.py`` | ``gicv3``: a GICv3 with an ITS, generic timers |
| ``gic_v2.py`` | ``gicv2``: a GICv2 with a frame for messages, generic timers |
| ``arm64.py`` | what the boards of arm64 share |
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from asyncirq.board.apic import ApicBoard, ApicWiring, Override
from asyncirq.board.base import Board, Msi
from asyncirq.board.gic import GicV3Board
from asyncirq.board.gic_v2 import GicV2Board
from asyncirq.board.i8259 import I8259Board
from asyncirq.costs import Costs
from asyncirq.errors import UsageError
from asyncirq.sim import Engine
from asyncirq.trace.recorder import Recorder

__all__ = [
    "BOARDS",
    "ApicBoard",
    "ApicWiring",
    "Board",
    "GicV2Board",
    "GicV3Board",
    "I8259Board",
    "Msi",
    "Override",
    "board_class",
    "choose_controller",
    "make_board",
]

BOARDS: Final[Mapping[str, type[Board]]] = MappingProxyType(
    {kind.controller: kind for kind in (ApicBoard, I8259Board, GicV3Board, GicV2Board)}
)
"""Every board by the name of its controller, called with engine, number of CPUs, costs and recorder."""


def choose_controller(arch: str | None, controller: str | None, default: str) -> str:
    """Return the controller that a machine has: the one asked for, or the first of its architecture, or ``default``.

    Raises ``UsageError`` for an architecture that no board has, and for a controller of another one.
    """
    if arch is None:
        return controller or default
    names = [name for name, kind in BOARDS.items() if kind.arch == arch]
    if not names:
        known = sorted({kind.arch for kind in BOARDS.values()})
        raise UsageError(f"there is no architecture {arch!r}: choose from {', '.join(known)}", 22)
    if controller is None:
        return names[0]
    if controller in BOARDS and controller not in names:
        raise UsageError(f"controller {controller} is not of {arch}: choose from {', '.join(names)}", 22)
    return controller


def board_class(controller: str, cpus: int) -> type[Board]:
    """Return the board of a controller. Raises ``UsageError`` for one that there is none of, or that cannot have so many CPUs."""
    found = BOARDS.get(controller)
    if found is None:
        raise UsageError(f"there is no controller {controller!r}: choose from {', '.join(BOARDS)}", 22)
    if cpus > found.max_cpus:
        raise UsageError(f"controller {controller} serves at most {found.max_cpus} CPUs, not {cpus}", 22)
    return found


def make_board(controller: str | ApicWiring, engine: Engine, cpus: int, costs: Costs, trace: Recorder | None) -> Board:
    """Return a new board, by the name of its controller or wired as told. Raises ``UsageError`` as ``board_class``."""
    if isinstance(controller, ApicWiring):
        return ApicBoard(engine, cpus, costs, trace, controller)
    return board_class(controller, cpus)(engine, cpus, costs, trace)
