"""Run a function in hard interrupt context soon: from an NMI, or from code that holds a lock it must not nest in.

A work goes onto a list of its CPU, and the first one raises the CPU's own irq_work vector. A LAZY work waits for the next
tick, unless the tick is stopped. On PREEMPT_RT what is not marked hard runs in ``irq_work/N``.

Linux: kernel/irq_work.c. The lists are last in, first out, as there. Where a
CPU cannot interrupt itself the tick runs what was raised.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from asyncirq.bottom_half.callback_wait import CallbackWait, name_of
from asyncirq.bottom_half.softirq import Softirq
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.smpboot import HotplugThread, Smpboot
from asyncirq.sched.task import SCHED_FIFO, Task

IrqWorkFn = Callable[[Cpu, "IrqWork"], Coroutine[Any, Any, None]]


class IrqWork:
    """A work: ``async def function(cpu, work)``. ``pending`` until the function is called, ``busy`` until it has returned."""

    __slots__ = ("busy", "function", "function_name", "hard", "lazy", "name", "pending", "waits")

    def __init__(self, function: IrqWorkFn, name: str, *, lazy: bool = False, hard: bool = False) -> None:
        self.function = function
        self.function_name = name_of(function)
        self.name = name
        self.lazy = lazy
        self.hard = hard
        self.pending = False
        self.busy = False
        self.waits: CallbackWait | None = None

    def __repr__(self) -> str:
        return f"<IrqWork {self.name}>"


class IrqWorks:
    """The irq works of one machine.

    The machine sets ``raise_self(cpu)``, which sends the irq_work vector to this CPU itself; ``send_call(cpu, dest)``, which
    sends the call-function IPI, whose handler calls ``run_remote``; and ``tick_stopped(cpu)``. ``has_interrupt`` False says that
    there is no vector to send.
    """

    has_interrupt = True
    raise_self: Callable[[Cpu], None]
    send_call: Callable[[Cpu, int], None]
    tick_stopped: Callable[[Cpu], bool]

    def __init__(self, softirq: Softirq) -> None:
        self.sched = softirq.sched
        self.costs = softirq.costs
        self._rt = softirq.config.rt
        count = len(self.sched.cpus)
        self._raised: list[list[IrqWork]] = [[] for _ in range(count)]
        self._lazy: list[list[IrqWork]] = [[] for _ in range(count)]
        self._remote: list[list[IrqWork]] = [[] for _ in range(count)]
        self.threads: list[Task | None] = [None] * count
        self.irqwork_threads = HotplugThread("irq_work", self._should_run, self._run_irq_workd, policy=SCHED_FIFO, rt_priority=1)

    def spawn(self, smpboot: Smpboot, cpu: Cpu) -> None:
        """Make and start ``irq_work/N`` (FIFO 1) of one CPU, on PREEMPT_RT."""
        if self._rt:
            self.threads[cpu.id] = smpboot.boot(self.irqwork_threads, cpu.id).task

    # --- queueing

    async def irq_work_queue(self, cpu: Cpu, work: IrqWork) -> bool:
        """Have a work run on this CPU; return whether it was not pending yet."""
        if work.pending:
            return False
        work.pending = work.busy = True
        await self._queue_local(cpu, work)
        return True

    async def irq_work_queue_on(self, cpu: Cpu, work: IrqWork, dest: int) -> bool:
        """Have a work run on a given CPU; return whether it was not pending yet."""
        if dest == cpu.id:
            return await self.irq_work_queue(cpu, work)
        if work.pending:
            return False
        work.pending = work.busy = True
        remote = self._remote[dest]
        remote.append(work)
        if len(remote) == 1:
            await self._charge_ipi(cpu)
            self.send_call(cpu, dest)
        return True

    async def _queue_local(self, cpu: Cpu, work: IrqWork) -> None:
        deferred = work.lazy or (self._rt and not work.hard)
        works = (self._lazy if deferred else self._raised)[cpu.id]
        works.append(work)
        if self.has_interrupt and len(works) == 1 and (not work.lazy or self.tick_stopped(cpu)):
            await self._charge_ipi(cpu)
            self.raise_self(cpu)

    async def _charge_ipi(self, cpu: Cpu) -> None:
        if self.costs.ipi_send_ns:
            await cpu.spend(self.costs.ipi_send_ns)

    # --- running

    async def irq_work_run(self, cpu: Cpu) -> None:
        """Run what was raised on this CPU; the handler of the irq_work vector, interrupts off."""
        await self._run_list(cpu, self._raised)
        await self._run_lazy(cpu)

    async def irq_work_tick(self, cpu: Cpu) -> None:
        """Run what waits for this CPU's tick; called by it."""
        if not self.has_interrupt:
            await self._run_list(cpu, self._raised)
        await self._run_lazy(cpu)

    async def run_remote(self, cpu: Cpu) -> None:
        """Run what other CPUs have queued on this one, in their order; called by the call-function interrupt.

        On PREEMPT_RT what is not marked hard is left to the thread.
        """
        works, self._remote[cpu.id] = self._remote[cpu.id], []
        for work in works:
            if self._rt and not work.hard:
                self._lazy[cpu.id].append(work)
            else:
                await self._run(cpu, work)
        if self._rt:
            await self._run_lazy(cpu)

    def irq_work_needs_cpu(self, cpu: Cpu) -> bool:
        """Tell whether something waits for this CPU's tick."""
        return bool(self._lazy[cpu.id] or (self._raised[cpu.id] and not self.has_interrupt))

    async def irq_work_sync(self, task: Task, work: IrqWork) -> None:
        """Wait until a work is neither pending nor running: asleep where a thread runs it, else spinning."""
        if not work.busy:
            return
        waits = work.waits
        if waits is None:
            waits = work.waits = CallbackWait(self.sched)
        if self._rt and not work.hard:
            await waits.sleep(task, f"irq work {work.name}", lambda: not work.busy)
        else:
            cpu = task.preempt_disable()
            await waits.spin(cpu, f"irq work {work.name}", lambda: not work.busy)
            await task.preempt_enable()

    async def _run_lazy(self, cpu: Cpu) -> None:
        if not self._lazy[cpu.id]:
            return
        thread = self.threads[cpu.id]
        if thread is not None:
            await self.sched.wake_up_process(cpu, thread)
        elif not self._rt:
            await self._run_list(cpu, self._lazy)

    async def _run_list(self, cpu: Cpu, lists: list[list[IrqWork]]) -> None:
        works, lists[cpu.id] = lists[cpu.id], []
        for work in reversed(works):
            await self._run(cpu, work)

    async def _run(self, cpu: Cpu, work: IrqWork) -> None:
        work.pending = False
        function = work.function
        if self.sched.lockdep is not None and not work.hard:
            function = self.sched.lockdep.may_thread(function)
        await function(cpu, work)
        if not work.pending:
            work.busy = False
        waits = work.waits
        if waits is not None and waits.anyone:
            await waits.wake(cpu)

    def _should_run(self, index: int) -> bool:
        return bool(self._lazy[index])

    async def _run_irq_workd(self, task: Task) -> None:
        await self._run_list(task.cpu, self._lazy)
