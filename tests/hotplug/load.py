"""Load a machine with everything that a CPU can have in hand when it goes down, and count what comes out.

Interrupts by message and by level, timers, hrtimers, work items, delayed work items, tasklets, softirqs, RCU callbacks, spinning and
sleeping tasks, all spread over the CPUs; a task on CPU 0 plugs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from asyncirq import Machine
from asyncirq.bottom_half.hrtimer import HRTIMER_MODE_HARD, HRTIMER_MODE_REL, HRTIMER_MODE_SOFT, Hrtimer
from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.bottom_half.timer_wheel import Timer
from asyncirq.bottom_half.work import DelayedWork, Work
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.line import Line
from asyncirq.irq.desc import IRQ_HANDLED
from asyncirq.sched.task import Task

US = 1_000
MS = 1_000_000


class Load:
    """The load: ``made`` counts what was asked for by kind, ``done`` what has happened."""

    def __init__(self, machine: Machine, period_ns: int = 37 * US) -> None:
        self.m = machine
        self.period = period_ns
        self.made: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.stop = False
        self.spun = [0] * len(machine.cpus)
        self.msis = [machine.msi(f"dev{n}") for n in range(3)]
        self.wire: tuple[Line, int] = machine.line(20)
        self.asserted = False
        self.ready = False

    def make(self, kind: str) -> None:
        """Count a request."""
        self.made[kind] = self.made.get(kind, 0) + 1

    def finish(self, kind: str) -> None:
        """Count what became of one."""
        self.done[kind] = self.done.get(kind, 0) + 1

    async def boot(self, task: Task) -> None:
        """Request the interrupts, spread over the CPUs, and start tasks."""
        for n, msi in enumerate(self.msis):
            await self.m.irq.request_irq(None, msi.irq, self._message, 0, f"dev{n}", n)
            await self.m.irq.irq_set_affinity(task, msi.irq, 1 << (n + 1) % len(self.m.cpus))
        await self.m.irq.request_irq(None, self.wire[1], self._level, 0, "level", None)
        await self.m.irq.irq_set_affinity(task, self.wire[1], 1 << len(self.m.cpus) - 1)
        self.ready = True

    # --- devices

    async def device(self, n: int) -> None:
        """Send a message whenever the last one has been handled."""
        kind = f"msi{n}"
        while not self.stop:
            await self.m.engine.sleep(self.period + 11 * US * n)
            if self.ready and self.done.get(kind, 0) == self.made.get(kind, 0):
                self.make(kind)
                self.msis[n].send()

    async def level_device(self) -> None:
        """Assert the wire until the handler lets go."""
        while not self.stop:
            await self.m.engine.sleep(self.period * 2)
            if self.ready and not self.asserted:
                self.make("level")
                self.asserted = True
                self.wire[0].set(True)

    async def _message(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        await cpu.spend(2 * US)
        self.finish(f"msi{dev_id}")
        await self._bottom_halves(cpu)
        return IRQ_HANDLED

    async def _level(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        await cpu.spend(1 * US)
        if self.asserted:
            self.asserted = False
            self.wire[0].set(False)
            self.finish("level")
        return IRQ_HANDLED

    # --- what handlers leave to others

    async def _bottom_halves(self, cpu: Cpu) -> None:
        m = self.m
        self.make("tasklet")
        await m.tasklets.tasklet_schedule(cpu, Tasklet(self._tasklet, "t"))
        self.make("timer")
        m.timers.mod_timer(cpu, Timer(self._timer, "timer"), m.timers.jiffies + 3)
        for mode in (HRTIMER_MODE_HARD, HRTIMER_MODE_SOFT):
            self.make("hrtimer")
            m.hrtimers.hrtimer_start(cpu, Hrtimer(self._hrtimer, mode, "hr"), 900 * US, HRTIMER_MODE_REL)
        wqs = m.workqueues
        self.make("work")
        await wqs.queue_work(cpu, wqs.system_wq, Work(self._work, "work"))
        self.make("delayed")
        await wqs.queue_delayed_work(cpu, wqs.system_wq, DelayedWork(self._work_delayed, "delayed"), 2)
        self.make("rcu")
        m.kernel.rcu.call_rcu(cpu, self._rcu)

    async def _tasklet(self, cpu: Cpu, tasklet: Tasklet) -> None:
        await cpu.spend(3 * US)
        self.finish("tasklet")

    async def _timer(self, cpu: Cpu, timer: Timer) -> None:
        self.finish("timer")

    async def _hrtimer(self, cpu: Cpu, timer: Hrtimer) -> bool:
        self.finish("hrtimer")
        return False

    async def _work(self, task: Task, work: Work) -> None:
        await task.spend(2 * US)
        self.finish("work")

    async def _work_delayed(self, task: Task, work: Work) -> None:
        await self.m.sleep.usleep_range(task, 20, 30)
        self.finish("delayed")

    async def _rcu(self, cpu: Cpu) -> None:
        self.finish("rcu")

    # --- tasks

    async def spinner(self, n: int, task: Task) -> None:
        """Use CPU time until the end."""
        while not self.stop:
            await task.user(50 * US)
            self.spun[n] += 1

    async def sleeper(self, task: Task) -> None:
        """Sleep and run in turn."""
        while not self.stop:
            self.make("sleep")
            await self.m.sleep.usleep_range(task, 100, 120)
            self.finish("sleep")
            await task.user(5 * US)

    def start(self) -> None:
        """Start everything."""
        m = self.m
        m.start_thread(self.boot, "boot")
        for n in range(len(self.msis)):
            m.spawn(self.device(n), f"device{n}")
        m.spawn(self.level_device(), "level")
        for n in range(len(m.cpus)):
            m.start_thread(partial(self.spinner, n), f"spin{n}", nice=10)
            m.start_thread(self.sleeper, f"sleep{n}")

    def lost(self) -> dict[str, int]:
        """Return what has been asked for and has not happened."""
        return {kind: count - self.done.get(kind, 0) for kind, count in self.made.items() if count != self.done.get(kind, 0)}


async def plug(machine: Machine, actions: Sequence[tuple[int, int]], load_ns: int = 37 * US) -> tuple[Load, list[tuple[int, int, int]]]:
    """Run a load while CPUs go down and come up: ``actions`` are (CPU, ns to wait first), each turning a CPU's state round.

    Return the load, ended and settled, and ``(cpu, 1 for up, result)`` of each action.
    """
    load = Load(machine, load_ns)
    results: list[tuple[int, int, int]] = []
    over: list[bool] = []

    async def body(task: Task) -> None:
        hotplug = machine.kernel.hotplug
        for cpu_id, wait in actions:
            await machine.sleep.nanosleep(task, wait)
            up = not hotplug.online >> cpu_id & 1
            ret = await (hotplug.cpu_up(task, cpu_id) if up else hotplug.cpu_down(task, cpu_id))
            results.append((cpu_id, int(up), ret))
        over.append(True)

    load.start()
    machine.start_thread(body, "plug", policy=1, rt_priority=50)
    assert await machine.run_until(lambda: bool(over), 3_000 * MS)
    await machine.run_for(10 * MS)
    load.stop = True
    await machine.run_for(150 * MS)
    return load, results
