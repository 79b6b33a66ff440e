from __future__ import annotations

import pytest

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_WAKE_THREAD, IrqDesc
from asyncirq.irq.flow import handle_edge_irq, handle_fasteoi_irq, handle_level_irq
from tests.irq.harness import THREADIRQS, Rig, close_rigs  # noqa: F401


@pytest.mark.parametrize("flow", [handle_level_irq, handle_edge_irq, handle_fasteoi_irq])
def test_entropy_pool_is_fed_behind_the_actions_of_each_interrupt(flow: object) -> None:
    rig = Rig()

    async def feed(cpu: Cpu, desc: IrqDesc) -> None:
        rig.note(f"irq {desc.irq}, in hard interrupt with interrupts off: {cpu.irqs_off}")
        await cpu.spend(50)

    rig.core.add_randomness = feed
    desc, _ = rig.line(flow)  # type: ignore[arg-type]
    rig.request(desc, rig.handler(ns=100))
    rig.fire_at(5000, desc.irq)
    rig.play(10_000)
    assert rig.log == [(5000, "handler on 0"), (5100, f"irq {desc.irq}, in hard interrupt with interrupts off: True")]
    assert [event[0] for event in rig.events("irq_handler_exit", "vector_exit")] == [5100, 5150]


def test_thread_has_been_woken_by_then() -> None:
    rig = Rig(kernel=THREADIRQS)

    async def feed(cpu: Cpu, desc: IrqDesc) -> None:
        rig.note(str([event[2] for event in rig.events("sched_waking")]))

    rig.core.add_randomness = feed
    desc, _ = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD))
    rig.fire_at(5000, desc.irq)
    rig.play(10_000)
    assert rig.log == [(5000, "['sched_waking']"), (5000, "handler on 0")]


def test_default_primary_handler_takes_its_cost_at_every_interrupt() -> None:
    rig = Rig(kernel=THREADIRQS)
    desc, _ = rig.line(handle_edge_irq)
    rig.request(desc, rig.handler())
    rig.core.costs.irq_default_primary_ns = 70
    rig.fire_at(5000, desc.irq)
    rig.play(10_000)
    assert [event[0] for event in rig.events("irq_handler_entry", "irq_handler_exit")] == [5000, 5070]
