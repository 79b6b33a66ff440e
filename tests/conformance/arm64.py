"""Build arm64 machines for the conformance tests, and pick the records that they ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from asyncirq.arch.gic_v3 import GicV3Arch
from asyncirq.board.gic import GicV3Board
from asyncirq.config import preset
from asyncirq.costs import Costs
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IrqReturn
from asyncirq.machine import Machine
from asyncirq.trace.record import Record, tag_of

FREE = Costs(irq_entry_ns=0, irq_exit_ns=0, irq_return_ns=0, mmio_ns=0, gic_eoi_ns=0, gic_latency_ns=0)
"""Costs that leave of an interrupt's time what its handler spends."""


def machine(cpus: int = 1, *, controller: str = "gicv3", costs: Costs | None = FREE, debug: bool = False, **policies: Any) -> Machine:
    """Return a machine with ticks that do not disturb, and invariants on."""
    return Machine(cpus, preset("linux-6.12", **policies), controller=controller, costs=costs, check=True, debug=debug)


def arch_of(m: Machine) -> GicV3Arch:
    """Return the kernel's side of a GICv3."""
    assert isinstance(m.kernel.arch, GicV3Arch)
    return m.kernel.arch


def board_of(m: Machine) -> GicV3Board:
    """Return the board of a GICv3."""
    assert isinstance(m.board, GicV3Board)
    return m.board


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine."""

    async def wrapped() -> None:
        await main()

    asyncio.run(wrapped())


def story(records: list[Record], *names: str, irqs: tuple[int, ...] = ()) -> list[tuple[Any, ...]]:
    """Return ``(ts, cpu, event, first own field)`` of these events; handlers of other irqs than ``irqs`` are left out."""
    found = []
    for record in records:
        tag = tag_of(type(record))
        if tag in names:
            first = getattr(record, record.__struct_fields__[len(Record.__struct_fields__)])
            if not irqs or tag not in ("irq_handler_entry", "irq_handler_exit") or first in irqs:
                found.append((record.ts, record.cpu, tag, first))
    return found


def spender(ns: int) -> Callable[[Cpu, int, object], Any]:
    """Return a handler that spends some time."""

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
        await cpu.spend(ns)
        return IRQ_HANDLED

    return handler
