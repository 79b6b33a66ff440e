"""The lab's cases on the timer wheel and on hrtimers, as programs for the bench."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from asyncirq.bottom_half.hrtimer import HRTIMER_MODE_ABS, HRTIMER_MODE_HARD, HRTIMER_MODE_SOFT, Hrtimer
from asyncirq.bottom_half.timer_wheel import Timer
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import HARDIRQ_MASK, SOFTIRQ_OFFSET
from asyncirq.sched.task import TASK_UNINTERRUPTIBLE, Task
from asyncirq.trace.names import SOFTIRQ_NAMES
from tests.lab.bench import HARD_SHOT, SOFT_SHOT, US, Bench, Past, Program, Shot
from tests.lab.extract import Words
from tests.lab.rows import Row

DELAYS: Final = (1, 1, 2, 5, 70, 100)
HRTIMER_US: Final = 300
PHASE: Final = 64
"""Jiffies after which the first levels of the wheel look the same."""
_BASECLK: Final = re.compile(r"timer_expire_entry .* baseclk=(\d+)")
_RCU: Final = 9


def _softirq(edge: str) -> Callable[[Any], str | None]:
    return lambda r: None if r.vec == _RCU else f"softirq {edge} {SOFTIRQ_NAMES[r.vec]}"


def _expiry(r: Any) -> str | None:
    return f"timer_expire_entry function=tm_fn now={r.now} baseclk={r.baseclk}" if r.function == "tm_fn" else None


WORDS: Final[Words] = {
    "softirq_raise": _softirq("raise"),
    "softirq_entry": _softirq("entry"),
    "softirq_exit": _softirq("exit"),
    "timer_start": lambda r: f"timer_start function=tm_fn [timeout={r.timeout}]" if r.function == "tm_fn" else None,
    "timer_expire_entry": _expiry,
    "hrtimer_expire_entry": lambda r: "hrtimer_expire_entry hs_fn" if r.function == "hs_fn" else None,
}
"""The events of timers that the captures hold of the lab's timers, and the softirqs of timers."""


def pasts(rows: list[Row]) -> tuple[Past, ...]:
    """Return the jiffy in which a case began, from that of its first expiry: one jiffy, and the one that had begun."""
    return (next((Past(int(match[1]) - DELAYS[0] - 1) for row in rows if (match := _BASECLK.match(row.what))), Past()),)


def timer(bench: Bench, i: int) -> Timer:
    """Return a timer that says how late it is."""

    async def tm_fn(cpu: Cpu, timer: Timer) -> None:
        late = bench.machine.timers.jiffies - timer.expires
        serving = int(cpu.preempt_count & SOFTIRQ_OFFSET != 0)
        bench.say(cpu, f"timer {i} fires jiffies_late={late} serving_softirq={serving} pid={cpu.pid}")

    return Timer(tm_fn, f"TM{i}")


async def at_jiffy(bench: Bench, task: Task) -> None:
    """Sleep until the jiffy in which the captured case began, as far as the wheel is concerned, and begin."""
    wait = (bench.past.jiffy - 1 - bench.machine.timers.jiffies) % PHASE
    task.set_current_state(TASK_UNINTERRUPTIBLE)
    await bench.machine.sleep.schedule_timeout(task, wait)
    bench.begin(task)


async def wheel(bench: Bench, task: Task) -> None:
    """Arm six timers and wait until all have expired."""
    await at_jiffy(bench, task)
    timers = bench.machine.timers
    cpu = task.preempt_disable()
    for i, delay in enumerate(DELAYS):
        each = timer(bench, i)
        each.expires = timers.jiffies + delay
        timers.add_timer(cpu, each)
    await task.preempt_enable()
    await bench.sleep(task, 500)


async def hard_and_soft(bench: Bench, task: Task) -> None:
    """Arm a hrtimer that expires in softirqs and one that expires in the interrupt, for the same time."""

    def hrtimer(mode: int, name: str) -> Hrtimer:
        async def hs_fn(cpu: Cpu, timer: Hrtimer) -> bool:
            hard, serving = int(cpu.preempt_count & HARDIRQ_MASK != 0), int(cpu.preempt_count & SOFTIRQ_OFFSET != 0)
            bench.say(cpu, f"hrtimer {name} hardirq={hard} serving_softirq={serving} pid={cpu.pid}")
            return False

        return Hrtimer(hs_fn, mode, name)

    cpu = task.preempt_disable()
    for mode, name, n in ((HRTIMER_MODE_SOFT, "soft", SOFT_SHOT), (HRTIMER_MODE_HARD, "hard", HARD_SHOT)):
        when = bench.placed.get(Shot(n, 0), bench.machine.now + HRTIMER_US * US)
        bench.machine.hrtimers.hrtimer_start(cpu, hrtimer(mode, name), when, HRTIMER_MODE_ABS)
    await task.preempt_enable()
    await bench.sleep(task, 20)


async def deleted(bench: Bench, task: Task) -> None:
    """Arm a timer and delete it."""
    timers = bench.machine.timers
    each = timer(bench, 0)
    cpu = task.preempt_disable()
    timers.mod_timer(cpu, each, timers.jiffies + 3)
    await task.preempt_enable()
    cpu = task.migrate_disable()
    bench.say(cpu, f"del_timer_sync -> {int(await timers.timer_delete_sync(cpu, each))}")
    task.migrate_enable()
    await bench.sleep(task, 20)


CASES: Final[dict[str, Program]] = {
    "timer/wheel +1 +1 +2 +5 +70 +100 jiffies": wheel,
    "timer/hrtimer-hard-and-soft-300us": hard_and_soft,
    "timer/del_timer": deleted,
}
"""Every case by its name."""
