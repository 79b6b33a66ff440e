"""Show the cases of spurious and stuck interrupts."""

from __future__ import annotations

import pytest

from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_NONE, IRQF_IRQPOLL, IRQF_NO_DEBUG, IRQF_PERCPU, IRQF_SHARED, IrqDesc
from asyncirq.irq.flow import handle_level_irq, handle_percpu_irq
from asyncirq.irq.sim_chip import IrqSim
from asyncirq.sched.task import Task
from tests.irq.harness import RT, Rig, close_rigs, none_handler  # noqa: F401

JIFFY = 4_000_000


def storm(rig: Rig, desc: IrqDesc, count: int) -> None:
    """Take one interrupt in which a line's flow handler runs that many times."""

    async def main(task: Task) -> None:
        cpu = task.preempt_disable()
        cpu.irq_disable()
        for _ in range(count):
            await desc.handle_irq(cpu, desc)
        await cpu.irq_enable()
        await task.preempt_enable()

    rig.engine.step_limit = 10_000_000
    rig.begin(main, "storm")
    rig.play(rig.engine.now + 1)


def stuck_line(rig: Rig, unhandled_of_100000: int = 100_000) -> tuple[IrqDesc, IrqSim]:
    """Make a level line whose handler wants what comes after that many."""
    desc, chip = rig.line(handle_level_irq)
    seen = [0]

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        seen[0] += 1
        return IRQ_NONE if seen[0] <= unhandled_of_100000 else IRQ_HANDLED

    rig.request(desc, handler, flags=IRQF_SHARED, dev_id="a")
    return desc, chip


def test_SPUR_01_stuck_line_is_killed_at_100000() -> None:
    rig = Rig()
    desc, _ = stuck_line(rig)
    armed: list[tuple[int, int]] = []
    rig.core.arm_spurious_poll = lambda cpu, delay: armed.append((cpu.id, delay))
    storm(rig, desc, 99_999)
    assert (desc.spurious_disabled, desc.depth, desc.irq_count, desc.irqs_unhandled) == (False, 0, 99_999, 99_999)
    storm(rig, desc, 1)
    assert (desc.spurious_disabled, desc.depth, desc.disabled, desc.masked) == (True, 1, True, True)
    assert (desc.irq_count, desc.irqs_unhandled, armed) == (0, 0, [(0, 25 * JIFFY)])
    assert rig.said() == [
        f'irq {desc.irq}: nobody cared (try booting with the "irqpoll" option)',
        "handlers:",
        "[<lab>] handler",
        f"Disabling IRQ #{desc.irq}",
    ]


def test_SPUR_01_a_dead_line_is_only_acknowledged() -> None:
    rig = Rig()
    desc, chip = stuck_line(rig)
    desc.irq_count = desc.irqs_unhandled = 99_999
    storm(rig, desc, 4)
    assert chip.taken() == ["mask", "ack", "ack", "ack", "ack"]


@pytest.mark.parametrize(("unhandled", "killed"), [(99_900, False), (99_901, True)])
def test_SPUR_02_tolerance(unhandled: int, killed: bool) -> None:
    rig = Rig()
    desc, _ = stuck_line(rig, unhandled)
    storm(rig, desc, 100_000)
    assert (desc.spurious_disabled, desc.irq_count, desc.irqs_unhandled) == (killed, 0, 0)


def test_SPUR_03_slow_spurious_never_kill() -> None:
    rig = Rig()
    desc, _ = stuck_line(rig)
    desc.irq_count, desc.irqs_unhandled, desc.last_unhandled = 99_990, 99_990, 0
    # 26 jiffies after the last one is past HZ/10, 25 are not.
    rig.fire_at(25 * JIFFY, desc.irq)
    rig.play(25 * JIFFY)
    assert desc.irqs_unhandled == 99_991
    for n in range(1, 10):
        rig.fire_at(25 * JIFFY + n * 26 * JIFFY, desc.irq)
    rig.play(300 * JIFFY)
    assert (desc.irqs_unhandled, desc.irq_count, desc.spurious_disabled) == (0, 0, False)
    rig.fire_at(400 * JIFFY, desc.irq)
    rig.play(500 * JIFFY)
    assert (desc.irqs_unhandled, desc.irq_count) == (1, 1)


def test_SPUR_05_bogus_return_value() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ret=7))
    storm(rig, desc, 101)
    bogus = [text for text in rig.said() if "bogus" in text]
    assert bogus == [f"irq event {desc.irq}: bogus return value 7"] * 100
    assert (desc.irqs_unhandled, desc.irq_count) == (0, 0)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_SPUR_09_irqfixup_and_irqpoll(mode: int) -> None:
    rig = Rig(irqfixup=mode)
    stray, _ = rig.line(handle_level_irq)
    right, _ = rig.line(handle_level_irq)
    rig.request(stray, none_handler, flags=IRQF_SHARED, dev_id="a")
    rig.request(right, rig.handler("right"), flags=IRQF_SHARED, dev_id="b")
    rig.fire_at(1000, stray.irq)
    rig.play(2000)
    assert rig.log == ([(1000, "right on 0")] if mode else [])
    assert stray.irqs_unhandled == (0 if mode else 1)
    polled, _ = rig.line(handle_level_irq)
    rig.request(polled, rig.handler("polled"), flags=IRQF_IRQPOLL)
    rig.log.clear()
    rig.fire_at(3000, polled.irq)
    rig.play(4000)
    # Mode 2 tries the others even though the line's own handler had work.
    assert rig.log == [(3000, "polled on 0"), *([(3000, "right on 0")] if mode == 2 else [])]


def test_SPUR_09_not_on_rt() -> None:
    assert Rig(kernel=RT, irqfixup=2).core.irqfixup == 0


def test_SPUR_09_dead_lines_are_polled() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ret=IRQ_NONE), flags=IRQF_SHARED, dev_id="a")
    desc.irq_count = desc.irqs_unhandled = 99_999
    armed: list[int] = []
    rig.core.arm_spurious_poll = lambda cpu, delay: armed.append(delay)
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    chip.calls.clear()

    async def timer(task: Task) -> None:
        cpu = task.preempt_disable()
        await rig.core.poll_spurious(cpu)
        await task.preempt_enable()

    rig.begin(timer, "timer")
    rig.play(3000)
    assert (rig.log, chip.taken()) == ([(1000, "handler on 0"), (2000, "handler on 0")], [])
    assert (desc.poll_inprogress, armed) == (False, [25 * JIFFY] * 2)


def test_SPUR_10_opt_outs() -> None:
    quiet = Rig(noirqdebug=True)
    desc, _ = stuck_line(quiet)
    storm(quiet, desc, 3)
    assert (desc.no_debug, desc.irqs_unhandled) == (True, 0)
    rig = Rig()
    percpu, _ = rig.line(handle_percpu_irq)
    rig.request(percpu, none_handler, flags=IRQF_PERCPU | IRQF_NO_DEBUG)
    polled, _ = rig.line(handle_level_irq)
    polled.is_polled = True
    rig.request(polled, none_handler)
    judged, _ = rig.line(handle_level_irq)
    rig.request(judged, none_handler)
    for line in (percpu, polled, judged):
        storm(rig, line, 3)
    assert [line.irqs_unhandled for line in (percpu, polled, judged)] == [0, 0, 3]
