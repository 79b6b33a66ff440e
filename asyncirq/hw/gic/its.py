"""Model an interrupt translation service: a device's write of an event number becomes an LPI of one PE.

Software gives commands through a ring in memory; a bad command is skipped, and its error noted; a ring that cannot be read
stalls. Linux: drivers/irqchip/irq-gic-v3-its.c drives it. Model: flat tables; commands take no time, so SYNC has nothing to
wait for. Trace: its_translate for each event that arrives somewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from asyncirq.hw.gic import its_command as cmd
from asyncirq.hw.gic import its_error as err
from asyncirq.hw.gic import regs
from asyncirq.hw.gic.its_command import Command
from asyncirq.hw.gic.its_table import ENTRY, Device, Event, ItsTables
from asyncirq.hw.gic.lpi import Lpis
from asyncirq.hw.gic.memory import Memory

if TYPE_CHECKING:
    from asyncirq.trace.recorder import Recorder

EVENT_BITS: Final = 16
DEVICE_BITS: Final = 16
_TYPER: Final = 1 | (ENTRY - 1) << 4 | (EVENT_BITS - 1) << 8 | (DEVICE_BITS - 1) << 13
_PAGE_SIZES: Final = (0x1000, 0x4000, 0x1_0000, 0x1_0000)
_TABLE_TYPES: Final = (1, 4)
_BASER_FIXED: Final = (ENTRY - 1) << 48
_BASER_WRITABLE: Final = regs.BASER_VALID | regs.BASER_ADDRESS | 0x3FF


class Its:
    """One ITS. ``lpis[n]`` belong to PE n.

    ``enabled`` is GITS_CTLR. ``errors`` are the error numbers of commands that were skipped, ``dropped`` the events
    ``(device, event)`` that arrived and were mapped to nothing. ``stalled`` says that the ring could not be read.
    """

    def __init__(self, lpis: Sequence[Lpis], memory: Memory, trace: Recorder | None) -> None:
        self.lpis = lpis
        self.memory = memory
        self.trace = trace
        self.tables = ItsTables()
        self.enabled = False
        self.stalled = False
        self.errors: list[int] = []
        self.dropped: list[tuple[int, int]] = []
        self.cbaser = self.cwriter = self.creadr = 0
        self.baser = [kind << 56 | _BASER_FIXED for kind in _TABLE_TYPES]

    # --- decide

    def capacity(self, table: int) -> int:
        """Return how many entries the table of devices (0) or collections (1) has room for."""
        value = self.baser[table]
        if not value & regs.BASER_VALID:
            return 0
        return (value & 0xFF) + 1 << (_PAGE_SIZES[value >> 8 & 3] // ENTRY).bit_length() - 1

    def _lpis_of(self, collection: int) -> Lpis | None:
        target = self.tables.collections.get(collection)
        return None if target is None else self.lpis[target]

    # --- inputs

    def message(self, device: int, event: int, cause: int = 0) -> bool:
        """Take a device's event (a write to GITS_TRANSLATER) and return whether it was mapped to an LPI of some PE."""
        found = self.tables.devices.get(device)
        entry = None if found is None else found.events.get(event)
        lpis = None if entry is None else self._lpis_of(entry.collection)
        if entry is None or lpis is None or not self.enabled:
            self.dropped.append((device, event))
            return False
        if self.trace is not None:
            cause = self.trace.its_translate(cause, lpis.part.number, device, event, entry.intid)
        lpis.pend(entry.intid, cause)
        return True

    def _run_commands(self) -> None:
        """Handle the ring up to CWRITER; stop, stalled, where it cannot be read."""
        size = ((self.cbaser & 0xFF) + 1) * 0x1000
        base = self.cbaser & regs.PROPBASER_ADDRESS
        while self.enabled and not self.stalled and self.cbaser & regs.BASER_VALID and self.creadr != self.cwriter:
            words = [self.memory.read(base + self.creadr + 8 * number, 8) for number in range(4)]
            first, second, third, fourth = words
            if first is None or second is None or third is None or fourth is None:
                self.stalled = True
                return
            error = self._execute(Command((first, second, third, fourth)))
            if error:
                self.errors.append(error)
            self.creadr = (self.creadr + cmd.SIZE) % size

    def _execute(self, command: Command) -> int:
        """Execute one command and return its error, 0 for none. Unknown ones are skipped."""
        number = command.number
        what = 0
        if number == cmd.MAPD:
            what = self._mapd(command)
        elif number == cmd.MAPC:
            return self._mapc(command)
        elif number in (cmd.MAPTI, cmd.MAPI):
            what = self._mapti(command, command.intid if number == cmd.MAPTI else command.event)
        elif number == cmd.MOVI:
            what = self._movi(command)
        elif number == cmd.INVALL:
            what = self._invall(command)
        elif number == cmd.MOVALL:
            return self._movall(command)
        elif number in (cmd.INT, cmd.CLEAR, cmd.INV, cmd.DISCARD):
            what = self._on_event(command)
        return err.number(number, what) if what else 0

    def _check_device(self, command: Command) -> int:
        """Return what is wrong with a command's device and event, 0 for nothing."""
        if command.device >= min(self.capacity(0), 1 << DEVICE_BITS):
            return err.DEVICE_RANGE
        device = self.tables.devices.get(command.device)
        if device is None:
            return err.UNMAPPED_DEVICE
        return err.EVENT_RANGE if command.event >= 1 << device.event_bits else 0

    def _mapd(self, command: Command) -> int:
        if command.device >= min(self.capacity(0), 1 << DEVICE_BITS):
            return err.DEVICE_RANGE
        if command.valid and command.event_bits > EVENT_BITS:
            return err.SIZE_RANGE
        self.tables.devices.pop(command.device, None)
        if command.valid:
            self.tables.devices[command.device] = Device(command.address, command.event_bits)
        return 0

    def _mapc(self, command: Command) -> int:
        if command.collection >= self.capacity(1):
            return err.number(cmd.MAPC, err.COLLECTION_RANGE)
        if not command.valid:
            self.tables.collections.pop(command.collection, None)
            return 0
        if command.target >= len(self.lpis):
            return err.MAPC_TARGET
        self.tables.collections[command.collection] = command.target
        return 0

    def _mapti(self, command: Command, intid: int) -> int:
        wrong = self._check_device(command)
        if wrong:
            return wrong
        if command.collection >= self.capacity(1):
            return err.COLLECTION_RANGE
        if not regs.LPI_BASE <= intid < 1 << self.lpis[0].id_bits:
            return err.INTID_RANGE
        self.tables.devices[command.device].events[command.event] = Event(intid, command.collection)
        return 0

    def _movi(self, command: Command) -> int:
        wrong = self._check_device(command)
        if wrong:
            return wrong
        if command.collection >= self.capacity(1):
            return err.COLLECTION_RANGE
        entry = self.tables.find(command.device, command.event)
        if entry is None:
            return err.UNMAPPED_EVENT
        source, target = self._lpis_of(entry.collection), self._lpis_of(command.collection)
        if source is None or target is None:
            return err.UNMAPPED_COLLECTION
        entry.collection = command.collection
        source.move(entry.intid, target)
        return 0

    def _invall(self, command: Command) -> int:
        if command.collection >= self.capacity(1):
            return err.COLLECTION_RANGE
        lpis = self._lpis_of(command.collection)
        if lpis is None:
            return err.UNMAPPED_COLLECTION
        lpis.invalidate_all()
        return 0

    def _movall(self, command: Command) -> int:
        if max(command.target, command.other_target) >= len(self.lpis):
            return err.MOVALL_TARGET
        source = self.lpis[command.target]
        for intid in sorted(source.known):
            source.move(intid, self.lpis[command.other_target])
        return 0

    def _on_event(self, command: Command) -> int:
        """Execute one of the commands that name a mapped event."""
        wrong = self._check_device(command)
        if wrong:
            return wrong
        entry = self.tables.find(command.device, command.event)
        if entry is None:
            return err.UNMAPPED_EVENT
        lpis = self._lpis_of(entry.collection)
        if lpis is None:
            return err.EVENT_INVALID
        number = command.number
        if number == cmd.INT:
            lpis.pend(entry.intid)
        elif number == cmd.INV:
            lpis.invalidate(entry.intid)
        else:
            lpis.clear(entry.intid)
            if number == cmd.DISCARD:
                del self.tables.devices[command.device].events[command.event]
        return 0

    # --- tables in memory

    def save(self) -> None:
        """Write the tables into memory, as a migration does."""
        self.tables.save(self.memory, self.baser[0] & regs.BASER_ADDRESS, self.baser[1] & regs.BASER_ADDRESS)

    def restore(self) -> None:
        """Read the tables from memory."""
        devices, collections = self.baser
        self.tables.restore(self.memory, devices & regs.BASER_ADDRESS, self.capacity(0), collections & regs.BASER_ADDRESS, self.capacity(1))

    # --- bus

    def read(self, offset: int) -> int:
        """Read a register; what is not there reads as zero."""
        table = offset - regs.GITS_BASER >> 3
        if 0 <= table < len(self.baser):
            return self.baser[table]
        return {
            regs.GITS_CTLR: 1 if self.enabled else regs.GITS_QUIESCENT,
            regs.GITS_IIDR: 0x43B,
            regs.GITS_TYPER: _TYPER,
            regs.GITS_CBASER: self.cbaser,
            regs.GITS_CWRITER: self.cwriter,
            regs.GITS_CREADR: self.creadr | self.stalled * regs.CREADR_STALLED,
            regs.PIDR2: regs.ARCH_V3,
        }.get(offset, 0)

    def write(self, offset: int, value: int, device: int = 0, cause: int = 0) -> None:
        """Write a register; ``device`` is the id that travels with a write to GITS_TRANSLATER. Tables are fixed while enabled."""
        if offset == regs.GITS_TRANSLATER:
            self.message(device, value, cause)
        elif offset == regs.GITS_CTLR:
            self.enabled = bool(value & 1)
            self._run_commands()
        elif offset == regs.GITS_CWRITER:
            self.cwriter = value & 0xFFFE0
            if value & 1:
                self.stalled = False
            self._run_commands()
        elif offset == regs.GITS_CBASER and not self.enabled:
            self.cbaser = value
            self.creadr = 0
        elif not self.enabled:
            table = offset - regs.GITS_BASER >> 3
            if 0 <= table < len(self.baser):
                self.baser[table] = self.baser[table] & ~_BASER_WRITABLE | value & _BASER_WRITABLE

    def __repr__(self) -> str:
        return f"<Its {'enabled' if self.enabled else 'disabled'}>"
