from __future__ import annotations

import pytest

from asyncirq.errors import UsageError
from asyncirq.hw.gic import gicv2, regs
from asyncirq.hw.gic.common import GicState
from asyncirq.hw.gic.gicv2 import CpuInterfaceWindow, DistributorV2
from asyncirq.sim.engine import Engine


class Old:
    """A GICv2 with its windows open: PMR 0xF0, every SPI an enabled edge of priority 0xA0 to CPU 0."""

    def __init__(self, cpus: int = 4, mode: int = 0) -> None:
        self.gic = GicState(Engine(), None, priority_bits=4)
        self.distributor = DistributorV2(self.gic, cpus, 64)
        self.windows = [CpuInterfaceWindow(interface) for interface in self.distributor.interfaces]
        self.distributor.write(regs.GICD_CTLR, 1)
        for offset in range(0, 128, 4):
            for cpu in range(cpus):
                self.distributor.write(regs.IPRIORITYR + offset, 0xA0A0_A0A0, cpu=cpu)
            self.distributor.write(regs.ITARGETSR + offset, 0x0101_0101)
        for cpu in range(cpus):
            self.distributor.write(regs.ISENABLER, 0xFFFF_FFFF, cpu=cpu)
        self.distributor.write(regs.ICFGR + 8, 0xAAAA_AAAA)
        self.distributor.write(regs.ISENABLER + 4, 0xFFFF_FFFF)
        for window in self.windows:
            window.write(gicv2.GICC_PMR, 0xF0)
            window.write(gicv2.GICC_CTLR, gicv2.GICC_ENABLE | mode)

    def ack(self, cpu: int = 0) -> int:
        """Read IAR."""
        return self.windows[cpu].read(gicv2.GICC_IAR)

    def end(self, value: int, cpu: int = 0) -> None:
        """Write EOIR."""
        self.windows[cpu].write(gicv2.GICC_EOIR, value)


def test_spi_to_several_targets_is_taken_once() -> None:
    old = Old()
    old.distributor.write(regs.ITARGETSR + 40, 0b1010, 1)
    assert old.distributor.read(regs.ITARGETSR + 40) == 0x0101_010A
    old.distributor.shared[40].pulse()
    assert [interface.irq for interface in old.distributor.interfaces] == [False, True, False, True]
    assert [old.ack(cpu) for cpu in (3, 1)] == [40, 1023]
    assert old.distributor.read(regs.ISACTIVER + 4) == 1 << 8
    old.end(40, 3)
    assert old.distributor.read(regs.ISACTIVER + 4) == 0
    assert [old.ack(cpu) for cpu in range(4)] == [1023] * 4


def test_sgi_is_pending_once_for_each_sender() -> None:
    old = Old()
    for sender in (2, 1, 1):
        old.distributor.write(regs.GICD_SGIR, 0b1 << 16 | 5, cpu=sender)
    assert old.distributor.read(regs.CPENDSGIR + 4, 4) == 0b110 << 8
    seen = []
    while (value := old.ack()) != 1023:
        seen.append((value >> 10, value & 0x3FF))
        old.end(value)
    assert seen == [(1, 5), (2, 5)]
    old.distributor.write(regs.GICD_SGIR, 1 << 24 | 3, cpu=0)
    old.distributor.write(regs.GICD_SGIR, 2 << 24 | 4, cpu=0)
    old.distributor.write(regs.GICD_SGIR, 3 << 24 | 4, cpu=0)
    assert [old.ack(cpu) & 0x3FF for cpu in range(4)] == [4, 3, 3, 3]


def test_sgi_sources_can_be_set_and_cleared() -> None:
    old = Old()
    old.distributor.write(regs.SPENDSGIR, 0b111 << 16)
    old.distributor.write(regs.CPENDSGIR, 0b010 << 16)
    seen = []
    while (value := old.ack()) != 1023:
        seen.append((value >> 10, value & 0x3FF))
        old.end(value)
    assert seen == [(0, 2), (2, 2)]


def test_private_registers_are_banked() -> None:
    old = Old()
    old.distributor.write(regs.IPRIORITYR + 24, 0x40, 1, cpu=2)
    assert [old.distributor.read(regs.IPRIORITYR + 24, 1, cpu) for cpu in range(4)] == [0xA0, 0xA0, 0x40, 0xA0]
    assert [old.distributor.read(regs.ITARGETSR, 4, cpu) for cpu in range(4)] == [bit * 0x0101_0101 for bit in (1, 2, 4, 8)]
    old.distributor.private[2][25].set_line(True)
    assert [interface.irq for interface in old.distributor.interfaces] == [False, False, True, False]


def test_eoi_mode_splits_the_end() -> None:
    old = Old(mode=gicv2.GICC_EOIMODE)
    window = old.windows[0]
    old.distributor.shared[33].pulse()
    assert (old.ack(), window.read(gicv2.GICC_RPR), window.read(gicv2.GICC_APR)) == (33, 0xA0, 1 << 10)
    old.end(33)
    assert (window.read(gicv2.GICC_RPR), old.distributor.shared[33].state) == (0xFF, "active")
    window.write(gicv2.GICC_DIR, 33)
    assert old.distributor.shared[33].state == "inactive"


def test_registers_that_tell_what_it_is() -> None:
    old = Old(cpus=2)
    read = old.distributor.read
    assert (read(regs.GICD_CTLR), read(regs.GICD_TYPER), read(regs.PIDR2)) == (1, 2 | 1 << 5, 0x20)
    for offset in (regs.GICD_TYPER, regs.GICD_IIDR):
        before = read(offset)
        old.distributor.write(offset, 0xFFFF_FFFF)
        assert read(offset) == before
    window = old.windows[0]
    window.write(gicv2.GICC_BPR, 3)
    old.distributor.shared[40].pulse()
    assert [window.read(offset) for offset in (gicv2.GICC_CTLR, gicv2.GICC_PMR, gicv2.GICC_BPR, gicv2.GICC_HPPIR)] == [1, 0xF0, 3, 40]
    with pytest.raises(UsageError, match="1 to 8 CPU interfaces, not 9"):
        DistributorV2(old.gic, 9)
