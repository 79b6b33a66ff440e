"""Model the CPU interface of one PE: which pending interrupt it is told of, and what its answers do.

An interrupt is signalled when its priority is more urgent than the mask (PMR), and its group priority more urgent than
what runs. Acknowledging it sets a bit in the active priorities of its group; ending one clears the most urgent of those
bits, whatever number is written; what is deactivated is the number that is written. Linux: drivers/irqchip/irq-gic-v3.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncirq.hw.gic.common import GicState
from asyncirq.hw.gic.interrupt import GicInterrupt
from asyncirq.hw.gic.regs import (
    GROUP0,
    GROUP1_NS,
    GROUP1_S,
    IDLE_PRIORITY,
    LPI_BASE,
    NONE_PENDING,
    SPECIAL_NONSECURE,
    SPECIAL_SECURE,
)

if TYPE_CHECKING:
    from asyncirq.trace.record import CpuView


class CpuInterface:
    """One CPU interface. Outputs, derived and never assigned from outside: ``irq``, ``fiq``, ``nmi``; ``on_output()`` is called when
    one of them changed.

    ``nmi`` says that what is signalled is more urgent than ``nmi_below`` (0: nothing is). ``pmr``, ``bpr`` (group 0, group 1),
    ``enabled`` by group, ``split`` (EOImode), ``common_bpr`` (CBPR) are the registers; ``active_priorities`` by group are
    AP0R and AP1R, one bit for each group priority. ``irq_group`` is signalled as IRQ, group 1 of the PE's security state; all others are
    FIQs. ``nonsecure_pmr`` says that PMR is read and written in the non-secure view.
    ``last`` is the INTID acknowledged last. ``find(intid)`` returns the interrupt that a number means on this PE.
    """

    def __init__(self, gic: GicState, number: int) -> None:
        self.gic = gic
        self.number = number
        self.ready: list[GicInterrupt] = []
        self.on_output: Callable[[], None] = _nobody
        self.find: Callable[[int], GicInterrupt | None] = _nothing
        self.irq_group = GROUP1_NS
        self.nmi_below = 0
        self.nonsecure_pmr = False
        self.reset()

    def reset(self) -> None:
        """Return to the state after reset: nothing enabled, every priority masked."""
        self.pmr = 0
        self.bpr = [0, 1]
        self.enabled = [False, False, False]
        self.split = False
        self.common_bpr = False
        self.active_priorities = [0, 0, 0]
        self.running = IDLE_PRIORITY
        self.best: GicInterrupt | None = None
        self.last = NONE_PENDING
        self.irq = self.fiq = self.nmi = False
        self._masks = [0, 0, 0]
        self._derive_masks()

    # --- decide

    def _derive_masks(self) -> None:
        """Derive the group priority's mask of each group from the binary points."""
        bpr0, bpr1 = self.bpr
        self._masks[GROUP0] = 0xFF << (bpr0 + 1) & 0xFF
        self._masks[GROUP1_NS] = self._masks[GROUP1_S] = self._masks[GROUP0] if self.common_bpr else 0xFF << bpr1 & 0xFF
        self._derive_running()

    def _derive_running(self) -> None:
        """Derive the running priority: the most urgent active priority of all groups."""
        active = self.active_priorities[GROUP0] | self.active_priorities[GROUP1_NS] | self.active_priorities[GROUP1_S]
        if active:
            self.running = (active & -active).bit_length() - 1 << 8 - self.gic.priority_bits
        else:
            self.running = IDLE_PRIORITY

    # --- recompute

    def recompute(self) -> None:
        """Derive the most urgent pending interrupt (the lowest number among equals) and the outputs."""
        best: GicInterrupt | None = None
        enabled = self.enabled
        for interrupt in self.ready:
            if enabled[interrupt.group] and (
                best is None or interrupt.priority < best.priority or (interrupt.priority == best.priority and interrupt.intid < best.intid)
            ):
                best = interrupt
        self.best = best
        irq = fiq = nmi = False
        if best is not None:
            priority = best.priority
            running = self.running
            mask = self._masks[best.group]
            if priority < self.pmr and (running == IDLE_PRIORITY or priority & mask < running & mask):
                irq = best.group == self.irq_group
                fiq = not irq
                nmi = priority < self.nmi_below
        if irq is not self.irq or fiq is not self.fiq or nmi is not self.nmi:
            self.irq = irq
            self.fiq = fiq
            self.nmi = nmi
            self.on_output()

    # --- inputs: registers

    def set_pmr(self, value: int) -> None:
        """Write the priority mask; in the non-secure view a value is shifted right and gets its top bit."""
        self.pmr = (value >> 1 | 0x80 if self.nonsecure_pmr else value) & self.gic.priority_mask
        self.recompute()

    def set_bpr(self, group: int, value: int) -> None:
        """Write the binary point of group 0 or 1; group 1's is at least 1."""
        self.bpr[group] = max(value & 7, group)
        self._derive_masks()
        self.recompute()

    def set_enabled(self, group: int, enabled: bool) -> None:
        """Let a group through, or not: ICC_IGRPENn."""
        self.enabled[group] = enabled
        self.recompute()

    def set_control(self, split: bool, common_bpr: bool = False) -> None:
        """Write EOImode and CBPR."""
        self.split = split
        self.common_bpr = common_bpr
        self._derive_masks()
        self.recompute()

    def set_active_priorities(self, group: int, value: int) -> None:
        """Write AP0R or AP1R, one bit for each group priority, the most urgent the lowest."""
        self.active_priorities[group] = value
        self._derive_running()
        self.recompute()

    # --- acknowledge

    def acknowledge(self, group: int = GROUP1_NS, cpu: CpuView | None = None, monitor: bool = False) -> tuple[int, int]:
        """Read IAR of a group: the interrupt signalled becomes active. Returns its number and the cause of its first raise.

        Nothing signalled, or one of another group: 1023, and nothing changes; with ``monitor`` (EL3 reads the register of
        group 0 while group 1 is due) 1020 or 1021. Trace: gic_iar when ``cpu`` says who reads.
        """
        best = self.best
        trace = self.gic.trace
        if best is None or best.group != group or not (self.irq or self.fiq):
            special = NONE_PENDING
            if monitor and best is not None and (self.irq or self.fiq) and group == GROUP0:
                special = SPECIAL_SECURE if best.group == GROUP1_S else SPECIAL_NONSECURE
            if trace is not None and cpu is not None:
                trace.gic_iar(cpu, special, cpu.cause)
            return special, 0
        running = best.priority & self._masks[group]
        self.active_priorities[group] |= 1 << (running >> 8 - self.gic.priority_bits)
        if running < self.running:
            self.running = running & self.gic.priority_mask
        self.last = best.intid
        cause = best.acknowledge()
        if trace is not None and cpu is not None:
            cause = trace.gic_iar(cpu, best.intid, cause)
        return best.intid, cause

    def end(self, intid: int, group: int = GROUP1_NS, cpu: CpuView | None = None) -> None:
        """Write EOIR of a group: its most urgent active priority is dropped and, without the split, ``intid`` deactivated.

        Ignored for special and unknown numbers; ignored as a guest error when the most urgent active priority is not of
        this group. Trace: gic_eoir.
        """
        trace = self.gic.trace
        if trace is not None and cpu is not None:
            trace.gic_eoir(cpu, intid)
        interrupt = None
        if intid < LPI_BASE:
            interrupt = self.find(intid)
            if interrupt is None:
                return
        active = self.active_priorities
        own = active[group]
        if not own:
            self.gic.guest_error(f"PE {self.number}: EOIR {intid} with no active priority in group {group}")
            return
        lowest = own & -own
        for other in (GROUP0, GROUP1_NS, GROUP1_S):
            if other != group and active[other] & (lowest - 1):
                self.gic.guest_error(f"PE {self.number}: EOIR {intid} of group {group} while a more urgent group is active")
                return
        active[group] = own ^ lowest
        self._derive_running()
        if not self.split and interrupt is not None:
            if not interrupt.active:
                self.gic.guest_error(f"PE {self.number}: EOIR of {intid}, which is not active")
            interrupt.active = False
            interrupt.update()
        self.recompute()

    def deactivate(self, intid: int, cpu: CpuView | None = None) -> None:
        """Write DIR: an interrupt that was ended in the split mode is over. LPIs have no active state. Trace: gic_dir."""
        trace = self.gic.trace
        if trace is not None and cpu is not None:
            trace.gic_dir(cpu, intid)
        if not self.split:
            self.gic.guest_error(f"PE {self.number}: DIR {intid} outside the split mode")
            return
        interrupt = self.find(intid)
        if interrupt is not None:
            interrupt.set_active(False)

    # --- bus

    def highest_pending(self, group: int = GROUP1_NS) -> int:
        """Read HPPIR: the number of the most urgent pending interrupt if it is of this group, else 1023."""
        best = self.best
        return best.intid if best is not None and best.group == group else NONE_PENDING

    def __repr__(self) -> str:
        return f"<CpuInterface {self.number}>"


def _nobody() -> None:
    """Stand in for ``on_output`` until a CPU is there."""


def _nothing(intid: int) -> GicInterrupt | None:
    return None
