"""Check the whole machine while it runs; on in every test.

I1: whoever spends on a CPU is its ``current``. I2: task context with preempt count 0 has IF on unless the task turned
it off itself. I3: no in-service bit without a hard interrupt on the stack. I4: a switch sees no in-service bit, hardirq
count 0, and a preempt count of 2 on both sides (the scheduler's own and the run queue's). One task: a CPU runs the task that its run
queue says, and every ready task is on one CPU alone. Locks: whoever holds a lock owns it, and who owns what a task sleeps on holds it.
Leak: an interrupt leaves the preempt count as it found it, and user mode has none. Time: what tasks, interrupts, softirqs and the idle
task had is what has passed, on each CPU to the nanosecond, and the scheduler charged each task for what it had.

A GIC in EOImode 1 is exempt from I3 and I4 between priority drop and deactivation; its controller says so.
"""

from __future__ import annotations

from typing import Any, Final

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu, Thread
from asyncirq.sched.core import Sched
from asyncirq.sched.preempt import HARDIRQ_MASK, NMI_MASK, PREEMPT_MASK, SOFTIRQ_OFFSET
from asyncirq.sched.task import Task

IRQ_MASK: Final = HARDIRQ_MASK | NMI_MASK
KINDS: Final = ("task", "idle", "softirq", "interrupt")


def watch(sched: Sched) -> list[Account]:
    """Check the invariants at every spend, stall, halt and switch of a machine's CPUs; a violation is a ``KernelBug``.

    Returns what becomes of each CPU's time.
    """
    used: dict[Task, int] = {}
    accounts = []
    for cpu in sched.cpus:
        account = Account(sched, cpu, used)
        accounts.append(account)
        cpu.check = account.check
        cpu.check_switch = account.check_switch
        # A class of its own over whatever class the CPU has: other options do the same.
        cpu.__class__ = type(f"Accounted{type(cpu).__name__}", (AccountedCpu, type(cpu)), {"__slots__": (), "account": account})
    return accounts


class Account:
    """What became of one CPU's time: ``kinds`` by what it did, ``used`` by task, shared by all CPUs; up to ``since``."""

    def __init__(self, sched: Sched, cpu: Cpu, used: dict[Task, int]) -> None:
        self.sched = sched
        self.kinds = dict.fromkeys(KINDS, 0)
        self.used = used
        self.began = self.since = cpu.engine.now
        self.switching = False
        self.switched = False
        self.interrupted: list[int] = []
        self.count: Any = next(each.__dict__["preempt_count"] for each in type(cpu).__mro__ if "preempt_count" in each.__dict__)

    def charge(self, cpu: Cpu, count: int) -> None:
        """Charge the time since the last call to what a preempt count says, and to the current task."""
        ns, self.since = cpu.engine.now - self.since, cpu.engine.now
        task = cpu.current
        assert isinstance(task, Task)
        if count & IRQ_MASK:
            kind = "interrupt"
        elif task.is_idle:
            kind = "idle"
        else:
            kind = "softirq" if count & SOFTIRQ_OFFSET else "task"
        self.kinds[kind] += ns
        self.used[task] = self.used.get(task, 0) + ns

    def check(self, cpu: Cpu) -> None:
        """Check everything at a point where time is about to pass; the run queues once after each switch."""
        check(cpu)
        task = cpu.current
        assert isinstance(task, Task)
        if self.sched.rqs[cpu.id].curr is not task or task.cpu is not cpu:
            _violated(cpu, "one task", f"{task} runs, {self.sched.rqs[cpu.id].curr} should")
        if self.switched:
            self.switched = False
            check_run_queues(self.sched)
        if task.user_mode and cpu.preempt_count:
            _violated(cpu, "leak", f"{task} is in user mode with preempt count {cpu.preempt_count:08x}")
        check_locks(cpu, task)
        self.check_time(cpu, task)

    def check_switch(self, cpu: Cpu, following: Thread) -> None:
        """Check I4 and the time, right before a switch."""
        check_switch(cpu, following)
        self.charge(cpu, cpu.preempt_count)
        task = cpu.current
        assert isinstance(task, Task)
        self.check_time(cpu, task)
        check_locks(cpu, task)
        self.switched = True

    def check_time(self, cpu: Cpu, task: Task) -> None:
        """Check that all time is accounted for, and that the scheduler charged the current task for what it had."""
        now = cpu.engine.now
        passed = sum(self.kinds.values()) + now - self.since
        if passed != now - self.began:
            _violated(cpu, "time", f"{passed} ns of {now - self.began} are accounted for")
        had, charged = self.used.get(task, 0) + now - self.since, task.sum_exec + now - task.exec_start
        if had != charged:
            _violated(cpu, "time", f"{task} had {had} ns and is charged for {charged}")


class AccountedCpu(Cpu):
    """A CPU whose time goes to an account, and whose interrupts are watched for what they leave behind."""

    __slots__ = ()
    account: Account

    @property
    def preempt_count(self) -> int:
        """Return the nesting word."""
        return int(self.account.count.__get__(self))

    @preempt_count.setter
    def preempt_count(self, count: int) -> None:
        account = self.account
        was = account.count.__get__(self)
        if (was ^ count) & (IRQ_MASK | SOFTIRQ_OFFSET) and not account.switching and self.engine.current is not None:
            account.charge(self, was)
            if count & IRQ_MASK > was & IRQ_MASK:
                account.interrupted.append(was)
            elif count & IRQ_MASK < was & IRQ_MASK:
                before = account.interrupted.pop()
                if count != before:
                    _violated(self, "leak", f"an interrupt found preempt count {before:08x} and leaves {count:08x}")
        account.count.__set__(self, count)

    def install(self, following: Thread) -> None:
        """Make ``following`` the thread of this CPU and swap the preempt counts."""
        self.account.switching = True
        super().install(following)
        self.account.switching = False


def check(cpu: Cpu) -> None:
    """Check I1, I2 and I3 at a point where time is about to pass."""
    thread = cpu.current
    if cpu.engine.current is not thread.sim:
        running = cpu.engine.current
        _violated(cpu, "I1", f"{running.name if running else 'nobody'} spends, but {thread.sim.name} is current")
    count = cpu.preempt_count
    if cpu.irqs_off and not count and not thread.own_irqs_off:
        _violated(cpu, "I2", f"{thread.sim.name} runs with preempt count 0 and interrupts off, which it did not turn off")
    vector = cpu.pins.in_service()
    if vector >= 0 and not count & (HARDIRQ_MASK | NMI_MASK):
        _violated(cpu, "I3", f"vector {vector} is in service without a hard interrupt on the stack")


def check_switch(cpu: Cpu, following: Thread) -> None:
    """Check I4 at a switch from ``cpu.current`` to ``following``."""
    count = cpu.preempt_count
    vector = cpu.pins.in_service()
    if vector >= 0:
        _violated(cpu, "I4", f"switch with vector {vector} in service")
    if count & HARDIRQ_MASK:
        _violated(cpu, "I4", f"switch with preempt count {count:08x}")
    if count & PREEMPT_MASK != 2 or following.saved_count & PREEMPT_MASK != 2:
        _violated(cpu, "I4", f"switch from preempt count {count:08x} to {following.saved_count:08x}")


def check_run_queues(sched: Sched) -> None:
    """Check that each CPU runs one task, which waits nowhere, and that every ready task is on exactly one CPU; between two steps."""
    seen: set[Task] = set()
    for rq in sched.rqs:
        cpu = rq.cpu
        waiting = [*rq.high, *rq.rt.all(), *(task for task in rq.fair.queued if not task.delayed)]
        running = [] if rq.curr.is_idle or not rq.curr.on_rq else [rq.curr]
        if cpu.current is not rq.curr:
            _violated(cpu, "one task", f"{rq.curr} is the run queue's, {cpu.current.sim.name} the CPU's")
        if len(waiting) + len(running) != rq.nr_running:
            _violated(cpu, "one task", f"{len(waiting)} wait and {len(running)} run, of {rq.nr_running}")
        for task in (*running, *waiting):
            if task in seen or not task.on_rq or task.cpu is not cpu:
                _violated(cpu, "one task", f"{task} is on another CPU, or ready twice, or not at all")
            seen.add(task)


def check_locks(cpu: Cpu, task: Task) -> None:
    """Check that a task owns the locks that it holds, and that the owner of what it sleeps on holds that."""
    for lock in task.held_locks:
        if not lock.holds(task):
            _violated(cpu, "locks", f"{task} holds {lock.name}, which is not its own")
    wanted = task.blocked_on
    owner = wanted.owner if wanted is not None else None
    if owner is not None and wanted not in owner.held_locks:
        _violated(cpu, "locks", f"{task} waits for {wanted.name}, whose owner {owner} does not hold it")


def _violated(cpu: Cpu, name: str, what: str) -> None:
    raise KernelBug(f"invariant {name}: {what}, on {cpu.name} at {cpu.engine.now} ns")
