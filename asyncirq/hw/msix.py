"""Model how a PCI function sends messages: the MSI-X table with its pending bits, and the MSI capability with several messages.

| MSI-X table, 16 bytes an entry | |
| --- | --- |
| 0, 4 | address, upper half of it |
| 8 | data |
| 12 | vector control: bit 0 masks |

A message that is held back sets its pending bit, once, and leaves when nothing holds it back any more. Several messages of an MSI
capability share address and data: the lower bits of the data say which one it is.

Model: interrupt remapping is left out, so a kernel gives an MSI capability one message only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from asyncirq.errors import UsageError
from asyncirq.hw.msi import MsiMessage

ENTRY_SIZE: Final = 16
MAX_ENTRIES: Final = 2048
MAX_MESSAGES: Final = 32

Sender = Callable[[MsiMessage, int], int]
"""Puts a message onto the bus: ``send(message, cause)``, a board's ``send_msi``."""


class MsixEntry:
    """One entry of the table; it is a device's side of one message (``irqchip.msi.MsiTarget``)."""

    can_mask: Final = True

    def __init__(self, table: MsixTable, number: int) -> None:
        self._table = table
        self.number = number
        self.message = MsiMessage(0, 0)
        self.masked = True
        self.pending = False

    def write_msi(self, message: MsiMessage) -> None:
        """Take over address and data; an entry that is written for the first time is unmasked with it."""
        first = not self.message.address
        self.message = message
        if first and message.address:
            self.mask_msi(False)

    def mask_msi(self, masked: bool) -> None:
        """Set or clear the mask bit."""
        self.masked = masked
        self._table.look(self)

    def send(self, cause: int = 0) -> int:
        """Raise the message; return how many CPUs it reached. Trace: msi_write, when it leaves."""
        return self._table.raise_entry(self.number, cause)


class MsixTable:
    """The table of one function: ``entries``; ``enabled`` and ``function_masked`` are the two bits of its capability."""

    def __init__(self, count: int, send: Sender) -> None:
        if not 1 <= count <= MAX_ENTRIES:
            raise UsageError(f"an MSI-X table has 1 to {MAX_ENTRIES} entries, not {count}", 22)
        self._send = send
        self._causes = [0] * count
        self.enabled = False
        self.function_masked = False
        self.entries = [MsixEntry(self, number) for number in range(count)]

    # --- decide

    def _held(self, entry: MsixEntry) -> bool:
        return entry.masked or self.function_masked

    # --- inputs

    def raise_entry(self, number: int, cause: int = 0) -> int:
        """Raise a message; while it is held back its pending bit stands for it. A function without MSI-X sends nothing."""
        if not self.enabled:
            return 0
        entry = self.entries[number]
        if self._held(entry):
            if not entry.pending:
                self._causes[number] = cause
            entry.pending = True
            return 0
        return self._send(entry.message, cause)

    def look(self, entry: MsixEntry) -> None:
        """Let a pending message leave if nothing holds it back any more."""
        if entry.pending and self.enabled and not self._held(entry):
            entry.pending = False
            self._send(entry.message, self._causes[entry.number])

    def control(self, enabled: bool, function_masked: bool = False) -> None:
        """Write the two bits of the capability; what is pending and free to go leaves, in the order of the entries."""
        self.enabled = enabled
        self.function_masked = function_masked
        for entry in self.entries:
            self.look(entry)

    # --- bus

    @property
    def pending_bits(self) -> int:
        """Return the pending bit array, entry 0 in bit 0."""
        return sum(entry.pending << entry.number for entry in self.entries)

    def read(self, offset: int) -> int:
        """Read 32 bits of the table. Raises ``UsageError`` past its end."""
        entry, word = self._at(offset)
        return (entry.message.address & 0xFFFF_FFFF, entry.message.address >> 32, entry.message.data, int(entry.masked))[word]

    def write(self, offset: int, value: int) -> None:
        """Write 32 bits of the table. Raises ``UsageError`` past its end."""
        entry, word = self._at(offset)
        message = entry.message
        if word == 3:
            entry.mask_msi(bool(value & 1))
        elif word == 2:
            entry.message = MsiMessage(message.address, value, message.extended)
        elif word == 1:
            entry.message = MsiMessage(message.address & 0xFFFF_FFFF | value << 32, message.data, message.extended)
        else:
            entry.message = MsiMessage(message.address & ~0xFFFF_FFFF | value & ~3, message.data, message.extended)

    def _at(self, offset: int) -> tuple[MsixEntry, int]:
        number = offset // ENTRY_SIZE
        if offset & 3 or not 0 <= number < len(self.entries):
            raise UsageError(f"an MSI-X table of {len(self.entries)} entries has no register at {offset:#x}", 22)
        return self.entries[number], offset % ENTRY_SIZE >> 2


class MsiCapability:
    """The MSI capability of one function: ``messages`` that it can send, ``granted`` of them; both powers of two.

    ``masks`` and ``pending`` have a bit for each message, where ``can_mask``; it is a device's side of message 0.
    """

    def __init__(self, messages: int, send: Sender, *, can_mask: bool = True) -> None:
        if not 1 <= messages <= MAX_MESSAGES or messages & (messages - 1):
            raise UsageError(f"an MSI capability has 1, 2, 4 ... {MAX_MESSAGES} messages, not {messages}", 22)
        self._send = send
        self._causes = [0] * messages
        self.messages = messages
        self.granted = 1
        self.can_mask = can_mask
        self.masks = 0
        self.pending = 0
        self.message = MsiMessage(0, 0)

    # --- decide

    def message_of(self, number: int) -> MsiMessage:
        """Return what message ``number`` looks like: those that were not granted share the last one that was."""
        number = min(number, self.granted - 1)
        data = self.message.data & ~(self.granted - 1) | number
        return MsiMessage(self.message.address, data, self.message.extended)

    # --- inputs

    def grant(self, count: int) -> None:
        """Let the function send ``count`` messages. Raises ``UsageError`` for more than it has, or no power of two."""
        if not 1 <= count <= self.messages or count & (count - 1):
            raise UsageError(f"an MSI capability of {self.messages} messages cannot be granted {count}", 22)
        self.granted = count

    def write_msi(self, message: MsiMessage) -> None:
        """Take over address and data; an address of 0 switches the capability off."""
        self.message = message

    def mask_msi(self, masked: bool) -> None:
        """Set or clear the mask bit of message 0."""
        self.mask(0, masked)

    def mask(self, number: int, masked: bool) -> None:
        """Set or clear a mask bit; what was pending leaves. Raises ``UsageError`` for a function without mask bits."""
        if not self.can_mask:
            raise UsageError("this MSI capability has no mask bits", 22)
        bit = 1 << number
        self.masks = self.masks | bit if masked else self.masks & ~bit
        if not masked and self.pending & bit:
            self.pending &= ~bit
            self._send(self.message_of(number), self._causes[number])

    def raise_message(self, number: int = 0, cause: int = 0) -> int:
        """Raise a message; while it is masked its pending bit stands for it. Return how many CPUs it reached."""
        if not self.message.address:
            return 0
        bit = 1 << number
        if self.masks & bit:
            if not self.pending & bit:
                self._causes[number] = cause
            self.pending |= bit
            return 0
        return self._send(self.message_of(number), cause)
