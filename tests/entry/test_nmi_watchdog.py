"""Show what only an NMI can notice: a CPU that keeps interrupts off."""

from __future__ import annotations

import pytest

from asyncirq import Machine
from asyncirq.config import KernelConfig, preset
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.lapic_lvt import PERF
from asyncirq.hw.perf_counter import PerfCounter
from asyncirq.sched.task import Task
from asyncirq.trace.record import tag_of
from tests.hw.apics import World

SECOND = 1_000_000_000


def config(*, panic: bool = False) -> KernelConfig:
    return preset("linux-6.12", watchdog_thresh_s=1, hardlockup_perf=True, panic_on_lockup=panic)


def test_the_counter_counts_what_is_not_halted() -> None:
    world = World(1)
    lapic = world.lapics[0]
    counter = PerfCounter(world.engine, lapic)
    counter.start(100)
    world.advance(60)
    counter.halt(True)
    world.advance(500)
    counter.halt(False)
    counter.halt(False)
    world.advance(539)
    assert (counter.overflows, lapic.nmi_pending) == (0, False)
    world.advance(540)
    assert (counter.overflows, lapic.nmi_pending) == (1, True)
    # The entry has masked itself, so the next overflow is no NMI until somebody has written it again.
    lapic.nmi_taken()
    world.advance(640)
    assert (counter.overflows, lapic.nmi_pending, lapic.lvt.entries[PERF]) == (2, False, 0x10400)
    counter.arm()
    world.advance(740)
    assert (counter.overflowed, lapic.nmi_pending) == (True, True)
    counter.stop()
    world.advance(5000)
    assert counter.overflows == 3
    with pytest.raises(UsageError, match="^a performance counter cannot overflow every 0 ns"):
        counter.start(0)


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_interrupts_off_for_two_periods_are_a_hard_lockup() -> None:
    async with Machine(cpus=2, kernel=config()) as m:

        async def hog(task: Task) -> None:
            await task.spend(SECOND // 2)
            cpu = task.preempt_disable()
            cpu.irq_disable()
            for _ in range(300):
                await cpu.spend(SECOND // 100)
            await cpu.irq_enable()
            await task.preempt_enable()

        m.start_thread(hog, "hog", cpu=1)
        await m.run_for(4 * SECOND)
        found = [
            (r.ts, r.cpu, r.kind, r.target_cpu, r.comm)  # type: ignore[attr-defined]
            for r in m.records
            if tag_of(type(r)) == "lockup_report"
        ]
        assert found[0][1:] == (1, "hardlockup", 1, "hog")
        # Once it takes interrupts again, the hrtimer has its turn and tells of the rest.
        assert [kind for _, _, kind, _, _ in found] == ["hardlockup", "softlockup"]
        assert 2 * SECOND <= found[0][0] < 2 * SECOND + SECOND // 100
        words = [r.text for r in m.records if tag_of(type(r)) == "printk"]  # type: ignore[attr-defined]
        assert words[0] == "watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 1"
        # The idle CPU's counter stood still.
        assert m.kernel.entry.counts[2] == [0, 3]


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_busy_cpu_that_takes_interrupts_is_no_lockup() -> None:
    async with Machine(kernel=config()) as m:

        async def busy(task: Task) -> None:
            await task.user(4 * SECOND)

        m.start_thread(busy, "busy")
        await m.run_for(5 * SECOND)
        assert not [r for r in m.records if tag_of(type(r)) in ("lockup_report", "printk")]
        assert m.kernel.entry.counts[2] == [4]


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_it_stops_the_machine_if_told_to() -> None:
    async with Machine(kernel=config(panic=True)) as m:

        async def hog(task: Task) -> None:
            cpu = task.preempt_disable()
            cpu.irq_disable()
            await cpu.spend(3 * SECOND)

        m.start_thread(hog, "hog")
        with pytest.raises(KernelBug, match="^Kernel panic - not syncing: Hard LOCKUP, on CPU0 at "):
            await m.run_for(4 * SECOND)


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_board_without_local_apics_has_none() -> None:
    async with Machine(kernel=config(), controller="gicv3") as m:
        words = [r.text for r in m.records if tag_of(type(r)) == "printk"]  # type: ignore[attr-defined]
        assert "NMI watchdog: Perf NMI watchdog permanently disabled" in words
