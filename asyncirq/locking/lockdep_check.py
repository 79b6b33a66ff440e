"""Check what lockdep knows against what the code says: locks that must be held, that must not, that may be taken.

Linux: include/linux/lockdep.h; kernel/locking/lockdep.c debug_check_no_locks_freed(), lockdep_sys_exit(), lockdep_rcu_suspicious().
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from asyncirq.hw.cpu import Cpu
from asyncirq.locking.irq_variants import current_task
from asyncirq.locking.lockdep_class import LockMap, Tracked, address, call_site
from asyncirq.locking.lockdep_report import Finding, held_lines, who
from asyncirq.locking.lockdep_state import LockdepState
from asyncirq.sched.task import Task

RCU_FLAVOURS: Final = MappingProxyType({"rcu_read_lock": "RCU", "rcu_read_lock_bh": "RCU-bh", "rcu_read_lock_sched": "RCU-sched"})
"""How messages call the readers of each map."""


class LockdepChecks(LockdepState):
    """What one machine's lockdep looks at besides the taking of locks."""

    def is_held(self, task: Task, lock: Tracked, read: int = -1) -> bool:
        """Tell whether a task holds a lock; ``read`` 0 or 1 asks for exclusive or shared."""
        for entry in self.locks_of(task).held:
            if entry.lock is lock or (entry.references and lock.dep is not None and entry.cls in lock.dep.values()):
                return read < 0 or int(entry.read > 0) == read
        return False

    def check(self, cpu: Cpu, condition: bool, what: str) -> None:
        """Report that a condition on what is held does not hold, as a WARN_ON."""
        if condition or not self.debug_locks:
            return
        task = current_task(cpu)
        body = [f"WARNING: CPU: {cpu.id} PID: {task.pid} at {call_site()}", what, *held_lines(task, self.locks_of(task).held)]
        self.report(cpu, task, Finding("assert", "------------[ cut here ]------------", 36, what, "", body))

    def check_freed(self, cpu: Cpu, *locks: Tracked) -> None:
        """Report a lock that the task still holds although its memory is freed, or it is made anew. Linux: print_freed_lock_bug()."""
        task = current_task(cpu)
        held = self.locks_of(task).held
        for entry in held:
            if self.debug_locks and entry.lock in locks:
                start = address(entry.lock)
                where = f"{start:016x}-{start + 0x3F:016x}"
                body = [f"{who(task)} is freeing memory {where}, with a lock still held there!", str(entry), *held_lines(task, held)]
                self.report(cpu, task, Finding("freed", "WARNING: held lock freed!", 25, str(entry.cls), "", body))
                return

    def check_exit(self, cpu: Cpu, task: Task) -> None:
        """Report a task that ends with locks held, and forget it. Linux: print_held_locks_bug()."""
        held = self.drop_task(task)
        if held and self.debug_locks:
            headline = f"WARNING: {who(task)} still has locks held!"
            self.report(cpu, task, Finding("exit", headline, 36, str(held[0].cls), "", held_lines(task, held)))

    def check_user(self, cpu: Cpu, task: Task) -> None:
        """Report a task that goes back to user mode with locks held. Linux: lockdep_sys_exit()."""
        held = self.locks_of(task).held
        if held and self.debug_locks:
            body = [f"{who(task)} is leaving the kernel with locks still held!", *held_lines(task, held)]
            headline = "WARNING: lock held when returning to user space!"
            self.report(cpu, task, Finding("user", headline, 48, str(held[0].cls), "", body))

    def rcu_suspicious(self, cpu: Cpu, what: str, watching: bool = True) -> None:
        """Report RCU used where it protects nothing. Linux: lockdep_rcu_suspicious()."""
        if not self.debug_locks:
            return
        task = current_task(cpu)
        body = [f"{call_site()} {what}!", "", "other info that might help us debug this:", "", ""]
        body.append("rcu_scheduler_active = 2, debug_locks = 1")
        if not watching:
            body.append("RCU used illegally from extended quiescent state!")
        body += held_lines(task, self.locks_of(task).held)
        self.report(cpu, task, Finding("rcu", "WARNING: suspicious RCU usage", 29, what, "", body))

    def check_sleep(self, cpu: Cpu) -> None:
        """Report a sleep inside an RCU reader. Linux: rcu_sleep_check()."""
        for entry in self.locks_of(current_task(cpu)).held if self.debug_locks else ():
            flavour = RCU_FLAVOURS.get(entry.lock.name) if isinstance(entry.lock, LockMap) else None
            if flavour is not None:
                self.rcu_suspicious(cpu, f"Illegal context switch in {flavour} read-side critical section")
                return

    def show_all_locks(self) -> str:
        """Return what every task holds, as SysRq-d prints it. Linux: debug_show_all_locks()."""
        lines = ["", "Showing all locks held in the system:"]
        for pid in sorted(self.sched.tasks):
            task = self.sched.tasks[pid]
            held = self.locks_of(task).held
            if held:
                lines += held_lines(task, held)
        return "\n".join([*lines, "", "=" * 45, ""])


def lockdep_assert_held(cpu: Cpu, lock: Tracked, read: int = -1) -> None:
    """Report unless the task that runs holds a lock; ``read`` 0 or 1 asks for exclusive or shared. Without lockdep nothing."""
    task = current_task(cpu)
    lockdep = task.sched.lockdep
    if lockdep is not None:
        lockdep.check(cpu, lockdep.is_held(task, lock, read), f"lockdep_assert_held({lock.name})")


def lockdep_assert_not_held(cpu: Cpu, lock: Tracked) -> None:
    """Report if the task that runs holds a lock. Without lockdep nothing."""
    task = current_task(cpu)
    lockdep = task.sched.lockdep
    if lockdep is not None:
        lockdep.check(cpu, not lockdep.is_held(task, lock), f"lockdep_assert_not_held({lock.name})")


def lockdep_assert_irqs_disabled(cpu: Cpu) -> None:
    """Report if interrupts are on. Without lockdep nothing."""
    lockdep = current_task(cpu).sched.lockdep
    if lockdep is not None:
        lockdep.check(cpu, cpu.irqs_off, "lockdep_assert_irqs_disabled()")


def might_lock(cpu: Cpu, lock: Tracked, read: int = 0) -> None:
    """Let lockdep judge a lock that this way through the code does not take, but another one would."""
    lockdep = current_task(cpu).sched.lockdep
    if lockdep is not None:
        lockdep.acquire(cpu, lock, read)
        lockdep.release(cpu, lock)
