"""Tell whether a capture's clock is the work's own or follows a host that does other things: what may be said of it depends on that.

On an emulated or shared machine whose clock goes on while its host does something else, the same code takes longer and longer at random: no
prediction of another run can have its times, only their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncirq.analysis.event import Capture
from asyncirq.analysis.segments import gaps

MIN_SAMPLES: Final = 30
SPREAD: Final = 3
"""A wake-up is one piece of code: on a steady clock its 95th percentile is near its median, not this many times it."""


def follows_host(capture: Capture) -> bool:
    """Tell whether the clock of a capture follows its host; False also where it has too few wake-ups to tell."""
    samples = sorted(after.ts - event.ts for event, after in gaps(capture) if event.name == "sched_waking" and after.name == "sched_wakeup")
    if len(samples) < MIN_SAMPLES:
        return False
    last = len(samples) - 1
    return samples[last * 95 // 100] > SPREAD * max(samples[last // 2], capture.resolution_ns)


def spearman(pairs: Sequence[tuple[int, int]]) -> float | None:
    """Return Spearman's rank correlation, ties at their mean rank; None for fewer than three pairs, or if one side is constant."""
    if len(pairs) < 3:
        return None
    left, right = _ranks([one for one, _ in pairs]), _ranks([two for _, two in pairs])
    middle = (len(pairs) + 1) / 2
    across = sum((a - middle) * (b - middle) for a, b in zip(left, right, strict=True))
    along = sum((a - middle) ** 2 for a in left) * sum((b - middle) ** 2 for b in right)
    return across / along**0.5 if along else None


def _ranks(values: Sequence[int]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    at = 0
    while at < len(order):
        end = at
        while end < len(order) and values[order[end]] == values[order[at]]:
            end += 1
        for place in order[at:end]:
            ranks[place] = (at + end + 1) / 2
        at = end
    return ranks
