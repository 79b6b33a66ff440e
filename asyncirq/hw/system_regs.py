"""Hold the registers of a CPU that exceptions read and write: CR2, the debug registers, the GDT, the held debug trap.

Linux: arch/x86/include/uapi/asm/debugreg.h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncirq.errors import UsageError
from asyncirq.hw.segment import Gdt

if TYPE_CHECKING:
    from asyncirq.hw.cpu import Thread
    from asyncirq.hw.idt import Gate
    from asyncirq.hw.pt_regs import HardwareFrame, PtRegs

DR_COUNT: Final = 4
DR_STATUS: Final = 6
DR_CONTROL: Final = 7
DR_STEP: Final = 1 << 14
"""DR6: the trap flag made the trap."""
DR6_RESERVED: Final = 0xFFFF_0FF0
DR7_FIXED: Final = 1 << 10
RW_EXECUTE: Final = 0
RW_WRITE: Final = 1
RW_READ_WRITE: Final = 3


class Raised(NamedTuple):
    """An event on its way to its gate.

    ``error_code`` is None where none is pushed. ``source``: an ``exception``; ``software``, as INT n, INT3 and INTO, for which the
    gate's DPL counts; ``icebp``, the one-byte INT1, for which it does not; ``external``, an interrupt. ``address`` goes to CR2,
    ``dr6`` into DR6. ``length``: how far behind the instruction the saved IP points; if the delivery fails, the instruction is to be
    executed again.
    """

    vector: int
    error_code: int | None = None
    source: str = "exception"
    address: int = 0
    dr6: int = 0
    length: int = 0

    @property
    def external(self) -> bool:
        """Tell whether an error that arises during the delivery is not the program's: the EXT bit of its error code."""
        return self.source != "software"


Push = Callable[["Thread", "Gate", "HardwareFrame", bool], Raised | None]
"""What writes a frame to the stack that the gate asks for: ``push(thread, gate, frame, from_user)``; what it raises, or None."""


class SystemRegs:
    """The system registers of one CPU.

    ``steps``, if set, takes the name of each step of a delivery. ``push``, if set, writes the frames. ``pending_debug`` are
    the DR6 bits of a debug trap that is held back. ``iret_frame`` is what an IRET that failed was to return to.
    ``nmi_in_sti_shadow``: STI
    does not hold NMIs back, as on some hardware.
    """

    __slots__ = ("cr2", "dr", "gdt", "iret_frame", "nmi_in_sti_shadow", "pending_debug", "push", "steps")

    def __init__(self, bits: int = 64) -> None:
        self.gdt = Gdt(bits)
        self.cr2 = 0
        self.dr = [0] * 8
        self.dr[DR_STATUS] = DR6_RESERVED
        self.dr[DR_CONTROL] = DR7_FIXED
        self.pending_debug = 0
        self.nmi_in_sti_shadow = False
        self.steps: list[str] | None = None
        self.push: Push | None = None
        self.iret_frame: PtRegs | None = None

    def set_breakpoint(self, number: int, address: int, kind: int = RW_WRITE, length: int = 1) -> None:
        """Arm one of the four breakpoints for an address. Raises ``UsageError`` for a number, kind or length that there is not."""
        codes = {1: 0, 2: 1, 4: 3, 8: 2}
        if not 0 <= number < DR_COUNT or kind not in (RW_EXECUTE, RW_WRITE, RW_READ_WRITE) or length not in codes:
            raise UsageError(f"there is no breakpoint {number} of kind {kind} and {length} bytes", 22)
        if kind == RW_EXECUTE and length != 1:
            raise UsageError(f"breakpoint {number}: an instruction's has length 1, not {length}", 22)
        self.dr[number] = address
        shift = 16 + 4 * number
        self.dr[DR_CONTROL] = self.dr[DR_CONTROL] & ~(0xF << shift) | (codes[length] << 2 | kind) << shift | 2 << 2 * number

    def clear_breakpoint(self, number: int) -> None:
        """Disarm a breakpoint."""
        self.dr[DR_CONTROL] &= ~(0xF << 16 + 4 * number | 3 << 2 * number)

    def hits(self, address: int, size: int, kinds: tuple[int, ...]) -> int:
        """Return the DR6 bits of the armed breakpoints of these kinds that an access of ``size`` bytes touches."""
        control = self.dr[DR_CONTROL]
        bits = 0
        for number in range(DR_COUNT):
            if not control >> 2 * number & 3:
                continue
            field = control >> 16 + 4 * number
            length = (1, 2, 8, 4)[field >> 2 & 3]
            start = self.dr[number]
            if field & 3 in kinds and start < address + size and address < start + length:
                bits |= 1 << number
        return bits
