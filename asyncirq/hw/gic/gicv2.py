"""Model a GICv2: a distributor that names targets by a byte for each interrupt, and a CPU interface in memory for each CPU.

An SPI with several targets is signalled to all of them; the first to acknowledge has it, the others read 1023. An SGI is pending
once for each CPU that sent it, and its acknowledge says which. Model: one security state and one group, as on a virtual board.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncirq.errors import UsageError
from asyncirq.hw.gic import regs
from asyncirq.hw.gic.bank import Bank, locate
from asyncirq.hw.gic.common import GicState
from asyncirq.hw.gic.cpu_interface import CpuInterface
from asyncirq.hw.gic.interrupt import GicInterrupt

MAX_CPUS: Final = 8
IIDR: Final = 0x0200_143B
GICC_CTLR: Final = 0x0000
GICC_PMR: Final = 0x0004
GICC_BPR: Final = 0x0008
GICC_IAR: Final = 0x000C
GICC_EOIR: Final = 0x0010
GICC_RPR: Final = 0x0014
GICC_HPPIR: Final = 0x0018
GICC_APR: Final = 0x00D0
GICC_IIDR: Final = 0x00FC
GICC_DIR: Final = 0x1000
GICC_ENABLE: Final = 1 << 0
GICC_EOIMODE: Final = 1 << 9


class DistributorV2:
    """The distributor of one GICv2 with its CPU interfaces. ``private[cpu]`` are SGIs and PPIs by INTID, ``shared`` the SPIs."""

    def __init__(self, gic: GicState, cpus: int, spis: int = 256) -> None:
        if not 1 <= cpus <= MAX_CPUS:
            raise UsageError(f"a GICv2 has 1 to {MAX_CPUS} CPU interfaces, not {cpus}", 22)
        self.gic = gic
        self.interfaces = [CpuInterface(gic, number) for number in range(cpus)]
        self.private = [
            {intid: GicInterrupt(gic, intid, cpu, edge=intid < regs.SGI_LIMIT) for intid in range(regs.PPI_LIMIT)} for cpu in range(cpus)
        ]
        self.shared = {intid: GicInterrupt(gic, intid, -1) for intid in range(32, min(32 + spis, regs.SPI_LIMIT))}
        self.spis = spis
        self._banks = [Bank(gic, self.private[cpu] | self.shared, fixed_config=regs.SGI_LIMIT) for cpu in range(cpus)]
        for cpu, interface in enumerate(self.interfaces):
            interface.irq_group = regs.GROUP0
            interface.find = self._finder(cpu)
            for interrupt in self.private[cpu].values():
                interrupt.retarget((interface,))

    def _finder(self, cpu: int) -> Callable[[int], GicInterrupt | None]:
        def find(intid: int) -> GicInterrupt | None:
            return self.shared.get(intid) or self.private[cpu].get(intid)

        return find

    # --- inputs

    def send_sgi(self, sender: int, value: int, cause: int = 0) -> None:
        """Write GICD_SGIR: an SGI to a list of CPUs, to all but the sender, or to the sender."""
        everyone = (1 << len(self.interfaces)) - 1
        mask = (value >> 16 & 0xFF, everyone & ~(1 << sender), 1 << sender, 0)[value >> 24 & 3]
        for cpu in range(len(self.interfaces)):
            if mask >> cpu & 1:
                self._pend(self.private[cpu][value & 0xF], sender, cause)

    def _pend(self, sgi: GicInterrupt, source: int, cause: int) -> None:
        known = sgi.sources >> source & 1
        sgi.sources |= 1 << source
        if known or not sgi.latch:
            sgi.pulse(cause)

    # --- bus; private interrupts are those of the CPU that asks

    def read(self, offset: int, width: int = 4, cpu: int = 0) -> int:
        """Read a register; what is not there reads as zero."""
        if offset == regs.GICD_CTLR:
            return int(self.gic.forwards[regs.GROUP0])
        if offset == regs.GICD_TYPER:
            return self.spis // 32 | (len(self.interfaces) - 1) << 5
        if offset == regs.GICD_IIDR:
            return IIDR
        if offset == regs.PIDR2:
            return regs.ARCH_V2
        if regs.ITARGETSR <= offset < regs.ICFGR:
            first = offset - regs.ITARGETSR
            return sum(self._targets(first + byte, cpu) << 8 * byte for byte in range(width))
        if regs.CPENDSGIR <= offset < regs.SPENDSGIR + 0x10:
            first = (offset - regs.CPENDSGIR) % 0x10
            return sum(self.private[cpu][first + byte].sources << 8 * byte for byte in range(width))
        place = locate(offset)
        return 0 if place is None else self._banks[cpu].read(place, width)

    def _targets(self, intid: int, cpu: int) -> int:
        if intid < regs.PPI_LIMIT:
            return 1 << cpu
        interrupt = self.shared.get(intid)
        return 0 if interrupt is None else interrupt.route

    def write(self, offset: int, value: int, width: int = 4, cpu: int = 0) -> None:
        """Write a register; read-only ones and those that are not there ignore it."""
        if offset == regs.GICD_CTLR:
            self.gic.forwards[regs.GROUP0] = bool(value & 1)
            for interrupt in (*self.shared.values(), *(one for bank in self.private for one in bank.values())):
                interrupt.update()
        elif offset == regs.GICD_SGIR:
            self.send_sgi(cpu, value)
        elif regs.ITARGETSR <= offset < regs.ICFGR:
            for byte in range(width):
                self._write_targets(offset - regs.ITARGETSR + byte, value >> 8 * byte & 0xFF)
        elif regs.CPENDSGIR <= offset < regs.SPENDSGIR + 0x10:
            for byte in range(width):
                sgi = self.private[cpu][(offset - regs.CPENDSGIR) % 0x10 + byte]
                self._write_sources(sgi, value >> 8 * byte & 0xFF, offset >= regs.SPENDSGIR)
        else:
            place = locate(offset)
            if place is not None:
                self._banks[cpu].write(place, value, width)

    def _write_targets(self, intid: int, mask: int) -> None:
        interrupt = self.shared.get(intid)
        if interrupt is not None:
            interrupt.route = mask & (1 << len(self.interfaces)) - 1
            interrupt.retarget(tuple(interface for interface in self.interfaces if mask >> interface.number & 1))

    def _write_sources(self, sgi: GicInterrupt, mask: int, raised: bool) -> None:
        for source in range(len(self.interfaces)):
            if mask >> source & 1 and raised:
                self._pend(sgi, source, 0)
        if not raised:
            left = sgi.sources & ~mask
            sgi.clear_pending()
            for source in range(len(self.interfaces)):
                if left >> source & 1:
                    self._pend(sgi, source, 0)


class CpuInterfaceWindow:
    """The registers of one CPU interface, in memory."""

    def __init__(self, interface: CpuInterface) -> None:
        self.interface = interface

    def read(self, offset: int) -> int:
        """Read a register. Reading IAR acknowledges; the CPU that sent an SGI is in bits 12:10."""
        interface = self.interface
        if offset == GICC_IAR:
            intid, _ = interface.acknowledge(regs.GROUP0)
            found = interface.find(intid) if intid < regs.SGI_LIMIT else None
            return intid if found is None else intid | found.source << 10
        return {
            GICC_CTLR: interface.enabled[regs.GROUP0] * GICC_ENABLE | interface.split * GICC_EOIMODE,
            GICC_PMR: interface.pmr,
            GICC_BPR: interface.bpr[regs.GROUP0],
            GICC_RPR: interface.running,
            GICC_HPPIR: interface.highest_pending(regs.GROUP0),
            GICC_APR: interface.active_priorities[regs.GROUP0],
            GICC_IIDR: IIDR,
        }.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Write a register; read-only ones and those that are not there ignore it."""
        interface = self.interface
        if offset == GICC_CTLR:
            interface.set_control(bool(value & GICC_EOIMODE))
            interface.set_enabled(regs.GROUP0, bool(value & GICC_ENABLE))
        elif offset == GICC_PMR:
            interface.set_pmr(value & 0xFF)
        elif offset == GICC_BPR:
            interface.set_bpr(regs.GROUP0, value)
        elif offset == GICC_EOIR:
            interface.end(value & 0x3FF, regs.GROUP0)
        elif offset == GICC_DIR:
            interface.deactivate(value & 0x3FF)
        elif offset == GICC_APR:
            interface.set_active_priorities(regs.GROUP0, value)
