"""Hold every exception of the project, and say who is to blame for each.

``AsyncIrqError`` is the root; below it, side by side: ``UsageError`` (the caller's mistake, Linux's errno kept),
``KernelBug`` (what Linux would BUG or WARN for: deadlock, stack overflow, sleeping in atomic context),
``SimulationStalled`` (virtual time cannot move on), ``ReplayDiverged`` (a tape does not fit the run any more) and
``InternalError`` (our own mistake). What Linux survives (a spurious irq, a lost edge) is a record and a counter, not
an exception.
"""

from __future__ import annotations

import errno as _errno
import inspect


def check_async(fn: object, who: str) -> None:
    """Refuse a plain ``def`` where time may pass: the kernel would await what it returns, and fail far from here.

    What forwards to an ``async def`` may stay plain: a lambda, a wrapper, a function annotated to return an awaitable.
    Raises ``UsageError`` EINVAL.
    """
    if not callable(fn):
        raise UsageError(f"{who}: {fn!r} is no function", _errno.EINVAL)
    inner = inspect.unwrap(fn)
    if not (inspect.isfunction(inner) or inspect.ismethod(inner)) or inspect.iscoroutinefunction(inner) or inner.__name__ == "<lambda>":
        return
    returns = str(inner.__annotations__.get("return", ""))
    if "Coroutine" not in returns and "Awaitable" not in returns:
        raise UsageError(f"{who}: {inner.__name__} must be an async def: virtual time may pass in it", _errno.EINVAL)


class AsyncIrqError(Exception):
    """Root of all errors that asyncirq raises on purpose."""


class UsageError(AsyncIrqError):
    """Report a mistake of the caller; ``errno`` is the positive number that Linux would return negated, or 0."""

    def __init__(self, message: str, errno: int = 0) -> None:
        name = _errno.errorcode.get(errno)
        super().__init__(f"{message} (-{name})" if name else message)
        self.errno = errno


class KernelBug(AsyncIrqError):
    """Report what Linux would BUG or WARN for; the machine is dead afterwards."""


class SimulationStalled(AsyncIrqError):
    """Report that virtual time cannot move on; the message holds the await stack of every context."""


class ReplayDiverged(AsyncIrqError):
    """Report that a tape of choices or arrivals does not fit the run it is replayed on."""


class InternalError(AsyncIrqError):
    """Report a broken promise inside asyncirq itself."""
