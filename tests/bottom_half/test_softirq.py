"""Show what the softirq room does beyond the catalogue's cases: words, causes, wake-ups, and no vector left behind."""

from __future__ import annotations

import asyncio

import pytest

from asyncirq.bottom_half.softirq import (
    BLOCK_SOFTIRQ,
    HI_SOFTIRQ,
    HRTIMER_SOFTIRQ,
    NET_RX_SOFTIRQ,
    NR_SOFTIRQS,
    PF_MEMALLOC,
    TASKLET_SOFTIRQ,
    TIMER_SOFTIRQ,
)
from asyncirq.config import KernelConfig, preset
from asyncirq.entry import LOCAL_TIMER_VECTOR
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.apic_message import ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, Task
from asyncirq.trace.record import tag_of
from tests.small import Small
from tests.softirq_rig import FULL, RT, STOCK, Rig, comm_of

RT_61 = preset("linux-6.1", rt=True)
FORCED_71 = preset("linux-7.1", threadirqs=True)


async def sleeper(task: Task) -> None:
    """Sleep until woken, and end."""
    task.set_current_state(TASK_INTERRUPTIBLE)
    await task.schedule()


def timer_raises(m: Rig, when: int, *vecs: int) -> None:
    """Raise vectors from the local timer's interrupt, as the tick does."""

    async def timer(cpu: Cpu) -> None:
        for nr in vecs:
            await m.softirq.raise_timer_softirq(cpu, nr)

    m.entry.timer = timer
    m.at(when, lambda: m.send(ApicMessage(LOCAL_TIMER_VECTOR, 0, False, 0, False, 0)))


# --- registration


@pytest.mark.covers("S0-111")
def test_only_registered_vectors_can_be_raised() -> None:
    m = Small()

    async def body(cpu: Cpu) -> None:
        cpu.lapic.eoi(cpu)
        m.softirq.raise_softirq_nowake(cpu, BLOCK_SOFTIRQ)

    m.handle(0x41, body)
    m.raise_at(100, 0x41)
    with pytest.raises(KernelBug, match="^softirq 4 is raised on CPU0 at 100 ns but has no action$"):
        asyncio.run(m.run(1000))
    asyncio.run(m.close())


def test_a_timer_vector_without_action_is_told_where_it_is_raised() -> None:
    m = Rig(kernel=RT)
    m.softirq._vec[HRTIMER_SOFTIRQ] = None
    timer_raises(m, 100, HRTIMER_SOFTIRQ)
    with pytest.raises(KernelBug, match="^softirq 8 is raised on CPU0 at 100 ns but has no action$"):
        m.play(1000)
    m.end()


@pytest.mark.parametrize("nr", [-1, NR_SOFTIRQS])
def test_there_are_ten_vectors(nr: int) -> None:
    m = Rig()

    async def action(cpu: Cpu) -> None:
        """Do nothing."""

    with pytest.raises(UsageError, match=rf"^softirq {nr} is not in 0\.\.9$"):
        m.softirq.open_softirq(nr, action)
    m.end()


# --- words and counters


@pytest.mark.covers("S0-118", "S1-68")
def test_the_word_and_the_count_are_two_things() -> None:
    m = Rig(2)

    async def net_rx(cpu: Cpu) -> None:
        m.note(f"{cpu.name} {m.softirq.pending[0]:#x} {m.softirq.pending[1]:#x} {cpu.preempt_count:#x}")
        m.softirq.raise_softirq_nowake(cpu, HI_SOFTIRQ)
        m.note(f"{cpu.name} {m.softirq.pending[0]:#x} {m.softirq.pending[1]:#x}")

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.irq_raises(100, NET_RX_SOFTIRQ, TASKLET_SOFTIRQ, cpu=1)
    m.play(1000)
    assert m.log == [(100, "CPU1 0x0 0x0 0x101"), (100, "CPU1 0x0 0x1")]
    assert m.softirq.counts == [[0] * 10, [1, 0, 0, 1, 0, 0, 1, 0, 0, 0]]
    m.end()


@pytest.mark.covers("S2-68")
def test_a_vector_runs_on_two_cpus_at_once() -> None:
    m = Rig(2)

    async def net_rx(cpu: Cpu) -> None:
        m.note(f"{cpu.name} begins")
        await cpu.spend(100)
        m.note(f"{cpu.name} ends")

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.irq_raises(150, NET_RX_SOFTIRQ, cpu=1)
    m.play(1000)
    assert m.log == [(100, "CPU0 begins"), (150, "CPU1 begins"), (200, "CPU0 ends"), (250, "CPU1 ends")]
    m.end()


def test_an_entry_is_caused_by_the_first_raise_since_it_last_ran() -> None:
    m = Rig()
    again = True

    async def net_rx(cpu: Cpu) -> None:
        nonlocal again
        for _ in range(2):
            if again:
                m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        again = False

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.irq_raises(100, NET_RX_SOFTIRQ, NET_RX_SOFTIRQ)
    m.play(1000)
    raises = [r.seq for r in m.records() if tag_of(type(r)) == "softirq_raise"]
    assert len(raises) == 4
    assert [r.cause for r in m.records() if tag_of(type(r)) == "softirq_entry"] == [raises[0], raises[2]]
    m.end()


@pytest.mark.covers("S0-105")
def test_softirqs_do_not_inherit_the_memory_reserves() -> None:
    m = Rig()

    async def body(task: Task) -> None:
        task.flags |= PF_MEMALLOC | 1
        await task.spend(200)
        m.note(f"task {task.flags:#x}")

    async def net_rx(cpu: Cpu) -> None:
        task = cpu.current
        assert isinstance(task, Task)
        m.note(f"{task.comm} {task.flags:#x}")

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(body, "body", cpu=0)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.play(1000)
    assert m.log == [(100, "body 0x1"), (200, "task 0x801")]
    m.end()


@pytest.mark.covers("S0-110")
def test_a_count_changed_between_two_actions_is_found_at_the_end() -> None:
    m = Rig(softirq_next_ns=100)

    def unbalanced() -> None:
        m.cpus[0].preempt_count += 0x200

    m.irq_raises(100, NET_RX_SOFTIRQ, TASKLET_SOFTIRQ)
    m.at(150, unbalanced)
    with pytest.raises(KernelBug, match="^WARNING: preempt_count 00000201 after softirqs on CPU0 at 200 ns$"):
        m.play(1000)
    m.end()


@pytest.mark.covers("S2-30")
@pytest.mark.parametrize("kernel", [STOCK, FULL], ids=["voluntary", "full"])
def test_a_softirq_that_blocks_is_a_bug(kernel: KernelConfig) -> None:
    m = Rig(kernel=kernel)

    async def net_rx(cpu: Cpu) -> None:
        task = cpu.current
        assert isinstance(task, Task)
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()

    async def body(task: Task) -> None:
        await task.spend(500)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(body, "body", cpu=0)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    with pytest.raises(KernelBug, match="^BUG: scheduling while atomic: body/2/0x00000100 on CPU0 at 100 ns$"):
        m.play(1000)
    m.end()


@pytest.mark.covers("S1-64")
def test_whoever_is_interrupted_pays() -> None:
    m = Rig()

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(300)

    async def body(task: Task) -> None:
        await task.spend(500)
        m.note("body ends")
        m.sched.rqs[0].update_curr(m.engine.now)
        m.note(f"charged {task.sum_exec}")

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(body, "body", cpu=0)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.play(1000)
    assert m.log == [(800, "body ends"), (800, "charged 800")]
    m.end()


# --- wake-ups


@pytest.mark.covers("S0-114")
@pytest.mark.parametrize(
    ("where", "waking"),
    [("task", [(100, "body: waking ksoftirqd/0")]), ("hardirq", []), ("softirq", []), ("bh off", [])],
)
def test_a_raise_wakes_ksoftirqd_from_a_plain_task_alone(where: str, waking: list[tuple[int, str]]) -> None:
    m = Rig()

    async def raise_it(cpu: Cpu) -> None:
        await m.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)

    async def body(task: Task) -> None:
        await task.spend(100)
        if where == "task":
            await raise_it(task.preempt_disable())
            await task.preempt_enable()
        elif where == "bh off":
            await raise_it(await m.softirq.local_bh_disable(task))
            await m.softirq.local_bh_enable(task)
        await task.spend(1000)

    m.start(body, "body", cpu=0)
    if where == "hardirq":
        m.irq(100, raise_it)
    elif where == "softirq":
        m.softirq_does(BLOCK_SOFTIRQ, raise_it)
        m.irq_raises(100, BLOCK_SOFTIRQ)
    m.play(5000)
    assert m.story("sched_waking") == waking
    assert m.softirqs()[-1] == ((1100, "ksoftirqd/0: NET_RX") if where == "task" else (100, "body: NET_RX"))
    m.end()


@pytest.mark.covers("S0-122")
def test_repeated_raises_wake_once() -> None:
    m = Rig()

    async def body(task: Task) -> None:
        await task.spend(100)
        cpu = task.preempt_disable()
        for nr in (NET_RX_SOFTIRQ, NET_RX_SOFTIRQ, HI_SOFTIRQ):
            await m.softirq.raise_softirq(cpu, nr)
            await cpu.spend(10)
        await task.preempt_enable()

    m.start(body, "body", cpu=0)
    m.play(1000)
    assert m.story("sched_waking", "softirq_entry") == [
        (100, "body: waking ksoftirqd/0"),
        (130, "ksoftirqd/0: HI"),
        (130, "ksoftirqd/0: NET_RX"),
    ]
    assert m.softirq.wake_ksoftirqd_count == [1]
    m.end()


def test_the_end_of_a_section_reschedules() -> None:
    m = Rig(kernel=FULL)
    fifo = m.start(sleeper, "fifo", cpu=0, policy=SCHED_FIFO, rt_priority=50)

    async def net_rx(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, fifo)
        await cpu.spend(50)

    async def body(task: Task) -> None:
        cpu = await m.softirq.local_bh_disable(task)
        await cpu.spend(100)
        await m.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)
        await m.softirq.local_bh_enable(task)
        await task.spend(100)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(body, "body", cpu=0)
    m.play(1000)
    assert m.story("softirq_entry", "softirq_exit", "sched_switch")[:3] == [
        (100, "body: NET_RX"),
        (150, "body: NET_RX ends"),
        (150, "body: body(R+) > fifo"),
    ]
    m.end()


# --- PREEMPT_RT: two words, one lock, nothing left behind


@pytest.mark.parametrize(("kernel", "waking"), [(RT, 130), (RT_61, 100)], ids=["6.12", "6.1"])
def test_the_tick_raises_into_a_word_of_its_own(kernel: KernelConfig, waking: int) -> None:
    m = Rig(kernel=kernel, sysvec_exit_ns=30)
    timer_raises(m, 100, TIMER_SOFTIRQ, HRTIMER_SOFTIRQ)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.at(110, lambda: m.note(f"{m.softirq.pending[0]:#x} {m.softirq.pending_timers[0]:#x}"))
    m.play(1000)
    assert m.log == [(110, "0x0 0x102")]
    # ktimers is real time: it goes first, and takes along what is in the ordinary word by then.
    assert m.story("sched_waking", "softirq_entry") == [
        (waking, "idle: waking ktimers/0"),
        (130, "idle: waking ksoftirqd/0"),
        (130, "ktimers/0: TIMER"),
        (130, "ktimers/0: NET_RX"),
        (130, "ktimers/0: HRTIMER"),
    ]
    m.end()


@pytest.mark.softirq_rule("plain timers")
def test_the_same_vectors_raised_by_others_are_ksoftirqds() -> None:
    m = Rig(kernel=RT)
    m.irq_raises(100, TIMER_SOFTIRQ, HRTIMER_SOFTIRQ)
    m.play(1000)
    assert m.softirqs() == [(100, "ksoftirqd/0: TIMER"), (100, "ksoftirqd/0: HRTIMER")]
    m.end()


@pytest.mark.parametrize(
    ("kernel", "who"),
    [(STOCK, "idle"), (preset("linux-6.12", threadirqs=True), "ksoftirqd/0"), (FORCED_71, "ktimers/0"), (RT, "ktimers/0")],
    ids=["stock", "6.12 threadirqs", "7.1 threadirqs", "rt"],
)
def test_who_runs_the_timers_of_the_tick(kernel: KernelConfig, who: str) -> None:
    m = Rig(kernel=kernel)
    timer_raises(m, 100, TIMER_SOFTIRQ)
    m.play(1000)
    assert m.softirqs() == [(100, f"{who}: TIMER")]
    m.end()


def test_ktimers_is_woken_at_an_exit_over_a_bh_disabled_section() -> None:
    m = Rig(kernel=RT)

    async def section(task: Task) -> None:
        await m.softirq.local_bh_disable(task)
        await task.spend(200)
        await m.softirq.local_bh_enable(task)

    m.start(section, "section", cpu=0)
    timer_raises(m, 100, TIMER_SOFTIRQ)
    m.play(1000)
    assert m.story("sched_waking", "sched_pi_setprio", "softirq_entry") == [
        (100, "section: waking ktimers/0"),
        (100, "ktimers/0: setprio section 120 > 98"),
        (200, "section: setprio section 98 > 120"),
        (200, "section: waking ktimers/0"),
        (200, "ktimers/0: TIMER"),
    ]
    m.end()


def test_before_ktimers_exists_the_word_waits_for_it() -> None:
    m = Rig(kernel=RT, daemons=False)
    timer_raises(m, 100, TIMER_SOFTIRQ)
    m.play(200)
    assert (m.softirq.pending, m.softirq.pending_timers) == ([0], [2])
    m.at(300, lambda: m.threads.spawn(m.cpus[0]))
    m.irq_raises(400)
    m.play(1000)
    assert m.softirqs() == [(400, "ktimers/0: TIMER")]
    m.end()


@pytest.mark.parametrize("late", [50, 100, 110, 120, 122, 125, 130, 135])
def test_what_is_raised_while_a_section_ends_is_never_left_behind(late: int) -> None:
    """The section ends at 100, its softirqs at 120 to 125; then it hands the lock to an urgent task for 10 ns, interrupts being off."""
    m = Rig(kernel=RT, softirq_exit_ns=5, lock_handover_ns=10)

    async def section(task: Task) -> None:
        await m.softirq.local_bh_disable(task)
        await task.spend(100)
        await m.softirq.local_bh_enable(task)

    async def urgent(task: Task) -> None:
        await sleeper(task)
        await m.softirq.local_bh_disable(task)
        await m.softirq.local_bh_enable(task)

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(20)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    fifo = m.start(urgent, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50)
    m.start(section, "section", cpu=0)

    async def wake(cpu: Cpu) -> None:
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        await m.sched.wake_up_process(cpu, fifo)

    m.irq(10, wake)
    m.irq_raises(late, BLOCK_SOFTIRQ)
    m.play(10_000)
    assert m.softirq.pending == [0]
    assert m.softirq.counts[0][BLOCK_SOFTIRQ] == 1
    assert m.softirqs()[1] == ((120, "section: BLOCK") if late <= 120 else (135, "urgent: BLOCK"))
    m.end()


def test_a_raise_by_a_task_over_anothers_section_is_left_to_that_section() -> None:
    m = Rig(kernel=RT)

    async def section(task: Task) -> None:
        await m.softirq.local_bh_disable(task)
        await task.spend(100)
        await m.softirq.local_bh_enable(task)

    async def urgent(task: Task) -> None:
        await sleeper(task)
        cpu = task.preempt_disable()
        await m.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)
        await task.preempt_enable()

    fifo = m.start(urgent, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50)
    m.start(section, "section", cpu=0)

    async def wake(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, fifo)

    m.irq(50, wake)
    m.play(1000)
    assert m.story("sched_waking", "softirq_raise", "softirq_entry") == [
        (50, "section: waking urgent"),
        (50, "urgent: raise NET_RX"),
        (100, "section: NET_RX"),
    ]
    m.end()


@pytest.mark.parametrize("late", [110, 120, 122, 125, 130])
def test_nor_without_anybody_who_waits_for_the_lock(late: int) -> None:
    m = Rig(kernel=RT, softirq_exit_ns=5)

    async def section(task: Task) -> None:
        await m.softirq.local_bh_disable(task)
        await task.spend(100)
        await m.softirq.local_bh_enable(task)

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(20)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(section, "section", cpu=0)
    m.irq_raises(10, NET_RX_SOFTIRQ)
    m.irq_raises(late, BLOCK_SOFTIRQ)
    m.play(10_000)
    # What comes in the last 5 ns, when the section has looked for the last time, finds nobody to leave it to.
    assert m.softirqs()[1:] == [(120, "section: BLOCK") if late <= 120 else (max(late, 125), "ksoftirqd/0: BLOCK")]
    m.end()


@pytest.mark.parametrize("bh_lock", [True, False])
def test_an_exit_over_a_task_that_preempted_a_section_wakes_nobody(bh_lock: bool) -> None:
    m = Rig(kernel=preset("linux-6.12", rt=True, bh_lock=bh_lock))

    async def section(task: Task) -> None:
        await m.softirq.local_bh_disable(task)
        await task.spend(100)
        await m.softirq.local_bh_enable(task)

    async def run_urgent(task: Task) -> None:
        await sleeper(task)
        await task.spend(30)

    fifo = m.start(run_urgent, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50)
    m.start(section, "section", cpu=0)

    async def wake(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, fifo)

    m.irq(50, wake)
    m.irq_raises(60, NET_RX_SOFTIRQ)
    m.play(1000)
    assert m.story("sched_waking", "softirq_entry") == [(50, "section: waking urgent"), (130, "section: NET_RX")]
    m.end()


def test_a_section_in_an_atomic_context_takes_no_lock() -> None:
    m = Rig(kernel=RT)

    async def body(task: Task) -> None:
        task.preempt_disable()
        cpu = await m.softirq.local_bh_disable(task)
        m.note(f"{cpu.preempt_count:#x} {m.softirq._bh_locks[0].owner}")
        await cpu.spend(10)
        await m.softirq.local_bh_enable(task)
        await task.preempt_enable()
        m.note(f"{cpu.preempt_count:#x} {task.migrate_depth}")

    m.start(body, "body", cpu=0)
    m.play(1000)
    assert m.log == [(0, "0x201 None"), (10, "0x0 0")]
    m.end()


def test_a_real_time_softirq_is_preempted() -> None:
    m = Rig(kernel=RT)

    async def run_urgent(task: Task) -> None:
        await sleeper(task)
        m.note("urgent")
        await task.spend(30)

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(100)
        m.note(f"{comm_of(cpu)} done {cpu.preempt_count:#x}")

    fifo = m.start(run_urgent, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50)
    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.irq_raises(100, NET_RX_SOFTIRQ)

    async def wake(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, fifo)

    m.irq(150, wake)
    m.play(1000)
    assert m.log == [(150, "urgent"), (230, "ksoftirqd/0 done 0x100")]
    m.end()
