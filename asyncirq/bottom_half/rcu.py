"""Call functions once every reader of today is done: RCU with one kind of grace period.

A grace period ends when each CPU has passed a quiescent state since it began: a context switch, user mode or idleness seen by
the tick, on a preemptible kernel kernel mode outside any reader as well; and when no reader is left that began before it. An idle
CPU is quiescent as long as it idles.

The tick looks whether RCU has something to do on its CPU and raises RCU (on PREEMPT_RT it wakes ``rcuc/N``, FIFO 1). The core
reports this CPU's quiescent state, ends the grace period, starts the next one if anybody waits for it, and runs ready
callbacks, ``BATCH`` at a time.

Linux: kernel/rcu/tree.c rcu_sched_clock_irq(), rcu_core(), rcu_do_batch(). Model: no tree of nodes, no grace-period kthread (the CPU
that finds the end starts the next one), no callback offloading, no expedited grace periods, no boosting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.bottom_half.rcu_flavours import RcuFlavours
from asyncirq.bottom_half.softirq import RCU_SOFTIRQ, Softirq
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.completion import Completion
from asyncirq.sched.preempt import HARDIRQ_MASK, HARDIRQ_OFFSET, PREEMPT_MASK, SOFTIRQ_MASK
from asyncirq.sched.smpboot import HotplugThread, Smpboot
from asyncirq.sched.task import SCHED_FIFO, Task

BATCH: Final = 10
"""How many callbacks run before the softirq gives way. Linux: rcutree.blimit."""

RcuFn = Callable[[Cpu], Coroutine[Any, Any, None]]


class RcuData:
    """What RCU knows of one CPU: its callbacks as ``(grace period that frees it, function)``, and whether it was quiescent.

    ``quiescent``: since the beginning of the current grace period. ``switches`` is the run queue's count when that was last looked at.
    """

    __slots__ = ("callbacks", "quiescent", "switches")

    def __init__(self) -> None:
        self.callbacks: deque[tuple[int, RcuFn]] = deque()
        self.quiescent = True
        self.switches = 0


class Rcu:
    """RCU of one machine.

    ``started`` and ``completed`` are the numbers of the latest grace periods that began and ended; one is under way while they
    differ, since ``gp_start_ns``. ``flavours`` are the other ways to read. ``waiting`` has a bit for each CPU that it waits for.
    """

    def __init__(self, softirq: Softirq) -> None:
        self.softirq = softirq
        self.sched = softirq.sched
        self.costs = softirq.costs
        self.engine = softirq.engine
        self.started = 0
        self.completed = 0
        self.gp_start_ns = 0
        self.waiting = 0
        self.data = [RcuData() for _ in softirq.sched.cpus]
        self._rt = softirq.config.rt
        self._preemptible = softirq.sched.preemptible_kernel
        self._readers: dict[Task, tuple[int, int]] = {}
        self._wanted = 0
        self._woken = [False] * len(softirq.sched.cpus)
        self.rcuc = HotplugThread("rcuc", self._should_run, self._run_rcuc, policy=SCHED_FIFO, rt_priority=1)
        self.flavours = RcuFlavours(self)
        softirq.open_softirq(RCU_SOFTIRQ, self._rcu_core)
        softirq.rcu_qs = self.rcu_qs

    def spawn(self, smpboot: Smpboot, cpu: Cpu) -> None:
        """Make and start ``rcuc/N`` of one CPU, on PREEMPT_RT."""
        if self._rt:
            smpboot.boot(self.rcuc, cpu.id)

    # --- readers

    def rcu_read_lock(self, cpu: Cpu) -> Task:
        """Begin a reader and return the task that it belongs to, by which ``rcu_read_unlock`` ends it. Takes no time; nests."""
        task = cpu.current
        assert isinstance(task, Task)
        depth, began = self._readers.get(task, (0, self.started))
        self._readers[task] = (depth + 1, began)
        if self.sched.lockdep is not None:
            self.sched.lockdep.acquire(cpu, self.sched.lockdep.rcu, 2, check=False)
        return task

    def rcu_read_unlock(self, task: Task) -> None:
        """End a reader. Raises ``KernelBug`` when there was none."""
        if self.sched.lockdep is not None:
            self.sched.lockdep.release(task.cpu, self.sched.lockdep.rcu)
        reader = self._readers.get(task)
        if reader is None:
            raise KernelBug(f"rcu_read_unlock of {task.comm}/{task.pid}, which is no reader, at {self.engine.now} ns")
        depth, began = reader
        if depth > 1:
            self._readers[task] = (depth - 1, began)
        else:
            del self._readers[task]

    def readers_before(self, period: int) -> list[Task]:
        """Return the tasks whose readers began before a grace period, by pid."""
        return sorted((task for task, (_, began) in self._readers.items() if began < period), key=lambda task: task.pid)

    # --- callbacks

    def call_rcu(self, cpu: Cpu, function: RcuFn) -> None:
        """Have ``await function(cpu)`` run on this CPU after a grace period that begins from now on."""
        self.data[cpu.id].callbacks.append((self.started + 1, function))
        if self._wanted < self.started + 1:
            self._wanted = self.started + 1
        self._start()

    async def synchronize_rcu(self, task: Task) -> None:
        """Sleep for a grace period."""
        done = Completion("synchronize_rcu")
        cpu = task.preempt_disable()
        self.call_rcu(cpu, done.complete)
        await task.preempt_enable()
        await done.wait(task)

    def needs_cpu(self, cpu: Cpu) -> bool:
        """Tell whether an idle CPU has to keep its tick for its callbacks."""
        return bool(self.data[cpu.id].callbacks)

    # --- quiescent states

    def rcu_qs(self, cpu: Cpu) -> None:
        """Note that this CPU has passed a quiescent state; its core reports it."""
        self.data[cpu.id].quiescent = True

    async def tick(self, cpu: Cpu) -> None:
        """Note what the tick interrupted, and raise RCU if there is something to do on this CPU. Trace: softirq_raise."""
        index = cpu.id
        data = self.data[index]
        if not self.waiting >> index & 1 and not data.callbacks:
            return
        if not data.quiescent:
            data.quiescent = self._was_quiescent(cpu, data)
        if self._pending(index, data):
            if self._rt:
                self._woken[index] = True
                thread = self.rcuc.threads.get(index)
                if thread is not None:
                    await self.sched.wake_up_process(cpu, thread.task)
            else:
                self.softirq.raise_softirq_nowake(cpu, RCU_SOFTIRQ)

    def _was_quiescent(self, cpu: Cpu, data: RcuData) -> bool:
        if self.sched.rqs[cpu.id].nr_switches != data.switches:
            return True
        task = cpu.current
        assert isinstance(task, Task)
        count = cpu.preempt_count
        if count & HARDIRQ_MASK != HARDIRQ_OFFSET or count & SOFTIRQ_MASK:
            return False
        if task.regs_user or task.is_idle:
            return True
        return self._preemptible and not count & PREEMPT_MASK and task not in self._readers

    def _pending(self, index: int, data: RcuData) -> bool:
        if self.waiting >> index & 1 and data.quiescent:
            return True
        return bool(data.callbacks) and (data.callbacks[0][0] <= self.completed or self._may_end(self.waiting))

    # --- the core

    async def _rcu_core(self, cpu: Cpu) -> None:
        index = cpu.id
        data = self.data[index]
        if self.waiting >> index & 1:
            if not data.quiescent and self.sched.rqs[index].nr_switches != data.switches:
                data.quiescent = True
            if data.quiescent:
                self.waiting &= ~(1 << index)
        self._end()
        callbacks = data.callbacks
        left = BATCH
        while callbacks and callbacks[0][0] <= self.completed:
            if not left:
                await self._again(cpu)
                return
            left -= 1
            function = callbacks.popleft()[1]
            await function(cpu)

    async def _again(self, cpu: Cpu) -> None:
        if self._rt:
            self._woken[cpu.id] = True
        else:
            await self.softirq.raise_softirq(cpu, RCU_SOFTIRQ)

    def _start(self) -> None:
        """Begin a grace period if one is wanted and none is under way: every CPU that does not idle has to answer."""
        if self.started != self.completed or self._wanted <= self.completed:
            return
        self.started += 1
        self.gp_start_ns = self.engine.now
        for cpu, data, rq in zip(self.sched.cpus, self.data, self.sched.rqs, strict=True):
            data.switches = rq.nr_switches
            data.quiescent = False
            if not self._idles(cpu.id):
                self.waiting |= 1 << cpu.id

    def migrate_callbacks(self, cpu: Cpu, dead: int) -> None:
        """Take over what a dead CPU would have called, each function after its own grace period. Linux: rcutree_migrate_callbacks()."""
        gone = self.data[dead]
        here = self.data[cpu.id]
        merged = sorted([*here.callbacks, *gone.callbacks], key=lambda each: each[0])
        here.callbacks = deque(merged)
        gone.callbacks.clear()
        self.waiting &= ~(1 << dead)

    def _idles(self, index: int) -> bool:
        cpu = self.sched.cpus[index]
        task = cpu.current
        # An idle task's preempt count is 1 for life; anything above is an interrupt, which may read.
        return isinstance(task, Task) and task.is_idle and not cpu.preempt_count & (HARDIRQ_MASK | SOFTIRQ_MASK)

    def _may_end(self, waiting: int) -> bool:
        if self.started == self.completed:
            return False
        for index in range(len(self.data)):
            if waiting >> index & 1 and not self._idles(index):
                return False
        return not any(began < self.started for _, began in self._readers.values())

    def _end(self) -> None:
        if self._may_end(self.waiting):
            self.waiting = 0
            self.completed = self.started
            self._start()

    # --- the thread of PREEMPT_RT

    def _should_run(self, index: int) -> bool:
        return self._woken[index]

    async def _run_rcuc(self, task: Task) -> None:
        self._woken[task.cpu.id] = False
        cpu = await self.softirq.local_bh_disable(task)
        await self._rcu_core(cpu)
        await self.softirq.local_bh_enable(task)
