"""Programs of a few ops, run on a machine: what is written here is the recording, what comes back is what happened."""

from __future__ import annotations

import asyncio
from typing import Final

from asyncirq.analysis.ops import (
    Arrival,
    Expiry,
    HandlerBody,
    Hit,
    Op,
    OpRef,
    PhaseCut,
    SoftBody,
    State,
    TaskProgram,
    Wake,
)
from asyncirq.analysis.segments import CostTable
from asyncirq.trace.record import Record, tag_of
from asyncirq.whatif.kernels import parse_targets
from asyncirq.whatif.replay import Replay, Setting
from asyncirq.whatif.wiring import Wiring

IDLE: Final = Hit("idle", 0, "", -1, 0, "", False, None, 0, False)
LEVEL: Final = Wiring(21, True)
EDGE: Final = Wiring(4, False)
MESSAGE: Final = Wiring()
Story = list[tuple[int, str]]


def arrival(at_ns: int, ops: list[Op], *, irq: int = 40, name: str = "dev", tail: list[Op] | None = None, ret: str = "handled") -> Arrival:
    return Arrival(name, irq, 0, at_ns, IDLE, [HandlerBody(name, ret, 0, ops)], tail or [], [], {})


def tick(at_ns: int, ops: list[Op], function: str = "tick_sched_timer", armed: OpRef | None = None, delay_ns: int = -1) -> Arrival:
    expiry = Expiry("0x1", function, armed, delay_ns, -1, -1)
    return Arrival("local_timer", -1, 0, at_ns, IDLE, [HandlerBody("local_timer", "", 0, ops)], [], [expiry], {})


def task(pid: int, ops: list[Op], state: State = "blocked", comm: str = "", cpu: int = 0, prio: int = 120) -> TaskProgram:
    name = comm or f"task{pid}"
    return TaskProgram(pid, name, prio, cpu, state, [name], ops)


def wake(pid: int, cost_ns: int = 100, counts: bool = True) -> Wake:
    fields: dict[str, str | int] = {"comm": f"task{pid}", "pid": pid, "prio": 120, "target_cpu": 0}
    return Wake(pid, f"task{pid}", 120, counts, cost_ns, fields, fields)


def phase(
    tasks: list[TaskProgram],
    arrivals: list[Arrival],
    bodies: list[SoftBody] | None = None,
    pending: list[tuple[int, int, int]] | None = None,
    cpus: int = 1,
) -> PhaseCut:
    running = {cpu: next((one.pid for one in tasks if one.state == "running" and one.cpu == cpu), 0) for cpu in range(cpus)}
    programs = {one.pid: one for one in tasks}
    return PhaseCut("all", 0, 1_000_000, running, programs, arrivals, bodies or [], [], pending or [], {}, {}, {}, [])


def replay(cut: PhaseCut, kernel: str = "stock", wiring: Wiring = MESSAGE, cpus: int = 1) -> Replay:
    names: dict[int, list[str]] = {}
    for one in cut.arrivals:
        for handler in one.handlers if one.irq >= 0 else ():
            known = names.setdefault(one.irq, [])
            if handler.name not in known:
                known.append(handler.name)
    (target,) = parse_targets(kernel, "linux-6.1")
    setting = Setting(names, dict.fromkeys(names, wiring), 1000, cpus)
    return Replay(cut, CostTable("tiny", {}, {}), target, setting, seed=1, check=True)


def story(made: Replay, *events: str) -> Story:
    """Run a replay; return time since the phase began and a short text of each of these events."""
    result = asyncio.run(made.run())
    return [(record.ts - result.origin_ns, short(record)) for record in result.records if tag_of(type(record)) in events]


def short(record: Record) -> str:
    """Return an event's name and what tells one from another."""
    fields = [field for field in ("irq", "vec", "comm", "next_comm", "text", "function") if field in record.__struct_fields__]
    return " ".join([tag_of(type(record)), *(str(getattr(record, field)) for field in fields)])
