"""Wait in a loop: for what no word tells of, with a pause in each turn.

A spinning lock stalls on a word and costs no event; what can only be looked at, such as whether a lock's owner still runs, is polled.

Linux: cpu_relax(), arch/x86/include/asm/vdso/processor.h rep_nop().
"""

from __future__ import annotations

from collections.abc import Callable

from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task


async def cpu_relax(cpu: Cpu, task: Task) -> None:
    """Let one turn of a spin loop pass: ``cpu_relax_ns``, at least 1 ns, so that no loop stands still in virtual time."""
    await cpu.spend(max(task.sched.costs.cpu_relax_ns, 1))


async def spin_until(cpu: Cpu, condition: Callable[[], bool]) -> int:
    """Spin in a context that cannot migrate until ``condition()``; return how many turns it took."""
    task = cpu.current
    assert isinstance(task, Task)
    turns = 0
    while not condition():
        await cpu_relax(cpu, task)
        turns += 1
    return turns
