"""Model I/O port 0x61, where a PC says why it raised an NMI that no CPU raised itself.

| bit | read | write |
| --- | --- | --- |
| 7 | SERR: a system error on the bus | |
| 6 | IOCHK: a device reported an error | |
| 5, 4 | timer and refresh, of no account here | |
| 3 | IOCHK is held clear | holds IOCHK clear while it is 1 |
| 2 | SERR is held clear | holds SERR clear while it is 1 |

Linux: arch/x86/include/asm/mach_traps.h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

NMI_REASON_SERR: Final = 0x80
NMI_REASON_IOCHK: Final = 0x40
NMI_REASON_MASK: Final = NMI_REASON_SERR | NMI_REASON_IOCHK
NMI_REASON_CLEAR_SERR: Final = 0x04
NMI_REASON_CLEAR_IOCHK: Final = 0x08
NMI_REASON_CLEAR_MASK: Final = 0x0F
IDLE: Final = 0x20
"""What the port reads as when there is nothing to tell."""


class Port61:
    """The port; ``raise_nmi()`` is its wire to the boot CPU's LINT1, which is edge-triggered."""

    def __init__(self, raise_nmi: Callable[[], None]) -> None:
        self._raise_nmi = raise_nmi
        self._latched = 0
        self._control = 0

    def error(self, bit: int) -> None:
        """Report an error: ``NMI_REASON_SERR`` or ``NMI_REASON_IOCHK``; lost while it is held clear."""
        held = (NMI_REASON_SERR if self._control & NMI_REASON_CLEAR_SERR else 0) | (
            NMI_REASON_IOCHK if self._control & NMI_REASON_CLEAR_IOCHK else 0
        )
        fresh = bit & ~held & ~self._latched
        self._latched |= fresh
        if fresh:
            self._raise_nmi()

    def read(self) -> int:
        """Read the port."""
        return IDLE | self._latched | self._control

    def write(self, value: int) -> None:
        """Write the port: its low four bits."""
        self._control = value & NMI_REASON_CLEAR_MASK
        if value & NMI_REASON_CLEAR_SERR:
            self._latched &= ~NMI_REASON_SERR
        if value & NMI_REASON_CLEAR_IOCHK:
            self._latched &= ~NMI_REASON_IOCHK
