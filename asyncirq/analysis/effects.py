"""Let each event of a capture take effect on the walk: contexts begin and end, programs get their ops."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from asyncirq.analysis import moved
from asyncirq.analysis.event import Event
from asyncirq.analysis.ops import (
    Arrival,
    BhOff,
    Emit,
    Expiry,
    Fork,
    HandlerBody,
    Hit,
    HitKind,
    HrtimerStart,
    Irq,
    Op,
    OpRef,
    OwnerKind,
    QueueWork,
    Raise,
    Run,
    SoftBody,
    TimerStart,
    Wake,
    WorkItem,
)
from asyncirq.analysis.segments import ENTRY_EXIT, TICK_FUNCTIONS, is_hard_entry
from asyncirq.analysis.walk import Armed, CpuState, Frame, PendingRaise, Walk, number

_HIT_KINDS: Final[Mapping[OwnerKind, HitKind]] = MappingProxyType(
    {"task": "task", "soft": "softirq", "hard": "hardirq", "kernel": "kernel", "idle": "idle"}
)
_PROGRAMMED: Final = frozenset({"hrtimer_start", "timer_start", "workqueue_queue_work"})


def apply(walk: Walk, cpu: CpuState, event: Event) -> None:
    """Let ``event`` take effect; the gap before it is charged already."""
    name = event.name
    if name != "sched_wakeup":
        cpu.waking = None
    if is_hard_entry(name):
        _hard_entry(walk, cpu, event)
    elif name in ENTRY_EXIT.values():
        _hard_exit(walk, cpu, event)
    elif name == "softirq_entry":
        _softirq_entry(walk, cpu, event)
    elif name == "softirq_exit":
        cpu.frames[-1].body = cpu.frames[-1].origin = None
        walk.kernel_event(cpu, event)
    elif name == "sched_switch":
        _switch(walk, cpu, event)
    elif name == "sched_waking":
        _waking(walk, cpu, event)
    elif name == "sched_wakeup":
        _wakeup(walk, cpu, event)
    else:
        _ordinary(walk, cpu, event)


def _hard_entry(walk: Walk, cpu: CpuState, event: Event) -> None:
    frames = cpu.frames
    top = frames[-1] if frames else None
    name = str(event.fields.get("name", event.name.removesuffix("_entry")))
    if top is None or top.arrival is None or top.handler is not None:
        arrival = Arrival(
            name, number(event.fields, "irq"), cpu.id, event.ts - walk.phase.start_ns, hit(walk, cpu, event), [], [], [], event.fields
        )
        ident = len(walk.phase.arrivals)
        walk.phase.arrivals.append(arrival)
        top = Frame(arrival, ident)
        frames.append(top)
    assert top.arrival is not None
    top.handler = HandlerBody(name, "", top.lead_ns, [])
    top.arrival.handlers.append(top.handler)
    walk.kernel_event(cpu, event)


def _hard_exit(walk: Walk, cpu: CpuState, event: Event) -> None:
    top = cpu.frames[-1] if cpu.frames else None
    if top is not None and top.handler is not None:
        top.handler.ret = str(event.fields.get("ret", ""))
        top.handler = None
    else:
        walk.note("hard exit without entry")
    walk.kernel_event(cpu, event)


def hit(walk: Walk, cpu: CpuState, event: Event) -> Hit:
    """Describe what an arrival interrupts, and mark the place in its program."""
    owner, ops = walk.owner(cpu), walk.ops(cpu)
    top = cpu.frames[-1] if cpu.frames else None
    kind = _HIT_KINDS[owner.kind]
    if kind == "idle" and event.resched != ".":
        kind = "kernel"
    hit = Hit(kind, owner.ident, cpu.comm, -1, 0, "", False, None, 0, False)
    if kind == "idle":
        hit.last, hit.idle_ns = cpu.last_block, event.ts - cpu.idle_since
        hit.tick_stopped = cpu.tick_stopped
    if ops is not None:
        hit.bh_off = top is None and event.irqs in "bD" and owner.kind == "task"
        if hit.bh_off:
            walk.open_bh(cpu, ops)
        hit.progress_ns, hit.after = _progress(ops)
        hit.op = len(ops)
        ops.append(Irq(len(walk.phase.arrivals)))
    return hit


def _softirq_entry(walk: Walk, cpu: CpuState, event: Event) -> None:
    vec = number(event.fields, "vec")
    index = walk.phase_count
    if vec not in cpu.snapshot and vec in cpu.pending:
        cpu.snapshot.update(cpu.pending)
        cpu.pending.clear()
    found = cpu.snapshot.pop(vec, None)
    if found is None and vec in cpu.repeated:
        found = PendingRaise(cpu.repeated.pop(vec), index)
    frame = cpu.frames[-1]
    frame.origin = None
    if found is not None and found.moved is not None:
        moved.enter_expiry(walk, frame, found.moved, cpu)
        walk.kernel_event(cpu, event)
        return
    body = SoftBody(vec, str(event.fields.get("action", "")), cpu.id, frame.context, [])
    frame.ident, frame.body = len(walk.phase.bodies), body
    walk.phase.bodies.append(body)
    if found is not None and found.op is not None and found.phase == index:
        found.op.body = frame.ident
    else:
        walk.phase.pending.append((cpu.id, vec, frame.ident))
        if found is None:
            walk.note("softirq_entry without raise")
    walk.kernel_event(cpu, event)


def _switch(walk: Walk, cpu: CpuState, event: Event) -> None:
    fields = event.fields
    pid, state = cpu.pid, str(fields["prev_state"])
    if pid != 0:
        walk.states[pid] = "runnable" if state.startswith("R") else "absent" if state[0] in "XZ" else "blocked"
    if walk.forced:
        _forced_switch(walk, cpu, event)
    walk.kernel_event(cpu, event)
    cpu.pid, cpu.comm = number(fields, "next_pid"), str(fields["next_comm"])
    if cpu.pid == 0:
        if not walk.forced:
            cpu.idle_since = event.ts
    else:
        walk.task(cpu.pid, "runnable", cpu.comm, number(fields, "next_prio"), cpu.id)
    walk.states[cpu.pid] = "running"


def _forced_switch(walk: Walk, cpu: CpuState, event: Event) -> None:
    """Note what a switch says of threads and locks; idle begins for a task when the last recorded one leaves the CPU."""
    pid = cpu.pid
    if pid in walk.threads:
        moved.leave_thread(walk, pid, str(event.fields["prev_state"]))
    elif pid != 0 and pid not in walk.servers:
        cpu.idle_since = event.ts
        if moved.waits_for_lock(walk, event):
            walk.locked.add(pid)


def _waking(walk: Walk, cpu: CpuState, event: Event) -> None:
    fields, ops = event.fields, walk.ops(cpu)
    pid, comm, prio = number(fields, "pid"), str(fields["comm"]), number(fields, "prio")
    if pid in walk.threads:
        moved.wake_thread(walk, cpu, event)
        return
    if pid in walk.servers or pid in walk.locked or ops is None:
        walk.locked.discard(pid)
        walk.kernel_event(cpu, event)
        cpu.waking = None
        walk.states[pid] = "runnable"
        return
    walk.task(pid, "blocked", comm, prio, number(fields, "target_cpu"))
    counts = walk.states.get(pid, "blocked") == "blocked"
    if counts:
        walk.states[pid] = "runnable"
    op = Wake(pid, comm, prio, counts, -1, fields, fields)
    walk.append(cpu, event, op)
    cpu.waking = (op, walk.owner(cpu))


def _wakeup(walk: Walk, cpu: CpuState, event: Event) -> None:
    pending = cpu.waking
    if pending is not None and pending[0].pid == event.fields["pid"]:
        op, owner = pending
        op.wakeup = event.fields
        cpu.waking = None
        walk.place(cpu, owner)
    elif event.fields["pid"] in walk.servers or event.fields["pid"] in walk.threads:
        walk.kernel_event(cpu, event)
    else:
        walk.append(cpu, event, Emit(event.name, event.fields))


def _ordinary(walk: Walk, cpu: CpuState, event: Event) -> None:
    name, fields = event.name, event.fields
    if name == "softirq_raise":
        if moved.is_soft_expiry(walk, cpu, number(fields, "vec")):
            moved.raise_expiry(walk, cpu, event)
        else:
            _raise(walk, cpu, event)
    elif name == "sched_pi_setprio" and walk.forced:
        walk.kernel_event(cpu, event)
    elif name == "sched_wakeup_new":
        pid, comm, prio = number(fields, "pid"), str(fields["comm"]), number(fields, "prio")
        walk.task(pid, "absent", comm, prio, cpu.id)
        walk.states[pid] = "runnable"
        walk.append(cpu, event, Fork(pid, comm, prio, fields))
    elif name in _PROGRAMMED:
        _programmed(walk, cpu, event)
    else:
        ref = walk.append(cpu, event, Emit(name, fields))
        if name == "hrtimer_expire_entry":
            _expire(walk, cpu, event)
        elif name.startswith("workqueue_execute_") and ref is not None and ref.kind == "task":
            _execute(walk, event, ref)


def _raise(walk: Walk, cpu: CpuState, event: Event) -> None:
    vec = number(event.fields, "vec")
    repeat = vec in cpu.pending
    op = Raise(vec, -1 if repeat else -2, event.fields)
    ref = walk.append(cpu, event, op)
    if repeat:
        # An interrupt between the pass's snapshot and its first body: the raise only looks repeated, it counts for the next pass.
        if len(cpu.frames) > 1 and cpu.frames[-2].arrival is None and cpu.frames[-2].body is None:
            cpu.repeated[vec] = op
    else:
        cpu.pending[vec] = PendingRaise(op if ref is not None else None, walk.phase_count)


def _programmed(walk: Walk, cpu: CpuState, event: Event) -> None:
    fields, index = event.fields, walk.phase_count
    function = str(fields.get("function", ""))
    if event.name == "timer_start":
        walk.append(cpu, event, TimerStart(str(fields.get("timer", "")), function, fields))
    elif event.name == "hrtimer_start":
        timer, expires = str(fields.get("hrtimer", "")), number(fields, "expires")
        op = HrtimerStart(timer, function, expires - event.ts, "ABS" in str(fields.get("mode", "")), -1, fields)
        ref = walk.append(cpu, event, op)
        if ref is None and function in TICK_FUNCTIONS:
            cpu.tick_stopped = event.resched == "."
        walk.armed[timer] = Armed(op if ref is not None else None, ref, index, event.ts, expires)
    else:
        work = QueueWork(str(fields.get("work", "")), function, -1, fields)
        ref = walk.append(cpu, event, work)
        if ref is not None:
            walk.queued[work.work] = (work, ref, index)


def _expire(walk: Walk, cpu: CpuState, event: Event) -> None:
    top = cpu.frames[-1] if cpu.frames else None
    timer = str(event.fields.get("hrtimer", ""))
    armed = walk.armed.pop(timer, None)
    arrival = None if top is None else top.arrival or top.origin
    if top is None or arrival is None:
        return
    expiry = Expiry(timer, str(event.fields.get("function", "")), None, -1, -1, -1)
    if armed is not None:
        expiry.expires_ns = armed.expires
        expiry.late_ns = number(event.fields, "now") - armed.expires
        if armed.phase == walk.phase_count:
            expiry.armed = armed.ref
            expiry.delay_ns = walk.phase.start_ns + arrival.at_ns - armed.ts
            if armed.op is not None:
                armed.op.fires = top.ident
    arrival.expiries.append(expiry)


def _execute(walk: Walk, event: Event, ref: OpRef) -> None:
    if event.name == "workqueue_execute_end":
        item = walk.executing.pop(ref.ident, None)
        if item is not None:
            item.end = ref.op + 1
        return
    work, function = str(event.fields.get("work", "")), str(event.fields.get("function", ""))
    queued = walk.queued.pop(work, None)
    item = WorkItem(work, function, ref.ident, ref.op, -1, None)
    if queued is not None and queued[2] == walk.phase_count:
        queued[0].item, item.queued_by = len(walk.phase.works), queued[1]
    walk.phase.works.append(item)
    walk.executing[ref.ident] = item


def op_name(op: Op) -> str:
    """Return the tracepoint that an op emits, or its kind."""
    if isinstance(op, Emit):
        return op.name
    return str(op.__struct_config__.tag)


def _progress(ops: list[Op]) -> tuple[int, str]:
    """Return the CPU time since the last op that is not ``Run``, ``Irq`` or ``BhOff``, and that op's name."""
    total = 0
    for op in reversed(ops):
        if isinstance(op, Run):
            total += op.ns
        elif not isinstance(op, Irq | BhOff):
            return total, op_name(op)
    return total, "start"
