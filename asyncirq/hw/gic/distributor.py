"""Model the distributor: shared interrupts, who may take them, and which groups are forwarded at all.

Linux: drivers/irqchip/irq-gic-v3.c drives it. Model: affinity routing is always on, except on a GICv2 (``gicv2.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from asyncirq.errors import UsageError
from asyncirq.hw.gic import regs
from asyncirq.hw.gic.bank import Bank, locate, locate_extended
from asyncirq.hw.gic.common import GicState
from asyncirq.hw.gic.cpu_interface import CpuInterface
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.hw.gic.redistributor import Redistributor

IMPLEMENTER: Final = 0x43B
ID_BITS: Final = 16


class Distributor:
    """The distributor of one GICv3 with its redistributors.

    ``spis`` SPIs from INTID 32, a multiple of 32; ``extended_spis`` more from 4096. ``redistributors[n]`` and ``interfaces[n]``
    belong to PE n. An SPI goes to the PE that its route names; one routed to any PE goes to the first that is awake and has
    its group enabled.
    """

    def __init__(self, gic: GicState, pes: int, spis: int = 288, extended_spis: int = 0, extended_ppis: int = 0) -> None:
        if spis % 32 or not 32 <= spis <= 992 or extended_spis % 32 or not 0 <= extended_spis <= 1024:
            raise UsageError(f"a distributor has 32 to 992 SPIs and up to 1024 extended ones, in 32s, not {spis} and {extended_spis}")
        self.gic = gic
        self.spis = spis
        self.extended_spis = extended_spis
        self.interfaces = [CpuInterface(gic, number) for number in range(pes)]
        self.shared = {intid: GicInterrupt(gic, intid, -1) for intid in range(32, min(32 + spis, regs.SPI_LIMIT))}
        extended = {regs.ESPI_BASE + number: GicInterrupt(gic, regs.ESPI_BASE + number, -1) for number in range(extended_spis)}
        self._bank = Bank(gic, dict(self.shared))
        self._extended_bank = Bank(gic, {intid - regs.ESPI_BASE: interrupt for intid, interrupt in extended.items()})
        self.shared.update(extended)
        self.redistributors = [
            Redistributor(gic, self.interfaces[number], extended_ppis, number == pes - 1, self._awake) for number in range(pes)
        ]
        self._by_affinity = {part.affinity: part for part in self.redistributors}
        for interrupt in self.shared.values():
            self._route(interrupt)
        for part in self.redistributors:
            part.interface.find = self._finder(part)

    def _finder(self, part: Redistributor) -> Callable[[int], GicInterrupt | None]:
        def find(intid: int) -> GicInterrupt | None:
            return self.shared.get(intid) or part.private.get(intid)

        return find

    # --- decide

    def _route(self, interrupt: GicInterrupt) -> None:
        """Derive who may take a shared interrupt. Model: 1 of N means the first PE that is able to, not the least busy."""
        if interrupt.route & regs.IROUTER_IRM:
            able = [part for part in self.redistributors if part.awake and part.interface.enabled[interrupt.group]]
            interrupt.retarget((able[0].interface,) if able else ())
            return
        part = self._by_affinity.get(affinity_of_route(interrupt.route))
        interrupt.retarget((part.interface,) if part is not None and part.awake else ())

    def _awake(self) -> None:
        """Route afresh: a PE went to sleep, woke up, or opened a group."""
        for interrupt in self.shared.values():
            self._route(interrupt)

    def enable_group(self, pe: int, group: int, enabled: bool = True) -> None:
        """Write ICC_IGRPENn of a PE: its interface lets the group through, and 1-of-N routes take note."""
        self.interfaces[pe].set_enabled(group, enabled)
        self._awake()

    def find(self, intid: int, pe: int = 0) -> GicInterrupt | None:
        """Return the interrupt of a number; private ones are those of a PE."""
        return self.interfaces[pe].find(intid)

    # --- inputs

    def set_line(self, intid: int, level: bool, cause: int = 0) -> None:
        """Take note that the wire of an SPI changed; a number without an SPI has no wire and nothing happens."""
        interrupt = self.shared.get(intid)
        if interrupt is not None:
            interrupt.set_line(level, cause)

    def send_sgi(self, sender: int, value: int, group: int = regs.GROUP1_NS) -> None:
        """Write ICC_SGI1R (or ICC_SGI0R) on a PE: SGIs to a list of PEs in one cluster, or to all but the sender.

        A target takes the SGI only if it is in that group there.
        """
        intid = value >> 24 & 0xF
        if value >> 40 & 1:
            targets: Sequence[Redistributor] = [part for part in self.redistributors if part.number != sender]
        else:
            cluster = (value >> 48 & 0xFF) << 24 | (value >> 32 & 0xFF) << 16 | (value >> 16 & 0xFF) << 8
            base = (value >> 44 & 0xF) * 16
            found = (self._by_affinity.get(cluster | base + bit) for bit in range(16) if value >> bit & 1)
            targets = [part for part in found if part is not None]
        for part in targets:
            self.pend_sgi(part, intid, group, 0)

    def pend_sgi(self, part: Redistributor, intid: int, group: int, cause: int) -> None:
        """Make an SGI pending at one redistributor, if it is in this group there."""
        interrupt = part.private[intid]
        if interrupt.group == group:
            interrupt.pulse(cause)

    # --- bus

    def read(self, offset: int, width: int = 4, secure: bool = False) -> int:
        """Read a register; what is not there reads as zero."""
        simple = {
            regs.GICD_CTLR: self._read_control(secure),
            regs.GICD_TYPER: self._typer(),
            regs.GICD_IIDR: IMPLEMENTER,
            regs.PIDR2: regs.ARCH_V3,
        }
        if offset in simple:
            return simple[offset]
        interrupt = self._routed(offset)
        if interrupt is not None:
            return interrupt.route >> 32 * (offset >> 2 & 1) & ((1 << 8 * width) - 1)
        place = locate(offset)
        if place is not None:
            return self._bank.read(place, width, secure)
        place = locate_extended(offset)
        return 0 if place is None else self._extended_bank.read(place, width, secure)

    def write(self, offset: int, value: int, width: int = 4, secure: bool = False) -> None:
        """Write a register; read-only ones and those that are not there ignore it."""
        if offset == regs.GICD_CTLR:
            self._write_control(value, secure)
        elif offset in (regs.GICD_SETSPI_NSR, regs.GICD_CLRSPI_NSR):
            self._message(value & 0x3FF, offset == regs.GICD_SETSPI_NSR)
        else:
            interrupt = self._routed(offset)
            place = locate(offset)
            extended = locate_extended(offset)
            if interrupt is not None:
                shift = 32 * (offset >> 2 & 1)
                mask = (1 << 8 * width) - 1 << shift
                interrupt.route = interrupt.route & ~mask | value << shift & mask
                self._route(interrupt)
            elif place is not None:
                self._bank.write(place, value, width, secure)
            elif extended is not None:
                self._extended_bank.write(extended, value, width, secure)

    def _routed(self, offset: int) -> GicInterrupt | None:
        if regs.IROUTER + 8 * 32 <= offset < regs.IROUTER + 8 * regs.SPI_LIMIT:
            return self.shared.get(offset - regs.IROUTER >> 3)
        if regs.IROUTERE <= offset < regs.IROUTERE + 8 * self.extended_spis:
            return self.shared.get(regs.ESPI_BASE + (offset - regs.IROUTERE >> 3))
        return None

    def _message(self, intid: int, asserted: bool) -> None:
        """Take a message for an SPI: an edge sets the latch; a level is high from the set to the clear message."""
        interrupt = self.shared.get(intid)
        if interrupt is None:
            return
        if not interrupt.edge:
            interrupt.set_line(asserted)
        elif asserted:
            interrupt.pulse()

    def _typer(self) -> int:
        value = self.spis // 32 | regs.TYPER_MBIS | regs.TYPER_LPIS | (ID_BITS - 1) << 19
        if not self.gic.one_security_state:
            value |= regs.TYPER_SECURITY
        if self.extended_spis:
            value |= regs.TYPER_ESPI | (self.extended_spis // 32 - 1) << 27
        return value

    def _read_control(self, secure: bool) -> int:
        g0, g1, g1s = self.gic.forwards
        value = regs.CTLR_ARE | self.gic.write_pending * regs.CTLR_RWP
        if self.gic.one_security_state:
            return value | regs.CTLR_DS | g0 * regs.CTLR_ENABLE_G0 | g1 * regs.CTLR_ENABLE_G1
        if secure:
            return value | regs.CTLR_ARE_NS | g0 * regs.CTLR_ENABLE_G0 | g1 * regs.CTLR_ENABLE_G1 | g1s * regs.CTLR_ENABLE_G1S
        return value | g1 * regs.CTLR_ENABLE_G1

    def _write_control(self, value: int, secure: bool) -> None:
        forwards = self.gic.forwards
        forwards[regs.GROUP1_NS] = bool(value & regs.CTLR_ENABLE_G1)
        if secure or self.gic.one_security_state:
            forwards[regs.GROUP0] = bool(value & regs.CTLR_ENABLE_G0)
            forwards[regs.GROUP1_S] = bool(value & regs.CTLR_ENABLE_G1S) and not self.gic.one_security_state
        for interrupt in self.shared.values():
            interrupt.update()
        for part in self.redistributors:
            part.update()


def affinity_of_route(route: int) -> int:
    """Return the affinity that IROUTER holds: level 3 in bits 39:32, levels 2 to 0 in bits 23:0."""
    return (route >> 32 & 0xFF) << 24 | route & 0xFF_FFFF


def route_of_affinity(affinity: int) -> int:
    """Return IROUTER for one PE."""
    return (affinity >> 24) << 32 | affinity & 0xFF_FFFF
