"""Hold the traces of our own machine against the rule of the softirq pass, and show that a fault in one is found."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from itertools import pairwise
from textwrap import dedent
from typing import Final

import msgspec
import pytest

from asyncirq import KernelConfig, Machine, ms
from asyncirq.analysis.event import Event
from asyncirq.analysis.model import capture_from_records
from asyncirq.analysis.softirq_check import SoftirqReport, check_softirqs
from asyncirq.bottom_half import softirq as softirq_module
from asyncirq.bottom_half.softirq import BLOCK_SOFTIRQ, HI_SOFTIRQ, NET_RX_SOFTIRQ, RCU_SOFTIRQ, TASKLET_SOFTIRQ, TIMER_SOFTIRQ, Softirq
from asyncirq.config import preset
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task
from asyncirq.trace.record import Record
from tests.determinism.scene import KERNELS, Scene
from tests.softirq_rig import FORCED, RT, STOCK, Rig
from tests.softirq_rule import check_records
from tests.stories.receiver import Receiver

ALL = (*KERNELS, preset("linux-7.1"), preset("linux-7.1", threadirqs=True), preset("linux-7.1", rt=True), preset("linux-6.1", rt=True))


def of_scene(kernel: KernelConfig) -> list[Event]:
    """Return the events of the determinism scene."""

    async def body() -> list[Event]:
        async with Machine(2, kernel, seed=3) as m:
            await Scene(m).start()
            await m.run_for(ms(10))
            return capture_from_records(m.records, "scene").events

    return asyncio.run(body())


@pytest.mark.parametrize("kernel", ALL, ids=lambda kernel: f"{kernel.release}-{kernel.preemption}-{kernel.threadirqs}")
def test_nothing_is_wrong_in_the_scene(kernel: KernelConfig) -> None:
    report = check_softirqs(of_scene(kernel), start={})
    assert report.wrong == []
    assert report.ok > 100


@pytest.mark.parametrize("scheme", ["interrupts", "napi"])
def test_nothing_is_wrong_under_overload(scheme: str) -> None:
    async def body() -> list[Event]:
        async with Machine(1, "linux-6.12", seed=1) as m:
            await Receiver(m, scheme, 20_000, 30_000, user_ns=10_000).start(40_000)  # type: ignore[arg-type]
            await m.run_for(ms(40))
            return capture_from_records(m.records, "scene").events

    report = check_softirqs(asyncio.run(body()), start={})
    assert report.wrong == []
    assert report.ok > 10


def busy(kernel: KernelConfig) -> list[Event]:
    """Return the events of ``busy_records``."""
    return capture_from_records(busy_records(kernel), "busy").events


def busy_records(kernel: KernelConfig) -> list[Record]:
    """Return the records of a machine on which interrupts nest in softirqs that raise each other."""
    m = Rig(2, kernel, softirq_entry_ns=50, softirq_next_ns=10)

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(700)
        m.softirq.raise_softirq_nowake(cpu, HI_SOFTIRQ)

    async def block(cpu: Cpu) -> None:
        await cpu.spend(300)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.softirq_does(BLOCK_SOFTIRQ, block)
    for n in range(60):
        m.irq_raises(1000 + 1370 * n, NET_RX_SOFTIRQ, TASKLET_SOFTIRQ, cpu=n % 2)

    async def tick(cpu: Cpu) -> None:
        await m.softirq.raise_timer_softirq(cpu, TIMER_SOFTIRQ)

    for n in range(60):
        if n % 3:
            m.irq_raises(1300 + 911 * n, (BLOCK_SOFTIRQ, RCU_SOFTIRQ)[n % 2], cpu=n // 2 % 2)
        else:
            m.irq(1300 + 911 * n, tick, cpu=n // 2 % 2)

    async def task(task: Task) -> None:
        for _ in range(40):
            await m.softirq.local_bh_disable(task)
            await task.spend(500)
            await m.softirq.local_bh_enable(task)
            await task.spend(700)

    m.start(task, "bh", cpu=0)
    m.play(1_000_000)
    records = m.records()
    m.end()
    return records


@pytest.mark.parametrize("kernel", [STOCK, FORCED, RT, preset("linux-2.6")], ids=["stock", "threadirqs", "rt", "2.6"])
def test_nothing_is_wrong_where_interrupts_nest(kernel: KernelConfig) -> None:
    report = check_softirqs(busy(kernel), start={})
    assert report.wrong == []
    assert report.total > 100


# --- planted faults: each is a kernel that breaks the rule once


def entries(events: list[Event], cpu: int = 0) -> list[int]:
    """Return where the softirq entries of a CPU are."""
    return [at for at, event in enumerate(events) if event.name == "softirq_entry" and event.cpu == cpu]


def exit_of(events: list[Event], entry: int) -> int:
    """Return where the exit of an entry is."""
    cpu = events[entry].cpu
    return next(at for at in range(entry, len(events)) if events[at].name == "softirq_exit" and events[at].cpu == cpu)


def swapped(events: list[Event], i: int, j: int) -> list[Event]:
    """Exchange the vectors of two whole runs."""
    planted = list(events)
    ends = [exit_of(events, i), exit_of(events, j)]
    for here, there in ((i, j), (ends[0], ends[1]), (j, i), (ends[1], ends[0])):
        planted[here] = msgspec.structs.replace(events[here], fields=events[there].fields)
    return planted


def highest_first(events: list[Event]) -> list[Event]:
    """Run two vectors of one pass in the wrong order."""
    at = entries(events)[4:]
    i, j = next((a, b) for a, b in pairwise(at) if (vec(events, a), vec(events, b)) == (NET_RX_SOFTIRQ, TASKLET_SOFTIRQ))
    return swapped(events, i, j)


def same_pass(events: list[Event]) -> list[Event]:
    """Serve what is raised during a pass in that very pass: HI, raised by NET_RX, before TASKLET of the snapshot."""
    at = entries(events)[4:]
    i, j = next((a, b) for a, b in pairwise(at) if (vec(events, a), vec(events, b)) == (TASKLET_SOFTIRQ, HI_SOFTIRQ))
    return swapped(events, i, j)


def lost(events: list[Event]) -> list[Event]:
    """Clear the mask a second time: a vector that was raised never runs."""
    i = next(a for a in entries(events)[4:] if vec(events, a) == TASKLET_SOFTIRQ)
    j = exit_of(events, i)
    return [event for at, event in enumerate(events) if at not in (i, j)]


def twice(events: list[Event]) -> list[Event]:
    """Do not clear the mask: a vector runs again though nobody raised it."""
    i = next(a for a in entries(events)[4:] if vec(events, a) == HI_SOFTIRQ)
    j = exit_of(events, i)
    return [*events[: j + 1], events[i], events[j], *events[j + 1 :]]


def elsewhere(events: list[Event]) -> list[Event]:
    """Run a vector on another CPU than the one that it was raised on."""
    i = next(a for a in entries(events)[4:] if vec(events, a) == TASKLET_SOFTIRQ)
    j = exit_of(events, i)
    planted = list(events)
    for at in (i, j):
        planted[at] = msgspec.structs.replace(events[at], cpu=1)
    return planted


def vec(events: list[Event], at: int) -> int:
    """Return the vector of an entry."""
    return int(events[at].fields["vec"])


@pytest.mark.parametrize("plant", [highest_first, same_pass, lost, twice, elsewhere])
def test_a_planted_fault_is_found(plant: Callable[[list[Event]], list[Event]]) -> None:
    events = busy(STOCK)
    clean = check_softirqs(events)
    report: SoftirqReport = check_softirqs(plant(events))
    assert clean.wrong == []
    assert report.wrong != []


def test_timers_in_ksoftirqd_are_found() -> None:
    """On PREEMPT_RT what the tick raises is ktimers' alone."""
    events = busy(RT)
    assert check_softirqs(events).wrong == []
    ksoftirqd = next(event for event in events if event.comm == "ksoftirqd/0")
    i = next(a for a in entries(events) if events[a].comm == "ktimers/0" and vec(events, a) == TIMER_SOFTIRQ)
    planted = list(events)
    planted[i] = msgspec.structs.replace(events[i], pid=ksoftirqd.pid, comm="ksoftirqd/0")
    assert check_softirqs(planted).wrong != []


# --- the same faults planted in the model, in its own lines

PASS: Final = "_handle"
FAULTS: Final[dict[str, tuple[str, str, str]]] = {
    "highest first": (
        PASS,
        "nr = (snapshot & -snapshot).bit_length() - 1\n            snapshot &= snapshot - 1\n",
        "nr = snapshot.bit_length() - 1\n            snapshot ^= 1 << nr\n",
    ),
    "same pass": (
        PASS,
        "await action(cpu)\n",
        "await action(cpu)\n            snapshot |= pending[index]\n            pending[index] = 0\n",
    ),
    "lost": (
        PASS,
        "        cpu.irq_disable()\n        if not pending",
        "        pending[index] = 0\n        cpu.irq_disable()\n        if not pending",
    ),
    "twice": (PASS, "pending[index] = 0\n", "pending[index] = snapshot & 1 << BLOCK_SOFTIRQ if first else 0\n"),
    "elsewhere": ("_mark", "words[index] |= bit", "words[index ^ 1 if nr == TASKLET_SOFTIRQ else index] |= bit"),
}
"""Method, what stands in it, what stands there instead."""


@pytest.mark.softirq_rule("broken")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_planted_in_the_model_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the check that every test's machine goes through."""
    assert check_records(busy_records(STOCK)).wrong == []
    name, right, wrong = FAULTS[fault]
    source = dedent(inspect.getsource(getattr(Softirq, name)))
    assert source.count(right) == 1
    namespace = dict(vars(softirq_module))
    exec(source.replace(right, wrong), namespace)
    monkeypatch.setattr(Softirq, name, namespace[name])
    assert check_records(busy_records(STOCK)).wrong != []
