"""Show the cases of threaded interrupts."""

from __future__ import annotations

import pytest

from asyncirq.config import preset
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.chip import IRQCHIP_EOI_THREADED
from asyncirq.irq.desc import (
    IRQ_HANDLED,
    IRQ_WAKE_THREAD,
    IRQF_NO_THREAD,
    IRQF_ONESHOT,
    IRQF_PERCPU,
    IRQF_SHARED,
    IRQF_TIMER,
    IrqDesc,
)
from asyncirq.irq.flow import handle_edge_irq, handle_fasteoi_irq, handle_level_irq
from asyncirq.irq.sim_chip import IrqSim
from asyncirq.irq.thread import ThreadDies
from asyncirq.sched.preempt import in_hardirq, in_softirq
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.irq.harness import RT, STOCK, THREADIRQS, Rig, boot, close_rigs  # noqa: F401

Chips = list[tuple[int, str]]


def irq_threads(rig: Rig) -> list[tuple[str, int, int]]:
    return [(task.comm, task.policy, task.rt_priority) for task in rig.sched.tasks.values() if task.comm.startswith("irq/")]


@pytest.mark.parametrize(("release", "secondary"), [("linux-7.1", 49), ("linux-6.12", 50)])
def test_THR_01_naming_and_scheduling_class(release: str, secondary: int) -> None:
    rig = Rig(kernel=preset(release, threadirqs=True))
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(), rig.thread_fn(), name="eth0-a-very-long-name")
    assert irq_threads(rig) == [("irq/16-eth0-a-v", SCHED_FIFO, 50), ("irq/16-s-eth0-a", SCHED_FIFO, secondary)]


def test_THR_01_made_by_a_running_kernel() -> None:
    rig = Rig()
    desc, _ = rig.line(handle_level_irq)

    async def main(task: Task) -> None:
        await rig.core.request_threaded_irq(task, desc.irq, None, rig.thread_fn(), IRQF_ONESHOT, "lab")
        rig.note("requested")

    rig.start(main, "main")
    rig.play(1000)
    # Woken at the default priority; ready, and at its own, before the request returns.
    assert [event[3:6:2] for event in rig.events("sched_wakeup_new")] == [("kthreadd", 120), ("irq/16-lab", 120)]
    assert (irq_threads(rig), rig.log) == ([("irq/16-lab", SCHED_FIFO, 50)], [(0, "requested")])
    assert desc.action is not None
    assert desc.action.ready


def test_THR_03_oneshot_level_line() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD), rig.thread_fn(ns=700), IRQF_ONESHOT)
    rig.fire_at(1000, desc.irq)
    rig.play(1600)
    assert (chip.taken(), desc.masked, desc.threads_oneshot) == (["mask", "ack"], True, 1)
    rig.play(2000)
    assert rig.log == [(1000, "handler on 0"), (1000, "thread on 0"), (1700, "thread ends")]
    assert (chip.taken(), desc.masked, desc.threads_oneshot, desc.threads_active) == (["unmask"], False, 0, 0)


def shared_threads(rig: Rig, *lengths: int) -> tuple[IrqDesc, IrqSim]:
    """Make a shared one-shot line whose thread n takes as long as the n-th number says."""
    desc, chip = rig.line(handle_level_irq)
    for n, ns in enumerate(lengths):
        handler = rig.handler(f"h{n}", IRQ_WAKE_THREAD)
        rig.request(desc, handler, rig.thread_fn(f"t{n}", ns=ns), IRQF_SHARED | IRQF_ONESHOT, f"dev{n}", f"id{n}")
    return desc, chip


def test_THR_04_oneshot_shared_line() -> None:
    rig = Rig(cpus=2)
    desc, chip = shared_threads(rig, 300, 900)
    rig.fire_at(1000, desc.irq)
    rig.play(1299)
    assert desc.threads_oneshot == 0b11
    rig.play(1400)
    assert (desc.threads_oneshot, desc.masked) == (0b10, True)
    assert chip.taken() == ["mask", "ack"]
    rig.play(3000)
    assert (chip.taken(), desc.threads_oneshot) == (["unmask"], 0)
    # Both became ready on the CPU of the interrupt, which pushed the second one away as it switched to the first.
    assert rig.log[-4:] == [(1000, "t0 on 0"), (1000, "t1 on 1"), (1300, "t0 ends"), (1900, "t1 ends")]


def test_THR_04_sixty_four_sharers() -> None:
    rig = Rig()
    desc, _ = shared_threads(rig, *[0] * 64)
    with pytest.raises(UsageError) as refused:
        boot(rig.core.request_threaded_irq(None, desc.irq, None, rig.thread_fn(), IRQF_SHARED | IRQF_ONESHOT, "one more", "x"))
    assert refused.value.errno == 16


def test_THR_05_fast_thread_slow_hard_handler() -> None:
    rig = Rig(cpus=2)
    desc, chip = rig.line(handle_level_irq)
    rig.request(desc, rig.handler("fast", IRQ_WAKE_THREAD), rig.thread_fn(), IRQF_SHARED | IRQF_ONESHOT, "fast", "a")
    rig.request(desc, rig.handler("slow", IRQ_HANDLED, ns=800), rig.thread_fn(), IRQF_SHARED | IRQF_ONESHOT, "slow", "b")
    assert desc.action is not None
    assert desc.action.thread is not None
    desc.action.thread.allowed = 0b10
    desc.action.affinity_changed = False
    rig.fire_at(1000, desc.irq)
    rig.play(1500)
    # The thread has run on CPU1 and waits for CPU0's handler.
    assert rig.log == [(1000, "fast on 0"), (1000, "slow on 0"), (1000, "thread on 1")]
    assert (chip.taken(), desc.inprogress, desc.threads_oneshot) == (["mask", "ack"], True, 1)
    rig.play(3000)
    assert (chip.taken(), desc.masked, desc.threads_oneshot) == (["unmask"], False, 0)


def test_THR_06_woken_again_during_finalize() -> None:
    rig = Rig(cpus=2, irq_finalize_ns=100)
    desc, chip = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD), rig.thread_fn(ns=500), IRQF_ONESHOT)
    rig.fire_at(1000, desc.irq)
    rig.fire_at(1550, desc.irq, cpu=1)
    rig.play(5000)
    runs = [line for line in rig.log if "thread" in line[1]]
    assert runs == [(1000, "thread on 0"), (1500, "thread ends"), (1600, "thread on 0"), (2100, "thread ends")]
    # Masked at the first, only acknowledged at the second, unmasked once: after the second run.
    assert chip.taken() == ["mask", "ack", "ack", "unmask"]


@pytest.mark.parametrize(
    ("oneshot", "ret", "hard", "thread"),
    [
        (IRQF_ONESHOT, IRQ_WAKE_THREAD, ["mask"], ["eoi", "unmask"]),
        (IRQF_ONESHOT, IRQ_HANDLED, ["mask", "eoi", "unmask"], []),
        (0, IRQ_WAKE_THREAD, ["eoi"], []),
    ],
)
def test_THR_08_eoi_threaded_chips(oneshot: int, ret: int, hard: list[str], thread: list[str]) -> None:
    rig = Rig(irq_thread_fn_ns=100)
    desc, chip = rig.line(handle_fasteoi_irq, IrqSim(flags=IRQCHIP_EOI_THREADED))
    rig.request(desc, rig.handler(ret=ret), rig.thread_fn(), oneshot)
    rig.fire_at(1000, desc.irq)
    rig.play(1050)
    assert chip.taken() == hard
    rig.play(2000)
    assert chip.taken() == thread


def test_THR_09_free_with_a_pending_wake() -> None:
    rig = Rig(cpus=2)
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD), rig.thread_fn(), IRQF_ONESHOT)
    assert desc.action is not None
    action = desc.action

    async def main(task: Task) -> None:
        await task.spend(1000)
        # Told to stop with the run bit set, as when the wake-up comes just before.
        action.should_stop = action.run_thread = True
        desc.threads_active += 1
        await rig.core.free_irq(task, desc.irq)
        rig.note("freed")

    rig.start(main, "main", cpu=1)
    rig.at(1000, lambda: rig.send_wake(action))
    rig.play(5000)
    assert rig.log == [(1000, "thread on 0"), (1000, "freed")]
    assert irq_threads(rig) == []


def test_THR_10_thread_affinity() -> None:
    rig = Rig(cpus=2)
    desc, _ = rig.line(handle_level_irq, IrqSim(also=("set_affinity",)))
    desc.affinity, desc.affinity_set = 0b01, True
    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD), rig.thread_fn(ns=100), IRQF_ONESHOT)
    rig.fire_at(1000, desc.irq)
    rig.at(1050, lambda: boot(rig.core.irq_set_affinity(None, desc.irq, 0b10)))
    rig.fire_at(2000, desc.irq, cpu=1)
    rig.play(1060)
    assert desc.action is not None
    assert desc.action.thread is not None
    # Marked, not moved.
    assert (desc.action.affinity_changed, desc.action.thread.allowed) == (True, 0b01)
    rig.play(5000)
    threads = [line for line in rig.log if "thread on" in line[1]]
    assert threads == [(1000, "thread on 0"), (2000, "thread on 1")]
    assert (desc.action.affinity_changed, desc.action.thread.allowed) == (False, 0b10)


@pytest.mark.parametrize("kernel", [THREADIRQS, RT])
@pytest.mark.parametrize(
    ("flags", "threaded", "forced"),
    [
        (0, False, True),
        (IRQF_NO_THREAD, False, False),
        (IRQF_PERCPU, False, False),
        (IRQF_ONESHOT, True, False),
        (IRQF_TIMER, False, False),
    ],
)
def test_THR_11_forced_threading_selection(kernel: object, flags: int, threaded: bool, forced: bool) -> None:
    rig = Rig(kernel=kernel)  # type: ignore[arg-type]
    desc, chip = rig.line(handle_level_irq)
    contexts: list[tuple[bool, bool, bool]] = []

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        contexts.append((in_hardirq(cpu), in_softirq(cpu), cpu.irqs_off))
        return IRQ_HANDLED

    rig.request(desc, handler, rig.thread_fn() if threaded else None, flags)
    assert desc.action is not None
    assert desc.action.forced is forced
    assert bool(desc.action.flags & IRQF_ONESHOT) is (forced or threaded)
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    # Forced: in the thread, softirqs off, interrupts off only where the kernel is not PREEMPT_RT.
    assert contexts == [(False, True, not rig.config.rt) if forced else (True, False, True)]
    assert chip.taken() == ["mask", "ack", "unmask"]
    entries = rig.events("irq_handler_entry", "irq_handler_exit")
    assert [event[4] for event in entries] == ["lab", IRQ_WAKE_THREAD if forced else IRQ_HANDLED]


def test_THR_11_not_for_purely_threaded_nor_without_the_option() -> None:
    rig = Rig(kernel=THREADIRQS)
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, None, rig.thread_fn(), IRQF_ONESHOT)
    assert desc.action is not None
    assert not desc.action.forced
    stock = Rig(kernel=STOCK)
    line, _ = stock.line(handle_level_irq)
    stock.request(line, stock.handler())
    assert line.action is not None
    assert (line.action.forced, irq_threads(stock)) == (False, [])


def test_THR_12_forced_threading_with_both_handlers() -> None:
    rig = Rig(kernel=THREADIRQS)
    desc, chip = rig.line(handle_edge_irq)

    async def primary(cpu: Cpu, irq: int, dev_id: object) -> int:
        assert isinstance(cpu.current, Task)
        rig.note(f"primary in {cpu.current.comm}")
        return IRQ_WAKE_THREAD

    async def thread_fn(task: Task, irq: int, dev_id: object) -> int:
        rig.note(f"thread function in {task.comm}")
        return IRQ_HANDLED

    rig.request(desc, primary, thread_fn)
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert rig.log == [(1000, "primary in irq/16-lab"), (1000, "thread function in irq/16-s-lab")]
    assert (chip.taken(), desc.threads_active, desc.threads_oneshot) == (["ack"], 0, 0)
    boot(rig.core.free_irq(None, desc.irq))
    rig.play(3000)
    assert irq_threads(rig) == []


def test_THR_14_dead_thread() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq)

    async def dies(task: Task, irq: int, dev_id: object) -> int:
        rig.note("dies")
        raise ThreadDies

    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD), dies, IRQF_ONESHOT)
    assert desc.action is not None
    assert desc.action.thread is not None
    pid = desc.action.thread.pid
    rig.fire_at(1000, desc.irq)
    rig.fire_at(2000, desc.irq)
    rig.play(3000)
    assert rig.said() == [f'exiting task "irq/16-lab" ({pid}) is an active IRQ thread (irq {desc.irq})']
    # The second wake-up is dropped, and the line is live.
    assert rig.log == [(1000, "handler on 0"), (1000, "dies"), (2000, "handler on 0")]
    assert chip.taken() == ["mask", "ack", "unmask"] * 2
    assert (desc.masked, desc.threads_oneshot, desc.threads_active) == (False, 0, 0)


def test_THR_15_synchronize_with_threads() -> None:
    rig = Rig(cpus=2, irq_thread_fn_ns=200)
    desc, _ = rig.line(handle_level_irq)
    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD), rig.thread_fn(ns=300), IRQF_ONESHOT)

    async def main(task: Task) -> None:
        await task.spend(1100)
        # Woken, its function not called yet.
        assert (desc.threads_active, desc.inprogress, len(rig.log)) == (1, False, 1)
        await rig.core.synchronize_irq(task, desc.irq)
        rig.note("synchronized")

    rig.start(main, "main", cpu=1)
    rig.fire_at(1000, desc.irq)
    rig.play(5000)
    assert rig.log == [(1000, "handler on 0"), (1200, "thread on 0"), (1500, "thread ends"), (1500, "synchronized")]


def test_wake_ups_of_a_pending_thread_are_one() -> None:
    rig = Rig()
    desc, chip = rig.line(handle_level_irq)

    async def sleeper(task: Task, irq: int, dev_id: object) -> int:
        rig.note("start")
        await rig.nap(task, 4000)
        rig.note("end")
        return IRQ_HANDLED

    rig.request(desc, rig.handler(ret=IRQ_WAKE_THREAD), sleeper)
    for when in (10_000, 11_500, 13_000):
        rig.fire_at(when, desc.irq)
    rig.play(50_000)
    assert [line for line in rig.log if "handler" not in line[1]] == [
        (10_000, "start"),
        (14_000, "end"),
        (14_000, "start"),
        (18_000, "end"),
    ]
    # The second wakes the sleeper inside its function, in vain; the third finds the mark still standing.
    wakings = [event[0] for event in rig.events("sched_waking") if event[3].startswith("irq/")]
    assert wakings == [10_000, 11_500, 14_000, 18_000]
    assert chip.taken() == ["mask", "ack", "unmask"] * 3


@pytest.mark.parametrize("kernel", [THREADIRQS, RT])
def test_line_is_live_before_its_softirqs_run(kernel: object) -> None:
    rig = Rig(kernel=kernel)  # type: ignore[arg-type]
    desc, chip = rig.line(handle_level_irq)

    async def action(cpu: Cpu) -> None:
        rig.note(f"softirq, chip {chip.taken()}")

    rig.softirq.open_softirq(3, action)

    async def handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        rig.softirq.raise_softirq_nowake(cpu, 3)
        rig.note("handler")
        return IRQ_HANDLED

    rig.request(desc, handler)
    rig.fire_at(1000, desc.irq)
    rig.play(5000)
    assert rig.log == [(1000, "handler"), (1000, "softirq, chip ['mask', 'ack', 'unmask']")]
