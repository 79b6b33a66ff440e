"""Model the core of a local APIC: what it accepts, how an interrupt ends, what it sends. ``lapic_front.py`` is the CPU's side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncirq.errors import UsageError
from asyncirq.hw.apic_message import EXTINT, FIXED, INIT, LOWEST_PRIORITY, NMI, SMI, STARTUP, TRIGGER_NAMES, ApicMessage
from asyncirq.hw.lapic_front import BITS, LapicFront
from asyncirq.hw.lapic_icr import FIRST_LEGAL_VECTOR, Icr
from asyncirq.hw.lapic_lvt import TIMER, LocalVectorTable
from asyncirq.hw.lapic_regs import ESR_RECEIVE_ILLEGAL, SPIV_ENABLE, SPIV_SUPPRESS_EOI, LapicRegisters
from asyncirq.hw.lapic_startup import Startup
from asyncirq.hw.lapic_timer import LapicTimer
from asyncirq.sim.engine import Engine

if TYPE_CHECKING:
    from asyncirq.hw.apic_bus import ApicBus
    from asyncirq.trace.record import CpuView
    from asyncirq.trace.recorder import Recorder


class Lapic(LapicFront):
    """The local APIC of one CPU.

    Outputs, derived and never assigned from outside: ``intr`` (a vector above the processor priority is pending),
    ``nmi_pending``, ``startup.pending`` (INIT or SIPI); ``on_output()`` is called when one of them changed. ``ppr`` is the
    processor priority. ``enabled`` says that fixed messages are accepted. The CPU of ``cpu_id`` 0 is the boot CPU unless
    ``bsp`` says otherwise; ``clock`` and ``tsc`` are the ratios of the timer.

    ``irr_cause[vector]`` is the cause of a pending vector's first raise, ``coalesced[vector]`` counts the raises since;
    ``coalesced_total`` counts all that were ever lost in this way, NMIs included.

    The parts: ``regs`` (register windows), ``lvt`` (local sources), ``timer``, ``icr`` (IPIs),
    ``startup`` (INIT and SIPI).

    Linux: arch/x86/kvm/lapic.c models the same chip.
    """

    def __init__(
        self,
        engine: Engine,
        cpu_id: int,
        trace: Recorder | None,
        bus: ApicBus,
        *,
        apic_id: int | None = None,
        bsp: bool | None = None,
        clock: tuple[int, int] = (1, 1),
        tsc: tuple[int, int] = (1, 1),
    ) -> None:
        self.cpu_id = cpu_id
        super().__init__(trace)
        self.bus = bus
        self.enabled = False
        self.coalesced_total = 0
        is_bsp = cpu_id == 0 if bsp is None else bsp
        self.regs = LapicRegisters(self, cpu_id if apic_id is None else apic_id, is_bsp)
        self.startup = Startup(self, is_bsp)
        self.timer = LapicTimer(engine, f"lapic_timer{cpu_id}", self._timer_expired, clock, tsc)
        self.lvt = LocalVectorTable(self)
        self.icr = Icr(self)
        self._clear()
        bus.attach(self)

    # --- recompute

    def mode_changed(self) -> None:
        """Derive ``enabled`` from the registers that switch the APIC on, and let the bus find out who is addressed now."""
        self.enabled = self.regs.hw_enabled and bool(self.regs.spiv & SPIV_ENABLE)
        if not self.enabled:
            self.lvt.force_masks()
        self.bus.recompute()

    # --- inputs

    def accept(self, message: ApicMessage) -> bool:
        """Take a message and return whether it was accepted; one that finds its IRR slot occupied is accepted and coalesced.

        A disabled APIC accepts no fixed and no lowest-priority message. TMR follows the trigger mode at acceptance.

        Trace: ``lapic_irr``.
        """
        if message.delivery_mode > LOWEST_PRIORITY:
            return self._accept_special(message)
        if not self.enabled:
            return False
        vector = message.vector
        if vector < FIRST_LEGAL_VECTOR:
            self.regs.error(ESR_RECEIVE_ILLEGAL)
            return False
        bit = BITS[vector]
        cause = message.cause
        level = message.level
        irr = self.irr
        if irr & bit:
            self.coalesced_total += 1
            self.coalesced[vector] = lost = self.coalesced[vector] + 1
            if self.trace is not None:
                self.trace.lapic_irr(cause, self.cpu_id, vector, TRIGGER_NAMES[level], lost)
        else:
            if self.trace is not None:
                cause = self.trace.lapic_irr(cause, self.cpu_id, vector, TRIGGER_NAMES[level], 0)
            self.irr_cause[vector] = cause
            self.irr = irr | bit
        if level:
            self.tmr |= bit
        elif self.tmr & bit:
            self.tmr ^= bit
        self._recompute()
        return True

    def _accept_special(self, message: ApicMessage) -> bool:
        """Take a message that bypasses IRR.

        Model: SMI and remote read are refused; there is no system management mode. Trace: ``lapic_smi``.
        """
        mode = message.delivery_mode
        if not self.regs.hw_enabled:
            return False
        if mode == NMI:
            self.latch_nmi(message.cause)
        elif mode == EXTINT:
            self._extint = True
            self._recompute()
        elif mode in (INIT, STARTUP):
            return self.startup.accept(message)
        else:
            if mode == SMI and self.trace is not None:
                self.trace.lapic_smi(message.cause, self.cpu_id, message.vector)
            return False
        return True

    def latch_nmi(self, cause: int = 0) -> None:
        """Latch an NMI; one that finds the latch occupied leaves no trace but its count."""
        if self._nmi:
            self.coalesced_total += 1
        else:
            self._nmi = True
            self.nmi_cause = cause
        self._recompute()

    def set_extint(self, level: bool) -> None:
        """Take over whether the 8259 asks for an interrupt through LINT0; ``extint_source`` answers the acknowledge cycle."""
        if level != self._extint_line:
            self._extint = self._extint_line = level
            self._recompute()

    def reset(self) -> None:
        """Return to the state after INIT: everything but the id, the mode and the routing of INIT and SIPI."""
        self._clear()
        self.regs.reset()
        self.icr.reset()
        self.timer.reset()
        self.mode_changed()
        self.lvt.reset()
        self._recompute()

    def _timer_expired(self) -> None:
        self.lvt.fire(TIMER)

    # --- acknowledge

    def eoi(self, cpu: CpuView | None = None) -> None:
        """End the highest vector in service, if any; a level-triggered one is told to the IO-APICs.

        Trace: ``lapic_eoi`` when ``cpu`` says who wrote it.
        """
        isr = self.isr
        if not isr:
            return
        vector = isr.bit_length() - 1
        bit = BITS[vector]
        self.isr = isr ^ bit
        cause = 0
        if self.trace is not None and cpu is not None:
            cause = self.trace.lapic_eoi(cpu, vector)
        if self.tmr & bit:
            if not self.regs.spiv & SPIV_SUPPRESS_EOI:
                self.bus.broadcast_eoi(vector, cause)
            self.lvt.eoi(vector)
        self._recompute()

    # --- bus

    @property
    def tpr(self) -> int:
        """The task priority; CR8 is its upper half."""
        return self._tpr

    @tpr.setter
    def tpr(self, value: int) -> None:
        self._tpr = value
        self._recompute()

    def send_ipi(self, dest: int, vector: int, delivery_mode: int = FIXED, logical: bool = False, cause: int = 0) -> int:
        """Send an IPI and return how many APICs accepted it; ``dest`` is 32 bits wide.

        An illegal vector is not sent: it sets the error bit. Raises ``UsageError`` for a vector that is no byte.
        """
        if not 0 <= vector <= 0xFF:
            raise UsageError(f"CPU {self.cpu_id} cannot send vector {vector}")
        if vector < FIRST_LEGAL_VECTOR and self.icr.is_illegal(vector, delivery_mode):
            return 0
        return self.bus.deliver(ApicMessage(vector, delivery_mode, False, dest, logical, cause))

    def read(self, offset: int, width: int = 4) -> int:
        """Read a register of the memory page."""
        return self.regs.mmio_read(offset, width)

    def write(self, offset: int, value: int, cpu: CpuView | None = None, width: int = 4) -> None:
        """Write a register of the memory page; ``cpu`` is who writes, for the trace of an EOI and the cause of an IPI."""
        self.regs.mmio_write(offset, value, cpu, width)

    def __repr__(self) -> str:
        return f"<Lapic {self.cpu_id}>"
