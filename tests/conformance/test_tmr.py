"""Show the timer cases of the catalogue: the wheel, its softirq, hrtimers."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from asyncirq.bottom_half.hrtimer import HRTIMER_MODE_HARD, HRTIMER_MODE_REL, HRTIMER_MODE_SOFT, Hrtimer
from asyncirq.bottom_half.timer_wheel import Timer, wheel_index
from asyncirq.config import KernelConfig, preset
from asyncirq.errors import KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.preempt import in_hardirq, in_serving_softirq
from asyncirq.sched.task import SCHED_FIFO, Task
from asyncirq.trace.record import tag_of
from tests.bottom_half.harness import FULL1000, HZ1000, MS, RT1000, Bench, burn

NOHZ_OFF = preset("linux-6.12", hz=1000, nohz_idle=False)


class Scene(Bench):
    """Timers that note their name and the jiffy."""

    def __init__(self, cpus: int = 1, kernel: KernelConfig = HZ1000, *, tick: bool = True, **costs: Any) -> None:
        super().__init__(cpus, kernel, tick=tick, **costs)
        self.ran: list[tuple[str, int]] = []

    def timer(self, name: str, *, ns: int = 0, irqsafe: bool = False, pinned: bool = False, deferrable: bool = False) -> Timer:
        async def run(cpu: Cpu, timer: Timer) -> None:
            self.ran.append((f"{timer.name}{cpu.id}", self.timers.jiffies))
            if ns:
                await cpu.spend(ns)

        return Timer(run, name, irqsafe=irqsafe, pinned=pinned, deferrable=deferrable)

    def arm(self, expires: int, name: str = "", cpu: int = 0, *, pinned: bool = False, deferrable: bool = False) -> Timer:
        timer = self.timer(name or str(expires), pinned=pinned, deferrable=deferrable)
        assert self.timers.mod_timer(self.cpus[cpu], timer, expires) is False
        return timer


def due(timer: Timer) -> int:
    assert timer.chain is not None
    return timer.chain.due


def test_TMR_01_never_early_and_one_tick_of_rounding_at_level_0() -> None:
    m = Scene()
    assert [due(m.arm(expires)) for expires in (0, 10, 62)] == [1, 11, 63]
    m.play(70 * MS)
    assert m.ran == [("00", 1), ("100", 11), ("620", 63)]


def test_TMR_02_level_1_and_2() -> None:
    expected = {63: 64, 100: 104, 104: 112, 503: 504, 504: 512, 4031: 4032, 4032: 4096}
    assert {expires: wheel_index(expires, 0, 9)[1] for expires in expected} == expected
    assert [wheel_index(expires, 0, 9)[0] >> 6 for expires in expected] == [1, 1, 1, 1, 2, 2, 3]
    m = Scene()
    for expires in (63, 100, 104, 503, 504):
        m.arm(expires)
    m.play(600 * MS)
    assert m.ran == [("630", 64), ("1000", 104), ("1040", 112), ("5030", 504), ("5040", 512)]


def test_TMR_03_no_cascading() -> None:
    m = Scene(kernel=NOHZ_OFF)
    m.arm(1000)
    for expires in range(0, 1030, 10):
        m.at(expires * MS + 1, partial(m.arm, expires + 5, "x"))
    m.play(1100 * MS)
    assert [at for name, at in m.ran if name == "10000"] == [1024]


def test_TMR_04_past_expiry() -> None:
    m = Scene()
    m.at(5 * MS + 1, lambda: m.arm(2))
    m.start(burn, "burn")
    m.play(10 * MS)
    assert m.ran == [("20", 6)]


def test_timers_of_one_bucket_run_last_in_first_out() -> None:
    m = Scene()
    for name in "abc":
        m.arm(10, name)
    m.play(20 * MS)
    assert m.ran == [("c0", 11), ("b0", 11), ("a0", 11)]


def test_TMR_07_order_between_levels_at_the_same_tick() -> None:
    m = Scene(kernel=NOHZ_OFF)
    m.arm(63, "coarse")
    m.at(60 * MS + 1, lambda: m.arm(63, "fine"))
    m.at(60 * MS + 2, lambda: m.arm(63, "finer"))
    m.play(70 * MS)
    assert m.ran == [("coarse0", 64), ("finer0", 64), ("fine0", 64)]


def test_bases_run_local_global_deferrable() -> None:
    m = Scene()
    m.arm(10, "deferrable", deferrable=True)
    m.arm(10, "global")
    m.arm(10, "local", pinned=True)
    m.play(20 * MS)
    assert m.ran == [("local0", 11), ("global0", 11), ("deferrable0", 11)]


def test_TMR_08_mod_timer_return() -> None:
    m = Scene(tick=False)
    cpu = m.cpus[0]
    timers = m.timers
    a, b = m.arm(100, "a"), m.arm(100, "b")
    assert timers.mod_timer(cpu, a, 100) is True
    assert timers.mod_timer(cpu, a, 103) is True
    assert (a.expires, due(a)) == (103, 104)
    assert a.chain is b.chain and a.chain is not None and list(a.chain.timers) == [a, b]
    assert len(m.events("timer_start", "timer_cancel")) == 2
    assert timers.mod_timer(cpu, a, 104) is True
    assert due(a) == 112
    assert m.events("timer_start", "timer_cancel") == [
        (0, "timer_start", "a", "run", 100, 100, 104, 0, 64 + 13, ""),
        (0, "timer_start", "b", "run", 100, 100, 104, 0, 64 + 13, ""),
        (0, "timer_cancel", "a"),
        (0, "timer_start", "a", "run", 104, 104, 112, 0, 64 + 14, ""),
    ]
    m.play(0)


def test_TMR_09_add_timer_on_a_pending_one() -> None:
    m = Scene(tick=False)
    a = m.arm(100, "a")
    with pytest.raises(KernelBug, match="add_timer: a is pending already, on CPU0 at 0 ns"):
        m.timers.add_timer(m.cpus[0], a)
    with pytest.raises(KernelBug, match="add_timer_on: a is pending already"):
        m.timers.add_timer_on(m.cpus[0], a, 0)
    assert m.timers.timer_reduce(m.cpus[0], a, 200) is True
    assert a.expires == 100
    assert m.timers.timer_reduce(m.cpus[0], a, 50) is True
    assert (a.expires, due(a)) == (50, 51)
    b = m.timer("b")
    assert m.timers.timer_reduce(m.cpus[0], b, 70) is False
    assert b.expires == 70
    m.play(0)


def test_TMR_11_moves_with_the_caller() -> None:
    m = Scene(2)
    a, b = m.arm(10, "a", cpu=0), m.arm(10, "b", cpu=0)
    c = m.timer("c")
    c.expires = 10
    m.timers.add_timer_on(m.cpus[0], c, 1)
    assert c.base is not None and (c.base.cpu_id, c.flags) == (1, "P")
    m.at(5 * MS, lambda: m.timers.mod_timer(m.cpus[1], b, 12))
    m.play(30 * MS)
    assert sorted(m.ran) == [("a0", 11), ("b1", 13), ("c1", 11)]
    assert a.base is m.timers.bases[0][1]


def test_TMR_11_stays_while_its_callback_runs() -> None:
    m = Scene(2)
    a = m.timer("a", ns=4 * MS)
    m.timers.mod_timer(m.cpus[0], a, 10)
    m.at(12 * MS, lambda: m.timers.mod_timer(m.cpus[1], a, 20))
    m.play(30 * MS)
    assert m.ran == [("a0", 11), ("a0", 21)]


def test_TMR_12_delete() -> None:
    m = Scene(2)
    a, b = m.timer("a", ns=4 * MS), m.arm(10, "b")
    m.timers.mod_timer(m.cpus[0], a, 10)
    assert m.timers.timer_delete(m.cpus[0], b) is True
    assert m.timers.timer_delete(m.cpus[0], b) is False

    async def deleter(task: Task) -> None:
        await task.spend(12 * MS)
        cpu = task.migrate_disable()
        assert m.timers.timer_delete(cpu, a) is False
        assert await m.timers.timer_delete_sync(cpu, a) is False
        m.note("gone")
        m.timers.mod_timer(cpu, a, 20)
        assert await m.timers.timer_shutdown_sync(cpu, a) is True
        assert m.timers.mod_timer(cpu, a, 20) is False
        m.timers.add_timer_on(cpu, a, 0)
        assert a.pending is False
        task.migrate_enable()

    m.start(deleter, "deleter", cpu=1)
    m.play(40 * MS)
    assert m.log == [(15 * MS, "gone")]
    assert m.ran == [("a0", 11)]


def test_TMR_12_delete_sync_from_the_callback_itself() -> None:
    m = Scene()

    async def run(cpu: Cpu, timer: Timer) -> None:
        await m.timers.timer_delete_sync(cpu, timer)

    m.timers.mod_timer(m.cpus[0], Timer(run, "a"), 10)
    with pytest.raises(KernelBug, match="deadlock at 11000000 ns: swapper/0 stalls on timer a"):
        m.play(20 * MS)


def test_TMR_12_delete_sync_in_a_hard_interrupt() -> None:
    m = Scene()
    safe, plain = m.timer("safe", irqsafe=True), m.arm(10, "plain")
    m.timers.mod_timer(m.cpus[0], safe, 10)

    async def handler(cpu: Cpu) -> None:
        assert await m.timers.timer_delete_sync(cpu, safe) is True
        with pytest.raises(KernelBug, match="WARNING: timer_delete_sync of plain, which is not irqsafe, in a hard interrupt on CPU0"):
            await m.timers.timer_delete_sync(cpu, plain)

    m.irq_at(MS, handler)
    m.play(20 * MS)
    assert m.ran == [("plain0", 11)]


def test_delete_sync_on_rt_sleeps_while_ktimers_was_preempted_in_the_callback() -> None:
    m = Scene(kernel=RT1000)
    a = m.timer("a", ns=4 * MS)
    m.timers.mod_timer(m.cpus[0], a, 10)

    async def deleter(task: Task) -> None:
        await m.sleep.nanosleep(task, 12 * MS)
        cpu = task.migrate_disable()
        m.note("begins")
        await m.timers.timer_delete_sync(cpu, a)
        m.note("gone")
        task.migrate_enable()

    m.start(deleter, "deleter", policy=SCHED_FIFO, rt_priority=80)
    m.play(40 * MS)
    assert m.log == [(12 * MS, "begins"), (15 * MS, "gone")]


def test_TMR_13_irqsafe() -> None:
    m = Scene()
    seen = []

    async def run(cpu: Cpu, timer: Timer) -> None:
        seen.append((timer.name, cpu.irqs_off, in_serving_softirq(cpu)))

    for name in ("plain", "safe"):
        m.timers.mod_timer(m.cpus[0], Timer(run, name, irqsafe=name == "safe"), 10)
    m.play(20 * MS)
    assert seen == [("safe", True, True), ("plain", False, True)]


def test_TMR_14_preempt_leak() -> None:
    m = Scene()
    counts = []

    async def leak(cpu: Cpu, timer: Timer) -> None:
        counts.append(cpu.preempt_count)
        cpu.preempt_count += 1

    for name in "ab":
        m.timers.mod_timer(m.cpus[0], Timer(leak, name), 10)
    m.play(20 * MS)
    assert counts == [0x101, 0x101]
    assert m.said() == ["timer: leak preempt leak: 00000101 -> 00000102"] * 2


def test_TMR_16_late_ticks() -> None:
    m = Scene()

    async def hog(task: Task) -> None:
        await task.spend(10 * MS + 1)
        cpu = task.preempt_disable()
        cpu.irq_disable()
        for name, ahead in (("late", 3), ("soon", 1)):
            m.arm(m.timers.jiffies + ahead, name)
        await cpu.spend(5 * MS)
        await cpu.irq_enable()
        await task.preempt_enable()
        await task.spend(5 * MS)

    m.start(hog, "hog")
    m.play(30 * MS)
    assert m.ran == [("soon0", 15), ("late0", 15)]
    assert [time for time, *_ in m.events("softirq_entry")] == [15 * MS + 1]
    assert [(now, clk) for *_, now, clk in m.events("timer_expire_entry")] == [(15, 12), (15, 14)]


def test_TMR_17_migration_of_a_dead_cpus_timers() -> None:
    m = Scene(2)
    for expires in (4, 10, 20, 100):
        m.arm(expires, f"t{expires}", cpu=1)
    m.arm(20, "pinned", cpu=1, pinned=True)

    async def control(task: Task) -> None:
        cpu = task.preempt_disable()
        # CPU1 dies with interrupts off: what is overdue has not run there.
        await cpu.spend(15 * MS + 5)
        m.timers.timers_dead_cpu(cpu, 1)
        await task.preempt_enable()
        await task.spend(5 * MS)

    async def dying(task: Task) -> None:
        cpu = task.preempt_disable()
        cpu.irq_disable()
        await cpu.spend(200 * MS)

    m.start(control, "control", cpu=0)
    m.start(dying, "dying", cpu=1)
    m.play(150 * MS)
    assert m.ran == [("t100", 16), ("t40", 16), ("pinned0", 21), ("t200", 21), ("t1000", 104)]


def test_TMR_18_softirq_raise() -> None:
    m = Scene()
    m.arm(3)
    m.start(burn, "burn")
    m.play(6 * MS)
    ticks = [time for time, *_ in m.events("local_timer_entry")]
    assert ticks == [n * MS for n in range(1, 7)]
    assert m.events("softirq_raise", "softirq_entry") == [(4 * MS, "softirq_raise", 1), (4 * MS, "softirq_entry", 1)]


def test_TMR_18_delayed_by_a_bh_disabled_section() -> None:
    m = Scene()
    m.arm(3)

    async def holder(task: Task) -> None:
        cpu = await m.softirq.local_bh_disable(task)
        await cpu.spend(7 * MS + 500)
        await m.softirq.local_bh_enable(task)

    m.start(holder, "holder")
    m.play(10 * MS)
    assert m.events("softirq_raise")[0] == (4 * MS, "softirq_raise", 1)
    # Each tick until then finds it due and raises again.
    assert [time for time, *_ in m.events("softirq_raise")] == [4 * MS, 5 * MS, 6 * MS, 7 * MS]
    assert m.events("softirq_entry") == [(7 * MS + 500, "softirq_entry", 1)]


@pytest.mark.parametrize(("kernel", "comm"), [(preset("linux-6.12", threadirqs=True, hz=1000), "ksoftirqd/0"), (RT1000, "ktimers/0")])
def test_TMR_18_in_a_thread(kernel: KernelConfig, comm: str) -> None:
    m = Scene(kernel=kernel)
    m.arm(3)
    m.play(6 * MS)
    runner = [record for record in m.records() if tag_of(type(record)) == "softirq_entry"]
    assert [m.sched.tasks[record.pid].comm for record in runner] == [comm]


@pytest.mark.covers("S0-113")
def test_TMR_19_hrtimer_context() -> None:
    def contexts(kernel: KernelConfig) -> dict[str, tuple[bool, bool, str]]:
        m = Bench(1, kernel)
        seen = {}

        async def fire(cpu: Cpu, timer: Hrtimer) -> bool:
            task = m.sched.rqs[0].curr
            seen[timer.name] = (in_hardirq(cpu), cpu.irqs_off, task.comm)
            return False

        for name, mode in (("soft", HRTIMER_MODE_SOFT), ("plain", 0), ("hard", HRTIMER_MODE_HARD)):
            m.hrtimers.hrtimer_start(m.cpus[0], Hrtimer(fire, mode, name), 1000)
        m.play(3000)
        assert m.events("softirq_raise", "hrtimer_expire_entry")[0] == (1000, "softirq_raise", 8)
        return seen

    hard, soft = (True, True, "swapper/0"), (False, False, "swapper/0")
    assert contexts(HZ1000) == {"plain": hard, "hard": hard, "soft": soft}
    threaded = (False, False, "ktimers/0")
    assert contexts(RT1000) == {"hard": hard, "soft": threaded, "plain": threaded}


def test_TMR_19_sleepers_of_real_time_tasks_are_hard_on_rt() -> None:
    m = Bench(1, RT1000)

    async def sleeper(task: Task) -> None:
        await m.sleep.nanosleep(task, 1000)

    m.start(sleeper, "fifo", policy=SCHED_FIFO, rt_priority=10)
    m.start(sleeper, "fair")
    m.play(MS)
    assert [(e[2], e[6]) for e in m.events("hrtimer_start")] == [("sleep/4", "REL|HARD"), ("sleep/5", "REL")]
    assert [(time, vec) for time, _, vec in m.events("softirq_raise")] == [(51_000, 8)]


def test_TMR_20_hrtimer_slack() -> None:
    m = Bench()
    cpu = m.cpus[0]

    async def fire(cpu: Cpu, timer: Hrtimer) -> bool:
        m.note(timer.name)
        return False

    alone, ridden = Hrtimer(fire, 0, "alone"), Hrtimer(fire, 0, "ridden")
    m.hrtimers.hrtimer_start(cpu, alone, 1000, slack_ns=500)
    m.hrtimers.hrtimer_start(cpu, ridden, 2000, slack_ns=1000)
    m.hrtimers.hrtimer_start(cpu, Hrtimer(fire, 0, "other"), 1100, HRTIMER_MODE_REL)
    m.hrtimers.hrtimer_start(cpu, Hrtimer(fire, 0, "exact"), 2500)
    m.play(5000)
    assert m.log == [(1100, "other"), (1100, "alone"), (2500, "exact"), (2500, "ridden")]
    assert [when for _, _, when in m.programmed] == [1500, 1100, 2500, None]


def test_TMR_26_sleeps_never_end_early() -> None:
    m = Bench(1, FULL1000, tick=True)

    async def sleeper(task: Task) -> None:
        for exponent in range(1, 10):
            length = 10**exponent
            start = m.engine.now
            await m.sleep.nanosleep(task, length)
            m.log.append((m.engine.now - start - length, "relative"))
            target = m.engine.now + length
            await m.sleep.nanosleep(task, target, absolute=True)
            m.log.append((m.engine.now - target, "absolute"))

    m.start(sleeper, "sleeper")
    m.play(3_000 * MS)
    assert len(m.log) == 18
    assert all(0 <= late <= 50_000 for late, _ in m.log)


def test_msleep_and_schedule_timeout_never_end_early() -> None:
    m = Bench(1, tick=True)

    async def sleeper(task: Task) -> None:
        await task.spend(MS // 2)
        times = [m.engine.now]
        for ms in (1, 2, 10):
            await m.sleep.msleep(task, ms)
            times.append(m.engine.now)
        m.log += [(b - a, "ms") for a, b in pairwise(times)]

    m.start(sleeper, "sleeper")
    m.play(60 * MS)
    assert [took for took, _ in m.log] == [1_500_000, 3_000_000, 11_000_000]
