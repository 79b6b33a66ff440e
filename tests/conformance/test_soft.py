"""Show the softirq cases of the catalogue: order, passes and their limits, where softirqs run, PREEMPT_RT."""

from __future__ import annotations

import pytest

from asyncirq.bottom_half.softirq import (
    BLOCK_SOFTIRQ,
    HI_SOFTIRQ,
    NET_RX_SOFTIRQ,
    NET_TX_SOFTIRQ,
    RCU_SOFTIRQ,
    TASKLET_SOFTIRQ,
    TIMER_SOFTIRQ,
)
from asyncirq.config import KernelConfig, preset
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import in_serving_softirq, in_softirq
from asyncirq.sched.task import SCHED_FIFO, TASK_INTERRUPTIBLE, Task
from tests.softirq_rig import FORCED, FULL, MS, NONE, RT, STOCK, Line, Rig, comm_of

KERNEL_26 = preset("linux-2.6")


def self_raising(m: Rig, nr: int, cost: int = 0) -> None:
    """Make a vector raise itself each time it runs."""

    async def action(cpu: Cpu) -> None:
        if cost:
            await cpu.spend(cost)
        m.softirq.raise_softirq_nowake(cpu, nr)

    m.softirq_does(nr, action)


def count_by(lines: list[Line]) -> dict[str, int]:
    """Count lines by their text."""
    counts: dict[str, int] = {}
    for _, text in lines:
        counts[text] = counts.get(text, 0) + 1
    return counts


@pytest.mark.covers("S0-112")
@pytest.mark.parametrize("vecs", [(9, 3, 0), tuple(range(9, -1, -1))])
def test_SOFT_01_order(vecs: tuple[int, ...]) -> None:
    m = Rig(softirq_next_ns=10)
    m.irq_raises(100, *vecs)
    m.play(1000)
    names = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")
    assert m.softirqs() == [(100 + 10 * turn, f"idle: {names[nr]}") for turn, nr in enumerate(sorted(vecs))]
    m.end()


@pytest.mark.covers("S0-107")
def test_SOFT_02_snapshot_per_pass() -> None:
    m = Rig()
    first = True

    async def net_rx(cpu: Cpu) -> None:
        nonlocal first
        await cpu.spend(10)
        if first:
            first = False
            for nr in (HI_SOFTIRQ, TIMER_SOFTIRQ, NET_RX_SOFTIRQ, TASKLET_SOFTIRQ):
                m.softirq.raise_softirq_nowake(cpu, nr)

    async def tasklet(cpu: Cpu) -> None:
        await cpu.spend(5)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.softirq_does(TASKLET_SOFTIRQ, tasklet)
    m.irq_raises(100, NET_RX_SOFTIRQ, BLOCK_SOFTIRQ, TASKLET_SOFTIRQ)
    m.play(1000)
    # The rest of the snapshot runs before HI, and TASKLET twice: once for each time it was raised.
    assert m.softirqs() == [
        (100, "idle: NET_RX"),
        (110, "idle: BLOCK"),
        (110, "idle: TASKLET"),
        (115, "idle: HI"),
        (115, "idle: TIMER"),
        (115, "idle: NET_RX"),
        (125, "idle: TASKLET"),
    ]
    m.end()


def test_SOFT_02_an_interrupt_before_the_first_vector_raises_into_the_next_pass() -> None:
    m = Rig(softirq_entry_ns=50)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    # Interrupts are off from 100 to 150; the window opens between the snapshot and the first softirq_entry.
    m.irq_raises(120, HI_SOFTIRQ)
    m.play(1000)
    assert m.story("softirq_raise", "softirq_entry") == [
        (100, "idle: raise NET_RX"),
        (150, "idle: raise HI"),
        (150, "idle: NET_RX"),
        (150, "idle: HI"),
    ]
    m.end()


@pytest.mark.covers("S0-103")
def test_SOFT_03_ten_passes() -> None:
    m = Rig(ksoftirqd_ns=1)
    self_raising(m, NET_RX_SOFTIRQ)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.play(100)
    assert m.softirqs() == [(100, "idle: NET_RX")] * 10
    assert (m.softirq.counts[0][NET_RX_SOFTIRQ], m.softirq.wake_ksoftirqd_count, m.softirq.pending) == (10, [1], [1 << NET_RX_SOFTIRQ])
    assert m.story("sched_waking", "sched_switch") == [
        (100, "idle: waking ksoftirqd/0"),
        (100, "idle: swapper/0(R) > ksoftirqd/0"),
    ]
    m.play(101)
    assert m.softirqs()[10:] == [(101, "ksoftirqd/0: NET_RX")] * 10
    m.end()


@pytest.mark.parametrize(
    ("hz", "passes"),
    # Entered on a tick, the limit is 2 ms, 4 ms, and 10 ms, of which ten passes of 0.9 ms leave the rest.
    [(1000, 3), (250, 5), (100, 10)],
)
def test_SOFT_04_two_milliseconds(hz: int, passes: int) -> None:
    m = Rig(kernel=preset("linux-6.12", hz=hz))
    self_raising(m, NET_RX_SOFTIRQ, 900_000)
    m.irq_raises(20 * MS, NET_RX_SOFTIRQ)
    m.play(20 * MS + 900_000 * passes)
    assert m.softirqs() == [
        *((20 * MS + 900_000 * n, "idle: NET_RX") for n in range(passes)),
        (20 * MS + 900_000 * passes, "ksoftirqd/0: NET_RX"),
    ]
    m.end()


def test_SOFT_04_the_limit_is_a_jiffy_boundary_not_a_duration() -> None:
    m = Rig(kernel=preset("linux-6.12", hz=250))
    self_raising(m, NET_RX_SOFTIRQ, 900_000)
    m.irq_raises(24 * MS - 1, NET_RX_SOFTIRQ)
    m.play(24 * MS + 899_999)
    assert m.softirqs() == [(24 * MS - 1, "idle: NET_RX"), (24 * MS + 899_999, "ksoftirqd/0: NET_RX")]
    m.end()


@pytest.mark.covers("S2-73", "S0-103")
def test_SOFT_04_no_limit_in_time_in_2_6() -> None:
    m = Rig(kernel=KERNEL_26)
    self_raising(m, NET_RX_SOFTIRQ, 3 * MS)
    fifo = m.start(sleeper, "fifo", cpu=0, policy=SCHED_FIFO, rt_priority=50)

    async def wake(cpu: Cpu) -> None:
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        await m.sched.wake_up_process(cpu, fifo)

    m.irq(100, wake)
    m.play(100 + 30 * MS)
    # Neither 30 ms nor a task that wants the CPU end the rounds before the tenth.
    assert m.softirqs() == [(100 + 3 * MS * n, "idle: NET_RX") for n in range(10)] + [(100 + 30 * MS, "ksoftirqd/0: NET_RX")]
    assert m.story("sched_switch")[0] == (100 + 30 * MS, "idle: swapper/0(R) > fifo")
    m.end()


async def sleeper(task: Task) -> None:
    """Sleep until woken, again and again."""
    while True:
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()


@pytest.mark.covers("S0-103")
def test_SOFT_06_the_first_pass_always_runs() -> None:
    m = Rig()
    self_raising(m, NET_RX_SOFTIRQ, 10)
    fifo = m.start(sleeper, "fifo", cpu=0, policy=SCHED_FIFO, rt_priority=50)

    async def body(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, fifo)
        assert cpu.need_resched
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        m.softirq.raise_softirq_nowake(cpu, BLOCK_SOFTIRQ)

    m.irq(100, body)
    m.play(110)
    assert m.story("softirq_entry", "sched_waking", "sched_switch")[:6] == [
        (100, "idle: waking fifo"),
        (100, "idle: NET_RX"),
        (110, "idle: BLOCK"),
        (110, "idle: waking ksoftirqd/0"),
        (110, "idle: swapper/0(R) > fifo"),
        (110, "fifo: fifo(S) > ksoftirqd/0"),
    ]
    m.end()


@pytest.mark.covers("SOFT-07", "S0-108")
def test_S0_64_softirqs_at_the_outermost_exit_only() -> None:
    m = Rig()

    async def outer(cpu: Cpu) -> None:
        await cpu.irq_enable()
        await cpu.spend(100)
        m.note(f"outer {cpu.preempt_count:#x} {m.softirq.pending[0]:#x}")
        cpu.irq_disable()

    m.irq(100, outer)
    m.irq_raises(150, NET_RX_SOFTIRQ)
    m.play(1000)
    assert m.log == [(200, "outer 0x10001 0x8")]
    assert m.story("vector_entry", "vector_exit", "softirq_entry") == [
        (100, "idle: vector 0x31"),
        (150, "idle: vector 0x32"),
        (150, "idle: vector 0x32 ends"),
        (200, "idle: vector 0x31 ends"),
        (200, "idle: NET_RX"),
    ]
    m.end()


@pytest.mark.covers("S1-63")
def test_SOFT_07_not_over_a_bh_disabled_section() -> None:
    m = Rig()

    async def section(task: Task) -> None:
        cpu = await m.softirq.local_bh_disable(task)
        await cpu.spend(100)
        await m.softirq.local_bh_enable(task)

    m.start(section, "section", cpu=0)
    m.irq_raises(50, NET_RX_SOFTIRQ)
    m.irq_raises(300, BLOCK_SOFTIRQ)
    self_raising(m, TASKLET_SOFTIRQ, 1)
    m.irq_raises(400, TASKLET_SOFTIRQ)
    m.play(411)
    # One source after the other: the end of a BH-disabled section, the exit of an interrupt, ksoftirqd.
    assert m.softirqs() == [
        (100, "section: NET_RX"),
        (300, "idle: BLOCK"),
        *((400 + n, "idle: TASKLET") for n in range(10)),
        (410, "ksoftirqd/0: TASKLET"),
        (411, "ksoftirqd/0: TASKLET"),
    ]
    m.end()


@pytest.mark.covers("S0-108")
def test_SOFT_08_hardirq_during_a_softirq() -> None:
    m = Rig()

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(100)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.irq_raises(150, NET_RX_SOFTIRQ, HI_SOFTIRQ)
    m.play(1000)
    assert m.story("softirq_raise", "softirq_entry", "softirq_exit") == [
        (100, "idle: raise NET_RX"),
        (100, "idle: NET_RX"),
        (150, "idle: raise NET_RX"),
        (150, "idle: raise HI"),
        (200, "idle: NET_RX ends"),
        (200, "idle: HI"),
        (200, "idle: HI ends"),
        (200, "idle: NET_RX"),
        (300, "idle: NET_RX ends"),
    ]
    m.end()


@pytest.mark.covers("S0-114", "S0-119")
def test_SOFT_10_raise_from_plain_task_context() -> None:
    m = Rig()

    async def body(task: Task) -> None:
        await task.spend(100)
        cpu = task.preempt_disable()
        await m.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)
        m.note(f"pending {m.softirq.pending[0]:#x}")
        await task.preempt_enable()
        await task.spend(100)

    m.start(body, "body", cpu=0)
    m.play(1000)
    assert m.log == [(100, "pending 0x8")]
    assert m.story("sched_waking", "softirq_entry") == [(100, "body: waking ksoftirqd/0"), (200, "ksoftirqd/0: NET_RX")]
    m.end()


@pytest.mark.parametrize("earlier", ["irq_exit", "local_bh_enable"])
def test_SOFT_10_it_runs_earlier_at_the_next_exit_or_enable(earlier: str) -> None:
    m = Rig()

    async def body(task: Task) -> None:
        await task.spend(100)
        cpu = task.preempt_disable()
        await m.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)
        await task.preempt_enable()
        await task.spend(50)
        if earlier == "local_bh_enable":
            await m.softirq.local_bh_disable(task)
            await m.softirq.local_bh_enable(task)
        await task.spend(50)

    m.start(body, "body", cpu=0)
    if earlier == "irq_exit":
        m.irq_raises(150)
    m.play(1000)
    assert m.softirqs() == [(150, "body: NET_RX")]
    m.end()


def test_SOFT_10_a_raise_without_a_wake_up_stays_until_the_next_interrupt() -> None:
    m = Rig()

    async def body(task: Task) -> None:
        await task.spend(100)
        cpu = task.preempt_disable()
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        await task.preempt_enable()

    m.start(body, "body", cpu=0)
    m.irq_raises(7000)
    m.play(10_000)
    assert m.story("softirq_raise", "sched_waking", "softirq_entry") == [(100, "body: raise NET_RX"), (7000, "idle: NET_RX")]
    m.end()


def bh_section(m: Rig, how: str) -> None:
    """Start a task that has bottom halves off from 0 to 100 and ends the section in some context; NET_RX is raised at 50."""

    async def body(task: Task) -> None:
        cpu = await m.softirq.local_bh_disable(task)
        await task.spend(100)
        if how == "nested":
            await m.softirq.local_bh_disable(task)
        elif how == "irqs off":
            cpu.irq_disable()
        elif how == "preemption off":
            task.preempt_disable()
        await m.softirq.local_bh_enable(task)
        m.note(f"{cpu.preempt_count:#x} pending {m.softirq.pending[0]:#x}")
        if how == "nested":
            await task.spend(100)
            await m.softirq.local_bh_enable(task)
        elif how == "irqs off":
            await cpu.irq_enable()
        elif how == "preemption off":
            await task.preempt_enable()

    m.start(body, "body", cpu=0)
    m.irq_raises(50, NET_RX_SOFTIRQ)


@pytest.mark.covers("S1-58")
@pytest.mark.parametrize(
    ("kernel", "how", "log", "ran"),
    [
        (STOCK, "plain", "0x0 pending 0x0", (100, "body: NET_RX")),
        (STOCK, "nested", "0x200 pending 0x8", (200, "body: NET_RX")),
        (STOCK, "preemption off", "0x1 pending 0x0", (100, "body: NET_RX")),
        (RT, "plain", "0x0 pending 0x0", (100, "body: NET_RX")),
        (RT, "nested", "0x200 pending 0x8", (200, "body: NET_RX")),
        (RT, "preemption off", "0x1 pending 0x8", (100, "ksoftirqd/0: NET_RX")),
        (RT, "irqs off", "0x0 pending 0x8", (100, "ksoftirqd/0: NET_RX")),
    ],
)
def test_SOFT_11_local_bh_enable(kernel: KernelConfig, how: str, log: str, ran: Line) -> None:
    m = Rig(kernel=kernel)
    bh_section(m, how)
    m.play(1000)
    assert (m.log, m.softirqs()) == ([(100, log)], [ran])
    m.end()


@pytest.mark.covers("S1-58")
def test_SOFT_11_it_warns_with_interrupts_off() -> None:
    m = Rig()
    bh_section(m, "irqs off")
    with pytest.raises(KernelBug, match="^WARNING: local_bh_enable with interrupts off on CPU0 at 100 ns$"):
        m.play(1000)
    m.end()


@pytest.mark.parametrize("kernel", [STOCK, RT], ids=["stock", "rt"])
def test_SOFT_11_it_warns_in_hardirq_context(kernel: KernelConfig) -> None:
    m = Rig(kernel=kernel)

    async def body(cpu: Cpu) -> None:
        cpu.preempt_count += 0x200
        task = cpu.current
        assert isinstance(task, Task)
        await m.softirq.local_bh_enable(task)

    m.irq(100, body)
    with pytest.raises(KernelBug, match="^WARNING: local_bh_enable in hard interrupt context on CPU0 at 100 ns$"):
        m.play(1000)
    m.end()


def test_SOFT_12_nesting() -> None:
    m = Rig()

    async def body(task: Task) -> None:
        cpu = await m.softirq.local_bh_disable(task)
        await m.softirq.local_bh_disable(task)
        await m.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)
        for _ in range(2):
            await cpu.spend(50)
            await m.softirq.local_bh_enable(task)
            m.note(f"{cpu.preempt_count:#x} {m.softirq.pending[0]:#x}")

    m.start(body, "body", cpu=0)
    m.play(1000)
    assert m.log == [(50, "0x200 0x8"), (100, "0x0 0x0")]
    assert m.story("sched_waking", "softirq_entry") == [(100, "body: NET_RX")]
    m.end()


@pytest.mark.covers("S0-117", "S1-62")
@pytest.mark.parametrize(("kernel", "serving"), [(STOCK, "0x301 True True"), (RT, "0x100 True True")], ids=["stock", "rt"])
def test_SOFT_13_counters(kernel: KernelConfig, serving: str) -> None:
    m = Rig(kernel=kernel)

    def look(cpu: Cpu) -> None:
        m.note(f"{cpu.preempt_count:#x} {in_softirq(cpu)} {in_serving_softirq(cpu)}")

    async def net_rx(cpu: Cpu) -> None:
        look(cpu)

    async def body(task: Task) -> None:
        cpu = await m.softirq.local_bh_disable(task)
        look(cpu)
        await m.softirq.local_bh_disable(task)
        look(cpu)
        await m.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)
        await m.softirq.local_bh_enable(task)
        await m.softirq.local_bh_enable(task)
        look(cpu)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(body, "body", cpu=0)
    m.play(1000)
    # While the section's end serves softirqs the stock kernel has preemption off besides; PREEMPT_RT has no such count.
    stock = serving.replace("0x301", "0x101")
    assert [text for _, text in m.log] == ["0x200 True False", "0x400 True False", stock, "0x0 False False"]
    m.end()


@pytest.mark.covers("S0-109")
def test_SOFT_14_leaked_preempt_count() -> None:
    m = Rig()

    async def net_rx(cpu: Cpu) -> None:
        cpu.preempt_count += 1

    async def tasklet(cpu: Cpu) -> None:
        m.note(f"{cpu.preempt_count:#x}")

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.softirq_does(TASKLET_SOFTIRQ, tasklet)
    m.irq_raises(100, NET_RX_SOFTIRQ, TASKLET_SOFTIRQ)
    m.play(1000)
    assert m.story("printk") == [(100, "idle: huh, entered softirq 3 NET_RX with preempt_count 00000101, exited with 00000102?")]
    assert m.log == [(100, "0x101")]
    m.end()


@pytest.mark.covers("S0-66", "S1-66")
def test_SOFT_16_forced_threading_without_rt() -> None:
    m = Rig(kernel=FORCED)

    async def body(task: Task) -> None:
        cpu = await m.softirq.local_bh_disable(task)
        await cpu.spend(100)
        await m.softirq.local_bh_enable(task)

    m.irq_raises(500, NET_RX_SOFTIRQ)
    m.start(body, "body", cpu=0)
    m.irq_raises(50, BLOCK_SOFTIRQ)
    m.play(1000)
    assert m.story("sched_waking", "softirq_entry") == [
        (100, "body: BLOCK"),
        (500, "idle: waking ksoftirqd/0"),
        (500, "ksoftirqd/0: NET_RX"),
    ]
    m.end()


@pytest.mark.covers("S1-66")
def test_SOFT_16_before_ksoftirqd_exists_they_run_inline() -> None:
    m = Rig(kernel=FORCED, daemons=False)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.at(200, lambda: m.threads.spawn(m.cpus[0]))
    m.irq_raises(300, NET_RX_SOFTIRQ)
    m.play(1000)
    assert m.softirqs() == [(100, "idle: NET_RX"), (300, "ksoftirqd/0: NET_RX")]
    m.end()


@pytest.mark.covers("S1-65")
def test_SOFT_17_rt_exit() -> None:
    # Under CFS the thread that is woken takes the CPU from a task that has just begun.
    m = Rig(kernel=preset("linux-6.12", rt=True, fair="cfs"))

    async def body(task: Task) -> None:
        await task.spend(400)
        await m.softirq.local_bh_disable(task)
        await task.spend(100)
        await m.softirq.local_bh_enable(task)

    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.start(body, "body", cpu=0)
    m.irq_raises(450, BLOCK_SOFTIRQ)
    m.play(1000)
    assert m.story("sched_waking", "softirq_entry") == [
        (100, "body: waking ksoftirqd/0"),
        (100, "ksoftirqd/0: NET_RX"),
        (500, "body: BLOCK"),
    ]
    m.end()


@pytest.mark.covers("S1-65")
def test_SOFT_17_an_idle_cpu_wakes_ksoftirqd() -> None:
    m = Rig(kernel=RT)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.play(1000)
    assert m.story("vector_exit", "sched_waking", "sched_switch", "softirq_entry")[:4] == [
        (100, "idle: vector 0x31 ends"),
        (100, "idle: waking ksoftirqd/0"),
        (100, "idle: swapper/0(R) > ksoftirqd/0"),
        (100, "ksoftirqd/0: NET_RX"),
    ]
    m.end()


def test_SOFT_17_before_ksoftirqd_exists_the_bits_wait() -> None:
    m = Rig(kernel=RT, daemons=False)
    m.irq_raises(100, NET_RX_SOFTIRQ)
    m.play(200)
    assert (m.softirqs(), m.softirq.pending) == ([], [8])
    m.threads.spawn(m.cpus[0])
    m.irq_raises(300)
    m.play(1000)
    assert m.softirqs() == [(300, "ksoftirqd/0: NET_RX")]
    m.end()


class Preempting:
    """On PREEMPT_RT a task has bottom halves off from 0 to 100; at 50 an urgent one preempts it and does something."""

    def __init__(self, *, bh_lock: bool = True, wants_bh: bool = True) -> None:
        self.m = m = Rig(kernel=preset("linux-6.12", rt=True, bh_lock=bh_lock))
        self.wants_bh = wants_bh
        self.urgent = m.start(self.run_urgent, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50)
        m.start(self.section, "section", cpu=0)
        m.irq(50, self.wake)

    async def wake(self, cpu: Cpu) -> None:
        await self.m.sched.wake_up_process(cpu, self.urgent)

    async def section(self, task: Task) -> None:
        await self.m.softirq.local_bh_disable(task)
        await task.spend(100)
        self.m.note("section ends")
        await self.m.softirq.local_bh_enable(task)

    async def run_urgent(self, task: Task) -> None:
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()
        if self.wants_bh:
            cpu = await self.m.softirq.local_bh_disable(task)
            self.m.note(f"urgent has bottom halves off, {cpu.preempt_count:#x}")
        await task.spend(30)
        if self.wants_bh:
            await self.m.softirq.local_bh_enable(task)
        self.m.note("urgent ends")


@pytest.mark.covers("S1-60", "S1-61")
def test_SOFT_18_rt_bh_disabled_section_is_preemptible() -> None:
    scene = Preempting(wants_bh=False)
    scene.m.play(1000)
    assert scene.m.log == [(80, "urgent ends"), (130, "section ends")]
    scene.m.end()


@pytest.mark.covers("S1-61")
def test_SOFT_18_the_bh_lock_lends_its_owner_the_priority_of_who_waits() -> None:
    scene = Preempting()
    scene.m.play(1000)
    assert scene.m.log == [(100, "section ends"), (100, "urgent has bottom halves off, 0x200"), (130, "urgent ends")]
    assert scene.m.story("sched_pi_setprio", "sched_switch") == [
        (50, "section: section(R+) > urgent"),
        (50, "urgent: setprio section 120 > 49"),
        (50, "urgent: urgent(D) > section"),
        (100, "section: setprio section 49 > 120"),
        (100, "section: section(R+) > urgent"),
        (130, "urgent: urgent(X) > section"),
        (130, "section: section(X) > swapper/0"),
    ]
    scene.m.end()


def test_SOFT_18_without_the_lock_both_sections_overlap() -> None:
    scene = Preempting(bh_lock=False)
    scene.m.play(1000)
    assert scene.m.log == [(50, "urgent has bottom halves off, 0x200"), (80, "urgent ends"), (130, "section ends")]
    scene.m.end()


def test_SOFT_18_an_atomic_section_cannot_wait_for_the_lock() -> None:
    m = Rig(kernel=RT)

    async def section(task: Task) -> None:
        await m.softirq.local_bh_disable(task)
        await task.spend(100)

    async def urgent(task: Task) -> None:
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()
        task.preempt_disable()
        await m.softirq.local_bh_disable(task)

    fifo = m.start(urgent, "urgent", cpu=0, policy=SCHED_FIFO, rt_priority=50)
    m.start(section, "section", cpu=0)

    async def wake(cpu: Cpu) -> None:
        await m.sched.wake_up_process(cpu, fifo)

    m.irq(50, wake)
    with pytest.raises(
        KernelBug, match="^WARNING: local_bh_disable of urgent/3 in atomic context inside a section of another task on CPU0 at 50 ns$"
    ):
        m.play(1000)
    m.end()


def test_SOFT_07_nothing_in_an_nmi() -> None:
    m = Rig()

    async def nmi(cpu: Cpu) -> None:
        m.softirq.raise_softirq_nowake(cpu, NET_TX_SOFTIRQ)
        m.softirq.raise_softirq_nowake(cpu, RCU_SOFTIRQ)
        m.note(comm_of(cpu))

    m.entry.nmi = nmi
    m.nmi_at(100)
    m.irq_raises(200)
    m.play(1000)
    assert m.log == [(100, "swapper/0")]
    assert m.softirqs() == [(200, "idle: NET_TX"), (200, "idle: RCU")]
    m.end()


@pytest.mark.covers("S1-59")
@pytest.mark.parametrize(
    ("kernel", "first", "second"),
    [(FULL, "body: NET_RX", "fifo"), (RT, "fifo", "ksoftirqd/0: NET_RX")],
    ids=["stock", "rt"],
)
def test_SOFT_17_bottom_half_against_a_real_time_task(kernel: KernelConfig, first: str, second: str) -> None:
    m = Rig(kernel=kernel)

    async def net_rx(cpu: Cpu) -> None:
        m.note(f"{comm_of(cpu)}: NET_RX")
        await cpu.spend(100)

    async def run_fifo(task: Task) -> None:
        task.set_current_state(TASK_INTERRUPTIBLE)
        await task.schedule()
        m.note("fifo")
        await task.spend(30)

    async def body(task: Task) -> None:
        await task.spend(1000)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    fifo = m.start(run_fifo, "fifo", cpu=0, policy=SCHED_FIFO, rt_priority=50)
    m.start(body, "body", cpu=0)

    async def raise_and_wake(cpu: Cpu) -> None:
        m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        await m.sched.wake_up_process(cpu, fifo)

    m.irq(50, raise_and_wake)
    m.play(5000)
    assert [text for _, text in m.log] == [first, second]
    assert m.log[0][0] == 50
    m.end()


def test_SOFT_03_counts_by_server() -> None:
    m = Rig(kernel=NONE, ksoftirqd_ns=1)
    left = 25

    async def tasklet(cpu: Cpu) -> None:
        nonlocal left
        if left:
            left -= 1
            m.softirq.raise_softirq_nowake(cpu, TASKLET_SOFTIRQ)

    m.softirq_does(TASKLET_SOFTIRQ, tasklet)
    m.irq_raises(100, TASKLET_SOFTIRQ)
    m.play(1000)
    # As measured on Linux 6.1 and 6.12 with a tasklet that schedules itself 25 times.
    assert count_by(m.softirqs()) == {"idle: TASKLET": 10, "ksoftirqd/0: TASKLET": 16}
    m.end()


def test_SOFT_03_counts_by_server_with_threadirqs() -> None:
    for kernel in (FORCED, RT):
        m = Rig(kernel=kernel, ksoftirqd_ns=1)
        left = 25

        async def tasklet(cpu: Cpu, m: Rig = m) -> None:
            nonlocal left
            if left:
                left -= 1
                m.softirq.raise_softirq_nowake(cpu, TASKLET_SOFTIRQ)

        m.softirq_does(TASKLET_SOFTIRQ, tasklet)
        m.irq_raises(100, TASKLET_SOFTIRQ)
        m.play(1000)
        assert count_by(m.softirqs()) == {"ksoftirqd/0: TASKLET": 26}
        m.end()
