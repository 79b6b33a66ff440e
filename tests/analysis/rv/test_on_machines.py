"""Hold the model to the kernel's monitors: every kernel, in work that sleeps, preempts, blocks and is interrupted; and planted faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncirq import (
    IRQ_HANDLED,
    IRQ_WAKE_THREAD,
    IRQF_ONESHOT,
    NET_RX_SOFTIRQ,
    SCHED_FIFO,
    TASK_INTERRUPTIBLE,
    Cpu,
    KernelConfig,
    Machine,
    Task,
    ms,
    preset,
    us,
)
from asyncirq.analysis.ftrace import read_capture
from asyncirq.analysis.model import capture_from_records
from asyncirq.analysis.rv import MONITORS, RULES, MonitorResult, check_capture
from asyncirq.locking.mutex import Mutex
from asyncirq.locking.spinlock import Spinlock
from asyncirq.sched.rq import RunQueue
from asyncirq.sched.rv import RvSched

MODERN = ("linux-6.1", "linux-6.12", "linux-7.1")
KERNELS: list[tuple[str, dict[str, object]]] = [("linux-2.6", {}), ("linux-2.6", {"preemption": "full"})]
KERNELS += [(release, {"preemption": preemption}) for release in MODERN for preemption in ("none", "voluntary", "full", "lazy")]
KERNELS += [(release, {"rt": True}) for release in MODERN]
MUST = [one for one in (*MONITORS, *RULES) if not one.advisory]


def config(release: str, **fields: object) -> KernelConfig:
    return preset(release, rv=True, **fields)  # type: ignore[arg-type]  # rt and the overrides come in one mapping


async def busy(kernel: KernelConfig, cpus: int, spoil: Callable[[Machine], None] = lambda m: None) -> Machine:
    """Run a card with a thread and a softirq, sleepers, hogs, a real-time task and two tasks that share locks, for 15 ms."""
    async with Machine(cpus, kernel, check=True) as m:
        spoil(m)
        old = kernel.release == "linux-2.6"
        line, irq = m.line(9)
        mutex, lock = Mutex(m.sched, "shared"), Spinlock(m.sched, "short")

        async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
            line.set(False, cpu.cause)
            await cpu.spend(us(3))
            m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
            return IRQ_HANDLED if old else IRQ_WAKE_THREAD

        async def thread_fn(task: Task, irq: int, dev_id: object) -> int:
            await task.spend(us(20))
            return IRQ_HANDLED

        async def net_rx(cpu: Cpu) -> None:
            await cpu.spend(us(40))

        async def hardware() -> None:
            for _ in range(25):
                await m.engine.sleep(us(377))
                line.set(True)

        async def sleeper(task: Task) -> None:
            for _ in range(12):
                await task.spend(us(410))
                await m.sleep.msleep(task, 1)

        async def sharer(task: Task) -> None:
            for _ in range(8):
                await mutex.lock(task)
                await task.spend(us(230))
                cpu = await lock.lock(task.cpu)
                await task.spend(us(60))
                await lock.unlock(cpu)
                await mutex.unlock(task)
                await m.sleep.usleep_range(task, 100, 150)

        async def hog(task: Task) -> None:
            await task.spend(ms(6))

        m.softirq.open_softirq(NET_RX_SOFTIRQ, net_rx)
        if old:
            await m.irq.request_irq(None, irq, handler, 0, "card", m)
        else:
            await m.irq.request_threaded_irq(None, irq, handler, thread_fn, IRQF_ONESHOT, "card", m)
        for number in range(cpus):
            m.start_thread(sleeper, f"sleeper{number}", cpu=number)
            m.start_thread(hog, f"hog{number}", cpu=number)
        m.start_thread(sharer, "sharer0")
        m.start_thread(sharer, "sharer1")
        m.start_thread(sleeper, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=10)
        m.spawn(hardware(), "hardware")
        await m.run_for(ms(15))
        return m


def results(m: Machine) -> dict[str, list[MonitorResult]]:
    said: dict[str, list[MonitorResult]] = {}
    for result in check_capture(capture_from_records(m.records, "machine"), MUST):
        said.setdefault(result.monitor.name, []).append(result)
    return said


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.parametrize(("release", "fields"), KERNELS, ids=[f"{release}-{fields or 'plain'}" for release, fields in KERNELS])
def test_every_monitor_passes_on_every_kernel(release: str, fields: dict[str, object], cpus: int) -> None:
    said = results(asyncio.run(busy(config(release, **fields), cpus)))
    if release == "linux-2.6":
        del said["sts"]  # handlers there turn interrupts on before they tell of themselves; since 2.6.35 they run with them off
    assert [str(violation) for many in said.values() for one in many for violation in one.violations] == []
    assert all(one.events > 0 and not one.lacks for many in said.values() for one in many), "a monitor that saw nothing says nothing"


def test_the_events_take_no_time_and_change_nothing_else() -> None:
    plain = asyncio.run(busy(preset("linux-6.12", preemption="full"), 2))
    watched = asyncio.run(busy(config("linux-6.12", preemption="full"), 2))
    own = {
        "IrqDisable",
        "IrqEnable",
        "PreemptDisable",
        "PreemptEnable",
        "SchedEntryTp",
        "SchedExitTp",
        "SchedSetStateTp",
        "SchedSetNeedReschedTp",
    }

    def of(m: Machine) -> list[tuple[object, ...]]:
        header = 2  # seq and cause differ, since there are more records
        kept = [one for one in m.records if type(one).__name__ not in own]
        return [(type(one), *(getattr(one, name) for name in one.__struct_fields__[header:])) for one in kept]

    assert of(watched) == of(plain)
    assert {type(one).__name__ for one in watched.records} >= own


def refused(spoil: Callable[[Machine], None], **fields: object) -> set[str]:
    m = asyncio.run(busy(config("linux-6.12", **fields), 1, spoil))
    return {name for name, many in results(m).items() if any(one.violations for one in many)}


def test_a_scheduler_that_is_entered_twice_is_caught() -> None:
    def spoil(m: Machine) -> None:
        sched, trace = m.sched, m.trace
        assert isinstance(sched, RvSched) and trace is not None
        take = sched._take_next

        def twice(rq: RunQueue, task: Task, preempt: bool) -> Task:
            trace.sched_entry_tp(rq.cpu, False)
            return take(rq, task, preempt)

        sched._take_next = twice  # type: ignore[method-assign]

    assert refused(spoil, preemption="full") >= {"sts", "R9"}


@pytest.mark.monitor_rule("opid", "R11")
def test_a_wake_up_with_interrupts_on_is_caught() -> None:
    def spoil(m: Machine) -> None:
        async def careless(task: Task) -> None:
            assert m.trace is not None
            m.trace.sched_waking(task.cpu, task.comm, task.pid, task.prio, 0)

        m.start_thread(careless, "careless")

    assert {"opid", "R11", "wip"} <= refused(spoil, preemption="full")


def test_setting_the_state_of_another_task_is_caught() -> None:
    def spoil(m: Machine) -> None:
        async def victim(task: Task) -> None:
            for _ in range(3):
                await m.sleep.msleep(task, 1)

        other = m.start_thread(victim, "victim")

        async def meddler(task: Task) -> None:
            await m.sleep.msleep(task, 1)
            other.state = TASK_INTERRUPTIBLE

        m.start_thread(meddler, "meddler")

    assert "snroc" in refused(spoil, preemption="full")


def test_a_task_woken_between_its_state_and_its_switch_trips_wwnr_and_no_other() -> None:
    async def scene() -> Machine:
        async with Machine(1, config("linux-6.12", preemption="full")) as m:

            async def sleepy(task: Task) -> None:
                await m.sleep.msleep(task, 1)
                task.set_current_state(TASK_INTERRUPTIBLE)
                await task.spend(us(50))
                await task.schedule()

            task = m.start_thread(sleepy, "sleepy")
            line, irq = m.line(9)

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                line.set(False, cpu.cause)
                await m.sched.wake_up_process(cpu, task)
                return IRQ_HANDLED

            await m.irq.request_irq(None, irq, handler, 0, "card", m)

            async def hardware() -> None:
                while task.state != TASK_INTERRUPTIBLE or m.cpus[0].current is not task:
                    await m.engine.sleep(us(10))
                line.set(True)

            m.spawn(hardware(), "hardware")
            await m.run_for(ms(20))
            return m

    said = check_capture(capture_from_records(asyncio.run(scene()).records, "machine"))
    assert {one.monitor.name for one in said if one.violations} == {"wwnr"}


@pytest.mark.parametrize("name", ["a4-61-stock-e1000-icount", "b4-61-threadirqs-e1000-icount", "c4-61-rt-e1000-icount"])
def test_real_kernels_pass_what_their_events_allow(name: str) -> None:
    said = check_capture(read_capture(Path("traces/linux") / name / "trace.txt.gz"), MUST)
    ran = {one.monitor.name: one.events for one in said if not one.lacks}
    assert set(ran) == {"opid", "stall", "R2", "R3", "R8", "R11"}
    assert all(count > 1000 for count in ran.values())
    assert [str(violation) for one in said for violation in one.violations] == []
