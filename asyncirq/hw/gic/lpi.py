"""Model the LPIs of one redistributor: messages without an active state, configured and kept pending by tables in memory.

A configuration byte is read when an LPI is first seen and after an invalidation, not whenever it changes in memory. The
pending table is read when LPIs are enabled, unless software promised that it is zero, and written by ``save``.
"""

from __future__ import annotations

from asyncirq.hw.gic import regs
from asyncirq.hw.gic.cpu_interface import CpuInterface
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.hw.gic.memory import Memory
from asyncirq.hw.gic.redistributor import Redistributor


class Lpis:
    """The LPIs of one redistributor. ``known`` are those that were pending or configured here at least once.

    ``enabled`` is GICR_CTLR.EnableLPIs. ``propbase`` and ``pendbase`` are the registers.
    """

    def __init__(self, part: Redistributor, memory: Memory) -> None:
        self.part = part
        self.gic = part.gic
        self.memory = memory
        self.enabled = False
        self.propbase = 0
        self.pendbase = 0
        self.known: dict[int, GicInterrupt] = {}
        part.lpis = self

    @property
    def id_bits(self) -> int:
        """Return how many bits an INTID has: PROPBASER.IDbits and one."""
        return (self.propbase & 0x1F) + 1

    def get(self, intid: int) -> GicInterrupt:
        """Return the LPI of a number, made and configured from memory at the first call."""
        lpi = self.known.get(intid)
        if lpi is None:
            lpi = self.known[intid] = GicInterrupt(self.gic, intid, self.part.number, edge=True, lpi=True)
            lpi.group = regs.GROUP1_NS
            lpi.targets = self.part.targets
            self._configure(lpi)
        return lpi

    def _configure(self, lpi: GicInterrupt) -> None:
        """Read the configuration byte. Where there is no table the LPI is disabled."""
        address = (self.propbase & regs.PROPBASER_ADDRESS) + lpi.intid - regs.LPI_BASE
        byte = self.memory.read(address, 1) if lpi.intid < 1 << self.id_bits else None
        value = 0 if byte is None else byte
        lpi.set_priority(value & regs.LPI_PRIORITY)
        lpi.set_enabled(bool(value & regs.LPI_ENABLE))

    # --- inputs

    def pend(self, intid: int, cause: int = 0) -> None:
        """Make an LPI pending; without EnableLPIs the message is lost."""
        if self.enabled:
            lpi = self.known.get(intid)
            (lpi if lpi is not None else self.get(intid)).pulse(cause)

    def clear(self, intid: int) -> None:
        """Clear the pending state of an LPI."""
        lpi = self.known.get(intid)
        if lpi is not None:
            lpi.clear_pending()

    def invalidate(self, intid: int) -> None:
        """Read one LPI's configuration again."""
        self._configure(self.get(intid))

    def invalidate_all(self) -> None:
        """Read every known LPI's configuration again."""
        for intid in sorted(self.known):
            self.invalidate(intid)

    def move(self, intid: int, other: Lpis) -> None:
        """Carry the pending state of one LPI over to another redistributor, its cause with it."""
        lpi = self.known.get(intid)
        if lpi is not None and lpi.latch and other is not self:
            cause = lpi.cause
            lpi.clear_pending()
            target = other.get(intid)
            if not target.latch:
                target.cause = cause
                target.latch = True
                target.update()

    def retarget(self, targets: tuple[CpuInterface, ...]) -> None:
        """Follow the PE's sleep."""
        for lpi in self.known.values():
            lpi.retarget(targets)

    def update(self) -> None:
        """Look at every LPI afresh."""
        for lpi in self.known.values():
            lpi.update()

    # --- tables

    def _enable(self) -> None:
        self.enabled = True
        if self.pendbase & regs.PENDBASER_PTZ:
            return
        base = self.pendbase & regs.PENDBASER_ADDRESS
        for word in range(regs.LPI_BASE // 64, (1 << self.id_bits) // 64):
            bits = self.memory.read(base + 8 * word, 8)
            while bits:
                low = bits & -bits
                bits ^= low
                self.pend(64 * word + low.bit_length() - 1)

    def save(self) -> None:
        """Write the pending states into the pending table, as disabling LPIs or powering down does."""
        base = self.pendbase & regs.PENDBASER_ADDRESS
        for intid in sorted(self.known):
            byte = self.memory.read(base + (intid >> 3), 1) or 0
            bit = 1 << (intid & 7)
            self.memory.write(base + (intid >> 3), 1, byte | bit if self.known[intid].latch else byte & ~bit)

    # --- bus

    def read(self, offset: int, width: int = 4) -> int:
        """Read a register of the LPIs."""
        mask = (1 << 8 * width) - 1
        if offset & ~4 == regs.GICR_PROPBASER:
            return self.propbase >> 8 * (offset & 4) & mask
        if offset & ~4 == regs.GICR_PENDBASER:
            return (self.pendbase & ~regs.PENDBASER_PTZ) >> 8 * (offset & 4) & mask
        return 0

    def write(self, offset: int, value: int, width: int = 8) -> None:
        """Write a register of the LPIs. The tables stay where they are once LPIs are enabled, and enabling is for good."""
        if offset == regs.GICR_CTLR:
            if value & regs.GICR_ENABLE_LPIS and not self.enabled:
                self._enable()
        elif offset == regs.GICR_PROPBASER:
            if not self.enabled:
                self.propbase = value
        elif offset == regs.GICR_PENDBASER:
            if not self.enabled:
                self.pendbase = value
        elif offset == regs.GICR_SETLPIR:
            self.pend(value & 0xFFFF_FFFF)
        elif offset == regs.GICR_CLRLPIR:
            self.clear(value & 0xFFFF_FFFF)
        elif offset == regs.GICR_INVLPIR:
            self.invalidate(value & 0xFFFF_FFFF)
        elif offset == regs.GICR_INVALLR:
            self.invalidate_all()
