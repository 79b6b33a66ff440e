"""Report what is stuck: one place for all detectors, whoever has noticed it, an NMI too.

A report is a record, the printed lines, an entry of ``reports``, and where the kernel is configured so a panic.

Linux: kernel/watchdog.c, kernel/hung_task.c, kernel/rcu/tree_stall.h, and their ``*_panic`` sysctls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.task import Task

LockupKind = Literal["softlockup", "hardlockup", "hung_task", "rcu_stall"]
SECOND_NS: Final = 1_000_000_000
KERN_EMERG: Final = 0
KERN_ERR: Final = 3
PANICS: Final = (
    ("softlockup", "softlockup: hung tasks"),
    ("hardlockup", "Hard LOCKUP"),
    ("hung_task", "hung_task: blocked tasks"),
    ("rcu_stall", "RCU Stall"),
)


class Lockup(NamedTuple):
    """One report: what kind, when, noticed on which CPU; what is stuck where, and for how long."""

    kind: LockupKind
    time_ns: int
    cpu: int
    target_cpu: int
    pid: int
    comm: str
    duration_ns: int
    lines: tuple[str, ...]


class Lockups:
    """The lockup reports of one machine."""

    def __init__(self, sched: Sched) -> None:
        self.sched = sched
        self.reports: list[Lockup] = []
        self._panics = sched.config.panic_on_lockup

    def report(self, cpu: Cpu, kind: LockupKind, victim: Task, duration_ns: int, lines: Sequence[str], level: int) -> None:
        """Record, print and keep a report; ``KernelBug`` where lockups panic. Trace: lockup_report, printk."""
        now = self.sched.engine.now
        target = victim.cpu.id
        self.reports.append(Lockup(kind, now, cpu.id, target, victim.pid, victim.comm, duration_ns, tuple(lines)))
        trace = self.sched.trace
        if trace is not None:
            trace.lockup_report(cpu, kind, target, victim.pid, victim.comm, duration_ns)
            for line in lines:
                trace.printk(cpu, level, line)
        if self._panics:
            reason = next(text for name, text in PANICS if name == kind)
            raise KernelBug("\n".join([f"Kernel panic - not syncing: {reason}, on {cpu.name} at {now} ns", *lines]))
