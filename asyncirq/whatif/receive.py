"""Move the NIC's receive work elsewhere than into the NET_RX softirq: its own thread, a kworker, a tasklet.

The recorded bodies of NET_RX stay what they are. The mechanism that brings them to run is the kernel's own: threaded NAPI,
a work item, a tasklet.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncirq.analysis.ops import Emit, Op, Run
from asyncirq.bottom_half.napi import Napi
from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.bottom_half.work import Work
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task
from asyncirq.whatif.bodies import Body

if TYPE_CHECKING:
    from asyncirq.whatif.replay import Replay

DEVICE: Final = "eth0"
"""Name of the device in the comm of a NAPI thread, unless a poll of the recording tells another."""
_WEIGHT: Final = 64


class _Poll(NamedTuple):
    body: Body
    work: int


def divert_receive(replay: Replay) -> None:
    """Put the receive work of a replay where its target wants it; nothing to do for the softirq."""
    where = replay.target.bottom_half
    if where == "napi-threaded":
        replay.softirqs.receive = ThreadedNapi(replay).receive
    elif where == "workqueue":
        replay.softirqs.receive = ReceiveWork(replay).receive
    elif where == "tasklet":
        replay.softirqs.receive = ReceiveTasklet(replay).receive


class ThreadedNapi:
    """Receive work in ``napi/DEVICE-N``: one instance that all polls of the recording go through."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._core = replay.machine.napi
        self._todo: deque[_Poll] = deque()
        name, device = _recorded_napi(replay)
        self._napi = Napi(self._poll, _WEIGHT, name, device)
        self._core.netif_napi_add(self._napi, threaded=True)
        self._core.napi_enable(self._napi)

    async def receive(self, cpu: Cpu, body: Body) -> None:
        """Leave the polls of one NET_RX round to the thread."""
        self._todo.extend(_polls(body))
        await self._core.napi_schedule(cpu, self._napi)

    async def _poll(self, cpu: Cpu, napi: Napi, budget: int) -> int:
        if not self._todo:
            await self._core.napi_complete_done(cpu, napi, 0)
            return 0
        body, work = self._todo.popleft()
        await self._replay.bodies.run(cpu, body)
        work = min(work, budget)
        if work == budget and self._todo:
            return work
        napi.missed = napi.missed or bool(self._todo)
        await self._core.napi_complete_done(cpu, napi, work)
        return min(work, budget - 1)


def _polls(body: Body) -> list[_Poll]:
    """Cut a NET_RX round behind its polls; the ``napi_poll`` events are the kernel's to emit, at no time of their own here."""
    ops: list[Op] = []
    ends: list[tuple[int, int]] = []
    for index, op in enumerate(body.ops):
        if isinstance(op, Emit) and op.name == "napi_poll":
            work = op.fields.get("work", 0)
            ends.append((index + 1, work if isinstance(work, int) else 0))
            ops.append(Run(0))
        else:
            ops.append(op)
    if not ends:
        return [_Poll(body, 0)]
    ends[-1] = (len(ops), ends[-1][1])
    starts = [0, *(end for end, _ in ends)]
    return [
        _Poll(Body(body.kind, body.ident, ops[start:end], body.base + start), work)
        for start, (end, work) in zip(starts, ends, strict=False)
    ]


def _recorded_napi(replay: Replay) -> tuple[str, str]:
    for body in replay.phase.bodies:
        for op in body.ops:
            if isinstance(op, Emit) and op.name == "napi_poll":
                return str(op.fields.get("napi", "napi")), str(op.fields.get("dev_name", DEVICE))
    return "napi", DEVICE


class ReceiveWork:
    """Receive work in a kworker: one work item on the system workqueue, which serves all that is left to it."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._softirq = replay.machine.softirq
        self._workqueues = replay.machine.workqueues
        self._todo: deque[Body] = deque()
        self._work = Work(self._serve, "receive", "receive_work")

    async def receive(self, cpu: Cpu, body: Body) -> None:
        """Leave one NET_RX round to a kworker."""
        self._todo.append(body)
        await self._workqueues.queue_work(cpu, self._workqueues.system_wq, self._work)

    async def _serve(self, task: Task, work: Work) -> None:
        while self._todo:
            body = self._todo.popleft()
            cpu = await self._softirq.local_bh_disable(task)
            await self._replay.bodies.run(cpu, body)
            await self._softirq.local_bh_enable(task)


class ReceiveTasklet:
    """Receive work in a tasklet: a function of the TASKLET softirq, beside the recorded bodies of that vector."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._tasklets = replay.machine.tasklets
        self._todo: deque[Body] = deque()
        self._tasklet = Tasklet(self._serve, "receive_tasklet")

    async def receive(self, cpu: Cpu, body: Body) -> None:
        """Leave one NET_RX round to the tasklet."""
        self._todo.append(body)
        await self._tasklets.tasklet_schedule(cpu, self._tasklet)

    async def _serve(self, cpu: Cpu, tasklet: Tasklet) -> None:
        costs = self._replay.costs
        await cpu.spend(costs.draw("trace_event", "tasklet_entry"))
        while self._todo:
            await self._replay.bodies.run(cpu, self._todo.popleft())
