"""Model message-signalled interrupts: a memory write to 0xFEExxxxx is an APIC message.

| address bits | meaning | data bits | meaning |
| --- | --- | --- | --- |
| 31:20 | 0xFEE | 7:0 | vector |
| 19:12 | destination 7:0 | 10:8 | delivery mode |
| 11:5 | destination 14:8, where supported | 14 | assert (level-triggered only) |
| 3 | redirection hint | 15 | level-triggered |
| 2 | logical destination | | |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.errors import UsageError
from asyncirq.hw.apic_message import FIXED, LOWEST_PRIORITY, ApicMessage, widen

if TYPE_CHECKING:
    from asyncirq.hw.apic_bus import ApicBus

ADDRESS_BASE: Final = 0xFEE0_0000
ADDRESS_REDIRECTION_HINT: Final = 1 << 3
ADDRESS_LOGICAL: Final = 1 << 2
DATA_ASSERT: Final = 1 << 14
DATA_LEVEL: Final = 1 << 15
DEST_LIMIT: Final = 0xFF
DEST_LIMIT_EXTENDED: Final = 0x7FFF


class MsiMessage:
    """One address and data pair, with its fields taken apart once.

    ``extended`` says that the platform takes destination bits 14:8 from address bits 11:5. ``valid`` is False for an
    address outside the APIC window (the zeros of an MSI-X entry that nobody wrote yet).

    Linux: struct ``msi_msg`` and arch/x86/include/asm/msi.h.
    """

    __slots__ = (
        "address",
        "asserted",
        "data",
        "delivery_mode",
        "dest",
        "extended",
        "level",
        "logical",
        "redirection_hint",
        "valid",
        "vector",
    )

    def __init__(self, address: int, data: int, extended: bool = False) -> None:
        self.address = address
        self.data = data
        self.extended = extended
        self.valid = address & ~0xF_FFFF == ADDRESS_BASE
        dest = address >> 12 & 0xFF
        if extended:
            dest |= (address >> 5 & 0x7F) << 8
        self.dest = dest
        self.redirection_hint = bool(address & ADDRESS_REDIRECTION_HINT)
        self.logical = bool(address & ADDRESS_LOGICAL)
        self.vector = data & 0xFF
        self.delivery_mode = data >> 8 & 7
        self.level = bool(data & DATA_LEVEL)
        self.asserted = bool(data & DATA_ASSERT)

    @classmethod
    def compose(
        cls,
        vector: int,
        dest: int,
        *,
        logical: bool = False,
        redirection_hint: bool = False,
        delivery_mode: int = FIXED,
        level: bool = False,
        asserted: bool = False,
        extended: bool = False,
    ) -> MsiMessage:
        """Build the message with these fields. Raises ``UsageError`` for a field that does not fit.

        Linux: ``__irq_msi_compose_msg`` in arch/x86/kernel/apic/apic.c.
        """
        limit = DEST_LIMIT_EXTENDED if extended else DEST_LIMIT
        if not 0 <= dest <= limit:
            raise UsageError(f"MSI destination {dest} does not fit into {limit:#x}")
        if not 0 <= vector <= 0xFF:
            raise UsageError(f"MSI vector {vector} does not fit into 8 bits")
        if not 0 <= delivery_mode <= 7:
            raise UsageError(f"MSI delivery mode {delivery_mode} does not fit into 3 bits")
        address = ADDRESS_BASE | (dest & 0xFF) << 12 | (dest >> 8) << 5
        if redirection_hint:
            address |= ADDRESS_REDIRECTION_HINT
        if logical:
            address |= ADDRESS_LOGICAL
        data = vector | delivery_mode << 8
        if level:
            data |= DATA_LEVEL
        if asserted:
            data |= DATA_ASSERT
        return cls(address, data, extended)

    def to_apic(self, cause: int = 0) -> ApicMessage:
        """Return the APIC message that this write stands for.

        The redirection hint lets the bus pick one of the addressed APICs, as lowest priority does, so a fixed message
        with the hint travels as a lowest-priority one.
        """
        mode = self.delivery_mode
        if self.redirection_hint and mode == FIXED:
            mode = LOWEST_PRIORITY
        dest = self.dest if self.extended else widen(self.dest)
        return ApicMessage(self.vector, mode, self.level, dest, self.logical, cause)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MsiMessage):
            return NotImplemented
        return (self.address, self.data, self.extended) == (other.address, other.data, other.extended)

    def __hash__(self) -> int:
        return hash((self.address, self.data, self.extended))

    def __repr__(self) -> str:
        return f"<MsiMessage {self.address:#010x} {self.data:#06x}>"


def send(bus: ApicBus, message: MsiMessage, cause: int = 0) -> int:
    """Write a message to the bus and return how many APICs accepted it.

    A write outside the APIC window hits memory and interrupts nobody; so does a level-triggered message without assert.

    Trace: ``msi_write``.
    """
    if bus.trace is not None:
        cause = bus.trace.msi_write(cause, message.address, message.data)
    if not message.valid or (message.level and not message.asserted):
        return 0
    return bus.deliver(message.to_apic(cause))
