"""Show the engine's rules: order, inline advance, words, progress, closing."""

from __future__ import annotations

import warnings

import anyio.lowlevel
import pytest

from asyncirq.errors import InternalError, SimulationStalled, UsageError
from asyncirq.sim import FOREVER, Driver, Engine, ExecutorName, Flag, Scripted, Seeded
from asyncirq.sim.choice import Choice
from tests.conftest import HostRun

Log = list[tuple[int, str]]
EXECUTORS: tuple[ExecutorName, ...] = ("native", "anyio")


async def ticker(engine: Engine, name: str, period: int, count: int, log: Log) -> None:
    for _ in range(count):
        await engine.sleep(period)
        log.append((engine.now, name))


def drain(engine: Engine, limit: int = FOREVER) -> None:
    while not engine.run_slice(limit, 1000):
        pass


def test_equal_times_run_in_the_order_of_their_making() -> None:
    engine = Engine(inline=False)
    log: Log = []
    for name in "abc":
        engine.spawn(ticker(engine, name, 10, 2, log), name)
    drain(engine)
    assert log == [(10, "a"), (10, "b"), (10, "c"), (20, "a"), (20, "b"), (20, "c")]


@pytest.mark.parametrize("inline", [True, False])
def test_inline_advance_changes_nothing(inline: bool) -> None:
    engine = Engine(inline=inline)
    log: Log = []
    engine.spawn(ticker(engine, "slow", 100, 3, log), "slow")
    engine.spawn(ticker(engine, "fast", 10, 31, log), "fast")
    engine.spawn(ticker(engine, "same", 20, 4, log), "same")
    drain(engine)
    expected = [(10 * n, 1, "fast") for n in range(1, 32)]
    # At equal times the one that began to wait earlier goes first: slow since 100 ns, same since 20 ns, fast since 10 ns.
    expected += [(100 * n, -1, "slow") for n in (1, 2, 3)] + [(20 * n, 0, "same") for n in (1, 2, 3, 4)]
    assert log == [(when, name) for when, _, name in sorted(expected)]


class GreedyEngine(Engine):
    """The planted mistake: inline advance also at equal time, past an entry that was there first."""

    def advance(self, ns: int) -> bool:
        due = self.next_due()
        if self.has_front() or self.now + ns > min(due, self.horizon):
            return False
        self.now += ns
        return True


def test_inline_advance_at_equal_time_would_reorder() -> None:
    def order(engine: Engine) -> Log:
        log: Log = []
        engine.spawn(ticker(engine, "first", 20, 1, log), "first")
        engine.spawn(ticker(engine, "second", 10, 2, log), "second")
        drain(engine)
        return log

    right = order(Engine())
    assert right == order(Engine(inline=False))
    assert order(GreedyEngine()) != right


def test_inline_advance_stops_at_the_horizon() -> None:
    engine = Engine()
    log: Log = []
    engine.spawn(ticker(engine, "a", 10, 100, log), "a")
    engine.horizon = 35
    drain(engine, 35)
    assert log[-1] == (30, "a")
    assert engine.now == 30


def test_every_thousandth_inline_advance_goes_through_the_driver() -> None:
    engine = Engine()
    log: Log = []
    engine.spawn(ticker(engine, "hog", 1, 5000, log), "hog")
    turns = 0
    while not engine.run_slice(FOREVER, 100):
        turns += 1
    assert turns == 5000 // 1001


def test_a_poke_shortens_and_leaves_no_live_entry() -> None:
    engine = Engine()
    log: Log = []

    async def sleeper() -> None:
        passed = await engine.elapse(1000)
        log.append((engine.now, f"passed {passed}"))

    ctx = engine.spawn(sleeper(), "sleeper")
    engine.timer(lambda: engine.poke(ctx), "poker").arm(300)
    drain(engine)
    assert log == [(300, "passed 300")]
    assert engine.next_due() == FOREVER


def test_a_second_pending_resume_is_our_mistake() -> None:
    engine = Engine()

    async def body() -> None:
        await engine.park()

    ctx = engine.spawn(body(), "twice")
    with pytest.raises(InternalError, match="twice would hold two pending resumes"):
        engine.resume(ctx)
    engine.close()


def test_unbounded_waits_take_no_heap_entry() -> None:
    engine, flag = Engine(), Flag("never")

    async def waiter() -> None:
        await engine.wait(flag)

    contexts = [engine.spawn(waiter(), f"w{n}") for n in range(100)]
    drain(engine)
    for _ in range(50):
        for ctx in contexts:
            engine.poke(ctx)
        drain(engine)
    assert engine.heap_length() == 0
    engine.close()


def test_cancelled_entries_are_compacted() -> None:
    engine = Engine()
    timers = [engine.timer(lambda: None, f"t{n}") for n in range(1000)]
    for timer in timers:
        timer.arm(10_000)
    for timer in timers[:900]:
        timer.disarm()
    assert engine.heap_length() < 300
    drain(engine)
    assert engine.now == 10_000


def test_a_word_is_tested_before_parking_and_after_each_poke() -> None:
    engine = Engine()
    log: Log = []
    flag = Flag("door")

    async def guest(name: str) -> None:
        await engine.wait(flag)
        log.append((engine.now, name))

    async def host() -> None:
        await engine.sleep(5)
        flag.poke()
        await engine.sleep(5)
        flag.set()

    for name in ("one", "two"):
        engine.spawn(guest(name), name)
    engine.spawn(host(), "host")
    drain(engine)
    engine.spawn(guest("late"), "late")
    drain(engine)
    assert log == [(10, "one"), (10, "two"), (10, "late")]


def test_a_timer_cannot_be_armed_in_the_past() -> None:
    engine = Engine()
    engine.now = 10
    with pytest.raises(InternalError, match="armed for 9 ns at 10 ns"):
        engine.timer(lambda: None, "past").arm(9)


@pytest.mark.parametrize("inline", [True, False])
def test_no_progress_of_time_is_a_stall_that_names_the_contexts(inline: bool) -> None:
    engine = Engine(inline=inline)

    async def innermost() -> None:
        while True:
            await engine.sleep(0)

    async def spinner() -> None:
        await innermost()

    engine.spawn(spinner(), "spinner")
    with pytest.raises(SimulationStalled, match=r"100000 steps without progress of time at 0 ns(.|\n)*spinner"):
        drain(engine)
    engine.close()


def test_timers_that_rearm_at_the_same_instant_stall_too() -> None:
    engine = Engine()
    timer = engine.timer(lambda: timer.arm(engine.now), "zeno")
    timer.arm(3)
    with pytest.raises(SimulationStalled, match="at 3 ns"):
        drain(engine)


def test_the_stall_report_shows_await_stacks() -> None:
    engine, flag = Engine(), Flag("key")

    async def inner() -> None:
        await engine.wait(flag)

    async def outer() -> None:
        await inner()

    ctx = engine.spawn(outer(), "outer")
    drain(engine)
    ctx.stalled_on = flag
    with pytest.raises(SimulationStalled, match=r"nothing is left to run while outer cannot go on(.|\n)*outer(.|\n)*inner(.|\n)*wait"):
        engine.check_progress()
    engine.close()


def test_sleepers_that_nobody_can_wake_stall_the_machine() -> None:
    engine = Engine()
    engine.check_progress()
    engine.sleepers.append(lambda: ["dd-17"])
    with pytest.raises(SimulationStalled, match="while dd-17 cannot go on"):
        engine.check_progress()


def test_an_exception_makes_the_machine_dead(host_run: HostRun) -> None:
    async def body() -> None:
        engine = Engine()
        driver = Driver(engine, "anyio")
        await driver.executor.start()

        async def faulty() -> None:
            await engine.sleep(5)
            raise ValueError("boom")

        engine.spawn(faulty(), "faulty")
        with pytest.raises(ValueError, match="boom"):
            await driver.run_until(100)
        assert isinstance(engine.dead, ValueError)
        with pytest.raises(Exception, match="the machine is dead and cannot run on: ValueError: boom"):
            await driver.run_until(200)
        await driver.close()

    host_run(body)


def test_close_leaves_nothing_pending_and_runs_no_handler() -> None:
    log: list[str] = []

    class Lock:
        async def __aenter__(self) -> None: ...

        async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
            if kind is None:
                log.append("unlock")

    engine = Engine()

    async def holder() -> None:
        async with Lock():
            await engine.sleep(100)

    parked = engine.spawn(holder(), "parked")
    engine.horizon = 50
    engine.run_slice(50, 10)
    engine.spawn(holder(), "unstarted")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.close()
    assert log == []
    assert getattr(parked.coro, "cr_frame", None) is None
    assert engine.contexts == []
    assert engine.next_due() == FOREVER


def test_ties_belong_to_the_policy_and_replay() -> None:
    def run(engine: Engine) -> Log:
        log: Log = []
        for name in "abcd":
            engine.spawn(ticker(engine, name, 10, 3, log), name)
        drain(engine)
        return log

    fifo = run(Engine())
    seeded = Engine(policy=Seeded(7))
    mixed = run(seeded)
    assert mixed != fifo
    assert sorted(mixed) == sorted(fifo)
    assert run(Engine(policy=Scripted(seeded.tape))) == mixed
    assert run(Engine(policy=Scripted([choice.value for choice in seeded.tape]))) == mixed
    assert run(Engine(policy=Scripted([]))) == fifo


def test_a_tape_that_does_not_fit_diverges() -> None:
    engine = Engine(policy=Scripted([Choice(0, 2, "wake")]))
    with pytest.raises(Exception, match="choice 1: the tape holds 'wake' of 2, the run asks for 'tie' of 3"):
        engine.choose(3, "tie")
    engine = Engine(policy=Scripted([5]))
    with pytest.raises(Exception, match="choice 1: the tape holds 5, the run asks for 'tie' of 3"):
        engine.choose(3, "tie")


def test_without_a_policy_nothing_is_taped() -> None:
    engine = Engine()
    assert engine.choose(5, "anything") == 0
    assert engine.tape == []


def test_streams_are_apart_and_the_same_on_every_python() -> None:
    engine = Engine(seed=1)
    arrivals, costs = engine.stream("arrivals"), engine.stream("costs")
    assert [arrivals.below(1000) for _ in range(5)] == [977, 118, 566, 795, 163]
    assert (arrivals.exponential_ns(10_000), arrivals.between(3, 9), arrivals.sample("abc")) == (2536, 6, "a")
    again = Engine(seed=1)
    first = [again.stream("costs").below(1000) for _ in range(5)]
    assert first == [costs.below(1000) for _ in range(5)]
    assert engine.stream("arrivals") is arrivals


@pytest.mark.parametrize(("ns", "message"), [(-5, "-5 ns of time cannot pass"), (1.5, r"1\.5 ns of time cannot pass")])
@pytest.mark.parametrize("inline", [True, False])
def test_time_that_cannot_pass_is_refused(ns: int, message: str, inline: bool) -> None:
    if inline and ns > 0:
        pytest.skip("a float from outside the units is found where the context parks")
    engine = Engine(inline=inline)
    engine.spawn(engine.sleep(ns), "backwards")
    with pytest.raises(UsageError, match=message):
        drain(engine)
    engine.close()


def test_a_foreign_await_is_refused_by_name(host_run: HostRun) -> None:
    async def body() -> None:
        for executor in EXECUTORS:
            engine = Engine()
            driver = Driver(engine, executor)
            await driver.executor.start()

            async def lost() -> None:
                await anyio.lowlevel.checkpoint()

            engine.spawn(lost(), "handler")
            with pytest.raises(UsageError, match="handler awaits something that is not the model's .lost > "):
                await driver.run_until(100)
            await driver.close()

    host_run(body)
