"""Define what the engine steps: contexts (parked coroutines) and timers (plain functions with a due time)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asyncirq.sim.queue import EventQueue
    from asyncirq.sim.word import Word

NEW: Final = 0
READY: Final = 1
RUNNING: Final = 2
PARKED: Final = 3
DONE: Final = 4


class Context:
    """One cooperative flow of execution: a coroutine and the place where it waits.

    ``ticket`` is the ``seq`` of its live heap entry, 0 for none; any other entry in the heap that names this context is dead.
    ``on_cpu`` says that it runs on a model's CPU, whose time passes there alone. ``stalled_on`` is the innermost word that
    the context spins on, which is what a deadlock report follows.
    """

    __slots__ = ("coro", "engine", "host", "name", "on_cpu", "stalled_on", "state", "ticket")

    fn: Final[Callable[[], None] | None] = None

    def __init__(self, engine: EventQueue, coro: Coroutine[Any, Any, Any], name: str) -> None:
        self.engine = engine
        self.coro = coro
        self.name = name
        self.state = NEW
        self.ticket = 0
        self.stalled_on: Word | None = None
        self.on_cpu = False
        self.host: Any = None

    def __repr__(self) -> str:
        return f"<Context {self.name}>"


class Timer:
    """A plain function that the engine calls at a due time; hardware timers need no task.

    ``arm(when_ns)`` replaces the earlier due time, ``disarm()`` drops it. The function runs between contexts: it must
    not take virtual time.
    """

    __slots__ = ("engine", "fn", "name", "ticket", "when")

    def __init__(self, engine: EventQueue, fn: Callable[[], None], name: str) -> None:
        self.engine = engine
        self.fn = fn
        self.name = name
        self.ticket = 0
        self.when = 0

    @property
    def armed(self) -> bool:
        """Tell whether the timer is due at some time."""
        return self.ticket != 0

    def arm(self, when_ns: int) -> None:
        """Make the function due at ``when_ns``, which may be now but not in the past."""
        self.engine.arm(self, when_ns)

    def disarm(self) -> None:
        """Drop the due time, if any."""
        self.engine.disarm(self)

    def __repr__(self) -> str:
        return f"<Timer {self.name}>"
