"""Put the lab on the model: a controller that only logs, shots from the local APIC timer, one task that asks for things.

A shot is a hard-mode hrtimer on the local APIC timer whose function calls the flow handler of the case's line, or raises
what the case wants raised. Everything that happens is in the trace; what the case itself says is a ``LAB`` mark in it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from asyncirq import Machine
from asyncirq.bottom_half.hrtimer import HRTIMER_MODE_ABS, HRTIMER_MODE_HARD, HRTIMER_MODE_PINNED, Hrtimer
from asyncirq.bottom_half.softirq import TIMER_SOFTIRQ
from asyncirq.config import KernelConfig
from asyncirq.costs import Costs
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import FlowHandler, Handler, IrqData, ThreadFn
from asyncirq.irq.sim_chip import IrqSim
from asyncirq.sched.task import Task
from asyncirq.trace.record import Record

US: Final = 1_000
MS: Final = 1_000_000
FIRST_US: Final = 300
"""How long after its arming a case's first shot comes."""
SOFT_SHOT: Final = 90
HARD_SHOT: Final = 91
"""The numbers of the shots that are the case's own hrtimers."""
LAST_SHOT: Final = 99
"""The number of the shot that a retrigger arms."""
RESEND_US: Final = 50
TRACE_OFF: Final = "TRACE off"
TRACE_ON: Final = "TRACE on"
"""The marks between which nothing is told."""
WAY_NS: Final = 2 * US
"""What the requester does between its last step and its sleep: a shot can land there."""
DELAY_STEP_NS: Final = 50 * US
"""In what steps a delay looks at the clock, as the kernel's busy loops do: what comes between is within the delay."""
MARK_NS: Final = 4 * US
"""What it takes a task or softirq to write a line of the lab's."""
EARLY_NS: Final = 190 * US
"""The tick that ends a requester's sleep to its next case."""
TRACED: Final = Costs(softirq_next_ns=1400, tasklet_ns=1300, tasklet_end_ns=1000, napi_poll_ns=1300)
"""What the kernel's steps take while each of them is traced."""
OTHERS: Final = -1
"""The number of a placed tick on which a timer of somebody else's expires."""

Program = Callable[["Bench", Task], Awaitable[None]]
ShotFn = Callable[[Cpu, int], Awaitable[None]]


class Shot(NamedTuple):
    """A shot of a case: its number, and how often that number was armed before."""

    n: int
    again: int


NOBODY: Final = 0
REQUESTER: Final = 1
WORKER: Final = 2
KSOFTIRQD: Final = 3
"""Who had the CPU before a case: nobody for long, the requester, the worker that will be woken first, ksoftirqd."""
PHASE: Final = Shot(-2, 0)
"""Not a shot: how long after a tick (ns, beyond the usual) the told case begins."""


class Past(NamedTuple):
    """What a case finds that is not its own doing.

    ``jiffy``: the one in which it begins. ``ran``: who had the CPU for long before it, as far as it decides who is ahead of whom.
    ``busy``: how long the case's work items took in the emulator's time, in the order of their starts, in us. ``paused_ms``: how long
    the machine stood still while the trace was off.
    """

    jiffy: int = 0
    ran: int = NOBODY
    busy: tuple[int, ...] = ()
    paused_ms: int = 0


NO_PAST: Final = Past()


class Delay(NamedTuple):
    """When a delay of a captured case began and ended, in ns since the case's first shot."""

    begin: int
    end: int


class LabChip(IrqSim):
    """A controller that says what it is asked, with the line's state: Disabled, Masked, In progress."""

    def __init__(self, bench: Bench, name: str = "lab", flags: int = 0) -> None:
        super().__init__(name, flags=flags, also=("retrigger",))
        self.bench = bench

    def _call(self, operation: str, data: IrqData) -> int:
        desc = data.desc
        state = f"{'D' if desc.disabled else '-'}{'M' if desc.masked else '-'}{'I' if desc.inprogress else '-'}"
        self.bench.say(self.cpu, f"chip {operation} {state}")
        return self.ns

    def irq_ack(self, cpu: Cpu, data: IrqData) -> int:
        self.cpu = cpu
        return super().irq_ack(cpu, data)

    def irq_mask(self, cpu: Cpu, data: IrqData) -> int:
        self.cpu = cpu
        return super().irq_mask(cpu, data)

    def irq_unmask(self, cpu: Cpu, data: IrqData) -> int:
        self.cpu = cpu
        return super().irq_unmask(cpu, data)

    def irq_eoi(self, cpu: Cpu, data: IrqData) -> int:
        self.cpu = cpu
        return super().irq_eoi(cpu, data)

    def irq_retrigger(self, cpu: Cpu, data: IrqData) -> bool:
        self.cpu = cpu
        self._call("retrigger", data)
        self.bench.arm(cpu, LAST_SHOT, self.bench.fire, RESEND_US)
        return True


class Bench:
    """One machine for one case.

    ``placed`` gives shots an instant (ns) other than the one that the case asks for; ``past`` is what the case finds; ``delays`` gives
    the delays of a case (by its name, in order) another end.
    """

    def __init__(
        self,
        kernel: KernelConfig,
        cpus: int,
        placed: Mapping[Shot, int] | None = None,
        past: Past = NO_PAST,
        costs: Costs | None = None,
        delays: Mapping[str, Sequence[Delay]] | None = None,
    ) -> None:
        self.machine = Machine(cpus, kernel, costs=costs, check=True)
        self.irq = -1
        self.nest = 0
        self.armed: Counter[int] = Counter()
        self.placed = placed or {}
        self.past = past
        self._busy = list(past.busy)
        self.delays = delays or {}
        self.case = self.name = ""
        self._delays: Iterator[Delay] = iter(())
        self._zero: int | None = None
        self.speaks = True
        self.done = False

    # --- saying

    def say(self, cpu: Cpu, text: str) -> None:
        """Put a line of the lab's into the trace."""
        trace = self.machine.trace
        assert trace is not None
        if self.speaks:
            trace.mark(cpu, f"LAB {text}")

    async def next(self, task: Task, name: str) -> None:
        """Begin the case of that name after another one, with whose last sleep a tick has made an end."""
        await task.spend(EARLY_NS)
        if name == self.case and PHASE in self.placed:
            await self.machine.sleep.nanosleep(task, self.placed[PHASE])
        self.begin(task, name)

    def begin(self, task: Task, name: str = "") -> None:
        """Say that the case (or another one before it) begins: what was said and done before is no part of it."""
        self.name = name or self.case
        self.armed.clear()
        self._delays = iter(self.delays.get(self.name, ()))
        self._zero = None
        self.say(task.cpu, f"CASE {self.name}")
        if self.name == self.case:
            self._arm_others(task.cpu)

    @contextmanager
    def trace_off(self, cpu: Cpu) -> Iterator[None]:
        """Let nothing of what happens meanwhile be told, and spare the records of the interrupts."""
        core = self.machine.irq
        self.say(cpu, TRACE_OFF)
        trace, core.trace, self.speaks = core.trace, None, False
        yield
        core.trace, self.speaks = trace, True
        self.say(cpu, TRACE_ON)

    def busy_us(self, asked: int) -> int:
        """Return how long the next item keeps its CPU that was asked to for so long."""
        return max(asked, self._busy.pop(0) if self._busy else 0)

    # --- shots

    def arm(self, cpu: Cpu, n: int, fn: ShotFn, us: int) -> None:
        """Have ``await fn(cpu, n)`` run in a timer interrupt of this CPU."""

        async def shot(here: Cpu, timer: Hrtimer) -> bool:
            if self._zero is None:
                self._zero = self.machine.now
            self.say(here, f"shot begin n={n} cpu={here.id}")
            await fn(here, n)
            self.say(here, f"shot end n={n}")
            return False

        timer = Hrtimer(shot, HRTIMER_MODE_HARD, f"shot{n}")
        when = self.machine.now + us * US
        if self.name == self.told:
            when = self.placed.get(Shot(n, self.armed[n]), when)
        self.armed[n] += 1
        self.machine.hrtimers.hrtimer_start(cpu, timer, when, HRTIMER_MODE_ABS | HRTIMER_MODE_PINNED)

    def _arm_others(self, cpu: Cpu) -> None:
        async def tick(here: Cpu, timer: Hrtimer) -> bool:
            await self.machine.softirq.raise_timer_softirq(here, TIMER_SOFTIRQ)
            return False

        for shot, when in self.placed.items():
            if shot.n == OTHERS:
                timer = Hrtimer(tick, HRTIMER_MODE_HARD, f"tick{shot.again}")
                self.machine.hrtimers.hrtimer_start(cpu, timer, when, HRTIMER_MODE_ABS | HRTIMER_MODE_PINNED)

    async def fire(self, cpu: Cpu, n: int) -> None:
        """Take an interrupt of the case's line."""
        self.say(cpu, "fire irq")
        await self.machine.irq.generic_handle_irq(cpu, self.irq)

    async def shoot(self, task: Task, *shots: tuple[int, ShotFn, int]) -> None:
        """Arm shots ``(n, fn, us)`` on the requester's CPU."""
        cpu = task.preempt_disable()
        for n, fn, us in shots:
            self.arm(cpu, n, fn, us)
        await task.preempt_enable()

    async def sleep(self, task: Task, ms: int) -> None:
        """Let the requester sleep, after a short way to its sleep."""
        await task.spend(WAY_NS)
        await self.machine.sleep.msleep(task, ms)

    async def delay(self, cpu: Cpu, us: int) -> None:
        """Keep a CPU busy until so much time is over, whatever comes between; a capture's delay ends when that one did."""
        end = self.machine.now + us * US
        delay = next(self._delays, None)
        if delay is not None:
            end = self.machine.now + delay.end - delay.begin if self._zero is None else self._zero + delay.end
        while self.machine.now < end:
            await cpu.spend(min(DELAY_STEP_NS, end - self.machine.now))

    async def one(self, task: Task, fn: ShotFn, n: int = 0) -> None:
        """Fire one shot and sleep until it is long over."""
        await self.shoot(task, (n, fn, FIRST_US))
        await self.sleep(task, 40)

    # --- lines

    def line(self, flow: FlowHandler, name: str, chip: LabChip | None = None) -> int:
        """Make the case's line with that flow handler on a logging controller."""
        irq = self.machine.irq
        self.irq = irq.alloc_desc().irq
        irq.set_chip_and_handler(self.irq, chip or LabChip(self), flow, name)
        return self.irq

    async def request(
        self, task: Task, handler: Handler | None, thread_fn: ThreadFn | None, flags: int, name: str = "lab", dev_id: object = None
    ) -> bool:
        """Request the case's line, say how that went, and return whether it did."""
        error = 0
        try:
            await self.machine.irq.request_threaded_irq(task, self.irq, handler, thread_fn, flags, name, dev_id)
        except UsageError as refused:
            error = -refused.errno
        has = f"primary={int(handler is not None)} thread={int(thread_fn is not None)}"
        self.say(task.cpu, f"request_threaded_irq {name} {has} flags={flags:x} -> {error}")
        return not error

    # --- running

    def run(self, name: str, program: Program) -> list[Record]:
        """Run a case to its end and return what was recorded."""
        self.told = name

        self.case = name

        async def insmod(task: Task) -> None:
            await self.machine.sleep.msleep(task, 20)
            self.begin(task)
            await program(self, task)
            self.done = True

        async def play() -> list[Record]:
            async with self.machine as machine:
                machine.start_thread(insmod, "insmod", cpu=0)
                await machine.run_until(lambda: self.done, 3_000 * MS)
                return machine.records

        records = asyncio.run(play())
        if not self.done:
            raise AssertionError(f"{name} has not come to its end")
        return records
