"""Build the machine that a scenario describes, and run it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import anyio
import msgspec

from asyncirq.drivers import Driver
from asyncirq.errors import UsageError
from asyncirq.machine import Machine
from asyncirq.scenario.file import E1000Section, ScriptedSection, Step, ThreadSection, TimerCardSection, TraceSection
from asyncirq.scenario.load import Scenario
from asyncirq.sched.task import SCHED_FIFO, SCHED_NORMAL, SCHED_RR, Task, TaskFn
from asyncirq.trace.record import Record
from asyncirq.trace.sinks import FileSink, MemorySink, Sink
from asyncirq.trace.structlog_sink import StructlogSink
from asyncirq.units import format_ns
from devices import E1000, E1000Driver, Scripted, ScriptedDriver, TimerCard, TimerCardDriver

Section = E1000Section | TimerCardSection | ScriptedSection
POLICIES: Final = (("normal", SCHED_NORMAL), ("fifo", SCHED_FIFO), ("rr", SCHED_RR))


class Result(msgspec.Struct):
    """What a run left behind.

    ``now`` is where virtual time stood, short of the scenario's end if the run was ``interrupted``. ``counters`` are those
    of each device's driver. ``interrupts``, ``softirqs`` and ``softnet_stat`` are the texts of the files under /proc.
    """

    scenario: str
    now: int
    interrupted: bool
    digest: str
    counters: dict[str, dict[str, int]]
    interrupts: str
    softirqs: str
    softnet_stat: str
    records: list[Record]

    def __repr__(self) -> str:
        # Short: asyncio takes the repr of a main coroutine's result, and the records may be millions.
        return f"<Result {self.scenario}: {format_ns(self.now)}, {len(self.records)} records>"


async def run_scenario(scenario: Scenario, *, sinks: Sequence[Sink] = (), stop: anyio.CancelScope | None = None) -> Result:
    """Run a scenario to its end and return what it left behind.

    ``sinks`` receive the trace besides those that the scenario names. Cancelling ``stop`` ends the run early; what was
    traced until then is kept and returned.
    """
    file = scenario.file
    machine = file.machine
    memory = MemorySink()
    scope = stop if stop is not None else anyio.CancelScope()
    async with Machine(
        cpus=machine.cpus,
        kernel=scenario.kernel,
        arch=machine.arch,
        controller=machine.controller,
        seed=machine.seed,
        costs=scenario.costs,
        sinks=[memory, *make_sinks(scenario.path, file.trace), *sinks],
        executor=machine.executor,
        debug=file.trace.debug,
    ) as m:
        drivers = await set_up(m, scenario)
        with scope:
            await m.run_for(file.duration)
        return Result(
            scenario=scenario.name,
            now=m.now,
            interrupted=scope.cancelled_caught,
            digest=m.digest,
            counters={driver.device.name: driver.counters() for driver in drivers},
            interrupts=m.proc("interrupts"),
            softirqs=m.proc("softirqs"),
            softnet_stat=m.proc("net/softnet_stat"),
            records=memory.records,
        )


def make_sinks(path: str, trace: TraceSection) -> list[Sink]:
    """Return the sinks that a scenario asks for. Raises ``UsageError`` for a file that cannot be written."""
    sinks: list[Sink] = []
    if trace.file is not None:
        try:
            sinks.append(FileSink(trace.file))
        except UsageError as error:
            raise UsageError(f"{path}: trace.file: {error}") from None
    if trace.stdout is not None:
        sinks.append(StructlogSink(sys.stdout.buffer, renderer=trace.stdout))
    return sinks


async def set_up(m: Machine, scenario: Scenario) -> list[Driver[Any]]:
    """Put the devices and threads of a scenario into a machine; return the drivers. Raises ``UsageError`` that names file and table."""
    drivers = []
    for index, device in enumerate(scenario.file.device):
        try:
            drivers.append(await _add_device(m, device))
        except UsageError as error:
            raise UsageError(f"{scenario.path}: device[{index}]: {error}") from None
    for index, thread in enumerate(scenario.file.thread):
        try:
            _start_thread(m, thread)
        except UsageError as error:
            raise UsageError(f"{scenario.path}: thread[{index}]: {error}") from None
    return drivers


async def _add_device(m: Machine, device: Section) -> Driver[Any]:
    driver = make_driver(device)
    driver.device.connect(m)
    if device.cpus:
        # Before the request: it is where the line starts up, with no move afterwards.
        mask = sum(1 << number for number in sorted(set(device.cpus)))
        await m.irq.irq_set_affinity(None, driver.device.irq, mask)
    await driver.bind(m)
    if not isinstance(device, ScriptedSection) and device.arrivals is not None:
        arrivals = device.arrivals.make()
        if isinstance(device, E1000Section):
            driver.device.start(arrivals, device.arrivals.length, device.arrivals.burst)
        else:
            driver.device.start(arrivals)
    return driver


def make_driver(device: Section) -> Driver[Any]:
    """Return the driver of a described device, with its hardware half in no machine yet."""
    gsi = None if device.irq == "msi" else device.irq
    if isinstance(device, E1000Section):
        chip = E1000(device.name, gsi, dma_ns=device.dma, mbps=device.mbps)
        return E1000Driver(chip, device.bottom_half, itr_ns=device.itr, ring=device.ring, budget=device.budget, reply=device.reply)
    if isinstance(device, TimerCardSection):
        card = TimerCard(device.name, gsi, edge=device.edge)
        return TimerCardDriver(card, device.bottom_half, handler_ns=device.handler, work_ns=device.work)
    script = [(event.at, event.handler) for event in device.script]
    return ScriptedDriver(Scripted(device.name, script, gsi, edge=device.edge), no_thread=device.no_thread)


def _start_thread(m: Machine, thread: ThreadSection) -> None:
    policy = dict(POLICIES)[thread.policy]
    m.start_thread(thread_body(m, thread), thread.comm, cpu=thread.cpu, policy=policy, rt_priority=thread.prio, nice=thread.nice)


def thread_body(m: Machine, thread: ThreadSection) -> TaskFn:
    """Return the function of a described thread: its program once, several times or for ever."""

    async def body(task: Task) -> None:
        left = -1 if thread.repeat is True else int(thread.repeat) or 1
        while left:
            left -= 1
            for step in thread.program:
                await _take(m, task, step)

    return body


async def _take(m: Machine, task: Task, step: Step) -> None:
    if step.run is not None:
        await task.user(step.run)
    elif step.kernel is not None:
        await task.spend(step.kernel)
    elif step.sleep is not None:
        await m.sleep.nanosleep(task, step.sleep)
