"""Show that the invariants hold on a right machine, and that each planted mistake is caught.

One of them, inline advance at equal time, is in ``tests/sim/test_engine.py``: it is caught by comparing with a run
without inline advance.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import asyncirq.hw.cpu
import asyncirq.sched.task
from asyncirq.config import preset
from asyncirq.entry import Entry
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu, Thread, interrupt_window
from asyncirq.locking.mutex import Mutex
from asyncirq.locking.raw_spinlock import RawSpinlock
from asyncirq.locking.rtmutex import RtMutex
from asyncirq.locking.rwsem import RwSemaphore
from asyncirq.sched.preempt import HARDIRQ_OFFSET, PREEMPT_OFFSET, SOFTIRQ_DISABLE_OFFSET
from asyncirq.sched.rq import RunQueue
from asyncirq.sched.switch import Switching
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, Task
from tests.small import Small

VECTOR = 0x41
FULL = preset("linux-6.12", preemption="full")
Log = list[tuple[int, str]]


class Preempted:
    """A task is preempted at an interrupt's exit on CPU0, moved to CPU1 meanwhile, and goes on there."""

    def __init__(self, entry: type[Entry] = Entry, eoi: bool = True, **costs: int) -> None:
        self.log: Log = []
        self.eoi = eoi
        self.m = m = Small(2, FULL, entry=entry, **costs)
        self.urgent = m.sched.new_task(self.run_urgent, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50)
        m.sched.start_now(self.urgent)
        self.victim = m.start(self.run_victim, "victim")
        m.handle(VECTOR, self.handler)
        m.raise_at(1000, VECTOR)
        m.at(1500, self.move)

    async def run_urgent(self, task: Task) -> None:
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()
        self.log.append((self.m.engine.now, f"urgent on {task.cpu.name}"))
        await task.spend(2000)

    async def run_victim(self, task: Task) -> None:
        await task.spend(2000)
        self.log.append((self.m.engine.now, f"victim on {task.cpu.name}"))
        await task.spend(100)
        self.log.append((self.m.engine.now, "victim ends"))

    async def handler(self, cpu: Cpu) -> None:
        if self.eoi:
            cpu.lapic.eoi(cpu)
        await cpu.spend(50)
        await self.m.sched.wake_up_process(cpu, self.urgent)

    def move(self) -> None:
        self.m.sched.set_cpus_allowed(self.m.cpus[0], self.victim, 0b10)

    async def run(self) -> Log:
        await self.m.run(20_000)
        await self.m.close()
        return self.log


# The victim has run 1000 of its 2000 ns when the interrupt comes; it goes on at 1500 on CPU1 and still owes all of the rest.
RIGHT = [(1050, "urgent on CPU0"), (2500, "victim on CPU1"), (2600, "victim ends")]


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_right_machine_passes() -> None:
    assert await Preempted().run() == RIGHT


async def caught(scene: Preempted, invariant: str) -> None:
    with pytest.raises(KernelBug, match=f"invariant {invariant}:"):
        await scene.run()
    await scene.m.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_if_restored_on_a_stale_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stale(thread: Thread) -> None:
        while thread.cpu.attention:
            cpu = thread.cpu
            saved = cpu.irqs_off
            vector, _ = cpu.lapic.inta()
            gate = cpu.idt.gates[vector]
            assert gate is not None
            cpu.irqs_off = True
            cpu.recompute()
            await gate.handler(cpu, vector)
            cpu.iret(saved)

    plant_window(monkeypatch, stale)
    await caught(Preempted(), "I[12]")


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_window_loop_keeps_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keeps(thread: Thread) -> None:
        cpu = thread.cpu
        while cpu.attention:
            vector, _ = cpu.lapic.inta()
            gate = cpu.idt.gates[vector]
            assert gate is not None
            cpu.irqs_off = True
            cpu.recompute()
            await gate.handler(cpu, vector)
            cpu.iret(False)

    plant_window(monkeypatch, keeps)
    await caught(Preempted(), "I[12]")


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_statement_after_the_reschedule() -> None:
    class Late(Entry):
        async def irq_exit(self, cpu: Cpu) -> None:
            await super().irq_exit(cpu)
            await cpu.spend(10)

    await caught(Preempted(Late), "I1")


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_eoi_missing() -> None:
    await caught(Preempted(eoi=False), "I[34]")


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_eoi_missing_without_a_switch() -> None:
    scene = Preempted(eoi=False)
    scene.urgent.comm = "unused"

    async def quiet(cpu: Cpu) -> None:
        await cpu.spend(50)

    scene.m.handle(VECTOR, quiet)
    await caught(scene, "I3")


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_eoi_after_the_reschedule() -> None:
    class Late(Entry):
        async def irq_exit(self, cpu: Cpu) -> None:
            await super().irq_exit(cpu)
            cpu.lapic.eoi(cpu)

    await caught(Preempted(Late, eoi=False), "I[34]")


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_new_task_leaves_if_off(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Switching._finish_switch

    async def forgets(self: Switching, task: Task) -> None:
        if task.comm != "victim":
            await right(self, task)
        else:
            task.cpu.preempt_count -= 1

    monkeypatch.setattr(Switching, "_finish_switch", forgets)
    await caught(Preempted(), "I2")


async def bh_section_preempted() -> list[str]:
    """On PREEMPT_RT a BH-disabled section is preempted; tell what the preempting task sees of the count."""
    m = Small(1, preset("linux-6.12", rt=True))
    log: list[str] = []

    async def section(task: Task) -> None:
        await m.softirq.local_bh_disable(task)
        await task.wake(urgent)
        log.append(f"section {task.cpu.preempt_count:#x}")
        await m.softirq.local_bh_enable(task)

    async def look(task: Task) -> None:
        log.append(f"urgent {task.cpu.preempt_count:#x}")

    urgent = m.sched.new_task(look, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50)
    m.start(section, "section")
    await m.run(1000)
    await m.close()
    return log


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_preempt_count_not_saved_at_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await bh_section_preempted() == ["urgent 0x0", "section 0x200"]
    right = Cpu.install

    def forgets(self: Cpu, following: Thread) -> None:
        count = self.preempt_count
        right(self, following)
        self.preempt_count = count

    monkeypatch.setattr(Cpu, "install", forgets)
    assert await bh_section_preempted() == ["urgent 0x200", "section 0x200"]


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_time_charged_after_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    async def spend(self: Cpu, ns: int) -> None:
        end = self.engine.now + ns
        while self.engine.now < end:
            await self.engine.elapse(end - self.engine.now)
            if self.attention:
                await interrupt_window(self.current)

    async def measure() -> Log:
        m = Small(1)
        log: Log = []

        async def body(task: Task) -> None:
            cpu = task.preempt_disable()
            await cpu.spend(100)
            log.append((m.engine.now, "done"))
            await task.preempt_enable()

        async def handler(cpu: Cpu) -> None:
            cpu.lapic.eoi(cpu)
            await cpu.spend(30)

        m.handle(VECTOR, handler)
        m.raise_at(40, VECTOR)
        m.start(body, "body")
        await m.run(1000)
        await m.close()
        return log

    assert await measure() == [(130, "done")]
    monkeypatch.setattr(Cpu, "spend", spend)
    assert await measure() == [(100, "done")]


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_count_left_behind_by_a_handler_is_seen_at_the_switch() -> None:
    scene = Preempted()
    right = scene.handler

    async def leaks(cpu: Cpu) -> None:
        await right(cpu)
        cpu.preempt_count += HARDIRQ_OFFSET

    scene.m.handle(VECTOR, leaks)
    scene.m.entry.sched.count_mask = 0xFF
    scene.m.entry._mask = 0xFF
    await caught(scene, "I4")


# --- one task on each CPU, the owners of locks, counts left behind, and time


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_time_goes_to_what_had_it() -> None:
    scene = Preempted(switch_in_ns=10)
    await scene.m.run(20_000)
    one, two = (account.kinds for account in scene.m.accounts)
    for cpu, account in zip(scene.m.cpus, scene.m.accounts, strict=True):
        account.charge(cpu, cpu.preempt_count)
    # Up to 1000 urgent's first switch in, the victim's and its work; then urgent's second and its 2000.
    assert one == {"task": 1000 + 10 + 2000, "idle": 20_000 - 3010 - 50, "softirq": 0, "interrupt": 50}
    assert sum(two.values()) == 20_000
    await scene.m.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_task_ready_twice_is_caught() -> None:
    scene = Preempted()
    scene.m.at(500, lambda: scene.m.sched.rqs[1].fair.enqueue(scene.victim))
    await caught(scene, "one task")


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_run_queue_that_says_another_task_is_caught() -> None:
    scene = Preempted()
    right = scene.m.sched._take_next

    def forgets(rq: RunQueue, task: Task, preempt: bool) -> Task:
        before = rq.curr
        following = right(rq, task, preempt)
        rq.curr = before
        return following

    scene.m.sched._take_next = forgets  # type: ignore[method-assign]
    await caught(scene, "one task")


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_time_that_the_scheduler_does_not_charge_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = RunQueue.update_curr

    def forgets(self: RunQueue, now: int) -> None:
        right(self, now)
        if self.curr.comm == "victim":
            self.curr.sum_exec -= 1

    monkeypatch.setattr(RunQueue, "update_curr", forgets)
    await caught(Preempted(), "time")


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_time_that_is_lost_is_caught() -> None:
    scene = Preempted()
    account = scene.m.accounts[0]
    right = account.charge

    def forgets(cpu: Cpu, count: int) -> None:
        right(cpu, count)
        account.kinds["interrupt"] = 0

    account.charge = forgets  # type: ignore[method-assign]
    await caught(scene, "time")


@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.parametrize("kind", [PREEMPT_OFFSET, SOFTIRQ_DISABLE_OFFSET])
async def test_a_count_that_an_interrupt_leaves_is_caught(kind: int) -> None:
    scene = Preempted()
    right = scene.handler

    async def leaks(cpu: Cpu) -> None:
        await right(cpu)
        cpu.preempt_count += kind

    scene.m.handle(VECTOR, leaks)
    await caught(scene, "leak")


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_count_in_user_mode_is_caught() -> None:
    m = Small(1)

    async def program(task: Task) -> None:
        await task.user(100)
        await task.user(100)

    def leaks(task: Task, enters: bool) -> None:
        task.cpu.preempt_count += enters

    m.sched.user_hook = leaks
    m.start(program, "program")
    with pytest.raises(KernelBug, match="invariant leak: .* is in user mode with preempt count 00000001"):
        await m.run(1000)
    await m.close()


LOCKS: list[tuple[str, Callable[[Small], Any], Callable[[Any, Task], Any], str]] = [
    ("mutex", lambda m: Mutex(m.sched, "x"), lambda lock, task: lock.lock(task), "_owner"),
    ("rt_mutex", lambda m: RtMutex(m.sched, "x"), lambda lock, task: lock.lock(task), "owner"),
    ("rwsem", lambda m: RwSemaphore(m.sched, "x"), lambda lock, task: lock.down_write(task), "_writer"),
    ("raw", lambda m: RawSpinlock("x"), lambda lock, task: lock.lock(task.cpu), "owner"),
]


@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.parametrize(("make", "take", "field"), [row[1:] for row in LOCKS], ids=[row[0] for row in LOCKS])
async def test_a_lock_that_changes_hands_behind_its_holder_is_caught(
    make: Callable[[Small], Any], take: Callable[[Any, Task], Any], field: str
) -> None:
    m = Small(1)
    lock = make(m)

    async def holder(task: Task) -> None:
        await take(lock, task)
        assert lock.holds(task)
        await task.spend(10)
        setattr(lock, field, None)
        await task.spend(10)

    m.start(holder, "holder")
    with pytest.raises(KernelBug, match="invariant locks: .*holder.* holds x, which is not its own, on CPU0 at 10 ns"):
        await m.run(1000)
    await m.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_wait_for_a_lock_that_its_owner_forgot_is_caught() -> None:
    m = Small(2)
    lock = Mutex(m.sched, "x")

    async def holder(task: Task) -> None:
        await lock.lock(task)
        await task.spend(10)
        task.held_locks.clear()
        await task.spend(1000)

    async def waiter(task: Task) -> None:
        await task.spend(20)
        await lock.lock(task)

    m.start(holder, "holder", cpu=0)
    m.start(waiter, "waiter", cpu=1)
    with pytest.raises(KernelBug, match="invariant locks: .*waiter.* waits for x, whose owner .*holder.* does not hold it"):
        await m.run(1000)
    await m.close()


def plant_window(monkeypatch: pytest.MonkeyPatch, window: Callable[[Any], Awaitable[None]]) -> None:
    monkeypatch.setattr(asyncirq.hw.cpu, "interrupt_window", window)
    monkeypatch.setattr(asyncirq.sched.task, "interrupt_window", window)
