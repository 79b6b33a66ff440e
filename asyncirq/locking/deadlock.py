"""Find deadlocks between tasks that sleep on locks.

The chain is followed when a task is about to block: lock, its owner, the lock that the owner sleeps on, and so on. Back
at the task that is about to block is a deadlock that nothing can resolve. Spinning locks have the same walk in
``hw/cpu.py``, along the words that contexts stall on.

Linux: kernel/locking/rtmutex.c rt_mutex_adjust_prio_chain() detects it for its own locks; for the others lockdep and the
hung-task watchdog do.
"""

from __future__ import annotations

from typing import Protocol

from asyncirq.errors import KernelBug
from asyncirq.sched.task import Task


class SleepingLock(Protocol):
    """Whatever a task can sleep on and another task can own; ``task.blocked_on`` is one while it sleeps."""

    name: str

    @property
    def owner(self) -> Task | None:
        """Who must give it up."""
        ...


def check_chain(task: Task, lock: SleepingLock) -> None:
    """Raise ``KernelBug`` with the whole chain if ``task``, by sleeping on ``lock``, would wait for itself."""
    chain = []
    waiters: list[Task] = []
    waiter, wanted = task, lock
    while True:
        owner = wanted.owner
        if owner is None:
            return
        chain.append(f"{waiter.comm}/{waiter.pid} waits for {wanted.name}, held by {owner.comm}/{owner.pid}")
        if owner is task:
            break
        if owner.blocked_on is None or owner in waiters:
            return
        waiters.append(owner)
        waiter, wanted = owner, owner.blocked_on
    raise KernelBug(f"deadlock detected on {task.cpu.name} at {task.sched.engine.now} ns: {'; '.join(chain)}")


def release_held(task: Task, lock: object) -> None:
    """Take a lock off the list of those that a task holds, the latest first."""
    held = task.held_locks
    for index in range(len(held) - 1, -1, -1):
        if held[index] is lock:
            del held[index]
            return
