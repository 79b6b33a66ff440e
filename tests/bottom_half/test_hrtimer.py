from __future__ import annotations

import pytest

from asyncirq.bottom_half.hrtimer import (
    HRTIMER_MODE_HARD,
    HRTIMER_MODE_REL,
    HRTIMER_MODE_SOFT,
    Hrtimer,
    hrtimer_forward,
)
from asyncirq.errors import KernelBug, UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import SCHED_FIFO, Task
from tests.bottom_half.harness import HZ1000, MS, RT1000, Bench


class Scene(Bench):
    def timer(self, name: str, mode: int = 0, ns: int = 0, period: int = 0, times: int = 0) -> Hrtimer:
        left = [times]

        async def fire(cpu: Cpu, timer: Hrtimer) -> bool:
            self.note(f"{timer.name}{cpu.id}")
            await cpu.spend(ns)
            left[0] -= 1
            if left[0] <= 0:
                return False
            hrtimer_forward(timer, self.engine.now, period)
            return True

        return Hrtimer(fire, mode, name)

    def start_at(self, when: int, timer: Hrtimer, expires: int, cpu: int = 0) -> None:
        self.at(when, lambda: self.hrtimers.hrtimer_start(self.cpus[cpu], timer, expires))

    def when(self) -> list[tuple[int, int | None]]:
        return [(now, when) for now, _, when in self.programmed]


async def never(cpu: Cpu, timer: Hrtimer) -> bool:
    return False


def test_expiry_order_is_by_time_and_then_by_arming() -> None:
    m = Scene()
    cpu = m.cpus[0]
    for name, when in (("a", 2000), ("b", 1000), ("c", 2000), ("d", 1500)):
        m.hrtimers.hrtimer_start(cpu, m.timer(name), when)
    m.play(5000)
    assert m.log == [(1000, "b0"), (1500, "d0"), (2000, "a0"), (2000, "c0")]
    assert m.when() == [(0, 2000), (0, 1000), (1000, 1500), (1500, 2000), (2000, None)]


def test_the_records_of_one_timer() -> None:
    m = Scene()
    m.hrtimers.hrtimer_start(m.cpus[0], m.timer("a", HRTIMER_MODE_HARD, period=500, times=2), 1000, HRTIMER_MODE_REL)
    m.play(5000)
    kinds = ("hrtimer_start", "hrtimer_cancel", "hrtimer_expire_entry", "hrtimer_expire_exit")
    assert m.events(*kinds) == [
        (0, "hrtimer_start", "a", "fire", 1000, 1000, "REL|HARD", False),
        (1000, "hrtimer_cancel", "a"),
        (1000, "hrtimer_expire_entry", "a", "fire", 1000),
        (1000, "hrtimer_expire_exit", "a"),
        (1000, "hrtimer_start", "a", "fire", 1500, 1500, "ABS", False),
        (1500, "hrtimer_cancel", "a"),
        (1500, "hrtimer_expire_entry", "a", "fire", 1500),
        (1500, "hrtimer_expire_exit", "a"),
    ]


def test_a_time_in_the_past_expires_at_once() -> None:
    m = Scene()
    m.start_at(2000, m.timer("a"), 500)
    m.play(5000)
    assert m.log == [(2000, "a0")]
    assert m.when()[0] == (2000, 2000)


def test_arming_again_later_moves_the_event() -> None:
    m = Scene()
    a, b = m.timer("a"), m.timer("b")
    m.hrtimers.hrtimer_start(m.cpus[0], a, 1000)
    m.hrtimers.hrtimer_start(m.cpus[0], b, 2000)
    m.start_at(500, a, 3000)
    m.play(5000)
    assert m.log == [(2000, "b0"), (3000, "a0")]
    assert m.when() == [(0, 1000), (500, 2000), (2000, 3000), (3000, None)]
    assert [r[-1] for r in m.events("hrtimer_start")] == [False, False, True]


def test_cancelling() -> None:
    m = Scene()
    a, b = m.timer("a"), m.timer("b")
    cpu = m.cpus[0]
    assert m.hrtimers.hrtimer_try_to_cancel(cpu, a) == 0
    m.hrtimers.hrtimer_start(cpu, a, 1000)
    m.hrtimers.hrtimer_start(cpu, b, 2000)
    assert a.queued
    assert m.hrtimers.hrtimer_try_to_cancel(cpu, a) == 1
    assert m.hrtimers.hrtimer_try_to_cancel(cpu, a) == 0
    m.play(5000)
    assert m.log == [(2000, "b0")]
    assert m.when() == [(0, 1000), (0, 2000), (2000, None)]


def test_cancel_waits_for_the_function_on_another_cpu() -> None:
    m = Scene(2)
    a = m.timer("a", ns=4000, period=10_000, times=3)
    m.hrtimers.hrtimer_start(m.cpus[0], a, 1000)

    async def canceller(task: Task) -> None:
        cpu = task.migrate_disable()
        await cpu.spend(2000)
        assert m.hrtimers.hrtimer_try_to_cancel(cpu, a) == -1
        m.note(str(await m.hrtimers.hrtimer_cancel(cpu, a)))
        task.migrate_enable()

    m.start(canceller, "canceller", cpu=1)
    m.play(50_000)
    assert m.log == [(1000, "a0"), (5000, "True")]


def test_cancel_from_the_function_itself_is_a_deadlock() -> None:
    m = Scene()

    async def fire(cpu: Cpu, timer: Hrtimer) -> bool:
        return await m.hrtimers.hrtimer_cancel(cpu, timer)

    m.hrtimers.hrtimer_start(m.cpus[0], Hrtimer(fire, 0, "a"), 1000)
    with pytest.raises(KernelBug, match="deadlock at 1000 ns: swapper/0 stalls on hrtimer a"):
        m.play(5000)


def test_cancel_on_rt_sleeps_while_the_thread_that_runs_it_was_preempted() -> None:
    m = Scene(1, RT1000)
    a = m.timer("a", ns=4000)
    m.hrtimers.hrtimer_start(m.cpus[0], a, 1000)

    async def canceller(task: Task) -> None:
        await m.sleep.nanosleep(task, 2000)
        cpu = task.migrate_disable()
        m.note("begins")
        await m.hrtimers.hrtimer_cancel(cpu, a)
        m.note("gone")
        task.migrate_enable()

    m.start(canceller, "canceller", policy=SCHED_FIFO, rt_priority=80)
    m.play(MS)
    assert m.log == [(1000, "a0"), (2000, "begins"), (5000, "gone")]


def test_the_timer_follows_its_caller_but_not_while_its_function_runs() -> None:
    m = Scene(2)
    a, b = m.timer("a"), m.timer("b", ns=2000)
    m.hrtimers.hrtimer_start(m.cpus[0], a, 5000)
    m.start_at(1000, a, 5000, cpu=1)
    m.hrtimers.hrtimer_start(m.cpus[0], b, 10_000)
    m.start_at(11_000, b, 20_000, cpu=1)
    m.play(50_000)
    assert m.log == [(5000, "a1"), (10_000, "b0"), (20_000, "b0")]


def test_soft_timers_run_in_the_softirq_and_reprogram_from_it() -> None:
    m = Scene()
    cpu = m.cpus[0]
    m.hrtimers.hrtimer_start(cpu, m.timer("soft", HRTIMER_MODE_SOFT, ns=100, period=1000, times=3), 1000)
    m.hrtimers.hrtimer_start(cpu, m.timer("hard", HRTIMER_MODE_HARD), 1000)
    m.play(5000)
    assert m.log == [(1000, "hard0"), (1000, "soft0"), (2000, "soft0"), (3000, "soft0")]
    assert [r[0] for r in m.events("softirq_entry")] == [1000, 2000, 3000]
    assert m.when() == [(0, 1000), (1000, None), (1100, 2000), (2000, None), (2100, 3000), (3000, None)]


def test_what_came_due_meanwhile_is_found_three_times_then_the_interrupt_is_hung() -> None:
    m = Scene()
    m.hrtimers.hrtimer_start(m.cpus[0], m.timer("a", ns=250, period=100, times=4), 1000)

    async def endless(cpu: Cpu, timer: Hrtimer) -> bool:
        m.note("e")
        await cpu.spend(1000)
        timer.expires = timer.softexpires = m.engine.now
        return len([1 for _, text in m.log if text == "e"]) < 5

    m.hrtimers.hrtimer_start(m.cpus[0], Hrtimer(endless, 0, "endless"), 10_000)
    m.play(50_000)
    base = m.hrtimers.bases[0]
    assert [time for time, text in m.log if text == "e"] == [10_000, 11_000, 12_000, 16_000, 17_000]
    assert (base.nr_hangs, base.max_hang_ns, base.nr_retries >= 3) == (1, 3000, True)
    assert m.said() == ["hrtimer: interrupt took 3000 ns"]


def test_forward() -> None:
    timer = Hrtimer(never, 0, "a")
    timer.expires, timer.softexpires = 1000, 900
    assert hrtimer_forward(timer, 999, 100) == 0
    assert hrtimer_forward(timer, 1000, 100) == 1
    assert (timer.expires, timer.softexpires) == (1100, 1000)
    assert hrtimer_forward(timer, 1350, 100) == 3
    assert timer.expires == 1400
    with pytest.raises(UsageError, match="hrtimer_forward of a by 0 ns"):
        hrtimer_forward(timer, 2000, 0)


def test_both_soft_and_hard_is_refused() -> None:
    with pytest.raises(UsageError, match="hrtimer a: the mode is both soft and hard"):
        Hrtimer(never, HRTIMER_MODE_SOFT | HRTIMER_MODE_HARD, "a")


def test_a_dead_cpus_timers_move() -> None:
    m = Scene(2, HZ1000)
    m.hrtimers.hrtimer_start(m.cpus[1], m.timer("a"), 5000)
    m.hrtimers.hrtimer_start(m.cpus[1], m.timer("s", HRTIMER_MODE_SOFT), 6000)
    m.at(1000, lambda: m.hrtimers.hrtimers_dead_cpu(m.cpus[0], 1))
    m.play(10_000)
    assert m.log == [(5000, "a0"), (6000, "s0")]
