"""Show that the host loop only executes: executors, slices, arrivals from outside, cancellation, pacing."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from functools import partial
from typing import Any

import anyio.lowlevel
import pytest

from asyncirq.errors import ReplayDiverged, UsageError
from asyncirq.sim import Arrival, Driver, Engine, ExecutorName, Flag, Inbox
from tests.conftest import HostRun

Log = list[tuple[int, str]]


def at_least(log: Log, count: int) -> bool:
    return len(log) >= count


async def worker(engine: Engine, flag: Flag, name: str, period: int, log: Log) -> None:
    for n in range(20):
        await engine.sleep(period)
        log.append((engine.now, f"{name}{n}"))
        if n == 10:
            flag.set()
    await engine.wait(flag)
    log.append((engine.now, f"{name} ends"))


async def run_workers(executor: ExecutorName, inline: bool = True, slice_ns: int = 4_000_000) -> Log:
    engine, flag = Engine(inline=inline), Flag("eleven")
    log: Log = []
    driver = Driver(engine, executor, slice_ns=slice_ns)
    await driver.executor.start()
    for name, period in (("a", 7), ("b", 7), ("c", 21)):
        engine.spawn(worker(engine, flag, name, period, log), name)
    await driver.run_until(200)
    await driver.run_until(1000)
    assert engine.now == 1000
    await driver.close()
    return log


def test_every_executor_on_every_host_gives_the_same_run(host_run: HostRun) -> None:
    expected = asyncio.run(run_workers("native", inline=False))
    for executor in ("native", "anyio"):
        for inline in (True, False):
            for slice_ns in (0, 4_000_000):
                assert host_run(run_workers, executor, inline, slice_ns) == expected


def test_model_tasks_are_visible_on_the_anyio_executor() -> None:
    async def body() -> None:
        engine, flag = Engine(), Flag("never")
        driver = Driver(engine, "anyio")
        await driver.executor.start()

        async def waiter() -> None:
            await engine.wait(flag)

        engine.spawn(waiter(), "softirq-waiter")
        await driver.run_until(10)
        assert "softirq-waiter" in {task.get_name() for task in asyncio.all_tasks()}
        await driver.close()
        assert "softirq-waiter" not in {task.get_name() for task in asyncio.all_tasks()}

    asyncio.run(body())


@pytest.mark.parametrize("executor", ["native", "anyio"])
def test_unstarted_contexts_are_closed_silently(executor: ExecutorName, recwarn: pytest.WarningsRecorder) -> None:
    async def body() -> None:
        engine = Engine()
        driver = Driver(engine, executor)
        await driver.executor.start()
        engine.spawn(engine.sleep(5), "unstarted")
        await driver.close()

    asyncio.run(body())
    assert list(recwarn) == []


@pytest.mark.asyncio
async def test_cancellation_keeps_what_ran_and_the_run_can_go_on() -> None:
    engine = Engine()
    driver = Driver(engine, slice_ns=0)
    log: list[int] = []

    async def hog() -> None:
        while True:
            await engine.sleep(1)
            log.append(engine.now)

    engine.spawn(hog(), "hog")
    running = asyncio.create_task(driver.run_until())
    for _ in range(3):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    seen = len(log)
    assert seen > 0
    assert log == list(range(1, seen + 1))
    await driver.run_until(engine.now + 10)
    assert log == list(range(1, len(log) + 1))
    assert engine.now == len(log)
    await driver.close()


def posting_model(engine: Engine, inbox: Inbox, log: Log) -> None:
    flag = Flag("mail")
    letters: list[str] = []

    def deliver(value: Any) -> None:
        letters.append(value)
        flag.set()

    async def reader() -> None:
        while True:
            await engine.wait(flag)
            flag.clear()
            while letters:
                log.append((engine.now, letters.pop(0)))
                await engine.sleep(3)

    async def clock() -> None:
        while True:
            await engine.sleep(5)
            log.append((engine.now, "tick"))

    inbox.receive("mail", deliver)
    engine.spawn(reader(), "reader")
    engine.spawn(clock(), "clock")


@pytest.mark.asyncio
async def test_posted_values_are_taped_and_replay_to_the_same_run() -> None:
    engine, inbox = Engine(inline=False), Inbox()
    log: Log = []
    driver = Driver(engine, inbox=inbox, slice_ns=0)
    posting_model(engine, inbox, log)
    driver.on_slice = lambda: inbox.post("mail", f"letter {len(log)}") if engine.now < 20_000 else None
    await driver.run_until(20_000)
    await driver.close()
    assert len(inbox.tape) > 2
    assert any(name.startswith("letter") for _, name in log)

    for inline in (True, False):
        engine = Engine(inline=inline)
        replayed: Log = []
        inbox2 = Inbox(replay=inbox.tape)
        driver = Driver(engine, inbox=inbox2)
        posting_model(engine, inbox2, replayed)
        await driver.run_until(20_000)
        await driver.close()
        assert replayed == log
        assert inbox2.tape == inbox.tape


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_an_arrival_comes_after_all_entries_of_its_instant() -> None:
    engine = Engine()
    log: Log = []
    inbox = Inbox(replay=[Arrival(10, "mail", "letter")])
    driver = Driver(engine, inbox=inbox)
    posting_model(engine, inbox, log)
    await driver.run_until(16)
    assert log == [(5, "tick"), (10, "tick"), (10, "letter"), (15, "tick")]
    await driver.close()


def test_posting_to_nobody_and_posting_during_replay_are_refused() -> None:
    with pytest.raises(UsageError, match="inbox 'mail' has no receiver"):
        Inbox().post("mail", 1)
    inbox = Inbox(replay=[Arrival(1, "mail", 1)])
    inbox.receive("mail", print)
    with pytest.raises(ReplayDiverged, match="while a tape of arrivals is replayed"):
        inbox.post("mail", 2)
    with pytest.raises(UsageError, match="has a receiver already"):
        inbox.receive("mail", print)
    with pytest.raises(ReplayDiverged, match="for 'post', which has no receiver"):
        Inbox(replay=[Arrival(1, "post", 1)]).deliver(1)


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_condition_stops_the_run_at_the_same_step_with_inline_advance_on_and_off() -> None:
    for inline in (True, False):
        engine = Engine(inline=inline)
        driver = Driver(engine)
        log: Log = []
        engine.spawn(worker(engine, Flag("x"), "a", 7, log), "a")
        await driver.run_until(1000, stop=partial(at_least, log, 3))
        assert (engine.now, log) == (21, [(7, "a0"), (14, "a1"), (21, "a2")])
        await driver.run_until(50)
        assert engine.now == 50
        await driver.close()


@pytest.mark.asyncio
async def test_live_pacing_releases_by_the_wall_clock_and_posts_wake_it() -> None:
    engine, inbox = Engine(), Inbox()
    log: Log = []
    driver = Driver(engine, inbox=inbox)
    driver.live(Fraction(1, 1_000_000))
    inbox.receive("stop", lambda value: log.append((engine.now, value)))

    async def poster() -> None:
        await anyio.lowlevel.checkpoint()
        inbox.post("stop", "now")

    async with anyio.create_task_group() as group:
        group.start_soon(poster)
        with anyio.move_on_after(30):
            await driver.run_until(10**9, stop=lambda: bool(log))
    assert [value for _, value in log] == ["now"]
    assert engine.now < 10**9
    await driver.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_live_runs_end_at_the_same_instants_as_virtual_ones() -> None:
    engine = Engine()
    log: Log = []
    driver = Driver(engine)
    driver.live(1000)
    engine.spawn(worker(engine, Flag("x"), "a", 7, log), "a")
    await driver.run_until(1000)
    assert engine.now == 1000
    assert log[:3] == [(7, "a0"), (14, "a1"), (21, "a2")]
    await driver.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_wrong_arguments_are_refused() -> None:
    engine = Engine()
    with pytest.raises(UsageError, match="executor 'threads' is neither"):
        Driver(engine, "threads")  # type: ignore[arg-type]  # what a caller without a type checker would write
    with pytest.raises(UsageError, match="slice_ns is -1"):
        Driver(engine, slice_ns=-1)
    driver = Driver(engine)
    with pytest.raises(UsageError, match="live speed 0 is not above 0"):
        driver.live(0)
    await driver.run_until(10)
    with pytest.raises(UsageError, match="cannot run until 5 ns: it is 10 ns already"):
        await driver.run_until(5)


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_run_without_end_returns_when_nothing_is_left() -> None:
    engine = Engine()
    driver = Driver(engine)
    log: Log = []
    engine.spawn(worker(engine, Flag("x"), "a", 7, log), "a")
    await driver.run_until()
    assert log[-1] == (140, "a ends")
    await driver.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_posted_value_arrives_in_a_run_that_drains_at_once() -> None:
    engine, inbox = Engine(), Inbox()
    driver = Driver(engine, inbox=inbox)
    log: Log = []
    inbox.receive("mail", lambda value: log.append((engine.now, value)))
    inbox.post("mail", "before")
    await driver.run_until(1000)
    assert log == [(0, "before")]
    inbox.post("mail", "between")
    await driver.run_until(2000)
    assert log == [(0, "before"), (1000, "between")]
    await driver.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_two_arrivals_of_one_instant_replay_as_they_came() -> None:
    async def play(inbox: Inbox, post: bool) -> Log:
        engine = Engine()
        driver = Driver(engine, inbox=inbox)
        log: Log = []
        flag = Flag("mail")

        def receive(value: str) -> None:
            log.append((engine.now, f"got {value}"))
            flag.set()

        async def reader() -> None:
            while True:
                await engine.wait(flag)
                flag.clear()
                log.append((engine.now, "done"))

        inbox.receive("mail", receive)
        engine.spawn(reader(), "reader")
        await driver.run_until(10)
        if post:
            inbox.post("mail", "1")
            inbox.post("mail", "2")
        await driver.run_until(20)
        await driver.close()
        return log

    live = Inbox()
    log = await play(live, post=True)
    assert log == [(10, "got 1"), (10, "done"), (10, "got 2"), (10, "done")]
    assert await play(Inbox(live.tape), post=False) == log


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_only_one_run_at_a_time() -> None:
    engine = Engine()
    driver = Driver(engine, slice_ns=0)

    async def hog() -> None:
        while True:
            await engine.sleep(1)

    engine.spawn(hog(), "hog")
    running = asyncio.create_task(driver.run_until())
    await asyncio.sleep(0)
    with pytest.raises(UsageError, match="runs already"):
        await driver.run_until(1 << 40)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await driver.close()


def test_cancelling_the_program_closes_every_context(host_run: HostRun) -> None:
    async def body() -> tuple[int, bool]:
        engine = Engine()
        driver = Driver(engine, "anyio", slice_ns=0)

        async def hog() -> None:
            while True:
                await engine.sleep(1)

        with anyio.CancelScope() as scope:
            await driver.executor.start()
            engine.spawn(hog(), "hog")
            driver.on_slice = scope.cancel
            try:
                await driver.run_until()
            finally:
                await driver.close()
        return len(engine.contexts), scope.cancelled_caught

    assert host_run(body) == (0, True)
