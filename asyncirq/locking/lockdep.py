"""Prove locking correct as it happens: every order in which locks are taken, every context they are taken in.

The first task that takes two locks teaches their order; the first that takes them the other way round is reported, though nobody has
waited yet. The same holds for circles of any length, for locks that interrupts take, and for locks that may not be waited for where
they are taken.

Linux: kernel/locking/lockdep.c lock_acquire(), Documentation/locking/lockdep-design.rst. Model: no redundancy check of edges, no
cross-release, no lock statistics. Trace: lockdep_report and printk for what is found; else nothing, and no time passes.
"""

from __future__ import annotations

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.irq_variants import current_task
from asyncirq.locking.lockdep_check import LockdepChecks
from asyncirq.locking.lockdep_class import (
    LD_WAIT_CONFIG,
    LD_WAIT_FREE,
    LD_WAIT_MAX,
    LD_WAIT_SPIN,
    MAX_LOCK_DEPTH,
    USED,
    Edge,
    HeldLock,
    LockMap,
    Tracked,
    call_site,
)
from asyncirq.locking.lockdep_graph import Step, add_edge, dep_bit, search
from asyncirq.locking.lockdep_report import circular, inconsistent, invalid_wait, nest_not_held, recursion, unbalanced
from asyncirq.locking.lockdep_state import ROOT_CHAIN, TaskLocks
from asyncirq.locking.lockdep_usage import LockdepUsage
from asyncirq.sched.core import Sched
from asyncirq.sched.preempt import NMI_MASK
from asyncirq.sched.task import Task


class Lockdep(LockdepUsage, LockdepChecks):
    """The lock validator of one machine; the locks find it as ``sched.lockdep``.

    ``rcu``, ``rcu_bh`` and ``rcu_sched`` are the maps of RCU's readers. ``queued_rwlocks`` False: every reader of an rwlock may recurse.
    """

    def __init__(self, sched: Sched) -> None:
        super().__init__(sched)
        self.queued_rwlocks = sched.config.queued_rwlocks
        self.rcu = LockMap("rcu_read_lock", LD_WAIT_CONFIG, LD_WAIT_FREE)
        self.rcu_bh = LockMap("rcu_read_lock_bh", LD_WAIT_CONFIG, LD_WAIT_FREE)
        self.rcu_sched = LockMap("rcu_read_lock_sched", LD_WAIT_SPIN, LD_WAIT_FREE)

    # --- taking and giving up

    def acquire(
        self,
        cpu: Cpu,
        lock: Tracked,
        read: int = 0,
        *,
        subclass: int = 0,
        trylock: bool = False,
        check: bool = True,
        nest: Tracked | None = None,
        sync: bool = False,
    ) -> None:
        """Take note that what runs on ``cpu`` is about to take a lock, or has taken it by ``trylock``, and check that it may.

        ``read`` 1: shared; 2: shared, and readers may recurse. ``check`` False only tells that it is held. ``nest`` is a held lock that
        keeps the order of its class. ``sync``: a wait for whoever holds the lock, without taking it.
        """
        if not self.debug_locks:
            return
        task = current_task(cpu)
        if cpu.preempt_count & NMI_MASK:
            if not trylock:
                self._check_nmi(cpu, task, lock, read, subclass)
            return
        state = self.locks_of(task)
        held = state.held
        cls = self.class_of(lock, subclass)
        if held and nest is not None and not sync and held[-1].cls is cls:
            held[-1].references = max(held[-1].references, 1) + 1
            return
        new = HeldLock(lock, cls, read, trylock, check, nest)
        new.context = self.context_of(cpu)
        new.irqs_off = cpu.irqs_off
        new.site = call_site()
        fine = self._check_wait(cpu, task, new, held) and self.mark_usage(cpu, task, new)
        if fine and nest is not None and not self.is_held(task, nest):
            self.report(cpu, task, nest_not_held(task, new, nest.name, held))
            fine = False
        new.chain = state.chain
        chain = self._enter_chain(cpu, task, state, new, fine)
        if sync:
            return
        state.chain = chain
        held.append(new)
        if len(held) >= MAX_LOCK_DEPTH:
            self.debug_locks = False
            raise KernelBug(f"BUG: MAX_LOCK_DEPTH too low! {task.comm}/{task.pid} holds {len(held)} locks at {self.engine.now} ns")

    def release(self, cpu: Cpu, lock: Tracked) -> None:
        """Take note that what runs on ``cpu`` gives a lock up; report one that it does not hold."""
        if not self.debug_locks or cpu.preempt_count & NMI_MASK:
            return
        task = current_task(cpu)
        state = self.locks_of(task)
        held = state.held
        index = self._find(held, lock)
        if index < 0:
            self.report(cpu, task, unbalanced(task, lock.name, call_site(), held))
            return
        entry = held[index]
        if entry.references:
            entry.references -= 1
            if entry.references:
                return
        self._replay(cpu, task, state, index, held[index + 1 :])

    def downgrade(self, cpu: Cpu, lock: Tracked) -> None:
        """Take note that an exclusive lock becomes a shared one."""
        if not self.debug_locks:
            return
        task = current_task(cpu)
        state = self.locks_of(task)
        index = self._find(state.held, lock)
        if index < 0:
            self.report(cpu, task, unbalanced(task, lock.name, call_site(), state.held))
            return
        state.held[index].read = 1
        self._replay(cpu, task, state, index, state.held[index:])

    def _find(self, held: list[HeldLock], lock: Tracked) -> int:
        """Return the place of a held lock, -1 if it is not held in this context."""
        for index in range(len(held) - 1, -1, -1):
            entry = held[index]
            if entry.lock is lock or (entry.references and lock.dep is not None and entry.cls in lock.dep.values()):
                return index
            if index and held[index - 1].context != entry.context:
                return -1
        return -1

    def _replay(self, cpu: Cpu, task: Task, state: TaskLocks, index: int, later: list[HeldLock]) -> None:
        """Take what was held from ``index`` on off the list, and enter those of ``later`` again, in their order."""
        state.chain = state.held[index].chain
        del state.held[index:]
        for entry in later:
            entry.chain = state.chain
            state.chain = self._enter_chain(cpu, task, state, entry, self.debug_locks)
            state.held.append(entry)

    # --- checks

    def _check_nmi(self, cpu: Cpu, task: Task, lock: Tracked, read: int, subclass: int) -> None:
        """Report a lock that an NMI waits for and anybody uses; a trylock may fail and is fine."""
        cls = self.class_of(lock, subclass)
        mask = 1 << USED if read else 3 << USED
        if cls.usage & mask:
            entry = HeldLock(lock, cls, read, False, True, None)
            entry.site = call_site()
            state = self.locks_of(task)
            self.report(cpu, task, inconsistent(cpu, task, entry, (USED, -1), state.held, state.event_lines()))

    def wait_context(self, cpu: Cpu) -> int:
        """Return how one may wait on a CPU, for its interrupts alone: by spinning, as configured, in any way."""
        context = self.context_of(cpu)
        if context & 1:
            return self._wait[LD_WAIT_CONFIG if self.config_irq[cpu.id] else LD_WAIT_SPIN]
        return self._wait[LD_WAIT_CONFIG if context else LD_WAIT_MAX]

    def _check_wait(self, cpu: Cpu, task: Task, new: HeldLock, held: list[HeldLock]) -> bool:
        if not new.cls.inner or new.trylock:
            return True
        allowed = self.wait_context(cpu)
        for entry in reversed(held):
            if entry.context != new.context:
                break
            if entry.cls.inner:
                allowed = min(allowed, entry.cls.inner)
        if new.cls.outer <= allowed:
            return True
        self.report(cpu, task, invalid_wait(task, new, self.wait_context(cpu), held))
        return False

    def _enter_chain(self, cpu: Cpu, task: Task, state: TaskLocks, new: HeldLock, fine: bool) -> int:
        """Return the number of the chain that ends with ``new``; a chain that was never seen before is checked first."""
        held = state.held
        head = not held or held[-1].context != new.context
        key = (ROOT_CHAIN if head else state.chain, new.cls.index << 2 | new.read)
        chain = self._chains.get(key)
        if chain is None:
            chain = self._chains[key] = len(self._chains) + 1
        if not new.check or new.trylock or chain in self._proved:
            return chain
        self._proved.add(chain)
        if fine:
            verdict = self._check_recursion(cpu, task, held, new)
            if verdict > 0 and not head:
                self._add_edges(cpu, task, held, new)
        return chain

    def _check_recursion(self, cpu: Cpu, task: Task, held: list[HeldLock], new: HeldLock) -> int:
        """Return 0 for a lock of a class that is held already (reported), -1 where a held lock keeps their order, else 1."""
        nested = False
        for prev in held:
            nested = nested or prev.lock is new.nest
            if prev.cls is not new.cls or (new.read == 2 and prev.read):
                continue
            if nested:
                return -1
            self.report(cpu, task, recursion(task, prev, new, held))
            return 0
        return 1

    def _add_edges(self, cpu: Cpu, task: Task, held: list[HeldLock], new: HeldLock) -> None:
        """Add the edges from what is held in this context, back to the first that is no trylock: that one has its own already."""
        for distance, prev in enumerate(reversed(held), 1):
            if prev.context != new.context:
                return
            if prev.check:
                if not self._add_edge(cpu, task, prev, new, distance):
                    return
                if not prev.trylock:
                    return

    def _add_edge(self, cpu: Cpu, task: Task, prev: HeldLock, new: HeldLock, distance: int) -> bool:
        def closes(step: Step) -> bool:
            return step.cls is prev.cls and (prev.read == 0 or not step.only_xr)

        held = self.locks_of(task).held
        target = search(Step(new.cls, new.read == 2), closes)
        if target is not None:
            if target.parent is None:
                self.report(cpu, task, recursion(task, prev, new, held))
            else:
                self.report(cpu, task, circular(task, target, prev, new, held, self.trace_of()))
            return False
        if not self.check_irq_edge(cpu, task, prev, new):
            return False
        add_edge(prev, new, distance, Edge(prev.cls, new.cls, dep_bit(prev, new), distance, self.trace_of()))
        return True
