"""Read await stacks: the chain of calls in which a parked coroutine waits, outermost first."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any, NamedTuple

from asyncirq.sim.context import DONE, NEW, Context


class Frame(NamedTuple):
    """One call of an await stack."""

    function: str
    file: str
    line: int


def await_stack(coro: Coroutine[Any, Any, Any]) -> list[Frame]:
    """Return the calls in which a suspended coroutine waits, outermost first."""
    return list(_walk(coro))


def _walk(coro: Any) -> Iterator[Frame]:
    while coro is not None:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
        if frame is not None:
            code = frame.f_code
            yield Frame(code.co_name, code.co_filename, frame.f_lineno)
        coro = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None)


def describe(ctx: Context) -> str:
    """Return one context's name, what it waits for and its await stack, as indented text."""
    if ctx.state == DONE:
        return f"{ctx.name}: ended"
    waits = f", stalled on {ctx.stalled_on.name}" if ctx.stalled_on is not None else ""
    due = ", has a due time" if ctx.ticket else ""
    if ctx.state == NEW:
        return f"{ctx.name}: not started"
    lines = [f"{ctx.name}:{waits}{due}".replace(":,", ":")]
    lines += [f"    {f.function} ({f.file.rpartition('/')[2]}:{f.line})" for f in await_stack(ctx.coro)]
    return "\n".join(lines)
