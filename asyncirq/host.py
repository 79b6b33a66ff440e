"""Run a user's main coroutine on the best event loop there is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run ``await main(*args)`` on a new event loop, uvloop's where it is installed, and return its result.

    For plain scripts; inside a program that has a loop, ``await main()`` does. The loop decides nothing about the model.
    """

    async def body() -> T:
        return await main(*args)

    try:
        import uvloop
    except ImportError:
        return asyncio.run(body())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(body())
