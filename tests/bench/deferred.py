"""Measure deferred work: what a tasklet run, a work item and the expiry of a timer cost, and how that grows with the timers pending.

One CPU, untraced. Tasklets and work items come 32 at a time from a timer interrupt. A timer arms itself anew when it expires, for a
time in proportion to how many are pending: at any number of them ten expire in a jiffy. Beside tasklets and work items such timers
are pending too, and their expiries are not counted. ``bench.py`` runs this, each measurement in
a process of its own.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from asyncirq.bottom_half.hrtimer import HRTIMER_MODE_HARD, Hrtimer
from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.bottom_half.timer_wheel import Timer
from asyncirq.bottom_half.work import Work
from asyncirq.hw.cpu import Cpu
from asyncirq.machine import Machine
from asyncirq.sched.task import Task

BATCH: Final = 32
EVERY_NS: Final = 200_000
PER_JIFFY: Final = 10
FEW: Final = 100
MANY: Final = 100_000
SLICE_NS: Final = 4_000_000_000
_MULTIPLIER: Final = 6_364_136_223_846_793_005
_MASK: Final = (1 << 64) - 1


class Cost(msgspec.Struct):
    """How many items were run, and in how many seconds of processor time."""

    items: int
    seconds: float

    @property
    def us(self) -> float:
        """Return the cost of one item."""
        return self.seconds * 1e6 / self.items


class Counter:
    """Count items."""

    def __init__(self) -> None:
        self.items = 0
        self.random = 1

    def below(self, n: int) -> int:
        """Return a number that looks random."""
        self.random = (self.random * _MULTIPLIER + 12345) & _MASK
        return (self.random >> 16) % n


async def _in_timer_interrupt(machine: Machine, body: Callable[[Cpu], Awaitable[None]]) -> None:
    """Have ``body`` run in a timer interrupt of CPU 0 at a fixed distance."""

    async def again(cpu: Cpu, timer: Hrtimer) -> bool:
        await body(cpu)
        timer.expires = timer.softexpires = machine.now + EVERY_NS
        return True

    async def arm(task: Task) -> None:
        cpu = task.preempt_disable()
        machine.hrtimers.hrtimer_start(cpu, Hrtimer(again, HRTIMER_MODE_HARD, "source"), machine.now + EVERY_NS)
        await task.preempt_enable()

    await _do(machine, arm)


async def _do(machine: Machine, body: Callable[[Task], Awaitable[None]]) -> None:
    """Run a task to its end."""
    done = False

    async def main(task: Task) -> None:
        nonlocal done
        await body(task)
        done = True

    machine.start_thread(main, "bench", cpu=0)
    await machine.run_until(lambda: done, 1_000_000_000)


async def tasklets(machine: Machine, counter: Counter, pending: int) -> None:
    """Schedule tasklets, with ``pending`` timers of the wheel beside them."""

    async def callback(cpu: Cpu, tasklet: Tasklet) -> None:
        counter.items += 1

    all_of_them = [Tasklet(callback, f"t{n}") for n in range(BATCH)]

    async def schedule(cpu: Cpu) -> None:
        for tasklet in all_of_them:
            await machine.tasklets.tasklet_schedule(cpu, tasklet)

    await timers(machine, Counter(), pending)
    await _in_timer_interrupt(machine, schedule)


async def works(machine: Machine, counter: Counter, pending: int) -> None:
    """Queue work items, with ``pending`` timers of the wheel beside them."""

    async def function(task: Task, work: Work) -> None:
        counter.items += 1

    all_of_them = [Work(function, f"w{n}", "function") for n in range(BATCH)]
    wqs = machine.workqueues

    async def queue(cpu: Cpu) -> None:
        for work in all_of_them:
            await wqs.queue_work(cpu, wqs.system_wq, work)

    await timers(machine, Counter(), pending)
    await _in_timer_interrupt(machine, queue)


async def timers(machine: Machine, counter: Counter, pending: int) -> None:
    """Arm timers of the wheel, ``pending`` of them."""
    wheel = machine.timers
    spread = 2 * pending // PER_JIFFY

    async def expire(cpu: Cpu, timer: Timer) -> None:
        counter.items += 1
        wheel.mod_timer(cpu, timer, wheel.jiffies + 1 + counter.below(spread))

    async def arm(task: Task) -> None:
        cpu = task.preempt_disable()
        for n in range(pending):
            wheel.mod_timer(cpu, Timer(expire, f"t{n}"), wheel.jiffies + 1 + counter.below(spread))
        await task.preempt_enable()

    await _do(machine, arm)


async def hrtimers(machine: Machine, counter: Counter, pending: int) -> None:
    """Arm hrtimers, ``pending`` of them."""
    spread = 2 * pending // PER_JIFFY * machine.config.jiffy_ns

    async def expire(cpu: Cpu, timer: Hrtimer) -> bool:
        counter.items += 1
        timer.expires = timer.softexpires = machine.now + 1 + counter.below(spread)
        return True

    async def arm(task: Task) -> None:
        cpu = task.preempt_disable()
        for n in range(pending):
            machine.hrtimers.hrtimer_start(cpu, Hrtimer(expire, HRTIMER_MODE_HARD, f"h{n}"), machine.now + 1 + counter.below(spread))
        await task.preempt_enable()

    await _do(machine, arm)


KINDS: Final = {"tasklet": tasklets, "work": works, "timer": timers, "hrtimer": hrtimers}


async def run_async(kind: str, items: int, pending: int = 0) -> Cost:
    """Run ``items`` items of a kind."""
    async with Machine(cpus=1, trace=False) as machine:
        counter = Counter()
        await KINDS[kind](machine, counter, pending)
        start = last = counter.items
        begun = time.process_time()
        while counter.items - start < items:
            last = counter.items
            await machine.run_for(SLICE_NS)
            if counter.items == last:
                raise AssertionError(f"{kind}: nothing comes any more after {last - start} of {items} items")
        return Cost(counter.items - start, time.process_time() - begun)


def run(kind: str, items: int, pending: int = 0) -> Cost:
    """Run ``items`` items of a kind or a few more, in a loop of its own. Raises ``AssertionError`` if they do not come."""
    return asyncio.run(run_async(kind, items, pending))


def main() -> None:
    """Measure one kind: ``deferred.py KIND ITEMS PENDING``."""
    kind, items, pending = sys.argv[1:]
    sys.stdout.buffer.write(msgspec.json.encode(run(kind, int(items), int(pending))))


if __name__ == "__main__":
    main()
