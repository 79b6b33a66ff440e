"""Model the registers that several interrupts share: one bit, two or eight for each, in the order of their numbers.

The distributor has them for SPIs, each redistributor for its SGIs and PPIs, in the same layout. A non-secure access sees
what is not its own as zero, and its writes there are ignored; the priorities that it sees are the lower half, shifted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asyncirq.hw.gic import regs
from asyncirq.hw.gic.common import GicState
from asyncirq.hw.gic.interrupt import GicInterrupt

_LAYOUT: Final = (
    (regs.IGROUPR, regs.ISENABLER, 1),
    (regs.ISENABLER, regs.ICENABLER, 1),
    (regs.ICENABLER, regs.ISPENDR, 1),
    (regs.ISPENDR, regs.ICPENDR, 1),
    (regs.ICPENDR, regs.ISACTIVER, 1),
    (regs.ISACTIVER, regs.ICACTIVER, 1),
    (regs.ICACTIVER, regs.IPRIORITYR, 1),
    (regs.IPRIORITYR, regs.ITARGETSR, 8),
    (regs.ICFGR, regs.IGRPMODR, 2),
    (regs.IGRPMODR, regs.NSACR, 1),
)
"""First offset, end, and bits for each interrupt."""

_EXTENDED: Final = (
    (0x1000, regs.IGROUPR),
    (0x1200, regs.ISENABLER),
    (0x1400, regs.ICENABLER),
    (0x1600, regs.ISPENDR),
    (0x1800, regs.ICPENDR),
    (0x1A00, regs.ISACTIVER),
    (0x1C00, regs.ICACTIVER),
    (0x2000, regs.IPRIORITYR),
    (0x3000, regs.ICFGR),
    (0x3400, regs.IGRPMODR),
)
"""Where the distributor has the registers of the extended SPIs, and which they are."""


def locate(offset: int) -> tuple[int, int, int] | None:
    """Return the kind of register at an offset, the index of its first interrupt, and the bits that each has."""
    for start, end, bits in _LAYOUT:
        if start <= offset < end:
            return start, (offset - start) * 8 // bits, bits
    return None


def locate_extended(offset: int) -> tuple[int, int, int] | None:
    """Return the same for the distributor's registers of extended SPIs, index 0 being INTID 4096."""
    found = None
    for start, kind in _EXTENDED:
        if offset >= start:
            found = start, kind
    if found is None or offset >= 0x3500:
        return None
    bits = next(bits for start, _, bits in _LAYOUT if start == found[1])
    return found[1], (offset - found[0]) * 8 // bits, bits


class Bank:
    """The registers of some interrupts, by index. ``fixed_config`` are those whose trigger cannot be changed (SGIs).

    ``defer(undo)``, if set, is asked to make a disable take effect later (RWP).
    """

    def __init__(self, gic: GicState, interrupts: Mapping[int, GicInterrupt], fixed_config: int = 0) -> None:
        self.gic = gic
        self.interrupts = interrupts
        self.fixed_config = fixed_config

    def read(self, place: tuple[int, int, int], width: int, secure: bool = False) -> int:
        """Read ``width`` bytes of a register."""
        kind, first, bits = place
        value = 0
        for number in range(8 * width // bits):
            interrupt = self._visible(first + number, secure)
            if interrupt is not None:
                value |= self._get(kind, interrupt, secure) << number * bits
        return value

    def write(self, place: tuple[int, int, int], value: int, width: int, secure: bool = False) -> None:
        """Write ``width`` bytes of a register."""
        kind, first, bits = place
        for number in range(8 * width // bits):
            interrupt = self._visible(first + number, secure)
            if interrupt is not None:
                self._put(kind, first + number, interrupt, value >> number * bits & ((1 << bits) - 1), secure)

    def _visible(self, index: int, secure: bool) -> GicInterrupt | None:
        interrupt = self.interrupts.get(index)
        if interrupt is None or secure or self.gic.one_security_state or interrupt.group == regs.GROUP1_NS:
            return interrupt
        return None

    def _get(self, kind: int, interrupt: GicInterrupt, secure: bool) -> int:
        if kind == regs.IPRIORITYR:
            if secure or self.gic.one_security_state:
                return interrupt.priority
            return interrupt.priority << 1 & 0xFF
        if kind == regs.ICFGR:
            return 2 * interrupt.edge
        if kind in (regs.IGROUPR, regs.IGRPMODR):
            if not secure and not self.gic.one_security_state:
                return 0
            return int(interrupt.group_bit if kind == regs.IGROUPR else interrupt.modifier_bit)
        if kind in (regs.ISENABLER, regs.ICENABLER):
            return int(interrupt.enabled)
        if kind in (regs.ISPENDR, regs.ICPENDR):
            return int(interrupt.pending)
        return int(interrupt.active)

    def _put(self, kind: int, index: int, interrupt: GicInterrupt, field: int, secure: bool) -> None:
        privileged = secure or self.gic.one_security_state
        if kind == regs.IPRIORITYR:
            interrupt.set_priority(field if privileged else field >> 1 | 0x80)
        elif kind == regs.ICFGR:
            self._configure(index, interrupt, bool(field & 2))
        elif kind == regs.IGROUPR:
            if privileged:
                interrupt.set_group(bool(field), interrupt.modifier_bit)
        elif kind == regs.IGRPMODR:
            if privileged:
                interrupt.set_group(interrupt.group_bit, bool(field))
        elif field:
            self._strobe(kind, interrupt)

    def _strobe(self, kind: int, interrupt: GicInterrupt) -> None:
        if kind == regs.ISENABLER:
            interrupt.set_enabled(True)
        elif kind == regs.ICENABLER:
            self.gic.disable(interrupt)
        elif kind == regs.ISPENDR:
            interrupt.pulse()
        elif kind == regs.ICPENDR:
            interrupt.clear_pending()
        else:
            interrupt.set_active(kind == regs.ISACTIVER)

    def _configure(self, index: int, interrupt: GicInterrupt, edge: bool) -> None:
        """Write the trigger; of an enabled interrupt that is unpredictable, so it is refused."""
        if index < self.fixed_config or edge is interrupt.edge:
            return
        if interrupt.enabled:
            self.gic.guest_error(f"the trigger of INTID {interrupt.intid} was changed while it was enabled")
            return
        interrupt.edge = edge
        interrupt.update()
