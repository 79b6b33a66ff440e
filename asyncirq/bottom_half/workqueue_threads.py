"""Run work in threads of its own: the workqueues before 2.6.36.

Each workqueue has a queue and a thread on every CPU, named after it (``events/0``), or one of each for all CPUs if it is
single-threaded. Two counters order everything: an item's insertion raises one, its end the other; a flush samples the first
and sleeps until the second has reached it, so that items queued later do not extend it. A thread that flushes its own queue
runs it by hand.

Linux: kernel/workqueue.c of 2.6.11 (no present-day counterpart). Model: the queue's lock has no duration of its own;
the records are today's, which those kernels did not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncirq.bottom_half.work import DelayedWork, Work
from asyncirq.bottom_half.workqueue_api import WORK_CPU_UNBOUND, WQ_BH, WQ_ORDERED, WQ_UNBOUND, Workqueue, Workqueues
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.mutex import Mutex
from asyncirq.sched.core import Sched
from asyncirq.sched.kthread import Kthread, kthread_create
from asyncirq.sched.might_sleep import might_sleep
from asyncirq.sched.signal import SIGCHLD, Signals
from asyncirq.sched.task import TASK_INTERRUPTIBLE, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task
from asyncirq.sched.wait import WaitEntry, WaitQueue, preempt_check

if TYPE_CHECKING:
    from asyncirq.bottom_half.sleep import Sleep

WORKER_NICE: Final = -5
MAX_RUN_DEPTH: Final = 3
MAX_NAME: Final = 10
PF_NOFREEZE: Final = 0x8000
"""A task flag: a suspend does not stop it."""


class CpuWorkqueue:
    """The queue of one workqueue on one CPU and its thread.

    ``insert_sequence`` and ``remove_sequence`` count items queued and ended; ``more_work`` is where the thread sleeps,
    ``work_done`` where flushers do; ``run_depth`` is how deep the thread is in its own queue,
    ``running`` the items that it is in. ``signals`` are the thread's: all blocked.

    Linux: struct cpu_workqueue_struct.
    """

    __slots__ = (
        "cpu",
        "insert_sequence",
        "more_work",
        "remove_sequence",
        "run_depth",
        "running",
        "signals",
        "thread",
        "work_done",
        "worklist",
        "wq",
    )

    def __init__(self, wq: Workqueue, cpu: int) -> None:
        self.wq = wq
        self.cpu = cpu
        self.insert_sequence = 0
        self.remove_sequence = 0
        self.worklist: list[Work] = []
        self.more_work = WaitQueue(f"{wq.name} more_work")
        self.work_done = WaitQueue(f"{wq.name} work_done")
        self.thread: Kthread | None = None
        self.run_depth = 0
        self.running: list[Work] = []
        self.signals = Signals()

    def __repr__(self) -> str:
        return f"<CpuWorkqueue {self.wq.name}/{self.cpu}>"


class Removed(Work):
    """What keeps the place of an item that was taken back: the counters know no gaps."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(self._nothing, "removed")

    async def _nothing(self, task: Task, work: Work) -> None:
        return


class WorkThreads(Workqueues):
    """The queues and threads of one machine. ``online`` is the mask of CPUs that have threads."""

    def __init__(self, sched: Sched, sleep: Sleep | None = None) -> None:
        super().__init__(sched, sleep)
        self.online = sched.all_cpus
        self.booted = False
        self.hotplug_lock = Mutex(sched, "cpu_hotplug")

    # --- threads

    def _make_thread(self, cwq: CpuWorkqueue) -> Kthread:
        wq = cwq.wq

        async def worker_thread(kthread: Kthread) -> None:
            await self._worker_thread(kthread, cwq)

        comm = wq.name if wq.single else f"{wq.name}/{cwq.cpu}"
        cpu = None if wq.single else cwq.cpu
        cwq.thread = kthread_create(self.sched, worker_thread, comm, cpu=cpu, nice=WORKER_NICE)
        cwq.thread.task.flags |= PF_NOFREEZE
        return cwq.thread

    async def _worker_thread(self, kthread: Kthread, cwq: CpuWorkqueue) -> None:
        task = kthread.task
        cwq.signals.block_all()
        cwq.signals.ignore(SIGCHLD)
        entry = WaitEntry(task, autoremove=False)
        task.set_current_state(TASK_INTERRUPTIBLE)
        while not kthread.should_stop:
            cwq.more_work.add(entry)
            if not cwq.worklist:
                await task.schedule()
            else:
                task.set_current_state(TASK_RUNNING)
            cwq.more_work.remove(entry)
            if cwq.worklist:
                await self._run_workqueue(task, cwq)
            task.set_current_state(TASK_INTERRUPTIBLE)
        task.set_current_state(TASK_RUNNING)

    async def _run_workqueue(self, task: Task, cwq: CpuWorkqueue) -> None:
        trace = self.sched.trace
        cwq.run_depth += 1
        if cwq.run_depth > MAX_RUN_DEPTH and trace is not None:
            trace.printk(task.cpu, 4, f"run_workqueue: recursion depth exceeded: {cwq.run_depth}")
            stack = "".join(f" {work.symbol} <- run_workqueue <-" for work in reversed(cwq.running))
            trace.printk(task.cpu, 4, f"Call Trace: run_workqueue <-{stack} worker_thread")
        while cwq.worklist:
            work = cwq.worklist.pop(0)
            work.entry = None
            if not isinstance(work, Removed):
                await self._run_one(task, cwq, work)
            cwq.remove_sequence += 1
            cpu = task.preempt_disable()
            await cwq.work_done.wake_up(cpu)
            await task.preempt_enable()
        cwq.run_depth -= 1

    async def _run_one(self, task: Task, cwq: CpuWorkqueue, work: Work) -> None:
        trace = self.sched.trace
        if work.wq_data is not cwq:
            raise KernelBug(f"kernel BUG: {work.name} is in the queue {cwq} but belongs to {work.wq_data}, at {self.sched.engine.now} ns")
        if self.sched.costs.work_start_ns:
            await task.spend(self.sched.costs.work_start_ns)
        # From here on it can be queued again, by itself too.
        work.pending = False
        cwq.running.append(work)
        locks = len(task.held_locks)
        name, symbol = work.name, work.symbol
        if trace is not None:
            task.cpu.cause = work.cause
            task.cpu.cause = trace.workqueue_execute_start(task.cpu, name, symbol)
        await work.function(task, work)
        cpu = task.cpu
        if trace is not None:
            trace.workqueue_execute_end(cpu, name, symbol)
        cwq.running.pop()
        if cpu.preempt_count or cpu.irqs_off or len(task.held_locks) != locks:
            if trace is not None:
                trace.printk(cpu, 3, f"BUG: workqueue leaked lock or atomic: {task.comm}/0x{cpu.preempt_count:08x}/{task.pid}")
            cpu.preempt_count = 0
            await cpu.irq_enable()

    # --- queueing

    async def _insert(self, cpu: Cpu, cwq: CpuWorkqueue, work: Work) -> None:
        """Put an item, whose pending bit is set, at the end of a queue; interrupts are off."""
        cpu.preempt_count += 1
        trace = self.sched.trace
        saved = cpu.cause
        if trace is not None:
            cpu.cause = work.cause = trace.workqueue_queue_work(cpu, work.name, work.symbol, cwq.wq.name, WORK_CPU_UNBOUND, cwq.cpu)
            cpu.cause = work.cause = trace.workqueue_activate_work(cpu, work.name, work.symbol)
        work.wq_data = cwq
        work.entry = cwq.worklist
        cwq.worklist.append(work)
        cwq.insert_sequence += 1
        if self.sched.costs.work_queue_ns:
            await cpu.spend(self.sched.costs.work_queue_ns)
        await cwq.more_work.wake_up(cpu)
        cpu.cause = saved
        cpu.preempt_count -= 1

    async def _enqueue(self, cpu: Cpu, req_cpu: int, wq: Workqueue, work: Work) -> None:
        index = 0 if wq.single else cpu.id if req_cpu == WORK_CPU_UNBOUND else req_cpu
        await self._insert(cpu, wq.cpu_wq[index], work)

    async def _queue_delayed(self, cpu: Cpu, wq: Workqueue, work: DelayedWork, delay: int, target: int) -> None:
        # No short cut for a delay of 0: the timer runs at the next tick.
        work.wq = wq
        work.req_cpu = target
        work.timer_pending = True
        # The wheel is today's, which runs a timer at the tick after its expiry; that of 2.6 ran it at the tick of its expiry.
        await self.add_timer(cpu, work, delay - 1)

    # --- flushing

    async def flush_cpu_workqueue(self, task: Task, cwq: CpuWorkqueue) -> None:
        """Sleep until everything has ended that a queue holds now; its own thread runs the queue by hand instead."""
        if cwq.thread is not None and cwq.thread.task is task:
            await self._run_workqueue(task, cwq)
            return
        needed = cwq.insert_sequence
        entry = WaitEntry(task)
        while needed - cwq.remove_sequence > 0:
            cwq.work_done.prepare_to_wait(entry, TASK_UNINTERRUPTIBLE)
            await task.schedule()
        cwq.work_done.finish_wait(entry)

    async def flush_workqueue(self, task: Task, wq: Workqueue) -> None:
        """Flush the queue of each online CPU in turn, under the hotplug lock. Raises ``KernelBug`` in atomic context."""
        might_sleep(task, f"flush_workqueue({wq.name})")
        if wq.single:
            await self.flush_cpu_workqueue(task, wq.cpu_wq[0])
            return
        nested = self.hotplug_lock.owner is task
        if not nested:
            await self.hotplug_lock.lock(task)
        for cwq in wq.cpu_wq:
            if self.online >> cwq.cpu & 1:
                await self.flush_cpu_workqueue(task, cwq)
        if not nested:
            await self.hotplug_lock.unlock(task)

    def _queues_of(self, work: Work) -> list[CpuWorkqueue]:
        """Return the queues in which an item is queued or runs."""
        queues = [cwq for wq in self.workqueues for cwq in wq.cpu_wq]
        return [cwq for cwq in queues if work in cwq.running or (work.entry is cwq.worklist and work.pending)]


class ThreadWorkqueues(WorkThreads):
    """The workqueues of a kernel before 2.6.36. ``system_wq`` is keventd's (``events/N``); the other system names mean the same one."""

    def __init__(self, sched: Sched, sleep: Sleep | None = None) -> None:
        super().__init__(sched, sleep)
        self.system_wq = self.create_workqueue("events")
        self.system_highpri_wq = self.system_long_wq = self.system_unbound_wq = self.system_wq

    def boot(self) -> None:
        """Start the thread of every queue there is."""
        self.booted = True
        for wq in self.workqueues:
            self._start(wq)

    def _start(self, wq: Workqueue) -> None:
        for cwq in wq.cpu_wq:
            if self.online >> cwq.cpu & 1:
                self._start_now(self._make_thread(cwq).task)

    def create_workqueue(self, name: str, single: bool = False) -> Workqueue:
        """Make a workqueue with a thread on each CPU, or with one alone. Raises ``UsageError`` for a name above ten characters."""
        if not 0 < len(name) <= MAX_NAME:
            raise UsageError(f"workqueue name {name!r} does not have 1 to {MAX_NAME} characters", 22)
        wq = Workqueue(name, WQ_UNBOUND if single else 0, 1)
        wq.single = single
        wq.cpu_wq = [CpuWorkqueue(wq, cpu.id) for cpu in (self.sched.cpus[:1] if single else self.sched.cpus)]
        self.workqueues.append(wq)
        if self.booted:
            self._start(wq)
        return wq

    def alloc_workqueue(self, name: str, flags: int = 0, max_active: int = 0) -> Workqueue:
        """Make a workqueue as ``create_workqueue`` does: single-threaded if it is unbound or ordered; other flags mean nothing here."""
        if flags & WQ_BH:
            raise UsageError(f"workqueue {name}: this kernel has no BH workqueues", 22)
        return self.create_workqueue(name, bool(flags & (WQ_UNBOUND | WQ_ORDERED)))

    async def destroy_workqueue(self, task: Task, wq: Workqueue) -> None:
        """Flush a workqueue, stop its threads and remove it."""
        if wq not in self.workqueues:
            raise UsageError(f"workqueue {wq.name} is destroyed already", 22)
        await self.flush_workqueue(task, wq)
        for cwq in wq.cpu_wq:
            if cwq.thread is not None:
                await cwq.thread.stop(task)
                cwq.thread = None
        self.workqueues.remove(wq)

    async def queue_work(self, cpu: Cpu, wq: Workqueue, work: Work) -> bool:
        """Queue an item on this CPU's queue, a single-threaded workqueue's on CPU 0's; return False if it is pending.

        Trace: workqueue_queue_work, workqueue_activate_work, sched_waking.
        """
        return await self.queue_work_on(cpu, cpu.id, wq, work)

    async def queue_work_on(self, cpu: Cpu, target: int, wq: Workqueue, work: Work) -> bool:
        """Queue an item on the queue of CPU ``target``; return False if it is pending. Raises ``UsageError`` for a CPU without threads."""
        if not self.online >> target & 1 and not wq.single:
            raise UsageError(f"work {work.name}: there is no CPU {target}", 22)
        if work.pending or work.disabled:
            return False
        if work.entry is not None:
            raise KernelBug(f"kernel BUG: {work.name} is not pending but in a queue, {cpu.name} at {self.sched.engine.now} ns")
        was_off = cpu.irq_disable()
        work.pending = True
        await self._enqueue(cpu, target, wq, work)
        if not was_off:
            await cpu.irq_enable()
            await preempt_check(cpu)
        return True

    async def cancel_delayed_work(self, cpu: Cpu, work: DelayedWork) -> bool:
        """Drop the timer of an item; return whether it was armed. An item that is queued already runs."""
        if not work.timer_pending:
            return False
        work.timer_pending = work.pending = False
        await self.del_timer(cpu, work)
        return True

    async def cancel_work(self, cpu: Cpu, work: Work, disable: bool = False) -> bool:
        """Take a pending item back, its timer too; return whether it was pending. Model: in Linux from 2.6.22 on."""
        if disable:
            work.disable()
        if not work.pending:
            return False
        if isinstance(work, DelayedWork) and work.timer_pending:
            return await self.cancel_delayed_work(cpu, work)
        entry = work.entry
        assert entry is not None
        entry[entry.index(work)] = Removed()
        work.entry = None
        work.pending = False
        return True

    async def cancel_work_sync(self, task: Task, work: Work, disable: bool = False) -> bool:
        """Take an item back and sleep until it does not run; return whether it was pending. Model: in Linux from 2.6.22 on."""
        might_sleep(task, f"cancel_work_sync({work.name})")
        cpu = task.preempt_disable()
        was_pending = await self.cancel_work(cpu, work, disable=True)
        await task.preempt_enable()
        await self.flush_work(task, work)
        if not disable:
            work.enable()
        return was_pending

    async def flush_work(self, task: Task, work: Work) -> bool:
        """Flush the queues in which an item is queued or runs; return False if it was idle. Model: in Linux from 2.6.27 on."""
        might_sleep(task, f"flush_work({work.name})")
        queues = self._queues_of(work)
        for cwq in queues:
            await self.flush_cpu_workqueue(task, cwq)
        return bool(queues)
