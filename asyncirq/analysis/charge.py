"""Decide whose time a gap was, and drive the walk with that.

The rules, in the order in which they are tried, for the gap before event ``n``:

1. ``n`` begins a hard interrupt: the context that it hits, its entry overhead included.
2. ``n`` is the wake-up of a softirq thread, or between softirq bodies: the kernel's, by name.
3. ``n`` is in a hard handler or in a softirq body: that program's.
4. ``n`` is a ``softirq_entry``: the kernel's; what is longer than the typical cost in a task that had BH off is the rest
   of its BH-off region.
5. ``n`` is a ``sched_switch``: the switch cost; what is longer than the typical cost is the task's own work.
6. Otherwise the task's, or idle's tick handling.
"""

from __future__ import annotations

from asyncirq.analysis import effects, moved
from asyncirq.analysis.event import Event
from asyncirq.analysis.ops import Arrival, Block, Exit, Op, OpRef, OwnerKind, Run, Step
from asyncirq.analysis.segments import is_hard_entry
from asyncirq.analysis.walk import CpuState, Frame, Owner, Walk


def step(walk: Walk, event: Event) -> None:
    """Charge the gap before ``event`` on its CPU and let the event take effect."""
    cpu = walk.cpus[event.cpu]
    left = _settle(walk, cpu, event)
    _charge(walk, cpu, event, event.ts - cpu.last_ts, left)
    cpu.last_ts = event.ts
    effects.apply(walk, cpu, event)
    cpu.prev, cpu.opened = event, False


def split_at(walk: Walk, cpu: CpuState, ts: int) -> None:
    """Charge the time up to ``ts`` to what runs on ``cpu`` (a phase ends while this CPU is in the middle of a gap)."""
    if ts > cpu.last_ts:
        _spend(walk, cpu, ts - cpu.last_ts)
        cpu.last_ts = ts


def _settle(walk: Walk, cpu: CpuState, event: Event) -> Arrival | None:
    """Leave the contexts that ``event`` shows to be over; return the hard interrupt that was left last."""
    frames, entry = cpu.frames, is_hard_entry(event.name)
    hard, soft = event.context in "hHzZ", event.context in "sHZ"
    left: Arrival | None = None
    while frames and frames[-1].arrival is not None:
        top = frames[-1]
        nested = len(frames) > 1 and frames[-2].arrival is not None
        if hard and (not entry or top.handler is not None or _shares(top, event)) and not (nested and top.handler is None):
            return left
        left = frames.pop().arrival
    if frames and not soft:
        frames.pop()
    if soft and not frames:
        if left is None:
            context = "ksoftirqd" if cpu.pid in walk.servers else "idle" if cpu.pid == 0 else "bh_enable"
        else:
            context = "bh_enable" if left.hit.bh_off else "hardirq_exit"
        frames.append(Frame(None, -1, context))
        cpu.opened = True
    if hard and not entry:
        walk.note("hard context without entry")
        arrival = Arrival(event.name, -1, cpu.id, event.ts - walk.phase.start_ns, effects.hit(walk, cpu, event), [], [], [], {})
        walk.phase.arrivals.append(arrival)
        frames.append(Frame(arrival, len(walk.phase.arrivals) - 1))
    return left


def _shares(top: Frame, event: Event) -> bool:
    """Tell whether ``event`` is the next action of the same shared line, in the same interrupt."""
    arrival = top.arrival
    assert arrival is not None
    names = [handler.name for handler in arrival.handlers]
    return event.name == "irq_handler_entry" and event.fields.get("irq") == arrival.irq and event.fields.get("name") not in names


def _charge(walk: Walk, cpu: CpuState, event: Event, ns: int, left: Arrival | None) -> None:
    name = event.name
    top = cpu.frames[-1] if cpu.frames else None
    if walk.forced and (what := moved.mechanism(walk, cpu, event)):
        _kernel(walk, cpu, what, ns)
    elif walk.forced and top is None and cpu.pid in walk.threads:
        _charge_thread(walk, cpu, event, ns)
    elif is_hard_entry(name):
        _charge_entry(walk, cpu, event, ns)
    elif name == "sched_wakeup" and event.fields["pid"] in walk.threads:
        _kernel(walk, cpu, "try_to_wake_up", ns)
    elif name == "sched_waking" and top is None and (event.fields["pid"] in walk.threads or event.fields["pid"] in walk.locked):
        _charge_hand_over(walk, cpu, ns)
    elif name in ("sched_waking", "sched_wakeup") and event.fields["pid"] in walk.servers:
        _kernel(walk, cpu, "try_to_wake_up" if name == "sched_wakeup" else "wake_softirq_thread", ns)
    elif name == "sched_wakeup" and cpu.waking is not None and cpu.waking[0].pid == event.fields["pid"]:
        wake, owner = cpu.waking
        wake.cost_ns = ns
        _step(walk, cpu, ns, owner, "try_to_wake_up")
    elif top is not None and top.arrival is not None:
        _spend(walk, cpu, ns)
    elif name == "softirq_entry":
        _charge_softirq_entry(walk, cpu, ns, left)
    elif top is not None:
        _spend(walk, cpu, ns)
    elif name == "sched_switch":
        _charge_switch(walk, cpu, event, ns, left)
    elif cpu.pid == 0:
        _kernel(walk, cpu, "idle_exit_tick" if event.resched != "." else "idle_enter_tick", ns)
    else:
        if event.irqs not in "bD":
            walk.close_bh(cpu)
        _spend(walk, cpu, ns)


def _charge_thread(walk: Walk, cpu: CpuState, event: Event, ns: int) -> None:
    """Charge a gap of a thread that work was moved into: its switches are the kernel's, the rest is the work's.

    The handler's body keeps the time of one event: the entry that it has when nobody moves it.
    """
    cost, name = 0, ""
    if event.name == "sched_switch":
        state = str(event.fields["prev_state"])
        whole = state.startswith("D") or cpu.prev is None or cpu.prev.name == "sched_wakeup"
        cost, name = (ns if whole else walk.costs.block_switch), "preempt_kernel" if state.startswith("R") else "irq_thread_block"
    elif cpu.prev is not None and cpu.prev.name == "sched_switch":
        found = walk.moved.get(cpu.pid)
        begins = found is not None and not found.ops
        cost, name = max(0, walk.costs.thread_enter - (walk.costs.trace_event if begins else 0)), "irq_thread_enter"
    cost = min(ns, cost)
    if name:
        _kernel(walk, cpu, name, cost)
    _spend(walk, cpu, ns - cost)


def _charge_hand_over(walk: Walk, cpu: CpuState, ns: int) -> None:
    """Charge the gap before a task wakes who waits for its lock: the way back in and the hand-over are the kernel's."""
    cost = min(ns, walk.costs.hand_over + (walk.costs.thread_enter if cpu.prev is not None and cpu.prev.name == "sched_switch" else 0))
    _run_task(walk, cpu, ns - cost)
    walk.close_bh(cpu)
    _kernel(walk, cpu, "lock_hand_over", cost)


def _charge_entry(walk: Walk, cpu: CpuState, event: Event, ns: int) -> None:
    """Charge the gap before a hard interrupt to what it hits, or to the handler before it on a shared line."""
    top = cpu.frames[-1] if cpu.frames else None
    if top is not None and top.arrival is not None and top.handler is None:
        top.lead_ns = ns
        _step(walk, cpu, ns, Owner("hard", top.ident), "next_action")
        return
    if top is None and event.irqs not in "bD":
        walk.close_bh(cpu)
    if top is None and cpu.pid == 0 and event.resched != ".":
        _kernel(walk, cpu, "idle_switch", ns)
    else:
        _spend(walk, cpu, ns)


def _charge_softirq_entry(walk: Walk, cpu: CpuState, ns: int, left: Arrival | None) -> None:
    if not cpu.opened:
        _kernel(walk, cpu, "softirq_next" if left is None else "softirq_window", ns)
    elif cpu.pid in walk.servers and left is None:
        _kernel(walk, cpu, "ksoftirqd_enter", ns)
    elif left is None and cpu.pid in walk.threads:
        # Where the handler is not moved, the rest of the raise is in its body still, and another event lies before the softirq.
        cost = max(0, ns - walk.costs.trace_event)
        _run_task(walk, cpu, ns - cost)
        _kernel(walk, cpu, "bh_enable_softirq", cost)
    elif left is not None and not left.hit.bh_off:
        _kernel(walk, cpu, "irq_exit_softirq" if left.irq >= 0 else "timer_exit_softirq", ns)
    else:
        typical = walk.costs.irq_exit_softirq if left is not None else walk.costs.bh_enable_softirq
        cost = ns if cpu.pid == 0 else min(ns, typical)
        if cpu.pid != 0:
            _run_task(walk, cpu, ns - cost)
            walk.close_bh(cpu)
        _kernel(walk, cpu, "bh_enable_softirq", cost)


def _charge_switch(walk: Walk, cpu: CpuState, event: Event, ns: int, left: Arrival | None) -> None:
    state = str(event.fields["prev_state"])
    if cpu.pid == 0:
        idle = left is None and cpu.prev is not None and cpu.prev.name == "sched_switch"
        _step(walk, cpu, ns, Owner("idle", cpu.id), "") if idle else _kernel(walk, cpu, "idle_switch", ns)
    elif cpu.pid in walk.servers:
        _kernel(walk, cpu, "preempt_kernel" if state.startswith("R") else "ksoftirqd_block", ns)
    elif moved.waits_for_lock(walk, event):
        _kernel(walk, cpu, "lock_block", ns)
    elif state.startswith("R"):
        woke = walk.forced and state.endswith("+") and cpu.prev is not None and cpu.prev.name == "sched_wakeup"
        cost = ns if woke else min(ns, walk.costs.preempt_switch)
        if walk.forced:
            # A kernel that does not preempt goes on to the end of the section; PREEMPT_RT may switch in the middle of it.
            _run_task(walk, cpu, ns - cost)
            if event.irqs not in "bD":
                walk.close_bh(cpu)
        else:
            walk.close_bh(cpu)
            _run_task(walk, cpu, ns - cost)
        _kernel(walk, cpu, "preempt_kernel" if state.endswith("+") else "preempt_user", cost)
    else:
        _charge_block(walk, cpu, state, ns)


def _charge_block(walk: Walk, cpu: CpuState, state: str, ns: int) -> None:
    cost = min(ns, walk.costs.block_switch)
    walk.close_bh(cpu)
    _run_task(walk, cpu, ns - cost)
    program = walk.task(cpu.pid, "running", cpu.comm, cpu=cpu.id)
    assert program is not None
    op: Op = Exit(state, cost) if state[0] in "XZ" else Block(state, cost)
    program.ops.append(op)
    cpu.last_block = OpRef("task", cpu.pid, len(program.ops) - 1)
    _step(walk, cpu, cost, Owner("task", cpu.pid), "block")


def _run_task(walk: Walk, cpu: CpuState, ns: int) -> None:
    if ns > 0:
        _spend(walk, cpu, ns, task=True)


def _spend(walk: Walk, cpu: CpuState, ns: int, task: bool = False) -> None:
    """Charge time to what runs now (to the task below, if ``task``)."""
    frames, cpu.frames = cpu.frames, [] if task else cpu.frames
    owner, ops = walk.owner(cpu), walk.ops(cpu)
    cpu.frames = frames
    if ops is not None:
        if ns > 0:
            _append_run(ops, ns)
            _step(walk, cpu, ns, owner, "")
    elif owner.kind == "idle":
        _step(walk, cpu, ns, owner, "")
    else:
        _kernel(walk, cpu, "softirq_window" if cpu.frames else "softirq_thread", ns)


def _append_run(ops: list[Op], ns: int) -> None:
    last = ops[-1] if ops else None
    if isinstance(last, Run):
        last.ns += ns
    else:
        ops.append(Run(ns))


def _kernel(walk: Walk, cpu: CpuState, name: str, ns: int) -> None:
    walk.phase.costs.setdefault(name, []).append(ns)
    _step(walk, cpu, ns, Owner("kernel", cpu.id), name)


def _step(walk: Walk, cpu: CpuState, ns: int, owner: Owner, cost: str) -> None:
    kind: OwnerKind = owner.kind
    if kind == "idle":
        walk.phase.idle_ns[cpu.id] = walk.phase.idle_ns.get(cpu.id, 0) + ns
    if ns and walk.proof:
        walk.phase.script.append(Step(cpu.id, ns, kind, owner.ident, cost, False, "kernel", 0))
