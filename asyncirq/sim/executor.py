"""Give contexts their turns: natively, by sending to coroutines, or as tasks of the host's event loop.

Both run exactly one context at a time, in the order that the engine hands out, so the trace is the same. The anyio
executor makes each context a task in a task group on asyncio, uvloop or trio, visible to ``asyncio.all_tasks()``; a
turn costs two to three times as much there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from asyncirq.sim.context import Context
from asyncirq.sim.engine import PARK, Engine

Stop = Callable[[], bool]


class Executor(Protocol):
    """Whatever gives turns to contexts."""

    async def start(self) -> None:
        """Take hold of the host loop."""

    async def run_slice(self, limit: int, steps: int, stop: Stop | None) -> bool:
        """Give at most ``steps`` turns up to ``limit`` ns; return whether nothing was left to do."""

    async def close(self) -> None:
        """Close every context; nothing stays pending."""


class NativeExecutor:
    """Step coroutines by ``send``: the default."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def start(self) -> None:
        """Take hold of the host loop: nothing to do."""

    async def run_slice(self, limit: int, steps: int, stop: Stop | None) -> bool:
        """Give at most ``steps`` turns up to ``limit`` ns; return whether nothing was left to do."""
        return self.engine.run_slice(limit, steps, stop)

    async def close(self) -> None:
        """Close every context; nothing stays pending."""
        self.engine.close()


class AnyioExecutor:
    """Run each context as a task of the host's loop."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._group: TaskGroup | None = None
        self._turns: dict[Context, anyio.Event] = {}
        self._back = anyio.Event()
        self._error: BaseException | None = None

    async def start(self) -> None:
        """Open the task group that holds the contexts."""
        self._group = anyio.create_task_group()
        await self._group.__aenter__()

    async def run_slice(self, limit: int, steps: int, stop: Stop | None) -> bool:
        """Give at most ``steps`` turns up to ``limit`` ns; return whether nothing was left to do."""
        engine = self.engine
        try:
            for _ in range(steps):
                ctx = engine.select(limit)
                if ctx is None:
                    return True
                await self._give_turn(ctx)
                if stop is not None and stop():
                    break
        except BaseException as error:
            engine.fail(error)
            raise
        engine.current = None
        return False

    async def _give_turn(self, ctx: Context) -> None:
        # Shielded: a turn that has begun must end, or the model would be torn in the middle of an atomic step.
        self._back = anyio.Event()
        turn = self._turns.get(ctx)
        if turn is None:
            assert self._group is not None
            self._turns[ctx] = anyio.Event()
            self._group.start_soon(self._run, ctx, name=ctx.name)
        else:
            turn.set()
        with anyio.CancelScope(shield=True):
            await self._back.wait()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    async def _run(self, ctx: Context) -> None:
        while True:
            try:
                if ctx.coro.send(None) is not PARK:
                    self.engine.foreign(ctx)
            except StopIteration:
                self.engine.finish(ctx)
                break
            except BaseException as error:
                # Ctrl-C too: whoever waits for this turn's end must hear of it.
                self._error = error
                break
            turn = self._turns[ctx] = anyio.Event()
            self._back.set()
            await turn.wait()
        del self._turns[ctx]
        self._back.set()

    async def close(self) -> None:
        """Cancel the tasks and close every context, even while the caller is being cancelled; nothing stays pending."""
        try:
            if self._group is not None:
                group, self._group = self._group, None
                group.cancel_scope.shield = True
                group.cancel_scope.cancel()
                await group.__aexit__(None, None, None)
        finally:
            self.engine.close()
