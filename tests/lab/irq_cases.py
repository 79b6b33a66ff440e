"""The lab's cases on flow handlers, threads, sharing, disabling, nesting and spurious interrupts, as programs for the bench."""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import IRQCHIP_EOI_THREADED, IRQCHIP_ONESHOT_SAFE
from asyncirq.irq.desc import (
    IRQ_HANDLED,
    IRQ_NONE,
    IRQ_WAKE_THREAD,
    IRQF_NO_THREAD,
    IRQF_ONESHOT,
    IRQF_SHARED,
    FlowHandler,
    Handler,
    ThreadFn,
)
from asyncirq.irq.flow import handle_edge_irq, handle_fasteoi_irq, handle_level_irq, handle_simple_irq
from asyncirq.sched.preempt import HARDIRQ_MASK, SOFTIRQ_MASK, SOFTIRQ_OFFSET
from asyncirq.sched.task import Task
from tests.lab.bench import FIRST_US, MS, NO_PAST, Bench, LabChip, Past, Program
from tests.lab.rows import Row


class Flow(NamedTuple):
    """One row of the lab's matrix: a flow handler on a controller with these flags."""

    name: str
    handle: FlowHandler
    flags: int = 0


FLOWS: Final = (
    Flow("simple", handle_simple_irq),
    Flow("level", handle_level_irq),
    Flow("edge", handle_edge_irq),
    Flow("fasteoi", handle_fasteoi_irq),
    Flow("edge-oneshotsafe", handle_edge_irq, IRQCHIP_ONESHOT_SAFE),
    Flow("fasteoi-eoithreaded", handle_fasteoi_irq, IRQCHIP_EOI_THREADED),
)
SMP_FLOWS: Final = FLOWS[1:4]


# --- what the lab's handlers do


def handled(bench: Bench) -> Handler:
    """Return a handler that says in which context it runs."""

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        hard = int(cpu.preempt_count & HARDIRQ_MASK != 0)
        soft = int(cpu.preempt_count & SOFTIRQ_OFFSET != 0)
        bench.say(cpu, f"handler handled hardirq={hard} serving_softirq={soft} irqs_off={int(cpu.irqs_off)}")
        return IRQ_HANDLED

    return handler


def none(bench: Bench) -> Handler:
    """Return a handler that is not concerned."""

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        return IRQ_NONE

    return handler


def wake(bench: Bench) -> Handler:
    """Return a handler that asks for its thread."""

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        bench.say(cpu, "primary returns WAKE_THREAD")
        return IRQ_WAKE_THREAD

    return handler


def schedules_tasklet(bench: Bench, ran_before: int) -> Handler:
    """Return a handler that schedules a tasklet, which has run ``ran_before`` times in earlier cases."""

    async def callback(cpu: Cpu, tasklet: Tasklet) -> None:
        hard = int(cpu.preempt_count & HARDIRQ_MASK != 0)
        soft = int(cpu.preempt_count & SOFTIRQ_OFFSET != 0)
        bench.say(cpu, f"tasklet 0 left={-ran_before} hardirq={hard} serving_softirq={soft} pid={cpu.pid}")

    tasklet = Tasklet(callback, "lab0")

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        bench.say(cpu, f"handler schedules tasklet hardirq={int(cpu.preempt_count & HARDIRQ_MASK != 0)}")
        await bench.machine.tasklets.tasklet_schedule(cpu, tasklet)
        return IRQ_HANDLED

    return handler


def nests(bench: Bench) -> Handler:
    """Return a handler during whose first two runs the line's interrupt comes again."""

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        bench.say(cpu, f"handler nest={bench.nest}")
        bench.nest += 1
        if bench.nest <= 2:
            bench.say(cpu, "second edge arrives while in progress")
            await bench.machine.irq.generic_handle_irq(cpu, irq)
        return IRQ_HANDLED

    return handler


def busy(bench: Bench) -> Handler:
    """Return a handler that takes 9 ms."""

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        bench.say(cpu, f"busy handler start cpu={cpu.id}")
        await cpu.spend(9 * MS)
        bench.say(cpu, "busy handler end")
        return IRQ_HANDLED

    return handler


def sleeps(bench: Bench) -> ThreadFn:
    """Return a thread function that sleeps for 4 ms."""

    async def thread_fn(task: Task, irq: int, dev_id: object) -> int:
        bench.say(task.cpu, f"thread fn start prio={task.prio} policy={task.policy}")
        await bench.machine.sleep.usleep_range(task, 4000, 4100)
        bench.say(task.cpu, "thread fn end")
        return IRQ_HANDLED

    return thread_fn


def quick(bench: Bench) -> ThreadFn:
    """Return a thread function that says in which context it runs."""

    async def thread_fn(task: Task, irq: int, dev_id: object) -> int:
        bh_off = int(task.cpu.preempt_count & SOFTIRQ_MASK != 0)
        bench.say(task.cpu, f"thread fn prio={task.prio} policy={task.policy} bh_off={bh_off}")
        return IRQ_HANDLED

    return thread_fn


# --- the programs


def _make(bench: Bench, flow: Flow) -> int:
    return bench.line(flow.handle, flow.name, LabChip(bench, flags=flow.flags))


class Action(NamedTuple):
    """One column of the matrix: what is requested, how many shots are fired and how many microseconds apart."""

    name: str
    handler: str
    thread_fn: str = ""
    flags: int = 0
    shots: int = 1
    gap_us: int = 0


ACTIONS: Final = (
    Action("hard", "handled", shots=2, gap_us=1000),
    Action("none", "none"),
    Action("hard-nothread", "handled", flags=IRQF_NO_THREAD),
    Action("hard-tasklet", "tasklet"),
    Action("thr-oneshot", "", "sleeps", IRQF_ONESHOT, 2, 2000),
    Action("thr-wake-noshot", "wake", "sleeps", 0, 3, 1500),
    Action("thr-wake-oneshot", "wake", "quick", IRQF_ONESHOT),
    Action("thr-null-noshot", "", "quick"),
)


async def plain(flow: Flow, action: Action, bench: Bench, task: Task) -> None:
    """Request, fire, free."""
    handlers = {
        "": None,
        "handled": handled(bench),
        "none": none(bench),
        "wake": wake(bench),
        "tasklet": schedules_tasklet(bench, FLOWS.index(flow)),
    }
    threads = {"": None, "sleeps": sleeps(bench), "quick": quick(bench)}
    irq = _make(bench, flow)
    if await bench.request(task, handlers[action.handler], threads[action.thread_fn], action.flags):
        await bench.shoot(task, *((n, bench.fire, FIRST_US + n * action.gap_us) for n in range(action.shots)))
        await bench.sleep(task, 40)
        bench.say(task.cpu, "free_irq")
        await bench.machine.irq.free_irq(task, irq)


async def shared(flow: Flow, bench: Bench, task: Task) -> None:
    """Share a line between a handler that is not concerned and one that is."""
    irq = _make(bench, flow)
    free = bench.machine.irq.free_irq
    if await bench.request(task, none(bench), None, IRQF_SHARED, "labA", "A"):
        if await bench.request(task, handled(bench), None, IRQF_SHARED, "labB", "B"):
            await bench.one(task, bench.fire)
            await free(task, irq, "B")
        await free(task, irq, "A")


async def disabled(flow: Flow, bench: Bench, task: Task) -> None:
    """Fire twice at a disabled line and enable it."""
    irq = _make(bench, flow)
    core = bench.machine.irq
    if await bench.request(task, handled(bench), None, IRQF_NO_THREAD):
        bench.say(task.cpu, "disable_irq")
        await core.disable_irq(task, irq)
        await bench.one(task, bench.fire)
        await bench.one(task, bench.fire)
        bench.say(task.cpu, "enable_irq")
        await core.enable_irq(task, irq)
        await bench.sleep(task, 20)
        await core.free_irq(task, irq)


async def rearrive(flow: Flow, bench: Bench, task: Task) -> None:
    """Let the interrupt come again while its handler runs on the same CPU."""
    irq = _make(bench, flow)
    if await bench.request(task, nests(bench), None, IRQF_NO_THREAD):
        await bench.one(task, bench.fire)
        await bench.machine.irq.free_irq(task, irq)


async def other_cpu(flow: Flow, bench: Bench, task: Task) -> None:
    """Let the interrupt come on CPU 1 while its handler runs on CPU 0."""
    irq = _make(bench, flow)
    if await bench.request(task, busy(bench), None, IRQF_NO_THREAD):

        async def arm(cpu: Cpu) -> None:
            bench.arm(cpu, 1, bench.fire, 7000)

        cpu = task.preempt_disable()
        await bench.machine.kernel.ipi.smp_call_function_single(cpu, 1, arm, True)
        await task.preempt_enable()
        await bench.shoot(task, (0, bench.fire, 3000))
        await bench.sleep(task, 80)
        await bench.machine.irq.free_irq(task, irq)


BURSTS: Final = 100
BURST: Final = 1_000
LAST_BURST: Final = 14
PAUSE_MS: Final = 120
"""More than the 25 jiffies without an unhandled interrupt after which their count begins anew."""


async def spurious(bench: Bench, task: Task) -> None:
    """Fire past the 100,000th unhandled interrupt: all but 10 of them with the trace off, 14 with the trace on.

    A machine that stood still in between takes a pause in the middle of those that are not told.
    """
    irq = _make(bench, FLOWS[1])
    if await bench.request(task, none(bench), None, IRQF_NO_THREAD):

        async def burst(cpu: Cpu, n: int) -> None:
            for _ in range(n):
                await bench.machine.irq.generic_handle_irq(cpu, irq)

        with bench.trace_off(task.cpu):
            for i in range(BURSTS):
                await bench.shoot(task, (BURST if i < BURSTS - 1 else BURST - 10, burst, 100))
                await bench.sleep(task, 8)
                if i == BURSTS // 2 and bench.past.paused_ms:
                    await bench.sleep(task, bench.past.paused_ms)
        await bench.shoot(task, (LAST_BURST, burst, FIRST_US))
        await bench.sleep(task, 300)
        await bench.machine.irq.free_irq(task, irq)


def pasts(rows: list[Row]) -> tuple[Past, ...]:
    """Return what a case may have met while its trace was off: nothing, or a machine that stood still."""
    untold = any(row.what.startswith(f"shot begin n={LAST_BURST} ") for row in rows)
    return (NO_PAST, Past(paused_ms=PAUSE_MS)) if untold else (NO_PAST,)


def _cases() -> dict[str, Program]:
    found: dict[str, Program] = {}
    for flow in FLOWS:
        for action in ACTIONS:
            found[f"irq/{flow.name}/{action.name}"] = partial(plain, flow, action)
        found[f"irq/{flow.name}/shared-none-handled"] = partial(shared, flow)
        found[f"irq/{flow.name}/disabled-then-enable"] = partial(disabled, flow)
        found[f"irq/{flow.name}/rearrive-in-handler"] = partial(rearrive, flow)
    for flow in SMP_FLOWS:
        found[f"irqsmp/{flow.name}/other-cpu-while-in-progress"] = partial(other_cpu, flow)
    found["irq/level/spurious-100000"] = spurious
    return found


CASES: Final = _cases()
"""Every case by its name; a capture holds a part of them."""
