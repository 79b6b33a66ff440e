"""Show raw_spinlock_t and spinlock_t: the order of spinners, deadlocks, interrupts, and what PREEMPT_RT makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.locking.raw_spinlock import RawSpinlock
from asyncirq.locking.spinlock import Spinlock
from asyncirq.sched.preempt import SOFTIRQ_DISABLE_OFFSET
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.sched.harness import FULL, RT, STOCK, Lab


def test_spinners_get_the_lock_in_order_of_arrival() -> None:
    lab = Lab(4, FULL, spin_handover_ns=60)
    lock = RawSpinlock("lock")

    def user(delay: int) -> Any:
        async def body(task: Task) -> None:
            await task.spend(delay)
            async with lock.held(task.cpu) as cpu:
                lab.note(f"{cpu.name} {cpu.preempt_count}")
                await cpu.spend(100)

        return body

    for n, delay in enumerate((0, 30, 10, 20)):
        lab.start(user(delay), f"t{n}", cpu=n)
    lab.play(10_000)
    lab.end()
    assert lab.log == [(0, "CPU0 1"), (160, "CPU2 1"), (320, "CPU3 1"), (480, "CPU1 1")]
    assert lock.owner is None
    assert lock.contended == 3


def test_a_spinner_takes_no_heap_entry() -> None:
    lab = Lab(2, FULL)
    lock = RawSpinlock("lock")
    lengths: list[int] = []

    async def owner(task: Task) -> None:
        async with lock.held(task.cpu) as cpu:
            await cpu.spend(1000)

    async def spinner(task: Task) -> None:
        await task.spend(10)
        async with lock.held(task.cpu):
            lab.note("spinner")

    lab.start(owner, "owner", cpu=0)
    lab.start(spinner, "spinner", cpu=1)
    lab.at(500, lambda: lengths.append(lab.engine.heap_length()))
    lab.play(5000)
    lab.end()
    assert lengths == [1]
    assert lab.log == [(1000, "spinner")]


def test_a_lock_retaken_in_a_handler_on_its_own_cpu_is_a_deadlock() -> None:
    lab = Lab(1, FULL)
    lock = RawSpinlock("lock")

    async def body(task: Task) -> None:
        async with lock.held(task.cpu) as cpu:
            await cpu.spend(1000)

    async def handler(cpu: Cpu) -> None:
        await lock.lock(cpu)

    lab.start(body, "body")
    lab.interrupt(500, handler)
    with pytest.raises(KernelBug, match=r"^deadlock at 500 ns: body-1 stalls on lock; lock is held by body-1"):
        lab.play(5000)
    lab.end()


def test_irqsave_keeps_the_handler_out() -> None:
    lab = Lab(1, FULL)
    lock = RawSpinlock("lock")

    async def body(task: Task) -> None:
        cpu = task.preempt_disable()
        async with lock.irqsave(cpu):
            assert cpu.irqs_off
            await cpu.spend(1000)
            lab.note("body")
        assert not cpu.irqs_off
        await task.preempt_enable()

    async def handler(cpu: Cpu) -> None:
        async with lock.held(cpu):
            lab.note("handler")

    lab.start(body, "body")
    lab.interrupt(500, handler)
    lab.play(5000)
    lab.end()
    assert lab.log == [(1000, "body"), (1000, "handler")]


def test_AB_BA_between_two_cpus_is_a_deadlock() -> None:
    lab = Lab(2, FULL)
    a, b = RawSpinlock("A"), RawSpinlock("B")

    def crossing(first: RawSpinlock, second: RawSpinlock) -> Any:
        async def body(task: Task) -> None:
            cpu = await first.lock(task.cpu)
            await cpu.spend(100)
            await second.lock(cpu)

        return body

    lab.start(crossing(a, b), "one", cpu=0)
    lab.start(crossing(b, a), "two", cpu=1)
    with pytest.raises(KernelBug, match=r"^deadlock at 100 ns: (one-1|two-2) stalls on [AB]"):
        lab.play(5000)
    lab.end()


def test_a_spinner_interrupted_by_a_handler_that_wants_the_same_lock_is_a_deadlock() -> None:
    # The handler stands behind the spinner that it interrupted; no unlock can let it through.
    lab = Lab(2, FULL)
    lock = RawSpinlock("lock")

    async def owner(task: Task) -> None:
        async with lock.held(task.cpu) as cpu:
            await cpu.spend(1000)

    async def spinner(task: Task) -> None:
        await task.spend(10)
        await lock.lock(task.cpu)

    async def handler(cpu: Cpu) -> None:
        await lock.lock(cpu)

    lab.start(owner, "owner", cpu=0)
    lab.start(spinner, "spinner", cpu=1)
    lab.interrupt(500, handler, 1)
    with pytest.raises(KernelBug, match=r"^deadlock at 500 ns: spinner-2 stalls on lock"):
        lab.play(5000)
    lab.end()


def test_unlocking_what_another_holds_is_a_bug() -> None:
    lab = Lab(1, FULL)
    lock = RawSpinlock("lock")

    async def body(task: Task) -> None:
        await lock.unlock(task.cpu)

    lab.start(body, "body")
    with pytest.raises(KernelBug, match="^BUG: spinlock already unlocked on CPU#0, body/1: lock at 0 ns$"):
        lab.play(10)
    lab.end()


def test_an_exception_passes_a_held_block_without_an_unlock() -> None:
    lab = Lab(1, FULL)
    lock = RawSpinlock("lock")

    async def body(task: Task) -> None:
        async with lock.held(task.cpu):
            raise KernelBug("stop")

    task = lab.start(body, "body")
    with pytest.raises(KernelBug, match="^stop$"):
        lab.play(10)
    assert lock.owner is task.sim
    lab.end()


def test_the_unlock_is_a_preemption_point() -> None:
    lab = Lab(1, FULL)
    lock = RawSpinlock("lock")

    async def body(task: Task) -> None:
        async with lock.held(task.cpu) as cpu:
            await cpu.spend(1000)
        lab.note("body")

    async def urgent(task: Task) -> None:
        lab.note("urgent")

    lab.start(body, "body")
    lab.begin(100, urgent, "urgent", policy=SCHED_FIFO, rt_priority=1)
    lab.play(5000)
    lab.end()
    assert lab.log == [(1000, "urgent"), (1000, "body")]


def test_spinlock_t_spins_on_stock_and_sleeps_on_rt() -> None:
    stories = {}
    for kernel in (STOCK, RT):
        lab = Lab(2, kernel)
        lock = Spinlock(lab.sched, "lock")

        def user(lab: Lab, lock: Spinlock, delay: int) -> Any:
            async def body(task: Task) -> None:
                await task.spend(delay)
                async with lock.irqsave(task.cpu) as cpu:
                    lab.note(f"{task.comm} {cpu.preempt_count} {int(cpu.irqs_off)} {int(task.pinned)}")
                    await cpu.spend(100)

            return body

        lab.start(user(lab, lock, 0), "one", cpu=0)
        lab.start(user(lab, lock, 10), "two", cpu=1)
        lab.play(5000)
        lab.end()
        assert not lock.is_locked
        stories[kernel.preemption] = (lab.log, [text for _, text in lab.switches() if "(D)" in text])
    assert stories == {
        "voluntary": ([(0, "one 1 1 1"), (100, "two 1 1 1")], []),
        "rt": ([(0, "one 0 0 1"), (100, "two 0 0 1")], ["1 two(D) > swapper/1"]),
    }


def test_CTX_04_spinlock_t_inside_a_raw_spinlock_is_refused_on_rt() -> None:
    lab = Lab(1, RT)
    raw, lock = RawSpinlock("raw"), Spinlock(lab.sched, "lock")

    async def body(task: Task) -> None:
        async with raw.held(task.cpu) as cpu, lock.held(cpu):
            lab.note("never")

    lab.start(body, "body")
    with pytest.raises(KernelBug, match=r"^BUG: sleeping function called from invalid context at rt_spin_lock\(lock\)"):
        lab.play(10)
    lab.end()


@pytest.mark.parametrize("kernel", [STOCK, RT], ids=lambda k: k.preemption)
def test_lock_bh_keeps_softirqs_off(kernel: Any) -> None:
    lab = Lab(1, kernel)
    lock = Spinlock(lab.sched, "lock", lab.softirq)

    async def body(task: Task) -> None:
        cpu = await lock.lock_bh(task)
        assert cpu.preempt_count & SOFTIRQ_DISABLE_OFFSET
        await lock.unlock_bh(task)
        assert task.cpu.preempt_count == 0
        lab.note("done")
        await Spinlock(lab.sched, "bare").lock_bh(task)

    lab.start(body, "body")
    with pytest.raises(UsageError, match="^spinlock bare was made without bottom halves$"):
        lab.play(10)
    assert lab.log == [(0, "done")]
    lab.end()


def test_a_deadlock_report_names_the_interrupt_that_holds_the_lock() -> None:
    lab = Lab(2, FULL)
    a, b = RawSpinlock("A"), RawSpinlock("B")

    async def idle(task: Task) -> None:
        await task.spend(1000)

    async def handler(cpu: Cpu) -> None:
        await a.lock(cpu)
        await cpu.spend(100)
        await b.lock(cpu)

    async def other(task: Task) -> None:
        await task.spend(60)
        cpu = await b.lock(task.cpu)
        await cpu.spend(100)
        await a.lock(cpu)

    lab.start(idle, "idle", cpu=0)
    lab.start(other, "other", cpu=1)
    lab.interrupt(50, handler, 0)
    chain = "other-2 stalls on A; A is held by idle-1 in a hard interrupt, which stalls on B; B is held by other-2"
    with pytest.raises(KernelBug, match=f"^deadlock at 160 ns: {chain}$"):
        lab.play(5000)
    lab.end()


def test_the_variants_of_a_raw_spinlock() -> None:
    lab = Lab(1, STOCK)
    lock = RawSpinlock("lock")

    async def body(task: Task) -> None:
        cpu = task.preempt_disable()
        await lock.lock_irq(cpu)
        assert (cpu.irqs_off, cpu.preempt_count) == (True, 2)
        await lock.unlock_irq(cpu)
        assert (cpu.irqs_off, cpu.preempt_count) == (False, 1)
        was_off = await lock.lock_irqsave(cpu)
        nested = cpu.irq_disable()
        assert (was_off, nested) == (False, True)
        await lock.unlock_irqrestore(cpu, was_off)
        assert not cpu.irqs_off
        cpu = await lock.lock_bh(task, lab.softirq)
        assert cpu.preempt_count == SOFTIRQ_DISABLE_OFFSET + 2
        await lock.unlock_bh(task, lab.softirq)
        assert cpu.preempt_count == 1
        await task.preempt_enable()
        lab.note("done")

    lab.start(body, "body")
    lab.play(5000)
    lab.end()
    assert lab.log == [(0, "done")]


@pytest.mark.parametrize("kernel", [STOCK, RT], ids=lambda k: k.preemption)
def test_trying_a_spinlock(kernel: Any) -> None:
    lab = Lab(1, kernel)
    lock = Spinlock(lab.sched, "lock", lab.softirq)

    async def body(task: Task) -> None:
        cpu = task.cpu
        assert lock.try_lock(cpu)
        assert not lock.try_lock(cpu)
        await lock.unlock(cpu)
        await lock.lock_irq(task.cpu)
        assert cpu.irqs_off is not kernel.rt
        await lock.unlock_irq(cpu)
        assert not cpu.irqs_off
        assert not lock.is_locked
        lab.note("done")

    lab.start(body, "body")
    lab.play(5000)
    lab.end()
    assert lab.log == [(0, "done")]
