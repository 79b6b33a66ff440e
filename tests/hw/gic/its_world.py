"""Build a small world with an ITS for tests: the world of ``gics.py``, LPIs for each PE, and a driver for the command ring."""

from __future__ import annotations

from asyncirq.hw.gic import its_command as cmd
from asyncirq.hw.gic import regs
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.hw.gic.its import Its
from asyncirq.hw.gic.its_command import Command
from asyncirq.hw.gic.lpi import Lpis
from asyncirq.hw.gic.memory import Memory
from tests.hw.gic.gics import World

CONFIG = regs.DEFAULT_PRIORITY | regs.LPI_GROUP1 | regs.LPI_ENABLE
ID_BITS = 16


class ItsWorld(World):
    """Everything switched on but the mappings; every LPI enabled with priority 0xA0. ``enabled`` False leaves EnableLPIs off."""

    def __init__(self, pes: int = 4, *, enabled: bool = True, traced: bool = False) -> None:
        super().__init__(pes, traced=traced)
        self.memory = Memory()
        self.lpis = [Lpis(part, self.memory) for part in self.parts]
        self.its = Its(self.lpis, self.memory, self.trace)
        self.config = self.memory.alloc(1 << ID_BITS)
        for intid in range(regs.LPI_BASE, regs.LPI_BASE + 512):
            self.configure(intid, CONFIG)
        self.pending = [self.memory.alloc(1 << 16) for _ in self.parts]
        for part, table in zip(self.parts, self.pending, strict=True):
            part.write(regs.GICR_PROPBASER, self.config | ID_BITS - 1, 8)
            part.write(regs.GICR_PENDBASER, table | regs.PENDBASER_PTZ, 8)
            if enabled:
                part.write(regs.GICR_CTLR, regs.GICR_ENABLE_LPIS)
        for table in range(2):
            self.its.write(regs.GITS_BASER + 8 * table, regs.BASER_VALID | self.memory.alloc(0x4000) | 3)
        self.ring = self.memory.alloc(0x1_0000)
        self.its.write(regs.GITS_CBASER, regs.BASER_VALID | self.ring | 0xF)
        self.its.write(regs.GITS_CTLR, 1)
        self.tables: dict[int, int] = {}

    def configure(self, intid: int, value: int) -> None:
        """Write an LPI's configuration byte into memory."""
        assert self.memory.write(self.config + intid - regs.LPI_BASE, 1, value)

    def run(self, *commands: Command) -> list[int]:
        """Put commands onto the ring, have them executed, and return the errors."""
        before = len(self.its.errors)
        tail = self.its.cwriter
        for command in commands:
            for number, word in enumerate(command.words):
                assert self.memory.write(self.ring + tail + 8 * number, 8, word)
            tail = (tail + cmd.SIZE) % 0x1_0000
        self.its.write(regs.GITS_CWRITER, tail)
        return self.its.errors[before:]

    def device(self, number: int, event_bits: int = 8) -> Command:
        """Return the command that gives a device its table."""
        if number not in self.tables:
            self.tables[number] = self.memory.alloc(8 << event_bits)
        return cmd.mapd(number, self.tables[number], event_bits)

    def common(self) -> None:
        """Map as the catalogue's common setup does."""
        errors = self.run(
            self.device(2),
            self.device(7),
            cmd.mapc(3, 3),
            cmd.mapc(2, 2),
            cmd.invall(3),
            cmd.invall(2),
            cmd.mapti(2, 20, 8195, 3),
            cmd.mapti(7, 255, 8196, 2),
        )
        assert errors == []

    def interrupt(self, device: int, event: int) -> list[int]:
        """Give the command INT and let the PEs take what comes."""
        errors = self.run(cmd.event_command(cmd.INT, device, event))
        self.settle()
        return errors

    def lpi(self, intid: int, pe: int) -> GicInterrupt:
        """Return the LPI at one redistributor."""
        return self.lpis[pe].get(intid)
