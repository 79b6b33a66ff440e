"""Test calls between CPUs."""

from __future__ import annotations

import pytest

from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import in_hardirq
from asyncirq.sched.task import Task
from tests.irq.harness import Rig, close_rigs  # noqa: F401


def caller(rig: Rig, mask: int, wait: bool, ns: int = 100) -> None:
    """Start a task on CPU0 that calls a function on the CPUs of a mask."""

    async def function(cpu: Cpu) -> None:
        rig.note(f"call on {cpu.id}, hardirq {in_hardirq(cpu)}, off {cpu.irqs_off}")
        await cpu.spend(ns)

    async def main(task: Task) -> None:
        await task.spend(1000)
        cpu = task.preempt_disable()
        await rig.calls.smp_call_function_many(cpu, mask, function, wait)
        await task.preempt_enable()
        rig.note("back")

    rig.start(main, "main", cpu=0)


def test_call_and_wait() -> None:
    rig = Rig(cpus=2)
    caller(rig, 0b10, wait=True)
    rig.play(5000)
    assert rig.log == [(1000, "call on 1, hardirq True, off True"), (1100, "back")]
    kinds = ("csd_queue_cpu", "ipi_send_cpu", "call_function_single_entry", "csd_function_entry", "csd_function_exit")
    assert [(event[0], event[1], event[2]) for event in rig.events(*kinds)] == [
        (1000, 0, "csd_queue_cpu"),
        (1000, 0, "ipi_send_cpu"),
        (1000, 1, "call_function_single_entry"),
        (1000, 1, "csd_function_entry"),
        (1100, 1, "csd_function_exit"),
    ]


def test_call_without_waiting() -> None:
    rig = Rig(cpus=2)
    caller(rig, 0b10, wait=False)
    rig.play(5000)
    assert rig.log == [(1000, "back"), (1000, "call on 1, hardirq True, off True")]


def test_call_on_several_cpus_and_this_one() -> None:
    rig = Rig(cpus=3)
    caller(rig, 0b111, wait=True)
    rig.play(5000)
    assert rig.log == [
        (1000, "call on 0, hardirq False, off True"),
        (1000, "call on 1, hardirq True, off True"),
        (1000, "call on 2, hardirq True, off True"),
        (1100, "back"),
    ]
    assert [event[3:] for event in rig.events("ipi_send_cpumask")] == [("6", "smp_call_function_many", "function")]
    assert [event[1] for event in rig.events("call_function_entry")] == [1, 2]


def test_only_the_first_of_a_queue_interrupts() -> None:
    rig = Rig(cpus=2)

    async def function(cpu: Cpu) -> None:
        rig.note("call")

    async def main(task: Task) -> None:
        cpu = task.preempt_disable()
        for _ in range(3):
            await rig.calls.smp_call_function_single(cpu, 1, function, wait=False)
        await task.preempt_enable()

    rig.start(main, "main", cpu=0)
    rig.play(1000)
    assert (len(rig.log), len(rig.events("ipi_send_cpu")), len(rig.events("csd_queue_cpu"))) == (3, 1, 3)


def test_call_with_interrupts_off_is_a_bug() -> None:
    rig = Rig(cpus=2)

    async def function(cpu: Cpu) -> None:
        rig.note("call")

    async def main(task: Task) -> None:
        cpu = task.preempt_disable()
        cpu.irq_disable()
        await rig.calls.smp_call_function_single(cpu, 1, function, wait=True)

    rig.start(main, "main", cpu=0)
    with pytest.raises(KernelBug, match="smp_call_function with interrupts off on CPU0 at 0 ns"):
        rig.play(1000)


def test_irq_work_interrupts_its_own_cpu() -> None:
    rig = Rig()
    rig.calls.irq_work_raise(rig.cpus[0])
    assert rig.cpus[0].lapic.irr == 1 << 0xF6
