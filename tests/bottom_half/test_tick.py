from __future__ import annotations

from asyncirq.bottom_half.timer_wheel import Timer
from asyncirq.config import preset
from asyncirq.hw.cpu import Cpu
from asyncirq.sched.task import Task
from tests.bottom_half.harness import HZ1000, MS, Bench, burn

PERIODIC = preset("linux-6.12", hz=1000, nohz_idle=False)


async def nothing(cpu: Cpu, timer: Timer) -> None:
    return None


async def quiet(cpu: Cpu) -> None:
    return None


def ticks(m: Bench, cpu: int = 0) -> list[int]:
    return [time for time, _, name, *_ in m.events("hrtimer_expire_entry", cpu=cpu) if name.startswith("tick_sched_timer")]


def test_a_busy_cpu_ticks_on_the_grid_however_long_the_tick_takes() -> None:
    m = Bench(tick=True, tick_ns=400_000, hrtimer_ns=1000)
    m.start(burn, "burn")
    m.play(5 * MS)
    assert ticks(m) == [n * MS + 1000 for n in range(1, 5)]
    assert [when for _, _, when in m.programmed] == [n * MS for n in range(1, 6)]


def test_one_tick_makes_these_records() -> None:
    m = Bench(tick=True)
    m.start(burn, "burn")
    m.play(MS)
    assert [r[1:] for r in m.events("local_timer_entry", "hrtimer_cancel", "hrtimer_expire_entry", "hrtimer_expire_exit")][:3] == [
        ("local_timer_entry", 236),
        ("hrtimer_cancel", "tick_sched_timer/0"),
        ("hrtimer_expire_entry", "tick_sched_timer/0", "tick_sched_timer", MS),
    ]
    assert m.events("hrtimer_start")[1] == (MS, "hrtimer_start", "tick_sched_timer/0", "tick_sched_timer", 2 * MS, 2 * MS, "ABS", False)
    entry = next(r for r in m.records() if type(r).__name__ == "HrtimerExpireEntry")
    assert (entry.preempt_count, entry.irqs_off) == (0x10000, True)


def test_skewed_ticks_are_spread_over_half_a_jiffy() -> None:
    m = Bench(4, tick=True, skew=True)
    for n in range(4):
        m.start(burn, f"burn{n}", cpu=n)
    m.play(3 * MS)
    assert [ticks(m, n)[0] for n in range(4)] == [MS, MS // 8, MS // 4, MS * 3 // 8]
    assert ticks(m, 1) == [n * MS + MS // 8 for n in range(3)]


def test_an_idle_cpu_stops_its_tick_and_starts_it_again_on_the_grid() -> None:
    m = Bench(tick=True)

    async def sleeper(task: Task) -> None:
        await task.spend(1_500_000)
        await m.sleep.usleep_range(task, 5000, 5000)
        await task.spend(1_000_000)

    m.start(sleeper, "sleeper")
    m.play(20 * MS)
    assert ticks(m) == [1 * MS, 7 * MS]
    assert m.events("tick_stop") == [(time, "tick_stop", True, "NONE") for time in (1_500_000, 7_500_000)]
    assert m.events("timer_base_idle") == [(t, "timer_base_idle", idle, 0) for t, idle in ((1_500_000, 1), (6_500_000, 0), (7_500_000, 1))]
    assert m.tick.ts[0].nr_stops == 2
    assert m.programmed[-1] == (7_500_000, 0, None)


def test_an_idle_cpu_keeps_its_tick_for_what_is_due_within_a_jiffy() -> None:
    m = Bench(tick=True)
    timer = Timer(nothing, "t")
    m.timers.mod_timer(m.cpus[0], timer, 3)
    m.play(10 * MS)
    # Due at 4: at 0 the tick is put off to 4; it never stops while the timer is one jiffy ahead.
    assert ticks(m) == [4 * MS]
    m = Bench(tick=True)
    m.timers.mod_timer(m.cpus[0], timer := Timer(nothing, "t"), 0)
    m.play(10 * MS)
    assert ticks(m) == [1 * MS]
    assert m.events("tick_stop") == [(MS, "tick_stop", True, "NONE")]


def test_a_deferrable_timer_does_not_end_the_sleep() -> None:
    m = Bench(tick=True)
    m.timers.mod_timer(m.cpus[0], Timer(nothing, "lazy", deferrable=True), 3)

    async def sleeper(task: Task) -> None:
        await m.sleep.usleep_range(task, 7500, 7500)
        await task.spend(2 * MS)

    m.start(sleeper, "sleeper")
    m.play(20 * MS)
    assert [(time, now, clk) for time, *_, now, clk in m.events("timer_expire_entry")] == [(8 * MS, 8, 4)]


def test_a_remote_timer_wakes_an_idle_cpu_to_look_again() -> None:
    m = Bench(2, tick=True)
    m.start(burn, "burn", cpu=0)
    timer = Timer(nothing, "remote")
    timer.expires = 12
    m.at(5 * MS + 100, lambda: m.timers.add_timer_on(m.cpus[0], timer, 1))
    m.play(20 * MS)
    assert ticks(m, 1) == [13 * MS]
    assert [r[0] for r in m.events("timer_expire_entry", cpu=1)] == [13 * MS]
    assert [r[0] for r in m.events("reschedule_entry", cpu=1)] == [5 * MS + 100]


def test_without_nohz_the_tick_never_stops() -> None:
    m = Bench(2, PERIODIC, tick=True)
    m.play(5 * MS)
    assert ticks(m, 0) == ticks(m, 1) == [n * MS for n in range(1, 6)]
    assert m.events("tick_stop") == []
    assert m.timers.next_timer_interrupt(m.cpus[0]) is None


def test_a_keeper_and_a_pending_timer_softirq_keep_the_tick() -> None:
    m = Bench(tick=True, daemons=False)
    wanted = [True]
    m.tick.keepers.append(lambda cpu: wanted[0])
    m.at(3 * MS + 5, lambda: wanted.__setitem__(0, False))
    m.play(10 * MS)
    assert ticks(m) == [1 * MS, 2 * MS, 3 * MS, 4 * MS]


def test_hooks_run_around_the_scheduler() -> None:
    m = Bench(tick=True)
    order: list[str] = []

    async def rcu(cpu: Cpu) -> None:
        order.append("rcu")

    async def after(cpu: Cpu) -> None:
        order.append("after")

    m.tick.hooks.insert(0, rcu)
    m.tick.sched_hooks.append(after)
    m.start(burn, "burn")
    m.play(MS)
    assert order == ["rcu", "after"]


def test_pending_softirqs_at_the_stop_of_the_tick_are_reported_ten_times() -> None:
    m = Bench(tick=True, daemons=False)

    async def forgetful(task: Task) -> None:
        cpu = task.preempt_disable()
        m.softirq.raise_softirq_nowake(cpu, 4)
        await task.preempt_enable()

    for n in range(12):
        m.at(n * 10_000 + 100, lambda: m.sched.start_now(m.sched.new_task(forgetful, "forgetful", cpu=0)))
        m.at(n * 10_000 + 100, lambda: setattr(m.cpus[0], "need_resched", True))
        m.irq_at(n * 10_000 + 200, quiet)
        m.at(n * 10_000 + 5000, lambda: m.softirq.pending.__setitem__(0, 0))
    m.play(MS // 2)
    assert m.said() == ["NOHZ tick-stop error: local softirq work is pending, handler #10!!!"] * 10


def test_stopping_a_tick_for_good() -> None:
    m = Bench(kernel=HZ1000, tick=True)
    m.start(burn, "burn")
    m.at(2 * MS + 5, lambda: m.tick.stop(m.cpus[0]))
    m.play(10 * MS)
    assert ticks(m) == [MS, 2 * MS]
    assert m.events("hrtimer_cancel")[-1] == (2 * MS + 5, "hrtimer_cancel", "tick_sched_timer/0")
