"""Hold what lockdep remembers: classes by key, what each task holds, the chains seen, the reports made.

Linux: kernel/locking/lockdep.c register_lock_class(), struct task_struct. Model: chains are remembered exactly, by number, instead
of by hash; there is no limit to classes, edges and chains.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, Final, TypeVar, cast

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.lockdep_class import MAX_SUBCLASSES, Frame, HeldLock, Key, LockClass, Trace, Tracked, backtrace, call_site
from asyncirq.locking.lockdep_report import Finding, LockdepReport, framed
from asyncirq.sched.core import Sched
from asyncirq.sched.preempt import HARDIRQ_MASK, SOFTIRQ_OFFSET
from asyncirq.sched.task import Task

ROOT_CHAIN: Final = 0
ClassKey = tuple[Tracked | Key, int, str]
"""A lock or what it shares with others, the subclass, the kind of lock."""
Handler = TypeVar("Handler", bound=Callable[..., Coroutine[Any, Any, Any]])


class TaskLocks:
    """What one task holds, the latest last; ``chain`` is the number of that chain of locks.

    ``events`` counts the switchings of interrupts, ``last`` holds the number and place of the latest of each kind.
    """

    __slots__ = ("chain", "events", "held", "last")

    def __init__(self) -> None:
        self.held: list[HeldLock] = []
        self.chain = ROOT_CHAIN
        self.events = 0
        self.last: dict[str, tuple[int, Frame]] = {}

    def event(self, kind: str) -> None:
        """Note that interrupts were switched: ``hardirqs last  enabled`` and its like."""
        self.events += 1
        self.last[kind] = (self.events, call_site())

    def event_lines(self) -> list[str]:
        """Return the switchings as a report prints them."""
        lines = [f"irq event stamp: {self.events}"]
        for kind in ("hardirqs last  enabled", "hardirqs last disabled", "softirqs last  enabled", "softirqs last disabled"):
            stamp, site = self.last.get(kind, (0, Frame("0x0", "vmlinux")))
            lines.append(f"{kind} at ({stamp}): {site}")
        return lines


class LockdepState:
    """The state of one machine's lockdep.

    ``debug_locks`` is False once the first report has turned it off; with the policy ``all`` no report does. ``reports`` are the findings
    so far. ``config_irq`` counts, for each CPU, handlers that PREEMPT_RT would run in a thread. Nothing here takes virtual time.
    """

    def __init__(self, sched: Sched) -> None:
        config = sched.config
        if config.lockdep == "off":
            raise UsageError(f"the kernel {config.release} is configured without lockdep")
        self.sched = sched
        self.engine = sched.engine
        self.policy = config.lockdep
        self.debug_locks = True
        self.reports: list[LockdepReport] = []
        self.classes: list[LockClass] = []
        self.config_irq = [0] * len(sched.cpus)
        self._rt = config.rt
        # Without the nesting rules of PREEMPT_RT what may sleep there counts as spinning.
        self._wait = (0, 1, 2, 3, 4, 5) if config.raw_lock_nesting else (0, 1, 2, 2, 3, 4)
        self._by_key: dict[ClassKey, LockClass] = {}
        self._tasks: dict[Task, TaskLocks] = {}
        self._chains: dict[tuple[int, int], int] = {}
        self._proved: set[int] = set()
        self._locks = 0
        self._classes_made = 0

    # --- who holds what

    def locks_of(self, task: Task) -> TaskLocks:
        """Return what a task holds."""
        state = self._tasks.get(task)
        if state is None:
            state = self._tasks[task] = TaskLocks()
        return state

    def drop_task(self, task: Task) -> list[HeldLock]:
        """Forget a task that ends; return what it still held."""
        state = self._tasks.pop(task, None)
        return [] if state is None else state.held

    def context_of(self, cpu: Cpu) -> int:
        """Return in which interrupts a CPU is: 1 hardirq, 2 softirq, 3 the former over the latter; on PREEMPT_RT softirqs are tasks."""
        count = cpu.preempt_count
        soft = 2 if count & SOFTIRQ_OFFSET and not self._rt else 0
        return soft | 1 if count & HARDIRQ_MASK else soft

    def may_thread(self, function: Handler) -> Handler:
        """Return a handler as one that PREEMPT_RT runs in a thread: what is configured to sleep there may be taken in it."""

        @wraps(function)
        async def threaded(cpu: Cpu, *arguments: Any) -> Any:
            self.config_irq[cpu.id] += 1
            result = await function(cpu, *arguments)
            self.config_irq[cpu.id] -= 1
            return result

        return cast(Handler, threaded)

    # --- classes

    def class_of(self, lock: Tracked, subclass: int = 0) -> LockClass:
        """Return the class of a lock, made at its first use. Raises ``UsageError`` for a subclass that is not 0 to 7."""
        classes = lock.dep
        if classes is not None and subclass in classes:
            return classes[subclass]
        if not 0 <= subclass < MAX_SUBCLASSES:
            raise UsageError(f"BUG: looking up invalid subclass: {subclass}, of {lock.name}", 22)
        if classes is None:
            classes = lock.dep = {}
            self._locks += 1
            lock.number = self._locks
        key = (lock.key if lock.key is not None else lock, subclass, type(lock).__name__)
        cls = self._by_key.get(key)
        if cls is None:
            self._classes_made += 1
            cls = LockClass(lock, subclass, self._classes_made, self._version(lock, key))
            cls.outer, cls.inner = self._wait[cls.outer], self._wait[cls.inner]
            self._by_key[key] = cls
            self.classes.append(cls)
        classes[subclass] = cls
        return cls

    def _version(self, lock: Tracked, key: ClassKey) -> int:
        """Tell classes of one name apart: the second one prints as ``name#2``."""
        for sub in range(MAX_SUBCLASSES):
            there = self._by_key.get((key[0], sub, key[2]))
            if there is not None:
                return there.version
        return max((cls.version for cls in self.classes if cls.name == lock.class_name), default=0) + 1

    def forget(self, *locks: Tracked) -> None:
        """Forget the classes of locks that are no more, with their edges, and the chains that they were in. Linux: zap_class()."""
        gone = {cls for lock in locks if lock.dep is not None for cls in lock.dep.values()}
        for lock in locks:
            lock.dep = None
        self._by_key = {key: cls for key, cls in self._by_key.items() if cls not in gone}
        self.classes = [cls for cls in self.classes if cls not in gone]
        for cls in self.classes:
            cls.after = {other: edge for other, edge in cls.after.items() if other not in gone}
            cls.before = {other: edge for other, edge in cls.before.items() if other not in gone}
        self._proved.clear()

    # --- reports

    def report(self, cpu: Cpu, task: Task, finding: Finding) -> None:
        """Record a finding, print it, and do what the policy says: turn lockdep off, go on, or raise ``KernelBug``.

        Trace: lockdep_report, printk.
        """
        trace = backtrace()
        lines = framed(finding, self.sched.config.release, trace)
        kind, _, _, lock, other, _ = finding
        self.reports.append(LockdepReport(kind, self.engine.now, cpu.id, task.pid, task.comm, lock, other, lines, trace))
        self.say(cpu, lines, kind, task, lock, other)
        if self.policy != "all":
            self.debug_locks = False
        if self.policy == "raise":
            raise KernelBug("\n".join(lines).lstrip("\n"))

    def say(self, cpu: Cpu, lines: Sequence[str], kind: str, task: Task, lock: str, other: str) -> None:
        """Emit the record of a report and print its lines."""
        recorder = self.sched.trace
        if recorder is not None:
            recorder.lockdep_report(cpu, kind, task.comm, lock, other)
            for line in lines:
                recorder.printk(cpu, 4, line)

    def trace_of(self) -> Trace:
        """Return the calls that led here."""
        return backtrace()
