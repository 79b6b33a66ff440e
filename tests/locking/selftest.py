"""Run the situations of the kernel's locking self-test, each written as a line of steps, on a machine with lockdep.

A step is ``+A`` or ``-A``: take or give up lock A of the kind under test, ``!A`` make it anew; ``spin+A``, ``read-B`` and so on name
the kind. ``X1`` and ``X2`` are two locks of one class X. ``hard{ ... }`` runs steps in a hard interrupt that may be threaded,
``bare{ ... }`` in one that may not, ``soft{ ... }`` in a softirq; ``off on bhoff bhon`` switch. ``irq{``, ``disable``, ``enable`` mean the
hard or the soft ones. What the steps lead to is read from lockdep's reports; nothing is simulated: the interrupts are interrupts.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from asyncirq.bottom_half.rcu import Rcu
from asyncirq.bottom_half.softirq import BLOCK_SOFTIRQ
from asyncirq.config import KernelConfig
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.local_lock import LocalLock
from asyncirq.locking.lockdep_class import LockKey
from asyncirq.locking.mutex import Mutex
from asyncirq.locking.raw_spinlock import RawSpinlock
from asyncirq.locking.rtmutex import RtMutex
from asyncirq.locking.rwlock import RwLock
from asyncirq.locking.rwsem import RwSemaphore
from asyncirq.locking.spinlock import Spinlock
from asyncirq.sched.task import Task
from tests.sched.harness import Lab

FAMILY = {"spin": "spin", "raw": "raw", "read": "rw", "write": "rw", "mutex": "mutex", "wsem": "sem", "rsem": "sem", "rt": "rt"}
STEPS = {"irq{": ("hard{", "soft{"), "disable": ("off", "bhoff"), "enable": ("on", "bhon")}
Step = str | tuple[str, list[Any]]


def parse(text: str, kind: str, soft: bool) -> list[Step]:
    """Return the steps of a line, nested by their braces, with the kind under test and the interrupt filled in."""
    stack: list[tuple[str, list[Step]]] = [("", [])]
    for word in text.split():
        step = STEPS[word][soft] if word in STEPS else word
        if step.endswith("{"):
            stack.append((step[:-1], []))
        elif step == "}":
            where, inner = stack.pop()
            stack[-1][1].append((where, inner))
        else:
            stack[-1][1].append(kind + step if step[0] in "+-!" else step)
    return stack[0][1]


class SelfTest:
    """One machine that runs one line of steps; ``kinds`` are the kinds of the reports that it led to."""

    def __init__(self, kernel: KernelConfig) -> None:
        self.lab = Lab(1, kernel)
        self.sched = self.lab.sched
        self.rcu = Rcu(self.lab.softirq)
        self.lab.softirq.open_softirq(BLOCK_SOFTIRQ, self._block)
        self.locks: dict[tuple[str, str], Any] = {}
        self.keys: dict[tuple[str, str], LockKey] = {}
        self.todo: list[Step] = []
        self.finished = False

    def lock(self, family: str, name: str) -> Any:
        """Return the lock of a family and name, made at its first use; of the same class as others of its letter."""
        if (family, name) not in self.locks:
            key = self.keys.setdefault((family, name[0]), LockKey(f"{family}_{name[0]}"))
            makers: dict[str, Callable[[], Any]] = {
                "spin": lambda: Spinlock(self.sched, name, key=key),
                "raw": lambda: RawSpinlock(name, key),
                "rw": lambda: RwLock(self.sched, name, key=key),
                "mutex": lambda: Mutex(self.sched, name, key),
                "sem": lambda: RwSemaphore(self.sched, name, key),
                "rt": lambda: RtMutex(self.sched, name, key),
                "local": lambda: LocalLock(self.sched, name, key),
            }
            self.locks[family, name] = makers[family]()
        return self.locks[family, name]

    def run(self, text: str, kind: str = "spin", soft: bool = False) -> list[str]:
        """Run a line of steps in a task and return the kinds of the reports."""
        steps = parse(text, kind, soft)

        async def body(task: Task) -> None:
            await self.steps(task, steps)
            self.finished = True
            # Some situations end with locks held: the task stays.
            task.preempt_disable()
            await task.cpu.spend(1_000_000)

        self.lab.start(body, "selftest")
        try:
            self.lab.play(500_000)
        except KernelBug:
            # What lockdep has reported the lock itself may refuse a moment later.
            assert self.lab.lockdep is not None
            assert self.lab.lockdep.reports
        self.lab.end()
        assert self.lab.lockdep is not None
        assert self.finished or self.lab.lockdep.reports
        return [report.kind for report in self.lab.lockdep.reports]

    async def steps(self, task: Task, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, tuple):
                await self.interrupt(task, *step)
            elif step in ("off", "on", "bhoff", "bhon"):
                await self.switch(task, step)
            elif step.startswith("rcu"):
                await self.reader(task, step)
            else:
                await self.operate(task, step)

    async def interrupt(self, task: Task, where: str, inner: list[Step]) -> None:
        if where == "soft":
            softirq = self.lab.softirq
            self.todo = inner
            cpu = await softirq.local_bh_disable(task)
            await softirq.raise_softirq(cpu, BLOCK_SOFTIRQ)
            await softirq.local_bh_enable(task)
            assert not self.todo
            return
        done = False

        async def body(cpu: Cpu) -> None:
            nonlocal done
            assert self.lab.lockdep is not None
            self.lab.lockdep.config_irq[cpu.id] += where == "hard"
            await self.steps(task, inner)
            self.lab.lockdep.config_irq[cpu.id] -= where == "hard"
            done = True

        self.lab._ring(body, task.cpu.id)
        await task.spend(1)
        assert done

    async def _block(self, cpu: Cpu) -> None:
        inner, self.todo = self.todo, []
        task = cpu.current
        assert isinstance(task, Task)
        await self.steps(task, inner)

    async def switch(self, task: Task, step: str) -> None:
        if step == "off":
            task.cpu.irq_disable()
        elif step == "on":
            await task.cpu.irq_enable()
        elif step == "bhoff":
            await self.lab.softirq.local_bh_disable(task)
        else:
            await self.lab.softirq.local_bh_enable(task)

    async def reader(self, task: Task, step: str) -> None:
        flavour: Any = step[:-1]
        sign = step[-1]
        if sign == "+":
            await self.rcu.flavours.lock(flavour, task)
        else:
            await self.rcu.flavours.unlock(flavour, task)

    async def operate(self, task: Task, step: str) -> None:
        sign = next(char for char in "+-!" if char in step)
        kind, _, name = step.partition(sign)
        lock = self.lock(FAMILY.get(kind, kind), name)
        cpu = task.cpu
        calls: dict[str, Callable[[], Coroutine[Any, Any, Any] | None]] = {
            "spin+": lambda: lock.lock(cpu),
            "spin-": lambda: lock.unlock(cpu),
            "raw+": lambda: lock.lock(cpu),
            "raw-": lambda: lock.unlock(cpu),
            "read+": lambda: lock.read.lock(cpu),
            "read-": lambda: lock.read.unlock(cpu),
            "write+": lambda: lock.write.lock(cpu),
            "write-": lambda: lock.write.unlock(cpu),
            "mutex+": lambda: lock.lock(task),
            "mutex-": lambda: lock.unlock(task),
            "rt+": lambda: lock.lock(task),
            "rt-": lambda: lock.unlock(task),
            "wsem+": lambda: lock.down_write(task),
            "wsem-": lambda: lock.up_write(task),
            "rsem+": lambda: lock.down_read(task),
            "rsem-": lambda: lock.up_read(task),
            "local+": lambda: lock.lock(task),
            "local-": lambda: lock.unlock(task),
        }
        if sign == "!":
            lock.init(cpu if kind in ("spin", "raw", "read", "write") else task)
            return
        call = calls[kind + sign]()
        assert call is not None
        await call
