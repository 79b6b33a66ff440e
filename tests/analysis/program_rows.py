"""Small captures of made-up events for the tests of segments, programs and arrivals."""

from __future__ import annotations

from asyncirq.analysis.event import Capture, Event, Phase


def ev(us: int, pid: int, flags: str, name: str, cpu: int = 0, /, **fields: str | int) -> Event:
    """Return an event at ``us``; ``flags`` are ftrace's first three columns."""
    return Event(us * 1000, cpu, pid, f"t{pid}", flags[0], flags[1], flags[2], 0, name, fields, us)


def irq(us: int, pid: int, flags: str, number: int = 21, name: str = "eth0", cpu: int = 0) -> Event:
    return ev(us, pid, flags, "irq_handler_entry", cpu, irq=number, name=name)


def irq_end(us: int, pid: int, flags: str, number: int = 21, cpu: int = 0) -> Event:
    return ev(us, pid, flags, "irq_handler_exit", cpu, irq=number, ret="handled")


def soft(us: int, pid: int, kind: str, vec: int, flags: str = "..s", cpu: int = 0) -> Event:
    """Return ``softirq_entry``, ``softirq_exit`` or ``softirq_raise``."""
    return ev(us, pid, flags, f"softirq_{kind}", cpu, vec=vec, action={1: "TIMER", 3: "NET_RX"}.get(vec, "TASKLET"))


def switch(us: int, prev: int, state: str, new: int, cpu: int = 0) -> Event:
    return ev(
        us, prev, "d..", "sched_switch", cpu,
        prev_comm=f"t{prev}", prev_pid=prev, prev_prio=120, prev_state=state, next_comm=f"t{new}", next_pid=new, next_prio=120,
    )  # fmt: skip


def waking(us: int, by: int, target: int, flags: str = "d..", cpu: int = 0) -> Event:
    return ev(us, by, flags, "sched_waking", cpu, comm=f"t{target}", pid=target, prio=120, target_cpu=cpu)


def wakeup(us: int, by: int, target: int, flags: str = "dN.", cpu: int = 0) -> Event:
    return ev(us, by, flags, "sched_wakeup", cpu, comm=f"t{target}", pid=target, prio=120, target_cpu=cpu)


def capture_of(*events: Event, phases: tuple[int, ...] = (0,)) -> Capture:
    """Return a capture whose phases start at the given indexes."""
    ends = (*phases[1:], len(events))
    cut = [Phase(f"p{i}", start, end) for i, (start, end) in enumerate(zip(phases, ends, strict=True))]
    return Capture("made-up", list(events), max(e.cpu for e in events) + 1, 1000, cut)
