"""Name the registers and bits of the 8254x that the model has; offsets and bits are the data sheet's."""

from __future__ import annotations

from typing import Final

CTRL: Final = 0x0000
STATUS: Final = 0x0008
ICR: Final = 0x00C0
ITR: Final = 0x00C4
ICS: Final = 0x00C8
IMS: Final = 0x00D0
IMC: Final = 0x00D8
RCTL: Final = 0x0100
TCTL: Final = 0x0400
RDBAL: Final = 0x2800
RDLEN: Final = 0x2808
RDH: Final = 0x2810
RDT: Final = 0x2818
TDBAL: Final = 0x3800
TDLEN: Final = 0x3808
TDH: Final = 0x3810
TDT: Final = 0x3818
MPC: Final = 0x4010
GPRC: Final = 0x4074
GPTC: Final = 0x4080

CTRL_SLU: Final = 1 << 6
"""Set link up."""
CTRL_RST: Final = 1 << 26
STATUS_FD: Final = 1 << 0
STATUS_LU: Final = 1 << 1
"""Link is up."""
RCTL_EN: Final = 1 << 1
TCTL_EN: Final = 1 << 1

INT_TXDW: Final = 1 << 0
"""A transmitted descriptor was written back."""
INT_TXQE: Final = 1 << 1
"""The transmit queue is empty."""
INT_LSC: Final = 1 << 2
"""The link changed."""
INT_RXO: Final = 1 << 6
"""A packet found no descriptor."""
INT_RXT0: Final = 1 << 7
"""A packet was received."""
INT_NAMES: Final = ((INT_TXDW, "TXDW"), (INT_TXQE, "TXQE"), (INT_LSC, "LSC"), (INT_RXO, "RXO"), (INT_RXT0, "RXT0"))
INT_ALL: Final = 0xFFFF_FFFF

ITR_UNIT_NS: Final = 256
DESCRIPTOR_BYTES: Final = 16


class Descriptor:
    """One entry of a ring in memory: a packet's length, and whether the device is done with it (the DD bit)."""

    __slots__ = ("done", "length")

    def __init__(self) -> None:
        self.length = 0
        self.done = False


def interrupt_names(bits: int) -> str:
    """Return the names of interrupt bits, joined: ``TXDW+RXT0``."""
    return "+".join(name for bit, name in INT_NAMES if bits & bit)
