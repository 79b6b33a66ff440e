"""Refuse at once what would fail late: a plain function where virtual time may pass."""

from __future__ import annotations

import functools
import gc
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from asyncirq import NET_RX_SOFTIRQ, SCHED_FIFO, Machine, Tasklet, UsageError, Work
from asyncirq.errors import check_async
from asyncirq.kernel import Kernel


def plain(*args: object) -> int:
    return 1


async def real(*args: object) -> int:
    return 1


def forward(*args: object) -> Awaitable[int]:
    return real(*args)


@functools.wraps(real)
def wrapped(*args: object) -> Any:
    return real(*args)


class Driver:
    async def handler(self) -> None: ...

    def wrong(self) -> None: ...

    async def __call__(self) -> None: ...


@pytest.mark.parametrize("fn", [real, forward, wrapped, lambda: real(1), functools.partial(real, 1), Driver().handler, Driver()])
def test_what_may_take_time_is_taken(fn: Callable[..., Any]) -> None:
    check_async(fn, "x")


@pytest.mark.parametrize(("fn", "name"), [(plain, "plain"), (Driver().wrong, "wrong")])
def test_plain_functions_are_refused(fn: Callable[..., Any], name: str) -> None:
    with pytest.raises(UsageError, match=rf"^x: {name} must be an async def: virtual time may pass in it \(-EINVAL\)$"):
        check_async(fn, "x")


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^x: 5 is no function \(-EINVAL\)$"):
        check_async(5, "x")


@pytest.mark.asyncio
@pytest.mark.parametrize("kernel", ["linux-2.6", "linux-6.12"])
async def test_every_registration_asks_for_an_async_def(kernel: str) -> None:
    async with Machine(kernel=kernel) as m:
        irq = m.msi("eth0").irq
        bad: Any = plain
        words = "must be an async def"
        with pytest.raises(UsageError, match=f"irq {irq}: the handler of eth0: plain {words}"):
            await m.irq.request_irq(None, irq, bad, 0, "eth0")
        if kernel != "linux-2.6":
            with pytest.raises(UsageError, match=f"irq {irq}: the thread function of eth0: plain {words}"):
                await m.irq.request_threaded_irq(None, irq, good, bad, 0, "eth0")
        with pytest.raises(UsageError, match=f"softirq 3: the action: plain {words}"):
            m.softirq.open_softirq(NET_RX_SOFTIRQ, bad)
        with pytest.raises(UsageError, match=f"busy: the thread's function: plain {words}"):
            m.start_thread(bad, "busy")
        with pytest.raises(UsageError, match=f"work w: the function: plain {words}"):
            Work(bad, "w")
        with pytest.raises(UsageError, match=f"tasklet t: the callback: plain {words}"):
            Tasklet(bad, "t")
        assert m.proc("interrupts").count("eth0") == 0


async def good(*args: object) -> Any:
    return 1


def test_machine_that_cannot_be_made_leaves_no_coroutine_behind() -> None:
    made: list[Kernel] = []

    def refuse(kernel: Kernel) -> None:
        made.append(kernel)
        raise UsageError("no")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError, match="^no$"):
            Machine(prepare=refuse)
        assert made.pop().board.engine.contexts == []
        gc.collect()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kernel": 5}, "kernel is 5: give a preset's name or a KernelConfig"),
        ({"costs": {}}, "costs is {}: give a Costs"),
        ({"seed": "x"}, "seed is 'x': give a whole number"),
    ],
)
def test_machines_arguments_of_a_wrong_type_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Machine(**arguments)
    assert str(caught.value) == f"{words} (-EINVAL)"


@pytest.mark.asyncio
async def test_spawn_wants_the_coroutine_itself() -> None:
    bad: Any = real
    async with Machine() as m:
        with pytest.raises(UsageError, match="^wire: spawn takes a coroutine, fn\\(\\), and not <function real"):
            m.spawn(bad, "wire")


@pytest.mark.asyncio
async def test_thread_with_an_impossible_priority_leaves_no_coroutine_behind() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with Machine() as m:
            with pytest.raises(UsageError, match="real-time priority 0"):
                m.start_thread(good, "x", policy=SCHED_FIFO)
            gc.collect()
