"""Show the rows of inventory group O that no other file shows: the softirq table and loop of 2.6, stages, layout, accounting, RCU marks."""

from __future__ import annotations

import pytest

from asyncirq.bottom_half.rcu import Rcu
from asyncirq.bottom_half.softirq import BLOCK_SOFTIRQ, HI_SOFTIRQ, NET_RX_SOFTIRQ, SCSI_SOFTIRQ, TASKLET_SOFTIRQ
from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.config import KernelConfig, preset
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq import proc
from asyncirq.sched.preempt import LAYOUT_26, LAYOUT_MODERN
from asyncirq.sched.task import Task
from tests.bottom_half.harness import Bench
from tests.softirq_rig import MS, NONE, STOCK, Rig, comm_of

KERNEL_26 = preset("linux-2.6")


def test_S2_70_the_table_of_2_6_has_32_slots_with_data() -> None:
    m = Rig(kernel=KERNEL_26)
    found: list[object] = []

    async def scsi(cpu: Cpu) -> None:
        found.append(m.softirq.data[SCSI_SOFTIRQ])

    async def last(cpu: Cpu) -> None:
        found.append(m.softirq.data[31])

    m.softirq.open_softirq(SCSI_SOFTIRQ, scsi, "host0")
    m.softirq.open_softirq(31, last)
    with pytest.raises(UsageError, match=r"^softirq 32 is not in 0\.\.31$"):
        m.softirq.open_softirq(32, last)
    m.irq_raises(100, 31, SCSI_SOFTIRQ)
    m.play(1000)
    assert found == ["host0", None]
    assert [(record.ts, record.vec) for record in m.records() if type(record).__name__ == "SoftirqEntry"] == [(100, 4), (100, 31)]  # type: ignore[attr-defined]
    assert [m.softirq.counts[0][nr] for nr in (4, 31)] == [1, 1]
    assert m.softirq.actions()[4] == (4, "test_S2_70_the_table_of_2_6_has_32_slots_with_data.<locals>.scsi")
    m.end()
    modern = Rig()
    with pytest.raises(UsageError, match=r"^softirq 4: the actions of linux-6\.12 have no data pointer$"):
        modern.softirq.open_softirq(SCSI_SOFTIRQ, scsi, "host0")
    modern.end()


def test_S0_123_the_four_stages() -> None:
    m = Bench(softirq_entry_ns=7, tasklet_ns=2)
    stages: list[tuple[int, str, int]] = [(0, f"registered {dict(m.softirq.actions())[TASKLET_SOFTIRQ]}", m.softirq.pending[0])]

    async def function(cpu: Cpu, tasklet: Tasklet) -> None:
        stages.append((m.engine.now, f"runs {tasklet.name}", m.softirq.pending[0]))
        await cpu.spend(10)

    first, second = Tasklet(function, "first"), Tasklet(function, "second")

    async def raise_it(cpu: Cpu) -> None:
        await m.tasklets.tasklet_schedule(cpu, first)
        await m.tasklets.tasklet_schedule(cpu, second)
        stages.append((m.engine.now, "raised", m.softirq.pending[0]))

    m.irq_at(100, raise_it)
    m.play(1000)
    bit = 1 << TASKLET_SOFTIRQ
    # One round runs all functions of the type.
    assert stages == [(0, "registered Tasklets._tasklet_action", 0), (100, "raised", bit), (109, "runs first", 0), (121, "runs second", 0)]
    assert m.events("softirq_raise", "softirq_entry", "softirq_exit") == [
        (100, "softirq_raise", 6),
        (100, "softirq_raise", 6),
        (107, "softirq_entry", 6),
        (131, "softirq_exit", 6),
    ]


class Counted:
    """A preempt count to lay out."""

    def __init__(self, preempt_count: int) -> None:
        self.preempt_count = preempt_count


def test_S0_120_layouts_of_the_preempt_counter() -> None:
    # One NMI in three hard interrupts in a served softirq under two BH disables and five preemption disables.
    count = 0x0013_0505
    assert LAYOUT_MODERN.word(Counted(count), need_resched=True) == 0x8013_0505
    assert LAYOUT_26.word(Counted(count & 0x000F_FFFF), active=True) == 0x1003_0505
    # Twelve bits hold 0 to 4095; 2.6 counts no NMI, and has no bit for need_resched.
    assert [(1 << width) - 1 for width in LAYOUT_26[:4]] == [255, 255, 4095, 0]
    assert [(1 << width) - 1 for width in LAYOUT_MODERN[:4]] == [255, 255, 15, 15]
    with pytest.raises(UsageError, match=r"^a nmi depth of 1 does not fit into 0 bits$"):
        LAYOUT_26.word(Counted(count))
    with pytest.raises(UsageError, match=r"^this layout has no need_resched bit$"):
        LAYOUT_26.word(Counted(0), need_resched=True)
    with pytest.raises(UsageError, match=r"^this layout has no active bit$"):
        LAYOUT_MODERN.word(Counted(0), active=True)


def test_S0_120_256_nested_preempt_disables_overflow() -> None:
    m = Rig()
    deepest = 0

    async def body(task: Task) -> None:
        nonlocal deepest
        for _ in range(256):
            deepest = task.preempt_disable().preempt_count

    m.start(body, "deep", cpu=0)
    with pytest.raises(KernelBug, match=r"^BUG: preempt_count overflow: deep/2 on CPU0 at 0 ns$"):
        m.play(1000)
    assert deepest == 255


def starved(limit: int) -> tuple[int, int]:
    """Return how long a self-raising vector of 10 us holds up a task of 100 us, and how long 25 rounds of it take in all."""
    m = Rig(kernel=preset("linux-2.6", softirq_max_restart=limit, ksoftirqd_nice=0))
    left = 25
    done = 0

    async def net_rx(cpu: Cpu) -> None:
        nonlocal left, done
        await cpu.spend(10_000)
        left -= 1
        if left:
            m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        else:
            done = m.engine.now

    finished = 0

    async def hog(task: Task) -> None:
        nonlocal finished
        await task.spend(100_000)
        finished = m.engine.now

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.start(hog, "hog", cpu=0)
    m.irq_raises(50_000, NET_RX_SOFTIRQ)
    m.play(10 * MS)
    m.end()
    return finished - 100_000, done - 50_000


def test_S2_74_why_ten() -> None:
    # The task waits for so many rounds at the exit; the softirq waits for the rest of the task (50 us) unless the exit does it all.
    assert {limit: starved(limit) for limit in (1, 5, 10, 20, 25)} == {
        1: (10_000, 300_000),
        5: (50_000, 300_000),
        10: (100_000, 300_000),
        20: (200_000, 300_000),
        25: (250_000, 250_000),
    }


def test_S0_106_accounting_brackets() -> None:
    m = Rig(softirq_entry_ns=10, softirq_next_ns=3, softirq_exit_ns=5)

    async def net_rx(cpu: Cpu) -> None:
        await cpu.spend(100)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.irq_raises(1000, NET_RX_SOFTIRQ, BLOCK_SOFTIRQ)
    m.irq_raises(5000, NET_RX_SOFTIRQ)
    m.play(10_000)
    entries = [0] * 10
    for record in m.records():
        if type(record).__name__ == "SoftirqEntry":
            entries[record.vec] += 1  # type: ignore[attr-defined]
    assert entries == m.softirq.counts[0] == [0, 0, 0, 2, 1, 0, 0, 0, 0, 0]
    text = proc.softirqs(m.softirq.counts).splitlines()
    assert text[4].split() == ["NET_RX:", "2"]
    assert text[5].split() == ["BLOCK:", "1"]
    # From the first lead to the end of the last bracket: 10 + 100 + 3 + 5, and 10 + 100 + 5.
    assert m.softirq.time_ns == [118 + 115]
    m.end()


@pytest.mark.parametrize(("kernel", "marks"), [(KERNEL_26, 4), (STOCK, 0)], ids=["2.6", "modern"])
def test_S2_75_rcu_marks_at_an_exit(kernel: KernelConfig, marks: int) -> None:
    assert rcu_marks(kernel, thread=False) == marks


@pytest.mark.parametrize(("kernel", "marks"), [(KERNEL_26, 4), (STOCK, 2)], ids=["2.6", "modern"])
def test_S2_75_rcu_marks_in_ksoftirqd(kernel: KernelConfig, marks: int) -> None:
    assert rcu_marks(kernel, thread=True) == marks


def rcu_marks(kernel: KernelConfig, thread: bool) -> int:
    """Return how many quiescent states RCU hears of in two passes of two vectors each."""
    m = Rig(kernel=kernel)
    heard = 0
    again = True

    def rcu_qs(cpu: Cpu) -> None:
        nonlocal heard
        heard += 1

    async def net_rx(cpu: Cpu) -> None:
        nonlocal again
        if again:
            again = False
            m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
            m.softirq.raise_softirq_nowake(cpu, BLOCK_SOFTIRQ)

    m.softirq.rcu_qs = rcu_qs
    m.softirq_does(NET_RX_SOFTIRQ, net_rx)

    async def body(task: Task) -> None:
        await task.spend(100)
        cpu = task.preempt_disable()
        m.softirq.raise_softirq_nowake(cpu, BLOCK_SOFTIRQ)
        await m.softirq.raise_softirq(cpu, NET_RX_SOFTIRQ)
        await task.preempt_enable()

    if thread:
        m.start(body, "body", cpu=0)
    else:
        m.irq_raises(100, NET_RX_SOFTIRQ, BLOCK_SOFTIRQ)
    m.play(1000)
    runner = "ksoftirqd/0" if thread else "idle"
    assert [text for _, text in m.softirqs()] == [f"{runner}: {name}" for name in ("NET_RX", "BLOCK", "NET_RX", "BLOCK")]
    m.end()
    return heard


@pytest.mark.parametrize(("kernel", "ready"), [(KERNEL_26, [True, True]), (STOCK, [False, False])], ids=["2.6", "modern"])
def test_S2_75_readiness_differs(kernel: KernelConfig, ready: list[bool]) -> None:
    m = Rig(kernel=kernel)
    rcu = Rcu(m.softirq)
    seen = []

    async def freed(cpu: Cpu) -> None:
        m.note("freed")

    async def net_rx(cpu: Cpu) -> None:
        rcu.call_rcu(cpu, freed)
        await cpu.spend(100)

    async def block(cpu: Cpu) -> None:
        seen.append(rcu.data[0].quiescent)
        await cpu.spend(100)
        seen.append(rcu.data[0].quiescent)

    m.softirq_does(NET_RX_SOFTIRQ, net_rx)
    m.softirq_does(BLOCK_SOFTIRQ, block)
    m.irq_raises(100, NET_RX_SOFTIRQ, BLOCK_SOFTIRQ)
    m.play(1000)
    assert seen == ready
    m.end()


def test_S2_72_do_softirq_does_nothing_inside_an_interrupt() -> None:
    m = Rig(kernel=NONE)
    left: list[tuple[str, int, bool]] = []

    async def handler(cpu: Cpu) -> None:
        m.softirq.raise_softirq_nowake(cpu, HI_SOFTIRQ)
        await m.softirq.do_softirq(cpu)
        left.append((comm_of(cpu), m.softirq.pending[0], cpu.irqs_off))

    async def body(task: Task) -> None:
        cpu = task.preempt_disable()
        for off in (False, True):
            m.softirq.raise_softirq_nowake(cpu, BLOCK_SOFTIRQ)
            if off:
                cpu.irq_disable()
            await m.softirq.do_softirq(cpu)
            left.append((task.comm, m.softirq.pending[0], cpu.irqs_off))
        await cpu.irq_enable()
        await m.softirq.do_softirq(cpu)
        await task.preempt_enable()

    m.irq(100, handler)
    m.play(200)
    assert left == [("swapper/0", 1, True)]
    assert m.softirqs() == [(100, "idle: HI")]  # at the interrupt's exit
    m.start(body, "body", cpu=0)
    m.play(1000)
    assert left[1:] == [("body", 0, False), ("body", 0, True)]
    assert m.softirqs()[1:] == [(200, "body: BLOCK")] * 2
    m.end()
