"""Hold every exception of the project, and say who is to blame for each.

``AsyncIrqError`` is the root; below it, side by side: ``UsageError`` (the caller's mistake, Linux's errno kept),
``KernelBug`` (what Linux would BUG or WARN for: deadlock, stack overflow, sleeping in atomic context),
``SimulationStalled`` (virtual time cannot move on), ``ReplayDiverged`` (a tape does not fit the run any more) and
``InternalError`` (our own mistake). What Linux survives (a spurious irq, a lost edge) is a record and a counter, not
an exception.
"""

from __future__ import annotations

import errno as _errno


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
