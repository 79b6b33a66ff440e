"""Define words: the only thing a context may wait on without a due time.

A word is a piece of state with an answer to ``ready()``. Whoever changes the state calls ``poke()`` in the same step,
so a wake-up cannot be forgotten: a waiter tests the word before it parks and again whenever it is poked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncirq.sim.context import Context


class Word:
    """State that contexts wait on; subclasses answer ``ready()``.

    ``owner`` is the context that must act before the word becomes ready, None when nobody in particular must; deadlock
    reports follow it.
    """

    __slots__ = ("name", "owner", "waiters")

    def __init__(self, name: str) -> None:
        self.name = name
        self.owner: Context | None = None
        self.waiters: list[Context] = []

    def ready(self) -> bool:
        """Tell whether a waiter may go on."""
        raise TypeError(f"{type(self).__name__} does not say when it is ready")

    def holder(self) -> str:
        """Return who must act, as a deadlock report names it."""
        return self.owner.name if self.owner is not None else "nobody"

    def poke(self) -> None:
        """Make every waiter test the word again, in the order in which they began to wait."""
        for ctx in self.waiters:
            ctx.engine.poke(ctx)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Flag(Word):
    """A word that is ready while it is set."""

    __slots__ = ("is_set",)

    def __init__(self, name: str, is_set: bool = False) -> None:
        super().__init__(name)
        self.is_set = is_set

    def ready(self) -> bool:
        """Tell whether the flag is set."""
        return self.is_set

    def set(self) -> None:
        """Set the flag and poke the waiters."""
        self.is_set = True
        self.poke()

    def clear(self) -> None:
        """Clear the flag; waiters stay parked."""
        self.is_set = False


class Condition(Word):
    """A word whose answer a function gives; its owner calls ``poke()`` after every change that matters."""

    __slots__ = ("test",)

    def __init__(self, name: str, test: Callable[[], bool]) -> None:
        super().__init__(name)
        self.test = test

    def ready(self) -> bool:
        """Tell what the function tells."""
        return self.test()
