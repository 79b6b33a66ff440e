"""Pick the next task and switch to it: the calls that may cost the caller its CPU.

Linux: kernel/sched/core.c __schedule() and its callers. Model: no run-queue locks (code between two awaits is atomic
across all CPUs); the CPU time that the scheduler itself takes is charged in named costs around each switch.
"""

from __future__ import annotations

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.balance import Balance
from asyncirq.sched.rq import STOPPER, RunQueue
from asyncirq.sched.task import MAX_RT_PRIO, TASK_DEAD, TASK_RUNNING, Task, TaskExit, state_letter


class Switching(Balance):
    """The switches of one machine."""

    async def _task_main(self, task: Task) -> None:
        await self._finish_switch(task)
        task.cpu.preempt_count -= 1
        if task.cpu.need_resched:
            await self.preempt_schedule(task)
        assert task.fn is not None
        try:
            await task.fn(task)
        except TaskExit as end:
            if end.oops:
                self._make_dead(task)
        await self._do_exit(task)

    def _make_dead(self, task: Task) -> None:
        """Tidy up after a task that the kernel killed in the middle of its own code. Linux: make_task_dead()."""
        cpu = task.cpu
        notes = []
        if cpu.irqs_off:
            notes.append("irqs disabled")
        if cpu.preempt_count & self.count_mask:
            notes.append(f"preempt_count {cpu.preempt_count & self.count_mask}")
            cpu.preempt_count &= ~self.count_mask
        if self.trace is not None:
            for note in notes:
                self.trace.printk(cpu, 6, f"note: {task.comm}[{task.pid}] exited with {note}")
        task.held_locks.clear()

    async def _do_exit(self, task: Task) -> None:
        # The last schedule of a dead task returns: its context ends here, and the next one has been handed the CPU.
        if self.lockdep is not None:
            self.lockdep.check_exit(task.cpu, task)
        if task.held_locks:
            raise KernelBug(f"{task.comm}/{task.pid} exits while holding {', '.join(str(lock) for lock in task.held_locks)}")
        cpu = task.cpu
        if cpu.preempt_count & self.count_mask:
            raise KernelBug(f"note: {task.comm}[{task.pid}] exited with preempt_count {cpu.preempt_count}")
        cpu.preempt_count += 1
        if self.trace is not None:
            self.trace.sched_process_exit(cpu, task.comm, task.pid, task.prio)
        task.state = TASK_DEAD
        task.exited = True
        cpu.irq_disable()
        cpu.preempt_count += 1
        await cpu.spend(self.costs.switch_block_ns)
        rq = self.rqs[cpu.id]
        rq.update_curr(self.engine.now)
        rq.deactivate(task)
        if task.prio >= MAX_RT_PRIO:
            rq.fair.leave(task, sleeps=True)
        if self.smp:
            self._balance(cpu, rq, task)
        following = self._take_next(rq, task, preempt=False)
        del self.tasks[task.pid]
        if task.dl is not None:
            self.deadlines.release(task)
        cpu.install(following)
        self.engine.resume(following.sim)

    async def schedule(self, task: Task) -> None:
        """Give up the CPU if the task's state says so, or to a task that should run instead; return when picked again.

        Raises ``KernelBug`` in atomic context, with Linux's words.
        """
        self._check_atomic(task)
        if task.worker is not None and task.state != TASK_RUNNING:
            await task.worker.sleeping(task)
        await self._schedule_until(task)
        if task.worker is not None:
            task.worker.running(task)

    async def schedule_rtlock(self, task: Task) -> None:
        """Give up the CPU for a lock that sleeps on PREEMPT_RT alone: a worker counts as running meanwhile."""
        self._check_atomic(task)
        await self._schedule_until(task)

    def _check_atomic(self, task: Task) -> None:
        cpu = task.cpu
        if cpu.current is not task:
            raise KernelBug(f"{task.comm} calls schedule() while {cpu.current} runs on {cpu.name}")
        if cpu.preempt_count & self.count_mask or cpu.irqs_off:
            raise KernelBug(
                f"BUG: scheduling while atomic: {task.comm}/{task.pid}/0x{cpu.preempt_count:08x}"
                f"{' irqs off' if cpu.irqs_off else ''} on {cpu.name} at {self.engine.now} ns"
            )

    async def _schedule_until(self, task: Task) -> None:
        while True:
            task.cpu.preempt_count += 1
            await self._schedule(task, preempt=False)
            task.cpu.preempt_count -= 1
            if not task.cpu.need_resched:
                return

    async def schedule_idle(self, task: Task) -> None:
        """Leave the idle task for whatever is ready; its preempt count is 1 already."""
        await self._schedule(task, preempt=False)

    async def preempt_schedule(self, task: Task) -> None:
        """Reschedule if a preemptible kernel may here: preempt count 0 and interrupts on."""
        if not self.preemptible_kernel:
            return
        while True:
            cpu = task.cpu
            if not cpu.need_resched or cpu.preempt_count & self.count_mask or cpu.irqs_off:
                return
            cpu.preempt_count += 1
            await self._schedule(task, preempt=True)
            task.cpu.preempt_count -= 1

    def preempt_enable_no_resched(self, task: Task) -> None:
        """End one ``preempt_disable`` right before a ``schedule()``, which reschedules anyway."""
        task.cpu.preempt_count -= 1

    async def preempt_schedule_irq(self, cpu: Cpu) -> None:
        """Reschedule at the exit of an interrupt: its last statement, since the task may wake up on another CPU.

        The preempt count is raised round the irq window, else an interrupt in it would come back here without bound.
        """
        task = self.rqs[cpu.id].curr
        while True:
            here = task.cpu
            here.preempt_count += 1
            await here.irq_enable()
            await self._schedule(task, preempt=True)
            here = task.cpu
            here.irq_disable()
            here.preempt_count -= 1
            if not here.need_resched:
                return

    async def exit_to_user(self, task: Task) -> None:
        """Reschedule on the way to user mode, on every kernel, until nothing asks for it; interrupts are on before and after."""
        user_mode, task.user_mode = task.user_mode, False
        while task.cpu.need_resched:
            await self.schedule(task)
        task.user_mode = user_mode

    async def cond_resched(self, task: Task) -> None:
        """Offer the CPU, where a kernel without full preemption takes the offer."""
        cpu = task.cpu
        if cpu.need_resched and not self.preemptible_kernel and not cpu.preempt_count and not cpu.irqs_off:
            cpu.preempt_count += 1
            await self._schedule(task, preempt=True)
            task.cpu.preempt_count -= 1

    async def might_resched(self, task: Task) -> None:
        """Offer the CPU before a possible sleep, where a voluntarily preemptible kernel takes the offer. Linux: might_sleep()."""
        if self.preemption == "voluntary":
            await self.cond_resched(task)

    async def _schedule(self, task: Task, preempt: bool) -> None:
        cpu = task.cpu
        cpu.irq_disable()
        cpu.preempt_count += 1
        costs = self.costs
        if task.is_idle:
            cost = costs.switch_idle_ns
        elif preempt or task.state == TASK_RUNNING:
            cost = costs.switch_preempt_ns
        elif task.blocked_on is not None:
            cost = costs.lock_block_ns
        else:
            cost = costs.switch_block_ns
        await cpu.spend(cost)
        rq = self.rqs[cpu.id]
        rq.update_curr(self.engine.now)
        blocks = not preempt and task.state != TASK_RUNNING
        if blocks:
            rq.deactivate(task)
            if task.prio >= MAX_RT_PRIO:
                rq.fair.leave(task, sleeps=True)
        elif task.allowed >> cpu.id & 1 or task.migrate_depth or (rq.high and rq.high[0].high == STOPPER):
            rq.put_prev(task, self.config.rr_slice_ns)
        else:
            if task.prio >= MAX_RT_PRIO:
                rq.fair.leave(task, sleeps=False)
            self._move(cpu, task)
        if self.smp:
            self._balance(cpu, rq, task)
        following = self._take_next(rq, task, preempt)
        if following is not task:
            await cpu.switch_to(following)
            await self._finish_switch(task)
            return
        cpu.preempt_count -= 1
        await cpu.irq_enable()

    def _take_next(self, rq: RunQueue, task: Task, preempt: bool) -> Task:
        cpu = rq.cpu
        following = rq.pick(task)
        cpu.need_resched = False
        rq.lazy = False
        if following is task:
            return task
        rq.curr = following
        rq.nr_switches += 1
        now = self.engine.now
        following.exec_start = following.slice_start = now
        task.queued_at = now
        if following.is_idle:
            rq.sched_goidle += 1
        else:
            following.pcount += 1
            following.run_delay += now - following.queued_at
        trace = self.trace
        if trace is not None:
            task.cause = cpu.cause
            if following.wake_cause:
                cpu.cause = following.wake_cause
            letter = "R+" if preempt else state_letter(task.state)
            seq = trace.sched_switch(cpu, task.comm, task.pid, task.prio, letter, following.comm, following.pid, following.prio)
            cpu.cause = seq if following.wake_cause else following.cause
            following.wake_cause = 0
        return following

    async def _finish_switch(self, task: Task) -> None:
        cpu = task.cpu
        if self.smp and task.prio < MAX_RT_PRIO and self.rqs[cpu.id].rt.bitmap:
            self.push_rt_tasks(cpu, self.rqs[cpu.id])
        cost = self.costs.switch_in_ns
        if task.moved:
            task.moved = False
            cost += self.costs.migration_ns
        await cpu.spend(cost)
        cpu.preempt_count -= 1
        await cpu.irq_enable()
