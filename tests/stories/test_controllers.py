"""Tell the same stories on every interrupt controller: above the controller's hop nothing may know which one it is.

The hop is what the silicon records, the CPU's vectors and the steps of the flow handlers, and on the way up the timer's and the
inter-processor interrupts, which reach the kernel through lines of their own on some machines. Everything above must be the same,
in the same order, on the same CPU, in the same task. Times are not compared: registers of different controllers cost different times.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache, partial
from typing import Any

import pytest

from asyncirq import (
    IRQ_HANDLED,
    IRQ_NONE,
    IRQ_WAKE_THREAD,
    IRQF_ONESHOT,
    IRQF_SHARED,
    NET_RX_SOFTIRQ,
    TASK_INTERRUPTIBLE,
    Cpu,
    IrqReturn,
    KernelConfig,
    Machine,
    Record,
    Task,
    Tasklet,
    Work,
    ms,
    preset,
    us,
)
from asyncirq.board import BOARDS
from asyncirq.trace.events_irq import IRQ_RECORDS, IrqHandlerEntry
from asyncirq.trace.events_sched import SCHED_RECORDS, Printk
from asyncirq.trace.record import tag_of

KERNELS = {
    "stock": preset("linux-6.12"),
    "full": preset("linux-6.12", preemption="full"),
    "threadirqs": preset("linux-6.12", threadirqs=True),
    "rt": preset("linux-6.12", rt=True),
    "6.1": preset("linux-6.1"),
}
HOP_LINES = frozenset({"arch_timer", "timer", "IPI", "cascade"})
"""Actions that stand for the timer and the inter-processor interrupts."""
Story = Callable[[Machine], Awaitable[None]]


def above(records: list[Record]) -> list[tuple[Any, ...]]:
    """Return ``(event, CPU, pid, own fields)`` of what is above the controller's hop; lines by the names of their actions."""
    names: dict[int, str] = {}
    found = []
    for record in records:
        tag = tag_of(type(record))
        if type(record) not in IRQ_RECORDS + SCHED_RECORDS or tag in ("irq_flow", "irq_disable", "irq_enable", "cpu_idle"):
            continue
        own = {name: _nameless(getattr(record, name)) for name in record.__struct_fields__[len(Record.__struct_fields__) :]}
        if isinstance(record, IrqHandlerEntry):
            names[record.irq] = record.name
        if "irq" in own:
            name = own["irq"] = names.get(own["irq"], own.get("name", ""))
            if name in HOP_LINES:
                continue
        if isinstance(record, Printk):
            own = {"level": record.level}
        found.append((tag, record.cpu, record.pid, tuple(own.values())))
    return found


def _nameless(value: Any) -> Any:
    """Take the irq's number out of its threads' names."""
    return re.sub(r"^irq/\d+-", "irq/N-", value) if isinstance(value, str) else value


async def one_card(m: Machine) -> None:
    """Let a card on a wire interrupt a task; its handler raises NET_RX, wakes its thread and queues work."""
    line, irq = m.line(9)
    queue = m.workqueues.system_wq

    async def work_fn(task: Task, work: Work) -> None:
        await task.spend(us(3))

    work = Work(work_fn, "card_work")

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(us(5))

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
        line.set(False, cpu.cause)
        await cpu.spend(us(1))
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        return IRQ_WAKE_THREAD

    async def thread_fn(task: Task, irq: int, dev_id: object) -> IrqReturn:
        cpu = task.preempt_disable()
        await m.workqueues.queue_work(cpu, queue, work)
        await task.preempt_enable()
        await task.spend(us(10))
        return IRQ_HANDLED

    async def hog(task: Task) -> None:
        await task.spend(us(600))

    m.softirq.open_softirq(NET_RX_SOFTIRQ, net_rx)
    await m.irq.request_threaded_irq(None, irq, handler, thread_fn, IRQF_ONESHOT, "card", line)
    await m.run_for(us(200))
    m.start_thread(hog, "hog", cpu=0)
    for at in (500, 1000, 1400):
        m.engine.timer(lambda: line.set(True), "card").arm(us(at))
    await m.run_for(ms(3))


async def shared_wire(m: Machine) -> None:
    """Let two cards share a wire, so that each handler must say whether it was its card; one leaves the rest to a tasklet."""
    line, irq = m.line(10)
    drivers = [0, line.add_driver()]
    asking = [False, False]

    async def tasklet_fn(cpu: Cpu, tasklet: Tasklet) -> None:
        await cpu.spend(us(2))

    tasklet = Tasklet(tasklet_fn, "card_tasklet")

    def handler_of(number: int) -> Callable[[Cpu, int, object], Coroutine[Any, Any, IrqReturn]]:
        async def handler(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
            await cpu.spend(us(1))
            if not asking[number]:
                return IRQ_NONE
            asking[number] = False
            line.set(False, cpu.cause, drivers[number])
            if number:
                await m.tasklets.tasklet_schedule(cpu, tasklet)
            return IRQ_HANDLED

        return handler

    def ask(number: int) -> None:
        asking[number] = True
        line.set(True, 0, drivers[number])

    for number in (0, 1):
        await m.irq.request_irq(None, irq, handler_of(number), IRQF_SHARED, f"card{number}", asking[number::2] or number + 1)
    for at, number in ((300, 0), (400, 1), (500, 0), (501, 1)):
        m.engine.timer(partial(ask, number), "ask").arm(us(at))
    await m.run_for(ms(2))


async def edges(m: Machine) -> None:
    """Let edges come while their handler runs (one more run for all of them), and while the line is disabled (kept, and one run)."""
    line, irq = m.line(11, level=False)
    runs = []

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
        runs.append(m.now)
        await cpu.spend(us(20))
        return IRQ_HANDLED

    async def driver(task: Task) -> None:
        await m.irq.disable_irq(task, irq)
        await task.spend(us(300))
        await m.irq.enable_irq(task, irq)
        await task.spend(us(300))

    await m.irq.request_irq(None, irq, handler, 0, "edge")
    for at in (300, 305, 310, 315, 700):
        m.engine.timer(line.pulse, "pulse").arm(us(at))
    await m.run_for(us(600))
    m.start_thread(driver, "driver", cpu=0)
    await m.run_for(ms(2))
    assert len(runs) == 3


async def message(m: Machine) -> None:
    """Let a device with messages interrupt an idle CPU, and again during the handler."""
    msi = m.msi("eth0")

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
        await cpu.spend(us(5))
        return IRQ_HANDLED

    await m.irq.request_irq(None, msi.irq, handler, 0, "eth0")
    for at in (300, 302, 400):
        m.engine.timer(msi.send, "send").arm(us(at))
    await m.run_for(ms(2))


async def two_cpus(m: Machine) -> None:
    """Let a card interrupt the second CPU, where its handler raises a softirq and wakes a task of the first."""
    line, irq = m.line(9)
    sleepers: list[Task] = []

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(us(5))

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> IrqReturn:
        line.set(False, cpu.cause)
        await cpu.spend(us(1))
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        await m.sched.wake_up_process(cpu, sleepers[0])
        return IRQ_HANDLED

    async def sleeper(task: Task) -> None:
        for _ in range(3):
            task.set_current_state(TASK_INTERRUPTIBLE)
            await task.schedule()
            await task.spend(us(20))

    m.softirq.open_softirq(NET_RX_SOFTIRQ, net_rx)
    m.irq.default_affinity = 0b10
    await m.irq.request_irq(None, irq, handler, 0, "card")
    sleepers.append(m.start_thread(sleeper, "sleeper", cpu=0))
    await m.run_for(us(300))
    for at in (500, 1000, 1500):
        m.engine.timer(lambda: line.set(True), "card").arm(us(at))
    await m.run_for(ms(3))


CASES = [(story, kernel) for story in (one_card, shared_wire) for kernel in KERNELS]
CASES += [(story, kernel) for story in (edges, message) for kernel in ("stock", "full", "6.1")]
"""Where handlers are forced into threads, the controllers' flows differ as Linux's do: the edge flow lets a second edge wake the thread
again, the fasteoi flow holds it back until the thread is done. So the edges that come during a handler are told elsewhere."""


@cache
def told(story: Story, controller: str, kernel: KernelConfig, cpus: int = 1) -> tuple[tuple[Any, ...], ...]:
    """Return what is above the controller's hop when a story is told there."""

    async def main() -> list[tuple[Any, ...]]:
        async with Machine(cpus, kernel, controller=controller, check=True) as m:
            await story(m)
            return above(m.records)

    return tuple(asyncio.run(main()))


@pytest.mark.parametrize("controller", [name for name in BOARDS if name != "apic"])
@pytest.mark.parametrize(("story", "kernel"), CASES, ids=[f"{story.__name__}-{kernel}" for story, kernel in CASES])
def test_same_records_above_the_controller(story: Story, kernel: str, controller: str) -> None:
    expected = told(story, "apic", KERNELS[kernel])
    handlers = [row for row in expected if row[0] == "irq_handler_entry"]
    assert len(handlers) >= 3
    assert told(story, controller, KERNELS[kernel]) == expected


@pytest.mark.parametrize("controller", [name for name in BOARDS if name != "apic" and BOARDS[name].max_cpus > 1])
@pytest.mark.parametrize("kernel", KERNELS)
def test_same_records_on_each_of_two_cpus(kernel: str, controller: str) -> None:
    expected = told(two_cpus, "apic", KERNELS[kernel], 2)
    found = told(two_cpus, controller, KERNELS[kernel], 2)
    for cpu in range(2):
        assert [row for row in found if row[1] == cpu] == [row for row in expected if row[1] == cpu]
    assert [row[1] for row in expected if row[0] == "irq_handler_entry"] == [1, 1, 1]
