"""Model one interrupt of a GIC: its configuration, and the four states that pending and active make.

An edge sets the latch; a level is pending as long as the wire is high, or the latch was set by a register. Acknowledging
clears the latch and makes the interrupt active; a level whose wire is still high is then active and pending, and is
signalled again only after it was deactivated. Linux: arch/arm64/kvm/vgic models the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncirq.hw.gic.regs import GROUP0, GROUP1_NS, GROUP1_S, TRIGGERS

if TYPE_CHECKING:
    from asyncirq.hw.gic.common import GicState
    from asyncirq.hw.gic.cpu_interface import CpuInterface


class GicInterrupt:
    """One interrupt. ``targets`` are the CPU interfaces that may take it, ``listed`` those that have it on their list now.

    ``latch`` is the pending latch, ``line`` the wire. ``cause`` is that of the first raise since the last acknowledge,
    ``coalesced`` counts the raises since. ``lpi``: it has no active state. ``sources``: on a GICv2, the CPUs whose SGI it is.
    """

    __slots__ = (
        "active",
        "cause",
        "coalesced",
        "edge",
        "enabled",
        "gic",
        "group",
        "group_bit",
        "home",
        "intid",
        "latch",
        "line",
        "listed",
        "lpi",
        "modifier_bit",
        "priority",
        "route",
        "source",
        "sources",
        "targets",
    )

    def __init__(self, gic: GicState, intid: int, home: int, *, edge: bool = False, lpi: bool = False) -> None:
        self.gic = gic
        self.intid = intid
        self.home = home
        self.edge = edge
        self.lpi = lpi
        self.enabled = False
        self.latch = False
        self.line = False
        self.active = False
        self.priority = 0
        self.group_bit = False
        self.modifier_bit = False
        self.group = GROUP0
        self.route = 0
        self.targets: tuple[CpuInterface, ...] = ()
        self.listed: tuple[CpuInterface, ...] = ()
        self.cause = 0
        self.coalesced = 0
        self.sources = 0
        self.source = 0

    # --- decide

    @property
    def pending(self) -> bool:
        """Tell whether the interrupt is pending: latched, or a level that is high."""
        return self.latch or (self.line and not self.edge)

    @property
    def state(self) -> str:
        """Return the name of the state, one of four."""
        names = ("inactive", "pending", "active", "active and pending")
        return names[self.pending + 2 * self.active]

    # --- recompute

    def update(self) -> None:
        """Put the interrupt onto the lists of those who may take it, or off them: the only place that does."""
        wanted = (self.latch or (self.line and not self.edge)) and self.enabled and not self.active and self.gic.forwards[self.group]
        now = self.targets if wanted else ()
        before = self.listed
        if now is before:
            return
        self.listed = now
        for interface in before:
            interface.ready.remove(self)
            if interface not in now:
                interface.recompute()
        for interface in now:
            interface.ready.append(self)
            interface.recompute()

    def _requeue(self) -> None:
        """Have every list that the interrupt is on look at its priority and group afresh."""
        for interface in self.listed:
            interface.recompute()

    # --- inputs

    def set_line(self, level: bool, cause: int = 0) -> None:
        """Take note that the wire changed. A rising edge is latched; one that finds the latch set is lost but for its count.

        Trace: gic_pend when the interrupt becomes pending.
        """
        if level is self.line:
            return
        self.line = level
        if level:
            if self.edge:
                self.pulse(cause)
                return
            if not self.latch:
                self._raised(cause)
        self.update()

    def pulse(self, cause: int = 0) -> None:
        """Latch an edge, a message or a register's request. Trace: gic_pend."""
        if self.latch or (self.line and not self.edge):
            self.coalesced += 1
            if self.gic.trace is not None:
                self.gic.trace.gic_pend(cause, self.home, self.intid, TRIGGERS[self.edge], self.coalesced)
            if self.latch:
                return
        else:
            self._raised(cause)
        self.latch = True
        self.update()

    def _raised(self, cause: int) -> None:
        self.coalesced = 0
        if self.gic.trace is not None:
            cause = self.gic.trace.gic_pend(cause, self.home, self.intid, TRIGGERS[self.edge], 0)
        self.cause = cause

    def clear_pending(self) -> None:
        """Clear the latch; a level whose wire is high stays pending."""
        self.latch = False
        self.sources = 0
        self.update()

    def set_active(self, active: bool) -> None:
        """Write the active state by register, or deactivate."""
        if not self.lpi:
            self.active = active
            self.update()

    def set_enabled(self, enabled: bool) -> None:
        """Allow the interrupt to be forwarded, or hold it back; it stays pending meanwhile."""
        self.enabled = enabled
        self.update()

    def set_group(self, group_bit: bool, modifier_bit: bool) -> None:
        """Put the interrupt into a group. The modifier counts only with two security states."""
        self.group_bit = group_bit
        self.modifier_bit = modifier_bit
        self.group = GROUP1_NS if group_bit else GROUP1_S if modifier_bit and not self.gic.one_security_state else GROUP0
        self.update()
        self._requeue()

    def set_priority(self, priority: int) -> None:
        """Write the priority; bits that are not implemented read as zero."""
        self.priority = priority & self.gic.priority_mask
        self._requeue()

    def retarget(self, targets: tuple[CpuInterface, ...]) -> None:
        """Change who may take the interrupt."""
        if targets != self.targets:
            self.targets = targets
            self.update()

    # --- acknowledge

    def acknowledge(self) -> int:
        """Make the interrupt active and clear the latch; return the cause of the first raise.

        On a GICv2 an SGI that several CPUs sent stays pending, once for each of those that are left.
        """
        cause = self.cause
        self.coalesced = 0
        if self.sources:
            self.source = (self.sources & -self.sources).bit_length() - 1
            self.sources &= self.sources - 1
        self.latch = self.sources != 0
        if not self.lpi:
            self.active = True
        self.update()
        return cause

    def __repr__(self) -> str:
        return f"<GicInterrupt {self.intid} {self.state}>"
