"""Model the register window of a local APIC: the memory page, the x2APIC registers, and the base register that picks one.

Offsets are those of the memory page; an x2APIC register is 0x800 + (offset >> 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.errors import KernelBug
from asyncirq.hw import lapic_lvt as lvt
from asyncirq.hw.apic_bus import arbitration_priority
from asyncirq.hw.apic_message import BROADCAST, XAPIC_BROADCAST
from asyncirq.hw.lapic_icr import X2APIC_RESERVED

if TYPE_CHECKING:
    from asyncirq.hw.lapic import Lapic
    from asyncirq.trace.record import CpuView

ID: Final = 0x20
VERSION: Final = 0x30
TPR: Final = 0x80
APR: Final = 0x90
PPR: Final = 0xA0
EOI: Final = 0xB0
LDR: Final = 0xD0
DFR: Final = 0xE0
SPIV: Final = 0xF0
ISR: Final = 0x100
TMR: Final = 0x180
IRR: Final = 0x200
ESR: Final = 0x280
ICR: Final = 0x300
ICR2: Final = 0x310
TMICT: Final = 0x380
TMCCT: Final = 0x390
TDCR: Final = 0x3E0
SELF_IPI: Final = 0x3F0

VERSION_VALUE: Final = 0x0106_0014
"""Version 0x14, highest LVT index 6, EOI broadcasts can be suppressed (bit 24)."""
SPIV_ENABLE: Final = 1 << 8
SPIV_SUPPRESS_EOI: Final = 1 << 12
SPIV_WRITABLE: Final = 0x13FF
DFR_FLAT: Final = 0xFFFF_FFFF
DFR_CLUSTER: Final = 0x0FFF_FFFF

ESR_RECEIVE_ILLEGAL: Final = 1 << 6
ESR_ILLEGAL_REGISTER: Final = 1 << 7

MSR_APIC_BASE: Final = 0x1B
MSR_TSC_DEADLINE: Final = 0x6E0
MSR_X2APIC: Final = 0x800
BASE_BSP: Final = 1 << 8
BASE_EXTD: Final = 1 << 10
BASE_EN: Final = 1 << 11
BASE_ADDRESS: Final = 0xFEE0_0000
MAXPHYADDR: Final = 46
_BASE_LEGAL: Final = ((1 << MAXPHYADDR) - 1) & ~0xFFF | BASE_BSP | BASE_EXTD | BASE_EN
_ALL_ONES: Final = 0xFFFF_FFFF
_WINDOWS: Final = (ISR, TMR, IRR)
_READABLE: Final = frozenset((ID, VERSION, TPR, APR, PPR, LDR, DFR, SPIV, ESR, ICR, ICR2, TMICT, TMCCT, TDCR, *lvt.WRITABLE))
_WRITABLE: Final = frozenset((ID, TPR, EOI, LDR, DFR, SPIV, ESR, ICR, ICR2, TMICT, TDCR, *lvt.WRITABLE))
_NOT_IN_X2APIC: Final = frozenset((DFR, ICR2, APR))
_READ_ONLY_IN_X2APIC: Final = frozenset((ID, LDR, DFR, ICR2))


class GeneralProtection(KernelBug):
    """Report a register access that the CPU answers with #GP."""


class LapicRegisters:
    """The registers of one local APIC that are read whole by software, and the two windows to all of them.

    ``hw_enabled`` and ``x2apic`` follow from ``apic_base``. ``initial_id`` is what CPUID reports.
    """

    def __init__(self, lapic: Lapic, initial_id: int, bsp: bool) -> None:
        self._lapic = lapic
        self.initial_id = initial_id
        self.apic_base = BASE_ADDRESS | BASE_EN | (BASE_BSP if bsp else 0)
        self.hw_enabled = True
        self.x2apic = False
        self.id = initial_id
        self.reset()

    def reset(self) -> None:
        """Return to the state after INIT: everything but the id and the base register."""
        self.ldr = self._x2apic_ldr() if self.x2apic else 0
        self.dfr = DFR_FLAT
        self.spiv = 0xFF
        self.esr = 0
        self._errors = 0

    # --- decide

    def _x2apic_ldr(self) -> int:
        return (self.id >> 4) << 16 | 1 << (self.id & 15)

    def matches(self, dest: int, logical: bool) -> bool:
        """Tell whether a message to ``dest`` addresses this APIC.

        Linux: ``kvm_apic_match_dest`` in arch/x86/kvm/lapic.c.
        """
        if not self.hw_enabled:
            return False
        if dest == BROADCAST or (dest == XAPIC_BROADCAST and not self.x2apic):
            return True
        if not logical:
            return dest == self.id
        if self.x2apic:
            return dest >> 16 == self.ldr >> 16 and dest & self.ldr & 0xFFFF != 0
        mine = self.ldr >> 24
        if self.dfr == DFR_FLAT:
            return dest & mine != 0
        return dest >> 4 == mine >> 4 and dest & mine & 0xF != 0

    # --- inputs

    def error(self, bit: int) -> None:
        """Note an error and raise the error entry; software reads it from ESR after writing ESR."""
        if not self._errors & bit:
            self._errors |= bit
            self._lapic.lvt.fire(lvt.ERROR)

    def set_base(self, value: int) -> None:
        """Write the base register. Raises ``GeneralProtection`` for a reserved bit or a change of mode that is not allowed.

        Switching the APIC off by hardware resets it; it comes back in xAPIC mode with its initial id.
        """
        if value & ~_BASE_LEGAL:
            raise GeneralProtection(f"CPU {self._lapic.cpu_id}: reserved bits {value & ~_BASE_LEGAL:#x} in APIC base {value:#x}")
        old_mode = self.apic_base & (BASE_EN | BASE_EXTD)
        mode = value & (BASE_EN | BASE_EXTD)
        both = BASE_EN | BASE_EXTD
        if mode == BASE_EXTD or (old_mode, mode) in ((0, both), (both, BASE_EN)):
            raise GeneralProtection(f"CPU {self._lapic.cpu_id}: APIC mode {old_mode >> 10} to {mode >> 10} is no legal change")
        self.apic_base = value
        self.hw_enabled = bool(value & BASE_EN)
        self.x2apic = mode == both
        if not mode:
            self.id = self.initial_id
            self._lapic.reset()
        elif mode != old_mode:
            self.id = self.initial_id
            self.ldr = self._x2apic_ldr() if self.x2apic else 0
        self._lapic.mode_changed()

    # --- bus: the window that is open

    def get(self, offset: int) -> int:
        """Read a register through the window of the mode that the APIC is in, as a kernel does that has looked. Linux: apic_read()."""
        return self.rdmsr(MSR_X2APIC + (offset >> 4)) if self.x2apic else self.mmio_read(offset)

    def put(self, offset: int, value: int) -> None:
        """Write a register in the same way. Linux: apic_write()."""
        if self.x2apic:
            self.wrmsr(MSR_X2APIC + (offset >> 4), value)
        else:
            self.mmio_write(offset, value)

    # --- bus: the memory page

    def mmio_read(self, offset: int, width: int = 4) -> int:
        """Read the memory page: all ones unless the APIC is in xAPIC mode, 0 for an access that is not aligned or not 4 bytes."""
        if not self.hw_enabled or self.x2apic:
            return (1 << width * 8) - 1
        if offset & 0xF or width != 4:
            return 0
        return self._get(offset)

    def mmio_write(self, offset: int, value: int, cpu: CpuView | None = None, width: int = 4) -> None:
        """Write the memory page: ignored unless the APIC is in xAPIC mode and the access aligned and 4 bytes wide."""
        if self.hw_enabled and not self.x2apic and not offset & 0xF and width == 4:
            self._put(offset, value & _ALL_ONES, cpu)

    def mmio_offset(self, address: int) -> int:
        """Return the offset of a physical address in the memory page, -1 for one outside it."""
        offset = address - (self.apic_base & ~0xFFF)
        return offset if 0 <= offset < 0x1000 else -1

    # --- bus: model-specific registers

    def rdmsr(self, msr: int) -> int:
        """Read an APIC register as MSR. Raises ``GeneralProtection`` outside x2APIC mode and for one that cannot be read."""
        if msr == MSR_APIC_BASE:
            return self.apic_base
        if msr == MSR_TSC_DEADLINE:
            return self._lapic.timer.deadline
        offset = self._x2apic_offset(msr)
        if offset == ICR:
            return self._lapic.icr.high << 32 | self._lapic.icr.low
        if offset in _NOT_IN_X2APIC or not self._is_readable(offset):
            raise GeneralProtection(f"CPU {self._lapic.cpu_id}: rdmsr {msr:#x}")
        return self._get(offset)

    def wrmsr(self, msr: int, value: int, cpu: CpuView | None = None) -> None:
        """Write an APIC register as MSR. Raises ``GeneralProtection`` for reserved bits and for one that cannot be written."""
        if msr == MSR_APIC_BASE:
            self.set_base(value)
        elif msr == MSR_TSC_DEADLINE:
            self._lapic.timer.set_deadline(value)
        else:
            self._write_x2apic(self._x2apic_offset(msr), value, cpu)

    def _x2apic_offset(self, msr: int) -> int:
        if not self.x2apic or not 0 <= msr - MSR_X2APIC <= 0xFF:
            raise GeneralProtection(f"CPU {self._lapic.cpu_id}: no MSR {msr:#x} outside x2APIC mode")
        return (msr - MSR_X2APIC) << 4

    def _write_x2apic(self, offset: int, value: int, cpu: CpuView | None) -> None:
        lapic = self._lapic
        wide = offset == ICR
        low = value & _ALL_ONES
        illegal = offset not in _WRITABLE or offset in _READ_ONLY_IN_X2APIC or (value != low and not wide)
        if offset == SELF_IPI:
            illegal = value > 0xFF
        elif wide:
            illegal = bool(low & X2APIC_RESERVED)
        elif offset in (EOI, ESR):
            illegal = value != 0
        if illegal:
            raise GeneralProtection(f"CPU {lapic.cpu_id}: wrmsr {MSR_X2APIC + (offset >> 4):#x} of {value:#x}")
        if offset == SELF_IPI:
            lapic.send_ipi(self.id, value, cause=cpu.cause if cpu is not None else 0)
        elif wide:
            lapic.icr.high = value >> 32
            self._put(ICR, low, cpu)
        else:
            self._put(offset, value, cpu)

    # --- bus: the registers themselves

    def _is_readable(self, offset: int) -> bool:
        return offset in _READABLE or any(base <= offset < base + 0x80 for base in _WINDOWS)

    def _get(self, offset: int) -> int:
        lapic = self._lapic
        if ISR <= offset < IRR + 0x80:
            bits = (lapic.isr, lapic.tmr, lapic.irr)[(offset - ISR) >> 7]
            return bits >> ((offset & 0x7F) >> 4) * 32 & _ALL_ONES
        if offset not in _READABLE:
            self.error(ESR_ILLEGAL_REGISTER)
            return 0
        if offset in lvt.WRITABLE:
            return lapic.lvt.entries[offset]
        timer = lapic.timer
        values = {
            ID: self.id if self.x2apic else self.id << 24,
            VERSION: VERSION_VALUE,
            TPR: lapic.tpr,
            APR: arbitration_priority(lapic),
            PPR: lapic.ppr,
            LDR: self.ldr,
            DFR: self.dfr,
            SPIV: self.spiv,
            ESR: self.esr,
            ICR: lapic.icr.low,
            ICR2: lapic.icr.high,
            TMICT: timer.initial,
            TMCCT: timer.current,
            TDCR: timer.divide,
        }
        return values[offset]

    def _put(self, offset: int, value: int, cpu: CpuView | None) -> None:
        lapic = self._lapic
        if offset == EOI:
            lapic.eoi(cpu)
        elif offset == ICR:
            lapic.icr.write_low(value, cpu.cause if cpu is not None else 0)
        elif offset == ICR2:
            lapic.icr.high = value & 0xFF00_0000
        elif offset == TPR:
            lapic.tpr = value & 0xFF
        elif offset == TMICT:
            lapic.timer.set_initial(value)
        elif offset in lvt.WRITABLE:
            lapic.lvt.write(offset, value)
        elif offset == TDCR:
            lapic.timer.set_divide(value)
        elif offset == ESR:
            self.esr, self._errors = self._errors, 0
        elif offset == SPIV:
            self.spiv = value & SPIV_WRITABLE
            lapic.mode_changed()
        elif offset in (ID, LDR, DFR):
            self._put_identity(offset, value)
        elif not self._is_readable(offset):
            self.error(ESR_ILLEGAL_REGISTER)

    def _put_identity(self, offset: int, value: int) -> None:
        if offset == ID:
            self.id = value >> 24
        elif offset == LDR:
            self.ldr = value & 0xFF00_0000
        else:
            self.dfr = value | DFR_CLUSTER
        self._lapic.mode_changed()
