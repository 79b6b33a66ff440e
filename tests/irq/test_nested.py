"""Judge what the thread functions of a nested line return, as every line's handlers are judged."""

from __future__ import annotations

import pytest

from asyncirq.irq.desc import IRQ_HANDLED, IRQ_NONE, IRQF_ONESHOT, IRQF_SHARED, IrqDesc, ThreadFn
from asyncirq.irq.flow import handle_level_irq, handle_simple_irq
from asyncirq.irq.thread import handle_nested_irq
from asyncirq.sched.task import Task
from tests.irq.harness import Rig, close_rigs  # noqa: F401


def nested(rig: Rig, *returns: int, no_debug: bool = False) -> tuple[IrqDesc, IrqDesc]:
    """Make a line whose thread demultiplexes one child, which has a thread function for each of ``returns``."""
    parent, _ = rig.line(handle_level_irq)
    child, _ = rig.line(handle_simple_irq)
    child.nested_thread, child.parent_irq = True, parent.irq

    def function(n: int, ret: int) -> ThreadFn:
        async def thread_fn(task: Task, irq: int, dev_id: object) -> int:
            rig.note(f"{n} in {task.comm}")
            return ret

        return thread_fn

    async def demux(task: Task, irq: int, dev_id: object) -> int:
        await handle_nested_irq(task, child)
        return IRQ_HANDLED

    rig.request(parent, None, demux, IRQF_ONESHOT)
    for n, ret in enumerate(returns):
        rig.request(child, None, function(n, ret), IRQF_SHARED, f"child{n}", f"id{n}")
    child.no_debug = no_debug
    return parent, child


@pytest.mark.parametrize(
    ("returns", "unhandled"), [((IRQ_HANDLED,), 0), ((IRQ_NONE,), 1), ((IRQ_NONE, IRQ_HANDLED), 0), ((IRQ_NONE, IRQ_NONE), 1)]
)
def test_all_functions_run_in_the_parents_thread_and_one_that_cares_is_enough(returns: tuple[int, ...], unhandled: int) -> None:
    rig = Rig()
    parent, child = nested(rig, *returns)
    rig.fire_at(1000, parent.irq)
    rig.play(2000)
    assert rig.log == [(1000, f"{n} in irq/16-lab") for n in range(len(returns))]
    assert (child.irqs_unhandled, child.tot_count, child.threads_active, parent.irqs_unhandled) == (unhandled, 1, 0, 0)


def test_a_nested_line_that_nobody_wants_is_disabled() -> None:
    rig = Rig()
    parent, child = nested(rig, IRQ_NONE)
    child.irq_count = child.irqs_unhandled = 99_999
    for when in (1000, 2000):
        rig.fire_at(when, parent.irq)
    rig.play(3000)
    assert (child.spurious_disabled, child.depth, child.disabled, parent.disabled) == (True, 1, True, False)
    assert rig.log == [(1000, "0 in irq/16-lab")]
    said = rig.said()
    assert (said[0], said[-1]) == (f'irq {child.irq}: nobody cared (try booting with the "irqpoll" option)', f"Disabling IRQ #{child.irq}")


def test_a_nested_line_that_is_not_to_be_judged_is_not() -> None:
    rig = Rig()
    parent, child = nested(rig, IRQ_NONE, no_debug=True)
    rig.fire_at(1000, parent.irq)
    rig.play(2000)
    assert (child.irqs_unhandled, child.irq_count) == (0, 0)
