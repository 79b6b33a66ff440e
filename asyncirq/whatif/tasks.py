"""Run the program of a recorded task as a task of the model."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from asyncirq.analysis.ops import BhOff, BhOn, Block, Exit, Irq, OpRef, Raise, Run, TaskProgram, Wake
from asyncirq.hw.cpu import interrupt_window
from asyncirq.sched.task import (
    MAX_RT_PRIO,
    SCHED_FIFO,
    SCHED_NORMAL,
    TASK_IDLE,
    TASK_INTERRUPTIBLE,
    TASK_RUNNING,
    TASK_UNINTERRUPTIBLE,
    Task,
)
from asyncirq.units import NSEC_PER_MSEC

if TYPE_CHECKING:
    from asyncirq.whatif.replay import Replay

_SLEEPS: Final = MappingProxyType({"D": TASK_UNINTERRUPTIBLE, "I": TASK_IDLE})
_DEFAULT_PRIO: Final = 120


class RecordedTask:
    """One task of the recording. ``tokens`` are wake-ups that came while it was awake; ``in_section``: it has BH off."""

    def __init__(self, replay: Replay, program: TaskProgram) -> None:
        self.program = program
        self.tokens = 0
        self.in_section = False
        self.finished = False
        # Bottom halves are off in the network stack alone, for what a trace shows: such a task is found in its system calls.
        self._networks = any(isinstance(op, BhOff) for op in program.ops)
        self._computes = _computes(program)
        self._replay = replay
        self._machine = replay.machine
        self._costs = replay.costs
        sched = self._machine.sched
        prio = program.prio
        fifo = prio < MAX_RT_PRIO
        self.task: Final = sched.new_task(
            self._main,
            program.comm,
            policy=SCHED_FIFO if fifo else SCHED_NORMAL,
            rt_priority=min(99, max(1, 99 - prio)) if fifo else 0,
            nice=0 if fifo else min(19, max(-20, prio - _DEFAULT_PRIO)),
            pid=program.pid,
        )
        self.task.cpu = sched.cpus[program.cpu]

    async def _main(self, task: Task) -> None:
        if self.program.state == "running":
            await self._replay.begin_together(task)
        for index, op in enumerate(self.program.ops):
            ref = OpRef("task", self.program.pid, index)
            if isinstance(op, Run):
                await self._run(op.ns)
            elif isinstance(op, Block):
                await self._block(op, ref)
            elif isinstance(op, Exit):
                self._replay.arrivals.reached(ref, op.cost_ns)
                self._costs.pin("switch_block_ns", op.cost_ns)
                return
            elif isinstance(op, BhOff):
                self.in_section = True
                await self._machine.softirq.local_bh_disable(task)
            elif isinstance(op, BhOn):
                await self._machine.softirq.local_bh_enable(task)
                self.in_section = False
                await self._offer()
            elif isinstance(op, Irq):
                if self._replay.arrivals.raise_synchronous(op.arrival):
                    await self._run(0)
            elif isinstance(op, Wake | Raise):
                cpu = task.preempt_disable()
                await self._replay.bodies.step(cpu, op, ref)
                await task.preempt_enable()
                await self._offer()
            else:
                await self._replay.bodies.step(task.cpu, op, ref)
        # The recording of this phase ends here: nothing more is known of the task.
        self.finished = True
        while True:
            task.set_current_state(TASK_INTERRUPTIBLE)
            await task.schedule()

    async def _run(self, ns: int) -> None:
        """Let recorded CPU time pass; an interrupt that asks for the CPU gets it at the next place where this kernel gives it."""
        task = self.task
        elapse = self._machine.engine.elapse
        left = ns
        while True:
            cpu = task.cpu
            if cpu.attention:
                await interrupt_window(task)
                if task.cpu.need_resched:
                    left -= await self._resched(left)
                continue
            if cpu.check is not None:
                cpu.check(cpu)
            left -= await elapse(left)
            if left <= 0 and not task.cpu.attention:
                return

    async def _resched(self, left: int) -> int:
        """Run on to the next cond_resched and offer the CPU there, in user mode at once; return how much of ``left`` that took."""
        if self._machine.sched.preemptible_kernel or task_is_atomic(self.task):
            return 0
        if self._computes:
            await self._offer()
            return 0
        wanted = self._costs.draw("syscall_delay", "resched_delay_ns") if self._networks else self._costs.resched_delay_ns
        delay = min(max(left, 0), wanted)
        if delay:
            await self.task.spend(delay)
        await self._offer()
        return delay

    async def _offer(self) -> None:
        if self.task.cpu.need_resched:
            await self._machine.sched.cond_resched(self.task)

    async def _block(self, op: Block, ref: OpRef) -> None:
        task = self.task
        self._replay.arrivals.reached(ref, op.cost_ns)
        if self.tokens:
            self.tokens -= 1
            return
        task.set_current_state(_SLEEPS.get(op.state[:1], TASK_INTERRUPTIBLE))
        self._costs.pin("switch_block_ns", op.cost_ns)
        await task.schedule()
        self._costs.unpin("switch_block_ns")
        task.set_current_state(TASK_RUNNING)


def _computes(program: TaskProgram) -> bool:
    """Tell whether a task is in user mode nearly always: a millisecond of its own and more for each thing it does in the kernel."""
    ran = sum(op.ns for op in program.ops if isinstance(op, Run))
    acted = sum(not isinstance(op, Run | Irq) for op in program.ops)
    return ran > NSEC_PER_MSEC * (acted + 1)


def task_is_atomic(task: Task) -> bool:
    """Tell whether a task may not give up its CPU here."""
    return bool(task.cpu.preempt_count) or task.cpu.irqs_off
