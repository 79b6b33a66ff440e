"""Keep one thread of a kind on every CPU: ksoftirqd, ktimers, rcuc.

======== ==================== =========
state    event, callback      becomes
======== ==================== =========
NONE     first run, ``setup`` ACTIVE
ACTIVE   asked to park,       PARKED
         ``park``
PARKED   unparked, ``unpark`` ACTIVE
ACTIVE,  asked to stop,       (ended)
PARKED   ``cleanup``
NONE     asked to stop        (ended)
======== ==================== =========

The callbacks run in the thread, preemptible and in state RUNNING. Between them the thread tests for work after it has
announced its sleep, so no wake-up is lost.

Linux: kernel/smpboot.c. Model: memory runs out only where a test sets ``may_create``; hotplug takes one registration at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.core import Sched
from asyncirq.sched.kthread import Kthread, kthread_create
from asyncirq.sched.task import SCHED_NORMAL, TASK_INTERRUPTIBLE, TASK_RUNNING, Task

HP_THREAD_NONE: Final = 0
HP_THREAD_ACTIVE: Final = 1
HP_THREAD_PARKED: Final = 2
ENOMEM: Final = 12

ThreadFn = Callable[[Task], Coroutine[Any, Any, None]]
DeadFn = Callable[[Cpu, int], Coroutine[Any, Any, None]]


class HotplugThread:
    """Describe one kind of per-CPU thread: ``name/N`` runs ``fn(task)`` whenever ``should_run(cpu_id)``.

    ``setup``, ``park`` and ``unpark`` are ``async def callback(task)``; ``cleanup(task, online)`` is told whether the CPU is online;
    ``create(cpu_id)`` is called once the new thread has really parked. ``threads[cpu_id]`` are the threads.
    """

    def __init__(
        self,
        name: str,
        should_run: Callable[[int], bool],
        fn: ThreadFn,
        *,
        policy: int = SCHED_NORMAL,
        rt_priority: int = 0,
        nice: int = 0,
    ) -> None:
        self.name = name
        self.should_run = should_run
        self.fn = fn
        self.policy = policy
        self.rt_priority = rt_priority
        self.nice = nice
        self.create: Callable[[int], None] | None = None
        self.setup: ThreadFn | None = None
        self.park: ThreadFn | None = None
        self.unpark: ThreadFn | None = None
        self.cleanup: Callable[[Task, bool], Coroutine[Any, Any, None]] | None = None
        self.threads: dict[int, SmpbootThread] = {}


class SmpbootThread:
    """One per-CPU thread: ``kthread``, ``task``, the ``status`` of the table above."""

    def __init__(self, smpboot: Smpboot, kind: HotplugThread, cpu_id: int) -> None:
        self.smpboot = smpboot
        self.kind = kind
        self.cpu = smpboot.sched.cpus[cpu_id]
        self.status = HP_THREAD_NONE
        self.kthread = kthread_create(
            smpboot.sched,
            self._main,
            f"{kind.name}/{cpu_id}",
            cpu=cpu_id,
            policy=kind.policy,
            rt_priority=kind.rt_priority,
            nice=kind.nice,
        )
        self.task: Task = self.kthread.task

    async def _main(self, kthread: Kthread) -> None:
        task = self.task
        kind = self.kind
        sched = self.smpboot.sched
        here = self.cpu
        index = here.id
        fn = kind.fn
        should_run = kind.should_run
        while True:
            task.set_current_state(TASK_INTERRUPTIBLE)
            if kthread.should_stop:
                await self._stop(task)
                return
            if kthread.should_park:
                await self._park(task)
                continue
            if task.cpu is not here:
                self._strayed(task)
            if self.status != HP_THREAD_ACTIVE:
                await self._activate(task)
                continue
            if not should_run(index):
                await task.schedule()
                continue
            # Here a preemptible kernel takes the CPU away between two rounds.
            task.set_current_state(TASK_RUNNING)
            if task.cpu.need_resched:
                await sched.preempt_schedule(task)
            await fn(task)

    async def _activate(self, task: Task) -> None:
        task.set_current_state(TASK_RUNNING)
        callback = self.kind.setup if self.status == HP_THREAD_NONE else self.kind.unpark
        if callback is not None:
            await callback(task)
        self.status = HP_THREAD_ACTIVE

    async def _park(self, task: Task) -> None:
        task.set_current_state(TASK_RUNNING)
        if self.kind.park is not None and self.status == HP_THREAD_ACTIVE:
            if task.cpu is not self.cpu:
                self._strayed(task)
            await self.kind.park(task)
        if self.status == HP_THREAD_ACTIVE:
            self.status = HP_THREAD_PARKED
        await self.kthread.parkme()

    async def _stop(self, task: Task) -> None:
        task.set_current_state(TASK_RUNNING)
        if self.kind.cleanup is not None and self.status != HP_THREAD_NONE:
            await self.kind.cleanup(task, self.smpboot.online[self.cpu.id])

    def _strayed(self, task: Task) -> None:
        raise KernelBug(f"kernel BUG: {task.comm}/{task.pid} runs on {task.cpu.name} at {self.smpboot.sched.engine.now} ns")


class Smpboot:
    """The per-CPU threads of one machine, by kind in the order of registration.

    ``online[cpu_id]`` says which CPUs are up. ``dead`` holds what is done, in order, on a living CPU for one that has died:
    ``(name, async def callback(cpu, dead))``. ``may_create(name)`` False lets the making of a thread fail.
    """

    def __init__(self, sched: Sched) -> None:
        self.sched = sched
        self.kinds: list[HotplugThread] = []
        self.online = [True] * len(sched.cpus)
        self.dead: list[tuple[str, DeadFn]] = []
        self.may_create: Callable[[str], bool] = lambda name: True

    def boot(self, kind: HotplugThread, cpu_id: int) -> SmpbootThread:
        """Make and start a thread from boot: it takes no time and does not park first."""
        if kind not in self.kinds:
            self.kinds.append(kind)
        thread = kind.threads[cpu_id] = SmpbootThread(self, kind, cpu_id)
        self.sched.start_now(thread.task)
        return thread

    async def register_percpu_thread(self, task: Task, kind: HotplugThread) -> None:
        """Make and start a thread on every online CPU; if one cannot be made, none remains and a ``UsageError`` says so."""
        for cpu_id, online in enumerate(self.online):
            if not online:
                continue
            error = await self.create_thread(task, kind, cpu_id)
            if error:
                await self._destroy(task, kind)
                raise UsageError(f"{kind.name}/{cpu_id} cannot be made", -error)
            await kind.threads[cpu_id].kthread.unpark(task)
        self.kinds.append(kind)

    async def unregister_percpu_thread(self, task: Task, kind: HotplugThread) -> None:
        """Stop every thread of a kind and forget it."""
        self.kinds.remove(kind)
        await self._destroy(task, kind)

    async def create_thread(self, task: Task, kind: HotplugThread, cpu_id: int) -> int:
        """Make a parked thread: 0, also if it exists already, or -ENOMEM. Trace: task_newtask, sched_waking."""
        if cpu_id in kind.threads:
            return 0
        if not self.may_create(f"{kind.name}/{cpu_id}"):
            return -ENOMEM
        thread = SmpbootThread(self, kind, cpu_id)
        await thread.kthread.park(task)
        kind.threads[cpu_id] = thread
        if kind.create is not None:
            kind.create(cpu_id)
        return 0

    async def create_threads(self, task: Task, cpu_id: int) -> int:
        """Make what a CPU lacks before it comes up, until one fails. Linux: smpboot_create_threads(), CPUHP_SMPBOOT_THREADS."""
        for kind in self.kinds:
            error = await self.create_thread(task, kind, cpu_id)
            if error:
                return error
        return 0

    async def unpark_threads(self, task: Task, cpu_id: int) -> None:
        """Let the threads of a CPU that has come up go on, in the order of registration."""
        self.online[cpu_id] = True
        for kind in self.kinds:
            if cpu_id in kind.threads:
                await kind.threads[cpu_id].kthread.unpark(task)

    async def park_threads(self, task: Task, cpu_id: int) -> None:
        """Park the threads of a CPU that goes down, the last registered first."""
        for kind in reversed(self.kinds):
            if cpu_id in kind.threads:
                await kind.threads[cpu_id].kthread.park(task)

    async def cpu_dead(self, task: Task, cpu_id: int) -> None:
        """Take over what a dead CPU has left, on the CPU of the caller, in the order of registration."""
        self.online[cpu_id] = False
        cpu = task.preempt_disable()
        for _, callback in self.dead:
            await callback(cpu, cpu_id)
        await task.preempt_enable()

    async def _destroy(self, task: Task, kind: HotplugThread) -> None:
        threads, kind.threads = kind.threads, {}
        for cpu_id in sorted(threads):
            await threads[cpu_id].kthread.stop(task)
