"""Search the graph of lock classes for strong paths.

A path is strong when no reader that may recurse is followed by a holder that shares: ``A -(*R)-> B -(S*)-> C`` blocks nobody, because
the reader of B gets past the other reader. Only strong paths can close a circle that deadlocks.

Linux: kernel/locking/lockdep.c __bfs(), Documentation/locking/lockdep-design.rst. Model: a class is visited again when it was
reached by a weaker path before, so that no strong path is missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from asyncirq.locking.lockdep_class import Edge, HeldLock, LockClass

NEXT_RECURSIVE: Final = 0b0011
"""The bits of ``Edge.dep`` whose later lock is a reader that may recurse."""
PREV_SHARED: Final = 0b0101
"""The bits of ``Edge.dep`` whose earlier lock is shared."""


class Step:
    """A class that a search has reached, and how: by ``edge`` from ``parent``, both None at the root.

    ``only_xr``: what led here ends, forwards, only in readers that may recurse; backwards, it begins only with sharers.
    """

    __slots__ = ("cls", "edge", "only_xr", "parent")

    def __init__(self, cls: LockClass, only_xr: bool, parent: Step | None = None, edge: Edge | None = None) -> None:
        self.cls = cls
        self.only_xr = only_xr
        self.parent = parent
        self.edge = edge

    def depth(self) -> int:
        """Return how many edges lie between the root and here."""
        count = 0
        step = self
        while step.parent is not None:
            count += 1
            step = step.parent
        return count


def dep_bit(prev: HeldLock, following: HeldLock) -> int:
    """Return the bit of ``Edge.dep`` for two acquisitions."""
    return 1 << ((prev.read == 0) + 2 * (following.read != 2))


def search(root: Step, match: Callable[[Step], bool], *, backwards: bool = False, percpu: bool = True) -> Step | None:
    """Return the nearest step that matches, the root included; ``percpu`` False leaves per-CPU locks and what lies behind them out."""
    # Forwards the later lock's way carries on and the earlier one's must fit; backwards it is the other way round.
    carried, fitted = (PREV_SHARED, NEXT_RECURSIVE) if backwards else (NEXT_RECURSIVE, PREV_SHARED)
    queue = deque([root])
    best: dict[LockClass, bool] = {}
    while queue:
        step = queue.popleft()
        cls = step.cls
        if cls in best and (step.only_xr or not best[cls]):
            continue
        best[cls] = step.only_xr
        if cls.percpu and not percpu:
            continue
        if match(step):
            return step
        for following, edge in (cls.before if backwards else cls.after).items():
            dep = edge.dep
            if step.only_xr:
                dep &= ~fitted
            if dep:
                queue.append(Step(following, not dep & ~carried, step, edge))
    return None


def add_edge(prev: HeldLock, following: HeldLock, distance: int, edge: Edge) -> None:
    """Enter a dependency, or strengthen the one that is there."""
    there = prev.cls.after.get(following.cls)
    if there is None:
        prev.cls.after[following.cls] = edge
        following.cls.before[prev.cls] = edge
        return
    there.dep |= edge.dep
    there.distance = min(there.distance, distance)
