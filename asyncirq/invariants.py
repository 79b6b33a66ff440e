"""Check the whole machine while it runs; on in every test.

I1: whoever spends on a CPU is its ``current``. I2: task context with preempt count 0 has IF on unless the task turned
it off itself. I3: no in-service bit without a hard interrupt on the stack. I4: a switch sees no in-service bit, hardirq
count 0, and a preempt count of 2 on both sides (the scheduler's own and the run queue's).

A GIC in EOImode 1 is exempt from I3 and I4 between priority drop and deactivation; its controller says so.
"""

from __future__ import annotations

from collections.abc import Iterable

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu, Thread
from asyncirq.sched.core import Sched
from asyncirq.sched.preempt import HARDIRQ_MASK, NMI_MASK, PREEMPT_MASK
from asyncirq.sched.task import Task


def watch(cpus: Iterable[Cpu]) -> None:
    """Check the invariants at every spend, stall, halt and switch of these CPUs; a violation is a ``KernelBug``."""
    for cpu in cpus:
        cpu.check = check
        cpu.check_switch = check_switch


def check(cpu: Cpu) -> None:
    """Check I1, I2 and I3 at a point where time is about to pass."""
    thread = cpu.current
    if cpu.engine.current is not thread.sim:
        running = cpu.engine.current
        _violated(cpu, "I1", f"{running.name if running else 'nobody'} spends, but {thread.sim.name} is current")
    count = cpu.preempt_count
    if cpu.irqs_off and not count and not thread.own_irqs_off:
        _violated(cpu, "I2", f"{thread.sim.name} runs with preempt count 0 and interrupts off, which it did not turn off")
    vector = cpu.pins.in_service()
    if vector >= 0 and not count & (HARDIRQ_MASK | NMI_MASK):
        _violated(cpu, "I3", f"vector {vector} is in service without a hard interrupt on the stack")


def check_switch(cpu: Cpu, following: Thread) -> None:
    """Check I4 at a switch from ``cpu.current`` to ``following``."""
    count = cpu.preempt_count
    vector = cpu.pins.in_service()
    if vector >= 0:
        _violated(cpu, "I4", f"switch with vector {vector} in service")
    if count & HARDIRQ_MASK:
        _violated(cpu, "I4", f"switch with preempt count {count:08x}")
    if count & PREEMPT_MASK != 2 or following.saved_count & PREEMPT_MASK != 2:
        _violated(cpu, "I4", f"switch from preempt count {count:08x} to {following.saved_count:08x}")


def check_run_queues(sched: Sched) -> None:
    """Check that each CPU runs one task, which waits nowhere, and that every ready task is on exactly one CPU; between two steps."""
    seen: set[Task] = set()
    for rq in sched.rqs:
        cpu = rq.cpu
        waiting = [*rq.high, *rq.rt.all(), *(task for task in rq.fair.queued if not task.delayed)]
        running = [] if rq.curr.is_idle or rq.curr.exited or not rq.curr.on_rq else [rq.curr]
        if cpu.current is not rq.curr:
            _violated(cpu, "one task", f"{rq.curr} is the run queue's, {cpu.current.sim.name} the CPU's")
        if len(waiting) + len(running) != rq.nr_running:
            _violated(cpu, "one task", f"{len(waiting)} wait and {len(running)} run, of {rq.nr_running}")
        for task in (*running, *waiting):
            if task in seen or not task.on_rq or task.cpu is not cpu:
                _violated(cpu, "one task", f"{task} is on another CPU, or ready twice, or not at all")
            seen.add(task)


def _violated(cpu: Cpu, name: str, what: str) -> None:
    raise KernelBug(f"invariant {name}: {what}, on {cpu.name} at {cpu.engine.now} ns")
