"""Show the inventory's group M: threaded handlers."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.config import KernelConfig, preset
from asyncirq.costs import Costs
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import IRQCHIP_ONESHOT_SAFE
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_WAKE_THREAD, IRQF_NO_THREAD, IRQF_ONESHOT, IRQF_SHARED
from asyncirq.irq.flow import handle_edge_irq, handle_fasteoi_irq, handle_level_irq, handle_simple_irq
from asyncirq.irq.sim_chip import IrqSim
from asyncirq.irq.thread import handle_nested_irq
from asyncirq.machine import Machine
from asyncirq.sched.task import SCHED_FIFO, Task
from asyncirq.trace.record import tag_of
from asyncirq.units import us
from tests.irq.harness import STOCK, THREADIRQS, Rig, boot, close_rigs  # noqa: F401


def irq_threads(rig: Rig) -> list[Task]:
    return [task for task in rig.sched.tasks.values() if task.comm.startswith("irq/")]


def test_S0_84_irq_thread() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(), rig.thread_fn(), IRQF_ONESHOT, "nic")
    (thread,) = irq_threads(rig)
    assert (thread.comm, thread.policy, thread.rt_priority, thread.kthread) == ("irq/16-nic", SCHED_FIFO, 50, True)
    # The action keeps its thread, dead or not, until the action goes.
    assert desc.action is not None
    assert desc.action.thread is thread
    boot(rig.core.free_irq(None, desc.irq))
    rig.play(1000)
    assert irq_threads(rig) == []


def test_S0_81_thread_made_before_woken_after() -> None:
    rig = Rig(debug=True)
    desc, _ = rig.line(handle_level_irq)

    async def main(task: Task) -> None:
        await rig.core.request_threaded_irq(task, desc.irq, rig.handler(), rig.thread_fn(), IRQF_ONESHOT, "nic")
        rig.note("returns")

    rig.start(main, "main")
    rig.play(10_000)
    order = []
    for record in rig.records():
        kind = tag_of(type(record))
        if (
            kind in ("task_newtask", "sched_wakeup_new", "sched_wakeup")
            and getattr(record, "comm", getattr(record, "new_comm", "")) != "main"
        ):
            order.append(kind)
        elif kind == "irq_flow" and record.action in ("linked nic", "mutex_unlock"):  # type: ignore[attr-defined]
            order.append(record.action)  # type: ignore[attr-defined]
    # Made and run up to its first sleep; then linked and unlocked; only then woken for good, and ready before the request returns.
    linked = order.index("linked nic")
    assert order[linked : linked + 3] == ["linked nic", "mutex_unlock", "sched_wakeup"]
    assert order.index("sched_wakeup_new") < linked
    assert desc.action is not None
    assert (desc.action.ready, rig.log) == (True, [(0, "returns")])


def test_S1_36_secondary_thread() -> None:
    rig = Rig(kernel=THREADIRQS)
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(), rig.thread_fn(), 0, "nic")
    assert [thread.comm for thread in irq_threads(rig)] == ["irq/16-nic", "irq/16-s-nic"]
    assert desc.action is not None
    assert desc.action.secondary is not None
    # If the second one cannot be made, the first one goes again.
    other, chip = rig.line(handle_level_irq)
    make = rig.sched.new_task
    made: list[Task] = []

    def fails_twice(*arguments: object, **options: object) -> Task:
        if "-s-" in str(arguments[1]):
            raise UsageError("no memory for a thread", 12)
        made.append(make(*arguments, **options))  # type: ignore[arg-type]
        return made[-1]

    async def main(task: Task) -> None:
        rig.sched.new_task = fails_twice  # type: ignore[method-assign]
        with pytest.raises(UsageError) as error:
            await rig.core.request_threaded_irq(task, other.irq, rig.handler(), rig.thread_fn(), 0, "disk")
        rig.note(f"errno {error.value.errno}")

    rig.start(main, "main")
    rig.play(10_000)
    assert rig.log == [(0, "errno 12")]
    assert (made[0].comm, made[0].exited, other.action, chip.taken()) == ("irq/17-disk", True, None, [])
    assert [thread.comm for thread in irq_threads(rig)] == ["irq/16-nic", "irq/16-s-nic"]


def test_S0_63_wake_on_result() -> None:
    rig = Rig(irq_entry_ns=250, irq_wake_thread_ns=80, ttwu_ns=350, switch_idle_ns=400, switch_in_ns=600, irq_thread_fn_ns=100)
    desc, _ = rig.line(handle_edge_irq)
    rets = [IRQ_HANDLED, IRQ_WAKE_THREAD]

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        await cpu.spend(1000)
        return rets.pop(0)

    rig.request(desc, handler, rig.thread_fn())
    rig.fire_at(20_000, desc.irq)
    rig.fire_at(50_000, desc.irq)
    rig.play(100_000)
    kinds = ("irq_handler_entry", "irq_handler_exit", "sched_waking", "sched_wakeup", "irq_thread_entry")
    assert [(event[0], event[2]) for event in rig.events(*kinds) if event[0] >= 20_000] == [
        (20_250, "irq_handler_entry"),
        (21_250, "irq_handler_exit"),
        (50_250, "irq_handler_entry"),
        (51_250, "irq_handler_exit"),
        (51_330, "sched_waking"),
        (51_680, "sched_wakeup"),
        (52_780, "irq_thread_entry"),
    ]


def test_S1_45_default_primary_handler() -> None:
    rig = Rig(irq_default_primary_ns=20)
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, None, rig.thread_fn(), IRQF_ONESHOT, "chip")
    rig.fire_at(1000, desc.irq)
    rig.play(5000)
    assert [(event[0], event[2], *event[4:]) for event in rig.events("irq_handler_entry", "irq_handler_exit")] == [
        (1000, "irq_handler_entry", "chip"),
        (1020, "irq_handler_exit", IRQ_WAKE_THREAD),
    ]
    assert rig.log == [(1020, "thread on 0")]
    assert desc.action is not None
    assert desc.action.default_primary


@pytest.mark.parametrize("flow", [handle_level_irq, handle_edge_irq])
def test_S1_46_rejected_combination(flow: object) -> None:
    rig = Rig()
    desc, chip = rig.line(flow)  # type: ignore[arg-type]
    with pytest.raises(UsageError) as error:
        boot(rig.core.request_threaded_irq(None, desc.irq, None, rig.thread_fn(), 0, "chip"))
    assert (error.value.errno, desc.action, chip.taken()) == (22, None, [])
    assert rig.said() == [f"Threaded irq requested with handler=NULL and !ONESHOT for chip (irq {desc.irq})"]


def test_S1_46_without_the_check_a_level_storms() -> None:
    async def main(kernel: KernelConfig, flags: int) -> tuple[int, int]:
        async with Machine(kernel=kernel, costs=Costs(ioapic_latency_ns=0)) as m:
            line, irq = m.line(9)
            served = 0

            async def thread_fn(task: Task, irq: int, dev_id: object) -> int:
                nonlocal served
                await task.spend(us(2))
                line.set(False)
                served += 1
                return IRQ_HANDLED

            await m.irq.request_threaded_irq(None, irq, None, thread_fn, flags, "chip")
            await m.run_for(us(100))
            line.set(True)
            await m.run_for(us(200))
            entries = [record for record in m.records if tag_of(type(record)) == "irq_handler_entry"]
            return len(entries), served

    assert asyncio.run(main(STOCK, IRQF_ONESHOT)) == (1, 1)
    entries, served = asyncio.run(main(preset("linux-6.12", oneshot_check=False), 0))
    # The line is unmasked before the thread has run, and fires again at once: 200 us of it, and the thread gets nowhere.
    assert entries > 100
    assert served == 0


def test_S1_42_one_shot_mask_bits() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq)
    plain, _ = rig.line(handle_level_irq)
    rig.request(plain, rig.handler(), rig.thread_fn())
    assert plain.action is not None
    assert plain.action.thread_mask == 0
    for n, ns in enumerate((300, 500, 700)):
        rig.request(
            desc, rig.handler(f"h{n}", IRQ_WAKE_THREAD), rig.thread_fn(f"t{n}", ns=ns), IRQF_SHARED | IRQF_ONESHOT, f"d{n}", f"i{n}"
        )
    assert [action.thread_mask for action in desc.actions()] == [0b001, 0b010, 0b100]
    rig.fire_at(1000, desc.irq)
    seen: list[tuple[int, int, bool]] = []
    for when in (1100, 1400, 1900, 2600):
        rig.at(when, lambda: seen.append((rig.engine.now, desc.threads_oneshot, desc.masked)))
    rig.play(5000)
    assert [line for line in rig.log if "ends" in line[1]] == [(1300, "t0 ends"), (1800, "t1 ends"), (2500, "t2 ends")]
    assert seen == [(1100, 0b111, True), (1400, 0b110, True), (1900, 0b100, True), (2600, 0, False)]
    assert chip.taken() == ["mask", "ack", "unmask"]


def test_S1_43_mask_exhaustion() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)
    for n in range(64):
        rig.request(desc, rig.handler(), rig.thread_fn(), IRQF_SHARED | IRQF_ONESHOT, f"d{n}", f"i{n}")
    assert [action.thread_mask.bit_length() for action in desc.actions()] == list(range(1, 65))
    with pytest.raises(UsageError) as error:
        boot(rig.core.request_threaded_irq(None, desc.irq, rig.handler(), rig.thread_fn(), IRQF_SHARED | IRQF_ONESHOT, "d64", "i64"))
    assert (error.value.errno, len(desc.actions())) == (16, 64)


@pytest.mark.parametrize(
    ("flow", "calls"), [(handle_level_irq, ["mask", "ack", "unmask"]), (handle_fasteoi_irq, ["mask", "eoi", "unmask"])]
)
def test_S1_44_unmask_when_nobody_woke(flow: object, calls: list[str]) -> None:
    rig = Rig()
    desc, chip = rig.line(flow)  # type: ignore[arg-type]
    rig.request(desc, rig.handler(), rig.thread_fn(), IRQF_ONESHOT)
    hard: list[list[str]] = []

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        rig.engine.timer(lambda: hard.append(chip.taken()), "look").arm(rig.engine.now + 1)
        return IRQ_HANDLED

    assert desc.action is not None
    desc.action.handler = handler
    rig.fire_at(1000, desc.irq)
    rig.play(5000)
    assert (hard, desc.masked, rig.events("irq_thread_entry")) == ([calls], False, [])


def test_S1_37_oneshot_safe_chips() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_edge_irq, IrqSim(flags=IRQCHIP_ONESHOT_SAFE))
    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD), rig.thread_fn(ns=500), IRQF_ONESHOT)
    assert desc.action is not None
    assert (desc.action.flags & IRQF_ONESHOT, desc.action.thread_mask, desc.oneshot) == (0, 0, False)
    rig.fire_at(1000, desc.irq)
    masked: list[bool] = []
    rig.at(1200, lambda: masked.append(desc.masked))
    rig.play(5000)
    assert (masked, chip.taken(), rig.log[-1]) == ([False], ["ack"], (1500, "thread ends"))


def test_S1_34_nested_threads() -> None:
    rig = Rig()
    parent, _ = rig.line(handle_level_irq)
    children = [rig.line(handle_simple_irq)[0] for _ in range(2)]

    async def expander(task: Task, irq: int, dev_id: object) -> int:
        for child in children:
            await handle_nested_irq(task, child)
        return IRQ_HANDLED

    async def button(task: Task, irq: int, dev_id: object) -> int:
        await task.spend(100)
        rig.note(f"{task.comm}: button {irq - parent.irq}")
        return IRQ_HANDLED

    rig.request(parent, None, expander, IRQF_ONESHOT, "gpio")
    for child in children:
        child.nested_thread, child.parent_irq = True, parent.irq
        with pytest.raises(UsageError) as error:
            boot(rig.core.request_irq(None, child.irq, rig.handler(), 0, "no thread"))
        assert error.value.errno == 22
        rig.request(child, None, button, IRQF_ONESHOT, "button")
    assert [thread.comm for thread in irq_threads(rig)] == ["irq/16-gpio"]
    rig.fire_at(1000, parent.irq)
    rig.play(5000)
    assert rig.log == [(1100, "irq/16-gpio: button 1"), (1200, "irq/16-gpio: button 2")]
    spans = [(event[0], event[2]) for event in rig.events("irq_thread_entry", "irq_thread_exit")]
    assert spans == [(1000, "irq_thread_entry"), (1200, "irq_thread_exit")]
    assert children[0].action is not None
    with pytest.raises(KernelBug, match="Primary handler called for nested irq"):
        boot(children[0].action.handler(rig.cpus[0], children[0].irq, None))


@pytest.mark.parametrize("threadirqs", [False, True])
def test_S1_35_forced_threading(threadirqs: bool) -> None:
    async def main() -> tuple[list[str], list[str]]:
        async with Machine(kernel=preset("linux-6.12", threadirqs=threadirqs)) as m:
            msi = m.msi("nic")

            async def action(cpu: Cpu) -> None:
                await cpu.spend(100)

            async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
                m.softirq.raise_softirq_nowake(cpu, 3)
                return IRQ_HANDLED

            m.softirq.open_softirq(3, action)
            # Not to be threaded itself, so that its softirq is left to irq_exit.
            await m.irq.request_irq(None, msi.irq, handler, IRQF_NO_THREAD, "nic")
            other = m.msi("disk")
            await m.irq.request_irq(None, other.irq, handler, 0, "disk")
            await m.run_for(us(100))
            msi.send()
            await m.run_for(us(100))
            names = {task.pid: task.comm for task in m.sched.tasks.values()}
            ran = [names.get(r.pid, "swapper") for r in m.records if tag_of(type(r)) == "softirq_entry" and r.vec == 3]  # type: ignore[attr-defined]
            return ran, [name for name in names.values() if name.startswith("irq/")]

    ran, threads = asyncio.run(main())
    # Forced where the line may be threaded; and a softirq raised in hard context waits for its thread.
    assert threads == (["irq/17-disk"] if threadirqs else [])
    assert ran == ["ksoftirqd/0" if threadirqs else "swapper"]
