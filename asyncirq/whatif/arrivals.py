"""Raise each arrival of a phase once, when its plan says: at an instant, after an op, or where a program was hit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from asyncirq.analysis.arrivals import ArrivalPlan, PhasePlan
from asyncirq.analysis.names import CPU_LINES, TIMER_LINES
from asyncirq.analysis.ops import Arrival, OpRef

if TYPE_CHECKING:
    from asyncirq.whatif.replay import Replay

TIMER_LINE = "local_timer"


class Arrivals:
    """The plans of one phase at work.

    ``waiting`` counts the arrivals that are due at a known instant. ``strange`` are vectors that the machine's own kernel
    sends itself (reschedule, call function): they are consequences, not causes, and are not replayed.
    """

    def __init__(self, replay: Replay, plan: PhasePlan) -> None:
        self.waiting = 0
        self.raised = 0
        self._replay = replay
        self._engine = replay.machine.engine
        self._plans = plan.plans
        self._last: dict[int, int] = {}
        self._anchors: dict[OpRef, list[ArrivalPlan]] = {}
        self.strange = 0
        for one in plan.plans:
            if self._is_strange(one.arrival):
                self.strange += 1
            elif one.model == "closed" and one.anchor is not None:
                self._anchors.setdefault(one.anchor, []).append(one)

    def _is_strange(self, index: int) -> bool:
        return is_own(self._replay.phase.arrivals[index])

    @property
    def lost(self) -> int:
        """Return how many arrivals were never raised: their anchors were not reached."""
        return len(self._plans) - self.strange - self.raised

    def start(self, origin_ns: int) -> None:
        """Arm everything that comes at an instant of its own; ``origin_ns`` is the start of the phase."""
        for plan in self._plans:
            if plan.model in ("open", "rate_limited") and not self._is_strange(plan.arrival):
                self._arm(plan, origin_ns + plan.at_ns)

    def reached(self, ref: OpRef, extra_ns: int = 0) -> None:
        """Arm what follows an op that was executed now; ``extra_ns`` pass before the delay begins."""
        plans = self._anchors.pop(ref, None)
        if plans is not None:
            for plan in plans:
                self._arm(plan, self._engine.now + extra_ns + plan.delay_ns)

    def raise_synchronous(self, index: int) -> bool:
        """Raise an arrival here if it answers to what the running task does; return whether it was."""
        plan = self._plans[index]
        if plan.model != "synchronous" or self._is_strange(index):
            return False
        self.waiting += 1
        self._raise(plan)
        return True

    def _arm(self, plan: ArrivalPlan, when_ns: int) -> None:
        self.waiting += 1
        arrival = self._replay.phase.arrivals[plan.arrival]
        when = max(when_ns, self._engine.now)
        if arrival.irq < 0:
            self._timer_arrival(plan, when)
        else:
            self._engine.timer(partial(self._raise, plan), f"{arrival.line} {plan.arrival}").arm(when)

    def _timer_arrival(self, plan: ArrivalPlan, when_ns: int) -> None:
        arrival = self._replay.phase.arrivals[plan.arrival]
        self.raised += 1
        self.waiting -= 1
        self._replay.clock.add(self._replay.machine.cpus[arrival.cpu], when_ns, plan.arrival)

    def _raise(self, plan: ArrivalPlan) -> None:
        arrival = self._replay.phase.arrivals[plan.arrival]
        now = self._engine.now
        if arrival.irq < 0:
            self._timer_arrival(plan, now)
            return
        if plan.min_gap_ns:
            earliest = self._last.get(arrival.irq, -plan.min_gap_ns) + plan.min_gap_ns
            if now < earliest:
                self._engine.timer(partial(self._raise, plan), f"{arrival.line} {plan.arrival}").arm(earliest)
                return
        self._last[arrival.irq] = now
        self.raised += 1
        self.waiting -= 1
        self._replay.lines[arrival.irq].raise_arrival(plan.arrival)


def is_own(arrival: Arrival) -> bool:
    """Tell whether an arrival is one that a kernel sends itself (an IPI): a replayed kernel sends its own."""
    if arrival.irq < 0:
        return arrival.line != TIMER_LINE
    return arrival.line in CPU_LINES and arrival.line not in TIMER_LINES
