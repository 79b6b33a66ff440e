"""Carry messages between APICs: find who is addressed, arbitrate, and tell the IO-APICs of an EOI.

Delivery is synchronous. A sender that models the time of the bus (the IO-APIC) waits before it calls ``deliver``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from asyncirq.errors import UsageError
from asyncirq.hw.apic_message import BROADCAST, LOWEST_PRIORITY, XAPIC_BROADCAST, ApicMessage

if TYPE_CHECKING:
    from asyncirq.hw.ioapic import IoApic
    from asyncirq.hw.lapic import Lapic
    from asyncirq.trace.recorder import Recorder

SPIV_FOCUS_DISABLED: Final = 1 << 9
"""In the spurious-vector register: this APIC claims no vector as the focus processor."""


class ApicBus:
    """The bus that joins local APICs and IO-APICs; both attach themselves when they are made.

    ``balance`` decides ties of the lowest-priority arbitration: False gives them to the APIC attached first (what
    chipsets do), True to the one that won least often so far (what KVM does). ``focus`` says that the APICs look for a focus
    processor first, as those of the Pentium and the P6 do; later ones do not.
    """

    def __init__(self, lapics: Iterable[Lapic] = (), trace: Recorder | None = None, balance: bool = False, focus: bool = False) -> None:
        self.trace = trace
        self.balance = balance
        self.focus = focus
        self.lapics: list[Lapic] = []
        self.ioapics: list[IoApic] = []
        self.undelivered = 0
        self._physical: dict[int, tuple[Lapic, ...]] = {}
        self._logical: dict[int, tuple[Lapic, ...]] = {}
        self._ids: dict[int, list[Lapic]] = {}
        self._wins: dict[int, int] = {}
        for lapic in lapics:
            self.attach(lapic)

    # --- decide

    def targets(self, dest: int, logical: bool) -> tuple[Lapic, ...]:
        """Return the APICs that a destination addresses, in the order of their attachment."""
        routes = self._logical if logical else self._physical
        found = routes.get(dest)
        if found is None:
            candidates = self.lapics if logical or dest in (BROADCAST, XAPIC_BROADCAST) else self._with_id(dest)
            found = routes[dest] = tuple(lapic for lapic in candidates if lapic.regs.matches(dest, logical))
        return found

    def _with_id(self, apic_id: int) -> list[Lapic]:
        """Return the APICs of an id; looked at one by one they would cost a large machine the square of its CPUs."""
        if not self._ids:
            for lapic in self.lapics:
                self._ids.setdefault(lapic.regs.id, []).append(lapic)
        return self._ids.get(apic_id, [])

    def arbitrate(self, targets: Sequence[Lapic], vector: int) -> Lapic | None:
        """Return the APIC that a lowest-priority message goes to, None when none of those addressed is enabled.

        It is the one with the lowest arbitration priority; with ``focus`` the one that serves the vector or has it pending comes
        before, whatever its priority, unless software switched that off on it.
        """
        if self.focus:
            for lapic in targets:
                if lapic.enabled and not lapic.regs.spiv & SPIV_FOCUS_DISABLED and (lapic.irr | lapic.isr) >> vector & 1:
                    return lapic
        best: Lapic | None = None
        best_key = (0, 0)
        for lapic in targets:
            if lapic.enabled:
                key = (arbitration_priority(lapic), self._wins.get(lapic.cpu_id, 0) if self.balance else 0)
                if best is None or key < best_key:
                    best, best_key = lapic, key
        if best is not None:
            self._wins[best.cpu_id] = self._wins.get(best.cpu_id, 0) + 1
        return best

    # --- recompute

    def recompute(self) -> None:
        """Forget who is behind which destination; an APIC calls it when its id, logical id or mode changed."""
        self._ids.clear()
        self._physical.clear()
        self._logical.clear()

    # --- inputs

    def attach(self, lapic: Lapic) -> None:
        """Join a local APIC to the bus. Raises ``UsageError`` for a second one of the same CPU."""
        if any(other.cpu_id == lapic.cpu_id for other in self.lapics):
            raise UsageError(f"CPU {lapic.cpu_id} has a local APIC on this bus already")
        self.lapics.append(lapic)
        self.recompute()

    def attach_ioapic(self, ioapic: IoApic) -> None:
        """Join an IO-APIC to the bus, so that EOI broadcasts reach it."""
        self.ioapics.append(ioapic)

    def deliver(self, message: ApicMessage) -> int:
        """Deliver one message and return how many APICs accepted it; a coalesced one counts as accepted.

        Linux: ``kvm_irq_delivery_to_apic`` in arch/x86/kvm/irq_comm.c.
        """
        routes = self._logical if message.logical else self._physical
        targets = routes.get(message.dest)
        if targets is None:
            targets = self.targets(message.dest, message.logical)
        if len(targets) == 1:
            accepted = int(targets[0].accept(message))
        elif message.delivery_mode == LOWEST_PRIORITY:
            winner = self.arbitrate(targets, message.vector)
            accepted = int(winner is not None and winner.accept(message))
        else:
            accepted = 0
            for lapic in targets:
                accepted += lapic.accept(message)
        if not accepted:
            self.undelivered += 1
        return accepted

    # --- acknowledge

    def broadcast_eoi(self, vector: int, cause: int = 0) -> None:
        """Tell every IO-APIC that a level-triggered vector was ended; ``cause`` is the ``seq`` of the EOI."""
        for ioapic in self.ioapics:
            ioapic.eoi(vector, cause)


def arbitration_priority(lapic: Lapic) -> int:
    """Return the APR of an APIC: the highest of its task priority and the classes of what is in service and pending."""
    in_service = (lapic.isr.bit_length() - 1) & 0xF0 if lapic.isr else 0
    pending = (lapic.irr.bit_length() - 1) & 0xF0 if lapic.irr else 0
    top = max(in_service, pending)
    return lapic.tpr if lapic.tpr & 0xF0 >= top else top
