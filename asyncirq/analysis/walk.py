"""Hold the state of the walk that cuts a capture into programs: phases, CPUs, stacks of contexts, owners.

Each CPU has a stack of contexts: the task, over it a softirq invocation, over it hard interrupts. ``charge`` decides whose
time a gap was, ``effects`` what an event changes, ``programs`` holds the public functions.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from asyncirq.analysis.event import Capture, Event
from asyncirq.analysis.names import irq_thread_line
from asyncirq.analysis.ops import (
    Arrival,
    BhOff,
    BhOn,
    Cut,
    Fields,
    HandlerBody,
    HrtimerStart,
    KernelEvent,
    Op,
    OpRef,
    OwnerKind,
    PhaseCut,
    QueueWork,
    Raise,
    SoftBody,
    State,
    Step,
    TaskProgram,
    Wake,
    WorkItem,
)
from asyncirq.analysis.segments import SERVERS, ReferenceCosts

RCUC: Final = "rcuc/"
"""What the names of PREEMPT_RT's RCU threads begin with."""


class Owner(NamedTuple):
    """Name the program that time or an event belongs to."""

    kind: OwnerKind
    ident: int


class Frame:
    """One context above the task: a hard interrupt (``arrival``) or a softirq invocation (``arrival`` is None).

    ``origin`` is the arrival that the running body goes back to, where a kernel moved it out of the hard interrupt.
    """

    __slots__ = ("arrival", "body", "context", "handler", "ident", "lead_ns", "origin")

    def __init__(self, arrival: Arrival | None, ident: int, context: str = "") -> None:
        self.arrival = arrival
        self.ident = ident
        self.handler: HandlerBody | None = None
        self.body: SoftBody | None = None
        self.context = context
        self.lead_ns = 0
        self.origin: Arrival | None = None


class Moved(NamedTuple):
    """Work that a kernel moved into a thread: the program that it goes back to, and the ops there."""

    owner: Owner
    ops: list[Op]
    arrival: Arrival | None = None


class PendingRaise(NamedTuple):
    """A raise that waits for its softirq_entry; ``moved``: its body goes back to where it was raised."""

    op: Raise | None
    phase: int
    moved: Moved | None = None


class Armed(NamedTuple):
    """An hrtimer that was started: by which op, when, and for when."""

    op: HrtimerStart | None
    ref: OpRef | None
    phase: int
    ts: int
    expires: int


class CpuState:
    """What the walk knows about one CPU."""

    def __init__(self, ident: int, first: Event | None, start_ns: int) -> None:
        self.id = ident
        self.pid = first.pid if first is not None else 0
        self.comm = first.comm if first is not None else ""
        self.last_ts = start_ns
        self.prev: Event | None = None
        self.frames: list[Frame] = []
        self.opened = False
        self.pending: dict[int, PendingRaise] = {}
        self.snapshot: dict[int, PendingRaise] = {}
        self.repeated: dict[int, Raise] = {}
        self.waking: tuple[Wake, Owner] | None = None
        self.last_block: OpRef | None = None
        self.idle_since = start_ns
        self.tick_stopped = False


class Walk:
    """Hold the state of the walk over a whole capture; ``charge.step`` drives it, ``effects`` lets events act on it.

    ``proof``: keep the script that puts the programs back into the recorded order. ``phase_count`` phases have begun.
    ``forced``: the kernel ran its handlers in threads; ``threads`` are those, ``thread_of`` tells the line of each, and ``moved`` what
    each serves now. ``locked`` are tasks that wait for a lock, ``base_prio`` is the priority of a task without boosts.
    """

    def __init__(self, capture: Capture, costs: ReferenceCosts, *, proof: bool = True, forced: bool = False) -> None:
        self.costs = costs
        self.proof = proof
        self.forced = forced
        self.thread_of = thread_lines(capture.events) if forced else {}
        self.threads = frozenset(self.thread_of)
        self.thread_lines = frozenset(self.thread_of.values())
        self.base_prio = base_priorities(capture.events) if forced else {}
        self.moved: dict[int, Moved] = {}
        self.locked: set[int] = set()
        self.phase_count = 0
        self.cut = Cut(path=capture.path, cpus=capture.cpus, resolution_ns=capture.resolution_ns, phases=[], notes={})
        events = capture.events
        start = events[0].ts if events else 0
        first: dict[int, Event] = {}
        for event in events:
            first.setdefault(event.cpu, event)
        self.cpus = [CpuState(i, first.get(i), start) for i in range(capture.cpus)]
        self.servers = _server_pids(events)
        self.states: dict[int, State] = {cpu.pid: "running" for cpu in self.cpus}
        self.bh_off: set[int] = set()
        self.armed: dict[str, Armed] = {}
        self.queued: dict[str, tuple[QueueWork, OpRef, int]] = {}
        self.executing: dict[int, WorkItem] = {}
        self.phase: PhaseCut
        self.snapshot: dict[int, State] = {}

    # -- phases ---------------------------------------------------------------------------------------------------

    def begin_phase(self, name: str, ts: int) -> None:
        """Open a phase at ``ts``; every CPU's gap up to there is charged already."""
        running = {cpu.id: cpu.pid for cpu in self.cpus}
        self.phase = PhaseCut(name, ts, ts, running, {}, [], [], [], [], {}, {}, {cpu.id: [] for cpu in self.cpus}, [])
        self.phase_count += 1
        self.snapshot = dict(self.states)
        self.executing.clear()
        for cpu in self.cpus:
            cpu.last_block = None
            cpu.repeated.clear()
        for pid in sorted(self.snapshot):
            if self.snapshot[pid] in ("running", "runnable"):
                self.task(pid, "runnable")

    def note(self, what: str) -> None:
        """Count something that does not fit the model."""
        self.cut.notes[what] = self.cut.notes.get(what, 0) + 1

    # -- owners ---------------------------------------------------------------------------------------------------

    def task(self, pid: int, inferred: State, comm: str = "", prio: int = 120, cpu: int = 0) -> TaskProgram | None:
        """Return the program of a task in this phase (None for idle and for ksoftirqd), made on first mention."""
        if pid == 0 or pid in self.servers or pid in self.threads:
            return None
        prio = self.base_prio.get(pid, prio)
        program = self.phase.tasks.get(pid)
        if program is None:
            program = TaskProgram(pid, comm, prio, cpu, self.snapshot.get(pid, inferred), [], [])
            self.phase.tasks[pid] = program
        if comm and comm not in program.comms:
            program.comms.append(comm)
            program.comm, program.prio = comm, prio
        return program

    def owner(self, cpu: CpuState) -> Owner:
        """Return the program that runs on ``cpu`` now; ``kernel`` between softirq bodies and in ksoftirqd."""
        if cpu.frames:
            top = cpu.frames[-1]
            if top.arrival is not None:
                return Owner("hard", top.ident)
            if top.origin is not None:
                return Owner("hard", top.ident)
            return Owner("soft", top.ident) if top.body is not None else Owner("kernel", cpu.id)
        if cpu.pid == 0:
            return Owner("idle", cpu.id)
        if cpu.pid in self.threads:
            moved = self.moved.get(cpu.pid)
            return moved.owner if moved is not None else Owner("kernel", cpu.id)
        return Owner("kernel", cpu.id) if cpu.pid in self.servers else Owner("task", cpu.pid)

    def ops(self, cpu: CpuState) -> list[Op] | None:
        """Return the op list of the running program, or None when it is the kernel's or idle's time."""
        if cpu.frames:
            top = cpu.frames[-1]
            if top.arrival is not None:
                return top.handler.ops if top.handler is not None else top.arrival.tail
            return top.body.ops if top.body is not None else None
        if cpu.pid in self.threads:
            moved = self.moved.get(cpu.pid)
            return moved.ops if moved is not None else None
        program = self.task(cpu.pid, "runnable", cpu.comm, cpu=cpu.id)
        return program.ops if program is not None else None

    # -- events ---------------------------------------------------------------------------------------------------

    def kernel_event(self, cpu: CpuState, event: Event) -> None:
        """Record an event that the replayed kernel makes by itself."""
        if self.proof:
            self.phase.kernel_events[cpu.id].append(KernelEvent(event.name, event.pid, event.fields))
            self.place(cpu, Owner("kernel", cpu.id))

    def place(self, cpu: CpuState, by: Owner) -> None:
        """Put the event into the script: it is the next one of ``by``."""
        if self.proof:
            self.phase.script.append(Step(cpu.id, 0, "kernel", cpu.id, "", True, by.kind, by.ident))

    def open_bh(self, cpu: CpuState, ops: list[Op]) -> None:
        """Record that the task on ``cpu`` has bottom halves off from here."""
        if cpu.pid not in self.bh_off:
            self.bh_off.add(cpu.pid)
            ops.append(BhOff())

    def close_bh(self, cpu: CpuState) -> None:
        """Record that the task on ``cpu`` has enabled bottom halves again."""
        if cpu.pid in self.bh_off:
            self.bh_off.discard(cpu.pid)
            program = self.task(cpu.pid, "runnable")
            if program is not None:
                program.ops.append(BhOn())

    def append(self, cpu: CpuState, event: Event, op: Op) -> OpRef | None:
        """Append an op that emits to the running program, or keep the event as the kernel's own."""
        ops = self.ops(cpu)
        if ops is None:
            self.kernel_event(cpu, event)
            return None
        owner = self.owner(cpu)
        if owner.kind == "task" and event.irqs in "bD":
            self.open_bh(cpu, ops)
        ops.append(op)
        self.place(cpu, owner)
        return OpRef(owner.kind, owner.ident, len(ops) - 1)


def number(fields: Fields, key: str) -> int:
    """Return an integer field, or -1 where the record lacks it."""
    value = fields.get(key, -1)
    return value if isinstance(value, int) else -1


def _server_pids(events: list[Event]) -> frozenset[int]:
    """Return the pids that only serve softirqs: they get no program, the replayed kernel has its own."""
    found = {e.pid for e in events if e.comm.startswith(SERVERS)}
    for event in events:
        if event.name == "sched_switch" and str(event.fields["next_comm"]).startswith(SERVERS):
            found.add(number(event.fields, "next_pid"))
        elif event.name == "sched_waking" and str(event.fields["comm"]).startswith(SERVERS):
            found.add(number(event.fields, "pid"))
    return frozenset(found)


def thread_lines(events: list[Event]) -> dict[int, int]:
    """Return the threads that a kernel moved interrupt work into, each with its line, -1 for ``rcuc/N``."""
    found: dict[int, int] = {}
    names: tuple[tuple[str, str], ...]
    for event in events:
        if event.name == "sched_switch":
            names = ("prev_pid", "prev_comm"), ("next_pid", "next_comm")
        elif event.name == "sched_waking":
            names = (("pid", "comm"),)
        else:
            continue
        for pid, comm in names:
            name = str(event.fields[comm])
            if name.startswith(RCUC):
                found[number(event.fields, pid)] = -1
            elif (line := irq_thread_line(name)) is not None:
                found[number(event.fields, pid)] = line
    return found


def base_priorities(events: list[Event]) -> dict[int, int]:
    """Return the lowest priority that each task was switched with: what it has when nobody waits for a lock of its."""
    found: dict[int, int] = {}
    for event in events:
        if event.name == "sched_switch":
            for side in ("prev", "next"):
                pid = number(event.fields, f"{side}_pid")
                found[pid] = max(found.get(pid, 0), number(event.fields, f"{side}_prio"))
    return found
