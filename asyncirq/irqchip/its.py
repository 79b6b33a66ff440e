"""Drive an ITS: tables and commands, an LPI for each event of a device, and messages in front of it.

Three domains: the messages' own (device's side), the ITS (event to LPI), and the GIC (LPI to the CPU). A moved LPI may arrive on
its new CPU while the old one still runs its handler; it is asked for again then, not lost.

Linux: drivers/irqchip/irq-gic-v3-its.c, irq-gic-v3-its-pci-msi.c. Model: one event for each device.
"""

from __future__ import annotations

from typing import Any, Final

from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.gic import its_command as cmd
from asyncirq.hw.gic import regs
from asyncirq.hw.gic.its import Its
from asyncirq.hw.gic.its_command import Command, ItsMessage
from asyncirq.hw.msi import MsiMessage
from asyncirq.irq.chip import IRQCHIP_STATE_PENDING, IrqChip
from asyncirq.irq.desc import IrqData
from asyncirq.irq.domain import IrqDomain
from asyncirq.irqchip.gic_msi import GicMsiChip
from asyncirq.irqchip.gic_v3 import GicV3
from asyncirq.irqchip.msi import MsiTarget

ID_BITS: Final = 16
EVENT_BITS: Final = 5
QUEUE_BYTES: Final = 0x1_0000
LPI_CONFIG: Final = regs.DEFAULT_PRIORITY | regs.LPI_GROUP1


class LpiData:
    """What the ITS keeps for one interrupt: device, event, LPI, the CPU that it goes to (-1: none yet)."""

    __slots__ = ("cpu", "device", "event", "intid", "table")

    def __init__(self, device: int, event: int, intid: int, table: int) -> None:
        self.device = device
        self.event = event
        self.intid = intid
        self.table = table
        self.cpu = -1


class ItsDriver:
    """The driver of one ITS. ``domain`` maps devices' events to LPIs, ``msi`` is the messages' domain in front of it."""

    def __init__(self, gic: GicV3, its: Its) -> None:
        self.gic = gic
        self.its = its
        self.memory = its.memory
        self.config = self.memory.alloc(1 << ID_BITS)
        for word in range(1 << ID_BITS - 3):
            self.memory.write(self.config + 8 * word, 8, LPI_CONFIG * 0x0101_0101_0101_0101)
        self._ring = self.memory.alloc(QUEUE_BYTES)
        self._free_lpis: list[int] = []
        self._next_lpi = regs.LPI_BASE
        self.domain = ItsDomain(self)
        self.msi = ItsMsiDomain(self)

    # --- boot

    def start(self) -> None:
        """Give the ITS its tables and its command ring and switch it on. Linux: its_probe_one()."""
        its = self.its
        for table in range(2):
            its.write(regs.GITS_BASER + 8 * table, regs.BASER_VALID | self.memory.alloc(0x4_0000) | 2 << 8 | 3)
        its.write(regs.GITS_CBASER, regs.BASER_VALID | self._ring | QUEUE_BYTES // 0x1000 - 1)
        its.write(regs.GITS_CWRITER, 0)
        its.write(regs.GITS_CTLR, 1)

    def cpu_init(self, cpu: Cpu) -> None:
        """Give one CPU's redistributor its tables, with the promise that nothing is pending, and point a collection to it.

        Linux: its_cpu_init().
        """
        part = self.gic.distributor.redistributors[cpu.id]
        part.write(regs.GICR_PROPBASER, self.config | ID_BITS - 1, 8)
        part.write(regs.GICR_PENDBASER, self.memory.alloc(1 << ID_BITS - 3) | regs.PENDBASER_PTZ, 8)
        part.write(regs.GICR_CTLR, regs.GICR_ENABLE_LPIS)
        self.send(cmd.mapc(cpu.id, cpu.id), cmd.invall(cpu.id), cmd.sync(cpu.id))

    # --- commands and configuration

    def send(self, *commands: Command) -> None:
        """Put commands onto the ring and have the ITS execute them."""
        tail = self.its.cwriter
        for command in commands:
            for number, word in enumerate(command.words):
                self.memory.write(self._ring + tail + 8 * number, 8, word)
            tail = (tail + cmd.SIZE) % QUEUE_BYTES
        self.its.write(regs.GITS_CWRITER, tail)

    def configure(self, lpi: LpiData, enabled: bool) -> None:
        """Write an LPI's configuration byte and have it read again."""
        value = LPI_CONFIG | enabled * regs.LPI_ENABLE
        self.memory.write(self.config + lpi.intid - regs.LPI_BASE, 1, value)
        self.send(cmd.event_command(cmd.INV, lpi.device, lpi.event), cmd.sync(lpi.cpu))

    def alloc_lpi(self) -> int:
        """Return a free LPI. Raises ``UsageError`` ENOSPC when none is left."""
        if self._free_lpis:
            return self._free_lpis.pop(0)
        if self._next_lpi >> ID_BITS:
            raise UsageError("no LPI is free", 28)
        self._next_lpi += 1
        return self._next_lpi - 1

    def free_lpi(self, intid: int) -> None:
        """Give an LPI back."""
        self._free_lpis.append(intid)
        self._free_lpis.sort()


class ItsDomain(IrqDomain):
    """From a device's event to an LPI."""

    def __init__(self, driver: ItsDriver) -> None:
        super().__init__(driver.gic.core, "ITS", 0, driver.gic.domain)
        self.driver = driver
        self.chip = ItsChip(driver)
        self._devices = 0

    def alloc(self, data: IrqData, arg: Any) -> None:
        """Give the device an id and a table, and its event an LPI, which is the number at this level and the next."""
        driver = self.driver
        self._devices += 1
        lpi = LpiData(self._devices, 0, driver.alloc_lpi(), driver.memory.alloc(8 << EVENT_BITS))
        driver.send(cmd.mapd(lpi.device, lpi.table, EVENT_BITS))
        data.chip = self.chip
        data.chip_data = lpi
        data.hwirq = lpi.intid
        assert data.parent is not None
        data.parent.hwirq = lpi.intid

    def free(self, data: IrqData) -> None:
        """Take the device's table away and give the LPI back."""
        lpi: LpiData = data.chip_data
        self.driver.send(cmd.mapd(lpi.device, lpi.table, EVENT_BITS, valid=False))
        self.driver.free_lpi(lpi.intid)

    def activate(self, cpu: Cpu, data: IrqData, reserve: bool) -> int:
        """Map the event to its LPI, in the collection of the first online CPU that it may go to."""
        lpi: LpiData = data.chip_data
        mask = data.desc.affinity & self.core.online_mask or self.core.online_mask
        lpi.cpu = (mask & -mask).bit_length() - 1
        data.desc.effective_affinity = 1 << lpi.cpu
        self.driver.send(cmd.mapti(lpi.device, lpi.event, lpi.intid, lpi.cpu))
        self.driver.configure(lpi, enabled=True)
        return 0

    def deactivate(self, cpu: Cpu, data: IrqData) -> None:
        """Forget the event's mapping, and what is pending of it."""
        lpi: LpiData = data.chip_data
        self.driver.configure(lpi, enabled=False)
        self.driver.send(cmd.event_command(cmd.DISCARD, lpi.device, lpi.event), cmd.sync(lpi.cpu))
        lpi.cpu = -1


class ItsChip(IrqChip):
    """The ITS's side of an LPI."""

    name = "ITS"

    def __init__(self, driver: ItsDriver) -> None:
        self.driver = driver

    def irq_mask(self, cpu: Cpu, data: IrqData) -> int:
        """Disable the LPI."""
        self.driver.configure(data.chip_data, enabled=False)
        return self.driver.gic.core.costs.mmio_ns

    def irq_unmask(self, cpu: Cpu, data: IrqData) -> int:
        """Enable the LPI."""
        self.driver.configure(data.chip_data, enabled=True)
        return self.driver.gic.core.costs.mmio_ns

    def irq_set_affinity(self, cpu: Cpu, data: IrqData, mask: int, force: bool) -> int:
        """Move the LPI to the collection of one CPU of ``mask``, whatever runs on the old one; it stays if it is in ``mask``."""
        lpi: LpiData = data.chip_data
        found = mask if force else mask & self.driver.gic.core.online_mask
        if not found:
            return -22
        if lpi.cpu < 0:
            return 0  # not mapped: the line keeps its mask, and activation looks at it
        if not found >> lpi.cpu & 1:
            old, lpi.cpu = lpi.cpu, (found & -found).bit_length() - 1
            self.driver.send(cmd.movi(lpi.device, lpi.event, lpi.cpu), cmd.sync(old))
        data.desc.effective_affinity = 1 << lpi.cpu
        return 0

    def irq_retrigger(self, cpu: Cpu, data: IrqData) -> bool:
        """Have the ITS raise the event itself."""
        return not self.irq_set_irqchip_state(cpu, data, IRQCHIP_STATE_PENDING, True)

    def irq_set_irqchip_state(self, cpu: Cpu, data: IrqData, which: int, value: bool) -> int:
        """Raise or clear the event by command."""
        if which != IRQCHIP_STATE_PENDING:
            return -22
        lpi: LpiData = data.chip_data
        self.driver.send(cmd.event_command(cmd.INT if value else cmd.CLEAR, lpi.device, lpi.event))
        return 0


class ItsMsiDomain(IrqDomain):
    """The messages of devices: ``create_mapping(index, arg=target)``."""

    def __init__(self, driver: ItsDriver) -> None:
        super().__init__(driver.gic.core, "ITS-MSI", 0, driver.domain)
        self.chip = GicMsiChip("ITS-MSI", driver.domain.chip, driver.gic.chip, driver.gic.core.costs.mmio_ns)

    def alloc(self, data: IrqData, arg: Any) -> None:
        """Put one message in front of an LPI; ``arg`` is its ``MsiTarget``."""
        data.chip = self.chip
        data.chip_data = arg
        data.desc.msi_desc = arg

    def activate(self, cpu: Cpu, data: IrqData, reserve: bool) -> int:
        """Write the message into the device."""
        assert data.parent is not None
        lpi: LpiData = data.parent.chip_data
        target: MsiTarget = data.chip_data
        target.write_msi(ItsMessage(lpi.device, lpi.event))
        return 0

    def deactivate(self, cpu: Cpu, data: IrqData) -> None:
        """Take the message out of the device."""
        target: MsiTarget = data.chip_data
        target.write_msi(MsiMessage(0, 0))
