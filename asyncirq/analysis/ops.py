"""Define the recorded programs: what a capture becomes before it is run again under another configuration.

The data model, and how a replayer treats each part of it
---------------------------------------------------------
A **program** is a list of ops. Time passes in ``Run`` alone; an op is an instant. The ``Run`` after an op holds the op's
own tracing cost, because a stamp is taken at the start of a trace event. Programs belong to tasks (``TaskProgram``), to
one occurrence of a hard interrupt (``Arrival``) or to one occurrence of a softirq vector (``SoftBody``).

====================  ================================================================================================
op                    what the replayer does
====================  ================================================================================================
``Run``               spends ``ns`` of CPU in that context; interrupts nest, preemption may stop and resume it
``Emit``              emits the tracepoint with these fields, verbatim
``Wake``              emits ``sched_waking``, spends the try_to_wake_up cost (``cost_ns`` here, or a sample), gives the
                      target one token if ``counts`` (the target slept), emits ``sched_wakeup``
``Fork``              makes the task runnable for the first time and emits ``sched_wakeup_new``
``Raise``             emits ``softirq_raise``, appends SoftBody ``body`` (none if -1: it was pending already, -2: it is
                      served after the phase) to the queue of ``vec``, sets the vector pending
``BhOff`` ``BhOn``    local_bh_disable and local_bh_enable of the task; at ``BhOn`` pending softirqs run in the task, and
                      on RT the per-CPU BH lock is then released and its waiter woken
``Irq``               the place where arrival ``arrival`` hit this program. Raise the line here if its plan is
                      ``synchronous``; otherwise ignore the op
``Block``             takes a token; without one spends ``cost_ns`` and switches away. An arrival anchored here is raised
                      ``plan.delay_ns`` after that switch
``Exit``              spends ``cost_ns`` and switches away for good
``HrtimerStart``      emits; an arrival whose plan is anchored here is raised ``plan.delay_ns`` later (``fires`` names the
                      arrival that expired this timer; one arrival can expire several: only its anchor counts)
``TimerStart``        emits (the expiry is part of a recorded TIMER body, which its raise carries)
``QueueWork``         emits; the work's execution is ``works[item]``, a slice of a kworker's program
====================  ================================================================================================

The replayed kernel makes the events of its own mechanisms itself: ``sched_switch``, ``sched_wakeup`` of ksoftirqd and of
irq threads, ``softirq_entry/exit``, ``irq_handler_entry/exit``, ``local_timer_entry/exit`` and the tick's stop and
restart in idle. They are no ops; the time between them is under ``PhaseCut.costs``, by name.

* A hard interrupt runs ``handler`` bodies (entry to exit) and then ``tail`` (add_interrupt_randomness and the like) still
  in hard context. A forced thread takes ``handler.ops`` without the first event's cost; the tail stays where it is.
* Entry and exit overhead that no event shows rides on the interrupted task: its ``Run`` pieces before and after an
  ``Irq`` hold it. A replayer charges nothing for entry and return, so that it is not counted twice.
* A task's first ``Run`` after a ``Block`` holds the way out of the switch. Charge a switch-in only to tasks that the
  recording does not have (irq threads, ktimers), never to a recorded program.
* One softirq_entry runs *all* bodies queued on the vector, in raise order. A vector raised with no body runs empty.
* ``Wake`` with ``counts`` false hit a task that was awake: it gives no token. A token that comes early is kept.
* A kworker's program is flat. ``WorkItem`` names the slice of one execution, so that a replayer may move it; replayed
  in place with wake tokens the counts are right too.
* The switches of the recording are gone: who preempts whom is the replayed scheduler's business.
* ksoftirqd has no program: it exists to serve bodies.

What a replay needs besides, to give the counts of its own capture back and the medians of other configurations:

* A task that sleeps at the start of a phase has full sleeper credit under CFS, a runnable one none. Without that
  ksoftirqd waits for a whole slice where a real one preempts at once.
* An arrival whose ``hit.tick_stopped`` finds idle with its tick off: leaving idle costs ``idle_tick_restart`` more.
* One arrival may expire several hrtimers; raise it once, from the op that its plan is anchored at.
* A level line stays masked from its primary handler to the end of the thread's handler; what comes meanwhile is held.
* On 6.1 RT a TIMER raise in the tick wakes ktimers at once, in the hard handler; an HRTIMER raise wakes it at irq_exit. Of a
  local timer body the part from ``hrtimer_expire_entry`` to ``hrtimer_expire_exit`` of a soft hrtimer (every one that is
  not the tick) moves to ktimers' HRTIMER softirq, one raise in its place. A ``Raise`` of RCU wakes rcuc, which runs the body.
* On RT ``BhOff`` takes the per-CPU BH lock, with priority inheritance; irq threads and softirq threads take it too.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Fields = dict[str, str | int]
"""The fields of one tracepoint, under Linux's names."""


class Run(msgspec.Struct, tag="run", gc=False):
    """Spend ``ns`` of CPU time."""

    ns: int


class Emit(msgspec.Struct, tag="emit", gc=False):
    """Emit tracepoint ``name`` verbatim."""

    name: str
    fields: Fields


class Wake(msgspec.Struct, tag="wake", gc=False):
    """Wake a task: ``cost_ns`` passed between ``sched_waking`` and ``sched_wakeup``.

    -1: something came between; the ``sched_wakeup`` is an ``Emit`` later on, and the time between is in ``Run`` ops.
    """

    pid: int
    comm: str
    prio: int
    counts: bool
    cost_ns: int
    waking: Fields
    wakeup: Fields


class Fork(msgspec.Struct, tag="fork", gc=False):
    """Start a task (``sched_wakeup_new``)."""

    pid: int
    comm: str
    prio: int
    fields: Fields


class Raise(msgspec.Struct, tag="raise", gc=False):
    """Raise a softirq vector; ``body`` is what it will run, -1 if it was pending already, -2 if served in a later phase."""

    vec: int
    body: int
    fields: Fields


class BhOff(msgspec.Struct, tag="bh_off", gc=False):
    """Disable bottom halves. The real place is at or before this op: the capture shows only that BH is off here."""


class BhOn(msgspec.Struct, tag="bh_on", gc=False):
    """Enable bottom halves; pending softirqs run here."""


class Irq(msgspec.Struct, tag="irq", gc=False):
    """Mark the place where an arrival interrupted this program."""

    arrival: int


class Block(msgspec.Struct, tag="block", gc=False):
    """Sleep in ``state``; ``cost_ns`` is the way from the last work into the switch."""

    state: str
    cost_ns: int


class Exit(msgspec.Struct, tag="exit", gc=False):
    """End the task; ``cost_ns`` as in ``Block``."""

    state: str
    cost_ns: int


class HrtimerStart(msgspec.Struct, tag="hrtimer_start", gc=False):
    """Arm an hrtimer ``delay_ns`` ahead; ``fires`` is the arrival that its expiry caused in this phase, or -1."""

    hrtimer: str
    function: str
    delay_ns: int
    absolute: bool
    fires: int
    fields: Fields


class TimerStart(msgspec.Struct, tag="timer_start", gc=False):
    """Arm a wheel timer."""

    timer: str
    function: str
    fields: Fields


class QueueWork(msgspec.Struct, tag="queue_work", gc=False):
    """Queue a work; ``item`` is the index of its execution in ``PhaseCut.works``, or -1 if that is in a later phase."""

    work: str
    function: str
    item: int
    fields: Fields


Op = Run | Emit | Wake | Fork | Raise | BhOff | BhOn | Irq | Block | Exit | HrtimerStart | TimerStart | QueueWork

OwnerKind = Literal["task", "hard", "soft", "kernel", "idle"]
State = Literal["running", "runnable", "blocked", "absent"]
HitKind = Literal["idle", "task", "softirq", "hardirq", "kernel"]


class OpRef(msgspec.Struct, frozen=True, gc=False):
    """Name one op: of task ``ident``, of arrival ``ident`` or of softirq body ``ident``."""

    kind: OwnerKind
    ident: int
    op: int


class TaskProgram(msgspec.Struct):
    """What one task did in one phase, without interruptions and preemptions.

    ``state`` is the one at the start of the phase; ``absent`` means that a ``Fork`` creates it. ``comms`` holds every
    name the task had (exec changes it), in order.
    """

    pid: int
    comm: str
    prio: int
    cpu: int
    state: State
    comms: list[str]
    ops: list[Op]


class HandlerBody(msgspec.Struct):
    """One handler between entry and exit; ``lead_ns`` is the gap from the exit of the handler before it, on a shared line."""

    name: str
    ret: str
    lead_ns: int
    ops: list[Op]


class Expiry(msgspec.Struct):
    """One hrtimer that an arrival of the local timer expired.

    ``armed`` is the op that armed it, if in the same phase; ``delay_ns`` the time from there to the arrival (-1 unknown);
    ``expires_ns`` is the programmed expiry (absolute, -1 unknown), ``late_ns`` is ``now`` minus it: a lower bound of the
    hard entry cost.
    """

    hrtimer: str
    function: str
    armed: OpRef | None
    delay_ns: int
    expires_ns: int
    late_ns: int


class Hit(msgspec.Struct):
    """Say what an arrival interrupted, and what the CPU's tasks had done last.

    ``ident`` is the pid, softirq body or arrival; ``op`` the index of its ``Irq`` op; ``progress_ns`` the CPU time since
    the program's last op other than ``Run``, which is ``after`` (its kind or tracepoint). In idle, ``last`` is the
    ``Block`` that made the CPU idle, ``idle_ns`` the time since then, and ``tick_stopped`` tells that NO_HZ had stopped the
    tick: leaving idle then costs a tick restart.
    """

    kind: HitKind
    ident: int
    comm: str
    op: int
    progress_ns: int
    after: str
    bh_off: bool
    last: OpRef | None
    idle_ns: int
    tick_stopped: bool


class Arrival(msgspec.Struct):
    """One hard interrupt: when it came, what it hit, and what it ran.

    ``line`` is the action's name, or the vector's name (``local_timer``); ``irq`` is -1 for a vector; ``at_ns`` counts
    from the start of the phase to the first entry event.
    """

    line: str
    irq: int
    cpu: int
    at_ns: int
    hit: Hit
    handlers: list[HandlerBody]
    tail: list[Op]
    expiries: list[Expiry]
    fields: Fields


class SoftBody(msgspec.Struct):
    """One run of a softirq vector; ``context`` tells where it ran in the recording (``hardirq_exit`` ...)."""

    vec: int
    action: str
    cpu: int
    context: str
    ops: list[Op]


class WorkItem(msgspec.Struct):
    """One execution of a work: ``ops[start:end]`` of the kworker's program; ``end`` is -1 if it goes on in a later phase."""

    work: str
    function: str
    pid: int
    start: int
    end: int
    queued_by: OpRef | None


class KernelEvent(msgspec.Struct, gc=False):
    """An event that the replayed kernel makes by itself; kept to prove that the cut lost nothing."""

    name: str
    pid: int
    fields: Fields


class Step(msgspec.Struct, gc=False):
    """One gap of the recording, and the event at its end if ``event``.

    The gap is charged to ``owner``/``ident`` (``cost`` names the kernel cost); the event is the next one of
    ``by``/``by_ident``.
    """

    cpu: int
    ns: int
    owner: OwnerKind
    ident: int
    cost: str
    event: bool
    by: OwnerKind
    by_ident: int


class PhaseCut(msgspec.Struct):
    """All programs of one phase, and the script that re-linearises them.

    ``pending`` are softirqs that were pending when the phase began, as (cpu, vec, body); ``running`` maps a CPU to its
    pid at the start; ``costs`` holds every kernel cost sample by name; ``idle_ns`` is per CPU.
    """

    name: str
    start_ns: int
    end_ns: int
    running: dict[int, int]
    tasks: dict[int, TaskProgram]
    arrivals: list[Arrival]
    bodies: list[SoftBody]
    works: list[WorkItem]
    pending: list[tuple[int, int, int]]
    costs: dict[str, list[int]]
    idle_ns: dict[int, int]
    kernel_events: dict[int, list[KernelEvent]]
    script: list[Step]

    @property
    def span_ns(self) -> int:
        """Return the length of the phase."""
        return self.end_ns - self.start_ns


class Cut(msgspec.Struct):
    """A whole capture as programs, phase by phase; ``notes`` lists what did not fit the model, with counts."""

    path: str
    cpus: int
    resolution_ns: int
    phases: list[PhaseCut]
    notes: dict[str, int]
