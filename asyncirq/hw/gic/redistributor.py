"""Model the redistributor of one PE: its SGIs and PPIs, its sleep, and the registers of its LPIs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from asyncirq.hw.gic import regs
from asyncirq.hw.gic.bank import Bank, locate
from asyncirq.hw.gic.common import GicState
from asyncirq.hw.gic.cpu_interface import CpuInterface
from asyncirq.hw.gic.interrupt import GicInterrupt

if TYPE_CHECKING:
    from asyncirq.hw.gic.lpi import Lpis

PES_PER_CLUSTER: Final = 16


class Redistributor:
    """The redistributor of one PE.

    ``private`` are its SGIs and PPIs by INTID. ``awake`` is False from reset until ProcessorSleep is cleared: nothing is
    delivered to the PE, but what becomes pending stays so. ``affinity`` holds levels 3 to 0, 16 PEs in a cluster.
    ``lpis`` are set by the ITS's side, None where there are none; ``on_wake()`` is called when ``awake`` changed.
    """

    def __init__(self, gic: GicState, interface: CpuInterface, extended_ppis: int, last: bool, on_wake: Callable[[], None]) -> None:
        self.gic = gic
        self.interface = interface
        self.number = number = interface.number
        self.affinity = affinity_of(number)
        self.last = last
        self.awake = False
        self.extended_ppis = extended_ppis
        self.lpis: Lpis | None = None
        self._on_wake = on_wake
        self._targets = (interface,)
        by_index: dict[int, GicInterrupt] = {}
        for index in range(32 + extended_ppis):
            intid = index if index < 32 else regs.EPPI_BASE + index - 32
            by_index[index] = GicInterrupt(gic, intid, number, edge=index < regs.SGI_LIMIT)
        self.private = {interrupt.intid: interrupt for interrupt in by_index.values()}
        self._bank = Bank(gic, by_index, fixed_config=regs.SGI_LIMIT)

    @property
    def targets(self) -> tuple[CpuInterface, ...]:
        """Return the PE's interface while it is awake, else nothing."""
        return self._targets if self.awake else ()

    def update(self) -> None:
        """Look at every private interrupt afresh."""
        for interrupt in self.private.values():
            interrupt.update()
        if self.lpis is not None:
            self.lpis.update()

    def set_awake(self, awake: bool) -> None:
        """Write WAKER.ProcessorSleep; what became pending meanwhile is delivered at once."""
        if awake is self.awake:
            return
        self.awake = awake
        targets = self.targets
        for interrupt in self.private.values():
            interrupt.retarget(targets)
        if self.lpis is not None:
            self.lpis.retarget(targets)
        self._on_wake()

    def set_ppi(self, intid: int, level: bool, cause: int = 0) -> None:
        """Take note that the wire of a PPI changed."""
        self.private[intid].set_line(level, cause)

    # --- bus: the two frames of 64 KiB, one after the other

    def read(self, offset: int, width: int = 4, secure: bool = False) -> int:
        """Read a register; what is not there reads as zero."""
        if offset >= regs.SGI_FRAME:
            place = locate(offset - regs.SGI_FRAME)
            return 0 if place is None else self._bank.read(place, width, secure)
        if offset == regs.GICR_WAKER:
            return 0 if self.awake else regs.WAKER_SLEEP | regs.WAKER_CHILDREN_ASLEEP
        if offset == regs.GICR_TYPER:
            return self._typer() & ((1 << 8 * width) - 1)
        if offset == regs.GICR_TYPER + 4:
            return self.affinity
        if offset == regs.PIDR2:
            return regs.ARCH_V3
        if offset == regs.GICR_CTLR:
            enabled = self.lpis is not None and self.lpis.enabled
            return enabled * regs.GICR_ENABLE_LPIS | self.gic.write_pending * regs.GICR_RWP
        return 0 if self.lpis is None else self.lpis.read(offset, width)

    def write(self, offset: int, value: int, width: int = 4, secure: bool = False) -> None:
        """Write a register; read-only ones and those that are not there ignore it."""
        if offset >= regs.SGI_FRAME:
            place = locate(offset - regs.SGI_FRAME)
            if place is not None:
                self._bank.write(place, value, width, secure)
        elif offset == regs.GICR_WAKER:
            self.set_awake(not value & regs.WAKER_SLEEP)
        elif self.lpis is not None:
            self.lpis.write(offset, value, width)

    def _typer(self) -> int:
        value = self.affinity << 32 | self.number << 8 | self.last << 4
        if self.lpis is not None:
            value |= 1 | 1 << 3
        return value | self.extended_ppis // 32 << 27

    def __repr__(self) -> str:
        return f"<Redistributor {self.number}>"


def affinity_of(number: int) -> int:
    """Return the affinity of a PE: 16 in a cluster, 256 clusters in the next level."""
    cluster, low = divmod(number, PES_PER_CLUSTER)
    return (cluster >> 8) << 16 | (cluster & 0xFF) << 8 | low
