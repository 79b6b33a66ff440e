"""Bring work back to where it came from, in a capture of a kernel that moved it: forced threads, ``ktimers``, ``rcuc``.

Under ``threadirqs`` and PREEMPT_RT a handler runs in a thread that the interrupt wakes; on PREEMPT_RT the expiries of soft hrtimers run in
``ktimers``, RCU in ``rcuc``, and whoever waits for a lock is switched away. Programs are what the code did, so the stretch of a thread
between its wake-up and its sleep becomes the body of that interrupt's handler, an expiry goes back into the timer interrupt, a run
of ``rcuc`` becomes a body of RCU, and the mechanism in between is the kernel's own time.
"""

from __future__ import annotations

from typing import Final

from asyncirq.analysis.event import Event
from asyncirq.analysis.names import HRTIMER, RCU
from asyncirq.analysis.ops import Arrival, Fields, HandlerBody, Raise, SoftBody
from asyncirq.analysis.walk import CpuState, Frame, Moved, Owner, PendingRaise, Walk, number

_RCU_FIELDS: Final[Fields] = {"vec": RCU, "action": "RCU"}
_COMM_LENGTH: Final = 15


def wake_thread(walk: Walk, cpu: CpuState, event: Event) -> None:
    """Note the wake-up of a thread: what it will do belongs to the hard interrupt at hand, RCU's to a raise here."""
    pid = number(event.fields, "pid")
    slept = walk.states.get(pid, "blocked") == "blocked"
    walk.states[pid] = "runnable"
    cpu.waking = None
    top = cpu.frames[-1] if cpu.frames else None
    if walk.thread_of[pid] < 0:
        if slept and pid not in walk.moved:
            _raise_rcu(walk, cpu, pid)
    elif top is not None and top.arrival is not None and slept and pid not in walk.moved:
        handler = _handler(top.arrival, str(event.fields["comm"]))
        if handler is not None:
            walk.moved[pid] = Moved(Owner("hard", top.ident), handler.ops, top.arrival)
    walk.kernel_event(cpu, event)


def _raise_rcu(walk: Walk, cpu: CpuState, pid: int) -> None:
    ops = walk.ops(cpu)
    ident = len(walk.phase.bodies)
    body = SoftBody(RCU, "RCU", cpu.id, "rcuc", [])
    walk.phase.bodies.append(body)
    walk.moved[pid] = Moved(Owner("soft", ident), body.ops)
    if ops is None:
        walk.phase.pending.append((cpu.id, RCU, ident))
    else:
        ops.append(Raise(RCU, ident, _RCU_FIELDS))


def _handler(arrival: Arrival, comm: str) -> HandlerBody | None:
    """Return the handler whose thread is called ``comm``, which is cut at 15 characters."""
    if len(arrival.handlers) == 1:
        return arrival.handlers[0]
    return next((one for one in arrival.handlers if f"irq/{arrival.irq}-{one.name}"[:_COMM_LENGTH] == comm), None)


def leave_thread(walk: Walk, pid: int, state: str) -> None:
    """Note that a thread was switched away: where it sleeps, its work is done; where it waits for a lock, it is not."""
    if not state.startswith(("R", "D")):
        walk.moved.pop(pid, None)


def waits_for_lock(walk: Walk, event: Event) -> bool:
    """Tell whether a task is switched away because it waits for a lock: its successor runs with its priority, boosted."""
    fields = event.fields
    if not walk.forced or not str(fields["prev_state"]).startswith("D"):
        return False
    prio = number(fields, "next_prio")
    return prio == number(fields, "prev_prio") and prio < walk.base_prio.get(number(fields, "next_pid"), prio)


def is_soft_expiry(walk: Walk, cpu: CpuState, vec: int) -> bool:
    """Tell whether a raise stands for expiries that a kernel without soft hrtimers runs right there."""
    top = cpu.frames[-1] if cpu.frames else None
    return walk.forced and vec == HRTIMER and top is not None and top.arrival is not None and top.handler is not None


def raise_expiry(walk: Walk, cpu: CpuState, event: Event) -> None:
    """Note the raise of soft expiries: their body goes back to the timer interrupt at hand."""
    top = cpu.frames[-1]
    assert top.arrival is not None and top.handler is not None
    moved = Moved(Owner("hard", top.ident), top.handler.ops, top.arrival)
    cpu.pending.setdefault(HRTIMER, PendingRaise(None, walk.phase_count, moved))
    walk.kernel_event(cpu, event)


def enter_expiry(walk: Walk, frame: Frame, moved: Moved, cpu: CpuState) -> None:
    """Let the body that begins be that of the interrupt that raised it."""
    frame.ident, frame.origin = moved.owner.ident, moved.arrival
    frame.body = SoftBody(HRTIMER, "HRTIMER", cpu.id, frame.context, moved.ops)


def mechanism(walk: Walk, cpu: CpuState, event: Event) -> str:
    """Return the kernel cost that the whole gap before ``event`` is, empty if it is not that of a move.

    The primary handler of a forced line, the way from it to the thread's wake-up, the way into a soft expiry.
    """
    top = cpu.frames[-1] if cpu.frames else None
    before = cpu.prev.name if cpu.prev is not None else ""
    if top is not None and top.arrival is not None:
        if top.arrival.irq in walk.thread_lines:
            if top.handler is not None and event.name == "irq_handler_exit":
                return "primary_handler"
            if top.handler is None and event.name == "sched_waking" and number(event.fields, "pid") in walk.threads:
                return "wake_irq_thread"
        if before == "softirq_raise" and HRTIMER in cpu.pending and event.name == "local_timer_exit":
            return "raise_expiry"
    elif top is not None and top.origin is not None and before == "softirq_entry":
        return "softirq_next"
    return ""
