"""Show the ksoftirqd cases of the catalogue: what it is, when it is waited for, how it shares the CPU."""

from __future__ import annotations

import pytest

from asyncirq.bottom_half.softirq import BLOCK_SOFTIRQ, HI_SOFTIRQ, NET_RX_SOFTIRQ, TASKLET_SOFTIRQ
from asyncirq.config import KernelConfig, preset
from asyncirq.entry import LOCAL_TIMER_VECTOR
from asyncirq.errors import UsageError
from asyncirq.hw.apic_message import ApicMessage
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import NICE_WEIGHTS, SCHED_NORMAL, Task
from tests.softirq_rig import FORCED, MS, STOCK, Rig

DEFERS = preset("linux-6.1")
KERNEL_26 = preset("linux-2.6")


@pytest.mark.covers("S0-85", "S0-93", "S1-67")
@pytest.mark.parametrize(("kernel", "nice"), [(STOCK, 0), (KERNEL_26, 19)], ids=["modern", "2.6"])
def test_KSD_01_identity(kernel: KernelConfig, nice: int) -> None:
    m = Rig(2, kernel)
    daemons = [task for task in m.softirq.ksoftirqd if task is not None]
    facts = [(t.comm, t.policy, t.nice, t.prio, t.allowed, t.percpu, t.kthread) for t in daemons]
    assert facts == [(f"ksoftirqd/{n}", SCHED_NORMAL, nice, 120 + nice, 1 << n, True, True) for n in (0, 1)]
    with pytest.raises(UsageError, match=r"^ksoftirqd/1: the affinity of a per-CPU kthread cannot be changed \(-EINVAL\)$"):
        m.sched.set_cpus_allowed(m.cpus[0], daemons[1], 0b01)
    m.end()


class Runnable:
    """ksoftirqd is made runnable at 100 by a task that goes on in the kernel until 1100; interrupts come meanwhile."""

    def __init__(self, kernel: KernelConfig) -> None:
        self.m = Rig(kernel=kernel)
        self.m.start(self.hog, "hog", cpu=0)

    async def hog(self, task: Task) -> None:
        await task.spend(100)
        cpu = task.preempt_disable()
        await self.m.softirq.raise_softirq(cpu, BLOCK_SOFTIRQ)
        await cpu.spend(1000)
        await task.preempt_enable()

    def run(self) -> list[tuple[int, str]]:
        self.m.play(5000)
        lines = self.m.softirqs()
        self.m.end()
        return lines


@pytest.mark.covers("S0-66")
@pytest.mark.parametrize(
    ("kernel", "ran"),
    [
        (STOCK, [(200, "hog: NET_RX"), (200, "hog: BLOCK")]),
        (preset("linux-7.1"), [(200, "hog: NET_RX"), (200, "hog: BLOCK")]),
        (DEFERS, [(1100, "ksoftirqd/0: NET_RX"), (1100, "ksoftirqd/0: BLOCK")]),
        (FORCED, [(1100, "ksoftirqd/0: NET_RX"), (1100, "ksoftirqd/0: BLOCK")]),
    ],
    ids=["6.12", "7.1", "6.1", "threadirqs"],
)
def test_KSD_03_does_not_stop_inline_execution(kernel: KernelConfig, ran: list[tuple[int, str]]) -> None:
    scene = Runnable(kernel)
    scene.m.irq_raises(200, NET_RX_SOFTIRQ)
    assert scene.run() == ran


@pytest.mark.parametrize(("vec", "name"), [(HI_SOFTIRQ, "HI"), (TASKLET_SOFTIRQ, "TASKLET")])
def test_KSD_03_hi_and_tasklet_do_not_wait_and_drag_the_others_along(vec: int, name: str) -> None:
    scene = Runnable(DEFERS)
    scene.m.irq_raises(200, NET_RX_SOFTIRQ)
    scene.m.irq_raises(300, vec)
    order = sorted([(vec, name), (NET_RX_SOFTIRQ, "NET_RX"), (BLOCK_SOFTIRQ, "BLOCK")])
    assert scene.run() == [(300, f"hog: {text}") for _, text in order]


@pytest.mark.parametrize(("kernel", "ran"), [(STOCK, [(150, "hog: BLOCK")]), (DEFERS, [(250, "ksoftirqd/0: BLOCK")])], ids=["6.12", "6.1"])
def test_KSD_03_local_bh_enable_waits_too(kernel: KernelConfig, ran: list[tuple[int, str]]) -> None:
    m = Rig(kernel=kernel)

    async def hog(task: Task) -> None:
        await task.spend(100)
        cpu = task.preempt_disable()
        await m.softirq.raise_softirq(cpu, BLOCK_SOFTIRQ)
        await task.preempt_enable()
        await task.spend(50)
        await m.softirq.local_bh_disable(task)
        await m.softirq.local_bh_enable(task)
        await task.spend(100)

    m.start(hog, "hog", cpu=0)
    m.play(5000)
    assert m.softirqs() == ran
    m.end()


class Shared:
    """A vector that raises itself for ever, 20 us at a time, beside a busy user task, with a scheduler tick of 1 ms."""

    def __init__(self, nice: int, threadirqs: bool) -> None:
        self.m = m = Rig(kernel=preset("linux-6.12", hz=1000, threadirqs=threadirqs))
        self.time = {"hog": 0, "ksoftirqd/0": 0, "exit": 0}
        self.from_thread = True
        m.softirq_does(NET_RX_SOFTIRQ, self.net_rx)
        m.entry.timer = self.tick
        self.message = ApicMessage(LOCAL_TIMER_VECTOR, 0, False, 0, False, 0)
        self.ticker = m.engine.timer(self.send, "tick")
        self.ticker.arm(1 * MS)
        m.start(self.hog, "hog", cpu=0, nice=nice)
        m.irq_raises(10, NET_RX_SOFTIRQ)

    def send(self) -> None:
        self.m.send(self.message)
        self.ticker.arm(self.m.engine.now + 1 * MS)

    async def tick(self, cpu: Cpu) -> None:
        self.m.sched.scheduler_tick(cpu)

    async def net_rx(self, cpu: Cpu) -> None:
        task = cpu.current
        assert isinstance(task, Task)
        await cpu.spend(20_000)
        self.time["exit" if task.comm == "hog" else task.comm] += 20_000
        self.m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)

    async def hog(self, task: Task) -> None:
        while True:
            await task.user(10_000)
            self.time["hog"] += 10_000


def test_KSD_04_fairness() -> None:
    scene = Shared(0, threadirqs=False)
    scene.m.play(1000 * MS)
    # Half each of the second; of its half the hog loses one pass at each of its ticks, which end its slice.
    assert scene.time == {"hog": 489_800_000, "ksoftirqd/0": 500_200_000, "exit": 10_000_000}
    scene.m.end()


@pytest.mark.parametrize(("nice", "shares"), [(0, (5_000_000_000, 5_000_000_000)), (-20, (9_885_000_000, 115_000_000))])
def test_KSD_04_shares_by_weight(nice: int, shares: tuple[int, int]) -> None:
    scene = Shared(nice, threadirqs=True)
    seconds = 10
    scene.m.play(seconds * 1000 * MS)
    hog, daemon = scene.time["hog"], scene.time["ksoftirqd/0"]
    weight = NICE_WEIGHTS[20 + nice]
    fair = seconds * 1000 * MS * weight // (weight + 1024)
    assert ((hog, daemon), scene.time["exit"]) == (shares, 0)
    # No exit of an interrupt runs softirqs here, so all of the time is shared: exact to one slice and a tick.
    assert abs(hog - fair) <= 2 * MS
    scene.m.end()
