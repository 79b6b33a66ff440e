"""Hold the segments of the GDT as far as interrupts look at them: privilege and presence.

Linux: arch/x86/include/asm/segment.h. Model: no base, no limit; in 64-bit mode the CPU ignores both.
"""

from __future__ import annotations

import msgspec

from asyncirq.hw.pt_regs import (
    KERNEL32_CS,
    KERNEL32_DS,
    KERNEL_CS,
    KERNEL_DS,
    RPL_MASK,
    USER32_CS,
    USER_CS,
    USER_CS_32BIT,
    USER_DS,
    USER_DS_32BIT,
)


class Segment(msgspec.Struct, frozen=True):
    """One descriptor of the GDT."""

    name: str
    dpl: int = 0
    code: bool = True
    present: bool = True


class Gdt:
    """The descriptor table of one CPU, by selector without its RPL; ``kernel_cs`` and so on are the selectors of its kernel."""

    def __init__(self, bits: int = 64) -> None:
        wide = bits == 64
        self.kernel_cs = KERNEL_CS if wide else KERNEL32_CS
        self.kernel_ds = KERNEL_DS if wide else KERNEL32_DS
        self.user_cs = USER_CS if wide else USER_CS_32BIT
        self.user_ds = USER_DS if wide else USER_DS_32BIT
        if wide:
            rows = {
                KERNEL_CS: Segment("KERNEL_CS"),
                KERNEL_DS: Segment("KERNEL_DS", code=False),
                USER32_CS: Segment("USER32_CS", dpl=3),
                USER_DS: Segment("USER_DS", dpl=3, code=False),
                USER_CS: Segment("USER_CS", dpl=3),
            }
        else:
            rows = {
                KERNEL32_CS: Segment("KERNEL_CS"),
                KERNEL32_DS: Segment("KERNEL_DS", code=False),
                USER_CS_32BIT: Segment("USER_CS", dpl=3),
                USER_DS_32BIT: Segment("USER_DS", dpl=3, code=False),
            }
        self.segments = {selector & ~RPL_MASK: segment for selector, segment in rows.items()}

    def find(self, selector: int) -> Segment | None:
        """Return the segment that a selector names, or None."""
        return self.segments.get(selector & ~RPL_MASK)
