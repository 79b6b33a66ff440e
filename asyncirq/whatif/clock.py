"""Replay the local timer: its interrupts come from the local APIC's own timer, their body is recorded code.

A body holds the expiries of its hrtimers. On PREEMPT_RT every hrtimer but the tick is soft unless its owner asked
otherwise: its part of the body moves to the HRTIMER softirq, with one raise in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from asyncirq.analysis.ops import Emit, Op
from asyncirq.analysis.segments import TICK_FUNCTIONS
from asyncirq.hw.cpu import Cpu
from asyncirq.whatif.bodies import Body

if TYPE_CHECKING:
    from asyncirq.whatif.replay import Replay


class Clock:
    """The local timers of one replay: arrivals that are due, per CPU."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._board = replay.machine.board
        self._sched = replay.machine.sched
        self._rt = replay.machine.config.rt
        self._due: list[list[tuple[int, int, int]]] = [[] for _ in replay.machine.cpus]
        self._order = 0

    def add(self, cpu: Cpu, when_ns: int, index: int) -> None:
        """Let arrival ``index`` interrupt ``cpu`` at ``when_ns``."""
        self._order += 1
        heappush(self._due[cpu.id], (when_ns, self._order, index))
        self._program(cpu)

    @property
    def busy(self) -> bool:
        """Tell whether an arrival is still to come."""
        return any(self._due)

    def _program(self, cpu: Cpu) -> None:
        due = self._due[cpu.id]
        self._board.program_timer(cpu, due[0][0] if due else None)

    async def interrupt(self, cpu: Cpu) -> None:
        """Run the body of the arrival that is due: the local timer interrupt's handler."""
        due = self._due[cpu.id]
        replay = self._replay
        if not due or due[0][0] > replay.machine.engine.now:
            return
        _, _, index = heappop(due)
        self._program(cpu)
        replay.costs.after_timer.add(cpu.id)
        arrival = replay.phase.arrivals[index]
        replay.note_hit(cpu, arrival.hit)
        base = 0
        for handler in arrival.handlers:
            for body, soft in self._parts(index, handler.ops, base):
                if soft:
                    await replay.softirqs.raise_hrtimer(cpu, body)
                else:
                    await replay.bodies.run(cpu, body, timer=True)
            base += len(handler.ops)
        if arrival.tail:
            await replay.bodies.run(cpu, Body("hard", index, arrival.tail, base), timer=True)
        if any(expiry.function in TICK_FUNCTIONS for expiry in arrival.expiries):
            self._sched.scheduler_tick(cpu)

    def _parts(self, index: int, ops: list[Op], base: int) -> Iterator[tuple[Body, bool]]:
        """Yield the stretches of a body in order, each with whether it runs in HRTIMER."""
        start = 0
        soft = False
        for at, op in enumerate(ops):
            if not self._rt or not isinstance(op, Emit):
                continue
            if op.name == "hrtimer_expire_entry" and op.fields.get("function") not in TICK_FUNCTIONS and not soft:
                if at > start:
                    yield Body("hard", index, ops[start:at], base + start), False
                start, soft = at, True
            elif op.name == "hrtimer_expire_exit" and soft:
                yield Body("hard", index, ops[start : at + 1], base + start), True
                start, soft = at + 1, False
        if start < len(ops):
            yield Body("hard", index, ops[start:], base + start), soft
