"""Turn a capture into programs, phase by phase, and prove that nothing was lost.

``cut`` is the way in; ``ops`` documents the data and how to replay it. Two checks need no trust in the walk:

* ``accounts``: the time in all programs, kernel costs and idle, added up from the *programs*, is the phase's span;
* ``reconstruct``: running the programs against the recorded script gives back every event, in order, with its stamp.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from asyncirq.analysis import charge
from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.ops import (
    Arrival,
    Block,
    Cut,
    Emit,
    Exit,
    Fields,
    Fork,
    HrtimerStart,
    Op,
    OpRef,
    OwnerKind,
    PhaseCut,
    QueueWork,
    Raise,
    Run,
    Step,
    TimerStart,
    Wake,
)
from asyncirq.analysis.segments import ReferenceCosts, reference_costs
from asyncirq.analysis.walk import Walk
from asyncirq.errors import InternalError


class Rebuilt(msgspec.Struct, frozen=True):
    """One event as the programs give it back."""

    ts: int
    cpu: int
    pid: int
    name: str
    fields: Fields


class Accounts(msgspec.Struct):
    """Where the time of one phase went, in ns, summed over CPUs."""

    task: int
    hard: int
    soft: int
    kernel: int
    idle: int

    @property
    def total(self) -> int:
        """Return the sum of all parts."""
        return self.task + self.hard + self.soft + self.kernel + self.idle


def cut(capture: Capture, costs: ReferenceCosts | None = None) -> Cut:
    """Cut a capture into programs, with the proof that nothing was lost; ``costs`` default to the medians of this very capture.

    Events before the first phase marker become a phase named ``preamble``. A body that spans a marker (possible on
    several CPUs only) stays whole in the phase in which it began.
    """
    walk = Walk(capture, reference_costs(capture) if costs is None else costs)
    phases = list(_walk_phases(walk, capture))
    walk.cut.phases = phases
    return walk.cut


def each_phase(capture: Capture, costs: ReferenceCosts, notes: dict[str, int], *, forced: bool = False) -> Iterator[PhaseCut]:
    """Cut a capture as ``cut`` does, one phase at a time and without the proof; ``notes`` gets what did not fit the model.

    ``forced``: the captured kernel ran its handlers in threads; their work goes back to the interrupts (``moved``).

    The capture is used up: an event is dropped once it has taken effect, so that a long capture need not be in memory twice.
    A body that spans a marker has to end in the next phase.
    """
    walk = Walk(capture, costs, proof=False, forced=forced)
    walk.cut.notes = notes
    yield from _walk_phases(walk, capture)


def _walk_phases(walk: Walk, capture: Capture) -> Iterator[PhaseCut]:
    """Yield each phase when the one behind it has ended: until then what began in it may still go on."""
    starts = {phase.start: phase.name for phase in capture.phases}
    events = capture.events
    if events and 0 not in starts:
        starts[0] = "preamble"
    finished: PhaseCut | None = None
    last = events[-1].ts if events else 0
    for index, event in enumerate(events if walk.proof else _drain(events)):
        name = starts.get(index)
        if name is not None:
            if index:
                _end_phase(walk, event.ts)
                if finished is not None:
                    yield finished
                finished = walk.phase
            walk.begin_phase(name, event.ts)
        charge.step(walk, event)
    if starts and walk.phase_count:
        _end_phase(walk, last)
        if finished is not None:
            yield finished
        yield walk.phase


def _drain(events: list[Event]) -> Iterator[Event]:
    events.reverse()
    while events:
        yield events.pop()


def _end_phase(walk: Walk, ts: int) -> None:
    walk.phase.end_ns = ts
    for cpu in walk.cpus:
        charge.split_at(walk, cpu, ts)


def op_list(phase: PhaseCut, kind: OwnerKind, ident: int) -> list[Op]:
    """Return the ops of a program; those of an arrival are its handlers' and then its tail's."""
    if kind == "task":
        return phase.tasks[ident].ops
    if kind == "soft":
        return phase.bodies[ident].ops
    if kind == "hard":
        return _arrival_ops(phase.arrivals[ident])
    raise InternalError(f"{kind} has no program")


def _arrival_ops(arrival: Arrival) -> list[Op]:
    return [op for handler in arrival.handlers for op in handler.ops] + arrival.tail


def find_op(phase: PhaseCut, ref: OpRef) -> Op:
    """Return the op that ``ref`` names."""
    return op_list(phase, ref.kind, ref.ident)[ref.op]


def accounts(phase: PhaseCut) -> Accounts:
    """Add up the time of one phase from its programs, kernel costs and idle time."""
    task, wakes = _sum(op for program in phase.tasks.values() for op in program.ops)
    hard, hard_wakes = _sum(op for arrival in phase.arrivals for op in _arrival_ops(arrival))
    soft, soft_wakes = _sum(op for body in phase.bodies for op in body.ops)
    hard += sum(handler.lead_ns for arrival in phase.arrivals for handler in arrival.handlers)
    kernel = sum(sum(samples) for samples in phase.costs.values()) + wakes + hard_wakes + soft_wakes
    return Accounts(task, hard, soft, kernel, sum(phase.idle_ns.values()))


def _sum(ops: Iterator[Op]) -> tuple[int, int]:
    """Return the time of programs, and the time of their wake-ups and blocking switches (kernel costs)."""
    own = kernel = 0
    for op in ops:
        if isinstance(op, Run):
            own += op.ns
        elif isinstance(op, Block | Exit | Wake):
            kernel += max(0, op.cost_ns)
    return own, kernel


class _Cursor:
    """Execute one program: time must match its ``Run`` s exactly, events come out in order."""

    __slots__ = ("at", "left", "ops", "woken")

    def __init__(self, ops: list[Op]) -> None:
        self.ops = ops
        self.at = 0
        self.left = -1
        self.woken = False

    def spend(self, ns: int) -> None:
        op = self._next()
        if self.woken and isinstance(op, Wake):
            if ns != op.cost_ns:
                raise InternalError(f"wake cost {op.cost_ns} replayed as {ns}")
            return
        if isinstance(op, Block | Exit):
            if ns != op.cost_ns:
                raise InternalError(f"block cost {op.cost_ns} replayed as {ns}")
            self.at += 1
            return
        if not isinstance(op, Run):
            raise InternalError(f"time passes at {op}")
        self.left = (op.ns if self.left < 0 else self.left) - ns
        if self.left < 0:
            raise InternalError(f"more time than {op}")
        if self.left == 0:
            self.at, self.left = self.at + 1, -1

    def event(self) -> tuple[str, Fields]:
        op = self._next()
        if isinstance(op, Wake):
            if not self.woken:
                self.woken = op.cost_ns >= 0
                self.at += not self.woken
                return "sched_waking", op.waking
            self.woken = False
            self.at += 1
            return "sched_wakeup", op.wakeup
        if self.left >= 0:
            raise InternalError("an event in the middle of a Run")
        self.at += 1
        return emitted(op)

    def _next(self) -> Op:
        while not isinstance(self.ops[self.at], _TIMED):
            self.at += 1
        return self.ops[self.at]

    def done(self) -> bool:
        return self.left < 0 and not any(isinstance(op, _TIMED) for op in self.ops[self.at :])


_TIMED = (Run, Emit, Wake, Fork, Raise, Block, Exit, HrtimerStart, TimerStart, QueueWork)


def emitted(op: Op) -> tuple[str, Fields]:
    """Return the tracepoint and the fields that an op emits; raise ``InternalError`` if it emits none."""
    match op:
        case Emit():
            return op.name, op.fields
        case Fork():
            return "sched_wakeup_new", op.fields
        case Raise():
            return "softirq_raise", op.fields
        case HrtimerStart():
            return "hrtimer_start", op.fields
        case TimerStart():
            return "timer_start", op.fields
        case QueueWork():
            return "workqueue_queue_work", op.fields
    raise InternalError(f"{op} emits nothing")


def reconstruct(phase: PhaseCut) -> list[Rebuilt]:
    """Run the programs of a phase in the recorded order; return the events of the phase.

    Raises ``InternalError`` where a program and the script disagree, and at the end if a program was not used up.
    """
    cursors: dict[tuple[str, int], _Cursor] = {}
    for kind, count in (("hard", len(phase.arrivals)), ("soft", len(phase.bodies))):
        for ident in range(count):
            cursors[kind, ident] = _Cursor(op_list(phase, kind, ident))  # type: ignore[arg-type]  # kind comes from the same literal
    for pid in phase.tasks:
        cursors["task", pid] = _Cursor(phase.tasks[pid].ops)
    now = {cpu: phase.start_ns for cpu in phase.running}
    pid_on = dict(phase.running)
    kernel_at = dict.fromkeys(phase.running, 0)
    out: list[Rebuilt] = []
    for item in phase.script:
        now[item.cpu] += item.ns
        if not item.event:
            if (item.owner, item.ident) in cursors and item.cost != "next_action":
                cursors[item.owner, item.ident].spend(item.ns)
            continue
        name, fields, pid = _next_event(phase, item, cursors, kernel_at, pid_on)
        out.append(Rebuilt(now[item.cpu], item.cpu, pid, name, fields))
    for key, cursor in cursors.items():
        if not cursor.done():
            raise InternalError(f"program {key} has ops left at {cursor.at} of {len(cursor.ops)}")
    return out


def _next_event(
    phase: PhaseCut, item: Step, cursors: dict[tuple[str, int], _Cursor], kernel_at: dict[int, int], pid_on: dict[int, int]
) -> tuple[str, Fields, int]:
    pid = pid_on[item.cpu]
    if item.by != "kernel":
        name, fields = cursors[item.by, item.by_ident].event()
        return name, fields, pid
    event = phase.kernel_events[item.cpu][kernel_at[item.cpu]]
    kernel_at[item.cpu] += 1
    if event.name == "sched_switch":
        pid_on[item.cpu] = int(event.fields["next_pid"])
    return event.name, event.fields, pid
