"""Sleep on locks with priority inheritance: the rtlock of PREEMPT_RT and the rt_mutex.

The owner runs at the best priority among its own and those of whoever waits for it, through any chain of locks. An
unlock wakes the best waiter and leaves the lock free for it; until it runs, a task of better priority may still come
first.

Linux: kernel/locking/rtmutex.c, kernel/locking/spinlock_rt.c. Model: a waiter never spins while the owner runs on
another CPU (rtmutex_spin_on_owner); the locks' own wait_lock has no duration of its own.
"""

from __future__ import annotations

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.deadlock import check_chain, release_held
from asyncirq.locking.lockdep_class import LD_WAIT_CONFIG, LD_WAIT_SLEEP, Key, Tracked
from asyncirq.sched.core import Sched
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.task import DEFAULT_PRIO, MAX_RT_PRIO, TASK_NORMAL, TASK_RTLOCK_WAIT, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task


class Waiter:
    """One task that waits for one lock. ``prio`` is the priority it is queued by, ``Task.pi_waiters`` hold it."""

    __slots__ = ("lock", "prio", "task")

    def __init__(self, task: Task, lock: RtMutexBase) -> None:
        self.task = task
        self.lock = lock
        self.prio = task.prio

    @property
    def rank(self) -> int:
        """Return the key of the queue."""
        return rank_of(self.prio)


class RtMutexBase(Tracked):
    """The core of both kinds of lock: owner, waiters by priority and arrival, inheritance.

    ``owner`` is None also between an unlock and the moment when the woken waiter takes the lock.
    """

    __slots__ = ("contended", "owner", "sched", "waiters")

    wait_state: int = TASK_UNINTERRUPTIBLE
    lateral_steal = False
    wake_mask: int = TASK_NORMAL

    def __init__(self, sched: Sched, name: str, key: Key | None = None) -> None:
        super().__init__(name, key)
        self.sched = sched
        self.owner: Task | None = None
        self.waiters: list[Waiter] = []
        self.contended = 0

    def holds(self, task: Task) -> bool:
        """Tell whether a task owns the lock."""
        return self.owner is task

    def try_lock(self, task: Task) -> bool:
        """Take the lock if it is free and no waiter has a better claim; return whether it was taken."""
        if not self.try_take(task):
            return False
        if self.sched.lockdep is not None:
            self.sched.lockdep.acquire(task.cpu, self, trylock=True)
        return True

    def try_take(self, task: Task) -> bool:
        """Take the lock if it is free and nobody has a better claim, without telling lockdep."""
        if self.owner is not None or (self.waiters and not self._may_steal(task)):
            return False
        self._take(task)
        return True

    def init(self, task: Task) -> None:
        """Make the lock anew; lockdep reports one that is held."""
        if self.sched.lockdep is not None:
            self.sched.lockdep.check_freed(task.cpu, self)
        self.owner = None
        self.waiters = []

    async def unlock(self, task: Task) -> None:
        """Give the lock up, give back what was inherited through it, and wake the best waiter.

        Raises ``KernelBug`` if the task does not own it. Trace: sched_pi_setprio, sched_waking, sched_wakeup.
        """
        if self.sched.lockdep is not None:
            self.sched.lockdep.release(task.cpu, self)
        await self.give(task)

    async def give(self, task: Task) -> None:
        """Give the lock up without telling lockdep: for the locks that are built on it."""
        if self.owner is not task:
            holder = "nobody" if self.owner is None else f"{self.owner.comm}/{self.owner.pid}"
            raise KernelBug(f"{task.comm}/{task.pid} unlocks {self.name}, which {holder} owns, at {self.sched.engine.now} ns")
        if not self.waiters:
            release_held(task, self)
            self.owner = None
            return
        sched = self.sched
        cpu = task.preempt_disable()
        if sched.costs.lock_handover_ns:
            await cpu.spend(sched.costs.lock_handover_ns)
        top = self.waiters[0]
        task.pi_waiters.remove(top)
        release_held(task, self)
        self.owner = None
        adjust_prio_chain(cpu, task)
        await sched.try_to_wake_up(cpu, top.task, self.wake_mask)
        await task.preempt_enable()

    async def _block(self, task: Task) -> None:
        raise TypeError(f"{type(self).__name__} does not say how it blocks")

    async def _take_fast(self, task: Task) -> bool:
        cost = self.sched.costs.lock_fast_ns
        if cost:
            await task.spend(cost)
        return self.try_take(task)

    async def _wait(self, task: Task) -> None:
        """Sleep in ``wait_state`` until the lock is this task's."""
        check_chain(task, self)
        self.contended += 1
        waiter = Waiter(task, self)
        task.blocked_on = self
        self._enqueue(waiter)
        if self.owner is not None:
            adjust_prio_chain(task.cpu, self.owner)
        task.state = self.wait_state
        while not self._take_as(waiter):
            if self.owner is None:
                await self._pass_on(task)
            await self._block(task)
            task.state = self.wait_state

    async def _pass_on(self, task: Task) -> None:
        """Wake the best waiter of a free lock: it became the best after another one had been woken."""
        cpu = task.preempt_disable()
        await self.sched.try_to_wake_up(cpu, self.waiters[0].task, self.wake_mask)
        await task.preempt_enable()

    def _may_steal(self, task: Task) -> bool:
        rank, top = rank_of(task.prio), self.waiters[0].rank
        return rank < top or (self.lateral_steal and rank == top == DEFAULT_PRIO)

    def _take_as(self, waiter: Waiter) -> bool:
        task = waiter.task
        if self.owner is not None or (self.waiters[0] is not waiter and not self._may_steal(task)):
            return False
        self.waiters.remove(waiter)
        task.blocked_on = None
        self._take(task)
        return True

    def _take(self, task: Task) -> None:
        self.owner = task
        task.held_locks.append(self)
        if self.waiters:
            task.pi_waiters.append(self.waiters[0])

    def _enqueue(self, waiter: Waiter) -> None:
        """Queue a waiter behind those of its rank, and make the best one known to the owner."""
        waiters = self.waiters
        before = waiters[0] if waiters else None
        place = len(waiters)
        while place and waiters[place - 1].rank > waiter.rank:
            place -= 1
        waiters.insert(place, waiter)
        self._top_changed(before)

    def _top_changed(self, before: Waiter | None) -> None:
        top = self.waiters[0] if self.waiters else None
        owner = self.owner
        if top is before or owner is None:
            return
        if before is not None:
            owner.pi_waiters.remove(before)
        if top is not None:
            owner.pi_waiters.append(top)

    def requeue(self, task: Task) -> bool:
        """Queue a waiting task anew if its priority has changed; return whether it has."""
        waiters = self.waiters
        waiter = next(w for w in waiters if w.task is task)
        if waiter.prio == task.prio:
            return False
        before = waiters[0]
        waiters.remove(waiter)
        self._top_changed(before)
        waiter.prio = task.prio
        self._enqueue(waiter)
        return True


class RtLock(RtMutexBase):
    """A spinlock of PREEMPT_RT: it sleeps, and keeps the state that the task had set for another sleep.

    Preemption must be on, apart from softirq's bits: on PREEMPT_RT they do not forbid it.
    """

    __slots__ = ()

    wait_inner = LD_WAIT_CONFIG
    wait_state: int = TASK_RTLOCK_WAIT
    lateral_steal = True
    wake_mask: int = TASK_RTLOCK_WAIT

    async def lock(self, task: Task, subclass: int = 0, nest: Tracked | None = None) -> None:
        """Take the lock; a contended one puts the task to sleep and lends the owner its priority.

        Raises ``KernelBug`` in atomic context and on deadlock. Trace: sched_pi_setprio, sched_switch.
        """
        if self.sched.lockdep is not None:
            self.sched.lockdep.acquire(task.cpu, self, subclass=subclass, nest=nest)
        await self.take(task)

    async def take(self, task: Task) -> None:
        """Take the lock without telling lockdep: for the locks that are built on it."""
        might_sleep(task, f"rt_spin_lock({self.name})", rtlock=True)
        if await self._take_fast(task):
            return
        task.saved_state = task.state
        await self._wait(task)
        # A wake-up that came for the other sleep has set the saved state to running.
        task.state = task.saved_state
        task.saved_state = TASK_RUNNING

    async def _block(self, task: Task) -> None:
        await self.sched.schedule_rtlock(task)


class RtMutex(RtMutexBase):
    """A mutex with priority inheritance, for task context."""

    __slots__ = ()

    wait_inner = LD_WAIT_SLEEP

    async def lock(self, task: Task, subclass: int = 0, nest: Tracked | None = None) -> None:
        """Take the lock; a contended one puts the task to sleep uninterruptibly and lends the owner its priority.

        Raises ``KernelBug`` in atomic context and on deadlock. Trace: sched_pi_setprio, sched_switch.
        """
        if self.sched.lockdep is not None:
            self.sched.lockdep.acquire(task.cpu, self, subclass=subclass, nest=nest)
        await self.take(task)

    async def take(self, task: Task) -> None:
        """Take the lock without telling lockdep: for the locks that are built on it."""
        might_sleep(task, f"rt_mutex_lock({self.name})")
        if not await self._take_fast(task):
            await self._wait(task)
            task.state = TASK_RUNNING

    async def _block(self, task: Task) -> None:
        await self.sched.schedule(task)


def rank_of(prio: int) -> int:
    """Return the key by which waiters are queued: all fair tasks are equal."""
    return prio if prio < MAX_RT_PRIO else DEFAULT_PRIO


def effective_prio(task: Task) -> int:
    """Return the best of a task's own priority and those of the best waiters on the locks it owns."""
    prio = task.normal_prio
    for waiter in task.pi_waiters:
        if waiter.prio < prio:
            prio = waiter.prio
    return prio


def adjust_prio_chain(cpu: Cpu, task: Task) -> None:
    """Give a task the priority it should have now, and pass the change on to the owner of what it sleeps on.

    Also to be called after a waiting task's own priority was changed. Trace: sched_pi_setprio.
    """
    step: Task | None = task
    while step is not None:
        step.sched.rt_mutex_setprio(cpu, step, effective_prio(step))
        lock = step.blocked_on
        if not isinstance(lock, RtMutexBase) or not lock.requeue(step):
            return
        step = lock.owner
